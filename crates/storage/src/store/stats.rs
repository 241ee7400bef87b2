//! Figures of the store, for metrics and status.

use std::sync::atomic::{AtomicU64, Ordering};

use rangekeeper_model::{SeriesId, TenantId};

use super::{ShardSet, Store, StoreError};
use crate::db::{MemoryUse, Statistic};
use crate::log::LogStats;

/// What is in memory of one tenant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeadOfTenant {
    /// Open segments of its series: chunks that are not written out yet.
    pub chunks: u64,
    /// Time of the newest sample of all tenants, milliseconds since the epoch; 0 for none.
    pub newest_ms: i64,
}

/// What the store is and did. Counters begin at the last open.
#[derive(Clone, Debug, Default)]
pub struct StoreStats {
    /// Series in memory.
    pub series: u64,
    /// Samples in open segments.
    pub open_samples: u64,
    /// Late samples and histograms that wait for a checkpoint.
    pub loose_samples: u64,
    /// Series that the index of their day does not have yet.
    pub unregistered: u64,
    /// Bytes of the head, roughly.
    pub head_bytes: u64,
    /// Samples that were stored.
    pub samples_total: u64,
    /// Series that came into memory.
    pub series_created_total: u64,
    /// Series that left memory.
    pub series_evicted_total: u64,
    /// Checkpoints of stripes.
    pub checkpoints_total: u64,
    /// Checkpoints of stripes that failed.
    pub checkpoint_failures_total: u64,
    /// Series that were registered in the index of a day.
    pub registered_total: u64,
    /// Series that were refused because another has their hash.
    pub collisions_total: u64,
    /// Frames and files that were found damaged.
    pub damage_total: u64,
    /// Time of the newest sample, milliseconds since the epoch; 0 for none.
    pub newest_ms: i64,
    /// Start of the first day that is kept, milliseconds since the epoch.
    pub floor_ms: i64,
    /// Whether retention waits for a confirmation.
    pub retention_held: bool,
    /// Bytes free on the data folder's disk.
    pub disk_free_bytes: u64,
    /// Bytes of log files.
    pub log_bytes: u64,
    /// Log files.
    pub log_files: u64,
    /// What the log did.
    pub log: LogStats,
    /// Memory of the database.
    pub database_memory: MemoryUse,
    /// RocksDB's own figures.
    pub database: Vec<Statistic>,
}

impl Store {
    /// What is in memory of a tenant. Walks the series in memory, a stripe at a time.
    pub fn head_of(&self, tenant: &TenantId) -> Result<HeadOfTenant, StoreError> {
        self.head_in(tenant, None)
    }

    /// What is in memory of a tenant, of some shards alone if they are named.
    pub fn head_in(
        &self,
        tenant: &TenantId,
        shards: Option<&ShardSet>,
    ) -> Result<HeadOfTenant, StoreError> {
        let is_in = |id: SeriesId| shards.is_none_or(|of| of.contains(id.shard().0.into()));
        let engine = self.engine()?;
        let index = engine.head.tenant(tenant).index;
        let mut chunks = 0;
        for stripe in 0..engine.head.stripe_count() {
            let stripe = engine.head.stripe(stripe);
            let of_tenant =
                stripe.iter().filter(|(_, series)| series.tenant == index && is_in(series.id));
            chunks += of_tenant.map(|(_, series)| series.segment_count() as u64).sum::<u64>();
        }
        Ok(HeadOfTenant { chunks, newest_ms: engine.newest_ms() })
    }

    /// The store's figures; `None` while it is not open.
    pub fn stats(&self) -> Option<StoreStats> {
        let engine = self.engine().ok()?;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &engine.counters;
        let log = engine.log();
        let mut stats = StoreStats {
            samples_total: read(&counters.samples),
            series_created_total: read(&counters.series_created),
            series_evicted_total: read(&counters.series_evicted),
            checkpoints_total: read(&counters.checkpoints),
            checkpoint_failures_total: read(&counters.checkpoint_failures),
            registered_total: read(&counters.registered),
            collisions_total: read(&counters.collisions),
            damage_total: engine.db.damage_found(),
            newest_ms: engine.newest_ms(),
            floor_ms: engine.db.floor().start_ms(),
            retention_held: engine.retention_is_held(),
            disk_free_bytes: self.shared.maintenance.free_bytes(),
            log_bytes: log.bytes(),
            log_files: log.files().len() as u64,
            log: log.stats(),
            database_memory: engine.db.memory(),
            database: engine.db.statistics(),
            ..StoreStats::default()
        };
        for stripe in 0..engine.head.stripe_count() {
            let stripe = engine.head.stripe(stripe);
            let fill = stripe.fill();
            stats.series += stripe.len() as u64;
            stats.open_samples += fill.open_samples as u64;
            stats.loose_samples += fill.loose_samples as u64;
            stats.unregistered += stripe.unregistered_len() as u64;
            stats.head_bytes += stripe.memory_bytes() as u64;
        }
        Some(stats)
    }

    /// Whoever knows the process' memory says whether it is short: writes are then refused, and
    /// stripes flushed.
    pub fn set_memory_short(&self, short: bool) {
        self.shared.maintenance.set_memory_short(short);
    }
}
