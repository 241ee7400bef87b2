//! Several nodes as one store: [`Control`] is a node's agent (its map, whether it leads), [`Plane`]
//! its data plane; [`Router`] takes any write and answers any query.
//!
//! # A write
//!
//! [`RoutedWrite`] gathers the rows of a request. For each shard a round of `placement` says whom
//! to ask and what follows from the answers; the questions go out together, one call a node. A
//! place stores what its map lets it take, syncs, and says under which map that holds. The sender
//! is answered when each shard has its quorum; what is missing then goes on for a while, and once
//! all places have a shard's rows they are told that it is *settled*. What nobody settles stays in
//! the account of every holder, who brings it to the places that lack it.
//!
//! # A read
//!
//! From each shard one full copy, and from as many others as a quorum of reading needs what is
//! unsettled there, the others first. What lies on this node is read on the asker's own thread;
//! what peers give comes as chunks, as they lie on disk, and is decoded where it is evaluated.
//!
//! # Connections
//!
//! A node makes up to four connections to each of its [`Peers`], each when it is first needed:
//! *control* (probes, assignments, settled notices), *write* (one stream of frames) and *query*
//! (answers in parts), *bulk* (chunks that a place missed). None waits behind another, so a heavy
//! query delays no write, and neither hides that the node is alive.
//!
//! # The life of a message
//!
//! A caller has a deadline and says whether the call may miss ([`Urgency`]). The breaker and the
//! queue's bound decide at once; the connection is made, or made again after a rest; the header
//! says who speaks, in which cluster, to which data folder, under which assignment and at what
//! time. The peer's guard looks at the secret before anything is read, the service at the header
//! before the handler sees the message ([`PeerHandler`]); then there is a place for it or it is
//! shed. The answer has a header too: it closes the breaker, and tells what the peer has applied.
//!
//! # Invariants
//!
//! - An error says what the caller may conclude: nothing was sent, the peer refused, or what the
//!   peer did is unknown ([`PeerError::is_unknown`]). A write that was sent and not answered is
//!   always unknown, never failed.
//! - Rows are sent at most once by each call. Sending again is the caller's decision.
//! - Every wait ends by its deadline, and every queue, message and number of calls has a bound
//!   ([`limits`]).
//! - What an asker does not wait for any more is not worked on: dropping a stream drops the
//!   handler's future at the peer.
//! - Views are carried and compared, not judged: which epoch is good for which shard is for the
//!   handler to say.

mod breaker;
mod control;
mod counted;
mod error;
mod executor;
mod identity;
mod known;
pub mod limits;
mod link;
mod listing;
mod metrics;
mod peer;
mod peers;
mod plane;
mod reading;
mod replica;
mod router;
mod rows;
mod secret;
mod server;
mod serving;
mod settling;
mod topology;
mod writing;

mod rpc {
    #![allow(missing_docs, clippy::pedantic, reason = "generated code")]
    include!(concat!(env!("OUT_DIR"), "/rangekeeper.peer.rs"));
}

pub use control::{
    AlarmStatus, Control, ControlError, ControlOptions, Identity, IntentStatus, LeaderStatus,
    NodeSummary, ProposalStatus, SessionStatus, ShardStatus, SlotStatus, Status, Summary,
    UnsettledStatus, join,
};
pub use error::{PeerError, Refusal};
pub use identity::{Local, Speaker, View};
pub use listing::Listing;
pub use peer::{
    Call, FoldStream, Health, ListStream, OfferedAssignment, PartStream, Peer, Probed,
    SelectStream, Urgency,
};
pub use peers::{PeerAddress, Peers, PeersOptions};
pub use plane::{Plane, PlaneOptions, Threads};
/// The messages themselves.
pub use rangekeeper_wire::proto::peer as proto;
pub use reading::{FoldAnswer, Folder, ReadError, SelectedEverywhere, Selecting, SeriesError};
pub use replica::Admit;
pub use router::{Router, RouterOptions};
pub use secret::{ClusterSecret, SecretError};
pub use server::{
    Answering, Drained, PartSink, PeerHandler, PeerServer, Report, ServerOptions, SinkClosed,
};
pub use topology::{MapView, Topology};
pub use writing::{Routed, RoutedWrite, Stored};
