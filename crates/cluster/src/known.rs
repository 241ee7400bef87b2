//! The series that this router has seen: their labels were judged, so their hash alone stands for
//! them. And what it has passed on of metric families.
//!
//! A hash that is not here costs a look at the labels, nothing else: peers say which series they do
//! not know. So this is a cache: of each hash it has 64 bits, in the one cache line that some of
//! these bits name, and where a line is full an entry is forgotten. Between two series no lock is
//! taken, so the processor looks for several at once.

use std::array;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::{RwLock, RwLockReadGuard};
use rangekeeper_model::{Labels, SeriesHash};

/// Entries of a line.
const WAYS: usize = 8;
/// Label sets that are written in another way than canonically, of which so many are kept.
const ALIASES: usize = 1 << 18;
/// Lines of an empty cache.
const FIRST_LINES: usize = 64;

type Aliases = hashbrown::HashMap<u128, Arc<(SeriesHash, Labels)>>;

/// What a hash stands for.
#[derive(Clone, Debug)]
pub(crate) enum Seen {
    /// The series whose canonical label bytes have it.
    Canonical,
    /// The series with these labels, written in another way.
    Alias(Arc<(SeriesHash, Labels)>),
}

/// A line of the cache: halves of hashes, nought where there is none.
#[repr(align(64))]
struct Line([AtomicU64; WAYS]);

/// Lines, as many as a power of two.
struct Lines {
    lines: Box<[Line]>,
    entries: AtomicUsize,
}

/// A bounded cache of hashes, which grows with what it has to keep.
pub(crate) struct KnownSeries {
    lines: RwLock<Lines>,
    most_lines: usize,
    aliases: RwLock<Aliases>,
}

/// A look at the cache, for many series.
pub(crate) struct Looking<'a> {
    lines: RwLockReadGuard<'a, Lines>,
    aliases: RwLockReadGuard<'a, Aliases>,
}

impl KnownSeries {
    /// A cache of `most` entries, about.
    pub(crate) fn new(most: usize) -> Self {
        let most_lines = (most / WAYS).max(1).next_power_of_two();
        let lines = RwLock::new(Lines::new(most_lines.min(FIRST_LINES)));
        Self { lines, most_lines, aliases: RwLock::default() }
    }

    /// Looks. Nothing is to be inserted until this is dropped.
    pub(crate) fn look(&self) -> Looking<'_> {
        Looking { lines: self.lines.read(), aliases: self.aliases.read() }
    }

    pub(crate) fn insert(&self, hash: SeriesHash, seen: Seen) {
        match seen {
            Seen::Canonical => {
                let lines = self.lines.read();
                lines.insert(half_of(hash));
                let is_crowded = lines.is_crowded() && lines.lines.len() < self.most_lines;
                drop(lines);
                if is_crowded {
                    self.grow();
                }
            }
            Seen::Alias(of) => {
                let mut aliases = self.aliases.write();
                if aliases.len() >= ALIASES {
                    aliases.clear();
                }
                aliases.insert(hash.0, of);
            }
        }
    }

    fn grow(&self) {
        let mut lines = self.lines.write();
        // Another thread may have been here first.
        if lines.is_crowded() && lines.lines.len() < self.most_lines {
            let larger = Lines::new(2 * lines.lines.len());
            lines.halves().for_each(|half| larger.insert(half));
            *lines = larger;
        }
    }
}

impl Looking<'_> {
    /// What the hash stands for, if it is known.
    #[inline]
    pub(crate) fn get(&self, hash: SeriesHash) -> Option<Seen> {
        if self.lines.has(half_of(hash)) {
            return Some(Seen::Canonical);
        }
        self.aliases.get(&hash.0).map(|of| Seen::Alias(Arc::clone(of)))
    }
}

impl Lines {
    fn new(count: usize) -> Self {
        let line = |_| Line(array::from_fn(|_| AtomicU64::new(0)));
        Self { lines: (0..count).map(line).collect(), entries: AtomicUsize::new(0) }
    }

    #[inline]
    fn line(&self, half: u64) -> &Line {
        let mask = self.lines.len() as u64 - 1;
        &self.lines[usize::try_from(half & mask).expect("there are so many lines")]
    }

    #[inline]
    fn has(&self, half: u64) -> bool {
        self.line(half).0.iter().any(|entry| entry.load(Ordering::Relaxed) == half)
    }

    fn insert(&self, half: u64) {
        if self.has(half) {
            return;
        }
        let line = self.line(half);
        let free = line.0.iter().find(|entry| entry.load(Ordering::Relaxed) == 0);
        if free.is_some() {
            self.entries.fetch_add(1, Ordering::Relaxed);
        }
        // Two that come at once may take one place: one of them is looked at again.
        let entry = free.unwrap_or_else(|| &line.0[fastrand::usize(..WAYS)]);
        entry.store(half, Ordering::Relaxed);
    }

    /// Whether lines begin to be full.
    fn is_crowded(&self) -> bool {
        2 * self.entries.load(Ordering::Relaxed) > self.lines.len() * WAYS
    }

    fn halves(&self) -> impl Iterator<Item = u64> {
        let entries = self.lines.iter().flat_map(|line| &line.0);
        entries.map(|entry| entry.load(Ordering::Relaxed)).filter(|half| *half != 0)
    }
}

/// What is kept of a hash. Nought stands for nothing, so a half that is nought is another number.
#[inline]
fn half_of(hash: SeriesHash) -> u64 {
    #[expect(clippy::cast_possible_truncation, reason = "the low half is as good as drawn")]
    let half = hash.0 as u64;
    half.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(random: &mut fastrand::Rng) -> SeriesHash {
        SeriesHash(random.u128(..))
    }

    #[test]
    fn nearly_all_of_half_as_many_as_there_is_room_for_are_known_and_nothing_else_is() {
        let mut random = fastrand::Rng::with_seed(7);
        let known = KnownSeries::new(1 << 16);
        let hashes: Vec<_> = (0..1 << 15).map(|_| hash(&mut random)).collect();
        for hash in &hashes {
            assert!(known.look().get(*hash).is_none());
            known.insert(*hash, Seen::Canonical);
            known.insert(*hash, Seen::Canonical);
        }
        let kept = hashes.iter().filter(|hash| known.look().get(**hash).is_some()).count();
        assert!(kept * 100 > hashes.len() * 97, "{kept} of {}", hashes.len());
        assert!((0..100_000).all(|_| known.look().get(hash(&mut random)).is_none()));
    }

    #[test]
    fn an_alias_leads_to_its_series_and_their_number_is_bounded() {
        let mut random = fastrand::Rng::with_seed(8);
        let known = KnownSeries::new(64);
        let labels = Labels::from_pairs([("a", "b")]).unwrap();
        let (raw, of) = (hash(&mut random), hash(&mut random));
        let alias = Arc::new((of, labels));
        known.insert(raw, Seen::Alias(Arc::clone(&alias)));
        let Some(Seen::Alias(found)) = known.look().get(raw) else { panic!("it is not there") };
        assert_eq!(found.0, of);
        for _ in 0..2 * ALIASES {
            known.insert(hash(&mut random), Seen::Alias(Arc::clone(&alias)));
        }
        assert!(known.aliases.read().len() <= ALIASES);
    }
}
