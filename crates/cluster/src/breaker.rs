//! Whether a peer is worth asking, and how long to wait before it is asked to connect again.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::limits::{BACKOFF_FIRST, BACKOFF_MOST};

/// Opens after so many failures in a row, and closes on any message from the peer.
///
/// It saves the time of calls that may as well miss; a call that must be tried does not ask it.
#[derive(Debug)]
pub(crate) struct Breaker {
    failures: AtomicU32,
    limit: u32,
}

impl Breaker {
    pub(crate) fn new(limit: u32) -> Self {
        Self { failures: AtomicU32::new(0), limit }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.failures.load(Ordering::Relaxed) >= self.limit
    }

    /// Counts a failure.
    pub(crate) fn failed(&self) {
        // Saturates, so that a peer that is away for years does not come back by itself.
        let _ = self.failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |failures| {
            Some(failures.saturating_add(1))
        });
    }

    /// A message came.
    pub(crate) fn heard(&self) {
        // Messages come more often than failures: reading leaves the line where it is.
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }
}

/// How long to rest after `failures` attempts in a row that led to nothing: doubling, and drawn
/// from the upper half of that, so that those who lost a peer together do not come back together.
pub(crate) fn rest_after(failures: u32, random: &mut fastrand::Rng) -> Duration {
    let Some(doublings) = failures.checked_sub(1) else { return Duration::ZERO };
    let most = BACKOFF_FIRST.saturating_mul(1 << doublings.min(16)).min(BACKOFF_MOST);
    most.mul_f64(0.5 + random.f64() / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_after_failures_in_a_row_and_closes_on_a_message() {
        let breaker = Breaker::new(2);
        breaker.failed();
        breaker.heard();
        breaker.failed();
        assert!(!breaker.is_open(), "a message stood between the failures");
        breaker.failed();
        assert!(breaker.is_open());
        breaker.heard();
        assert!(!breaker.is_open());
    }

    #[test]
    fn rests_double_up_to_the_most_and_differ() {
        let mut random = fastrand::Rng::with_seed(3);
        assert_eq!(rest_after(0, &mut random), Duration::ZERO);
        for failures in 1..40 {
            let most = (BACKOFF_FIRST * (1 << (failures - 1).min(10))).min(BACKOFF_MOST);
            let rest = rest_after(failures, &mut random);
            assert!(rest >= most / 2 && rest <= most, "{failures}: {rest:?}");
        }
        assert_ne!(rest_after(9, &mut random), rest_after(9, &mut random));
    }
}
