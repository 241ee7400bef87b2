//! What is unsettled: settling it, delivering it to whoever lacks it, and keeping account of it in
//! the database.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use rangekeeper_chunk::{Decoder, encode};
use rangekeeper_model::Epoch;
use rangekeeper_model::{
    Day, Labels, Samples, SeriesId, ShardId, TenantId, TimeRange, WINDOWS_A_DAY, Window,
    WindowInDay,
};
use rangekeeper_placement::{Mark, Place, Shard, Tally, UnsettledKey};

use super::engine::Engine;
use super::extras::Bundle;
use super::{Store, StoreError};
use crate::db::{Batch, DbError, Entry, Stop, WHOLE_DAY, Windows};
use crate::log::Position;
use crate::unsettled::{UnsettledSets, UnsettledStats};

/// Name of the note that keeps the log position up to which no record was unsettled.
const LOW_WATER: &str = "settled";

impl Store {
    /// All places have the record at `position`, or its part in `shards`.
    pub fn settle(&self, position: Position, shards: Option<&[ShardId]>) {
        self.with_unsettled(|unsettled| unsettled.settle(position, shards));
    }

    /// The shards in which something waits to be delivered, with the number of entries.
    pub fn unsettled_shards(&self) -> Vec<(ShardId, usize)> {
        let counts = self.with_unsettled(|unsettled| {
            let count =
                |shard| (shard, unsettled.with(shard, rangekeeper_placement::Unsettled::len));
            unsettled.shards().map(count).filter(|(_, count)| *count > 0).collect()
        });
        counts.unwrap_or_default()
    }

    /// At most `most` entries of `shard` that are to be delivered, of the oldest time first, with
    /// their marks and with the places that are known to have them. A record that
    /// is not settled in time becomes such entries.
    pub fn undelivered(&self, shard: ShardId, most: usize) -> Vec<(UnsettledKey, Mark, Tally)> {
        let entries = self.with_unsettled(|unsettled| {
            let mut entries: Vec<_> = unsettled.with(shard, |entries| entries.iter().collect());
            entries.sort_by_key(|(key, ..)| first_window(*key));
            entries.truncate(most);
            entries
        });
        entries.unwrap_or_default()
    }

    /// What `keys` of `shard` hold now, for delivering it: chunks as they lie where whole days are
    /// asked for, else exactly the windows asked for. Fails where some of it is damaged. Blocks.
    pub fn read_unsettled(
        &self,
        shard: ShardId,
        keys: &[UnsettledKey],
        stop: Stop<'_>,
    ) -> Result<Bundle, StoreError> {
        let engine = self.engine()?;
        let (mut days, mut exemplars) = (BTreeSet::new(), BTreeSet::new());
        let mut chunks: BTreeMap<Day, BTreeMap<SeriesId, u16>> = BTreeMap::new();
        let mut bundle = Bundle::default();
        for key in keys {
            match *key {
                UnsettledKey::Day(day) => drop(days.insert(day)),
                UnsettledKey::Chunk(window, id) => {
                    let of_day = chunks.entry(window.day()).or_default();
                    *of_day.entry(id).or_default() |= 1 << window.in_day().0;
                }
                UnsettledKey::Exemplars(day, id) => drop(exemplars.insert((day, id))),
                UnsettledKey::Metadata => bundle.metadata = engine.metadata_of(shard, stop)?,
                UnsettledKey::Record(_) => {}
            }
        }
        for day in &days {
            bundle.chunks.push((*day, self.scan(shard, *day, stop)?.entries));
            bundle.exemplars.append(&mut engine.exemplars_in(shard, *day, stop)?);
        }
        for (day, series) in chunks.into_iter().filter(|(day, _)| !days.contains(day)) {
            bundle.chunks.push((day, engine.read_windows(day, &series, stop)?));
        }
        exemplars.retain(|(day, _)| !days.contains(day));
        bundle.exemplars.append(&mut engine.exemplars_on(shard, &exemplars)?);
        Ok(bundle)
    }

    /// The place has, synced, what the entry held at `mark`: `given` is the epoch of the map by
    /// which it was asked, `view` the newest map of the shard here. Says whether all places have it
    /// now; then it is no longer unsettled.
    pub fn delivered(
        &self,
        shard: ShardId,
        key: UnsettledKey,
        mark: Mark,
        place: Place,
        given: Epoch,
        view: &Shard,
    ) -> bool {
        let is_settled = self.with_unsettled(|unsettled| {
            unsettled.delivered(shard, (key, mark), (place, given), view)
        });
        is_settled.unwrap_or(false)
    }

    /// A newer map of the shard: who got a slot is not known to have what its predecessor had.
    pub fn rebase_unsettled(&self, shard: ShardId, view: &Shard) {
        self.with_unsettled(|unsettled| unsettled.rebase(shard, view));
    }

    /// Whoever delivered the entry here, which then got `mark`, says that all places have it.
    pub fn settle_chunk(&self, shard: ShardId, key: UnsettledKey, mark: Mark) {
        self.with_unsettled(|unsettled| unsettled.forget(shard, key, mark));
    }

    /// How much is unsettled; nothing while the store is not open.
    pub fn unsettled_stats(&self) -> UnsettledStats {
        self.with_unsettled(UnsettledSets::stats).unwrap_or_default()
    }

    /// Whether everything that is here of `shard` is known to be at `place`: part of its being
    /// caught up. Of what is on its way this is not known.
    pub fn is_settled_for(&self, shard: ShardId, place: Place) -> bool {
        let is_settled = self.with_unsettled(|unsettled| {
            let has_record = unsettled.has_record_of(shard);
            !has_record && unsettled.with(shard, |entries| entries.is_settled_for(place))
        });
        is_settled.unwrap_or(false)
    }

    fn with_unsettled<T>(&self, work: impl FnOnce(&UnsettledSets) -> T) -> Option<T> {
        self.engine().ok()?.unsettled.as_ref().map(work)
    }
}

impl Engine {
    /// The chunks of some series and windows (as bits) of a day, as they are at this moment: what
    /// the head holds first, then the database's. Of a chunk that holds more windows than are asked
    /// for, what lies in these.
    fn read_windows(
        &self,
        day: Day,
        series: &BTreeMap<SeriesId, u16>,
        stop: Stop<'_>,
    ) -> Result<Vec<Entry>, StoreError> {
        let ids: Vec<SeriesId> = series.keys().copied().collect();
        let named = self.names_of(day, &ids, stop)?;
        let mut found: Vec<(SeriesId, WindowInDay, Vec<u8>)> = Vec::new();
        let all = (Window::new(day, WindowInDay(0)), Window::new(day, WindowInDay(11)));
        for (id, windows) in series {
            let stripe = self.head.stripe(self.head.stripe_of(id.shard()));
            let Some(in_head) = stripe.series_of(*id) else { continue };
            stripe.append_chunks(in_head, all, |window, value| {
                if windows & (1 << window.in_day().0) != 0 {
                    found.push((*id, window.in_day(), value.to_vec()));
                }
            });
        }
        self.db.read_chunks(day, &ids, Windows::ALL, stop, |at, window, value| {
            if window == WHOLE_DAY || series[&ids[at]] & (1 << window.0) != 0 {
                found.push((ids[at], window, value.to_vec()));
            }
            true
        })?;
        let mut entries = Vec::with_capacity(found.len());
        for (id, window, value) in found {
            // Without a name it was dropped by retention meanwhile.
            let Some((tenant, labels)) = named.get(&id) else { continue };
            let mut add = |window, value| {
                let (tenant, labels) = (tenant.clone(), labels.clone());
                entries.push(Entry { id, tenant, labels, window, value });
            };
            if window != WHOLE_DAY {
                add(window, value);
                continue;
            }
            for window in windows_in(series[&id]) {
                let range = range_of(Window::new(day, window));
                let mut samples = Samples::default();
                if let Some(damage) = Decoder::default().decode(&value, range, &mut samples).first()
                {
                    self.db.count_damage();
                    return Err(self.damaged(id.shard(), labels, damage));
                }
                if !samples.is_empty() {
                    add(window, encode(&samples));
                }
            }
        }
        Ok(entries)
    }

    /// Tenants and labels of series (sorted): from the head, or as registered under `day`.
    pub(super) fn names_of(
        &self,
        day: Day,
        ids: &[SeriesId],
        stop: Stop<'_>,
    ) -> Result<BTreeMap<SeriesId, (TenantId, Labels)>, StoreError> {
        let mut named = BTreeMap::new();
        let mut rest = Vec::new();
        for id in ids {
            let stripe = self.head.stripe(self.head.stripe_of(id.shard()));
            let found = stripe.series_of(*id).map(|(_, s)| (s.tenant, s.labels.clone()));
            drop(stripe);
            match found {
                Some((tenant, labels)) => {
                    let tenant = self.head.tenant_at(tenant).id.clone();
                    named.insert(*id, (tenant, labels));
                }
                None => rest.push(*id),
            }
        }
        self.db.read_labels(day, &rest, stop, |at, tenant, labels| {
            named.insert(rest[at], (tenant.clone(), labels));
            true
        })?;
        Ok(named)
    }

    /// Up to where a checkpoint may claim the log: it keeps the records that are unsettled, which
    /// nothing else keeps.
    pub(super) fn claimable(&self, watermark: Position) -> Position {
        self.unsettled.as_ref().map_or(watermark, |unsettled| unsettled.low_water(watermark))
    }

    /// Makes entries of the records that waited long enough, forgets what retention dropped, and
    /// tells the database what changed. Nothing of it has to be synced: an older account is only
    /// the more careful one.
    pub(super) fn keep_account(&self) -> Result<(), DbError> {
        let Some(unsettled) = &self.unsettled else { return Ok(()) };
        let now_ms = self.clock.now_ms();
        let age_ms = i64::try_from(self.options.unsettled_age.as_millis()).unwrap_or(i64::MAX);
        unsettled.make_entries(now_ms.saturating_sub(age_ms), now_ms);
        self.write_account(unsettled)
    }

    /// Makes entries of all records: nobody will settle them any more.
    pub(super) fn close_account(&self) -> Result<(), DbError> {
        let Some(unsettled) = &self.unsettled else { return Ok(()) };
        unsettled.make_entries(i64::MAX, self.clock.now_ms());
        self.write_account(unsettled)
    }

    fn write_account(&self, unsettled: &UnsettledSets) -> Result<(), DbError> {
        unsettled.drop_before(self.db.floor());
        // Before the changes are looked at: what was a record below is among them.
        let low_water = unsettled.low_water(self.log().watermark());
        let _writing = unsettled.writing();
        let (first, last) = self.all_shards();
        let mut batch = self.db.batch();
        let noted = self.low_water.load(Ordering::Acquire);
        if low_water.0 > noted {
            batch.note(LOW_WATER, &low_water.0.to_le_bytes());
        }
        self.write_with_account((first, last), batch)?;
        self.low_water.store(low_water.0.max(noted), Ordering::Release);
        Ok(())
    }

    /// Writes `batch` with all that changed in the account of the shards from the first to the
    /// last. The caller holds [`UnsettledSets::writing`].
    pub(super) fn write_with_account(
        &self,
        (first, last): (ShardId, ShardId),
        mut batch: Batch<'_>,
    ) -> Result<(), DbError> {
        let Some(unsettled) = &self.unsettled else { return self.db.write(batch) };
        let changes = unsettled.changes(first, last);
        for (shard, change) in &changes {
            batch.unsettled(*shard, *change);
        }
        let written = self.db.write(batch);
        if written.is_err() {
            unsettled.not_written(&changes);
        }
        written
    }

    /// Takes in what was unsettled when the store was last open; says from which position on the
    /// log's records are. `last` is the last one that the log has: a note beyond it is of records
    /// that a crash took, and others will have their positions.
    pub(super) fn load_account(&self, last: Position) -> Result<(), DbError> {
        let Some(unsettled) = &self.unsettled else { return Ok(()) };
        unsettled.load(self.db.unsettled()?, self.clock.now_ms());
        let noted = self.db.note(LOW_WATER)?.and_then(|value| value.try_into().ok());
        let noted = noted.map_or(0, u64::from_le_bytes);
        if noted > last.0 {
            self.db.put_note(LOW_WATER, &last.0.to_le_bytes())?;
        }
        self.low_water.store(noted.min(last.0), Ordering::Release);
        Ok(())
    }

    pub(super) fn all_shards(&self) -> (ShardId, ShardId) {
        let last = self.head.shards().count() - 1;
        (ShardId(0), ShardId(u16::try_from(last).expect("at most 65,536 shards")))
    }
}

/// The windows that are set in a mask.
fn windows_in(mask: u16) -> impl Iterator<Item = WindowInDay> {
    (0..WINDOWS_A_DAY).map(WindowInDay).filter(move |window| mask & (1 << window.0) != 0)
}

fn range_of(window: Window) -> TimeRange {
    TimeRange { from_ms: window.start_ms(), to_ms: window.end_ms() - 1 }
}

/// By which an entry is older than another.
fn first_window(key: UnsettledKey) -> (Window, UnsettledKey) {
    let window = match key {
        UnsettledKey::Chunk(window, _) => window,
        UnsettledKey::Day(day) | UnsettledKey::Exemplars(day, _) => {
            Window::new(day, WindowInDay(0))
        }
        UnsettledKey::Record(_) | UnsettledKey::Metadata => Window(0),
    };
    (window, key)
}
