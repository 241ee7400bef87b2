//! A stripe: a contiguous group of shards whose series share one lock and one checkpoint.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hashbrown::{HashSet, HashTable};
use rangekeeper_chunk as chunk;
use rangekeeper_model::{Day, HistogramSample, SeriesHash, SeriesId, Window};

use super::flush::FlushBatch;
use super::loose::Loose;
use super::series::{Placed, Series};
use super::{Exemplar, FamilyKey, FamilyMetadata};
use crate::log::{FileSeq, Position};

/// The series of some shards, and what waits for their next checkpoint.
#[derive(Debug, Default)]
pub(crate) struct Stripe {
    /// Slots by the low 64 bits of the series hash, which hash and key share.
    table: HashTable<u32>,
    slots: Vec<Option<Series>>,
    /// One for each slot.
    places: Vec<Place>,
    /// Slots that are free, each after the last log file that names its last series by the slot's
    /// reference.
    vacant: BTreeSet<(FileSeq, u32)>,
    loose: Loose,
    /// What the checkpoint under way has taken out; readers look here too.
    /// With it goes the log position that it is good for.
    flushing: Option<(Arc<FlushBatch>, Position)>,
    /// Series with samples on days under which the database's index does not have them yet.
    unregistered: BTreeSet<(u32, Day)>,
    exemplars: Vec<Exemplar>,
    flushing_exemplars: Arc<Vec<Exemplar>>,
    /// Senders differ, so a family can have more than one statement.
    metadata: BTreeMap<FamilyKey, BTreeSet<FamilyMetadata>>,
    /// Samples in open segments.
    open_samples: usize,
    /// Series that have an open segment.
    open_series: usize,
    /// Second in which the oldest of what waits came.
    oldest_s: Option<u32>,
    /// Series in slots.
    live_series: usize,
}

/// What a request needs of a series before its samples are durable: apart from all the rest, so
/// that two of them share a cache line, and in the order of slots, which mostly is the order of
/// requests.
#[derive(Debug)]
struct Place {
    hash: SeriesHash,
    /// The log file that holds the definition of the series.
    defined_in: FileSeq,
    /// Requests between resolving the series and appending to it: it must stay in its slot.
    pins: u32,
    /// Second (of the store's clock) in which a request last resolved the series.
    touched_s: u32,
}

/// In `pins`: nobody has the slot.
const VACANT: u32 = u32::MAX;

/// What a stripe holds, for deciding whether to flush it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fill {
    pub(crate) open_samples: usize,
    pub(crate) open_series: usize,
    pub(crate) loose_samples: usize,
    pub(crate) exemplars: usize,
    /// Second in which the oldest of it came.
    pub(crate) oldest_s: Option<u32>,
}

/// What a checkpoint of a stripe writes.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    /// Everything up to here is in the batch or was in an earlier one.
    pub(crate) watermark: Position,
    pub(crate) chunks: Arc<FlushBatch>,
    pub(crate) exemplars: Arc<Vec<Exemplar>>,
    pub(crate) metadata: Vec<(FamilyKey, FamilyMetadata)>,
}

impl Stripe {
    /// The slot of the series with this hash.
    #[inline]
    pub(crate) fn find(&self, hash: SeriesHash) -> Option<u32> {
        self.table.find(low_bits(hash), |&slot| self.places[slot as usize].hash == hash).copied()
    }

    /// Like [`Self::find`], after a look at slot `guess`. Senders repeat their series in one order,
    /// and slots were given in that order, so the guess is mostly right; and other than what the
    /// table says it is known early, so that the processor fetches several series at a time.
    #[inline]
    pub(crate) fn find_near(&self, hash: SeriesHash, guess: u32) -> Option<u32> {
        match self.places.get(guess as usize) {
            Some(place) if place.hash == hash && place.pins != VACANT => Some(guess),
            _ => self.find(hash),
        }
    }

    /// The series with this key.
    pub(crate) fn series_of(&self, id: SeriesId) -> Option<(u32, &Series)> {
        let low = u64::from_be_bytes(id.0[8..].try_into().expect("eight bytes"));
        let slot = self.table.find(low, |&slot| self.at(slot).is_some_and(|s| s.id == id))?;
        self.at(*slot).map(|series| (*slot, series))
    }

    /// The series in `slot`.
    #[inline]
    pub(crate) fn series(&self, slot: u32) -> &Series {
        self.at(slot).expect("a slot that was handed out is pinned or the lock was held since")
    }

    /// Keeps the series in `slot` there until it is [let go](Self::unpin). Returns the log file
    /// that holds its definition.
    #[inline]
    pub(crate) fn pin(&mut self, slot: u32, now_s: u32) -> FileSeq {
        let place = &mut self.places[slot as usize];
        place.pins += 1;
        place.touched_s = now_s;
        place.defined_in
    }

    /// Remembers that log file `file` holds the definition of the series in `slot`.
    #[inline]
    pub(crate) fn defined(&mut self, slot: u32, file: FileSeq) {
        self.places[slot as usize].defined_in = file;
    }

    /// Lets go of a series that was pinned.
    #[inline]
    pub(crate) fn unpin(&mut self, slot: u32) {
        self.places[slot as usize].pins -= 1;
    }

    /// Puts a series that is not here into a slot. A slot is used again only when no record of the
    /// log file that is written now (`log_file`) can mean its last series.
    pub(crate) fn insert(&mut self, hash: SeriesHash, series: Series, log_file: FileSeq) -> u32 {
        let place = Place { hash, defined_in: FileSeq::default(), pins: 0, touched_s: 0 };
        let reusable = self.vacant.first().is_some_and(|(file, _)| *file < log_file);
        let slot = if reusable {
            let (_, slot) = self.vacant.pop_first().expect("looked at just above");
            self.slots[slot as usize] = Some(series);
            self.places[slot as usize] = place;
            slot
        } else {
            self.slots.push(Some(series));
            self.places.push(place);
            u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 series in a stripe")
        };
        let places = &self.places;
        self.table.insert_unique(low_bits(hash), slot, |&at| low_bits(places[at as usize].hash));
        self.live_series += 1;
        slot
    }

    /// Appends one float sample to the series in `slot`.
    #[inline]
    pub(crate) fn append(&mut self, slot: u32, sample: (i64, i64, f64), now_s: u32) {
        let (timestamp_ms, start_ms, value) = sample;
        let series = self.slots[slot as usize].as_mut().expect("the request pinned it");
        let segments_before = series.segment_count();
        match series.append(timestamp_ms, start_ms, value) {
            Placed::Appended => {
                self.open_samples += 1;
                if series.segment_count() != segments_before {
                    self.opened(slot, segments_before, Window::of(timestamp_ms), now_s);
                }
            }
            Placed::Duplicate => {}
            Placed::Late => {
                self.loose.push_float(slot, timestamp_ms, start_ms, value);
                self.needs_day(slot, Day::of(timestamp_ms));
                self.oldest_s.get_or_insert(now_s);
            }
        }
    }

    /// Adds one histogram sample to the series in `slot`.
    pub(crate) fn append_histogram(&mut self, slot: u32, sample: HistogramSample, now_s: u32) {
        self.needs_day(slot, Day::of(sample.timestamp_ms));
        self.loose.push_histogram(slot, sample);
        self.oldest_s.get_or_insert(now_s);
    }

    /// Keeps an exemplar until the next checkpoint.
    pub(crate) fn push_exemplar(&mut self, exemplar: Exemplar, now_s: u32) {
        self.oldest_s.get_or_insert(now_s);
        self.exemplars.push(exemplar);
    }

    /// Keeps what a sender says of a metric family until the next checkpoint.
    pub(crate) fn push_metadata(
        &mut self,
        family: FamilyKey,
        metadata: FamilyMetadata,
        now_s: u32,
    ) {
        self.oldest_s.get_or_insert(now_s);
        self.metadata.entry(family).or_default().insert(metadata);
    }

    /// Metadata that waits for the next checkpoint.
    pub(crate) fn metadata(&self) -> impl Iterator<Item = (&FamilyKey, &FamilyMetadata)> {
        self.metadata.iter().flat_map(|(family, said)| said.iter().map(move |m| (family, m)))
    }

    /// Exemplars that are not in the database yet.
    pub(crate) fn exemplars(&self) -> impl Iterator<Item = &Exemplar> {
        self.flushing_exemplars.iter().chain(&self.exemplars)
    }

    /// What waits here.
    pub(crate) fn fill(&self) -> Fill {
        Fill {
            open_samples: self.open_samples,
            open_series: self.open_series,
            loose_samples: self.loose.len(),
            exemplars: self.exemplars.len() + self.metadata().count(),
            oldest_s: self.oldest_s,
        }
    }

    /// Moves everything that waits to *flushing*, where it stays readable until [`Self::flushed`].
    /// `watermark` is the log's, read while this stripe is locked.
    ///
    /// A checkpoint that failed left its batch behind: that batch is given again, and nothing new
    /// is taken.
    pub(crate) fn take(&mut self, watermark: Position) -> Taken {
        if self.flushing.is_none() {
            let mut batch = FlushBatch::default();
            for series in self.slots.iter_mut().flatten() {
                for (window, floats) in series.take_segments() {
                    batch.push(series.id, window, &floats.finish());
                }
            }
            for (slot, window, samples) in self.loose.drain() {
                let series =
                    self.slots[slot as usize].as_ref().expect("loose samples keep it here");
                batch.push(series.id, window, &chunk::encode(&samples));
            }
            batch.sort();
            self.flushing = Some((Arc::new(batch), watermark));
            self.flushing_exemplars = Arc::new(std::mem::take(&mut self.exemplars));
            self.open_samples = 0;
            self.open_series = 0;
            self.oldest_s = None;
        }
        let (chunks, watermark) = self.flushing.as_ref().expect("set just above");
        Taken {
            watermark: *watermark,
            chunks: Arc::clone(chunks),
            exemplars: Arc::clone(&self.flushing_exemplars),
            metadata: self.metadata().map(|(k, m)| (k.clone(), m.clone())).collect(),
        }
    }

    /// Forgets what `taken` held: the database has it now.
    pub(crate) fn flushed(&mut self, taken: &Taken) {
        self.flushing = None;
        self.flushing_exemplars = Arc::default();
        for (family, metadata) in &taken.metadata {
            if let Some(said) = self.metadata.get_mut(family) {
                said.remove(metadata);
                if said.is_empty() {
                    self.metadata.remove(family);
                }
            }
        }
    }

    /// Whether nothing waits and nothing is on its way.
    pub(crate) fn is_in_database(&self) -> bool {
        self.fill().is_empty() && !self.is_flushing()
    }

    /// Whether a checkpoint is under way or has failed.
    pub(crate) fn is_flushing(&self) -> bool {
        self.flushing.is_some()
    }

    /// Has the series that are written now registered for `day`, too: those that hold something,
    /// and that a request resolved since second `since_s`.
    pub(crate) fn prepare_day(&mut self, day: Day, since_s: u32) {
        for (slot, (series, place)) in (0u32..).zip(self.slots.iter().zip(&self.places)) {
            if let Some(series) = series
                && place.touched_s >= since_s
                && !series.is_flushed()
                && !series.is_registered(day)
            {
                self.unregistered.insert((slot, day));
            }
        }
    }

    /// Series and days that the database's index does not have yet.
    pub(crate) fn unregistered(&self) -> impl Iterator<Item = (&Series, u32, Day)> {
        self.unregistered.iter().map(|&(slot, day)| (self.series(slot), slot, day))
    }

    /// Number of series and days that the database's index does not have yet.
    pub(crate) fn unregistered_len(&self) -> usize {
        self.unregistered.len()
    }

    /// Remembers that the database's index has the series under `day`, synced.
    pub(crate) fn registered(&mut self, slot: u32, day: Day) {
        self.unregistered.remove(&(slot, day));
        if let Some(series) = &mut self.slots[slot as usize] {
            series.remember_registered(day);
            series.labels_durable = true;
        }
    }

    /// All series that are here.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Series)> {
        (0u32..).zip(&self.slots).filter_map(|(slot, series)| Some((slot, series.as_ref()?)))
    }

    /// Forgets the series that no request resolved since second `before_s` and that hold nothing;
    /// returns how many.
    pub(crate) fn evict(&mut self, before_s: u32, log_file: FileSeq) -> usize {
        let mut evicted = 0;
        for slot in 0u32..u32::try_from(self.slots.len()).expect("slots are counted in u32") {
            let place = &self.places[slot as usize];
            let idle = place.touched_s < before_s && place.pins == 0;
            if !idle || !self.series(slot).is_flushed() {
                continue;
            }
            if self.loose.holds(slot) || self.has_unregistered(slot) {
                continue;
            }
            let entry = self.table.find_entry(low_bits(place.hash), |&at| at == slot);
            entry.expect("every series in a slot is in the table").remove();
            self.slots[slot as usize] = None;
            self.vacant.insert((place.defined_in, slot));
            self.places[slot as usize].pins = VACANT;
            evicted += 1;
        }
        self.live_series -= evicted;
        self.shrink(log_file);
        evicted
    }

    /// Number of series.
    pub(crate) fn len(&self) -> usize {
        self.live_series
    }

    /// Chunk values of a series that are not in the database: the batch under way, open segments,
    /// loose samples.
    pub(crate) fn append_chunks(
        &self,
        (slot, series): (u32, &Series),
        (first, last): (Window, Window),
        mut each: impl FnMut(Window, &[u8]),
    ) {
        let wanted = |window: Window| first <= window && window <= last;
        if let Some((flushing, _)) = &self.flushing {
            for (window, value) in flushing.of(series.id, first, last) {
                each(window, value);
            }
        }
        for (window, floats) in series.segments().filter(|(window, _)| wanted(*window)) {
            each(window, &floats.finish());
        }
        for (window, samples) in self.loose.windows_of(slot).filter(|(window, _)| wanted(*window)) {
            each(window, &chunk::encode(&samples));
        }
    }

    /// Bytes of memory of the stripe's series and what waits here.
    pub(crate) fn memory_bytes(&self) -> usize {
        let series: usize = self.iter().map(|(_, series)| series.heap_bytes()).sum();
        let flushing = self.flushing.as_ref().map_or(0, |(batch, _)| batch.heap_bytes());
        let slots = self.slots.capacity() * size_of::<Option<Series>>();
        series + flushing + slots + self.places.capacity() * size_of::<Place>()
    }

    fn at(&self, slot: u32) -> Option<&Series> {
        self.slots.get(slot as usize)?.as_ref()
    }

    #[cold]
    fn opened(&mut self, slot: u32, segments_before: usize, window: Window, now_s: u32) {
        self.open_series += usize::from(segments_before == 0);
        self.oldest_s.get_or_insert(now_s);
        self.needs_day(slot, window.day());
    }

    fn needs_day(&mut self, slot: u32, day: Day) {
        if !self.series(slot).is_registered(day) {
            self.unregistered.insert((slot, day));
        }
    }

    fn has_unregistered(&self, slot: u32) -> bool {
        self.unregistered.range((slot, Day(0))..=(slot, Day(u32::MAX))).next().is_some()
    }

    /// Gives memory back after many series went: of the slots those at the end that are free for
    /// the next series anyway, and what the table needs no longer.
    fn shrink(&mut self, log_file: FileSeq) {
        if self.vacant.len() * 2 > self.slots.len() {
            self.shrink_slots(log_file);
        }
        if self.table.len() * 4 >= self.table.capacity() {
            return;
        }
        let places = &self.places;
        self.table.shrink_to(self.table.len(), |&slot| low_bits(places[slot as usize].hash));
    }

    fn shrink_slots(&mut self, log_file: FileSeq) {
        let is_free: HashSet<u32> = self
            .vacant
            .iter()
            .take_while(|(file, _)| *file < log_file)
            .map(|(_, slot)| *slot)
            .collect();
        let in_use = |slot: &u32| !is_free.contains(slot);
        let slots = u32::try_from(self.slots.len()).expect("slots are counted in u32");
        let left = (0..slots).rev().find(in_use).map_or(0, |last| last + 1);
        if left < slots {
            self.vacant.retain(|(_, slot)| *slot < left);
            self.slots.truncate(left as usize);
            self.places.truncate(left as usize);
        }
        if self.slots.len() * 2 < self.slots.capacity() {
            self.slots.shrink_to_fit();
            self.places.shrink_to_fit();
        }
    }
}

#[inline]
fn low_bits(hash: SeriesHash) -> u64 {
    u64::try_from(hash.0 & u128::from(u64::MAX)).expect("sixty-four bits")
}

#[cfg(test)]
mod tests {
    use rangekeeper_model::Labels;

    use super::*;
    use crate::head::TenantIndex;

    fn hash(number: u32) -> SeriesHash {
        SeriesHash(u128::from(number) * 0x9e37_79b9_7f4a_7c15 + 1)
    }

    fn insert(stripe: &mut Stripe, number: u32, log_file: u64) -> u32 {
        let name = format!("m{number}");
        let labels = Labels::from_pairs([("__name__", name.as_str())]).unwrap();
        let mut id = SeriesId([0; SeriesId::BYTES]);
        id.0[12..].copy_from_slice(&number.to_be_bytes());
        let series = Series::new(id, labels, TenantIndex(0));
        let slot = stripe.insert(hash(number), series, FileSeq(log_file));
        stripe.defined(slot, FileSeq(log_file));
        slot
    }

    #[test]
    fn a_slot_is_used_again_when_no_record_can_mean_its_last_series() {
        let mut stripe = Stripe::default();
        for number in 0..100 {
            assert_eq!(insert(&mut stripe, number, 1), number);
        }
        assert_eq!(stripe.evict(1, FileSeq(1)), 100);
        assert_eq!(insert(&mut stripe, 100, 1), 100, "the file is still written");
        assert_eq!(insert(&mut stripe, 101, 2), 0);
        assert_eq!(insert(&mut stripe, 102, 2), 1);
    }

    #[test]
    fn ended_series_are_found_no_more_and_their_slots_are_given_back() {
        let mut stripe = Stripe::default();
        for number in 0..1000 {
            insert(&mut stripe, number, 1);
        }
        stripe.pin(10, 0);
        assert_eq!((stripe.evict(1, FileSeq(1)), stripe.len()), (999, 1));
        assert_eq!(stripe.find_near(hash(5), 5), None);
        assert_eq!(stripe.slots.len(), 1000, "the file may name them");
        stripe.evict(1, FileSeq(2));
        assert_eq!((stripe.slots.len(), stripe.places.len()), (11, 11));
        assert!(stripe.slots.capacity() < 100);
        assert_eq!(stripe.find_near(hash(10), 7), Some(10));
        let slots: BTreeSet<u32> = (0..20).map(|n| insert(&mut stripe, 2000 + n, 2)).collect();
        assert_eq!(slots, (0..21).filter(|slot| *slot != 10).collect());
        for number in 2000..2020 {
            let slot = stripe.find(hash(number)).unwrap();
            assert_eq!(stripe.series(slot).labels.metric_name(), Some(&*format!("m{number}")));
        }
    }
}
