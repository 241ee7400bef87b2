//! Retention: what *now* is, and which days go.
//!
//! *Now* is the smaller of the clock and the newest stored sample, so a clock that jumps ahead
//! deletes nothing by itself. If *now* goes forward by more than a day at once, deleting stops
//! until an operator confirms that time really went on, as it does when a node was off for days.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use rangekeeper_model::{DAY_MS, Day, TimeRange};

use super::engine::Engine;
use super::options::{Clock, RetentionBy};
use crate::db::DbError;

/// Name of the note that keeps the time by which retention went last.
const NOW: &str = "retention-now";

/// From when to when samples are taken and kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Horizon {
    /// Samples before this time are beyond retention.
    pub oldest_ms: i64,
    /// The clock.
    pub now_ms: i64,
}

impl Horizon {
    /// The horizon of a store that has no sample yet.
    pub(super) fn of_clock(clock: &Clock, retention_ms: i64) -> Self {
        let now_ms = clock.now_ms();
        Self { oldest_ms: now_ms.saturating_sub(retention_ms), now_ms }
    }
}

/// What retention remembers.
#[derive(Debug, Default)]
pub(super) struct RetentionState {
    /// The time by which it went last; 0 before the first time.
    now_ms: AtomicI64,
    held: AtomicBool,
}

/// Reads what retention remembered when the store was last open.
pub(super) fn load(engine: &Engine) -> Result<(), DbError> {
    if let Some(now_ms) = engine.db.note(NOW)?.and_then(|v| v.try_into().ok()) {
        engine.retention.now_ms.store(i64::from_le_bytes(now_ms), Ordering::Relaxed);
    }
    Ok(())
}

impl Engine {
    /// From when to when samples are taken and kept.
    pub(super) fn horizon(&self) -> Horizon {
        let clock_ms = self.clock.now_ms();
        let oldest_ms = self.sample_now_ms().saturating_sub(self.options.retention_ms);
        let oldest_ms = oldest_ms.max(self.db.floor().start_ms());
        Horizon { oldest_ms, now_ms: clock_ms }
    }

    /// The part of `range` that is kept. In a cluster by what all its nodes have in common: their
    /// clocks and newest samples differ.
    pub(super) fn clip(&self, range: TimeRange) -> TimeRange {
        let oldest_ms = match self.options.retention_by {
            RetentionBy::Clock => self.horizon().oldest_ms,
            RetentionBy::Cluster => self.db.floor().start_ms(),
        };
        TimeRange { from_ms: range.from_ms.max(oldest_ms), to_ms: range.to_ms }
    }

    /// Whether deleting waits for a confirmation.
    pub(super) fn retention_is_held(&self) -> bool {
        self.retention.held.load(Ordering::Relaxed)
    }

    /// Drops the days that are beyond retention, unless time went forward too fast.
    pub(super) fn apply_retention(&self) -> Result<(), DbError> {
        // Without a sample there is nothing to delete, and a clock that is ahead would shut out the
        // first ones.
        if self.newest_ms() == 0 {
            return Ok(());
        }
        let now_ms = self.sample_now_ms();
        let last_ms = self.retention.now_ms.load(Ordering::Relaxed);
        let jumped = last_ms > 0 && now_ms > last_ms.saturating_add(DAY_MS);
        if jumped && !self.retention.held.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                last_ms,
                now_ms,
                "time went forward by more than a day: nothing is deleted"
            );
        }
        if self.retention_is_held() {
            return Ok(());
        }
        self.go_on(now_ms)
    }

    /// Takes the time that it is now for right.
    pub(super) fn confirm_time(&self) -> Result<(), DbError> {
        let _alone = self.maintenance.lock();
        self.go_on(self.sample_now_ms())?;
        self.retention.held.store(false, Ordering::Relaxed);
        Ok(())
    }

    fn go_on(&self, now_ms: i64) -> Result<(), DbError> {
        if now_ms > self.retention.now_ms.load(Ordering::Relaxed) {
            self.db.put_note(NOW, &now_ms.to_le_bytes())?;
            self.retention.now_ms.store(now_ms, Ordering::Relaxed);
        }
        match self.options.retention_by {
            RetentionBy::Clock => self.raise_floor(self.floor_at(now_ms)),
            RetentionBy::Cluster => Ok(()),
        }
    }

    /// The first day that is kept when it is `now_ms`.
    fn floor_at(&self, now_ms: i64) -> Day {
        Day::of(now_ms.saturating_sub(self.options.retention_ms))
    }

    /// The first day that would be kept by the clock and the newest sample.
    pub(super) fn due_floor(&self) -> Day {
        let last_ms = self.retention.now_ms.load(Ordering::Relaxed);
        let now_ms = self.sample_now_ms();
        let jumped = last_ms > 0 && now_ms > last_ms.saturating_add(DAY_MS);
        let now_ms = match self.newest_ms() {
            0 => 0,
            _ if jumped || self.retention_is_held() => last_ms,
            _ => now_ms,
        };
        self.floor_at(now_ms).max(self.db.floor())
    }

    /// Drops what lies before `floor`. The caller holds the maintenance lock, or nobody else has
    /// the store yet.
    pub(super) fn raise_floor(&self, floor: Day) -> Result<(), DbError> {
        if floor > self.db.floor() {
            // The log names series by key alone whose labels a day keeps that goes now: they are
            // needed under a later one.
            while self.register_new()? > 0 {}
        }
        self.db.raise_floor(floor)
    }

    /// The smaller of the clock and the newest sample; the clock where there is no sample.
    fn sample_now_ms(&self) -> i64 {
        match self.newest_ms() {
            0 => self.clock.now_ms(),
            newest_ms => self.clock.now_ms().min(newest_ms),
        }
    }
}
