//! One sealing thread: shard after shard, a few hundred series under the lock at a time.

use rangekeeper_chunk::{Decoder, Sealer, sealed_digest};
use rangekeeper_model::{Day, Samples, SeriesId, ShardId, TimeRange, WindowInDay};
use rocksdb::{WriteBatch, WriteOptions};

use super::Sealed;
use crate::db::{
    Db, DbError, Family, Stop, WHOLE_DAY, chunk_key, chunk_key_parts, shard_bounds, unsynced,
};

const OPERATION: &str = "seal";

/// Chunks read under one hold of a shard's lock: some milliseconds of work, for which writers into
/// the shard wait.
const ROWS_A_HOLD: usize = 512;
/// Bytes that a chunk costs in a file beside its value: what of its key does not repeat that of its
/// neighbour.
const KEY_COST_BYTES: usize = 16;
/// Tries of a batch that RocksDB is too busy for, and the pause between them: five seconds in all.
const BUSY_TRIES: u32 = 100;
const BUSY_PAUSE: std::time::Duration = std::time::Duration::from_millis(50);

/// What a sealing makes of a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Each of these windows, as bits, by itself.
    Windows(u16),
    /// All windows together, where that is smaller.
    WholeDay,
}

/// A chunk as it was read.
struct Row {
    window: WindowInDay,
    value: Vec<u8>,
}

/// Where to go on: from this key.
type Cursor = Option<Vec<u8>>;

pub(super) struct Worker<'db> {
    db: &'db Db,
    day: Day,
    mode: Mode,
    stop: Stop<'db>,
    decoder: Decoder,
    sealer: Sealer,
    samples: Samples,
    sealed: Sealed,
}

impl<'db> Worker<'db> {
    pub(super) fn new(db: &'db Db, day: Day, mode: Mode, stop: Stop<'db>) -> Self {
        Self {
            db,
            day,
            mode,
            stop,
            decoder: Decoder::default(),
            sealer: Sealer::default(),
            samples: Samples::default(),
            sealed: Sealed::default(),
        }
    }

    pub(super) fn done(self) -> Sealed {
        self.sealed
    }

    /// Seals what `shard` has of the day.
    pub(super) fn seal(&mut self, shard: ShardId) -> Result<(), DbError> {
        let (mut from, end) = shard_bounds(self.day, shard);
        let mut tries = 0;
        loop {
            if (self.stop)() {
                return Err(DbError::Interrupted { operation: OPERATION });
            }
            let before = self.sealed;
            match self.hold(shard, &from, &end) {
                Ok(None) => return Ok(()),
                Ok(Some(next)) => {
                    from = next;
                    tries = 0;
                }
                Err(DbError::Busy { .. }) if tries < BUSY_TRIES => {
                    // Not under the lock: merges go on, and what was read is read again.
                    self.sealed = before;
                    tries += 1;
                    std::thread::sleep(BUSY_PAUSE);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Seals some series under one hold of the lock; returns where to go on.
    fn hold(&mut self, shard: ShardId, from: &[u8], end: &[u8]) -> Result<Cursor, DbError> {
        let _alone = self.db.shard_alone(shard);
        let mut batch = WriteBatch::default();
        let mut series: Option<SeriesId> = None;
        let mut rows: Vec<Row> = Vec::new();
        let mut iterator = self.db.iterator(Family::Chunks, end, true);
        iterator.seek(from);
        let mut read = 0;
        let mut next = None;
        while let Some((key, value)) = iterator.item() {
            let (_, id, window) = chunk_key_parts(key).ok_or_else(|| {
                self.db.unreadable(OPERATION, self.day, "a chunk key of another length")
            })?;
            if series != Some(id) {
                if let Some(series) = series {
                    self.seal_series(series, &mut rows, &mut batch);
                }
                if read >= ROWS_A_HOLD {
                    next = Some(key.to_vec());
                    series = None;
                    break;
                }
                series = Some(id);
            }
            if self.takes(window) {
                rows.push(Row { window, value: value.to_vec() });
            }
            read += 1;
            iterator.next();
        }
        iterator.status().map_err(|e| self.db.read_failed(OPERATION, Some(self.day), e))?;
        if let Some(series) = series {
            self.seal_series(series, &mut rows, &mut batch);
        }
        self.db.write_raw(OPERATION, batch, &unlogged())?;
        Ok(next)
    }

    fn takes(&self, window: WindowInDay) -> bool {
        match self.mode {
            Mode::Windows(windows) => windows & (1 << window.0) != 0,
            Mode::WholeDay => true,
        }
    }

    fn seal_series(&mut self, id: SeriesId, rows: &mut Vec<Row>, batch: &mut WriteBatch) {
        match (self.mode, rows.as_slice()) {
            (Mode::WholeDay, [_, _, ..]) => self.seal_together(id, rows, batch),
            _ => rows.iter().for_each(|row| self.seal_row(id, row, batch)),
        }
        rows.clear();
    }

    fn seal_row(&mut self, id: SeriesId, row: &Row, batch: &mut WriteBatch) {
        if sealed_digest(&row.value).is_some() {
            return;
        }
        if !self.decode(id, std::slice::from_ref(row)) {
            return;
        }
        let value = self.sealer.seal(&self.samples);
        self.put(id, row.window, &value, row.value.len(), batch);
    }

    /// Encodes all rows of a series as one, or each by itself where that is smaller.
    fn seal_together(&mut self, id: SeriesId, rows: &[Row], batch: &mut WriteBatch) {
        if !self.decode(id, rows) {
            // What can be read is sealed by itself all the same.
            for row in rows {
                self.seal_row(id, row, batch);
            }
            return;
        }
        let together = self.sealer.seal(&self.samples);
        let apart: usize = rows.iter().map(|row| row.value.len() + KEY_COST_BYTES).sum();
        let only_sealed = rows.iter().all(|row| sealed_digest(&row.value).is_some());
        let overlaps = rows.iter().any(|row| row.window == WHOLE_DAY);
        if only_sealed && !overlaps && together.len() + KEY_COST_BYTES >= apart {
            return;
        }
        let before = rows.iter().map(|row| row.value.len()).sum();
        self.put(id, WHOLE_DAY, &together, before, batch);
        let family = self.db.family(Family::Chunks);
        for row in rows.iter().filter(|row| row.window != WHOLE_DAY) {
            batch.delete_cf(family, chunk_key(self.day, id, row.window));
        }
    }

    fn put(
        &mut self,
        id: SeriesId,
        window: WindowInDay,
        value: &[u8],
        before: usize,
        batch: &mut WriteBatch,
    ) {
        let family = self.db.family(Family::Chunks);
        batch.put_cf(family, chunk_key(self.day, id, window), value);
        self.sealed.chunks += 1;
        self.sealed.samples += self.samples.len() as u64;
        self.sealed.bytes_before += before as u64;
        self.sealed.bytes_after += value.len() as u64;
    }

    /// Unites the rows in `self.samples`; says whether all of them could be read.
    fn decode(&mut self, id: SeriesId, rows: &[Row]) -> bool {
        self.samples.clear();
        for row in rows {
            let damages = self.decoder.decode(&row.value, TimeRange::ALL, &mut self.samples);
            if !damages.is_empty() {
                self.sealed.damaged += 1;
                self.db.count_damage();
                self.db.note_damaged_shard(id.shard());
                return false;
            }
        }
        !self.samples.is_empty()
    }
}

/// Not logged: see the module above.
fn unlogged() -> WriteOptions {
    let mut options = unsynced();
    options.disable_wal(true);
    options
}
