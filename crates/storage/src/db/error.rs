//! What can go wrong between us and RocksDB.

use std::path::PathBuf;

use rangekeeper_model::{Day, ErrorClass, ShardCount};
use rocksdb::ErrorKind;
use uuid::Uuid;

/// Why an operation on the open database failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DbError {
    /// RocksDB would have made the writer wait. Nothing was written.
    #[error("failed to {operation}: the database is busy")]
    Busy {
        /// What was tried.
        operation: &'static str,
    },
    /// An earlier write or sync failed; this database is not written any more and has to be opened
    /// again.
    #[error("failed to {operation}: the database has to be opened again, because {cause}")]
    Poisoned {
        /// What was tried.
        operation: &'static str,
        /// The failure that came first.
        cause: String,
    },
    /// Bytes on disk are not what was written. What is damaged is noted; everything else stays
    /// usable.
    #[error("failed to {operation}: {} is damaged ({detail})", subject(file.as_deref(), *day))]
    Damaged {
        /// What was tried.
        operation: &'static str,
        /// The file, where RocksDB names it.
        file: Option<String>,
        /// The day that was read.
        day: Option<Day>,
        /// RocksDB's or the decoder's own words.
        detail: String,
    },
    /// The caller's check said to stop: deadline or cancellation.
    #[error("failed to {operation}: interrupted")]
    Interrupted {
        /// What was tried.
        operation: &'static str,
    },
    /// Anything else.
    #[error("failed to {operation}")]
    Failed {
        /// What was tried.
        operation: &'static str,
        /// RocksDB's error.
        source: rocksdb::Error,
    },
}

impl DbError {
    /// The class of the failure.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Busy { .. } | Self::Poisoned { .. } => ErrorClass::Unavailable,
            Self::Interrupted { .. } => ErrorClass::Canceled,
            Self::Damaged { .. } | Self::Failed { .. } => ErrorClass::Internal,
        }
    }

    /// A read's failure; damage is told from the rest.
    pub(crate) fn of_read(
        operation: &'static str,
        day: Option<Day>,
        source: rocksdb::Error,
    ) -> Self {
        match source.kind() {
            ErrorKind::Corruption => Self::Damaged {
                operation,
                file: super::damage::file_in(source.as_ref()),
                day,
                detail: source.into_string(),
            },
            ErrorKind::Incomplete => Self::Busy { operation },
            _ => Self::Failed { operation, source },
        }
    }
}

fn at_offset(offset: Option<u64>) -> String {
    offset.map(|at| format!(" at offset {at}")).unwrap_or_default()
}

fn subject(file: Option<&str>, day: Option<Day>) -> String {
    match (file, day) {
        (Some(file), Some(day)) => format!("file {file} of day {day}"),
        (Some(file), None) => format!("file {file}"),
        (None, Some(day)) => format!("day {day}"),
        (None, None) => "the database".to_owned(),
    }
}

/// Why the database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder could not be read or written.
    #[error("failed to {operation} {}", path.display())]
    Folder {
        /// What was tried.
        operation: &'static str,
        /// On which path.
        path: PathBuf,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// The store was written by a newer build.
    #[error(
        "failed to open the store: its format is {found}, this build reads up to {supported}; \
         use the build that wrote it, or a newer one"
    )]
    NewerFormat {
        /// The version on disk.
        found: u32,
        /// The version this build writes.
        supported: u32,
    },
    /// The caller's number of shards is not the store's.
    #[error(
        "failed to open the store: it was created with {} shards, not {}",
        found.count(),
        given.count()
    )]
    OtherShards {
        /// On disk.
        found: ShardCount,
        /// Asked for.
        given: ShardCount,
    },
    /// The caller's seed is not the store's.
    #[error("failed to open the store: it was created with seed {found:#018x}, not {given:#018x}")]
    OtherSeed {
        /// On disk.
        found: u64,
        /// Asked for.
        given: u64,
    },
    /// The store belongs to another cluster.
    #[error("failed to open the store: it belongs to cluster {found}, not {given}")]
    OtherCluster {
        /// On disk.
        found: Uuid,
        /// Asked for.
        given: Uuid,
    },
    /// The store belongs to a cluster, and is opened as a lone node's.
    #[error(
        "failed to open the store: it belongs to cluster {cluster}, and alone it would miss what \
         the others were sent; open it with --zookeeper and the path of that cluster"
    )]
    OfCluster {
        /// On disk.
        cluster: Uuid,
    },
    /// The store hashes series in a way that this build does not know.
    #[error(
        "failed to open the store: its series hash is version {found}, this build has {supported}"
    )]
    OtherHash {
        /// On disk.
        found: u8,
        /// This build's.
        supported: u8,
    },
    /// A record of the store's identity is missing or cannot be read.
    #[error("failed to open the store: its {record} record cannot be read")]
    Identity {
        /// Which record.
        record: &'static str,
    },
    /// A file is damaged and nothing was changed.
    #[error("failed to open the store: {file} is damaged{}: {detail}", at_offset(*offset))]
    Damaged {
        /// The file's name within the folder.
        file: String,
        /// Where in the file, where it is known.
        offset: Option<u64>,
        /// RocksDB's own words.
        detail: String,
    },
    /// RocksDB refuses for another reason.
    #[error("failed to open the store")]
    RocksDb(#[source] rocksdb::Error),
    /// An operation after opening failed.
    #[error("failed to open the store")]
    Db(#[from] DbError),
}
