//! RocksDB, as this product uses it: chunks that merge, an index per day, retention by day.
//!
//! Everything that knows RocksDB is below this module and `seal`. Rules that hold throughout:
//!
//! - Writes never wait for RocksDB (`no_slowdown`): they fail as [`DbError::Busy`] and write
//!   nothing.
//! - After any other failed write or sync the database is *poisoned*: it is read, but never written
//!   again; its owner closes and opens it.
//! - Damage never becomes data: a failed checksum is an error that names the file and is noted
//!   beside the database; the next open sets the file aside, saves what of it can be read, and
//!   records the range (see `heal`).
//! - What lies below the floor is not there, on disk or not.

mod batch;
mod cardinality;
mod damage;
mod days;
mod error;
mod exemplars;
mod export;
mod find;
mod heal;
mod identity_file;
mod keys;
mod log_format;
mod merge;
mod meta;
mod metadata;
mod names;
mod open;
mod options;
mod pattern;
mod postings;
mod read;
mod rebuild;
mod register;
mod retention;
mod series;
mod shards;
mod statistics;
#[cfg(test)]
mod tests;
mod unsettled;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::RwLock;
use rangekeeper_model::{Day, Lineage, ShardCount};
use rocksdb::{ColumnFamily, DB, ErrorKind, FlushOptions, WriteBatch, WriteOptions};

pub use batch::{Batch, Exemplar};
pub use cardinality::{Cardinality, CardinalityTally};
pub use damage::DamagedRange;
pub use error::{DbError, OpenError};
pub use exemplars::StoredExemplar;
pub use export::{Entry, Exported};
pub use keys::{EXEMPLARS, METADATA, WHOLE_DAY};
pub use meta::Identity;
pub use metadata::MetadataEntry;
pub use options::{Clock, CreateWith, DbOptions, OnDamage};
pub use read::{Stop, Windows, never};
pub use register::Registration;
pub use shards::ShardGuards;
pub use statistics::{MemoryUse, Statistic, StatisticKind};

pub(crate) use keys::{
    Family, chunk as chunk_key, chunk_parts as chunk_key_parts, day_bounds, shard_bounds,
};
pub(crate) use meta::{sealing_days, sealing_key};
pub(crate) use unsettled::UnsettledChange;

use crate::seal::SealStates;
use damage::Damages;
use days::DayIndexes;
use options::Shared;
use shards::ShardLocks;

/// An open database. Shared between threads by reference.
pub struct Db {
    // Dropped first: RocksDB stops its threads before what they use goes.
    rocks: DB,
    shared: Shared,
    folder: PathBuf,
    identity: Identity,
    lineage: Lineage,
    clock: Clock,
    floor: AtomicU32,
    /// Writers hold it shared; whoever raises the floor takes it alone once, so that nobody is
    /// still writing below it.
    writers: RwLock<()>,
    poison: OnceLock<String>,
    days: DayIndexes,
    shard_locks: ShardLocks,
    damages: Damages,
    pub(crate) sealing: SealStates,
}

impl Db {
    /// What the store is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The starts of the store; the last is this one.
    pub fn lineage(&self) -> &Lineage {
        &self.lineage
    }

    /// Seed of the series hash.
    pub fn seed(&self) -> u64 {
        self.identity.seed
    }

    /// Number of shards.
    pub fn shards(&self) -> ShardCount {
        self.identity.shards
    }

    /// The folder that the database lies in.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The first day that is kept.
    pub fn floor(&self) -> Day {
        Day(self.floor.load(Ordering::Acquire))
    }

    /// Why this database has to be closed and opened again, if it has to.
    pub fn poisoned(&self) -> Option<&str> {
        self.poison.get().map(String::as_str)
    }

    /// An empty batch.
    pub fn batch(&self) -> Batch<'_> {
        Batch::new(self)
    }

    /// Writes a batch, at once or not at all. Visible when it returns; durable after
    /// [`Db::sync_wal`]. Who merges chunks holds the shards' locks ([`Db::shard_guards`]) from
    /// before this call.
    pub fn write(&self, mut batch: Batch<'_>) -> Result<(), DbError> {
        let _writing = self.writers.read();
        let rocks = std::mem::take(&mut batch.rocks);
        let now_ms = (self.clock)();
        self.sealing.merging(&batch.merged, now_ms, rocks, |rocks| {
            self.write_raw("write a batch", rocks, &unsynced())
        })?;
        for (day, given) in batch.given.drain(..) {
            self.days.confirm(day, &given);
        }
        self.days.add_present(batch.merged.keys());
        Ok(())
    }

    /// Makes everything written so far durable.
    pub fn sync_wal(&self) -> Result<(), DbError> {
        self.check_writable("sync")?;
        self.rocks.flush_wal(true).map_err(|e| self.write_failed("sync", e))
    }

    /// Writes all memtables to table files. Waits for it.
    pub fn flush(&self) -> Result<(), DbError> {
        self.check_writable("flush")?;
        let mut options = FlushOptions::default();
        options.set_wait(true);
        let families = Family::ALL.map(|family| self.family(family));
        self.rocks.flush_cfs_opt(&families, &options).map_err(|e| self.write_failed("flush", e))
    }

    /// Fails where RocksDB's background work did: a compaction says nothing of how it went, but the
    /// next write does.
    pub(crate) fn check_background(&self) -> Result<(), DbError> {
        let mut batch = WriteBatch::default();
        batch.put(meta::BOOT, self.identity.boot.to_le_bytes());
        self.write_raw("compact", batch, &synced())
    }

    pub(crate) fn flush_family(&self, family: Family) -> Result<(), DbError> {
        self.check_writable("flush")?;
        self.rocks.flush_cf(self.family(family)).map_err(|e| self.write_failed("flush", e))
    }

    pub(crate) fn write_raw(
        &self,
        operation: &'static str,
        batch: WriteBatch,
        options: &WriteOptions,
    ) -> Result<(), DbError> {
        self.check_writable(operation)?;
        if batch.is_empty() {
            return Ok(());
        }
        self.rocks.write_opt(batch, options).map_err(|e| self.write_failed(operation, e))
    }

    pub(crate) fn rocks(&self) -> &DB {
        &self.rocks
    }

    pub(crate) fn now_ms(&self) -> i64 {
        (self.clock)()
    }

    pub(crate) fn family(&self, family: Family) -> &ColumnFamily {
        self.rocks.cf_handle(family.name()).expect("every family is opened with the database")
    }

    fn check_writable(&self, operation: &'static str) -> Result<(), DbError> {
        match self.poison.get() {
            Some(cause) => Err(DbError::Poisoned { operation, cause: cause.clone() }),
            None => Ok(()),
        }
    }

    /// The error of a failed write. RocksDB reports here also what went wrong in its background.
    fn write_failed(&self, operation: &'static str, source: rocksdb::Error) -> DbError {
        if source.kind() == ErrorKind::Incomplete {
            return DbError::Busy { operation };
        }
        let _ = self.poison.set(source.as_ref().to_owned());
        if source.kind() == ErrorKind::Corruption {
            self.damages.note(&self.folder, None, source.as_ref());
        }
        tracing::error!(operation, error = %source, "the database is not written any more");
        DbError::Poisoned { operation, cause: source.into_string() }
    }

    /// The error of a failed read; damage is counted and noted for the next open.
    pub(crate) fn read_failed(
        &self,
        operation: &'static str,
        day: Option<Day>,
        source: rocksdb::Error,
    ) -> DbError {
        if source.kind() == ErrorKind::Corruption {
            self.damages.note(&self.folder, day, source.as_ref());
        }
        DbError::of_read(operation, day, source)
    }

    /// The error of a value that RocksDB gave whole, but that is not what we wrote.
    pub(crate) fn unreadable(&self, operation: &'static str, day: Day, detail: &str) -> DbError {
        self.damages.count();
        DbError::Damaged { operation, file: None, day: Some(day), detail: detail.to_owned() }
    }
}

impl fmt::Debug for Db {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Db({}, floor {})", self.folder.display(), self.floor())
    }
}

pub(crate) fn unsynced() -> WriteOptions {
    let mut options = WriteOptions::default();
    // Without it a writer waits for ever when the disk is full.
    options.set_no_slowdown(true);
    options
}

pub(crate) fn synced() -> WriteOptions {
    let mut options = unsynced();
    options.set_sync(true);
    options
}
