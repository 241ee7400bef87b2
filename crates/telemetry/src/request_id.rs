//! Ids of requests: what a log line, a response header and a complaint have in common.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// The id of one request: 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId([u8; 16]);

impl RequestId {
    /// The digits.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).expect("hexadecimal digits are ASCII")
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Gives ids out. No id comes twice from one source; sources with different seeds seldom meet.
#[derive(Debug)]
pub struct RequestIds {
    next: AtomicU64,
}

impl RequestIds {
    /// A source of ids. `seed` should differ from start to start.
    pub fn new(seed: u64) -> Self {
        Self { next: AtomicU64::new(seed) }
    }

    /// The next id.
    pub fn next(&self) -> RequestId {
        let mut rest = mix(self.next.fetch_add(1, Ordering::Relaxed));
        let mut digits = [0; 16];
        for digit in digits.iter_mut().rev() {
            *digit = b"0123456789abcdef"[(rest % 16) as usize];
            rest /= 16;
        }
        RequestId(digits)
    }
}

/// A permutation of the 64-bit numbers (SplitMix64's finisher), so that neighbouring ids look
/// nothing alike and can be told apart by their first digits.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_sixteen_digits_and_never_the_same() {
        let ids = RequestIds::new(7);
        let given: HashSet<_> = (0..10_000).map(|_| ids.next().to_string()).collect();
        assert_eq!(given.len(), 10_000);
        assert!(given.iter().all(|id| id.len() == 16 && u64::from_str_radix(id, 16).is_ok()));
    }
}
