//! Rules left out, one at a time: each must break a promise somewhere, or the rule or the check is
//! idle.

use rangekeeper_placement::Replication;

/// A rule that the world does not keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// A write is called settled when a write quorum has it, not all.
    SettledAtQuorum,
    /// Nodes answer whatever read reaches them.
    NoReadCheck,
    /// Nodes check that they are readers, but not how old the router's map is.
    ReadCheckWithoutEpoch,
    /// New writers acknowledge at once.
    NoActivation,
    /// Acknowledgements of two views are added up.
    AcknowledgementsOfTwoViews,
    /// What was delivered for a slot that had missed it does not show in the tail.
    TailMissesDeliveries,
    /// The witness forgets a write when the slot that had missed it has it.
    WitnessDropsEarly,
    /// Repair of the same node does not raise the fences.
    RepairKeepsFences,
    /// A node comes back without its disk's content, under the same store id.
    DiskLostUnderSameStore,
    /// Starts of a folder are told apart by their count alone.
    StartsCounted,
    /// A node serves before a map names its start.
    ServesUnnamed,
    /// Writes are acknowledged before they are synced.
    AcknowledgedUnsynced,
    /// A write is acknowledged when it is synced, whatever map was applied since it was taken.
    JudgedOnlyWhenTaken,
    /// An acknowledgement counts under the router's map, although the node may have an older one.
    GivenByRoutersMap,
    /// Slots go to repair although too few others can be read, and complete from those.
    RepairOfTooMany,
    /// Replication 2 with hints on any other node, and reads of one.
    HintsAnywhere,
    /// Writers do not check how old the router's map is.
    NoSince,
    /// A source gives its copy before it has applied the change.
    ExportBeforeApplying,
    /// A cutover ends when the tail is reached, although the source is not sealed.
    CutoverUnsealed,
    /// A repair is complete from one other place.
    RepairFromOne,
    /// The source of a cutover dies: its target is taken as steady.
    SourceDeadTakenAsSteady,
    /// The target of a cutover dies: its source is taken as steady.
    TargetDeadTakenAsSteady,
    /// A leader of an earlier term can still publish.
    NoFence,
    /// A read asks for the full copy before the unsettled of the others.
    FullCopyFirst,
}

/// Every mutation, with the replications at which it has to be caught.
pub const MUTATIONS: &[(Mutation, &[Replication])] = {
    use Replication::{Five, One, Three, Two};
    &[
        (Mutation::SettledAtQuorum, &[Three, Two, Five]),
        (Mutation::NoReadCheck, &[One, Three, Two, Five]),
        (Mutation::ReadCheckWithoutEpoch, &[Three]),
        (Mutation::NoActivation, &[Three, Two, Five]),
        (Mutation::AcknowledgementsOfTwoViews, &[Three]),
        (Mutation::TailMissesDeliveries, &[Three, Two]),
        (Mutation::WitnessDropsEarly, &[Two]),
        (Mutation::RepairKeepsFences, &[Three]),
        (Mutation::DiskLostUnderSameStore, &[Three, Two, Five]),
        (Mutation::StartsCounted, &[Three, Two, Five]),
        (Mutation::ServesUnnamed, &[Three, Two, Five]),
        (Mutation::AcknowledgedUnsynced, &[One, Three]),
        (Mutation::JudgedOnlyWhenTaken, &[Three]),
        (Mutation::GivenByRoutersMap, &[Three]),
        (Mutation::RepairOfTooMany, &[Three]),
        (Mutation::HintsAnywhere, &[Two]),
        (Mutation::NoSince, &[Three]),
        (Mutation::ExportBeforeApplying, &[Three]),
        (Mutation::CutoverUnsealed, &[One, Three]),
        (Mutation::RepairFromOne, &[Three, Five]),
        (Mutation::SourceDeadTakenAsSteady, &[One, Three]),
        (Mutation::TargetDeadTakenAsSteady, &[One, Three]),
        (Mutation::NoFence, &[One, Three]),
        (Mutation::FullCopyFirst, &[Three, Two]),
    ]
};
