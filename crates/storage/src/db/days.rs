//! What is kept in memory of each day's index: the next number to give, numbers that are being
//! given, and the series of each number while there is room for that.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::HashMap;
use parking_lot::{Mutex, RwLock};
use rangekeeper_model::{Day, SeriesId};

/// Stands for a number that no series has: given, but never written. No series has the id of zeros
/// alone, short of a collision of 128 bits.
pub(super) const NOBODY: SeriesId = SeriesId([0; SeriesId::BYTES]);

/// One day's index in memory. Its lock is what orders the giving of numbers.
#[derive(Default)]
pub(super) struct DayIndex {
    /// The next number to give; `None` until it was looked up.
    pub(super) next: Option<u32>,
    /// Series whose number is in a batch that is not written yet, with how many such batches there
    /// are.
    pub(super) pending: HashMap<SeriesId, (u32, u32)>,
    /// The series of each number; `None` while it is not loaded.
    pub(super) ids: Option<Vec<SeriesId>>,
    /// Numbers that were looked up one by one since there was no vector.
    pub(super) looked_up: AtomicU64,
}

impl DayIndex {
    fn bytes(&self) -> usize {
        self.ids.as_ref().map_or(0, |ids| ids.capacity() * SeriesId::BYTES)
    }
}

struct Slot {
    index: Arc<RwLock<DayIndex>>,
    used: AtomicU64,
}

/// The indexes of all days in use.
pub(super) struct DayIndexes {
    days: Mutex<HashMap<Day, Slot>>,
    uses: AtomicU64,
    budget_bytes: usize,
    /// The days that hold anything: every query asks for them.
    present: RwLock<BTreeSet<Day>>,
}

impl DayIndexes {
    pub(super) fn new(budget_bytes: usize, present: BTreeSet<Day>) -> Self {
        let present = RwLock::new(present);
        Self { days: Mutex::default(), uses: AtomicU64::new(0), budget_bytes, present }
    }

    pub(super) fn present(&self) -> Vec<Day> {
        self.present.read().iter().copied().collect()
    }

    pub(super) fn add_present<'d>(&self, days: impl Iterator<Item = &'d Day>) {
        for day in days {
            if !self.present.read().contains(day) {
                self.present.write().insert(*day);
            }
        }
    }

    pub(super) fn index(&self, day: Day) -> Arc<RwLock<DayIndex>> {
        let use_number = self.uses.fetch_add(1, Ordering::Relaxed);
        let mut days = self.days.lock();
        let slot = days
            .entry(day)
            .or_insert_with(|| Slot { index: Arc::default(), used: AtomicU64::new(0) });
        slot.used.store(use_number, Ordering::Relaxed);
        slot.index.clone()
    }

    /// The batch that gave these numbers is written.
    pub(super) fn confirm(&self, day: Day, given: &[(u32, SeriesId)]) {
        self.add_present(std::iter::once(&day));
        let index = self.index(day);
        let mut index = index.write();
        if let Some(ids) = &mut index.ids {
            for &(number, id) in given {
                let at = number as usize;
                if ids.len() <= at {
                    ids.resize(at + 1, NOBODY);
                }
                ids[at] = id;
            }
        }
        forget(&mut index, given);
    }

    /// The batch that gave these numbers will not be written.
    pub(super) fn release(&self, day: Day, given: &[(u32, SeriesId)]) {
        forget(&mut self.index(day).write(), given);
    }

    /// Gives back memory: the vectors of the days that were not used for longest, until the budget
    /// holds. Days in the hands of others are left.
    pub(super) fn shrink(&self) {
        let days = self.days.lock();
        let mut by_use: Vec<_> = days.values().collect();
        by_use.sort_by_key(|slot| slot.used.load(Ordering::Relaxed));
        let sizes = by_use.iter().map(|slot| slot.index.try_read().map_or(0, |i| i.bytes()));
        let mut total: usize = sizes.sum();
        // The newest stays whatever its size: it is about to be used.
        for slot in by_use.iter().take(by_use.len().saturating_sub(1)) {
            if total <= self.budget_bytes {
                return;
            }
            if let Some(mut index) = slot.index.try_write() {
                total -= index.bytes();
                index.ids = None;
                *index.looked_up.get_mut() = 0;
            }
        }
    }

    /// Forgets the days below `floor`.
    pub(super) fn drop_below(&self, floor: Day) {
        self.days.lock().retain(|day, _| *day >= floor);
        self.present.write().retain(|day| *day >= floor);
    }

    /// Bytes of the loaded vectors.
    pub(super) fn bytes(&self) -> usize {
        let days = self.days.lock();
        days.values().map(|slot| slot.index.try_read().map_or(0, |i| i.bytes())).sum()
    }
}

fn forget(index: &mut DayIndex, given: &[(u32, SeriesId)]) {
    for (_, id) in given {
        if let Some((_, holders)) = index.pending.get_mut(id) {
            *holders -= 1;
            if *holders == 0 {
                index.pending.remove(id);
            }
        }
    }
    if index.pending.is_empty() && index.pending.capacity() > 1024 {
        index.pending = HashMap::new();
    }
}
