//! Why the log refuses.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rangekeeper_model::ErrorClass;

use super::encode::Record;
use super::format::MAX_RECORD_BYTES;
use super::{FileSeq, Position};

/// A failure of the log. Cloning is cheap: one failed write is the answer to all that waited for
/// it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LogError {
    /// The operating system failed an operation.
    #[error("failed to {operation} log file {}", file.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On which file or folder.
        file: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The disk is full. Writing can resume when the log is opened again and there is space.
    #[error("no space left on the disk to {operation} log file {}", file.display())]
    NoSpace {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        file: PathBuf,
    },
    /// An earlier write or sync failed: nothing is written until the log is opened again.
    #[error("the log takes no writes since an earlier failure")]
    Failed(#[source] Arc<LogError>),
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
    /// Bytes are not what was written.
    #[error("log file {} is damaged at offset {offset}: {what}", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Offset of the first record that cannot be read.
        offset: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// Records that must be there are in no file.
    #[error("log records {from} to {to} are missing before {}", file.display())]
    Missing {
        /// The file or folder before which they should lie.
        file: PathBuf,
        /// The first missing position.
        from: Position,
        /// The last missing position.
        to: Position,
    },
    /// A newer build wrote the file.
    #[error("log file {} has format {version}, this build reads up to {known}", file.display())]
    NewerFormat {
        /// The file.
        file: PathBuf,
        /// Its format.
        version: u32,
        /// The newest one that is known here.
        known: u32,
    },
    /// The file belongs to another store.
    #[error("log file {} belongs to another store", file.display())]
    ForeignStore {
        /// The file.
        file: PathBuf,
    },
    /// A record's checksum holds and yet its body makes no sense.
    #[error(transparent)]
    Malformed(#[from] MalformedRecord),
    /// A tail was asked for from a position whose file is gone.
    #[error("log positions before {oldest} are gone")]
    CursorTooOld {
        /// The oldest position that can be read.
        oldest: Position,
    },
}

/// The body of a record with a good checksum does not follow the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("log record {position} has malformed {section}")]
pub struct MalformedRecord {
    /// The record.
    pub position: Position,
    /// The part that does not parse.
    pub section: &'static str,
}

/// Why a record was not taken. Nothing of it is written.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The series of the record were defined for another file than the one that is written now.
    #[error("the log went on to file {now}")]
    FileChanged {
        /// The record, back again.
        record: Record,
        /// The file to encode for.
        now: FileSeq,
    },
    /// Too many bytes wait for the disk.
    #[error("{waiting_bytes} bytes already wait to be written to the log")]
    Full {
        /// How many bytes wait.
        waiting_bytes: usize,
    },
    /// The log is closed or has failed.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// More samples than one record can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a log record of {bytes} bytes is over the limit of {MAX_RECORD_BYTES}")]
pub struct RecordTooLarge {
    /// Bytes that the record would have.
    pub bytes: usize,
}

impl LogError {
    pub(super) fn io(operation: &'static str, file: &Path, source: io::Error) -> Self {
        let file = file.to_owned();
        if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            return Self::NoSpace { operation, file };
        }
        Self::Io { operation, file, source: Arc::new(source) }
    }

    pub(super) fn damaged(file: &Path, offset: u64, what: &'static str) -> Self {
        Self::Damaged { file: file.to_owned(), offset, what }
    }

    /// Whether the cause, now or earlier, was a full disk.
    pub fn is_no_space(&self) -> bool {
        match self {
            Self::NoSpace { .. } => true,
            Self::Failed(cause) => cause.is_no_space(),
            _ => false,
        }
    }

    /// What kind of failure it is for whoever asked.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Io { .. } | Self::NoSpace { .. } | Self::Failed(_) | Self::Closed => {
                ErrorClass::Unavailable
            }
            Self::CursorTooOld { .. } => ErrorClass::NotFound,
            _ => ErrorClass::Internal,
        }
    }
}

impl SubmitError {
    /// What kind of failure it is: all of them may pass.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::FileChanged { .. } | Self::Full { .. } => ErrorClass::Unavailable,
            Self::Log(error) => error.class(),
        }
    }
}
