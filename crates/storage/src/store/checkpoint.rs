//! Checkpoints: what the head holds goes to the database, stripe by stripe, and the log behind it
//! goes.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use rangekeeper_model::{Day, Labels, SeriesId, ShardId, TenantId};

use super::engine::Engine;
use crate::db::{Batch, DbError, Registration};
use crate::head::stripe::{Fill, Taken};
use crate::log::{Durability, Position, Ticket};
use crate::unsettled::UnsettledSets;

/// How long before midnight the series that are written now begin to be registered for the next
/// day, stripe by stripe.
const NEXT_DAY_LEAD_MS: i64 = 60 * 60 * 1000;

/// Most series that one batch registers: some tens of MB of labels and postings.
const REGISTER_BATCH: usize = 50_000;

impl Engine {
    /// Writes what stripe `stripe` holds to the database.
    ///
    /// Everything up to the log's watermark is in the head when the stripe's lock is held, so the
    /// batch that holds the stripe's samples may say so; what it holds beyond that is replayed
    /// once more after a crash, and sets merge.
    pub(super) fn checkpoint(&self, stripe: usize) -> Result<(), DbError> {
        let taken = {
            let mut locked = self.head.stripe(stripe);
            let watermark = self.log().watermark();
            locked.take(self.claimable(watermark))
        };
        let written = self.write_checkpoint(stripe, &taken);
        if written.is_err() {
            self.counters.checkpoint_failures.fetch_add(1, Ordering::Relaxed);
            return written;
        }
        let log_file = self.log().current_file();
        let mut locked = self.head.stripe(stripe);
        locked.flushed(&taken);
        let evicted = locked.evict(self.idle_before_s(), log_file);
        drop(locked);
        self.checkpoints[stripe].store(taken.watermark.0, Ordering::Release);
        self.counters.checkpoints.fetch_add(1, Ordering::Relaxed);
        self.counters.series_evicted.fetch_add(evicted as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Forgets the series that are idle and hold nothing: the next sample brings them back. A
    /// checkpoint does so too, but a stripe to which nobody writes any more has none.
    pub(super) fn evict_idle(&self) {
        let log_file = self.log().current_file();
        for stripe in 0..self.head.stripe_count() {
            let evicted = self.head.stripe(stripe).evict(self.idle_before_s(), log_file);
            self.counters.series_evicted.fetch_add(evicted as u64, Ordering::Relaxed);
        }
    }

    fn write_checkpoint(&self, stripe: usize, taken: &Taken) -> Result<(), DbError> {
        let (first, last) = self.head.shards_of(stripe);
        let _writing = self.unsettled.as_ref().map(UnsettledSets::writing);
        let _shared = self.db.shard_guards(first, last);
        let mut batch = self.db.batch();
        let mut new = NewSeries::default();
        new.collect(self, stripe);
        new.register(self, &mut batch)?;
        for (entry, value) in taken.chunks.iter() {
            batch.merge_chunk(entry.window.day(), entry.id, entry.window.in_day(), value);
        }
        for exemplar in taken.exemplars.iter() {
            exemplar.put_into(&mut batch);
        }
        let today = Day::of(self.clock.now_ms());
        for (family, metadata) in &taken.metadata {
            batch.metadata(&family.tenant, &family.family, &metadata.entry(today));
        }
        batch.checkpoint(stripe_number(stripe), taken.watermark.0);
        // In the same batch: replay passes over what is claimed, and would not see the newest.
        batch.newest_ms(self.newest_ms());
        self.claim((first, last), batch)
    }

    /// Writes a batch that claims log positions. No power cut may leave the claim without the
    /// records: where the log is not synced anyway, it is now.
    /// What is unsettled of the shards goes along, for what the log lets go nothing else has.
    fn claim(&self, shards: (ShardId, ShardId), batch: Batch<'_>) -> Result<(), DbError> {
        if self.options.durability == Durability::Flush
            && let Err(error) = self.log().sync().and_then(Ticket::wait)
        {
            tracing::warn!(%error, "the log could not be synced before a checkpoint");
            return Err(DbError::Busy { operation: "sync the log before a checkpoint" });
        }
        self.write_with_account(shards, batch)
    }

    /// Registers new series in the database's index and syncs, so that queries find them there and
    /// the log needs their labels no longer. Returns how many there were.
    ///
    /// A checkpoint registers, in its own batch, what this did not come to yet: a chunk's series is
    /// always in the index. Only what is registered here is known to be synced.
    pub(super) fn register_new(&self) -> Result<usize, DbError> {
        let mut new = NewSeries::default();
        for stripe in 0..self.head.stripe_count() {
            new.collect(self, stripe);
        }
        if new.len() == 0 {
            return Ok(0);
        }
        let mut batch = self.db.batch();
        new.register(self, &mut batch)?;
        self.db.write(batch)?;
        self.db.sync_wal()?;
        for (day, places) in new.places() {
            for (stripe, slot) in places {
                self.head.stripe(*stripe).registered(*slot, day);
            }
        }
        self.counters.registered.fetch_add(new.len() as u64, Ordering::Relaxed);
        Ok(new.len())
    }

    /// In the last hour of a day, has the series that are written now registered for the next one,
    /// stripe by stripe, so that midnight is an hour long.
    pub(super) fn prepare_next_day(&self) {
        let now_ms = self.newest_ms().min(self.clock.now_ms());
        let next = Day::of(now_ms).next();
        let into_lead_ms = now_ms - (next.start_ms() - NEXT_DAY_LEAD_MS);
        if !(0..=NEXT_DAY_LEAD_MS).contains(&into_lead_ms) {
            return;
        }
        let stripes = i64::try_from(self.head.stripe_count()).expect("few stripes");
        let due = into_lead_ms * stripes / NEXT_DAY_LEAD_MS;
        for stripe in 0..usize::try_from(due.min(stripes)).expect("not negative") {
            self.head.stripe(stripe).prepare_day(next, self.idle_before_s());
        }
    }

    /// Makes the checkpoints durable and lets the log behind all of them go.
    pub(super) fn finish_round(&self) -> Result<(), DbError> {
        let lowest = self.checkpoints.iter().map(|c| c.load(Ordering::Acquire)).min();
        self.db.sync_wal()?;
        let lowest = Position(lowest.expect("at least one stripe"));
        if let Err(error) = self.log().delete_below(lowest) {
            tracing::warn!(%error, "log files that are no longer needed stay for now");
        }
        Ok(())
    }

    /// Advances the checkpoints of stripes that hold nothing, so that they keep no log.
    pub(super) fn checkpoint_idle(&self) -> Result<(), DbError> {
        let mut batch = self.db.batch();
        let mut advanced = Vec::new();
        for stripe in 0..self.head.stripe_count() {
            let locked = self.head.stripe(stripe);
            let watermark = self.claimable(self.log().watermark()).0;
            if locked.is_in_database() {
                let stored = self.checkpoints[stripe].load(Ordering::Acquire);
                if stored < watermark {
                    batch.checkpoint(stripe_number(stripe), watermark);
                    advanced.push((stripe, watermark));
                }
            }
        }
        if advanced.is_empty() {
            return Ok(());
        }
        let _writing = self.unsettled.as_ref().map(UnsettledSets::writing);
        self.claim(self.all_shards(), batch)?;
        for (stripe, watermark) in advanced {
            self.checkpoints[stripe].store(watermark, Ordering::Release);
        }
        Ok(())
    }

    /// Whether everything is in the database.
    pub(super) fn is_in_database(&self) -> bool {
        (0..self.head.stripe_count()).all(|stripe| self.head.stripe(stripe).is_in_database())
    }

    /// Checkpoints every stripe.
    pub(super) fn checkpoint_all(&self) -> Result<(), DbError> {
        while self.register_new()? > 0 {}
        for stripe in 0..self.head.stripe_count() {
            self.checkpoint(stripe)?;
        }
        self.finish_round()
    }
}

/// Which stripes are to be flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StripeNeeds {
    /// Those whose time has come.
    Due,
    /// Those, and the one that keeps the most log.
    Oldest,
}

impl Engine {
    /// Number of series that the index of their day does not have yet.
    pub(super) fn unregistered(&self) -> usize {
        (0..self.head.stripe_count()).map(|s| self.head.stripe(s).unregistered_len()).sum()
    }

    /// The stripes that are to be flushed now.
    pub(super) fn due_stripes(&self, needs: StripeNeeds) -> Vec<usize> {
        let now_s = self.now_s();
        let stripes = 0..self.head.stripe_count();
        let mut due: Vec<usize> =
            stripes.clone().filter(|stripe| self.is_due(*stripe, now_s)).collect();
        if needs == StripeNeeds::Oldest {
            let holds = |stripe: &usize| !self.head.stripe(*stripe).fill().is_empty();
            let checkpoint = |stripe: &usize| self.checkpoints[*stripe].load(Ordering::Acquire);
            let oldest = stripes.filter(holds).min_by_key(checkpoint);
            due.extend(oldest.filter(|stripe| !due.contains(stripe)));
        }
        due
    }

    fn is_due(&self, stripe: usize, now_s: u32) -> bool {
        let first = self.checkpoints[stripe].load(Ordering::Acquire) == 0;
        let locked = self.head.stripe(stripe);
        let fill = locked.fill();
        // A stripe's first checkpoint comes the earlier the lower its number, so that they stay
        // apart from then on.
        let stripes = self.head.stripe_count();
        let share = if first { stripe + 1 } else { stripes };
        let samples = self.options.flush_samples * share / stripes;
        let age_s = self.options.flush_age_s as usize * share / stripes;
        let old = fill.oldest_s.is_some_and(|s| now_s.saturating_sub(s) as usize >= age_s);
        locked.is_flushing()
            || (fill.open_samples > 0 && fill.open_samples >= samples.max(1) * fill.open_series)
            || fill.loose_samples + fill.exemplars >= self.options.loose_samples
            || (old && !fill.is_empty())
    }
}

impl Fill {
    /// Whether a checkpoint would have nothing to write.
    pub(crate) fn is_empty(&self) -> bool {
        self.open_samples + self.loose_samples + self.exemplars == 0
    }
}

/// Series to register, by day.
#[derive(Default)]
struct NewSeries {
    days: BTreeMap<Day, NewOfDay>,
    series: usize,
}

/// The series that are new on one day, and the stripe and slot of each.
#[derive(Default)]
struct NewOfDay {
    entries: Vec<(SeriesId, TenantId, Labels)>,
    places: Vec<(usize, u32)>,
}

impl NewSeries {
    /// Adds what stripe `stripe` has to register, as long as there is room for it in one batch.
    fn collect(&mut self, engine: &Engine, stripe: usize) {
        let locked = engine.head.stripe(stripe);
        for (series, slot, day) in locked.unregistered().take(REGISTER_BATCH - self.series) {
            let tenant = engine.head.tenant_at(series.tenant).id.clone();
            let of_day = self.days.entry(day).or_default();
            of_day.entries.push((series.id, tenant, series.labels.clone()));
            of_day.places.push((stripe, slot));
            self.series += 1;
        }
    }

    fn len(&self) -> usize {
        self.series
    }

    fn places(&self) -> impl Iterator<Item = (Day, &[(usize, u32)])> {
        self.days.iter().map(|(day, of_day)| (*day, of_day.places.as_slice()))
    }

    /// Registers them; those of days below the floor are only counted as done.
    fn register(&self, engine: &Engine, batch: &mut Batch<'_>) -> Result<(), DbError> {
        for (day, of_day) in &self.days {
            let mut registrations: Vec<_> = of_day
                .entries
                .iter()
                .map(|(id, tenant, labels)| Registration {
                    id: *id,
                    tenant,
                    labels: labels.as_bytes(),
                    number: None,
                })
                .collect();
            engine.db.register(batch, *day, &mut registrations)?;
        }
        Ok(())
    }
}

fn stripe_number(stripe: usize) -> u16 {
    u16::try_from(stripe).expect("few stripes")
}
