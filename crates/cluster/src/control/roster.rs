//! The peers that a map names, as handles.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::{Mutex, RwLock};
use rangekeeper_model::{NodeId, StoreId};
use rangekeeper_placement::{Assignment, NodeIndex, NodeStatus};
use tokio::sync::watch;

use crate::peer::{Health, Peer};
use crate::peers::{PeerAddress, Peers};

/// The peers of this node.
///
/// **Invariant:** `rows` has at an index only a peer for that row's own data folder.
pub(super) struct Roster {
    /// Taken when the node stops.
    peers: Mutex<Option<Peers>>,
    /// Those whom the peers were last made of, by node.
    addresses: Mutex<BTreeMap<String, PeerAddress>>,
    rows: RwLock<Vec<Option<Peer>>>,
}

impl Roster {
    pub(super) fn new(peers: Peers) -> Self {
        Self {
            peers: Mutex::new(Some(peers)),
            addresses: Mutex::default(),
            rows: RwLock::default(),
        }
    }

    /// The peer of a row.
    pub(super) fn of_row(&self, index: NodeIndex) -> Option<Peer> {
        self.rows.read().get(index.index()).cloned().flatten()
    }

    /// The peer that is asked under this name, whatever its data folder.
    pub(super) fn named(&self, node: &str) -> Option<Peer> {
        self.peers.lock().as_ref().and_then(|peers| peers.peer(node))
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<Peer> {
        self.peers.lock().as_ref().map_or_else(Vec::new, Peers::all)
    }

    /// Makes the peers those of `wanted`; gives the health of those that are new.
    pub(super) fn update(&self, wanted: Vec<PeerAddress>) -> Vec<watch::Receiver<Health>> {
        let peers = self.peers.lock();
        let Some(peers) = peers.as_ref() else { return Vec::new() };
        let mut addresses = self.addresses.lock();
        peers.update(wanted.iter().cloned());
        let wanted: BTreeMap<String, PeerAddress> =
            wanted.into_iter().map(|peer| (peer.node.clone(), peer)).collect();
        let new = wanted.iter().filter(|(node, peer)| addresses.get(*node) != Some(peer));
        let health = new.filter_map(|(node, _)| peers.peer(node)).map(|peer| peer.health());
        let health = health.collect();
        *addresses = wanted;
        health
    }

    /// Makes the rows those of `assignment`.
    pub(super) fn seat(&self, assignment: &Assignment) {
        let of_row = |row: &rangekeeper_placement::NodeRow| {
            self.named(row.id.as_str()).filter(|peer| peer.store() == row.store)
        };
        let rows = assignment.nodes.iter().map(of_row).collect();
        *self.rows.write() = rows;
    }

    /// Ends all calls and waits for that.
    pub(super) async fn shutdown(&self) {
        let peers = self.peers.lock().take();
        if let Some(peers) = peers {
            peers.shutdown().await;
        }
    }
}

/// Whom a map makes this node talk to: the rows that slots name, since those have data, and those
/// that are up. Of two rows of one node the one whose data folder it has now.
pub(super) fn addresses_of(
    assignment: &Assignment,
    id: &NodeId,
    store: StoreId,
) -> Vec<PeerAddress> {
    let slots = assignment.shards.iter().flat_map(|shard| &shard.slots);
    let named: BTreeSet<NodeIndex> = slots.flat_map(|slot| slot.state.nodes()).collect();
    let mut chosen = BTreeMap::new();
    for (row, index) in assignment.nodes.iter().zip((0..=u16::MAX).map(NodeIndex)) {
        let is_up = matches!(row.status, NodeStatus::Up | NodeStatus::Draining);
        if row.id == *id || row.store == store || !(is_up || named.contains(&index)) {
            continue;
        }
        let is_lost = row.status == NodeStatus::Lost;
        if !is_lost || !chosen.contains_key(&row.id) {
            let (node, address) = (row.id.to_string(), row.address.to_string());
            chosen.insert(&row.id, PeerAddress { node, address, store: row.store });
        }
    }
    chosen.into_values().collect()
}
