//! What other nodes need of a shard: its chunks in the order of keys, and a way in for theirs; and
//! a copy of it all.

use std::path::Path;

use rangekeeper_model::{Day, Labels, SeriesId, ShardId, TenantId, WindowInDay};
use rocksdb::checkpoint::Checkpoint;

use super::keys::{self, Family};
use super::read::Iterator;
use super::register::Registration;
use super::{Batch, Db, DbError};

const SCAN: &str = "scan a shard";

/// A chunk with the series that it belongs to.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The series.
    pub id: SeriesId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Its labels.
    pub labels: Labels,
    /// The window, 12 for the whole day.
    pub window: WindowInDay,
    /// The chunk value.
    pub value: Vec<u8>,
}

/// The chunks of a shard and day, in the order of keys. Nothing is pinned beyond this iterator's
/// own life: what is merged meanwhile may or may not be seen.
pub struct Exported<'db> {
    db: &'db Db,
    day: Day,
    chunks: Iterator<'db>,
    series: Iterator<'db>,
    current: Option<(SeriesId, TenantId, Labels)>,
    failed: bool,
}

impl Db {
    /// The chunks of `shard` under `day`, from the one at or behind `from` on.
    pub fn scan(
        &self,
        shard: ShardId,
        day: Day,
        from: Option<(SeriesId, WindowInDay)>,
    ) -> Exported<'_> {
        let (start, end) = keys::shard_bounds(day, shard);
        let mut chunks = self.iterator(Family::Chunks, end.clone(), true);
        let series = self.iterator(Family::Series, end, true);
        match from {
            Some((id, window)) => chunks.seek(start.max(keys::chunk(day, id, window).into())),
            None => chunks.seek(start),
        }
        let failed = day < self.floor();
        Exported { db: self, day, chunks, series, current: None, failed }
    }

    /// Merges entries under `day` and registers their series; durable when it returns. The caller's
    /// entries are of one shard or of neighbouring ones.
    pub fn import(&self, day: Day, entries: &[Entry]) -> Result<(), DbError> {
        self.import_with(day, &entries.iter().collect::<Vec<_>>(), |batch| self.write(batch))
    }

    /// The same; `write` writes the batch, with what else belongs into it.
    pub(crate) fn import_with(
        &self,
        day: Day,
        entries: &[&Entry],
        write: impl FnOnce(Batch<'_>) -> Result<(), DbError>,
    ) -> Result<(), DbError> {
        let (Some(first), Some(last)) =
            (entries.iter().map(|e| e.id).min(), entries.iter().map(|e| e.id).max())
        else {
            return Ok(());
        };
        let mut batch = self.batch();
        let mut registrations: Vec<_> = entries
            .iter()
            .map(|entry| Registration {
                id: entry.id,
                tenant: &entry.tenant,
                labels: entry.labels.as_bytes(),
                number: None,
            })
            .collect();
        let guards = self.shard_guards(first.shard(), last.shard());
        self.register(&mut batch, day, &mut registrations)?;
        for entry in entries {
            batch.merge_chunk(day, entry.id, entry.window, &entry.value);
        }
        write(batch)?;
        drop(guards);
        self.sync_wal()
    }

    /// Writes a copy that opens as a database into `folder`, which must not exist. Table files are
    /// linked where the file system allows; memtables are flushed first.
    pub fn snapshot(&self, folder: &Path) -> Result<(), DbError> {
        let checkpoint = Checkpoint::new(self.rocks());
        checkpoint
            .and_then(|checkpoint| checkpoint.create_checkpoint(folder))
            .map_err(|e| self.read_failed("write a snapshot", None, e))
    }
}

impl std::iter::Iterator for Exported<'_> {
    type Item = Result<Entry, DbError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let entry = self.entry().transpose();
        self.failed = !matches!(entry, Some(Ok(_)));
        entry
    }
}

impl Exported<'_> {
    fn entry(&mut self) -> Result<Option<Entry>, DbError> {
        let day = self.day;
        let Some((key, value)) = self.chunks.item() else {
            let status = self.chunks.status();
            return status.map(|()| None).map_err(|e| self.db.read_failed(SCAN, Some(day), e));
        };
        let (_, id, window) = keys::chunk_parts(key)
            .ok_or_else(|| self.db.unreadable(SCAN, day, "a chunk key of another length"))?;
        let value = value.to_vec();
        self.chunks.next();
        if self.current.as_ref().is_none_or(|(current, ..)| *current != id) {
            let key = keys::day_id(day, id);
            self.series.seek(key);
            let found = self.series.item().filter(|(found, _)| *found == key);
            let Some((_, row)) = found else {
                self.series.status().map_err(|e| self.db.read_failed(SCAN, Some(day), e))?;
                return Err(self.db.unreadable(SCAN, day, "a chunk's series is not registered"));
            };
            let (_, tenant, labels) = self.db.parse_series(day, row)?;
            let tenant =
                TenantId::new(tenant).map_err(|e| self.db.unreadable(SCAN, day, &e.to_string()))?;
            self.current = Some((id, tenant, labels));
        }
        let (id, tenant, labels) = self.current.clone().expect("set above for this series");
        Ok(Some(Entry { id, tenant, labels, window, value }))
    }
}
