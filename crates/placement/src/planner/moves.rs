//! From a plan to moves: what differs, in the order of need, and as much of it as a budget lets go.

use rangekeeper_model::ShardId;

use super::Plan;
use crate::assignment::Assignment;
use crate::ids::{NodeIndex, Place};
use crate::slot::SlotState;

/// Why a slot should change its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProposalKind {
    /// Its owner is gone: the copy has to be made anew.
    Repair,
    /// Its owner is to be emptied.
    Drain,
    /// Its owner has more than its share.
    Balance,
}

/// A change that the plan asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Proposal {
    /// Why.
    pub kind: ProposalKind,
    /// Of which shard.
    pub shard: ShardId,
    /// Which of its slots.
    pub place: Place,
    /// Who owns the slot now.
    pub from: NodeIndex,
    /// Who should.
    pub to: NodeIndex,
}

/// How much may be under way at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Slots that a node takes in at once.
    pub incoming: usize,
    /// Slots that a node gives away at once.
    pub outgoing: usize,
    /// Slots under way in all, in percent of all slots; at least one may be.
    pub percent: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { incoming: 2, outgoing: 2, percent: 5 }
    }
}

/// Lists where the plan differs from the slots that are steady now: repairs first, those of shards
/// with the fewest live owners before others, then drains, then balance. What is under way already
/// is not proposed again.
pub fn proposals(
    assignment: &Assignment,
    plan: &Plan,
    is_gone: impl Fn(NodeIndex) -> bool,
    is_draining: impl Fn(NodeIndex) -> bool,
) -> Vec<Proposal> {
    let mut out = Vec::new();
    for (shard, owners) in assignment.shard_count().iter().zip(&plan.owners) {
        let slots = assignment.shard(shard);
        let live = slots.places().filter(|(_, s)| s.state.target().is_some_and(|n| !is_gone(n)));
        let live = live.count();
        for ((place, slot), owner) in slots.places().zip(owners) {
            let (SlotState::Steady { node: from }, Some(to)) = (slot.state, *owner) else {
                continue;
            };
            // Two slots of a shard may swap owners in the plan; a node is named once at a time.
            if from == to || slots.place_of(to).is_some() {
                continue;
            }
            let kind = match from {
                gone if is_gone(gone) => ProposalKind::Repair,
                draining if is_draining(draining) => ProposalKind::Drain,
                _ => ProposalKind::Balance,
            };
            let urgency = if kind == ProposalKind::Repair { live } else { 0 };
            out.push((kind, urgency, Proposal { kind, shard, place, from, to }));
        }
    }
    out.sort_by_key(|(kind, urgency, proposal)| (*kind, *urgency, proposal.shard, proposal.place));
    out.into_iter().map(|(_, _, proposal)| proposal).collect()
}

/// Takes from the front what the budget still allows beside what is under way in the assignment. A
/// repair gives nothing away, so it counts at its taker alone.
pub fn release(assignment: &Assignment, proposals: &[Proposal], budget: Budget) -> Vec<Proposal> {
    let mut incoming = vec![0; assignment.nodes.len()];
    let mut outgoing = incoming.clone();
    let mut moving = 0;
    let mut slots = 0;
    for slot in assignment.shards.iter().flat_map(|shard| &shard.slots) {
        slots += 1;
        match slot.state {
            SlotState::Moving { from, to } | SlotState::Cutover { from, to } => {
                outgoing[from.index()] += 1;
                incoming[to.index()] += 1;
                moving += 1;
            }
            SlotState::Repair { node } => incoming[node.index()] += 1,
            SlotState::Empty | SlotState::Steady { .. } => {}
        }
    }
    let most = (slots * budget.percent / 100).max(1);
    let mut released = Vec::new();
    for &proposal in proposals {
        let is_move = proposal.kind != ProposalKind::Repair;
        let (from, to) = (proposal.from.index(), proposal.to.index());
        let is_full = incoming[to] >= budget.incoming
            || is_move && (outgoing[from] >= budget.outgoing || moving >= most);
        if is_full {
            continue;
        }
        incoming[to] += 1;
        outgoing[from] += usize::from(is_move);
        moving += usize::from(is_move);
        released.push(proposal);
    }
    released
}
