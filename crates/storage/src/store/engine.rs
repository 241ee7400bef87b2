//! An open store: database, log and head together. It is opened, used, and, when its disk failed
//! it, thrown away whole.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use rangekeeper_model::{Day, ShardId, TenantId};

use super::columns::Columns;
use super::options::{Clock, StoreOptions};
use super::retention::RetentionState;
use super::write::HashCollision;
use crate::db::{Db, Identity};
use crate::head::series::Series;
use crate::head::{FamilyKey, FamilyMetadata, Head};
use crate::log::{Log, Position, RecordEncoder};
use crate::unsettled::UnsettledSets;

/// How many requests' memory is kept for the next ones. More requests than that at once allocate.
const SPARE_BUFFERS: usize = 16;
/// Memory that grew beyond this is given back: one huge request must not hold it for ever.
const SPARE_BYTES: usize = 4 << 20;

/// Most families whose last metadata is remembered, so that what senders repeat every minute is not
/// logged again.
const MAX_KNOWN_FAMILIES: usize = 100_000;

/// An open store.
pub(crate) struct Engine {
    pub(crate) options: StoreOptions,
    pub(crate) clock: Clock,
    pub(crate) db: Db,
    pub(crate) head: Head,
    /// Replaced when a write to its file failed; the records of the old one that were answered are
    /// in the head.
    log: RwLock<Arc<Log>>,
    /// Of each stripe: everything up to this position is in the database.
    pub(super) checkpoints: Vec<AtomicU64>,
    newest_ms: AtomicI64,
    spare_columns: Mutex<Vec<Columns>>,
    spare_encoders: Mutex<Vec<RecordEncoder>>,
    known_families: Mutex<HashMap<FamilyKey, (FamilyMetadata, Day)>>,
    pub(super) counters: Counters,
    pub(super) stopping: AtomicBool,
    pub(super) retention: RetentionState,
    /// `None` at a lone node.
    pub(crate) unsettled: Option<UnsettledSets>,
    /// Up to this position of the log the database says that no record is unsettled.
    pub(super) low_water: AtomicU64,
    /// Keeps the folder for this process.
    lock: Option<File>,
    /// Held by whoever checkpoints, seals all or takes a snapshot.
    pub(super) maintenance: Mutex<()>,
}

/// What happened so far; read by metrics.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) samples: AtomicU64,
    pub(super) series_created: AtomicU64,
    pub(super) series_evicted: AtomicU64,
    pub(super) checkpoints: AtomicU64,
    pub(super) checkpoint_failures: AtomicU64,
    pub(super) registered: AtomicU64,
    pub(super) collisions: AtomicU64,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Engine {
    pub(super) fn new(
        options: StoreOptions,
        clock: Clock,
        db: Db,
        (log, checkpoints): (Log, Vec<Position>),
        newest_ms: i64,
    ) -> Self {
        let head = Head::new(db.identity().seed, db.identity().shards);
        let checkpoints = checkpoints.into_iter().map(|at| AtomicU64::new(at.0)).collect();
        let newest_ms = AtomicI64::new(newest_ms);
        let unsettled = options.replicated.map(|quorum| {
            let Identity { shards, boot, .. } = *db.identity();
            UnsettledSets::new(quorum, shards, options.unsettled_chunks, boot)
        });
        Self {
            options,
            clock,
            db,
            head,
            log: RwLock::new(Arc::new(log)),
            checkpoints,
            newest_ms,
            spare_columns: Mutex::default(),
            spare_encoders: Mutex::default(),
            known_families: Mutex::default(),
            counters: Counters::default(),
            stopping: AtomicBool::new(false),
            maintenance: Mutex::default(),
            retention: RetentionState::default(),
            unsettled,
            low_water: AtomicU64::new(0),
            lock: None,
        }
    }

    /// Keeps `lock` as long as the store is open.
    pub(super) fn with_lock(mut self, lock: File) -> Self {
        self.lock = Some(lock);
        self
    }

    /// The log that is written now.
    pub(crate) fn log(&self) -> Arc<Log> {
        Arc::clone(&self.log.read())
    }

    /// Puts another log in the place of one that failed.
    pub(super) fn replace_log(&self, log: Log) {
        *self.log.write() = Arc::new(log);
    }

    /// The store's clock, in seconds.
    pub(crate) fn now_s(&self) -> u32 {
        u32::try_from(self.clock.now_ms() / 1000).unwrap_or(0)
    }

    /// A series that no request resolved since this second is idle.
    pub(super) fn idle_before_s(&self) -> u32 {
        self.now_s().saturating_sub(self.options.idle_s)
    }

    /// Whether the store is being closed.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// The time of the newest sample that is stored.
    pub(crate) fn newest_ms(&self) -> i64 {
        self.newest_ms.load(Ordering::Relaxed)
    }

    /// Notes that a sample of this time is stored.
    pub(crate) fn saw(&self, timestamp_ms: i64) {
        if timestamp_ms > self.newest_ms.load(Ordering::Relaxed) {
            self.newest_ms.fetch_max(timestamp_ms, Ordering::Relaxed);
        }
    }

    /// Compares the labels of a new series with those that the database has under its key.
    pub(crate) fn check_collision(&self, series: &Series) -> Result<(), HashCollision> {
        let day = Day::of(self.newest_ms());
        match self.db.labels(day, series.id) {
            Ok(Some((_, existing))) if existing != series.labels => {
                self.counters.collisions.fetch_add(1, Ordering::Relaxed);
                Err(HashCollision { refused: series.labels.clone(), existing })
            }
            // A read that fails is no reason to refuse a write: damage is found and named where
            // data is read.
            _ => Ok(()),
        }
    }

    /// Keeps metadata in the stripe of its family until the next checkpoint; says in which shard.
    pub(crate) fn put_metadata(&self, family: FamilyKey, metadata: FamilyMetadata) -> ShardId {
        self.remember_family(&family, &metadata);
        let shard = self.family_shard(&family.tenant, &family.family);
        self.head.stripe(self.head.stripe_of(shard)).push_metadata(family, metadata, self.now_s());
        shard
    }

    /// Whether the sender says something of the family that was not said today. Senders repeat all
    /// of it every minute.
    pub(crate) fn is_news(&self, family: &FamilyKey, metadata: &FamilyMetadata) -> bool {
        let today = Day::of(self.clock.now_ms());
        let known = self.known_families.lock();
        known.get(family).is_none_or(|(last, day)| last != metadata || *day != today)
    }

    /// Remembers that this was said of the family today, and is stored.
    fn remember_family(&self, family: &FamilyKey, metadata: &FamilyMetadata) {
        let today = Day::of(self.clock.now_ms());
        let mut known = self.known_families.lock();
        if known.len() >= MAX_KNOWN_FAMILIES {
            known.clear();
        }
        known.insert(family.clone(), (metadata.clone(), today));
    }

    /// The shard that keeps a family's metadata.
    pub(crate) fn family_shard(&self, tenant: &TenantId, family: &str) -> ShardId {
        let hash = self.head.tenant(tenant).hasher().hash(family.as_bytes());
        self.head.shards().of(hash)
    }

    pub(super) fn spare_columns(&self) -> Columns {
        self.spare_columns.lock().pop().unwrap_or_default()
    }

    pub(super) fn return_columns(&self, columns: Columns) {
        let mut spare = self.spare_columns.lock();
        if spare.len() < SPARE_BUFFERS && columns.capacity_bytes() <= SPARE_BYTES {
            spare.push(columns);
        }
    }

    pub(super) fn spare_encoder(&self) -> RecordEncoder {
        self.spare_encoders.lock().pop().unwrap_or_default()
    }

    pub(super) fn return_encoder(&self, encoder: RecordEncoder) {
        let mut spare = self.spare_encoders.lock();
        if spare.len() < SPARE_BUFFERS && encoder.capacity_bytes() <= SPARE_BYTES {
            spare.push(encoder);
        }
    }
}
