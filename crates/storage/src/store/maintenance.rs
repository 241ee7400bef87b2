//! The store's own thread: it opens, registers, checkpoints, watches the disk, and opens again what
//! failed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::checkpoint::StripeNeeds;
use super::engine::Engine;
use super::recovery::ReplayProgress;
use super::{Shared, State, StoreError, with_causes};
use crate::db::DbError;
use crate::log::Position;

/// Between two looks at what is to be done.
const TICK: Duration = Duration::from_millis(200);
/// Between two attempts to open what failed.
const REOPEN: Duration = Duration::from_secs(2);
/// New series wait this long for the index, or until there are many of them.
const REGISTER_EVERY: Duration = Duration::from_secs(2);
const REGISTER_AT: usize = 10_000;
/// Between two rounds in which idle stripes' checkpoints advance and log files go.
const ROUND_EVERY: Duration = Duration::from_mins(1);
/// Between two looks at which days are beyond retention, and which windows can be sealed.
const RETENTION_EVERY: Duration = Duration::from_mins(10);
const SEAL_EVERY: Duration = Duration::from_mins(1);
/// Between two looks at what is unsettled.
const ACCOUNT_EVERY: Duration = Duration::from_secs(1);
/// After memory ran short, stripes are flushed no more often than this: flushing small batches
/// costs most.
const PRESSURE_EVERY: Duration = Duration::from_secs(5);

const RUN: u8 = 0;
const STOP: u8 = 1;
const ABANDON: u8 = 2;

/// What the thread and the handle share.
#[derive(Debug, Default)]
pub(super) struct Maintenance {
    wanted: AtomicU8,
    wake: (Mutex<()>, Condvar),
    low_disk: AtomicBool,
    free_bytes: AtomicU64,
    memory_short: AtomicBool,
}

impl Maintenance {
    /// Has the thread write everything, close the store and end.
    pub(super) fn stop(&self) {
        self.want(STOP);
    }

    /// Has the thread end and leave everything as it lies.
    pub(super) fn abandon(&self) {
        self.want(ABANDON);
    }

    /// Why writes are not taken now.
    pub(super) fn refusal(&self, engine: &Engine) -> Option<String> {
        if self.low_disk.load(Ordering::Relaxed) {
            let (free, reserve) =
                (self.free_bytes.load(Ordering::Relaxed), engine.options.reserve_bytes);
            return Some(format!(
                "the disk of the data folder has {free} bytes free, the reserve is {reserve}"
            ));
        }
        if self.memory_short.load(Ordering::Relaxed) {
            return Some("memory is short".to_owned());
        }
        if let Some(error) = engine.log().failure() {
            return Some(error.to_string());
        }
        engine.db.poisoned().map(|cause| format!("the database failed: {cause}"))
    }

    /// Bytes that are free on the data folder's disk.
    pub(super) fn free_bytes(&self) -> u64 {
        self.free_bytes.load(Ordering::Relaxed)
    }

    /// Whoever knows the process' memory says whether it is short.
    pub(super) fn set_memory_short(&self, short: bool) {
        self.memory_short.store(short, Ordering::Relaxed);
    }

    fn want(&self, wanted: u8) {
        self.wanted.fetch_max(wanted, Ordering::AcqRel);
        let _locked = self.wake.0.lock();
        self.wake.1.notify_all();
    }

    fn wanted(&self) -> u8 {
        self.wanted.load(Ordering::Acquire)
    }

    fn sleep(&self, duration: Duration) {
        let mut locked = self.wake.0.lock();
        if self.wanted() == RUN {
            self.wake.1.wait_for(&mut locked, duration);
        }
    }
}

impl Shared {
    /// The life of the store.
    pub(super) fn run(&self) {
        let mut was_open = false;
        while self.maintenance.wanted() == RUN {
            let progress = Arc::new(ReplayProgress::default());
            self.change(State::Opening(Arc::clone(&progress)));
            self.look_at_disk();
            match Engine::open(&self.options, &self.clock, self.run, &progress) {
                Ok(engine) => {
                    was_open = true;
                    self.change(State::Open(Arc::clone(&engine)));
                    self.keep(&engine);
                    self.change(State::Closed);
                    wait_for_last(engine);
                }
                Err(error) => {
                    tracing::error!(error = %with_causes(&error), "the store could not be opened");
                    self.change(State::Failed(Arc::new(error)));
                    if !was_open {
                        // Whoever started it is told, and nothing changes by trying again.
                        return;
                    }
                    self.maintenance.sleep(REOPEN);
                }
            }
        }
        self.change(State::Closed);
    }

    /// Works for an open store until it is to be closed, or its disk failed it.
    fn keep(&self, engine: &Arc<Engine>) {
        let sealer = Sealer::start(engine);
        let mut due = Due::default();
        while self.maintenance.wanted() == RUN && engine.db.poisoned().is_none() {
            self.look_at_disk();
            if let Err(error) = self.tick(engine, &mut due) {
                tracing::warn!(%error, "maintenance failed and is tried again");
                self.maintenance.sleep(REOPEN);
            }
            self.maintenance.sleep(TICK);
        }
        engine.stopping.store(true, Ordering::Release);
        drop(sealer);
        if self.maintenance.wanted() == STOP
            && engine.db.poisoned().is_none()
            && let Err(error) = close(engine)
        {
            tracing::error!(%error, "closing failed; the log will be replayed");
        }
    }

    fn tick(&self, engine: &Engine, due: &mut Due) -> Result<(), StoreError> {
        if engine.log().failure().is_some() {
            self.replace_log(engine)?;
        }
        let _alone = engine.maintenance.lock();
        let now = Instant::now();
        let new = engine.unregistered();
        if new >= REGISTER_AT || (new > 0 && due.register.is_over(now, REGISTER_EVERY)) {
            while engine.register_new()? >= REGISTER_AT {}
        }
        engine.prepare_next_day();
        let pressed = self.is_pressed(engine) && due.pressure.is_over(now, PRESSURE_EVERY);
        let stripes =
            engine.due_stripes(if pressed { StripeNeeds::Oldest } else { StripeNeeds::Due });
        for stripe in &stripes {
            engine.checkpoint(*stripe)?;
        }
        let round = due.round.is_over(now, ROUND_EVERY);
        if round {
            if engine.is_in_database() {
                // The file that is written now may go like the others, and with it the last names
                // of series that ended.
                engine.log().rotate()?.wait()?;
            }
            engine.evict_idle();
            engine.checkpoint_idle()?;
        }
        if round || !stripes.is_empty() {
            engine.finish_round()?;
        }
        if due.account.is_over(now, ACCOUNT_EVERY) {
            engine.keep_account()?;
        }
        if due.retention.is_over(now, RETENTION_EVERY) {
            engine.apply_retention()?;
        }
        Ok(())
    }

    /// Whether log or memory make stripes flush before their time.
    fn is_pressed(&self, engine: &Engine) -> bool {
        let resident = || crate::memory::resident_bytes().unwrap_or(0);
        engine.log().bytes() > self.options.log_bound_bytes
            || self.maintenance.memory_short.load(Ordering::Relaxed)
            || resident() > self.options.memory_bound_bytes
    }

    /// Opens a new log beside the database, once there is room: the failed one's file is never
    /// written again.
    fn replace_log(&self, engine: &Engine) -> Result<(), StoreError> {
        if self.maintenance.low_disk.load(Ordering::Relaxed) {
            return Ok(());
        }
        let checkpoints: Vec<Position> = engine
            .checkpoints
            .iter()
            .map(|checkpoint| Position(checkpoint.load(Ordering::Acquire)))
            .collect();
        engine.log().close().unwrap_or_else(|error| tracing::warn!(%error, "closed a failed log"));
        let (log, _) = super::open::open_log(&self.options, &engine.db, &checkpoints)?;
        engine.replace_log(log);
        tracing::info!("the log is written again");
        Ok(())
    }

    fn look_at_disk(&self) {
        let Ok(disk) = rustix::fs::statvfs(&self.options.dir) else { return };
        let free = disk.f_bavail * disk.f_frsize;
        self.maintenance.free_bytes.store(free, Ordering::Relaxed);
        let low = free < self.options.reserve_bytes;
        if self.maintenance.low_disk.swap(low, Ordering::Relaxed) != low {
            tracing::warn!(free, reserve = self.options.reserve_bytes, low, "free disk space");
        }
    }
}

/// Writes everything to the database and closes the log.
fn close(engine: &Engine) -> Result<(), StoreError> {
    let _alone = engine.maintenance.lock();
    engine.close_account()?;
    engine.checkpoint_all()?;
    engine.log().close()?;
    // What was taken in meanwhile is unsettled, too, and the log has it.
    engine.finish_round()?;
    engine.end_run()?;
    Ok(())
}

/// Readers hold the engine; the folder can be opened again only when they are gone.
fn wait_for_last(engine: Arc<Engine>) {
    let weak = Arc::downgrade(&engine);
    drop(engine);
    while weak.strong_count() > 0 {
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// When each thing was done last.
#[derive(Debug, Default)]
struct Due {
    register: Last,
    round: Last,
    account: Last,
    retention: Last,
    pressure: Last,
}

#[derive(Debug, Default)]
struct Last(Option<Instant>);

impl Last {
    /// Whether `every` has passed; if so, it starts again.
    fn is_over(&mut self, now: Instant, every: Duration) -> bool {
        let over = self.0.is_none_or(|last| now - last >= every);
        if over {
            self.0 = Some(now);
        }
        over
    }
}

/// The thread that seals.
struct Sealer {
    engine: Arc<Engine>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Sealer {
    fn start(engine: &Arc<Engine>) -> Self {
        let of_thread = Arc::clone(engine);
        let work = move || {
            let mut last = Last(Some(Instant::now()));
            while !of_thread.stopping.load(Ordering::Acquire) {
                std::thread::park_timeout(TICK);
                if last.is_over(Instant::now(), SEAL_EVERY)
                    && of_thread.options.seal
                    && let Err(error) = of_thread.seal_due()
                {
                    tracing::warn!(%error, "sealing failed and is tried again");
                }
            }
        };
        let thread = std::thread::Builder::new().name("rk-seal".to_owned()).spawn(work);
        let thread = thread.inspect_err(|error| tracing::error!(%error, "nothing is sealed")).ok();
        Self { engine: Arc::clone(engine), thread }
    }
}

impl Drop for Sealer {
    fn drop(&mut self) {
        self.engine.stopping.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            thread.join().expect("the sealer does not panic");
        }
    }
}

impl Engine {
    fn seal_due(&self) -> Result<(), DbError> {
        let policy = &self.options.seal_policy;
        while self.db.seal_due(policy, &|| self.is_stopping())?.is_some() {}
        Ok(())
    }
}
