//! RocksDB's own figures, for metrics.

use rocksdb::properties;
use rocksdb::statistics::Ticker;

use super::keys::Family;
use super::{Db, DbError};

/// Memory in use, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// Blocks, indexes, filters and the charge of memtables in the one cache.
    pub cache_bytes: u64,
    /// Of these, what readers hold.
    pub cache_pinned_bytes: u64,
    /// Memtables.
    pub memtable_bytes: u64,
    /// What open table files need outside of the cache.
    pub table_reader_bytes: u64,
    /// The number → series vectors of days.
    pub ids_bytes: u64,
}

/// Whether a figure only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatisticKind {
    /// Counts since the open.
    Counter,
    /// A size or number at this time.
    Gauge,
}

/// One of RocksDB's figures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Statistic {
    /// RocksDB's name, as `rocksdb.block.cache.miss`.
    pub name: &'static str,
    /// The column family, where it is one family's.
    pub family: Option<&'static str>,
    /// How it moves.
    pub kind: StatisticKind,
    /// The figure.
    pub value: u64,
}

const TICKERS: [Ticker; 26] = [
    Ticker::BlockCacheMiss,
    Ticker::BlockCacheHit,
    Ticker::BlockCacheIndexMiss,
    Ticker::BlockCacheIndexHit,
    Ticker::BlockCacheFilterMiss,
    Ticker::BlockCacheFilterHit,
    Ticker::BlockCacheDataMiss,
    Ticker::BlockCacheDataHit,
    Ticker::BloomFilterUseful,
    Ticker::MemtableHit,
    Ticker::MemtableMiss,
    Ticker::NumberKeysWritten,
    Ticker::NumberKeysRead,
    Ticker::BytesWritten,
    Ticker::BytesRead,
    Ticker::IterBytesRead,
    Ticker::NumberDbSeek,
    Ticker::NumberDbNext,
    Ticker::NoFileOpens,
    Ticker::NoFileErrors,
    Ticker::StallMicros,
    Ticker::WalFileSynced,
    Ticker::WalFileBytes,
    Ticker::CompactReadBytes,
    Ticker::CompactWriteBytes,
    Ticker::FlushWriteBytes,
];

/// Property and name of the figures that each family has.
fn family_gauges() -> [(&'static std::ffi::CStr, &'static str); 7] {
    [
        (properties::ESTIMATE_NUM_KEYS.as_c_str(), "rocksdb.estimate-num-keys"),
        (properties::TOTAL_SST_FILES_SIZE.as_c_str(), "rocksdb.total-sst-files-size"),
        (properties::CUR_SIZE_ALL_MEM_TABLES.as_c_str(), "rocksdb.cur-size-all-mem-tables"),
        (
            properties::ESTIMATE_PENDING_COMPACTION_BYTES.as_c_str(),
            "rocksdb.estimate-pending-compaction-bytes",
        ),
        (properties::NUM_RUNNING_COMPACTIONS.as_c_str(), "rocksdb.num-running-compactions"),
        (properties::NUM_RUNNING_FLUSHES.as_c_str(), "rocksdb.num-running-flushes"),
        (properties::ESTIMATE_TABLE_READERS_MEM.as_c_str(), "rocksdb.estimate-table-readers-mem"),
    ]
}

impl Db {
    /// Counters of the database and gauges of each family.
    pub fn statistics(&self) -> Vec<Statistic> {
        let mut all: Vec<_> = TICKERS
            .iter()
            .map(|ticker| Statistic {
                name: ticker.name(),
                family: None,
                kind: StatisticKind::Counter,
                value: self.shared.options.get_ticker_count(*ticker),
            })
            .collect();
        for family in Family::ALL {
            all.extend(family_gauges().map(|(property, name)| Statistic {
                name,
                family: Some(family.name()),
                kind: StatisticKind::Gauge,
                value: self.family_property(family, property),
            }));
        }
        all.push(Statistic {
            name: "rocksdb.background-errors",
            family: None,
            kind: StatisticKind::Gauge,
            value: self.family_property(Family::Meta, properties::BACKGROUND_ERRORS.as_c_str()),
        });
        all
    }

    /// Memory in use.
    pub fn memory(&self) -> MemoryUse {
        let sum = |property| {
            Family::ALL.iter().map(|family| self.family_property(*family, property)).sum()
        };
        let wide = |bytes: usize| u64::try_from(bytes).unwrap_or(u64::MAX);
        MemoryUse {
            cache_bytes: wide(self.shared.cache.get_usage()),
            cache_pinned_bytes: wide(self.shared.cache.get_pinned_usage()),
            memtable_bytes: wide(self.shared.buffers.get_usage()),
            table_reader_bytes: sum(properties::ESTIMATE_TABLE_READERS_MEM.as_c_str()),
            ids_bytes: wide(self.days.bytes()),
        }
    }

    /// Bytes of all table files that are in use.
    pub fn table_bytes(&self) -> Result<u64, DbError> {
        let files = self.rocks().live_files();
        let files = files.map_err(|e| self.read_failed("list table files", None, e))?;
        Ok(files.iter().map(|file| file.size as u64).sum())
    }

    fn family_property(&self, family: Family, property: &std::ffi::CStr) -> u64 {
        let value = self.rocks().property_int_value_cf(self.family(family), property);
        value.ok().flatten().unwrap_or(0)
    }
}
