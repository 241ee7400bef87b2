//! Reading chunks, and the iterators that all readers use.

use std::collections::BTreeSet;

use rangekeeper_model::{Day, SeriesId, WINDOWS_A_DAY, Window, WindowInDay};
use rocksdb::{DB, DBRawIteratorWithThreadMode, ReadOptions};

use super::keys::{self, Family, WHOLE_DAY};
use super::{Db, DbError};

/// Asked now and then by long reads: whether to stop, because a deadline passed or nobody waits any
/// more.
pub type Stop<'a> = &'a (dyn Fn() -> bool + Sync);

/// A [`Stop`] that never stops.
pub fn never() -> bool {
    false
}

/// Series read between two looks at [`Stop`].
const SERIES_A_CHECK: usize = 256;
/// Rows to step over before a seek is cheaper: a seek costs about as much as this many steps.
const STEPS_BEFORE_SEEK: u32 = 24;
/// Readahead of scans that read everything in their range.
const SCAN_READAHEAD_BYTES: usize = 256 << 10;

pub(crate) type Iterator<'a> = DBRawIteratorWithThreadMode<'a, DB>;

/// A range of windows of a day, both ends in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// The first window.
    pub first: WindowInDay,
    /// The last window.
    pub last: WindowInDay,
}

impl Windows {
    /// All windows of a day.
    pub const ALL: Self = Self { first: WindowInDay(0), last: WindowInDay(WINDOWS_A_DAY - 1) };

    /// The windows of `day` from `first` to `last`, both included; `None` where none of them is the
    /// day's.
    pub fn of_day(day: Day, first: Window, last: Window) -> Option<Self> {
        let first = first.max(Window::new(day, Self::ALL.first));
        let last = last.min(Window::new(day, Self::ALL.last));
        (first <= last).then(|| Self { first: first.in_day(), last: last.in_day() })
    }

    fn contains(self, window: WindowInDay) -> bool {
        window == WHOLE_DAY || (self.first <= window && window <= self.last)
    }
}

impl Db {
    /// An iterator over `family` that ends before `end`. A scan reads ahead and leaves the block
    /// cache as it is.
    pub(crate) fn iterator(
        &self,
        family: Family,
        end: impl Into<Vec<u8>>,
        scan: bool,
    ) -> Iterator<'_> {
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(end);
        options.set_verify_checksums(true);
        if scan {
            options.set_readahead_size(SCAN_READAHEAD_BYTES);
            options.fill_cache(false);
        }
        self.rocks().raw_iterator_cf_opt(self.family(family), options)
    }

    /// An iterator over the keys of `day` in `family`, not yet placed.
    pub(crate) fn day_iterator(&self, family: Family, day: Day) -> Iterator<'_> {
        self.iterator(family, keys::day_end(day), false)
    }

    /// Calls `each` with every chunk value that `ids` (sorted) have in `windows` of `day`, in the
    /// order of series and windows, and with the place of its series in `ids`. A chunk of the whole
    /// day, window number 12, comes whatever the windows; a window's own chunk may stand beside it
    /// with what came later. Ends early when `each` returns `false`.
    pub fn read_chunks(
        &self,
        day: Day,
        ids: &[SeriesId],
        windows: Windows,
        stop: Stop<'_>,
        mut each: impl FnMut(usize, WindowInDay, &[u8]) -> bool,
    ) -> Result<(), DbError> {
        const OPERATION: &str = "read chunks";
        let (Some(_), true) = (ids.first(), day >= self.floor()) else { return Ok(()) };
        debug_assert!(ids.is_sorted());
        let mut walk = Walk::new(self.day_iterator(Family::Chunks, day));
        for (at, &id) in ids.iter().enumerate() {
            walk.to(&keys::chunk(day, id, windows.first));
            if walk.iterator.key().is_none() {
                break;
            }
            while let Some((key, value)) = walk.iterator.item() {
                let Some((_, found, window)) = keys::chunk_parts(key) else {
                    return Err(self.unreadable(OPERATION, day, "a chunk key of another length"));
                };
                if found != id {
                    break;
                }
                if windows.contains(window) {
                    if !each(at, window, value) {
                        return Ok(());
                    }
                    walk.iterator.next();
                } else {
                    walk.to(&keys::chunk(day, id, WHOLE_DAY));
                }
            }
            if at % SERIES_A_CHECK == SERIES_A_CHECK - 1 && stop() {
                return Err(DbError::Interrupted { operation: OPERATION });
            }
        }
        walk.iterator.status().map_err(|e| self.read_failed(OPERATION, Some(day), e))
    }

    /// The days that hold chunks or series, rising. From memory.
    pub fn days(&self) -> Vec<Day> {
        self.days.present()
    }
}

/// The days that hold chunks or series: a seek each.
pub(super) fn present_days(rocks: &DB) -> Result<BTreeSet<Day>, rocksdb::Error> {
    let mut days = BTreeSet::new();
    for family in [Family::Chunks, Family::Numbers] {
        let handle = rocks.cf_handle(family.name()).expect("every family is opened");
        let mut iterator = rocks.raw_iterator_cf(handle);
        iterator.seek_to_first();
        while let Some(day) = iterator.key().and_then(keys::day_of) {
            days.insert(day);
            iterator.seek(keys::day_end(day));
        }
        iterator.status()?;
    }
    Ok(days)
}

/// The days that table files may hold, by their first and last keys: where reading them fails, so
/// that whoever asks for them then names the damage.
pub(super) fn days_of_files(rocks: &DB) -> Result<BTreeSet<Day>, rocksdb::Error> {
    let mut days = BTreeSet::new();
    for file in rocks.live_files()? {
        let family = Family::named(&file.column_family_name);
        let ends = (file.start_key.as_deref(), file.end_key.as_deref());
        let (Some(Family::Chunks | Family::Numbers), (Some(from), Some(to))) = (family, ends)
        else {
            continue;
        };
        if let (Some(from), Some(to)) = (keys::day_of(from), keys::day_of(to)) {
            days.extend((from.0..=to.0).map(Day));
        }
    }
    Ok(days)
}

/// An iterator that goes to rising targets: by steps where they lie dense, by seeks where they do
/// not.
pub(crate) struct Walk<'a> {
    pub(crate) iterator: Iterator<'a>,
    /// Steps to try before a seek; follows how far apart the last targets lay.
    steps: u32,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(iterator: Iterator<'a>) -> Self {
        Self { iterator, steps: 1 }
    }

    /// Goes to the first key not below `target`.
    pub(crate) fn to(&mut self, target: &[u8]) {
        for _ in 0..self.steps {
            match self.iterator.key() {
                Some(key) if key < target => self.iterator.next(),
                Some(_) => {
                    self.steps = (self.steps * 2).min(STEPS_BEFORE_SEEK);
                    return;
                }
                None => break,
            }
        }
        if self.iterator.key().is_none_or(|key| key < target) {
            self.steps = (self.steps / 2).max(1);
            self.iterator.seek(target);
        }
    }
}
