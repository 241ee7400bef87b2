//! Sealing: what merges have left in many frames becomes one, encoded as well as can be.
//!
//! Neither the merge operator nor a compaction filter could do it: a filter never sees the result
//! of merges, and an operator that decodes can fail. So it is a job: per shard, a few hundred
//! series at a time, with the shard's lock held alone, so that no merge lands between the read and
//! the put. A window is sealed once; what comes later lies beside it until the day's last sealing,
//! which also encodes the day's windows together where that is smaller.
//!
//! What is sealed is not logged: should it be lost in a crash, what it was made of is still there.

mod digest;
mod states;
mod worker;

use rangekeeper_model::{Day, ShardId};
use rocksdb::{BottommostLevelCompaction, CompactOptions};

use crate::db::{Db, DbError, Family, Stop, day_bounds, synced};
pub(crate) use states::SealStates;
use states::{ALL_WINDOWS, Due};
use worker::{Mode, Worker};

/// Threads of a sealing that somebody waits for.
const THREADS_NOW: u16 = 2;

/// When what was merged is sealed, and by how many threads. Of the defaults: nearly all that is
/// late comes within an hour, and a sender that catches up pauses for less than ten minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealPolicy {
    /// From the end of a window or a day to its sealing, in milliseconds.
    pub delay_ms: i64,
    /// From the last merge into it to its sealing, in milliseconds.
    pub quiet_ms: i64,
    /// Threads that seal in the background.
    pub threads: u16,
}

impl Default for SealPolicy {
    fn default() -> Self {
        Self { delay_ms: 60 * 60 * 1000, quiet_ms: 10 * 60 * 1000, threads: 1 }
    }
}

/// What a sealing did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sealed {
    /// Chunks that were encoded anew.
    pub chunks: u64,
    /// Samples in them.
    pub samples: u64,
    /// Bytes of the values that they replaced.
    pub bytes_before: u64,
    /// Bytes of their own values.
    pub bytes_after: u64,
    /// Chunks that were left as they were, because something in them could not be read.
    pub damaged: u64,
}

impl Db {
    /// Seals the oldest that is due, if anything is. To be called from time to time, by one thread.
    pub fn seal_due(&self, policy: &SealPolicy, stop: Stop<'_>) -> Result<Option<Sealed>, DbError> {
        let threads = policy.threads.max(1);
        match self.sealing.due(policy, self.now_ms()).first() {
            Some(Due::Windows(day, windows)) => {
                self.seal_day(*day, Mode::Windows(*windows), threads, stop).map(Some)
            }
            Some(Due::Day(day)) => {
                let sealed = self.seal_day(*day, Mode::WholeDay, threads, stop)?;
                self.compact_day(*day)?;
                Ok(Some(sealed))
            }
            None => Ok(None),
        }
    }

    /// Seals everything, also windows that are still being written, and compacts all of the
    /// database. When it returns, the files are as small as they get.
    pub fn seal_all_now(&self, stop: Stop<'_>) -> Result<Sealed, DbError> {
        let mut total = Sealed::default();
        for day in self.sealing.open_days() {
            let over = day.end_ms() <= self.now_ms();
            let mode = if over { Mode::WholeDay } else { Mode::Windows(ALL_WINDOWS) };
            total.add(self.seal_day(day, mode, THREADS_NOW, stop)?);
        }
        self.flush()?;
        for family in Family::ALL {
            let all: (Option<&[u8]>, Option<&[u8]>) = (None, None);
            self.rocks().compact_range_cf_opt(self.family(family), all.0, all.1, &compaction());
        }
        self.check_background()?;
        // RocksDB's log is then as small as it gets.
        self.flush_family(Family::Meta)?;
        Ok(total)
    }

    fn seal_day(
        &self,
        day: Day,
        mode: Mode,
        threads: u16,
        stop: Stop<'_>,
    ) -> Result<Sealed, DbError> {
        let windows = match mode {
            Mode::Windows(windows) => windows,
            Mode::WholeDay => u16::MAX,
        };
        self.sealing.begin(day, windows);
        let sealed = self.seal_shards(day, mode, threads, stop).and_then(|sealed| {
            // The record must not be durable before what it speaks of.
            self.flush_family(Family::Chunks)?;
            let finished = mode == Mode::WholeDay;
            self.sealing.sealed(day, windows, finished, |batch| {
                self.write_raw("record a sealing", batch, &synced())
            })?;
            Ok(sealed)
        });
        if sealed.is_err() {
            self.sealing.abandon(day, windows);
        }
        sealed
    }

    fn seal_shards(
        &self,
        day: Day,
        mode: Mode,
        threads: u16,
        stop: Stop<'_>,
    ) -> Result<Sealed, DbError> {
        let shards: Vec<ShardId> = self.shards().iter().collect();
        let share = shards.len().div_ceil(usize::from(threads));
        std::thread::scope(|scope| {
            let workers: Vec<_> = shards
                .chunks(share)
                .map(|shards| {
                    scope.spawn(move || {
                        let mut worker = Worker::new(self, day, mode, stop);
                        shards.iter().try_for_each(|shard| worker.seal(*shard))?;
                        Ok(worker.done())
                    })
                })
                .collect();
            let mut total = Sealed::default();
            for worker in workers {
                total.add(worker.join().expect("a sealer does not panic")?);
            }
            Ok(total)
        })
    }

    /// Rewrites a day's files once it is sealed for the last time: what sealing replaced goes, and
    /// postings unite.
    fn compact_day(&self, day: Day) -> Result<(), DbError> {
        let (from, to) = day_bounds(day);
        for family in Family::OF_DAYS {
            let options = compaction();
            let (from, to) = (Some(from.as_slice()), Some(to.as_slice()));
            self.rocks().compact_range_cf_opt(self.family(family), from, to, &options);
        }
        self.check_background()
    }
}

impl Sealed {
    fn add(&mut self, other: Self) {
        self.chunks += other.chunks;
        self.samples += other.samples;
        self.bytes_before += other.bytes_before;
        self.bytes_after += other.bytes_after;
        self.damaged += other.damaged;
    }
}

fn compaction() -> CompactOptions {
    let mut options = CompactOptions::default();
    options.set_exclusive_manual_compaction(false);
    options.set_bottommost_level_compaction(BottommostLevelCompaction::ForceOptimized);
    options
}
