//! What goes over the network.

use rangekeeper_model::{Epoch, RunId, ShardId};
use rangekeeper_placement::{Mark, NodeIndex, Place, Progress, SlotEpoch, UnsettledKey, Version};

use crate::world::Set;

#[derive(Clone, Debug)]
pub struct Message {
    pub target: Target,
    pub shard: ShardId,
    /// A node's messages name its row, and so its store, and the version it has applied.
    pub sender: Option<(NodeIndex, Version)>,
    pub body: Body,
}

#[derive(Clone, Copy, Debug)]
pub enum Target {
    Row(NodeIndex),
    Router(usize),
    Leader(usize),
}

/// A request of a router: which, and which attempt of it.
#[derive(Clone, Copy, Debug)]
pub struct Asker {
    pub router: usize,
    pub request: usize,
    pub attempt: u32,
}

#[derive(Clone, Copy, Debug)]
pub struct Report {
    pub run: RunId,
    pub reporter: NodeIndex,
    pub place: Place,
    pub slot_epoch: SlotEpoch,
    pub progress: Progress,
}

#[derive(Clone, Copy, Debug)]
pub struct PullRequest {
    /// The slot that gathers, and its epoch.
    pub place: Place,
    pub wanted: SlotEpoch,
    /// The slot that is asked, and its epoch as the asker knows it.
    pub source: Place,
    pub source_epoch: SlotEpoch,
    /// Where the tail begins; none for everything.
    pub cursor: Option<usize>,
    pub only_unsettled: bool,
    pub asker: NodeIndex,
    pub routed: Version,
}

#[derive(Clone, Copy, Debug)]
pub struct Pulled {
    pub request: PullRequest,
    pub content: Set,
    pub unsettled: Set,
    pub end: usize,
    pub is_sealed: bool,
    pub source: NodeIndex,
}

#[derive(Clone, Copy, Debug)]
pub struct Delivery {
    pub key: UnsettledKey,
    pub mark: Mark,
    pub place: Place,
    pub content: Set,
    pub given: Version,
    pub holder: NodeIndex,
}

#[derive(Clone, Debug)]
pub enum Body {
    Write { asker: Asker, place: Place, write: u8, routed: Version },
    Written { request: usize, place: Place, given: Epoch },
    WriteStale { request: usize, place: Place, mine: Epoch },
    WriteRefused { request: usize, place: Place },
    Settled { write: u8 },
    Read { asker: Asker, place: Place, all: bool, routed: Version },
    Answer { asker: Asker, place: Place, row: NodeIndex, content: Set },
    ReadStale { asker: Asker, place: Place, mine: Epoch },
    ReadRefused { asker: Asker, place: Place },
    Deliver(Delivery),
    Delivered(Delivery),
    Pull(PullRequest),
    Pulled(Box<Pulled>),
    Report(Box<Report>),
    Ping,
}
