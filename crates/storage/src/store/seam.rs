//! What a shard offers to whoever copies it: a cursor, a scan, the tail behind the cursor, a way
//! in, a digest.
//!
//! Take the [cursor](Store::cursor) first, then [scan](Store::scan), then read the
//! [tail](Store::tail) from the cursor on: what the scan missed, because it was written meanwhile,
//! is in the tail, and what both have is the same set. So nothing is pinned while a shard is
//! copied.

use rangekeeper_model::{Day, ShardId, TimeRange, Window, WindowInDay};
use rangekeeper_placement::{Added, Mark, UnsettledKey};

use super::engine::Engine;
use super::{Store, StoreError};
use crate::db::{Entry, Stop};
use crate::log::{Import, Position, RecordEncoder, SubmitError, Tail};
use crate::unsettled::{Touched, UnsettledSets};

/// The chunks of one shard on one day.
#[derive(Debug)]
pub struct ShardDay {
    /// The day.
    pub day: Day,
    /// Its chunks: what the head holds first, then the database's, each in the order of keys. One
    /// series and window may come more than once.
    pub entries: Vec<Entry>,
}

impl Store {
    /// Everything up to here is found by a scan that begins now.
    pub fn cursor(&self) -> Result<Position, StoreError> {
        Ok(self.engine()?.log().watermark())
    }

    /// The days that have data.
    pub fn days(&self) -> Result<Vec<Day>, StoreError> {
        let engine = self.engine()?;
        let mut days = Vec::new();
        for stripe in 0..engine.head.stripe_count() {
            days.extend(engine.head.stripe(stripe).unregistered().map(|(_, _, day)| day));
        }
        // Only now: a day may have gone from the head into the database meanwhile.
        days.extend(engine.days(TimeRange::ALL));
        days.sort_unstable();
        days.dedup();
        Ok(days)
    }

    /// All chunks of `shard` on `day`. Blocks.
    pub fn scan(&self, shard: ShardId, day: Day, stop: Stop<'_>) -> Result<ShardDay, StoreError> {
        let engine = self.engine()?;
        let mut entries = engine.scan_head(shard, day);
        for entry in engine.db.scan(shard, day, None) {
            entries.push(entry?);
            if stop() {
                return Err(StoreError::NotOpen("the scan was stopped".to_owned()));
            }
        }
        Ok(ShardDay { day, entries })
    }

    /// The mutations of `shard` from `from` on, by whatever road they came.
    pub fn tail(&self, shard: ShardId, from: Position) -> Result<Tail, StoreError> {
        Ok(self.engine()?.log().tail(shard, from)?)
    }

    /// Unites chunks of other copies, of one shard or of neighbouring ones, with what is here.
    /// Durable when it returns. Blocks.
    ///
    /// In a replicated store an entry that brings nothing new changes nothing. What is new is
    /// unsettled; returned are the keys that hold nothing else, by which whoever delivered it can
    /// [settle](Store::settle_chunk) it. Where something else was unsettled already, this store
    /// delivers both.
    pub fn ingest(
        &self,
        day: Day,
        entries: &[Entry],
    ) -> Result<Vec<(UnsettledKey, Mark)>, StoreError> {
        self.engine()?.ingest(day, entries)
    }

    /// A digest of the samples of `shard` on `day`, the same for the same samples whatever chunks
    /// they lie in. What is in memory is written to the database first. Blocks.
    pub fn digest(&self, shard: ShardId, day: Day, stop: Stop<'_>) -> Result<u64, StoreError> {
        let engine = self.engine()?;
        {
            let _alone = engine.maintenance.lock();
            engine.checkpoint(engine.head.stripe_of(shard))?;
        }
        Ok(engine.db.digest(day, shard, stop)?)
    }
}

impl Engine {
    fn scan_head(&self, shard: ShardId, day: Day) -> Vec<Entry> {
        let stripe = self.head.stripe(self.head.stripe_of(shard));
        let (first, last) = (Window::new(day, WindowInDay(0)), Window::new(day, WindowInDay(11)));
        let mut entries = Vec::new();
        for (slot, series) in stripe.iter().filter(|(_, series)| series.id.shard() == shard) {
            let tenant = self.head.tenant_at(series.tenant).id.clone();
            stripe.append_chunks((slot, series), (first, last), |window, value| {
                entries.push(Entry {
                    id: series.id,
                    tenant: tenant.clone(),
                    labels: series.labels.clone(),
                    window: window.in_day(),
                    value: value.to_vec(),
                });
            });
        }
        entries.sort_by_key(|entry| (entry.id, entry.window));
        entries
    }

    /// See [`Store::ingest`].
    fn ingest(&self, day: Day, entries: &[Entry]) -> Result<Vec<(UnsettledKey, Mark)>, StoreError> {
        let Some(unsettled) = &self.unsettled else {
            self.db.import(day, entries)?;
            self.log_imports(entries.iter().map(|entry| of_chunk(day, entry)))?;
            return Ok(Vec::new());
        };
        let news = self.news_of(day, entries)?;
        let (Some(first), Some(last)) =
            (news.keys.first().map(|key| key.id), news.keys.last().map(|key| key.id))
        else {
            return Ok(Vec::new());
        };
        let now_ms = self.clock.now_ms();
        let mut added = Vec::with_capacity(news.keys.len());
        let writing = unsettled.writing();
        for Touched { id, window } in &news.keys {
            let key = UnsettledKey::Chunk(*window, *id);
            added.push((id.shard(), unsettled.add(id.shard(), key, now_ms)));
        }
        self.db.import_with(day, &news.entries, |batch| {
            self.write_with_account((first.shard(), last.shard()), batch)
        })?;
        drop(writing);
        self.log_imports(news.entries.iter().map(|entry| of_chunk(day, entry)))?;
        Ok(unsettled.alone(added))
    }

    /// Gives what went straight into the database a position, so that a shard's tail shows it.
    pub(super) fn log_imports(
        &self,
        imports: impl Iterator<Item = Import>,
    ) -> Result<(), StoreError> {
        let mut encoder = RecordEncoder::new();
        let mut previous = None;
        for import in imports {
            if previous.replace(import) != Some(import) {
                encoder.import(import);
            }
        }
        let log = self.log();
        loop {
            let record = encoder.finish().expect("an import's keys are far below a record's limit");
            match log.submit(record, log.current_file()) {
                Ok(mut flight) => return Ok(flight.wait_durable()?),
                Err(SubmitError::FileChanged { .. }) => {}
                Err(SubmitError::Log(error)) => return Err(error.into()),
                Err(error) => return Err(StoreError::NotOpen(error.to_string())),
            }
        }
    }
}

fn of_chunk(day: Day, entry: &Entry) -> Import {
    Import { series: entry.id, day, window: entry.window }
}

impl UnsettledSets {
    /// Those of the additions whose entries hold nothing else still: what has become part of a day
    /// meanwhile is alone no more.
    pub(super) fn alone(&self, mut added: Vec<(ShardId, Added)>) -> Vec<(UnsettledKey, Mark)> {
        added.retain(|(shard, added)| {
            let mark = self.with(*shard, |entries| entries.mark(added.key));
            added.is_alone && mark == Some(added.mark)
        });
        added.into_iter().map(|(_, added)| (added.key, added.mark)).collect()
    }
}
