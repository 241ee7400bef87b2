//! What ZooKeeper knows of a cluster, for as long as no node answers.

use std::collections::{BTreeMap, BTreeSet};

use rangekeeper_coordination::{
    Assignment as Published, Cluster, Intent, Intents as Wanted, Leader, Members,
};
use rangekeeper_model::NodeId;
use rangekeeper_placement::{
    Assignment, CodecError, NodeIndex, NodeRow, NodeStatus, Quorum, SlotState,
};
use serde_json::Value;

use super::{Health, Intents, Node, Overview, Shard, Slot};

/// All that ZooKeeper holds of a cluster.
#[derive(Clone, Debug)]
pub struct Known {
    /// Its place.
    pub path: String,
    /// What it is.
    pub cluster: Cluster,
    /// Who is registered.
    pub members: Members,
    /// Who leads.
    pub leader: Option<Leader>,
    /// The map.
    pub assignment: Published,
    /// What the operator wants.
    pub intents: Wanted,
    /// Which nodes the operator says are gone for good.
    pub confirmed: BTreeSet<NodeId>,
}

/// What an operator is shown of it.
pub fn of_ensemble(known: &Known) -> Result<Overview, CodecError> {
    let map = match &known.assignment {
        Published::Published { payload, .. } => Some(Assignment::decode(payload)?),
        Published::Missing | Published::Unpublished(_) => None,
    };
    let draining = known.intents.keys().filter_map(|intent| match intent {
        Intent::Drain(node) => Some(node.to_string()),
        _ => None,
    });
    let mut overview = Overview {
        cluster: known.cluster.uuid.to_string(),
        path: Some(known.path.clone()),
        generation: u64::from(known.cluster.generation),
        replication: Some(known.cluster.replication),
        leader: known.leader.as_ref().map(|leader| leader.node.to_string()),
        term: known.leader.as_ref().map_or(0, |leader| leader.term),
        intents: Intents {
            draining: draining.collect(),
            frozen: known.intents.contains_key(&Intent::Freeze),
            confirmed: known.confirmed.iter().map(NodeId::to_string).collect(),
        },
        ..Overview::default()
    };
    match &map {
        Some(map) => show_map(map, &mut overview),
        None => overview.summary.shards = u64::from(known.cluster.shards),
    }
    show_members(&known.members, &mut overview);
    summarize(&mut overview);
    if known.assignment == Published::Missing {
        let text = "the map is gone from ZooKeeper: nodes keep the last one that they had";
        overview.alarms.push(Value::from(text));
    }
    for (name, error) in &known.members.unreadable {
        overview.alarms.push(Value::from(format!("node {name} cannot be read: {error}")));
    }
    Ok(overview)
}

fn show_map(map: &Assignment, overview: &mut Overview) {
    overview.epoch = map.epoch.0;
    overview.generation = u64::from(map.generation.0);
    let mut held: BTreeMap<NodeIndex, u64> = BTreeMap::new();
    for shard in &map.shards {
        for slot in &shard.slots {
            slot.state.nodes().for_each(|node| *held.entry(node).or_default() += 1);
        }
    }
    overview.nodes = (map.nodes.iter().zip(0u16..))
        .map(|(row, index)| node_of(row, held.get(&NodeIndex(index)).copied().unwrap_or(0)))
        .collect();
    let name = |index: NodeIndex| Some(map.node(index).id.to_string());
    overview.shards = (map.shards.iter().zip(0u32..))
        .map(|(shard, number)| Shard {
            shard: number,
            slots: shard.slots.iter().map(|slot| slot_of(slot.state, name)).collect(),
        })
        .collect();
    if map.quorum == Quorum::ALONE {
        overview.replication = Some(1);
    }
}

fn node_of(row: &NodeRow, slots: u64) -> Node {
    let status = match row.status {
        NodeStatus::Up => "up",
        NodeStatus::Down => "down",
        NodeStatus::Draining => "draining",
        NodeStatus::Lost => "lost",
    };
    Node {
        id: row.id.to_string(),
        zone: Some(row.zone.to_string()),
        address: Some(row.address.to_string()),
        store: Some(row.store.to_string()),
        status: status.to_owned(),
        registered: Some(false),
        slots,
        ..Node::default()
    }
}

fn slot_of(state: SlotState, name: impl Fn(NodeIndex) -> Option<String>) -> Slot {
    let of = |state: &str| Slot { state: state.to_owned(), ..Slot::default() };
    match state {
        SlotState::Empty => of("empty"),
        SlotState::Steady { node } => Slot { node: name(node), ..of("steady") },
        SlotState::Repair { node } => Slot { node: name(node), ..of("repair") },
        SlotState::Moving { from, to } => Slot { from: name(from), to: name(to), ..of("moving") },
        SlotState::Cutover { from, to } => Slot { from: name(from), to: name(to), ..of("cutover") },
    }
}

/// Puts who is registered beside who is in the map, where one node may have a row for each store
/// that it ever had.
fn show_members(members: &Members, overview: &mut Overview) {
    for (id, member) in &members.members {
        let said = &member.registration;
        let store = said.store.to_string();
        let is_row = |row: &Node| row.id == id.as_str() && row.store.as_ref() == Some(&store);
        let at = overview.nodes.iter().position(is_row).unwrap_or_else(|| {
            overview.nodes.push(Node {
                id: id.to_string(),
                status: "new".to_owned(),
                store: Some(store.clone()),
                ..Node::default()
            });
            overview.nodes.len() - 1
        });
        let row = &mut overview.nodes[at];
        row.registered = Some(true);
        row.address = Some(said.peer_address.clone());
        row.http = Some(said.http_address.clone());
        row.software = Some(said.software.clone());
        row.zone = Some(said.zone.clone()).filter(|zone| !zone.is_empty());
    }
}

fn summarize(overview: &mut Overview) {
    let mut summary = std::mem::take(&mut overview.summary);
    for shard in &overview.shards {
        let health = overview.health(shard);
        let is_steady = shard.slots.iter().all(|slot| slot.state == "steady");
        summary.shards += 1;
        summary.placed += u64::from(health != Health::Unplaced);
        summary.steady += u64::from(is_steady);
        summary.below_rf += u64::from(health == Health::Short);
        for slot in &shard.slots {
            *summary.by_state.entry(slot.state.clone()).or_default() += 1;
        }
    }
    overview.summary = summary;
}
