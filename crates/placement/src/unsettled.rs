//! What a node holds of a shard and does not know to be at all places.
//!
//! **Invariant:** whatever was taken is in here until it is known, under one view, that every full
//! copy has it. A lost message leaves it in, overflow makes it coarser; nothing forgets it. So a
//! read may take everything from one place and only this from the others.
//!
//! A write is in here by its position in the log; when a checkpoint lets the log go, by what it
//! touched: series and windows, series and days of exemplars, the shard's metadata; when the first
//! two are too many, by day. Who delivers an entry to a place names its mark: what was added to the
//! entry after the delivery began is not delivered by it.

use std::collections::BTreeMap;

use rangekeeper_model::{Day, SeriesId, Window};

use crate::assignment::Shard;
use crate::ids::Place;
use crate::quorum::Quorum;
use crate::tally::Tally;
use rangekeeper_model::Epoch;

/// A position in a shard's log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogPosition(pub u64);

/// What is unsettled, as fine as it is still known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UnsettledKey {
    /// A record of the log.
    Record(LogPosition),
    /// A series' chunk.
    Chunk(Window, SeriesId),
    /// All of a day: samples and exemplars.
    Day(Day),
    /// A series' exemplars of a day.
    Exemplars(Day, SeriesId),
    /// All that was said of the shard's metric families. It is little, and said again every day, so
    /// it is one entry.
    Metadata,
}

impl UnsettledKey {
    /// The day that the entry is a part of, and may be made coarser to.
    pub fn within(self) -> Option<Day> {
        match self {
            Self::Chunk(window, _) => Some(window.day()),
            Self::Exemplars(day, _) => Some(day),
            Self::Record(_) | Self::Day(_) | Self::Metadata => None,
        }
    }

    /// The day with which the entry expires.
    fn day(self) -> Option<Day> {
        match self {
            Self::Day(day) => Some(day),
            key => key.within(),
        }
    }
}

/// An addition to an entry; a later one has a greater mark.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark(pub u64);

/// What an addition did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Added {
    /// The entry that holds it now.
    pub key: UnsettledKey,
    /// Its mark.
    pub mark: Mark,
    /// Whether the entry holds nothing else.
    pub is_alone: bool,
    /// The day whose parts became one entry, because they were too many.
    pub coarsened: Option<Day>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    tally: Tally,
    mark: Mark,
}

/// The unsettled entries of one shard at one node.
#[derive(Clone, Debug)]
pub struct Unsettled {
    quorum: Quorum,
    most_chunks: usize,
    /// Entries that are parts of days.
    chunks: usize,
    last_mark: Mark,
    entries: BTreeMap<UnsettledKey, Entry>,
}

impl Unsettled {
    /// Nothing yet. Beyond `most_chunks` entries that are parts of days, days take their place.
    pub fn new(quorum: Quorum, most_chunks: usize) -> Self {
        Self {
            quorum,
            most_chunks,
            chunks: 0,
            last_mark: Mark::default(),
            entries: BTreeMap::new(),
        }
    }

    /// The same, with marks that are all greater than `mark`: what a process named that ended must
    /// not mean anything to the next one.
    #[must_use]
    pub fn marked_after(mut self, mark: Mark) -> Self {
        self.last_mark = self.last_mark.max(mark);
        self
    }

    /// Adds to an entry, which nobody else is known to have from now on.
    pub fn add(&mut self, key: UnsettledKey) -> Added {
        self.last_mark.0 += 1;
        let day = key.within().map(UnsettledKey::Day);
        let key = day.filter(|day| self.entries.contains_key(day)).unwrap_or(key);
        let entry = Entry { tally: Tally::default(), mark: self.last_mark };
        let is_new = self.entries.insert(key, entry).is_none();
        let mut coarsened = None;
        if is_new && key.within().is_some() {
            self.chunks += 1;
            while self.chunks > self.most_chunks {
                coarsened = self.coarsen();
            }
        }
        let (key, mark) = if let Some(entry) = self.entries.get(&key) {
            (key, entry.mark)
        } else {
            let day = key.within().expect("only parts of days are made coarser");
            (UnsettledKey::Day(day), self.last_mark)
        };
        let is_alone = is_new && coarsened.is_none_or(|day| key != UnsettledKey::Day(day));
        Added { key, mark, is_alone, coarsened }
    }

    /// Makes one entry of the oldest day's parts.
    fn coarsen(&mut self) -> Option<Day> {
        let day = self.entries.keys().filter_map(|key| key.within()).min()?;
        let before = self.entries.len();
        self.entries.retain(|key, _| key.within() != Some(day));
        self.chunks -= before - self.entries.len();
        self.add(UnsettledKey::Day(day));
        Some(day)
    }

    /// The records up to `position` leave the log: those that are unsettled become what `chunks`
    /// says they hold.
    pub fn checkpoint<I: IntoIterator<Item = (Window, SeriesId)>>(
        &mut self,
        position: LogPosition,
        mut chunks: impl FnMut(LogPosition) -> I,
    ) {
        while let Some(entry) = self.entries.first_entry() {
            let UnsettledKey::Record(at) = *entry.key() else { break };
            if at > position {
                break;
            }
            entry.remove();
            for (window, series) in chunks(at) {
                self.add(UnsettledKey::Chunk(window, series));
            }
        }
    }

    /// The router of a write says that all places have it. What a checkpoint has made coarser stays
    /// until it is delivered: it may hold other writes.
    pub fn settle(&mut self, position: LogPosition) {
        self.entries.remove(&UnsettledKey::Record(position));
    }

    /// A place has, synced, what the entry held at `mark`; `given` is the epoch of the map by which
    /// it was asked, `view` the newest map here. Says whether all places have it now, and forgets
    /// it then.
    pub fn delivered(
        &mut self,
        key: UnsettledKey,
        mark: Mark,
        place: Place,
        given: Epoch,
        view: &Shard,
    ) -> bool {
        let Some(entry) = self.entries.get_mut(&key).filter(|entry| entry.mark == mark) else {
            return false;
        };
        entry.tally.record(place, given, view);
        let is_settled = entry.tally.is_settled(self.quorum);
        if is_settled {
            self.entries.remove(&key);
            self.chunks -= usize::from(key.within().is_some());
        }
        is_settled
    }

    /// Whoever delivered an entry here, as it was at `mark`, says that all places have it. Says
    /// whether it is gone.
    pub fn forget(&mut self, key: UnsettledKey, mark: Mark) -> bool {
        if self.mark(key) != Some(mark) {
            return false;
        }
        self.entries.remove(&key);
        self.chunks -= usize::from(key.within().is_some());
        true
    }

    /// Forgets what lies before `floor`: no place keeps it. Returns what that was.
    pub fn drop_before(&mut self, floor: Day) -> Vec<UnsettledKey> {
        let is_gone = |key: &UnsettledKey| key.day().is_some_and(|day| day < floor);
        let gone: Vec<_> = self.entries.keys().copied().filter(is_gone).collect();
        for key in &gone {
            self.entries.remove(key);
            self.chunks -= usize::from(key.within().is_some());
        }
        gone
    }

    /// A newer map of the shard: who got a slot is not known to have what its predecessor had.
    pub fn rebase(&mut self, view: &Shard) {
        self.entries.values_mut().for_each(|entry| entry.tally.rebase(view));
    }

    /// The entries with their marks, and the places that each should be delivered to.
    pub fn iter(&self) -> impl Iterator<Item = (UnsettledKey, Mark, Tally)> {
        self.entries.iter().map(|(key, entry)| (*key, entry.mark, entry.tally))
    }

    /// The keys of the entries from `key` on, rising: records, chunks by window and series, days,
    /// exemplars by day and series, metadata.
    pub fn keys_from(&self, key: UnsettledKey) -> impl Iterator<Item = UnsettledKey> {
        self.entries.range(key..).map(|(key, _)| *key)
    }

    /// The mark of the last addition to an entry; `None` where there is no such entry.
    pub fn mark(&self, key: UnsettledKey) -> Option<Mark> {
        self.entries.get(&key).map(|entry| entry.mark)
    }

    /// Entries that are parts of days: of series and windows, and of exemplars.
    pub fn chunk_count(&self) -> usize {
        self.chunks
    }

    /// Whether a record of the log is unsettled by its position.
    pub fn has_record(&self, position: LogPosition) -> bool {
        self.entries.contains_key(&UnsettledKey::Record(position))
    }

    /// Whether a series' chunk is unsettled, by itself or with its day. Records that are still in
    /// the log come on top.
    pub fn has_chunk(&self, window: Window, series: SeriesId) -> bool {
        self.entries.contains_key(&UnsettledKey::Day(window.day()))
            || self.entries.contains_key(&UnsettledKey::Chunk(window, series))
    }

    /// Whether nothing is unsettled for a place: part of its being caught up.
    pub fn is_settled_for(&self, place: Place) -> bool {
        self.entries.values().all(|entry| entry.tally.has(place))
    }

    /// Entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether everything is settled.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use rangekeeper_model::WindowInDay;

    use super::*;
    use crate::ids::{NodeIndex, SlotEpoch};
    use crate::quorum::Replication;
    use crate::slot::{Slot, SlotState};

    fn view(epoch: u64) -> Shard {
        let state = SlotState::Steady { node: NodeIndex(0) };
        let slot = Slot { state, epoch: SlotEpoch(Epoch(epoch)) };
        Shard { since: Epoch(0), rsince: Epoch(0), slots: [slot; 3].into() }
    }

    fn series(number: u8) -> SeriesId {
        SeriesId([number; SeriesId::BYTES])
    }

    fn mark_of(unsettled: &Unsettled, wanted: UnsettledKey) -> Mark {
        unsettled.iter().find(|(key, ..)| *key == wanted).unwrap().1
    }

    #[test]
    fn an_entry_goes_when_every_place_has_it_under_one_view() {
        let mut unsettled = Unsettled::new(Replication::Three.quorum(), 10);
        let key = UnsettledKey::Record(LogPosition(7));
        unsettled.add(key);
        let mark = mark_of(&unsettled, key);
        assert!(!unsettled.delivered(key, mark, Place(0), Epoch(1), &view(1)));
        assert!(!unsettled.delivered(key, mark, Place(1), Epoch(1), &view(1)));
        assert!(unsettled.is_settled_for(Place(0)) && !unsettled.is_settled_for(Place(2)));
        unsettled.rebase(&view(2));
        assert!(!unsettled.delivered(key, mark, Place(2), Epoch(2), &view(2)));
        assert!(!unsettled.delivered(key, mark, Place(0), Epoch(1), &view(2)), "by an older view");
        assert!(!unsettled.delivered(key, mark, Place(0), Epoch(2), &view(2)));
        assert!(unsettled.delivered(key, mark, Place(1), Epoch(2), &view(2)));
        assert!(unsettled.is_empty());
    }

    #[test]
    fn what_is_added_during_a_delivery_is_not_delivered_by_it() {
        let mut unsettled = Unsettled::new(Replication::One.quorum(), 10);
        let key = UnsettledKey::Chunk(Window(5), series(1));
        unsettled.add(key);
        let mark = mark_of(&unsettled, key);
        unsettled.add(key);
        assert!(!unsettled.delivered(key, mark, Place(0), Epoch(1), &view(1)));
        let mark = mark_of(&unsettled, key);
        assert!(unsettled.delivered(key, mark, Place(0), Epoch(1), &view(1)));
    }

    #[test]
    fn an_addition_says_what_holds_it_and_whether_anything_else_does() {
        let mut unsettled = Unsettled::new(Replication::Three.quorum(), 2).marked_after(Mark(100));
        let key = |n| UnsettledKey::Chunk(Window(0), series(n));
        let day = UnsettledKey::Day(Day(0));
        let first = unsettled.add(key(1));
        assert!(first.is_alone && first.key == key(1) && first.mark == Mark(101));
        let again = unsettled.add(key(1));
        assert!(!again.is_alone && again.mark > first.mark);
        assert!(!unsettled.forget(key(1), first.mark), "something was added since");
        assert!(unsettled.forget(key(1), again.mark) && unsettled.chunk_count() == 0);
        for n in 1..=2 {
            assert_eq!(unsettled.add(key(n)).coarsened, None);
        }
        let last = unsettled.add(key(3));
        assert_eq!((last.key, last.is_alone, last.coarsened), (day, false, Some(Day(0))));
        assert_eq!(Some(last.mark), unsettled.mark(day));
        let within = unsettled.add(key(4));
        assert!(within.key == day && !within.is_alone && within.mark > last.mark);
        let later = unsettled.add(UnsettledKey::Chunk(Window(12), series(1)));
        assert!(later.is_alone);
        assert_eq!(unsettled.drop_before(Day(1)), [day]);
        assert_eq!(unsettled.keys_from(key(0)).collect::<Vec<_>>(), [later.key]);
    }

    #[test]
    fn exemplars_become_part_of_their_day_and_metadata_stays_one_entry() {
        let mut unsettled = Unsettled::new(Replication::Three.quorum(), 2);
        let (today, tomorrow) = (Day(3), Day(4));
        let exemplars = |day, n| UnsettledKey::Exemplars(day, series(n));
        let metadata = UnsettledKey::Metadata;
        assert!(unsettled.add(metadata).is_alone && !unsettled.add(metadata).is_alone);
        assert!(unsettled.add(exemplars(today, 1)).is_alone);
        let chunk = UnsettledKey::Chunk(Window::new(tomorrow, WindowInDay(0)), series(1));
        assert!(unsettled.add(chunk).is_alone);
        let third = unsettled.add(exemplars(tomorrow, 2));
        assert_eq!((third.key, third.coarsened), (exemplars(tomorrow, 2), Some(today)));
        assert_eq!(unsettled.add(exemplars(today, 9)).key, UnsettledKey::Day(today));
        let keys = [chunk, UnsettledKey::Day(today), exemplars(tomorrow, 2), metadata];
        assert!(unsettled.iter().map(|(key, ..)| key).eq(keys));
        assert_eq!(unsettled.chunk_count(), 2, "metadata is no part of a day");
        let mark = mark_of(&unsettled, exemplars(tomorrow, 2));
        assert!(unsettled.forget(exemplars(tomorrow, 2), mark));
        assert_eq!(unsettled.drop_before(Day(5)), [chunk, UnsettledKey::Day(today)]);
        assert!(unsettled.iter().map(|(key, ..)| key).eq([metadata]));
        assert_eq!(unsettled.chunk_count(), 0);
    }

    #[test]
    fn checkpoints_and_overflow_make_it_coarser_and_forget_nothing() {
        let mut unsettled = Unsettled::new(Replication::Three.quorum(), 2);
        for position in 1..=3 {
            unsettled.add(UnsettledKey::Record(LogPosition(position)));
        }
        unsettled.settle(LogPosition(1));
        unsettled.checkpoint(LogPosition(2), |_| [(Window(0), series(1)), (Window(13), series(2))]);
        assert!(unsettled.has_record(LogPosition(3)) && !unsettled.has_record(LogPosition(2)));
        assert!(unsettled.has_chunk(Window(0), series(1)));
        assert!(!unsettled.has_chunk(Window(1), series(1)));
        unsettled.add(UnsettledKey::Chunk(Window(2), series(3)));
        assert!(unsettled.has_chunk(Window(11), series(9)), "the first day is one entry now");
        assert!(unsettled.has_chunk(Window(13), series(2)));
        unsettled.add(UnsettledKey::Chunk(Window(3), series(4)));
        assert_eq!(unsettled.len(), 3, "a record, a chunk of the second day, the first day");
        unsettled.settle(LogPosition(3));
        assert_eq!(unsettled.len(), 2);
    }
}
