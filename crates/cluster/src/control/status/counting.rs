//! Copies of shards, counted by the map and by who is known to be away.

use rangekeeper_placement::{Assignment, NodeIndex, NodeStatus, SlotState};

use super::super::MapView;
use super::super::shared::Shared;
use crate::peer::Probed;

/// The name of a slot's state.
pub(super) fn state_name(state: SlotState) -> &'static str {
    match state {
        SlotState::Empty => "empty",
        SlotState::Steady { .. } => "steady",
        SlotState::Moving { .. } => "moving",
        SlotState::Cutover { .. } => "cutover",
        SlotState::Repair { .. } => "repair",
    }
}

/// This node's slots by state.
pub(in super::super) fn own_slots(view: &MapView) -> [(&'static str, usize); 4] {
    let mut counts = [("steady", 0), ("moving", 0), ("cutover", 0), ("repair", 0)];
    let Some(me) = view.me else { return counts };
    for slot in view.assignment.shards.iter().flat_map(|shard| &shard.slots) {
        if slot.state.nodes().any(|node| node == me) {
            let name = state_name(slot.state);
            counts.iter_mut().filter(|(state, _)| *state == name).for_each(|(_, n)| *n += 1);
        }
    }
    counts
}

/// Whether the owner of each row can be asked, as far as this node knows: by its last answer, else
/// by the map.
pub(super) fn alive(shared: &Shared, view: &MapView) -> Vec<bool> {
    let rows = view.assignment.nodes.iter().zip((0..=u16::MAX).map(NodeIndex));
    let is_alive = |(row, index): (&rangekeeper_placement::NodeRow, NodeIndex)| {
        if view.me == Some(index) {
            return true;
        }
        let is_up = matches!(row.status, NodeStatus::Up | NodeStatus::Draining);
        match shared.roster.of_row(index).map(|peer| peer.health().borrow().probed.clone()) {
            Some(Probed::Answered { .. }) => true,
            Some(Probed::NotYet) => is_up,
            // None: another data folder is at its name now, or nobody talks to it.
            Some(Probed::Failed(_)) | None => false,
        }
    };
    rows.map(is_alive).collect()
}

/// For each shard, whether fewer copies can be used than the cluster was made for.
pub(super) fn lacking(shared: &Shared, view: &MapView) -> Vec<bool> {
    let (map, alive) = (&view.assignment, alive(shared, view));
    let member = shared.member.read();
    let is_usable = |node: NodeIndex, shard| {
        alive[node.index()] && !(view.me == Some(node) && member.is_damaged(shard))
    };
    let lacks = |id| {
        let copies = map.shard(id).places().take(map.quorum.copies()).filter(|(_, slot)| {
            let readers = slot.state.readers();
            !readers.is_empty() && readers.into_iter().all(|node| is_usable(node, id))
        });
        copies.count() < wanted(map)
    };
    map.shard_count().iter().map(lacks).collect()
}

fn wanted(map: &Assignment) -> usize {
    usize::from(map.replication.copies())
}

/// How many shards have fewer copies that can be used than the cluster was made for.
pub(in super::super) fn below_replication(shared: &Shared, view: &MapView) -> usize {
    lacking(shared, view).into_iter().filter(|lacks| *lacks).count()
}
