//! What ZooKeeper knows of a cluster, for as long as no node answers.

use std::collections::BTreeSet;

use rangekeeper_coordination::{
    Assignment as Published, Cluster, Intent, Intents as Wanted, Leader as Leading, Members,
};
use rangekeeper_model::NodeId;
use rangekeeper_placement::{Assignment, CodecError, NodeRow, NodeStatus, SlotState};

use super::{Alarm, Health, Intents, Leader, Node, Overview, Shard, Slot};

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
    pub leader: Option<Leading>,
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
    let leader = known.leader.as_ref();
    let mut overview = Overview {
        cluster: known.cluster.uuid.to_string(),
        path: known.path.clone(),
        generation: Some(known.cluster.generation),
        replication: Some(known.cluster.replication),
        leader: leader.map(|l| Leader { node: l.node.to_string(), term: l.term }),
        intents: Intents {
            draining: draining.collect(),
            frozen: known.intents.contains_key(&Intent::Freeze),
            confirmed_gone: known.confirmed.iter().map(NodeId::to_string).collect(),
        },
        ..Overview::default()
    };
    match &map {
        Some(map) => show_map(map, &mut overview),
        None => overview.summary.shards = u64::from(known.cluster.shards),
    }
    show_members(&known.members, &mut overview);
    count(&mut overview);
    let mut alarm = |kind: &str, text: String| {
        overview.alarms.push(Alarm { kind: kind.to_owned(), text });
    };
    if known.assignment == Published::Missing {
        let text = "the map is gone from ZooKeeper: nodes keep the last one that they had";
        alarm("assignment_missing", text.to_owned());
    }
    for (name, error) in &known.members.unreadable {
        alarm("unreadable_registration", format!("node {name} cannot be read: {error}"));
    }
    Ok(overview)
}

fn show_map(map: &Assignment, overview: &mut Overview) {
    overview.generation = Some(map.generation.0);
    overview.epoch = Some(map.epoch.0);
    overview.term = Some(map.term.0);
    overview.places = Some(map.quorum.places());
    let mut held = vec![0; map.nodes.len()];
    for slot in map.shards.iter().flat_map(|shard| &shard.slots) {
        slot.state.nodes().for_each(|node| held[node.index()] += 1);
    }
    let rows = map.nodes.iter().zip(held).zip(0u16..);
    overview.nodes = rows.map(|((row, slots), index)| node_of(row, index, slots)).collect();
    let shards = map.shards.iter().zip(0u32..);
    overview.shards = shards
        .map(|(shard, number)| Shard {
            shard: number,
            slots: shard.slots.iter().map(|slot| slot_of(slot.state)).collect(),
            ..Shard::default()
        })
        .collect();
}

fn node_of(row: &NodeRow, index: u16, slots: u64) -> Node {
    let status = match row.status {
        NodeStatus::Up => "up",
        NodeStatus::Down => "down",
        NodeStatus::Draining => "draining",
        NodeStatus::Lost => "lost",
    };
    Node {
        index: Some(index),
        id: row.id.to_string(),
        zone: row.zone.to_string(),
        address: row.address.to_string(),
        store: row.store.to_string(),
        status: status.to_owned(),
        slots,
        ..Node::default()
    }
}

fn slot_of(state: SlotState) -> Slot {
    let (name, from, node) = match state {
        SlotState::Empty => ("empty", None, None),
        SlotState::Steady { node } => ("steady", None, Some(node)),
        SlotState::Repair { node } => ("repair", None, Some(node)),
        SlotState::Moving { from, to } => ("moving", Some(from), Some(to)),
        SlotState::Cutover { from, to } => ("cutover", Some(from), Some(to)),
    };
    Slot { state: name.to_owned(), node: node.map(|n| n.0), from: from.map(|n| n.0) }
}

/// Puts who is registered beside who is in the map, where one node may have a row for each store
/// that it ever had.
fn show_members(members: &Members, overview: &mut Overview) {
    for (id, member) in &members.members {
        let said = &member.registration;
        let store = said.store.to_string();
        let is_row = |row: &Node| row.id == id.as_str() && row.store == store;
        let at = overview.nodes.iter().position(is_row).unwrap_or_else(|| {
            let (id, status) = (id.to_string(), "new".to_owned());
            overview.nodes.push(Node { id, store, status, ..Node::default() });
            overview.nodes.len() - 1
        });
        let row = &mut overview.nodes[at];
        row.registered = true;
        row.address.clone_from(&said.peer_address);
        row.zone.clone_from(&said.zone);
        row.http = Some(said.http_address.clone());
        row.software = Some(said.software.clone());
    }
}

fn count(overview: &mut Overview) {
    let mut shards = std::mem::take(&mut overview.shards);
    for shard in &mut shards {
        // A slot's row serves only if it has the copy already.
        let has_copy = |slot: &Slot| {
            let row = slot.from.or(slot.node).and_then(|index| overview.row(index));
            slot.state != "repair" && row.is_some_and(Node::serves)
        };
        shard.below_replication = !shard.slots.iter().all(has_copy);
    }
    let summary = &mut overview.summary;
    for shard in &shards {
        let health = shard.health();
        summary.shards += 1;
        summary.placed += u64::from(health != Health::Unplaced);
        summary.steady += u64::from(shard.slots.iter().all(|slot| slot.state == "steady"));
        summary.below_replication += u64::from(health == Health::Short);
        for slot in &shard.slots {
            *summary.slots_by_state.entry(slot.state.clone()).or_default() += 1;
        }
    }
    overview.shards = shards;
}
