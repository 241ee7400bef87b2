//! The series that this router has seen: their labels were judged, so their hash alone stands for
//! them. And what it has passed on of metric families.
//!
//! A hash that is not here costs a look at the labels, nothing else: peers say which series they do
//! not know. So entries are simply forgotten when they were not asked for in a while.

use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use parking_lot::Mutex;
use rangekeeper_model::{Labels, SeriesHash};

const STRIPES: usize = 64;

/// Hashes are as good as drawn.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _bytes: &[u8]) {
        unreachable!("keys are u128")
    }

    fn write_u128(&mut self, hash: u128) {
        #[expect(clippy::cast_possible_truncation, reason = "the low half is drawn as well")]
        let low = hash as u64;
        self.0 = low;
    }
}

type Table = hashbrown::HashMap<u128, Seen, BuildHasherDefault<AsItIs>>;

/// What a hash stands for.
#[derive(Clone, Debug)]
pub(crate) enum Seen {
    /// The series whose canonical label bytes have it.
    Canonical,
    /// The series with these labels, written in another way.
    Alias(Arc<(SeriesHash, Labels)>),
}

#[derive(Default)]
struct Stripe {
    now: Table,
    before: Table,
}

/// A bounded table of hashes.
pub(crate) struct KnownSeries {
    stripes: Box<[Mutex<Stripe>]>,
    most_a_stripe: usize,
}

impl KnownSeries {
    /// A table of `most` entries, about.
    pub(crate) fn new(most: usize) -> Self {
        let stripes = (0..STRIPES).map(|_| Mutex::default()).collect();
        Self { stripes, most_a_stripe: (most / STRIPES / 2).max(1) }
    }

    #[inline]
    pub(crate) fn get(&self, hash: SeriesHash) -> Option<Seen> {
        let mut stripe = self.stripe(hash).lock();
        if let Some(seen) = stripe.now.get(&hash.0) {
            return Some(seen.clone());
        }
        let seen = stripe.before.remove(&hash.0)?;
        self.put(&mut stripe, hash, seen.clone());
        Some(seen)
    }

    pub(crate) fn insert(&self, hash: SeriesHash, seen: Seen) {
        self.put(&mut self.stripe(hash).lock(), hash, seen);
    }

    fn put(&self, stripe: &mut Stripe, hash: SeriesHash, seen: Seen) {
        if stripe.now.len() >= self.most_a_stripe {
            stripe.before = std::mem::take(&mut stripe.now);
        }
        stripe.now.insert(hash.0, seen);
    }

    #[inline]
    fn stripe(&self, hash: SeriesHash) -> &Mutex<Stripe> {
        // Not the bits that choose the shard, and not those that choose the place in the table.
        let stripe = (hash.0 >> 64) % STRIPES as u128;
        &self.stripes[usize::try_from(stripe).expect("far below 2^32")]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_stays_and_the_rest_is_forgotten() {
        let known = KnownSeries::new(STRIPES * 4);
        let hash = |number: u128| SeriesHash(number << 72 | number);
        known.insert(hash(0), Seen::Canonical);
        for number in 1..100_000 {
            known.insert(hash(number), Seen::Canonical);
            assert!(known.get(hash(0)).is_some(), "asked for all the time, after {number}");
        }
        assert!(known.get(hash(1)).is_none());
        let held_by = |stripe: &Mutex<Stripe>| {
            let stripe = stripe.lock();
            stripe.now.len() + stripe.before.len()
        };
        let held: usize = known.stripes.iter().map(held_by).sum();
        assert!(held <= STRIPES * 4 + STRIPES, "{held}");
    }
}
