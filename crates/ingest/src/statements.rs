//! Which statements about metric families are stored already.
//!
//! A sender of remote write 2.0 repeats type, help and unit with every series of every request.
//! Each of them has to be looked at, because any may be new; nearly all are known, which must cost
//! next to nothing.

use std::sync::atomic::{AtomicU64, Ordering};

use rangekeeper_model::{Day, SeriesHasher};
use rangekeeper_wire::v2::RawMetadata;

/// Statements that are remembered at most, eight bytes each. One that had to give way is compared
/// by the store, which costs time and nothing else.
const PLACES: usize = 1 << 15;

/// What a metric was said to be on a day, as a hash; never 0, which marks a free place. The hash
/// has 64 bits and a seed that nobody outside knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Statement(u64);

impl Statement {
    /// The statement that the metric of this name is what `metadata` says; `name` may be anything
    /// that holds it. The day is part of it: what is said is kept as long as the samples of the
    /// last day on which it was said.
    #[inline]
    pub(crate) fn new(
        hasher: &SeriesHasher,
        day: Day,
        name: &[u8],
        metadata: &RawMetadata<'_>,
    ) -> Self {
        let mut all = u64::from(day.0) << 8 | u64::from(metadata.metric_type.number());
        for text in [name, metadata.help, metadata.unit] {
            if !text.is_empty() {
                all ^= low(hasher.hash(text).0);
            }
            // Odd and without a pattern: the places of the texts must not be exchangeable.
            all = all.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        }
        Self(all.max(1))
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the lower half is what is wanted")]
fn low(hash: u128) -> u64 {
    hash as u64
}

/// The statements of all tenants that were stored lately.
///
/// A hash has two places, that of its low bits and the one beside it, so that two families which
/// fall together do not drive each other out. Places are only ever overwritten: whatever is lost in
/// a race is found out again.
#[derive(Debug)]
pub(crate) struct Statements {
    places: Box<[AtomicU64]>,
}

impl Default for Statements {
    fn default() -> Self {
        Self { places: (0..PLACES).map(|_| AtomicU64::new(0)).collect() }
    }
}

impl Statements {
    /// Whether the statement is stored. A statement that was not remembered never is.
    #[inline]
    pub(crate) fn has(&self, statement: Statement) -> bool {
        self.pair(statement).iter().any(|place| place.load(Ordering::Relaxed) == statement.0)
    }

    /// Remembers a statement, once it is stored.
    pub(crate) fn remember(&self, statement: Statement) {
        let [first, second] = self.pair(statement);
        let before = first.swap(statement.0, Ordering::Relaxed);
        if before != 0 && before != statement.0 {
            second.store(before, Ordering::Relaxed);
        }
    }

    #[inline]
    fn pair(&self, statement: Statement) -> [&AtomicU64; 2] {
        let mask = PLACES as u64 - 1;
        let at = usize::try_from(statement.0 & mask).expect("less than the number of places");
        [&self.places[at], &self.places[at ^ 1]]
    }
}

#[cfg(test)]
mod tests {
    use rangekeeper_model::{MetricType, TenantId};

    use super::*;

    fn statement(day: u32, name: &str, help: &str, unit: &str) -> Statement {
        let hasher = SeriesHasher::new(1, &TenantId::default());
        let metadata = RawMetadata {
            metric_type: MetricType::Counter,
            help: help.as_bytes(),
            unit: unit.as_bytes(),
        };
        Statement::new(&hasher, Day(day), name.as_bytes(), &metadata)
    }

    #[test]
    fn statements_differ_in_every_part() {
        let all = [
            statement(1, "a", "b", "c"),
            statement(2, "a", "b", "c"),
            statement(1, "ab", "", "c"),
            statement(1, "b", "a", "c"),
            statement(1, "a", "c", "b"),
            statement(1, "a", "bc", ""),
            statement(1, "a", "b", "d"),
        ];
        let statements = Statements::default();
        for (at, one) in all.iter().enumerate() {
            assert!(!statements.has(*one), "number {at} was never said");
            statements.remember(*one);
            assert!(all[..=at].iter().all(|said| statements.has(*said)));
        }
    }

    #[test]
    fn two_statements_of_one_place_are_both_remembered() {
        let statements = Statements::default();
        let [one, other] = [Statement(7), Statement(7 + PLACES as u64)];
        for _ in 0..2 {
            for statement in [one, other, other] {
                statements.remember(statement);
            }
            assert!(statements.has(one) && statements.has(other));
        }
    }
}
