//! The store: one handle over whatever state the data is in.
//!
//! Opening replays the log, which takes seconds; a disk that fails closes the store and opens it
//! again. The handle stays: it says what is the matter ([`Store::status`]), and refuses what cannot
//! be done now with an error that may be tried again.

mod admin;
mod checkpoint;
mod columns;
mod engine;
mod extras;
mod identity;
mod labels;
mod maintenance;
mod news;
mod open;
mod options;
mod read;
mod recovery;
mod retention;
mod scope;
mod seam;
mod selection;
mod stats;
mod unsettled;
mod write;

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, RwLock};
use rangekeeper_model::{Day, ErrorClass, Matcher, RunId, TenantId, TimeRange};

use self::engine::Engine;
pub use self::extras::{Bundle, Statement};
pub use self::identity::StoreIdentity;
pub use self::labels::{Found, MetadataRow, SeriesExemplars};
use self::maintenance::Maintenance;
pub use self::options::{Clock, ClusterIdentity, RetentionBy, StoreOptions};
pub use self::read::ReadLimits;
use self::recovery::ReplayProgress;
pub use self::retention::Horizon;
pub use self::scope::{Scope, ShardSet};
pub use self::seam::ShardDay;
pub use self::selection::Selection;
pub use self::stats::{HeadOfTenant, StoreStats};
pub use self::write::{Committed, HashCollision, RowIndex, Write};
use crate::db::{DbError, OpenError};
use crate::log::{LogError, RecordTooLarge, SubmitError};

/// A store. Cloning gives another handle to the same one.
#[derive(Clone, Debug)]
pub struct Store {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    options: StoreOptions,
    clock: Clock,
    /// This start. What is closed and opened again in it goes on.
    run: RunId,
    state: RwLock<State>,
    /// Wakes whoever waits for the state to change.
    changed: (Mutex<()>, Condvar),
    maintenance: Maintenance,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
enum State {
    /// The log is replayed.
    Opening(Arc<ReplayProgress>),
    /// It works.
    Open(Arc<Engine>),
    /// It cannot be opened, or not yet again.
    Failed(Arc<StoreError>),
    /// It was closed.
    Closed,
}

/// What a store can do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// The log is replayed; so many hundredths of it are done.
    Opening(u64),
    /// It takes writes and answers.
    Ready,
    /// It answers, but takes no writes now, for this reason.
    ReadOnly(String),
    /// It does nothing, for this reason.
    Failed(String),
    /// It was closed.
    Closed,
}

/// Why a store could not be opened or asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The data folder could not be used.
    #[error("failed to {operation} {path}")]
    Folder {
        /// What was tried.
        operation: &'static str,
        /// On which path.
        path: String,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// Another process has the data folder.
    #[error("data folder {0} is in use by another process")]
    Locked(String),
    /// A thread could not be started.
    #[error("failed to start a thread of the store")]
    Thread {
        /// The operating system's error.
        source: std::io::Error,
    },
    /// The database could not be opened.
    #[error("failed to open the database")]
    Open(#[from] OpenError),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DbError),
    /// The log failed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The log names series by key alone that the database does not have, and has so many samples
    /// of them.
    #[error(
        "the log has {samples} samples of series whose labels are lost ({}); --accept-loss opens \
         without them",
        damaged_files(damage)
    )]
    Nameless {
        /// How many.
        samples: u64,
        /// What is known to be damaged, with the files' names.
        damage: Vec<String>,
    },
    /// A selector matches more series than the reader wants.
    #[error("a selector matches {matched} series or more, the limit leaves room for {limit}")]
    TooManySeries {
        /// Series counted until then.
        matched: u64,
        /// The reader's limit.
        limit: u64,
    },
    /// A chunk cannot be read whole, and other copies of it can.
    #[error("a chunk of series {series} is damaged: {detail}")]
    DamagedSeries {
        /// Labels of the series.
        series: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The store is not open now.
    #[error("the store is not open: {0}")]
    NotOpen(String),
}

/// What an error says, and what caused it, in one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn damaged_files(damage: &[String]) -> String {
    match damage {
        [] => "no file is known to be damaged".to_owned(),
        _ => format!("damaged: {}", damage.join("; ")),
    }
}

/// Why a write was not stored.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The store takes no writes now.
    #[error("writes are not taken now: {0}")]
    Refused(String),
    /// The log did not take the record.
    #[error(transparent)]
    Submit(#[from] SubmitError),
    /// The record did not become durable.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The request is larger than a record of the log can be.
    #[error(transparent)]
    TooLarge(#[from] RecordTooLarge),
    /// The log changed its file again and again.
    #[error("the log is busy")]
    Busy,
    /// The process stops.
    #[error("the store is stopping")]
    Stopping,
}

impl StoreError {
    /// The class of the failure.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Database(error) => error.class(),
            Self::Log(error) => error.class(),
            Self::NotOpen(_) => ErrorClass::Unavailable,
            Self::TooManySeries { .. } => ErrorClass::Execution,
            _ => ErrorClass::Internal,
        }
    }
}

impl WriteError {
    /// The class of the failure.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::TooLarge(_) => ErrorClass::TooLarge,
            _ => ErrorClass::Unavailable,
        }
    }
}

impl Store {
    /// Begins to open the store, creating it where there is none. [`Self::wait_open`] tells how
    /// that ended.
    pub fn start(options: StoreOptions, clock: Clock) -> Result<Self, StoreError> {
        let shared = Arc::new(Shared {
            options,
            clock,
            run: RunId(uuid::Uuid::new_v4()),
            state: RwLock::new(State::Opening(Arc::default())),
            changed: Default::default(),
            maintenance: Maintenance::default(),
            thread: Mutex::new(None),
        });
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("rk-store".to_owned())
            .spawn(move || of_thread.run())
            .map_err(|source| StoreError::Thread { source })?;
        *shared.thread.lock() = Some(thread);
        Ok(Self { shared })
    }

    /// Waits until the store is open, or cannot be opened. Blocks.
    pub fn wait_open(&self) -> Result<(), Arc<StoreError>> {
        let (lock, changed) = &self.shared.changed;
        let mut locked = lock.lock();
        loop {
            match &*self.shared.state.read() {
                State::Open(_) => return Ok(()),
                State::Failed(error) => return Err(Arc::clone(error)),
                State::Closed => {
                    return Err(Arc::new(StoreError::NotOpen("it was closed".to_owned())));
                }
                State::Opening(_) => {}
            }
            changed.wait(&mut locked);
        }
    }

    /// Waits until the store's state changes, or the time is over. Blocks.
    pub fn wait_change(&self, at_most: Duration) {
        let (lock, changed) = &self.shared.changed;
        changed.wait_for(&mut lock.lock(), at_most);
    }

    /// Opens the store and waits for it. Blocks.
    pub fn open(options: StoreOptions, clock: Clock) -> Result<Self, Arc<StoreError>> {
        let store = Self::start(options, clock)?;
        store.wait_open()?;
        Ok(store)
    }

    /// What the store can do now.
    pub fn status(&self) -> Status {
        match &*self.shared.state.read() {
            State::Opening(progress) => Status::Opening(progress.percent()),
            State::Failed(error) => Status::Failed(error.to_string()),
            State::Closed => Status::Closed,
            State::Open(engine) => match self.shared.maintenance.refusal(engine) {
                Some(reason) => Status::ReadOnly(reason),
                None => Status::Ready,
            },
        }
    }

    /// Begins a write for a tenant.
    pub fn write(&self, tenant: &TenantId) -> Result<Write, WriteError> {
        let engine = self.engine().map_err(|e| WriteError::Refused(e.to_string()))?;
        if let Some(reason) = self.shared.maintenance.refusal(&engine) {
            return Err(WriteError::Refused(reason));
        }
        let tenant = engine.head.tenant(tenant);
        Ok(Write::new(engine, tenant))
    }

    /// The series of `tenant` that match, with their chunks in `range`. Blocks.
    pub fn select(
        &self,
        tenant: &TenantId,
        matchers: &[Matcher],
        range: TimeRange,
        limits: ReadLimits<'_>,
    ) -> Result<Selection, StoreError> {
        let engine = self.engine()?;
        let tenant = engine.head.tenant(tenant);
        let range = engine.clip(range);
        engine.select(&tenant, matchers, range, limits)
    }

    /// From when to when samples are taken and kept.
    pub fn horizon(&self) -> Horizon {
        match self.engine() {
            Ok(engine) => engine.horizon(),
            Err(_) => Horizon::of_clock(&self.shared.clock, self.shared.options.retention_ms),
        }
    }

    /// Confirms that time really went forward by more than a day, so that retention goes on.
    pub fn confirm_time(&self) -> Result<(), StoreError> {
        Ok(self.engine()?.confirm_time()?)
    }

    /// The first day that the clock and the newest sample would keep: what a cluster is asked to
    /// raise its floor to. Day 0 while the store is not open.
    pub fn due_floor(&self) -> Day {
        self.engine().map_or(Day(0), |engine| engine.due_floor())
    }

    /// Drops everything before `floor`, for good. A floor only rises: a lower one changes nothing.
    /// Blocks.
    pub fn raise_floor(&self, floor: Day) -> Result<(), StoreError> {
        let engine = self.engine()?;
        let _alone = engine.maintenance.lock();
        Ok(engine.raise_floor(floor)?)
    }

    /// Writes everything to the database and seals all of it. Blocks, for as long as it takes.
    pub fn seal_all(&self) -> Result<(), StoreError> {
        self.engine()?.seal_all()
    }

    /// Writes everything that is in memory to the database. Blocks.
    pub fn checkpoint(&self) -> Result<(), StoreError> {
        let engine = self.engine()?;
        let _alone = engine.maintenance.lock();
        engine.keep_account()?;
        Ok(engine.checkpoint_all()?)
    }

    /// Writes a copy that opens as a store into `folder`, which must not exist. Blocks.
    pub fn snapshot(&self, folder: &Path) -> Result<(), StoreError> {
        self.engine()?.snapshot(folder)
    }

    /// Writes everything to the database and closes the store. Blocks. Whoever still reads keeps
    /// what he reads alive.
    pub fn close(&self) {
        self.shared.maintenance.stop();
        if let Some(thread) = self.shared.thread.lock().take() {
            thread.join().expect("the store's thread does not panic");
        }
    }

    /// For tests of crashes: ends the store as if the process were killed. Nothing more is written.
    #[doc(hidden)]
    pub fn abandon(&self) {
        self.shared.maintenance.abandon();
        if let Ok(engine) = self.engine() {
            engine.log().abandon();
        }
        if let Some(thread) = self.shared.thread.lock().take() {
            thread.join().expect("the store's thread does not panic");
        }
    }

    fn engine(&self) -> Result<Arc<Engine>, StoreError> {
        match &*self.shared.state.read() {
            State::Open(engine) => Ok(Arc::clone(engine)),
            State::Opening(progress) => {
                Err(StoreError::NotOpen(format!("{} % of its log is replayed", progress.percent())))
            }
            State::Failed(error) => Err(StoreError::NotOpen(with_causes(&**error))),
            State::Closed => Err(StoreError::NotOpen("it was closed".to_owned())),
        }
    }
}

impl Shared {
    fn change(&self, state: State) {
        let (lock, changed) = &self.changed;
        let old = std::mem::replace(&mut *self.state.write(), state);
        let _locked = lock.lock();
        changed.notify_all();
        drop(old);
    }
}
