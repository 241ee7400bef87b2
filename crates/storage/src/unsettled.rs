//! What of a replicated store's contents is not known to be at all places of their shards.
//!
//! A write is in here from its acknowledgement on, first as a *record* by its position in the log,
//! with the series and windows that it touched: nearly all of them are settled within milliseconds
//! and cost one list each. One that is not settled for some seconds becomes entries of series and
//! windows, shard by shard, which are delivered to the places that lack them, and in the end
//! entries of days ([`rangekeeper_placement::Unsettled`]). Exemplars and metadata go the same way,
//! by keys of their own.
//!
//! **Invariant:** records lie above the log position that checkpoints claim, so the log still has
//! them after a crash; entries are written to the database in the batch that claims more, or
//! earlier. So nothing unsettled is forgotten.
//!
//! **Invariant:** a record's entries are there before the record goes, and all that is looked up is
//! looked up before the samples are read. So whoever asks for records, then for entries, then for
//! samples, misses nothing.

mod records;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::{Mutex, MutexGuard};
use rangekeeper_model::Epoch;
use rangekeeper_model::{Day, ShardCount, ShardId};
use rangekeeper_placement::{Added, Mark, Place, Quorum, Shard, Unsettled, UnsettledKey};

use self::records::Records;
pub(crate) use self::records::{Extras, Record, Touched};
use crate::db::UnsettledChange;
use crate::log::Position;

/// Series and windows that records may hold together, 20 bytes each, or 32 for exemplars and
/// metadata. Beyond, the oldest record becomes entries before its time.
const MOST_TOUCHED: usize = 1 << 20;

/// A process' first mark is its boot, shifted by this: so many additions to a shard have marks
/// that no other boot gives.
const MARK_BITS: u32 = 32;

/// How much is unsettled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnsettledStats {
    /// Records of the log.
    pub records: usize,
    /// Chunks: a series in a window each; and a series' exemplars of a day each.
    pub chunks: usize,
    /// Days of a shard, and its metadata.
    pub days: usize,
    /// Since when something has been unsettled without a break, at the latest, in milliseconds
    /// since the epoch.
    pub oldest_ms: Option<i64>,
}

/// All that is unsettled in a store.
///
/// **Lock order:** `writing`, then the locks of the database, then one shard or the records, never
/// two of them. Neither of these is held while another lock is taken.
#[derive(Debug)]
pub(crate) struct UnsettledSets {
    records: Mutex<Records>,
    shards: Vec<Mutex<OfShard>>,
    writing: Mutex<()>,
    /// What lies before this day is forgotten.
    floor: AtomicU32,
}

/// What is unsettled in one shard, besides records.
#[derive(Debug)]
struct OfShard {
    entries: Unsettled,
    /// Keys that came or went since they were written to the database.
    changed: BTreeSet<UnsettledKey>,
    /// Days that took the place of their parts since.
    coarsened: BTreeSet<Day>,
    /// When there was nothing for the last time.
    since_ms: Option<i64>,
}

impl UnsettledSets {
    /// Nothing is unsettled yet. `boot` counts the opens of the store.
    pub(crate) fn new(quorum: Quorum, shards: ShardCount, most_chunks: usize, boot: u64) -> Self {
        let of_shard = |_| {
            let entries = Unsettled::new(quorum, most_chunks).marked_after(Mark(boot << MARK_BITS));
            let (changed, coarsened) = (BTreeSet::new(), BTreeSet::new());
            Mutex::new(OfShard { entries, changed, coarsened, since_ms: None })
        };
        Self {
            records: Mutex::default(),
            shards: shards.iter().map(of_shard).collect(),
            writing: Mutex::default(),
            floor: AtomicU32::new(0),
        }
    }

    /// All shards.
    pub(crate) fn shards(&self) -> impl Iterator<Item = ShardId> {
        (0u16..=u16::MAX).map(ShardId).take(self.shards.len())
    }

    /// Takes in what the database has of an earlier time.
    pub(crate) fn load(&self, keys: Vec<(ShardId, UnsettledKey)>, now_ms: i64) {
        for (shard, key) in keys {
            self.add(shard, key, now_ms);
            // More than the limit, where that was lowered since: then the database is told.
            let mut of_shard = self.shard(shard);
            of_shard.changed.remove(&key);
        }
    }

    /// Notes what the record at `position` touched. To be called before anybody is told that the
    /// record is stored, and before it leaves the flight.
    pub(crate) fn note(&self, position: Position, record: Record, now_ms: i64) {
        let mut records = self.records.lock();
        records.insert(position, record);
        let is_full = records.touched() > MOST_TOUCHED;
        drop(records);
        if is_full {
            self.make_entries_while(now_ms, |records| records.touched() > MOST_TOUCHED);
        }
    }

    /// All places have the record, or its part in `shards`.
    pub(crate) fn settle(&self, position: Position, shards: Option<&[ShardId]>) {
        let settled = self.records.lock().settle(position, shards);
        drop(settled);
    }

    /// Makes entries of the records that were noted at or before `until_ms`.
    pub(crate) fn make_entries(&self, until_ms: i64, now_ms: i64) {
        self.make_entries_while(now_ms, |records| {
            records.first().is_some_and(|(_, record)| record.noted_ms <= until_ms)
        });
    }

    fn make_entries_while(&self, now_ms: i64, is_due: impl Fn(&Records) -> bool) {
        loop {
            let records = self.records.lock();
            let Some((position, record)) = records.first().filter(|_| is_due(&records)) else {
                return;
            };
            drop(records);
            for (shard, touched) in record.runs() {
                let mut of_shard = self.shard(shard);
                for Touched { id, window } in touched {
                    of_shard.add(UnsettledKey::Chunk(*window, *id), now_ms);
                }
            }
            for (shard, key) in record.extras() {
                self.add(*shard, *key, now_ms);
            }
            // Only now: see above.
            self.records.lock().settle(position, None);
        }
    }

    /// The position below which, itself included, no record is unsettled, if `watermark` was the
    /// log's before this was called.
    pub(crate) fn low_water(&self, watermark: Position) -> Position {
        match self.records.lock().first() {
            Some((first, _)) => watermark.min(Position(first.0 - 1)),
            None => watermark,
        }
    }

    /// The records.
    pub(crate) fn records(&self) -> Vec<std::sync::Arc<Record>> {
        self.records.lock().all()
    }

    /// The records, if they touched at most so many series and windows together.
    pub(crate) fn few_records(&self, most_touched: usize) -> Option<Vec<std::sync::Arc<Record>>> {
        let records = self.records.lock();
        (records.touched() <= most_touched).then(|| records.all())
    }

    /// Adds an entry.
    pub(crate) fn add(&self, shard: ShardId, key: UnsettledKey, now_ms: i64) -> Added {
        self.shard(shard).add(key, now_ms)
    }

    /// What the entries of a shard say.
    pub(crate) fn with<T>(&self, shard: ShardId, ask: impl FnOnce(&Unsettled) -> T) -> T {
        ask(&self.shard(shard).entries)
    }

    /// Whether a record has something of `shard`.
    pub(crate) fn has_record_of(&self, shard: ShardId) -> bool {
        self.records.lock().holds(shard)
    }

    /// A place has what the entry held at `mark`; says whether all places have it now.
    pub(crate) fn delivered(
        &self,
        shard: ShardId,
        (key, mark): (UnsettledKey, Mark),
        (place, given): (Place, Epoch),
        view: &Shard,
    ) -> bool {
        let mut of_shard = self.shard(shard);
        let is_settled = of_shard.entries.delivered(key, mark, place, given, view);
        of_shard.went(is_settled.then_some(key));
        is_settled
    }

    /// Whoever delivered the entry here says that all places have it.
    pub(crate) fn forget(&self, shard: ShardId, key: UnsettledKey, mark: Mark) {
        let mut of_shard = self.shard(shard);
        let is_gone = of_shard.entries.forget(key, mark);
        of_shard.went(is_gone.then_some(key));
    }

    /// A newer map of the shard.
    pub(crate) fn rebase(&self, shard: ShardId, view: &Shard) {
        self.shard(shard).entries.rebase(view);
    }

    /// Forgets what lies before `floor`.
    pub(crate) fn drop_before(&self, floor: Day) {
        if self.floor.swap(floor.0, Ordering::Relaxed) == floor.0 {
            return;
        }
        for shard in &self.shards {
            let mut of_shard = shard.lock();
            let gone = of_shard.entries.drop_before(floor);
            of_shard.went(gone);
        }
    }

    /// Held by whoever writes changes to the database, from [`Self::changes`] on.
    pub(crate) fn writing(&self) -> MutexGuard<'_, ()> {
        self.writing.lock()
    }

    /// What the database has to be told of the shards from `first` to `last`. It is held to be told
    /// from now on; where that fails, [`Self::not_written`].
    pub(crate) fn changes(&self, first: ShardId, last: ShardId) -> Changes {
        let shards = first.0..=last.0;
        let changes = shards.map(ShardId).flat_map(|shard| {
            self.shard(shard).changes().into_iter().map(move |change| (shard, change))
        });
        changes.collect()
    }

    /// The database was not told.
    pub(crate) fn not_written(&self, changes: &Changes) {
        for (shard, change) in changes {
            let mut of_shard = self.shard(*shard);
            match change {
                UnsettledChange::DeleteParts(day) => of_shard.coarsened.insert(*day),
                UnsettledChange::Put(key) | UnsettledChange::Delete(key) => {
                    of_shard.changed.insert(*key)
                }
            };
        }
    }

    /// How much it is.
    pub(crate) fn stats(&self) -> UnsettledStats {
        let records = self.records.lock();
        let mut stats = UnsettledStats {
            records: records.len(),
            oldest_ms: records.first().map(|(_, record)| record.noted_ms),
            ..UnsettledStats::default()
        };
        drop(records);
        for shard in &self.shards {
            let of_shard = shard.lock();
            let chunks = of_shard.entries.chunk_count();
            stats.chunks += chunks;
            stats.days += of_shard.entries.len() - chunks;
            stats.oldest_ms = match (stats.oldest_ms, of_shard.since_ms) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
        }
        stats
    }

    fn shard(&self, shard: ShardId) -> MutexGuard<'_, OfShard> {
        self.shards[usize::from(shard.0)].lock()
    }
}

/// What the database has to be told.
pub(crate) type Changes = Vec<(ShardId, UnsettledChange)>;

impl OfShard {
    fn add(&mut self, key: UnsettledKey, now_ms: i64) -> Added {
        self.since_ms.get_or_insert(now_ms);
        let was_there = self.entries.mark(key).is_some();
        let added = self.entries.add(key);
        if let Some(day) = added.coarsened {
            self.coarsened.insert(day);
            self.changed.retain(|key| key.within() != Some(day));
            self.changed.insert(UnsettledKey::Day(day));
        }
        if !was_there && added.key == key {
            self.changed.insert(key);
        }
        added
    }

    fn went(&mut self, keys: impl IntoIterator<Item = UnsettledKey>) {
        self.changed.extend(keys);
        if self.entries.is_empty() {
            self.since_ms = None;
        }
    }

    fn changes(&mut self) -> Vec<UnsettledChange> {
        let coarsened = std::mem::take(&mut self.coarsened);
        let changed = std::mem::take(&mut self.changed);
        let of_key = |key| match self.entries.mark(key) {
            Some(_) => UnsettledChange::Put(key),
            None => UnsettledChange::Delete(key),
        };
        let days = coarsened.into_iter().map(UnsettledChange::DeleteParts);
        days.chain(changed.into_iter().map(of_key)).collect()
    }
}
