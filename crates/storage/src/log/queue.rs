//! Positions, what waits for the writer, and what is in flight.

use std::collections::VecDeque;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::encode::Record;
use super::error::{LogError, SubmitError};
use super::format::{FILE_HEADER_BYTES, RECORD_HEADER_BYTES};
use super::recovery::LogFile;
use super::stats::Stats;
use super::{FileSeq, GROUP_BYTES, LogOptions, Position, file};

/// What the log's handle, its writer and its flights share. `state` is never taken while `files` is
/// held, nor the other way round, and nothing blocks while either is held.
pub(super) struct Shared {
    pub dir: PathBuf,
    pub store: [u8; 16],
    pub options: LogOptions,
    state: Mutex<State>,
    /// Wakes the writer.
    wake: Condvar,
    /// Files that exist, oldest first. The writer appends and updates the last one, deletion takes
    /// from the front.
    pub files: Mutex<Vec<LogFile>>,
    /// Copy of `State::file`.
    pub current_file: AtomicU64,
    /// The last position that is written and synced as the options ask.
    pub durable: AtomicU64,
    /// The position before the lowest one whose flight is not over; that one need not be durable.
    landed: AtomicU64,
    pub stats: Stats,
}

struct State {
    /// The last position that was given.
    last: Position,
    /// The file that records are assigned to, and the bytes of it that are assigned: 0 before its
    /// first record.
    file: FileSeq,
    file_bytes: u64,
    waiting: VecDeque<Job>,
    waiting_bytes: usize,
    flights: Flights,
    stop: Option<Stop>,
    failure: Option<LogError>,
}

/// How the writer ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// Write what waits, close the file.
    Finish,
    /// Leave everything as it is.
    Abandon,
}

pub(super) type Done = oneshot::Sender<Result<(), LogError>>;

/// What the writer is to do, in this order.
pub(super) enum Job {
    Write { record: Record, position: Position, file: FileSeq, done: Done },
    Close { done: Done },
    Sync { done: Done },
}

impl Job {
    fn bytes(&self) -> usize {
        match self {
            Self::Write { record, .. } => record.bytes.len(),
            Self::Close { .. } | Self::Sync { .. } => 0,
        }
    }

    pub(super) fn into_done(self) -> Done {
        match self {
            Self::Write { done, .. } | Self::Close { done } | Self::Sync { done } => done,
        }
    }
}

/// Positions in flight: `over[i]` tells whether `first + i` is over. The front one never is.
struct Flights {
    first: u64,
    over: VecDeque<bool>,
}

impl Flights {
    fn end(&mut self, position: Position) {
        let at = usize::try_from(position.0 - self.first).expect("flights are few");
        self.over[at] = true;
        while self.over.front() == Some(&true) {
            self.over.pop_front();
            self.first += 1;
        }
    }
}

impl Shared {
    pub(super) fn new(
        dir: &Path,
        store: [u8; 16],
        options: LogOptions,
        last: Position,
        file: FileSeq,
        files: Vec<LogFile>,
    ) -> Self {
        Self {
            dir: dir.to_owned(),
            store,
            options,
            state: Mutex::new(State {
                last,
                file,
                file_bytes: 0,
                waiting: VecDeque::new(),
                waiting_bytes: 0,
                flights: Flights { first: last.0 + 1, over: VecDeque::new() },
                stop: None,
                failure: None,
            }),
            wake: Condvar::new(),
            files: Mutex::new(files),
            current_file: AtomicU64::new(file.0),
            durable: AtomicU64::new(last.0),
            landed: AtomicU64::new(last.0),
            stats: Stats::default(),
        }
    }

    pub(super) fn submit(
        self: &Arc<Self>,
        record: Record,
        file: FileSeq,
    ) -> Result<Flight, SubmitError> {
        let bytes = record.bytes.len();
        let (done, durable) = oneshot::channel();
        let mut state = self.state.lock();
        state.check_open()?;
        if state.waiting_bytes > 0 && state.waiting_bytes + bytes > self.options.queue_bytes {
            self.stats.refused();
            return Err(SubmitError::Full { waiting_bytes: state.waiting_bytes });
        }
        let room_needed = (bytes + RECORD_HEADER_BYTES) as u64;
        if state.file_bytes > 0 && state.file_bytes + room_needed > self.options.file_bytes {
            self.next_file(&mut state);
        }
        if state.file != file {
            return Err(SubmitError::FileChanged { record, now: state.file });
        }
        let position = state.last.next();
        state.last = position;
        state.file_bytes = state.file_bytes.max(FILE_HEADER_BYTES as u64) + bytes as u64;
        state.flights.over.push_back(false);
        state.waiting_bytes += bytes;
        state.waiting.push_back(Job::Write { record, position, file, done });
        drop(state);
        self.wake.notify_one();
        Ok(Flight { position, file, durable: Ticket(durable), shared: Arc::clone(self) })
    }

    fn next_file(&self, state: &mut State) {
        state.file = FileSeq(state.file.0 + 1);
        state.file_bytes = 0;
        self.current_file.store(state.file.0, Ordering::Release);
    }

    pub(super) fn rotate(&self) -> Result<Ticket, LogError> {
        let (done, closed) = oneshot::channel();
        let mut state = self.state.lock();
        state.check_open()?;
        if state.file_bytes > 0 {
            self.next_file(&mut state);
        }
        state.waiting.push_back(Job::Close { done });
        drop(state);
        self.wake.notify_one();
        Ok(Ticket(closed))
    }

    pub(super) fn sync(&self) -> Result<Ticket, LogError> {
        let (done, synced) = oneshot::channel();
        let mut state = self.state.lock();
        state.check_open()?;
        state.waiting.push_back(Job::Sync { done });
        drop(state);
        self.wake.notify_one();
        Ok(Ticket(synced))
    }

    pub(super) fn watermark(&self) -> Position {
        // Both only rise, so the lesser of two readings, however old, was never too high. A flight
        // that was given up early ends before its record is durable: then the durable position
        // holds the watermark back.
        let landed = self.landed.load(Ordering::Acquire);
        Position(landed.min(self.durable.load(Ordering::Acquire)))
    }

    fn end_flight(&self, position: Position) {
        let mut state = self.state.lock();
        state.flights.end(position);
        self.landed.store(state.flights.first - 1, Ordering::Release);
    }

    /// Moves the next group into `group`, which is empty; waits for one. `None` when the writer is
    /// to end: then nothing waits, or nobody may touch what does.
    pub(super) fn take_group(&self, group: &mut Vec<Job>) -> Option<()> {
        let mut state = self.state.lock();
        loop {
            if state.stop == Some(Stop::Abandon) {
                return None;
            }
            if !state.waiting.is_empty() {
                break;
            }
            if state.stop.is_some() {
                return None;
            }
            self.wake.wait(&mut state);
        }
        let mut bytes = 0;
        while let Some(job) = state.waiting.front() {
            bytes += job.bytes();
            if !group.is_empty() && bytes > GROUP_BYTES {
                break;
            }
            state.waiting_bytes -= job.bytes();
            group.extend(state.waiting.pop_front());
        }
        Some(())
    }

    pub(super) fn stop(&self, stop: Stop) {
        let mut state = self.state.lock();
        state.stop.get_or_insert(stop);
        drop(state);
        self.wake.notify_one();
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.state.lock().stop == Some(Stop::Abandon)
    }

    /// Nothing is written from now on. Answers all that wait.
    pub(super) fn fail(&self, cause: &LogError, group: &mut Vec<Job>) {
        let failed = LogError::Failed(Arc::new(cause.clone()));
        let mut state = self.state.lock();
        state.failure.get_or_insert_with(|| failed.clone());
        state.waiting_bytes = 0;
        let waiting = mem::take(&mut state.waiting);
        drop(state);
        for job in group.drain(..).chain(waiting) {
            // Whoever gave up waiting does not hear it.
            let _ = job.into_done().send(Err(failed.clone()));
        }
    }

    /// The writer is gone. Nobody may wait for it any more, least of all when it `panicked`.
    pub(super) fn end(&self, group: &mut Vec<Job>, panicked: bool) {
        let mut state = self.state.lock();
        state.stop.get_or_insert(Stop::Abandon);
        if panicked {
            state.failure.get_or_insert(LogError::Closed);
        }
        let waiting = mem::take(&mut state.waiting);
        drop(state);
        for job in group.drain(..).chain(waiting) {
            // Whoever gave up waiting does not hear it.
            let _ = job.into_done().send(Err(LogError::Closed));
        }
    }

    pub(super) fn failure(&self) -> Option<LogError> {
        self.state.lock().failure.clone()
    }

    pub(super) fn delete_below(&self, checkpoint: Position) -> Result<usize, LogError> {
        let mut deleted = 0;
        loop {
            let mut files = self.files.lock();
            let Some(oldest) = files.first() else { break };
            if !oldest.closed || oldest.last > checkpoint {
                break;
            }
            let oldest = files.remove(0);
            drop(files);
            file::delete(&oldest.path)?;
            deleted += 1;
        }
        if deleted > 0 {
            file::sync_dir(&self.dir)?;
        }
        Ok(deleted)
    }
}

impl State {
    fn check_open(&self) -> Result<(), LogError> {
        match (&self.failure, self.stop) {
            (Some(failure), _) => Err(failure.clone()),
            (None, Some(_)) => Err(LogError::Closed),
            (None, None) => Ok(()),
        }
    }
}

/// An answer that the writer owes.
pub struct Ticket(oneshot::Receiver<Result<(), LogError>>);

impl Ticket {
    /// Waits for it. Cancel-safe: it can be asked again until it has answered.
    pub async fn done(&mut self) -> Result<(), LogError> {
        (&mut self.0).await.unwrap_or(Err(LogError::Closed))
    }

    /// Waits for it on a thread that may block, which no thread of an async runtime may.
    pub fn wait(self) -> Result<(), LogError> {
        self.0.blocking_recv().unwrap_or(Err(LogError::Closed))
    }
}

/// A record on its way: in flight until this is dropped, which must not be before its samples are
/// in the head, or it has failed, or nobody will ever be told that it was taken.
pub struct Flight {
    position: Position,
    file: FileSeq,
    durable: Ticket,
    shared: Arc<Shared>,
}

impl Flight {
    /// The record's position.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The file that it goes to.
    pub fn file(&self) -> FileSeq {
        self.file
    }

    /// Waits until the record is durable. Cancel-safe; to be asked no more once it has answered.
    pub async fn durable(&mut self) -> Result<(), LogError> {
        self.durable.done().await
    }

    /// The same on a thread that may block, which no thread of an async runtime may.
    pub fn wait_durable(&mut self) -> Result<(), LogError> {
        let (_, answered) = oneshot::channel();
        mem::replace(&mut self.durable, Ticket(answered)).wait()
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.shared.end_flight(self.position);
    }
}
