//! What a store is opened with.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rangekeeper_model::ShardCount;
use rangekeeper_placement::Quorum;
use uuid::Uuid;

use crate::log::Durability;
use crate::seal::SealPolicy;

/// What time it is, in milliseconds since the epoch. Passed in, so that a test can own time.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> i64 + Send + Sync>);

impl Clock {
    /// A clock of one's own.
    pub fn new(now_ms: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(now_ms))
    }

    /// The machine's clock.
    pub fn system() -> Self {
        Self::new(|| {
            let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            since.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
        })
    }

    /// Milliseconds since the epoch.
    pub fn now_ms(&self) -> i64 {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({})", self.now_ms())
    }
}

/// The cluster that a store belongs to, and what it has in common with all others of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterIdentity {
    /// Names the cluster.
    pub cluster: Uuid,
    /// Seed of the series hash.
    pub seed: u64,
    /// Number of shards.
    pub shards: ShardCount,
}

/// Who says which days go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RetentionBy {
    /// The store, by its clock and its newest sample.
    #[default]
    Clock,
    /// The cluster: days go by [`Store::raise_floor`](crate::Store::raise_floor) alone.
    Cluster,
}

/// What a store is opened with. [`StoreOptions::new`] gives the defaults.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// The data folder; made if it is not there.
    pub dir: PathBuf,
    /// Number of shards of a new store. An old one keeps its own.
    pub shards: ShardCount,
    /// When a write is acknowledged.
    pub durability: Durability,
    /// Bytes of samples in a log file.
    pub log_file_bytes: u64,
    /// Bytes of log beyond which stripes are flushed before their time.
    pub log_bound_bytes: u64,
    /// Samples a series, on average, at which a stripe is flushed.
    pub flush_samples: usize,
    /// Seconds after which a stripe is flushed in any case.
    pub flush_age_s: u32,
    /// Seconds without a sample after which a series leaves memory.
    pub idle_s: u32,
    /// Late samples and histograms that a stripe keeps before it is flushed.
    pub loose_samples: usize,
    /// How long samples are kept, in milliseconds; whole days go.
    pub retention_ms: i64,
    /// Free bytes on the disk below which no write is taken.
    pub reserve_bytes: u64,
    /// Bytes of the database's cache, write buffers included.
    pub cache_bytes: usize,
    /// Bytes of resident memory above which stripes are flushed before their time.
    pub memory_bound_bytes: u64,
    /// Opens a store whose log is damaged, and loses what cannot be read.
    pub accept_loss: bool,
    /// Whether windows are sealed in the background.
    pub seal: bool,
    /// When they are sealed, and by how many threads.
    pub seal_policy: SealPolicy,
    /// Threads of the database that flush and compact.
    pub database_threads: u16,
    /// With how many places it shares its shards: then what is stored is unsettled until it is
    /// known to be at all of them, and damage fails a read. A lone node keeps no account.
    pub replicated: Option<Quorum>,
    /// After how long an unsettled write is delivered by its holders, not waited for.
    pub unsettled_age: Duration,
    /// Chunks of a shard that are accounted for one by one, some 200 bytes each; where there are
    /// more, days take their place.
    pub unsettled_chunks: usize,
    /// Who says which days go.
    pub retention_by: RetentionBy,
    /// The cluster that the store belongs to.
    pub cluster: Option<ClusterIdentity>,
    /// Names the present boot of the machine, where that is known: with [`Durability::Flush`]
    /// another one means that the machine may have lost what was acknowledged.
    pub machine_boot: Option<String>,
}

impl StoreOptions {
    /// The defaults, for data in `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        const MIB: u64 = 1 << 20;
        Self {
            dir: dir.into(),
            shards: ShardCount::new(256).expect("a power of two"),
            durability: Durability::Sync,
            log_file_bytes: 64 * MIB,
            log_bound_bytes: 512 * MIB,
            flush_samples: 60,
            flush_age_s: 30 * 60,
            idle_s: 10 * 60,
            loose_samples: 50_000,
            retention_ms: 30 * rangekeeper_model::DAY_MS,
            reserve_bytes: 1024 * MIB,
            cache_bytes: usize::try_from(48 * MIB).expect("fits every machine that has memory"),
            memory_bound_bytes: u64::MAX,
            accept_loss: false,
            seal: true,
            seal_policy: SealPolicy::default(),
            database_threads: 2,
            replicated: None,
            unsettled_age: Duration::from_secs(10),
            unsettled_chunks: 4096,
            retention_by: RetentionBy::Clock,
            cluster: None,
            machine_boot: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Store;

    #[test]
    fn the_database_gets_its_threads() {
        let folder = tempfile::tempdir().unwrap();
        let mut options = StoreOptions::new(folder.path());
        options.database_threads = 5;
        Store::open(options, Clock::system()).unwrap().close();
        let files = std::fs::read_dir(folder.path().join("db")).unwrap();
        let written = files.filter_map(|file| {
            let path = file.unwrap().path();
            let is_options = path.file_name().unwrap().to_str().unwrap().starts_with("OPTIONS-");
            is_options.then(|| std::fs::read_to_string(path).unwrap())
        });
        let settings: Vec<_> = written.collect();
        assert!(!settings.is_empty());
        assert!(settings.iter().all(|text| text.contains("max_background_jobs=5\n")));
    }
}
