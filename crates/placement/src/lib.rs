//! Which node keeps which shard, who may write and read it, and how that changes without losing
//! what was acknowledged.
//!
//! Pure: no I/O, no clock, no chance that is not passed in. Decisions are functions of one shard's
//! view (for the data plane) or `step(event) -> effects` (for the control plane).

mod assignment;
pub mod fuzz;
mod ids;
mod planner;
mod quorum;
mod slot;

pub use assignment::{
    Assignment, CodecError, Inconsistency, MAX_ENCODED_BYTES, NodeRow, NodeStatus, Shard,
};
pub use ids::{
    BootCount, ClusterId, Epoch, FormatLevel, Generation, Incarnation, NameError, NodeId,
    NodeIndex, Place, PublishId, SlotEpoch, StoreId, Term, Version, Zone,
};
pub use planner::{
    Budget, Owners, Plan, PlanNode, Proposal, ProposalKind, TooFewNodes, plan, proposals, release,
};
pub use quorum::{Quorum, Replication, ReplicationError};
pub use slot::{Readers, Slot, SlotState};
