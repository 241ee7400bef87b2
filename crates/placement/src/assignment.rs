//! The assignment: the map from shards to slots, and the table of the nodes that it names.
//!
//! One value, published whole. Nothing in it is about a request: who may do what follows from it
//! (`admission`), and how it changes from one to the next is the slot machine's (`transition`).

use std::collections::BTreeSet;
use std::sync::Arc;

use rangekeeper_model::{Day, ShardCount, ShardId};

use crate::ids::{NodeIndex, Place, PublishId, Version};
use crate::quorum::{Quorum, Replication};
use crate::slot::{Slot, SlotState};
use rangekeeper_model::{
    BootCount, ClusterId, Epoch, FormatLevel, Generation, Incarnation, NodeId, RunId, StoreId,
    Term, Zone,
};

mod codec;

pub use codec::{CodecError, MAX_ENCODED_BYTES};

/// What the leader last knew of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NodeStatus {
    /// Registered.
    Up,
    /// Gone, and waited for.
    Down,
    /// To be emptied, by the operator's wish.
    Draining,
    /// The row of a store that its node no longer has.
    Lost,
}

/// A row of the node table: a node with one store. No two rows have the same node and store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRow {
    /// The node's name.
    pub id: NodeId,
    /// Where its peers reach it: `host:port`, at most 255 bytes.
    pub address: Arc<str>,
    /// Its failure domain.
    pub zone: Zone,
    /// Its share of the shards, relative to the others'. 0: none.
    pub weight: u32,
    /// Its last registration.
    pub incarnation: Incarnation,
    /// The data folder that the row stands for.
    pub store: StoreId,
    /// The boot counter of that folder at the registration.
    pub boot: BootCount,
    /// The run of that folder that registered. Only a folder that has begun it is the row's.
    pub run: RunId,
    /// What the leader last knew.
    pub status: NodeStatus,
}

/// A shard's places.
///
/// **Invariant:** `since` is the epoch of the last change of any slot's writer or of the store
/// behind it, and of every entry into repair, also of the same node; `rsince` that of the last
/// change of any slot's writer or readers. Whoever looks through an older map than that is refused,
/// so nobody adds up what was never true at one time. `since <= rsince`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Requests to write that were routed by an older map are refused.
    pub since: Epoch,
    /// Requests to read that were routed by an older map are refused.
    pub rsince: Epoch,
    /// One a place.
    pub slots: Box<[Slot]>,
}

impl Shard {
    /// A shard that is not placed.
    pub fn empty(quorum: Quorum) -> Self {
        let slots = vec![Slot::EMPTY; quorum.places()].into();
        Self { since: Epoch(0), rsince: Epoch(0), slots }
    }

    /// The slot at a place.
    ///
    /// # Panics
    ///
    /// If the shard has no such place.
    #[inline]
    pub fn slot(&self, place: Place) -> Slot {
        self.slots[place.index()]
    }

    /// The slots with their places.
    pub fn places(&self) -> impl Iterator<Item = (Place, Slot)> {
        self.slots.iter().enumerate().map(|(index, slot)| (Place::of(index), *slot))
    }

    /// The place at which `node` takes part, if it does: a node is named at one place at most.
    #[inline]
    pub fn place_of(&self, node: NodeIndex) -> Option<Place> {
        let at = self.slots.iter().position(|slot| slot.state.names(node));
        at.map(Place::of)
    }

    /// How many slots can answer reads, by their states.
    pub fn readable(&self) -> usize {
        self.slots.iter().filter(|slot| slot.state.is_readable()).count()
    }

    /// Whether every slot is steady.
    pub fn is_steady(&self) -> bool {
        self.slots.iter().all(|slot| matches!(slot.state, SlotState::Steady { .. }))
    }
}

/// The map from shards to nodes, as of one epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The level of all formats; this value's encoding is of that level.
    pub level: FormatLevel,
    /// The cluster that it belongs to.
    pub cluster: ClusterId,
    /// Of the operator's last reset.
    pub generation: Generation,
    /// Strictly increasing.
    pub epoch: Epoch,
    /// The term of the leader that published it.
    pub term: Term,
    /// Which publish it was.
    pub publish: PublishId,
    /// Data of earlier days is gone; it only rises.
    pub retention_floor: Day,
    /// The replication that the cluster was created with.
    pub replication: Replication,
    /// The places of each shard: the replication's, or one where a node is alone.
    pub quorum: Quorum,
    /// The rows, in the order of their indices.
    pub nodes: Vec<NodeRow>,
    /// One a shard, in the order of their numbers: a power of two.
    pub shards: Vec<Shard>,
}

/// What makes an assignment one that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Inconsistency {
    /// The number of shards is none.
    #[error("{0} shards are not a power of two from 1 to 65536")]
    ShardCount(usize),
    /// More rows than an index can name.
    #[error("{0} nodes are more than 65535")]
    TooManyNodes(usize),
    /// An address that is empty or too long.
    #[error("the address of node {0} has not 1 to 255 bytes")]
    Address(NodeId),
    /// Two rows of the same node and store.
    #[error("node {0} has two rows for one store")]
    RowTwice(NodeId),
    /// A shard with another number of slots than the quorum has places.
    #[error("shard {0} has {1} slots")]
    Places(ShardId, usize),
    /// A slot that names no row.
    #[error("shard {0} names node {1}, which is not in the table")]
    UnknownNode(ShardId, NodeIndex),
    /// A node that is named twice in a shard.
    #[error("shard {0} names node {1} twice")]
    NodeTwice(ShardId, NodeId),
    /// An epoch of a shard or slot that is later than the assignment's, or `since > rsince`.
    #[error("shard {0} was changed at epoch {1}, after the assignment's own or out of order")]
    LateEpoch(ShardId, Epoch),
}

impl Assignment {
    /// The first format, and the only one that this build writes.
    pub const LEVEL: FormatLevel = FormatLevel(1);

    /// An assignment with a table of no nodes and shards that are not placed.
    pub fn empty(cluster: ClusterId, replication: Replication, shards: ShardCount) -> Self {
        let quorum = replication.quorum();
        Self {
            level: Self::LEVEL,
            cluster,
            generation: Generation(1),
            epoch: Epoch(0),
            term: Term(0),
            publish: PublishId(0),
            retention_floor: Day(0),
            replication,
            quorum,
            nodes: Vec::new(),
            shards: shards.iter().map(|_| Shard::empty(quorum)).collect(),
        }
    }

    /// What orders it among the cluster's assignments.
    pub fn version(&self) -> Version {
        Version { generation: self.generation, epoch: self.epoch }
    }

    /// How many shards there are.
    pub fn shard_count(&self) -> ShardCount {
        let count = u32::try_from(self.shards.len()).unwrap_or(u32::MAX);
        ShardCount::new(count).expect("made with a ShardCount, or checked when it was decoded")
    }

    /// A shard.
    ///
    /// # Panics
    ///
    /// If there is no such shard.
    #[inline]
    pub fn shard(&self, shard: ShardId) -> &Shard {
        &self.shards[usize::from(shard.0)]
    }

    /// The row with this index.
    ///
    /// # Panics
    ///
    /// If there is no such row.
    #[inline]
    pub fn node(&self, index: NodeIndex) -> &NodeRow {
        &self.nodes[index.index()]
    }

    /// The row of a node with a store.
    pub fn row(&self, id: &NodeId, store: StoreId) -> Option<NodeIndex> {
        let at = self.nodes.iter().position(|row| row.id == *id && row.store == store)?;
        u16::try_from(at).ok().map(NodeIndex)
    }

    /// Whether shards have been given to nodes at all.
    pub fn is_placed(&self) -> bool {
        self.shards.iter().flat_map(|shard| &shard.slots).any(|s| s.state != SlotState::Empty)
    }

    /// Checks all that the types do not hold by themselves.
    pub fn check(&self) -> Result<(), Inconsistency> {
        let count = u32::try_from(self.shards.len()).ok();
        if count.and_then(|count| ShardCount::new(count).ok()).is_none() {
            return Err(Inconsistency::ShardCount(self.shards.len()));
        }
        if self.nodes.len() > usize::from(u16::MAX) {
            return Err(Inconsistency::TooManyNodes(self.nodes.len()));
        }
        let mut rows = BTreeSet::new();
        for row in &self.nodes {
            if row.address.is_empty() || row.address.len() > 255 {
                return Err(Inconsistency::Address(row.id.clone()));
            }
            if !rows.insert((&row.id, row.store)) {
                return Err(Inconsistency::RowTwice(row.id.clone()));
            }
        }
        self.shard_count().iter().try_for_each(|shard| self.check_shard(shard))
    }

    fn check_shard(&self, id: ShardId) -> Result<(), Inconsistency> {
        let shard = self.shard(id);
        if shard.slots.len() != self.quorum.places() {
            return Err(Inconsistency::Places(id, shard.slots.len()));
        }
        let named = || shard.slots.iter().flat_map(|slot| slot.state.nodes());
        if let Some(node) = named().find(|node| node.index() >= self.nodes.len()) {
            return Err(Inconsistency::UnknownNode(id, node));
        }
        for (at, node) in named().enumerate() {
            if named().take(at).any(|earlier| self.node(earlier).id == self.node(node).id) {
                return Err(Inconsistency::NodeTwice(id, self.node(node).id.clone()));
            }
        }
        let slots = shard.slots.iter().map(|slot| slot.epoch.0);
        let latest = slots.chain([shard.rsince]).max().unwrap_or(shard.rsince);
        if latest > self.epoch || shard.since > shard.rsince {
            return Err(Inconsistency::LateEpoch(id, latest));
        }
        Ok(())
    }
}
