//! Figures of the log, for whoever exports metrics.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Upper bounds of [`LogStats::sync_buckets`], microseconds; a last bucket takes the rest.
pub const SYNC_BUCKETS_US: [u64; 14] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000,
    5_000_000,
];

/// Figures since the log was opened.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogStats {
    /// Records written.
    pub records: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Groups written.
    pub groups: u64,
    /// Syncs of groups.
    pub syncs: u64,
    /// Time spent in them.
    pub sync_time: Duration,
    /// How many syncs took at most as long as the bound of the same index in [`SYNC_BUCKETS_US`],
    /// and longer than the bound before.
    pub sync_buckets: [u64; SYNC_BUCKETS_US.len() + 1],
    /// Records that were refused because too many bytes waited.
    pub refused: u64,
}

#[derive(Default)]
pub(super) struct Stats {
    records: AtomicU64,
    bytes: AtomicU64,
    groups: AtomicU64,
    syncs: AtomicU64,
    sync_ns: AtomicU64,
    sync_buckets: [AtomicU64; SYNC_BUCKETS_US.len() + 1],
    refused: AtomicU64,
}

impl Stats {
    pub(super) fn wrote(&self, records: usize, bytes: usize) {
        self.records.fetch_add(records as u64, Relaxed);
        self.bytes.fetch_add(bytes as u64, Relaxed);
        self.groups.fetch_add(1, Relaxed);
    }

    pub(super) fn synced(&self, took: Duration) {
        self.syncs.fetch_add(1, Relaxed);
        self.sync_ns.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Relaxed);
        let bucket = SYNC_BUCKETS_US.partition_point(|bound| took > Duration::from_micros(*bound));
        self.sync_buckets[bucket].fetch_add(1, Relaxed);
    }

    pub(super) fn refused(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    pub(super) fn snapshot(&self) -> LogStats {
        LogStats {
            records: self.records.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            groups: self.groups.load(Relaxed),
            syncs: self.syncs.load(Relaxed),
            sync_time: Duration::from_nanos(self.sync_ns.load(Relaxed)),
            sync_buckets: std::array::from_fn(|at| self.sync_buckets[at].load(Relaxed)),
            refused: self.refused.load(Relaxed),
        }
    }
}
