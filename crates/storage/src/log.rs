//! The write-ahead log: what makes the head durable.
//!
//! Files of our own, each written once from its beginning to its end by one thread, which takes the
//! records that wait as a group, writes them with one call, syncs, and then answers all of them.
//! Files are deleted whole, when every stripe's checkpoint is past their last record.
//!
//! # Positions
//!
//! A record has a **position**, 1, 2, 3 …, over all files and restarts. Whoever submits one gets a
//! [`Flight`]: it is in flight until its samples are in the head and the flight is dropped.
//! Everything up to the [watermark](Log::watermark), the position before the lowest one in flight,
//! is durable and in the head or in chunks: that is what a checkpoint may claim.
//!
//! # Files
//!
//! `<first position, 20 digits>.log`, numbers little-endian, all in `format.rs`:
//!
//! ```text
//! file    ┌─────────────┬────────┬────────┬───┬──────────┬──────────┐
//!         │ header (64) │ record │ record │ … │ end mark │ or zeros │
//!         └─────────────┴────────┴────────┴───┴──────────┴──────────┘
//! header  ┌───────────┬─────────────┬───────────────────┬───────────────┐
//!         │ magic (8) │ u32 version │ u32 flags: bit 0, │ store id (16) │
//!         │           │             │ written unsynced  │               │
//!         └───────────┴─────────────┴───────────────────┴───────────────┘
//!         ┌──────────────┬───────────┬─────────────┬──────────┬────────────┐
//!         │ u64 sequence │ u64 first │ u64 follows │ zero (4) │ u32 crc32c │
//!         │              │ position  │             │          │ of these   │
//!         └──────────────┴───────────┴─────────────┴──────────┴────────────┘
//! record  ┌────────────┬────────────────┬──────────────┬────────────────────┐
//!         │ u32 length │ u32 crc32c of  │ u64 position │ u32 bytes of the   │
//!         │ of body    │ body and zeros │              │ file synced before │
//!         └────────────┴────────────────┴──────────────┴────────────────────┘
//!         ┌───────────────┬──────┬───────────────┐
//!         │ u32 crc32c of │ body │ zeros up to a │
//!         │ these         │      │ multiple of 8 │
//!         └───────────────┴──────┴───────────────┘
//! body    ┌────────────────────┬────────────────────────┬─────────────┬────────┐
//!         │ i64 base timestamp │ 6 × u32 section length │ definitions │ floats │
//!         └────────────────────┴────────────────────────┴─────────────┴────────┘
//!         ┌────────────┬───────────┬──────────┬─────────┐
//!         │ histograms │ exemplars │ metadata │ imports │
//!         └────────────┴───────────┴──────────┴─────────┘
//! definitions  groups of: varint len · tenant · u32 number · that many of
//!              u32 reference · series id (16) · varint 0, or length + 1 and canonical labels
//! floats, histograms, exemplars
//!              u32 runs · for each u16 shard, u32 end of its bytes · the runs' bytes in that order
//! float        see `floats.rs`
//! histogram    signed varints: reference and timestamp as differences, start − timestamp;
//!              then as `histogram.rs` says
//! exemplar     the same two differences, f64 value · varint len · canonical labels
//! metadata     u16 shard · u8 type · tenant, family, help, unit as varint len · text
//! import       series id (16) · u32 day · u8 window in the day
//! ```
//!
//! *Follows* is the last position of the file before: with the sequence it shows that no file and
//! no record is missing. Header checksums of records start from the file header's, so a record
//! counts only in its own file. A file is preallocated when its first record comes, and cut to its
//! length when it is closed.
//!
//! **Each file replays alone:** it defines every series that its records refer to. So whoever
//! encodes chooses definitions for one file, and [`Log::submit`] gives the record back if the log
//! has meanwhile gone on to another.
//!
//! # What a crash leaves, and what damage is
//!
//! `ending.rs` tells them apart, with the proof that each record carries: how much of its file was
//! synced when it was written.

mod bytes;
mod encode;
mod ending;
mod error;
mod file;
mod floats;
mod format;
#[doc(hidden)]
pub mod fuzz;
mod histogram;
mod queue;
mod reader;
mod record;
mod recovery;
mod stats;
mod tail;
#[cfg(test)]
mod tests;
mod writer;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use parking_lot::Mutex;
use rangekeeper_model::ShardId;

pub use encode::{Exemplar, FloatSample, Import, Metadata, Record, RecordEncoder};
pub use error::{LogError, MalformedRecord, RecordTooLarge, SubmitError};
pub use file::{FaultPoint, Faults};
pub use floats::Floats;
pub use format::{FORMAT_VERSION, MAX_RECORD_BYTES};
pub use queue::{Flight, Ticket};
pub use reader::FileReader;
pub use record::{
    Definition, Definitions, Exemplars, Histograms, MetadataEntries, RecordView, Run,
};
pub use recovery::{Cut, LogFile, Loss, Recovery};
pub use stats::{LogStats, SYNC_BUCKETS_US};
pub use tail::{Tail, TailRecord};

use queue::Shared;

/// The most that is written before a sync, unless one record is larger. It bounds how long a record
/// waits for others' bytes, and how much a torn write can leave behind: no option, as the next
/// build must know it.
const GROUP_BYTES: usize = 4 << 20;

/// The place of a record in the log; 0 is before the first one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

impl Position {
    /// The position after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The number of a log file, rising by one from file to file; 0 is no file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileSeq(pub u64);

impl fmt::Display for FileSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A short name of a series, given by the head. It means one series in a file and need not mean it
/// in the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesRef(pub u32);

/// What an acknowledgement means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// On the disk: survives a power cut.
    #[default]
    Sync,
    /// With the operating system: survives the process.
    Flush,
}

/// How a log is written and opened.
#[derive(Clone)]
pub struct LogOptions {
    /// What an acknowledgement means.
    pub durability: Durability,
    /// Size of a file, 64 KiB to 1 GiB. Larger files are deleted later, smaller ones define their
    /// series more often.
    pub file_bytes: u64,
    /// The most that may wait for the writer, unless one record is larger. Beyond it the disk is
    /// slower than the senders, and they are told so.
    pub queue_bytes: usize,
    /// Go on without records that are damaged or missing, and report them. The files stay as they
    /// are, so whoever accepted a loss checkpoints everything, lets them be deleted, and sets aside
    /// those that cannot be read at all.
    pub accept_loss: bool,
    /// For tests: fails the operations that it names.
    #[doc(hidden)]
    pub faults: Option<Arc<dyn Faults>>,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            durability: Durability::Sync,
            file_bytes: 64 << 20,
            queue_bytes: 32 << 20,
            accept_loss: false,
            faults: None,
        }
    }
}

/// Up to where the stripes' checkpoints have made the log superfluous.
#[derive(Clone, Copy, Debug, Default)]
pub struct Checkpoints {
    /// Of the stripe that is furthest behind: every record after this position must be there.
    pub lowest: Position,
    /// Of the stripe that is furthest ahead: positions go on after this one, whatever the files
    /// hold, because a record at or below a stripe's checkpoint is not replayed.
    pub highest: Position,
    /// Whether they may be older than they were: what the files hold is then all that there is.
    pub doubtful: bool,
}

/// The log. Share it in an `Arc`; dropping it writes what waits and closes the current file.
pub struct Log {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Log {
    /// Opens the log of store `store` in `dir`, which is made if it is not there: checks the files,
    /// cuts a write that never came to its sync, and starts the writer. Positions go on where they
    /// ended, in a new file.
    ///
    /// Read [`Recovery::files`] into the head before the first checkpoint.
    pub fn open(
        dir: &Path,
        store: [u8; 16],
        checkpoints: Checkpoints,
        options: LogOptions,
    ) -> Result<(Self, Recovery), LogError> {
        assert!((64 << 10..=1 << 30).contains(&options.file_bytes), "a file is 64 KiB to 1 GiB");
        let found = recovery::recover(dir, store, checkpoints, &options)?;
        let recovery = found.recovery;
        let shared =
            Arc::new(Shared::new(dir, store, options, recovery.last, found.next_file, found.files));
        let writer = writer::start(Arc::clone(&shared), found.follows)?;
        Ok((Self { shared, writer: Mutex::new(Some(writer)) }, recovery))
    }

    /// The file for which definitions are to be chosen. It can change at any time;
    /// [`submit`](Self::submit) judges.
    #[inline]
    pub fn current_file(&self) -> FileSeq {
        FileSeq(self.shared.current_file.load(Ordering::Acquire))
    }

    /// Gives the record a position and a place among those that wait, if it was encoded for the
    /// file that is written now. A series that the record defines counts as defined in that file
    /// from the return of this call on, not before: records of others that rely on it must come
    /// after it.
    pub fn submit(&self, record: Record, file: FileSeq) -> Result<Flight, SubmitError> {
        self.shared.submit(record, file)
    }

    /// Everything up to here is durable and no longer in flight.
    #[inline]
    pub fn watermark(&self) -> Position {
        self.shared.watermark()
    }

    /// The last position that is written, and with [`Durability::Sync`] synced.
    #[inline]
    pub fn durable(&self) -> Position {
        Position(self.shared.durable.load(Ordering::Acquire))
    }

    /// The oldest position that the files still hold, or the next one when they hold none.
    pub fn oldest(&self) -> Position {
        let files = self.shared.files.lock();
        files.first().map_or_else(|| self.durable().next(), |file| file.first)
    }

    /// Closes the current file, so that it can be deleted or copied; the ticket completes when it
    /// is closed. The next record begins a new file. Nothing happens when nothing was written to
    /// the current one.
    pub fn rotate(&self) -> Result<Ticket, LogError> {
        self.shared.rotate()
    }

    /// With [`Durability::Flush`]: syncs what is written now. A checkpoint asks for this before it
    /// claims a position, so that no power cut leaves the claim without the records.
    pub fn sync(&self) -> Result<Ticket, LogError> {
        self.shared.sync()
    }

    /// Deletes the closed files whose records are all at or below `checkpoint`, the oldest first.
    /// Returns how many.
    pub fn delete_below(&self, checkpoint: Position) -> Result<usize, LogError> {
        self.shared.delete_below(checkpoint)
    }

    /// Renames files that cannot be read, so that the next open does not meet them again.
    pub fn set_aside(&self, files: &[PathBuf]) -> Result<(), LogError> {
        files.iter().try_for_each(|path| file::set_aside(path))
    }

    /// Reads what `shard` got from `from` on, up to what is durable whenever a record is asked for.
    pub fn tail(&self, shard: ShardId, from: Position) -> Result<Tail, LogError> {
        Tail::new(Arc::clone(&self.shared), shard, from)
    }

    /// The files, oldest first, with the one that is being written.
    pub fn files(&self) -> Vec<LogFile> {
        self.shared.files.lock().clone()
    }

    /// Bytes that the files hold, without preallocated room.
    pub fn bytes(&self) -> u64 {
        self.shared.files.lock().iter().map(|file| file.bytes).sum()
    }

    /// Why nothing can be written any more, if that is so. Drop the log and open it again.
    pub fn failure(&self) -> Option<LogError> {
        self.shared.failure()
    }

    /// Figures since the log was opened.
    pub fn stats(&self) -> LogStats {
        self.shared.stats.snapshot()
    }

    /// The folder.
    pub fn dir(&self) -> PathBuf {
        self.shared.dir.clone()
    }

    /// Writes what waits, closes the current file and ends the writer. Later submissions are
    /// refused.
    pub fn close(&self) -> Result<(), LogError> {
        self.shared.stop(queue::Stop::Finish);
        self.join();
        self.shared.failure().map_or(Ok(()), Err)
    }

    /// For tests of crashes: ends the writer where it is. What waits is not written, the file stays
    /// as it lies.
    #[doc(hidden)]
    pub fn abandon(&self) {
        self.shared.stop(queue::Stop::Abandon);
        self.join();
    }

    fn join(&self) {
        if let Some(writer) = self.writer.lock().take() {
            // A panic of the writer has dropped all tickets: those who wait were told, and it was
            // printed.
            let _ = writer.join();
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.shared.stop(queue::Stop::Finish);
        self.join();
    }
}
