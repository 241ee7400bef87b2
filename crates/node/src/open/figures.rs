//! The store's figures as metrics, read at each scrape.

use rangekeeper_storage::db::StatisticKind;
use rangekeeper_storage::log::{LogStats, SYNC_BUCKETS_US};
use rangekeeper_storage::{Store, StoreStats};
use rangekeeper_telemetry::{Distribution, Family, Readings, Registry};

static FAMILIES: &[Family] = &[
    Family::gauge("rangekeeper_head_series", &[], "Series in memory."),
    Family::gauge("rangekeeper_head_open_samples", &[], "Samples in open segments."),
    Family::gauge(
        "rangekeeper_head_loose_samples",
        &[],
        "Late samples and histograms that wait for a checkpoint.",
    ),
    Family::gauge(
        "rangekeeper_head_unregistered_series",
        &[],
        "Series that the index of their day does not have yet.",
    ),
    Family::gauge("rangekeeper_head_bytes", &[], "Memory of the series in memory, roughly."),
    Family::counter("rangekeeper_head_series_created_total", &[], "Series that came into memory."),
    Family::counter("rangekeeper_head_series_evicted_total", &[], "Series that left memory."),
    Family::counter("rangekeeper_head_samples_total", &[], "Samples that were stored."),
    Family::counter(
        "rangekeeper_head_collisions_total",
        &[],
        "Series that were refused because another one has their hash.",
    ),
    Family::gauge(
        "rangekeeper_head_newest_sample_timestamp_seconds",
        &[],
        "Time of the newest sample, since the epoch.",
    ),
    Family::counter("rangekeeper_checkpoint_stripes_total", &[], "Checkpoints of stripes."),
    Family::counter(
        "rangekeeper_checkpoint_failures_total",
        &[],
        "Checkpoints of stripes that failed and were tried again.",
    ),
    Family::counter(
        "rangekeeper_index_registered_total",
        &[],
        "Series that were registered in the index of a day.",
    ),
    Family::gauge("rangekeeper_log_bytes", &[], "Bytes of the log's files."),
    Family::gauge("rangekeeper_log_files", &[], "Files of the log."),
    Family::counter("rangekeeper_log_records_total", &[], "Records written to the log."),
    Family::counter("rangekeeper_log_written_bytes_total", &[], "Bytes written to the log."),
    Family::counter("rangekeeper_log_groups_total", &[], "Groups of records written together."),
    Family::counter("rangekeeper_log_refused_total", &[], "Records refused: too much waited."),
    Family::histogram("rangekeeper_log_sync_duration_seconds", &[], "Time that syncs took."),
    Family::gauge(
        "rangekeeper_retention_floor_timestamp_seconds",
        &[],
        "Start of the first day that is kept, since the epoch.",
    ),
    Family::gauge(
        "rangekeeper_retention_held",
        &[],
        "1 while nothing is deleted because time went forward too fast, until it is confirmed.",
    ),
    Family::gauge("rangekeeper_disk_free_bytes", &[], "Free bytes on the data folder's disk."),
    Family::counter(
        "rangekeeper_storage_damage_total",
        &[],
        "Files and frames that were found damaged.",
    ),
    Family::gauge("rangekeeper_rocksdb_cache_bytes", &[], "Bytes in RocksDB's cache."),
    Family::gauge("rangekeeper_rocksdb_memtable_bytes", &[], "Bytes in RocksDB's memtables."),
    Family::counter(
        "rangekeeper_rocksdb_ticker_total",
        &["ticker"],
        "RocksDB's own counters, under its own names.",
    ),
    Family::gauge(
        "rangekeeper_rocksdb_property",
        &["property", "family"],
        "RocksDB's own properties of each column family, under its own names.",
    ),
];

/// Exports the figures of `store`.
pub(super) fn register(store: &Store, registry: &Registry) {
    let store = store.clone();
    registry.snapshot(FAMILIES, move |readings| {
        if let Some(stats) = store.stats() {
            read(&stats, readings);
        }
    });
}

#[expect(clippy::cast_precision_loss, reason = "metrics are floats")]
fn read(stats: &StoreStats, readings: &mut Readings) {
    let mut set = |name: &str, value: u64| readings.set(name, &[], value as f64);
    set("rangekeeper_head_series", stats.series);
    set("rangekeeper_head_open_samples", stats.open_samples);
    set("rangekeeper_head_loose_samples", stats.loose_samples);
    set("rangekeeper_head_unregistered_series", stats.unregistered);
    set("rangekeeper_head_bytes", stats.head_bytes);
    set("rangekeeper_head_series_created_total", stats.series_created_total);
    set("rangekeeper_head_series_evicted_total", stats.series_evicted_total);
    set("rangekeeper_head_samples_total", stats.samples_total);
    set("rangekeeper_head_collisions_total", stats.collisions_total);
    set("rangekeeper_checkpoint_stripes_total", stats.checkpoints_total);
    set("rangekeeper_checkpoint_failures_total", stats.checkpoint_failures_total);
    set("rangekeeper_index_registered_total", stats.registered_total);
    set("rangekeeper_log_bytes", stats.log_bytes);
    set("rangekeeper_log_files", stats.log_files);
    set("rangekeeper_retention_held", u64::from(stats.retention_held));
    set("rangekeeper_disk_free_bytes", stats.disk_free_bytes);
    set("rangekeeper_storage_damage_total", stats.damage_total);
    set("rangekeeper_rocksdb_cache_bytes", stats.database_memory.cache_bytes);
    set("rangekeeper_rocksdb_memtable_bytes", stats.database_memory.memtable_bytes);
    let mut seconds = |name: &str, ms: i64| readings.set(name, &[], ms as f64 / 1e3);
    seconds("rangekeeper_head_newest_sample_timestamp_seconds", stats.newest_ms);
    seconds("rangekeeper_retention_floor_timestamp_seconds", stats.floor_ms);
    read_log(&stats.log, readings);
    for statistic in &stats.database {
        let value = statistic.value as f64;
        match statistic.kind {
            StatisticKind::Counter => {
                readings.set("rangekeeper_rocksdb_ticker_total", &[statistic.name], value);
            }
            StatisticKind::Gauge => {
                let family = statistic.family.unwrap_or_default();
                readings.set("rangekeeper_rocksdb_property", &[statistic.name, family], value);
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "metrics are floats")]
fn read_log(log: &LogStats, readings: &mut Readings) {
    let mut set = |name: &str, value: u64| readings.set(name, &[], value as f64);
    set("rangekeeper_log_records_total", log.records);
    set("rangekeeper_log_written_bytes_total", log.bytes);
    set("rangekeeper_log_groups_total", log.groups);
    set("rangekeeper_log_refused_total", log.refused);
    let bounds = SYNC_BUCKETS_US.iter().map(|us| *us as f64 / 1e6);
    let syncs = Distribution {
        buckets: bounds.zip(log.sync_buckets.iter().copied()).collect(),
        above: log.sync_buckets[SYNC_BUCKETS_US.len()],
        sum: log.sync_time.as_secs_f64(),
    };
    readings.set_histogram("rangekeeper_log_sync_duration_seconds", &[], &syncs);
}
