//! How a call to a peer fails. The variants differ in what the caller may conclude: whether the
//! peer can have acted on it, and whether it is worth asking again.

use std::sync::Arc;

use rangekeeper_wire::proto::peer as proto;
use rangekeeper_wire::proto::peer::Reason;
use tonic::{Code, Status};

/// Carries the number of a [`Reason`] beside the status of a call that was refused; without it a
/// status was made by the connection, not by the peer.
const REASON_KEY: &str = "rangekeeper-reason";

/// A peer said no. It has not acted on the message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// Why, for people.
    pub text: String,
}

/// A call to a peer failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// The calls that wait for this peer hold as many bytes as they may. A miss, told at once; the
    /// peer has not seen the call.
    #[error("the queue to node {node} is full")]
    QueueFull {
        /// The peer.
        node: Arc<str>,
    },
    /// The peer failed so often that it is not asked, unless it must be. A miss, told at once.
    #[error("node {node} did not answer lately")]
    BreakerOpen {
        /// The peer.
        node: Arc<str>,
    },
    /// No connection could be made. The peer has not seen the call.
    #[error("failed to connect to node {node}: {text}")]
    Unreachable {
        /// The peer.
        node: Arc<str>,
        /// Why not.
        text: Arc<str>,
    },
    /// The deadline was over before the call was sent. The peer has not seen it.
    #[error("no time was left to ask node {node}")]
    Expired {
        /// The peer.
        node: Arc<str>,
    },
    /// The deadline was over before the answer came. What the peer did is **unknown**.
    #[error("node {node} did not answer in time")]
    Deadline {
        /// The peer.
        node: Arc<str>,
    },
    /// The connection was lost before the answer came, or the answer could not be read. What the
    /// peer did is **unknown**.
    #[error("the connection to node {node} was lost: {text}")]
    Lost {
        /// The peer.
        node: Arc<str>,
        /// How.
        text: Arc<str>,
    },
    /// The peer, or what listens at its address, said no.
    #[error("node {node} refused: {refusal}")]
    Refused {
        /// The peer.
        node: Arc<str>,
        /// What it said.
        refusal: Refusal,
    },
    /// The message is larger than one may be, and was not sent.
    #[error("a message of {bytes} bytes to node {node}, where {limit} are allowed")]
    TooLarge {
        /// The peer.
        node: Arc<str>,
        /// How large it is.
        bytes: usize,
        /// How large it may be.
        limit: usize,
    },
    /// This node is stopping, or the peer was taken off the list. Not sent.
    #[error("node {node} is not asked any more")]
    Stopped {
        /// The peer.
        node: Arc<str>,
    },
}

impl Refusal {
    /// A refusal for `reason`, told by `text`.
    pub fn new(reason: Reason, text: impl Into<String>) -> Self {
        Self { reason, text: text.into() }
    }
}

impl PeerError {
    /// Whether the peer may have acted on the call, so that a write may be there or not.
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Deadline { .. } | Self::Lost { .. })
    }

    /// Whether it speaks against the peer, and so counts for the breaker.
    pub(crate) fn is_silence(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Deadline { .. } | Self::Lost { .. })
    }

    /// As metrics name it.
    pub(crate) fn outcome(&self) -> &'static str {
        match self {
            Self::QueueFull { .. } => "queue_full",
            Self::BreakerOpen { .. } => "breaker_open",
            Self::Unreachable { .. } => "unreachable",
            Self::Expired { .. } => "expired",
            Self::Deadline { .. } => "deadline",
            Self::Lost { .. } => "lost",
            Self::Refused { .. } => "refused",
            Self::TooLarge { .. } => "too_large",
            Self::Stopped { .. } => "stopped",
        }
    }

    /// Reads how a call ended that was sent to `node`.
    pub(crate) fn of_status(node: &Arc<str>, status: &Status) -> Self {
        let node = Arc::clone(node);
        match refusal_of(status) {
            Some(Refusal { reason: Reason::Deadline, .. }) => Self::Deadline { node },
            Some(refusal) => Self::Refused { node, refusal },
            None => Self::Lost { node, text: status.message().into() },
        }
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let code = match refusal.reason {
            Reason::Unauthenticated => Code::Unauthenticated,
            Reason::Shed | Reason::Limit => Code::ResourceExhausted,
            Reason::NotReady | Reason::Stopping => Code::Unavailable,
            Reason::Malformed => Code::InvalidArgument,
            Reason::WrongCluster | Reason::WrongStore => Code::FailedPrecondition,
            Reason::Deadline => Code::DeadlineExceeded,
            Reason::Failed | Reason::Unspecified => Code::Internal,
        };
        let mut status = Self::new(code, refusal.text);
        status.metadata_mut().insert(REASON_KEY, (refusal.reason as i32).into());
        status
    }
}

impl From<Refusal> for proto::Refusal {
    fn from(refusal: Refusal) -> Self {
        Self { reason: refusal.reason.into(), text: refusal.text }
    }
}

impl From<proto::Refusal> for Refusal {
    fn from(refusal: proto::Refusal) -> Self {
        Self { reason: refusal.reason(), text: refusal.text }
    }
}

/// What the peer said, if it was the peer who ended the call.
pub(crate) fn refusal_of(status: &Status) -> Option<Refusal> {
    let number: i32 = status.metadata().get(REASON_KEY)?.to_str().ok()?.parse().ok()?;
    let reason = Reason::try_from(number).unwrap_or(Reason::Unspecified);
    Some(Refusal::new(reason, status.message()))
}
