//! What stops a query: its limits, its deadline, the client that left.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::error::EvalError;

/// Why a query has to stop before it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupt {
    /// It ran longer than it may.
    Timeout,
    /// Nobody waits for the answer any more.
    Canceled,
}

/// Counts the samples that a query holds, against its limit.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    limit: u64,
    held: AtomicU64,
    peak: AtomicU64,
}

/// Samples that are counted as held until this is dropped.
#[derive(Debug, Default)]
pub(crate) struct Held {
    budget: Option<Arc<Budget>>,
    samples: u64,
}

impl Budget {
    /// A budget of at most `limit` samples at a time.
    pub fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self { limit, ..Self::default() })
    }

    /// Counts `samples` as held.
    pub fn hold(self: &Arc<Self>, samples: u64) -> Result<Held, EvalError> {
        let held = Held { budget: Some(Arc::clone(self)), samples };
        let now = self.held.fetch_add(samples, Ordering::Relaxed) + samples;
        self.note(now)?;
        Ok(held)
    }

    /// Checks that `samples` more fit for a moment: those of a series that is being read.
    pub fn pass(&self, samples: u64) -> Result<(), EvalError> {
        self.note(self.held.load(Ordering::Relaxed) + samples)
    }

    fn note(&self, now: u64) -> Result<(), EvalError> {
        self.peak.fetch_max(now, Ordering::Relaxed);
        if now > self.limit { Err(EvalError::TooManySamples) } else { Ok(()) }
    }

    /// The most that was held at once.
    pub fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(budget) = &self.budget {
            budget.held.fetch_sub(self.samples, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_let_go_no_longer_counts() {
        let budget = Budget::new(10);
        let first = budget.hold(6).unwrap();
        assert_eq!(budget.hold(5).unwrap_err(), EvalError::TooManySamples);
        drop(first);
        assert!(budget.hold(10).is_ok());
        assert_eq!(budget.peak(), 11);
    }
}
