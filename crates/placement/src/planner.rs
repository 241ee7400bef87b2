//! The planner: who should own what, as a pure function of who owns it now and of the nodes.
//!
//! 1. What may stay stays. A shard's copies lie in different zones where there are enough, else as
//!    evenly over zones as can be.
//! 2. Each node gets a quota: the copies are poured over zones by weight, none getting more than
//!    it can hold, then over the nodes of a zone in the same way. What does not divide goes to
//!    whoever holds more already.
//! 3. Holes are filled, and nodes over their quota drained, each by the shortest chain of moves
//!    that ends at a node under its quota. Nearly always that is one move.
//!
//! The same input gives the same plan.

use std::collections::BTreeMap;

use crate::ids::NodeIndex;
use crate::quorum::{Quorum, Replication};
use rangekeeper_model::Zone;

mod moves;
mod paths;
mod quotas;
mod witness;

pub use moves::{Budget, Proposal, ProposalKind, proposals, release};

use paths::Board;

/// What the planner knows of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanNode {
    /// Its failure domain.
    pub zone: Zone,
    /// Its share, relative to the others'. 0: it gets nothing, and what it has goes elsewhere.
    pub weight: u32,
}

/// The owners of a shard's places.
pub type Owners = Box<[Option<NodeIndex>]>;

/// Who should own what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The places of each shard.
    pub quorum: Quorum,
    /// The owners of each shard's places.
    pub owners: Vec<Owners>,
}

/// Why there is no plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{nodes} nodes can hold shards, {places} places need as many")]
pub struct TooFewNodes {
    /// Nodes of a weight.
    pub nodes: usize,
    /// Places of a shard.
    pub places: usize,
}

/// Plans the owners of all shards. `previous` has the present owners, one entry a shard; places
/// that it does not have are holes. One node alone gets one place of everything.
pub fn plan(
    nodes: &[PlanNode],
    replication: Replication,
    previous: &[Owners],
) -> Result<Plan, TooFewNodes> {
    let eligible = nodes.iter().filter(|node| node.weight > 0).count();
    let quorum = if eligible == 1 { Quorum::ALONE } else { replication.quorum() };
    if eligible < quorum.places() {
        return Err(TooFewNodes { nodes: eligible, places: quorum.places() });
    }
    let zones = zone_numbers(nodes);
    let mut board = Board::new(nodes, &zones, quorum.copies(), previous);
    let quotas = quotas::quotas(nodes, &zones, board.limits(), board.loads());
    board.fill_holes(&quotas);
    board.drain_surplus(&quotas);
    let mut owners = board.into_owners();
    if quorum.witness().is_some() {
        witness::place(nodes, &zones, previous, &mut owners);
    }
    Ok(Plan { quorum, owners })
}

/// The number of each node's zone, in the order of their names.
fn zone_numbers(nodes: &[PlanNode]) -> Vec<usize> {
    let mut numbers: BTreeMap<&Zone, usize> = nodes.iter().map(|node| (&node.zone, 0)).collect();
    numbers.values_mut().enumerate().for_each(|(number, value)| *value = number);
    nodes.iter().map(|node| numbers[&node.zone]).collect()
}
