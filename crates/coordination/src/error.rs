//! What can go wrong for whoever asks.

use rangekeeper_model::ErrorClass;
use thiserror::Error;
use uuid::Uuid;

use crate::znodes::{Failure, Refusal};
use crate::{RecordError, Version};
use rangekeeper_model::NodeId;

/// A request to the ensemble that failed. Messages finish "failed to …".
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Error {
    /// No server could be asked. Nothing was done.
    #[error("{operation}: ZooKeeper cannot be reached now: {reason}")]
    Unavailable {
        /// What was to be done.
        operation: &'static str,
        /// What is known of why.
        reason: String,
    },
    /// It may have been done, and it could not be found out in time.
    #[error("{operation}: whether it was done is not known: {reason}")]
    Unknown {
        /// What was to be done.
        operation: &'static str,
        /// The last thing that was heard.
        reason: String,
    },
    /// A server's typed refusal that nothing here expects: permissions, most of all.
    #[error("{operation} at {path}: {refusal}")]
    Refused {
        /// What was to be done.
        operation: &'static str,
        /// Where.
        path: String,
        /// The server's answer.
        refusal: Refusal,
    },
    /// There is no cluster at this path.
    #[error("find a cluster at {root}: run `cluster init` first")]
    NotInitialized {
        /// The path.
        root: String,
    },
    /// There is a cluster at this path already.
    #[error("make a cluster at {root}: cluster {uuid} is there")]
    AlreadyInitialized {
        /// The path.
        root: String,
        /// Which.
        uuid: Uuid,
    },
    /// The cluster at this path is not the one that this node belongs to.
    #[error("use cluster {found} at {root}: this node belongs to {expected}")]
    OtherCluster {
        /// The path.
        root: String,
        /// Ours.
        expected: Uuid,
        /// What is there.
        found: Uuid,
    },
    /// A node with another data folder has our name.
    #[error("register as {node}: the node at {address} has that name, with store {store}")]
    NodeTaken {
        /// The name.
        node: NodeId,
        /// The other's folder.
        store: Uuid,
        /// Where the other is.
        address: String,
    },
    /// Another process has our name and our data folder, or a copy of it.
    #[error(
        "register as {node}: the process at {address} runs on the same store or a copy of it \
         (boot {found}, here {boot})"
    )]
    FolderCopied {
        /// The name.
        node: NodeId,
        /// Where the other is.
        address: String,
        /// The other's boot counter.
        found: u64,
        /// Our boot counter.
        boot: u64,
    },
    /// A later leader exists: whoever asked leads no more.
    #[error("publish an assignment of term {term}: another term has begun")]
    NotLeader {
        /// The term that was claimed.
        term: u64,
    },
    /// The node was changed by somebody else.
    #[error("change {path}: it is not at version {} any more", expected.0)]
    Conflict {
        /// Where.
        path: String,
        /// What was expected.
        expected: Version,
    },
    /// Larger than an ensemble with its default settings can take.
    #[error("write {path}: {bytes} bytes, {limit} are the most")]
    TooLarge {
        /// Where.
        path: String,
        /// Its size.
        bytes: usize,
        /// What may be.
        limit: usize,
    },
    /// What is there cannot be read.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The handle was closed.
    #[error("{operation}: the handle was closed")]
    Closed {
        /// What was to be done.
        operation: &'static str,
    },
}

impl Error {
    /// What kind of failure it is, for whoever has to answer a request with it.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Unavailable { .. } | Self::Unknown { .. } | Self::Closed { .. } => {
                ErrorClass::Unavailable
            }
            Self::NotInitialized { .. } => ErrorClass::NotFound,
            Self::TooLarge { .. } => ErrorClass::TooLarge,
            Self::Refused { refusal: Refusal::NoAuth | Refusal::InvalidAcl, .. } => {
                ErrorClass::Unauthenticated
            }
            Self::Refused { .. } | Self::Record(_) => ErrorClass::Internal,
            Self::AlreadyInitialized { .. }
            | Self::OtherCluster { .. }
            | Self::NodeTaken { .. }
            | Self::FolderCopied { .. }
            | Self::NotLeader { .. }
            | Self::Conflict { .. } => ErrorClass::Invalid,
        }
    }

    /// The failure of a request whose refusals have no meaning of their own. Only for reads, and
    /// for writes whose outcome nobody has to know.
    pub(crate) fn of(operation: &'static str, path: &str, failure: Failure) -> Self {
        match failure {
            Failure::Refused { refusal, .. } => {
                Self::Refused { operation, path: path.to_owned(), refusal }
            }
            other => Self::Unavailable { operation, reason: other.to_string() },
        }
    }
}
