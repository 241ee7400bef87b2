//! Which node keeps which shard, who may write and read it, and how that changes without losing
//! what was acknowledged.
//!
//! Pure: no I/O, no clock, no chance that is not passed in. Decisions are functions of one shard's
//! view (for the data plane) or `step(event) -> effects` (for the control plane).

mod admission;
mod assignment;
pub mod fuzz;
mod ids;
mod leader;
mod member;
mod planner;
mod quorum;
mod router;
mod slot;
mod tally;
mod transition;
mod unsettled;

pub use admission::{Verdict, is_active, is_sealed, may_drop, may_export, may_read, may_write};
pub use assignment::{
    Assignment, CodecError, Inconsistency, MAX_ENCODED_BYTES, NodeRow, NodeStatus, Shard,
};
pub use ids::{NodeIndex, Place, PublishId, SlotEpoch, Version};
pub use leader::{
    CarryOut, Intents, Leader, LeaderAlarm, LeaderEffect, LeaderEvent, Policy, Probe,
    PublishOutcome, Registration, SlotReport,
};
pub use member::{Member, MemberEffect, MemberEvent};
pub use planner::{
    Budget, Owners, Plan, PlanNode, Proposal, ProposalKind, TooFewNodes, plan, proposals, release,
};
pub use quorum::{Quorum, Replication, ReplicationError};
pub use router::{ReadEffect, ReadEvent, ReadMode, ReadRound, WriteEffect, WriteEvent, WriteRound};
pub use slot::{Readers, Slot, SlotState};
pub use tally::Tally;
pub use transition::{Progress, Sources, Transition, WrongState};
pub use unsettled::{Added, LogPosition, Mark, Unsettled, UnsettledKey};
