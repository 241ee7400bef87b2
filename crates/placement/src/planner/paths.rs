//! The board on which owners are moved: holes and surpluses go to nodes under their quota, each by
//! the shortest chain of moves.

use std::collections::VecDeque;

use super::quotas::Limits;
use super::{Owners, PlanNode};
use crate::ids::NodeIndex;

/// A copy of a shard: the shard and the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Copy {
    shard: usize,
    place: usize,
}

/// Who owns which copy, while it is planned.
pub(super) struct Board<'a> {
    nodes: &'a [PlanNode],
    zones: &'a [usize],
    limits: Limits,
    /// By shard and place.
    owners: Vec<Vec<Option<usize>>>,
    /// The copies of each node.
    held: Vec<Vec<Copy>>,
    loads: Vec<usize>,
    /// Who had the copies before.
    previous: &'a [Owners],
}

/// Which copies a chain may move on after its first.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Through {
    /// Those that this plan has given to their owner: giving them to another costs nothing.
    Given,
    /// All.
    Any,
}

/// How a node was reached: it takes this copy, from that node or out of a hole.
#[derive(Clone, Copy)]
struct Arrival {
    copy: Copy,
    giver: Option<usize>,
}

impl<'a> Board<'a> {
    /// Sets up what may stay of the previous owners.
    pub(super) fn new(
        nodes: &'a [PlanNode],
        zones: &'a [usize],
        copies: usize,
        previous: &'a [Owners],
    ) -> Self {
        let limits =
            Limits { shards: previous.len(), copies, in_zone: zone_limit(nodes, zones, copies) };
        let mut board = Self {
            nodes,
            zones,
            limits,
            owners: vec![vec![None; copies]; previous.len()],
            held: vec![Vec::new(); nodes.len()],
            loads: vec![0; nodes.len()],
            previous,
        };
        for (shard, owners) in previous.iter().enumerate() {
            for (place, owner) in owners.iter().take(copies).enumerate() {
                let Some(node) = owner.map(NodeIndex::index) else { continue };
                if node < nodes.len() && board.fits(shard, node, None) {
                    board.give(Copy { shard, place }, node);
                }
            }
        }
        board
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    pub(super) fn loads(&self) -> &[usize] {
        &self.loads
    }

    /// Whether `node` may take a copy of `shard`, once the copy at `instead` is gone.
    fn fits(&self, shard: usize, node: usize, instead: Option<usize>) -> bool {
        let mut in_zone = 0;
        for (place, &owner) in self.owners[shard].iter().enumerate() {
            let Some(owner) = owner.filter(|_| Some(place) != instead) else { continue };
            if owner == node {
                return false;
            }
            in_zone += usize::from(self.zones[owner] == self.zones[node]);
        }
        // The node that gives may not take it back: that is no move.
        let is_giver = instead.is_some_and(|place| self.owners[shard][place] == Some(node));
        self.nodes[node].weight > 0 && in_zone < self.limits.in_zone && !is_giver
    }

    fn give(&mut self, copy: Copy, node: usize) {
        if let Some(before) = self.owners[copy.shard][copy.place].replace(node) {
            self.held[before].retain(|held| *held != copy);
            self.loads[before] -= 1;
        }
        self.held[node].push(copy);
        self.loads[node] += 1;
    }

    pub(super) fn fill_holes(&mut self, quotas: &[usize]) {
        for shard in 0..self.owners.len() {
            for place in 0..self.limits.copies {
                if self.owners[shard][place].is_none() {
                    self.fill(Copy { shard, place }, quotas);
                }
            }
        }
    }

    fn fill(&mut self, hole: Copy, quotas: &[usize]) {
        let starts: Vec<usize> =
            (0..self.nodes.len()).filter(|&node| self.fits(hole.shard, node, None)).collect();
        // The node that lacks most takes it, so that the first plan spreads neighbouring shards.
        let room = |&node: &usize| quotas[node].saturating_sub(self.loads[node]);
        let best = starts.iter().copied().filter(|node| room(node) > 0).max_by_key(|node| {
            let fullness = (self.loads[*node] << 20) / quotas[*node].max(1);
            (std::cmp::Reverse(fullness), std::cmp::Reverse(*node))
        });
        if let Some(node) = best {
            return self.give(hole, node);
        }
        let first: Vec<_> =
            starts.iter().map(|&node| (node, Arrival { copy: hole, giver: None })).collect();
        if !self.push(&first, quotas) {
            // No chain keeps every quota: a copy too many at one node is better than one missing.
            let least = starts.into_iter().min_by_key(|&node| (self.loads[node], node));
            if let Some(node) = least {
                self.give(hole, node);
            }
        }
    }

    pub(super) fn drain_surplus(&mut self, quotas: &[usize]) {
        for node in 0..self.nodes.len() {
            while self.loads[node] > quotas[node] {
                let given = self.reachable(node, &[], Through::Any);
                if !self.push(&given, quotas) {
                    break;
                }
            }
        }
    }

    /// Nodes that can take a copy from `giver`, each with the first such copy; copies of shards in
    /// `used` stay.
    fn reachable(&self, giver: usize, used: &[usize], through: Through) -> Vec<(usize, Arrival)> {
        let mut out = Vec::new();
        let mut seen = vec![false; self.nodes.len()];
        let mut left = self.nodes.len();
        for &copy in &self.held[giver] {
            let is_previous = self.previous[copy.shard].get(copy.place)
                == Some(&Some(NodeIndex(u16::try_from(giver).unwrap_or(u16::MAX))));
            if used.contains(&copy.shard) || through == Through::Given && is_previous {
                continue;
            }
            for (node, seen) in seen.iter_mut().enumerate() {
                if !*seen && self.fits(copy.shard, node, Some(copy.place)) {
                    *seen = true;
                    left -= 1;
                    out.push((node, Arrival { copy, giver: Some(giver) }));
                }
            }
            if left == 0 {
                break;
            }
        }
        out
    }

    fn push(&mut self, first: &[(usize, Arrival)], quotas: &[usize]) -> bool {
        self.push_along(first, quotas, Through::Given)
            || self.push_along(first, quotas, Through::Any)
    }

    /// Searches breadth first from the first arrivals for a node under its quota, and moves along
    /// the chain that leads there. False if there is none.
    fn push_along(
        &mut self,
        first: &[(usize, Arrival)],
        quotas: &[usize],
        through: Through,
    ) -> bool {
        let mut arrivals: Vec<Option<Arrival>> = vec![None; self.nodes.len()];
        // Where a surplus comes from takes nothing back.
        let source = first.first().and_then(|(_, arrival)| arrival.giver);
        let mut queue = VecDeque::new();
        let mut level = first.to_vec();
        loop {
            for (node, arrival) in level {
                if Some(node) == source || arrivals[node].is_some() {
                    continue;
                }
                arrivals[node] = Some(arrival);
                if self.loads[node] < quotas[node] {
                    self.apply(node, &arrivals, source);
                    return true;
                }
                queue.push_back(node);
            }
            let Some(node) = queue.pop_front() else { return false };
            level = self.reachable(node, &chain_shards(node, &arrivals, source), through);
        }
    }

    /// Moves along the chain, its end first, so that each giver still has what it gives.
    fn apply(&mut self, end: usize, arrivals: &[Option<Arrival>], source: Option<usize>) {
        for (node, arrival) in chain(end, arrivals, source) {
            self.give(arrival.copy, node);
        }
    }

    pub(super) fn into_owners(self) -> Vec<Owners> {
        let index = |node| NodeIndex(u16::try_from(node).expect("a table has at most 65535 rows"));
        let shard = |owners: Vec<Option<usize>>| owners.into_iter().map(|o| o.map(index)).collect();
        self.owners.into_iter().map(shard).collect()
    }
}

/// The chain that ends at `end`, from its end to its beginning.
fn chain(
    end: usize,
    arrivals: &[Option<Arrival>],
    source: Option<usize>,
) -> impl Iterator<Item = (usize, Arrival)> {
    let mut at = Some(end);
    std::iter::from_fn(move || {
        let node = at?;
        let arrival = arrivals[node]?;
        at = arrival.giver.filter(|giver| Some(*giver) != source);
        Some((node, arrival))
    })
}

/// The shards that a chain moves already: a second move of one could put two copies into a zone.
fn chain_shards(end: usize, arrivals: &[Option<Arrival>], source: Option<usize>) -> Vec<usize> {
    chain(end, arrivals, source).map(|(_, arrival)| arrival.copy.shard).collect()
}

/// How many copies of a shard may lie in one zone: as few as the nodes allow.
fn zone_limit(nodes: &[PlanNode], zones: &[usize], copies: usize) -> usize {
    let zone_count = zones.iter().max().map_or(0, |last| last + 1);
    let mut sizes = vec![0; zone_count];
    for (node, &zone) in nodes.iter().zip(zones) {
        sizes[zone] += usize::from(node.weight > 0);
    }
    let room = |limit: usize| sizes.iter().map(|&size: &usize| size.min(limit)).sum::<usize>();
    (1..=copies).find(|&limit| room(limit) >= copies).unwrap_or(copies)
}
