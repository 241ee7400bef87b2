//! The leader's part: whom it takes for gone, what it publishes, what it would move.
//!
//! [`Leader::step`] takes one event in and says what is to be done. It waits for nothing: an
//! election, a publish and its outcome, a probe and its answer are events, and time is a number in
//! them.
//!
//! - A new leader is quiet for a while: it completes what is reported complete, declares nobody
//!   gone and plans nothing. The first placement does not wait for that: it happens once, when the
//!   expected nodes are registered.
//! - A node is gone when its registration is *and* a probe finds it silent; then a grace runs. When
//!   too many are gone at once the map is frozen until they return or the operator confirms:
//!   trouble with ZooKeeper looks just like that.
//! - Every publish takes an epoch above all that any node has reported, so a restored or emptied
//!   ZooKeeper does not bring back an old one. An unknown outcome is settled by reading again.
//! - Moves and repairs are [proposed](Leader::proposals). They are carried out only if the policy
//!   says that nodes can.

use std::collections::BTreeSet;
use std::sync::Arc;

use rangekeeper_model::{Day, ShardId};

use crate::assignment::{Assignment, Inconsistency};
use crate::ids::{NodeIndex, Place, PublishId, SlotEpoch, Version};
use crate::planner::{Budget, Proposal, TooFewNodes};
use crate::transition::{Progress, Transition};
use rangekeeper_model::{BootCount, Incarnation, NodeId, RunId, StoreId, Term, Zone};

mod membership;
mod publishing;

#[cfg(test)]
mod tests;

use membership::Membership;

/// Whether data can be moved between nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CarryOut {
    /// Moves and repairs are proposed and never published.
    Propose,
    /// They are published within the budget.
    Publish,
}

/// The settings of a leader. Times are milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Nodes that have to be registered before the first placement.
    pub expect: usize,
    /// The store that gets all shards at the first placement, if one has data already.
    pub first: Option<StoreId>,
    /// How long a new leader only completes what is under way.
    pub quiet_ms: u64,
    /// How long a node is waited for.
    pub repair_after_ms: u64,
    /// How long with five copies, when a second one is gone.
    pub repair_after_second_loss_ms: u64,
    /// How long the membership has to stay as it is before there is a plan.
    pub settle_ms: u64,
    /// Between two publishes.
    pub publish_every_ms: u64,
    /// More nodes than this share gone at once, and more than one, freeze the map.
    pub breaker_percent: usize,
    /// What may be under way at once.
    pub budget: Budget,
    /// Whether moves and repairs are published.
    pub carry_out: CarryOut,
}

impl Policy {
    /// The defaults, for a first placement on `expect` nodes.
    pub fn new(expect: usize) -> Self {
        Self {
            expect,
            first: None,
            quiet_ms: 30_000,
            repair_after_ms: 600_000,
            repair_after_second_loss_ms: 60_000,
            settle_ms: 30_000,
            publish_every_ms: 1_000,
            breaker_percent: 20,
            budget: Budget::default(),
            carry_out: CarryOut::Propose,
        }
    }
}

/// A node as it registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Its name.
    pub id: NodeId,
    /// Where its peers reach it.
    pub address: Arc<str>,
    /// Its failure domain.
    pub zone: Zone,
    /// Its share.
    pub weight: u32,
    /// This registration.
    pub incarnation: Incarnation,
    /// Its data folder.
    pub store: StoreId,
    /// How often that was opened.
    pub boot: BootCount,
    /// The run of that folder that registers.
    pub run: RunId,
    /// Runs that the folder has begun before: the last ones, and whatever the node table named.
    pub after: Vec<RunId>,
}

impl Registration {
    /// Whether its folder is the one of which `run` was the last known run, so that what was
    /// acknowledged in it is there. An older copy of the folder, or one of another copy, is not.
    pub fn continues(&self, run: RunId) -> bool {
        self.run == run || self.after.contains(&run)
    }
}

/// What the operator wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Intents {
    /// Nodes to be emptied.
    pub draining: BTreeSet<NodeId>,
    /// Publish nothing but completions.
    pub is_frozen: bool,
    /// These nodes are gone for good: they neither freeze the map nor are waited for.
    pub confirmed_gone: BTreeSet<NodeId>,
}

/// How a publish ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishOutcome {
    /// It is the assignment now.
    Done,
    /// The term is another's.
    StaleTerm,
    /// The assignment was changed by somebody else.
    StaleVersion,
    /// Nobody knows.
    Unknown,
}

/// What a leader is told.
#[derive(Clone, Debug)]
pub enum LeaderEvent {
    /// It leads, in this term, and goes on from this assignment.
    Elected(Term, Arc<Assignment>),
    /// It does not lead, or cannot know.
    Deposed,
    /// All nodes that are registered now.
    Registered(Vec<Registration>),
    /// What the operator wants now.
    Wanted(Intents),
    /// A probe of a node that is not registered was answered, or was not.
    Probed(NodeId, Probe),
    /// A node reports how far it got with a slot.
    Reported(SlotReport),
    /// A node, in this registration, finds its copy of a shard damaged.
    Damaged(NodeId, Incarnation, ShardId),
    /// A node reports the map that it has applied.
    Applied(Version, PublishId),
    /// A node's message named the version that it has applied, not which publish that was.
    Heard(Version),
    /// Data before this day is to be dropped everywhere.
    Expired(Day),
    /// How the publish ended.
    Published(PublishOutcome),
    /// The assignment was read again.
    Read(Arc<Assignment>),
    /// Time has passed.
    Tick,
}

/// What a probe found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// The node answered.
    Answered,
    /// It did not.
    Silent,
}

/// How far a node got with a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotReport {
    /// The node.
    pub node: NodeId,
    /// Its registration: what an earlier life reports counts no more.
    pub incarnation: Incarnation,
    /// The shard.
    pub shard: ShardId,
    /// The slot.
    pub place: Place,
    /// The epoch of the slot's state that it speaks of.
    pub slot_epoch: SlotEpoch,
    /// How far.
    pub progress: Progress,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaderEffect {
    /// Publish it, fenced by the term and by the version of the assignment that was read.
    Publish(Arc<Assignment>),
    /// Read the assignment again.
    Read,
    /// Ask the node directly whether it lives.
    Probe(NodeId),
    /// Send a [`LeaderEvent::Tick`] at this time.
    Wake(u64),
    /// Stop leading.
    StepDown,
    /// Tell the operator.
    Alarm(LeaderAlarm),
}

/// What the operator has to know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaderAlarm {
    /// One version was published twice.
    #[error("version {0} was published as {1} and as {2}")]
    TwoPublishes(Version, PublishId, PublishId),
    /// The map is frozen.
    #[error("{0} of {1} nodes are gone at once: the assignment stays as it is")]
    Frozen(usize, usize),
    /// Shards cannot be placed.
    #[error("failed to place shards: {0}")]
    Placement(#[from] TooFewNodes),
    /// The next assignment would contradict itself; nothing is published.
    #[error("failed to make an assignment: {0}")]
    Assignment(#[from] Inconsistency),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Following,
    /// Until then it only completes.
    Quiet(u64),
    Leading,
}

/// What stands between a publish and the next.
#[derive(Clone, Debug)]
enum Pending {
    Nothing,
    /// Its outcome is awaited.
    Publish(Arc<Assignment>),
    /// The assignment is being read; the publish may be in it or not.
    Read,
}

/// The state of a node that leads or may lead.
#[derive(Clone, Debug)]
pub struct Leader {
    policy: Policy,
    phase: Phase,
    term: Term,
    /// As ZooKeeper has it.
    base: Option<Arc<Assignment>>,
    pending: Pending,
    last_publish_ms: Option<u64>,
    /// The highest version that any node has reported, and which publish it was, if that was told.
    highest: (Version, Option<PublishId>),
    membership: Membership,
    intents: Intents,
    /// The floor of retention that is to be published; it only rises.
    retention_floor: Day,
    /// What reports ask for, until it is published.
    completions: Vec<(ShardId, Place, SlotEpoch, Transition)>,
    /// Slots whose owner finds its copy damaged, until they change.
    damaged: Vec<(ShardId, Place, SlotEpoch)>,
    proposals: Vec<Proposal>,
    is_alarmed: bool,
    random: u64,
}

impl Leader {
    /// A node that may lead. `seed` draws the publish ids: different in each process.
    pub fn new(policy: Policy, seed: u64) -> Self {
        Self {
            policy,
            phase: Phase::Following,
            term: Term(0),
            base: None,
            pending: Pending::Nothing,
            last_publish_ms: None,
            highest: (Version::default(), None),
            membership: Membership::default(),
            intents: Intents::default(),
            retention_floor: Day(0),
            completions: Vec::new(),
            damaged: Vec::new(),
            proposals: Vec::new(),
            is_alarmed: false,
            random: seed,
        }
    }

    /// What the planner would do now, in its order. Empty while the leader is quiet, the map
    /// frozen, or the membership not settled.
    pub fn proposals(&self) -> &[Proposal] {
        &self.proposals
    }

    /// Whether this node leads.
    pub fn is_leading(&self) -> bool {
        self.phase != Phase::Following
    }

    /// Sets how many nodes have to be registered before the first placement.
    ///
    /// With `first`, the node with that store gets all shards: it has data, which no other has.
    pub fn expect(&mut self, nodes: usize, first: Option<StoreId>) {
        (self.policy.expect, self.policy.first) = (nodes, first);
    }

    /// Whether the assignment that it goes on from gives shards to nodes.
    pub fn has_placed(&self) -> bool {
        self.base.as_ref().is_some_and(|base| base.is_placed())
    }

    /// How many nodes are gone of how many, if that freezes the map.
    pub fn frozen(&self) -> Option<(usize, usize)> {
        let breaker = self.membership.breaker(&self.policy, &self.intents);
        breaker.filter(|_| self.is_leading())
    }

    /// Takes an event in, at a time that never goes back.
    pub fn step(&mut self, now_ms: u64, event: LeaderEvent, effects: &mut Vec<LeaderEffect>) {
        match event {
            LeaderEvent::Elected(term, assignment) => {
                self.phase = Phase::Quiet(now_ms + self.policy.quiet_ms);
                self.term = term;
                self.base = Some(assignment);
                self.pending = Pending::Nothing;
                self.completions.clear();
                self.membership.forget_probes();
            }
            LeaderEvent::Deposed => self.follow(),
            LeaderEvent::Registered(nodes) => self.membership.registered(now_ms, nodes),
            LeaderEvent::Wanted(intents) => {
                if intents.draining != self.intents.draining {
                    self.membership.touch(now_ms);
                }
                self.intents = intents;
            }
            LeaderEvent::Probed(node, probe) => self.membership.probed(now_ms, &node, probe),
            LeaderEvent::Reported(report) => self.note_report(&report),
            LeaderEvent::Damaged(node, incarnation, shard) => {
                self.note_damage(&node, incarnation, shard);
            }
            LeaderEvent::Applied(version, publish) => self.note_applied(version, publish, effects),
            LeaderEvent::Heard(version) => {
                if version > self.highest.0 {
                    self.highest = (version, None);
                }
            }
            LeaderEvent::Expired(day) => self.retention_floor = day.max(self.retention_floor),
            LeaderEvent::Published(outcome) => self.note_outcome(outcome, effects),
            LeaderEvent::Read(assignment) => self.note_read(assignment),
            LeaderEvent::Tick => {}
        }
        if self.is_leading() {
            self.decide(now_ms, effects);
        }
    }

    fn follow(&mut self) {
        self.phase = Phase::Following;
        self.base = None;
        self.pending = Pending::Nothing;
        self.proposals.clear();
        self.completions.clear();
        self.damaged.clear();
    }

    /// The row of a node, if it speaks in its present registration and the row names its run: what
    /// an older copy of its folder reports, or what such a copy would not be known to lack, counts
    /// for nothing.
    fn speaker(&self, node: &NodeId, incarnation: Incarnation) -> Option<NodeIndex> {
        let registration = self.membership.registration(node)?;
        let is_present = registration.incarnation == incarnation;
        let base = self.base.as_ref()?;
        let row = base.row(node, registration.store).filter(|_| is_present)?;
        (base.node(row).run == registration.run).then_some(row)
    }

    fn note_damage(&mut self, node: &NodeId, incarnation: Incarnation, shard: ShardId) {
        let row = self.speaker(node, incarnation);
        let (Some(base), Some(row)) = (&self.base, row) else { return };
        let Some(view) = base.shards.get(usize::from(shard.0)) else { return };
        if let Some(place) = view.place_of(row) {
            let damaged = (shard, place, view.slot(place).epoch);
            if !self.damaged.contains(&damaged) {
                self.damaged.push(damaged);
            }
        }
    }

    /// Keeps what follows from a report, if it is of the node's present registration and of the
    /// slot's present state.
    fn note_report(&mut self, report: &SlotReport) {
        let row = self.speaker(&report.node, report.incarnation);
        let (Some(base), Some(row)) = (&self.base, row) else { return };
        let Some(shard) = base.shards.get(usize::from(report.shard.0)) else { return };
        if report.place.index() >= shard.slots.len() {
            return;
        }
        let SlotReport { place, slot_epoch, progress, .. } = *report;
        if let Some(transition) = shard.after(place, row, slot_epoch, progress, base.quorum) {
            let completion = (report.shard, place, slot_epoch, transition);
            if !self.completions.contains(&completion) {
                self.completions.push(completion);
            }
        }
    }

    fn note_applied(
        &mut self,
        version: Version,
        publish: PublishId,
        effects: &mut Vec<LeaderEffect>,
    ) {
        let highest = self.highest.1.map(|publish| (self.highest.0, publish));
        let base = self.base.as_ref().map(|base| (base.version(), base.publish));
        let mut known = [highest, base].into_iter().flatten();
        let other = known.find(|(v, p)| *v == version && *p != publish);
        if let Some((_, other)) = other.filter(|_| version > Version::default()) {
            let alarm = LeaderAlarm::TwoPublishes(version, other, publish);
            effects.push(LeaderEffect::Alarm(alarm));
        }
        if version > self.highest.0 || (version == self.highest.0 && self.highest.1.is_none()) {
            self.highest = (version, Some(publish));
        }
    }

    fn note_outcome(&mut self, outcome: PublishOutcome, effects: &mut Vec<LeaderEffect>) {
        let published = match std::mem::replace(&mut self.pending, Pending::Nothing) {
            Pending::Publish(published) => published,
            other => {
                self.pending = other;
                return;
            }
        };
        match outcome {
            PublishOutcome::Done => self.base = Some(published),
            PublishOutcome::StaleTerm => {
                self.follow();
                effects.push(LeaderEffect::StepDown);
            }
            PublishOutcome::StaleVersion | PublishOutcome::Unknown => {
                self.pending = Pending::Read;
                effects.push(LeaderEffect::Read);
            }
        }
    }

    /// What was read is what there is. A publish whose outcome was unknown either is it, or was not
    /// applied; if it still is later, the next publish finds another version and reads again.
    fn note_read(&mut self, assignment: Arc<Assignment>) {
        if matches!(self.pending, Pending::Read) {
            self.pending = Pending::Nothing;
            self.base = Some(assignment);
        }
    }

    /// Draws the id of a publish (splitmix64).
    fn draw(&mut self) -> PublishId {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        PublishId(z ^ z >> 31)
    }
}
