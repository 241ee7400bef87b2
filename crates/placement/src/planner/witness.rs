//! Where the witnesses of replication 2 go: a third node, in a third zone if there is one.

use super::{Owners, PlanNode};
use crate::ids::NodeIndex;

/// Appends a witness to the two owners of each shard. One that may stay stays; others go to the
/// node with the fewest for its weight.
pub(super) fn place(
    nodes: &[PlanNode],
    zones: &[usize],
    previous: &[Owners],
    owners: &mut [Owners],
) {
    let mut counts = vec![0_u64; nodes.len()];
    let mut kept = Vec::with_capacity(owners.len());
    for (owners, previous) in owners.iter().zip(previous) {
        let candidates = candidates(nodes, zones, owners);
        let before = previous.get(2).copied().flatten().map(NodeIndex::index);
        let stays = before.filter(|node| candidates.contains(node));
        if let Some(node) = stays {
            counts[node] += 1;
        }
        kept.push((candidates, stays));
    }
    for (owners, (candidates, stays)) in owners.iter_mut().zip(kept) {
        let chosen = stays.or_else(|| {
            let load = |node: usize| ((counts[node] + 1) << 32) / u64::from(nodes[node].weight);
            let least = candidates.into_iter().min_by_key(|&node| (load(node), node))?;
            counts[least] += 1;
            Some(least)
        });
        let index = |node| NodeIndex(u16::try_from(node).expect("a table has at most 65535 rows"));
        let witness = chosen.map(index);
        *owners = owners.iter().copied().chain([witness]).collect();
    }
}

/// Nodes that may be the witness of a shard with these owners.
fn candidates(nodes: &[PlanNode], zones: &[usize], owners: &Owners) -> Vec<usize> {
    let owned = || owners.iter().flatten().map(|owner| owner.index());
    let free = |&node: &usize| nodes[node].weight > 0 && owned().all(|owner| owner != node);
    let apart = |&node: &usize| owned().all(|owner| zones[owner] != zones[node]);
    let all: Vec<usize> = (0..nodes.len()).filter(free).collect();
    let elsewhere: Vec<usize> = all.iter().copied().filter(apart).collect();
    if elsewhere.is_empty() { all } else { elsewhere }
}
