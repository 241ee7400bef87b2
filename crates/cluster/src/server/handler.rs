//! What a node does with the messages of its peers.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use rangekeeper_wire::proto::peer as proto;

use super::answering::PartSink;
use crate::error::Refusal;
use crate::identity::{Speaker, View};

/// An answer that is on its way. Dropping it cancels the work: the peer went away, its deadline is
/// over, or this node's time to drain is.
pub type Answering<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// How a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Whether it serves.
    pub readiness: proto::Readiness,
    /// What is wrong, for people.
    pub text: String,
}

/// Answers peers. What reaches it is of this cluster and meant for this node's data folder; views
/// and shards are its own to judge.
///
/// Nothing here may block: work that does belongs on a thread for that.
pub trait PeerHandler: Send + Sync + 'static {
    /// How this node is. Asked once a second by every peer.
    fn report(&self, from: &Speaker) -> Report;

    /// The assignment that this node has applied, encoded, if it is newer than `than`.
    fn assignment_newer(&self, than: View) -> Option<Bytes>;

    /// Takes notice of what is settled.
    fn settle(
        &self,
        from: Speaker,
        request: proto::SettleRequest,
    ) -> Answering<'_, Result<(), Refusal>>;

    /// Takes chunks that this node may lack. What is answered is synced. The transport writes the
    /// answer's header.
    fn deliver(
        &self,
        from: Speaker,
        request: proto::DeliverRequest,
    ) -> Answering<'_, Result<proto::DeliverAnswer, Refusal>>;

    /// Stores the parts of a frame, and answers each of them, in their order. What is counted as
    /// written is synced.
    ///
    /// Frames of one sender are handled side by side, so a part does not wait for an earlier one.
    fn write(
        &self,
        from: Speaker,
        parts: Vec<proto::WritePart>,
    ) -> Answering<'_, Result<Vec<proto::PartAnswer>, Refusal>>;

    /// Gives the series of a select to `sink`, in parts of about
    /// [`PART_TARGET_BYTES`](crate::limits::PART_TARGET_BYTES); the sink waits when the asker is
    /// slower. The order of series is the handler's promise, not the transport's.
    fn select(
        &self,
        from: Speaker,
        request: proto::SelectRequest,
        sink: PartSink<proto::SelectPart>,
    ) -> Answering<'_, Result<(), Refusal>>;

    /// Gives the rows of a fold to `sink`, in parts. A refusal makes the asker fold itself.
    fn fold(
        &self,
        from: Speaker,
        request: proto::FoldRequest,
        sink: PartSink<proto::FoldPart>,
    ) -> Answering<'_, Result<(), Refusal>>;

    /// Gives the entries of a list to `sink`, in the order of their keys. The sink takes one more
    /// than the limit of the request, and is closed then.
    fn list(
        &self,
        from: Speaker,
        request: proto::ListRequest,
        sink: PartSink<proto::ListPart>,
    ) -> Answering<'_, Result<(), Refusal>>;
}
