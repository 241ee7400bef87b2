//! How many copies each node should hold.

use super::PlanNode;

/// How much the shards and their zones allow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Shards, and so the most copies that a node can hold.
    pub(super) shards: usize,
    /// Copies of a shard.
    pub(super) copies: usize,
    /// Copies of a shard in one zone, at most.
    pub(super) in_zone: usize,
}

/// What is poured into.
struct Vessel {
    weight: u64,
    capacity: usize,
    /// What it holds already: decides who gets what does not divide.
    held: usize,
}

/// The quota of each node, in their order; they add up to all copies.
pub(super) fn quotas(
    nodes: &[PlanNode],
    zones: &[usize],
    limits: Limits,
    loads: &[usize],
) -> Vec<usize> {
    let zone_count = zones.iter().max().map_or(0, |last| last + 1);
    let members = |zone: usize| {
        (0..nodes.len()).filter(move |&node| zones[node] == zone && nodes[node].weight > 0)
    };
    let vessels = (0..zone_count).map(|zone| Vessel {
        weight: members(zone).map(|node| u64::from(nodes[node].weight)).sum(),
        capacity: limits.shards * members(zone).count().min(limits.in_zone),
        held: members(zone).map(|node| loads[node]).sum(),
    });
    let of_zones = pour(limits.shards * limits.copies, &vessels.collect::<Vec<_>>());
    let mut quotas = vec![0; nodes.len()];
    for (zone, &amount) in of_zones.iter().enumerate() {
        let vessels = members(zone).map(|node| Vessel {
            weight: nodes[node].weight.into(),
            capacity: limits.shards,
            held: loads[node],
        });
        let shares = pour(amount, &vessels.collect::<Vec<_>>());
        members(zone).zip(shares).for_each(|(node, share)| quotas[node] = share);
    }
    quotas
}

/// Divides `amount` by weight; a vessel that would run over is filled, and the rest is divided
/// again among the others.
fn pour(amount: usize, vessels: &[Vessel]) -> Vec<usize> {
    let mut shares = vec![0; vessels.len()];
    let mut open: Vec<usize> = (0..vessels.len()).filter(|&v| vessels[v].weight > 0).collect();
    let mut rest = amount;
    loop {
        let weight: u128 = open.iter().map(|&v| u128::from(vessels[v].weight)).sum();
        if weight == 0 {
            return shares;
        }
        let part = |v: usize| rest as u128 * u128::from(vessels[v].weight);
        let full: Vec<usize> = open
            .iter()
            .copied()
            .filter(|&v| part(v) >= vessels[v].capacity as u128 * weight)
            .collect();
        if full.is_empty() {
            for &v in &open {
                shares[v] = usize::try_from(part(v) / weight).expect("not more than the rest");
            }
            let left = rest - open.iter().map(|&v| shares[v]).sum::<usize>();
            // Those that hold most beyond their share keep one more; then by the larger fraction.
            open.sort_by_key(|&v| {
                let surplus = vessels[v].held.saturating_sub(shares[v]);
                (std::cmp::Reverse(surplus), std::cmp::Reverse(part(v) % weight), v)
            });
            open.iter().take(left).for_each(|&v| shares[v] += 1);
            return shares;
        }
        for &v in &full {
            shares[v] = vessels[v].capacity.min(rest);
            rest -= shares[v];
        }
        open.retain(|v| !full.contains(v));
    }
}
