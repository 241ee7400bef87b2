//! How RocksDB is set up: one budget of memory for everything it keeps, few threads, small files.

use std::sync::Arc;

use rangekeeper_model::{RunId, ShardCount};
use rocksdb::statistics::StatsLevel;
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType, DBRecoveryMode, LogLevel,
    LruCacheOptions, Options, WriteBufferManager,
};
use uuid::Uuid;

use super::keys::Family;
use super::merge;

/// Milliseconds since the epoch; passed in, so that tests can turn it.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// What may be lost at open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDamage {
    /// A damaged file that cannot be set aside refuses to open.
    Refuse,
    /// Damaged records of RocksDB's own log are skipped, named and counted.
    AcceptLoss,
}

/// Settings of an open database.
#[derive(Clone)]
pub struct DbOptions {
    /// Memory for blocks, index and filter blocks, and memtables together, in bytes.
    pub memory_bytes: usize,
    /// Memory for the number → series vectors of days, in bytes.
    pub ids_cache_bytes: usize,
    /// RocksDB's background threads.
    pub background_jobs: i32,
    /// Table files held open.
    pub open_files: i32,
    /// What may be lost at open.
    pub on_damage: OnDamage,
    /// The clock, for the age of a window's last merge.
    pub clock: Clock,
}

impl DbOptions {
    /// The defaults with the given clock.
    pub fn new(clock: Clock) -> Self {
        Self {
            memory_bytes: 48 << 20,
            ids_cache_bytes: 16 << 20,
            background_jobs: 2,
            open_files: 512,
            on_damage: OnDamage::Refuse,
            clock,
        }
    }
}

/// What a store is created with, and what it must have been created with where the caller says so.
#[derive(Clone, Copy, Debug)]
pub struct CreateWith {
    /// Names the store among all stores, for ever.
    pub store_id: u128,
    /// Seed of the series hash for a new store.
    pub seed: u64,
    /// Number of shards of a new store.
    pub shards: ShardCount,
    /// Refuse a store that has another seed.
    pub expect_seed: Option<u64>,
    /// Refuse a store that has another number of shards.
    pub expect_shards: Option<ShardCount>,
    /// The cluster that the store belongs to: a store of another one, or of one where none is
    /// given, is refused. A store that belongs to none joins.
    pub cluster: Option<Uuid>,
    /// The start that opens it. The same when it is opened again within that.
    pub run: RunId,
}

/// Raw bytes of a memtable of `chunks`: a checkpoint of a stripe or two. Small, so that memory
/// stays small; large enough that the files of level 0 are worth their number.
const CHUNKS_BUFFER_BYTES: usize = 16 << 20;
const INDEX_BUFFER_BYTES: usize = 8 << 20;
const SMALL_BUFFER_BYTES: usize = 1 << 20;
/// RocksDB preallocates as much for its log as the family that was flushed last buffers, and more.
const META_BUFFER_BYTES: usize = 128 << 10;
/// Files are small, so that few straddle two days: a day below the floor is dropped file by file.
const FILE_BYTES: u64 = 16 << 20;
const BLOCK_BYTES: usize = 16 << 10;
/// RocksDB's log carries checkpoints only; beyond this it makes every family flush.
const WAL_BYTES: u64 = 64 << 20;
const BLOOM_BITS: f64 = 10.0;
/// Neighbouring numbers differ in their last byte; a restart costs a whole key.
const NUMBERS_RESTART_INTERVAL: i32 = 64;
/// Each table of `chunks` and `series` at the bottom has a dictionary of its own: what the series
/// of a metric have in common lies farther apart than a block. Of 100,140 real series with 240
/// samples each it makes 67 bytes of 82 a chunk and 38 of 48 a series, and costs 13 ns a sample,
/// once.
const DICTIONARY_BYTES: i32 = 64 << 10;
const DICTIONARY_TRAINING_BYTES: i32 = 640 << 10;

/// What must live as long as the database, and what statistics are read from.
pub(super) struct Shared {
    pub(super) cache: Cache,
    pub(super) buffers: WriteBufferManager,
    pub(super) options: Options,
}

impl Shared {
    pub(super) fn new(options: &DbOptions) -> Self {
        let mut lru = LruCacheOptions::default();
        lru.set_capacity(options.memory_bytes);
        // Few cache shards: with many, one index block can be larger than its shard of a small
        // cache.
        lru.set_num_shard_bits(2);
        let cache = Cache::new_lru_cache_opts(&lru);
        let buffers = WriteBufferManager::new_write_buffer_manager_with_cache(
            options.memory_bytes / 2,
            false,
            cache.clone(),
        );
        let options = database(options, &buffers);
        Self { cache, buffers, options }
    }

    pub(super) fn families(&self) -> Vec<ColumnFamilyDescriptor> {
        self.families_with(|_| {})
    }

    pub(super) fn families_with(
        &self,
        change: impl Fn(&mut Options),
    ) -> Vec<ColumnFamilyDescriptor> {
        let describe = |family: Family| {
            let mut options = self.family(family);
            change(&mut options);
            ColumnFamilyDescriptor::new(family.name(), options)
        };
        Family::ALL.map(describe).into()
    }

    fn family(&self, family: Family) -> Options {
        let mut table = BlockBasedOptions::default();
        table.set_block_cache(&self.cache);
        table.set_block_size(BLOCK_BYTES);
        table.set_cache_index_and_filter_blocks(true);
        table.set_cache_index_and_filter_blocks_with_high_priority(true);
        table.set_pin_l0_filter_and_index_blocks_in_cache(true);
        table.set_format_version(6);
        table.set_optimize_filters_for_memory(true);
        // Of these, keys are asked for that may not exist. Numbers are only asked for that do.
        if matches!(family, Family::Series | Family::Postings) {
            table.set_bloom_filter(BLOOM_BITS, false);
        }
        if family == Family::Numbers {
            table.set_block_restart_interval(NUMBERS_RESTART_INTERVAL);
        }
        let mut options = Options::default();
        options.set_block_based_table_factory(&table);
        options.set_compression_type(DBCompressionType::Lz4);
        options.set_bottommost_compression_type(DBCompressionType::Zstd);
        if matches!(family, Family::Chunks | Family::Series) {
            options.set_bottommost_compression_options(-14, 3, 0, DICTIONARY_BYTES, true);
            options.set_bottommost_zstd_max_train_bytes(DICTIONARY_TRAINING_BYTES, true);
        } else {
            options.set_bottommost_compression_options(-14, 3, 0, 0, true);
        }
        options.set_level_compaction_dynamic_level_bytes(true);
        options.set_target_file_size_base(FILE_BYTES);
        options.set_max_bytes_for_level_base(4 * FILE_BYTES);
        options.set_max_write_buffer_number(4);
        options.set_write_buffer_size(match family {
            Family::Chunks => CHUNKS_BUFFER_BYTES,
            Family::Series | Family::Numbers | Family::Postings => INDEX_BUFFER_BYTES,
            Family::Exemplars | Family::Metadata => SMALL_BUFFER_BYTES,
            Family::Meta | Family::Unsettled => META_BUFFER_BYTES,
        });
        // More than none makes a write read, and then it is neither cheap nor blind.
        options.set_max_successive_merges(0);
        merge::install(family, &mut options);
        options
    }
}

fn database(settings: &DbOptions, buffers: &WriteBufferManager) -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_paranoid_checks(true);
    options.set_write_buffer_manager(buffers);
    options.set_max_background_jobs(settings.background_jobs);
    options.set_max_subcompactions(1);
    options.set_max_open_files(settings.open_files);
    options.set_max_file_opening_threads(2);
    options.set_bytes_per_sync(1 << 20);
    options.set_wal_bytes_per_sync(1 << 20);
    options.set_max_total_wal_size(WAL_BYTES);
    options.set_recycle_log_file_num(0);
    options.set_track_and_verify_wals_in_manifest(true);
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    if settings.on_damage == OnDamage::AcceptLoss {
        options.set_wal_recovery_mode(DBRecoveryMode::SkipAnyCorruptedRecord);
        options.set_track_and_verify_wals_in_manifest(false);
    }
    // The manifest is rolled at open and grows by a line a flush; RocksDB preallocates 4 MiB of it
    // by default.
    options.set_manifest_preallocation_size(64 << 10);
    options.set_max_manifest_file_size(4 << 20);
    options.set_keep_log_file_num(3);
    options.set_max_log_file_size(1 << 20);
    options.set_log_level(LogLevel::Warn);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options.set_skip_stats_update_on_db_open(true);
    options.enable_statistics();
    options.set_statistics_level(StatsLevel::ExceptHistogramOrTimers);
    options
}
