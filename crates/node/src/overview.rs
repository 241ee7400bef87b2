//! A cluster as an operator is shown it, by the command line and by the page: what a node says of it
//! as JSON, or, while no node answers, what ZooKeeper knows.
//!
//! What a node says is read leniently: a newer one may say more, an older one less.

mod ensemble;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use ensemble::{Known, of_ensemble};

/// A cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Overview {
    /// Its identity.
    pub cluster: String,
    /// Its place in ZooKeeper.
    pub path: Option<String>,
    /// Of the operator's last reset.
    pub generation: u64,
    /// The number of the map.
    pub epoch: u64,
    /// The term of the leader that made it.
    pub term: u64,
    /// Copies of each shard.
    pub replication: Option<u8>,
    /// Who leads.
    pub leader: Option<String>,
    /// All nodes that the map names or that are registered.
    pub nodes: Vec<Node>,
    /// All shards, by their numbers.
    pub shards: Vec<Shard>,
    /// How many shards there are of which kind.
    pub summary: Summary,
    /// What the leader would move, were it to.
    pub proposals: Vec<Proposal>,
    /// What the operator wants.
    pub intents: Intents,
    /// What the operator has to know.
    pub alarms: Vec<Value>,
    /// The session of whoever says all this with ZooKeeper.
    pub session: Option<String>,
}

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Node {
    /// Its name.
    pub id: String,
    /// What fails together with it.
    pub zone: Option<String>,
    /// Where peers reach it.
    pub address: Option<String>,
    /// Where its API is.
    pub http: Option<String>,
    /// Its data folder.
    pub store: Option<String>,
    /// `up`, `down`, `draining` or `lost`.
    pub status: String,
    /// Whether it is registered in ZooKeeper.
    pub registered: Option<bool>,
    /// Whether it answers whoever says this.
    pub reachable: Option<bool>,
    /// How far its clock is ahead of that of whoever says this.
    pub clock_ahead_s: Option<f64>,
    /// The epoch that it has applied.
    pub applied: Option<u64>,
    /// Places of shards that it holds.
    pub slots: u64,
    /// The version of its software.
    pub software: Option<String>,
    /// What of its data is not known to be at all places.
    pub unsettled: Option<Unsettled>,
}

/// Data that are not known to be at all places.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Unsettled {
    /// Records of the log.
    pub records: u64,
    /// Chunks.
    pub chunks: u64,
    /// Whole days of shards.
    pub days: u64,
}

impl Unsettled {
    /// In words.
    pub fn text(&self) -> String {
        let counts = [(self.records, "records"), (self.chunks, "chunks"), (self.days, "days")];
        let counts: Vec<_> =
            counts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
        if counts.is_empty() { "none".to_owned() } else { counts.join(", ") }
    }
}

/// What a node says of something that is told to people, in words.
pub fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(fields) => {
            let said = ["text", "message"].iter().find_map(|key| fields.get(*key)?.as_str());
            said.map_or_else(|| value.to_string(), str::to_owned)
        }
        other => other.to_string(),
    }
}

/// A shard.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Shard {
    /// Its number.
    pub shard: u32,
    /// Its places.
    pub slots: Vec<Slot>,
}

/// A place of a shard.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Slot {
    /// `empty`, `steady`, `moving`, `cutover` or `repair`.
    pub state: String,
    /// Who holds it, but for a slot on its way.
    pub node: Option<String>,
    /// Who had it.
    pub from: Option<String>,
    /// Who gets it.
    pub to: Option<String>,
}

impl Slot {
    /// Who holds it now: of a slot on its way, who had it.
    pub fn holder(&self) -> Option<&str> {
        self.node.as_deref().or(self.from.as_deref())
    }

    /// Every node that it names.
    pub fn nodes(&self) -> impl Iterator<Item = &str> {
        [&self.node, &self.from, &self.to].into_iter().filter_map(|name| name.as_deref())
    }
}

/// How many shards there are of which kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Summary {
    /// All.
    pub shards: u64,
    /// Those that were given to nodes.
    pub placed: u64,
    /// Those of which every slot is steady.
    pub steady: u64,
    /// Those of which fewer copies can be had than there should be.
    pub below_rf: u64,
    /// Slots by their state.
    pub by_state: BTreeMap<String, u64>,
}

/// What the leader would move.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Proposal {
    /// Why.
    pub kind: String,
    /// Of which shard.
    pub shard: u32,
    /// From which node.
    pub from: String,
    /// To which.
    pub to: String,
}

/// What the operator wants.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Intents {
    /// Nodes to be emptied.
    pub draining: Vec<String>,
    /// Whether shards stay where they are.
    pub frozen: bool,
    /// Nodes that are gone for good.
    pub confirmed: Vec<String>,
}

impl Overview {
    /// Reads what a node says.
    pub fn read(status: &Value) -> Result<Self, serde_json::Error> {
        Self::deserialize(status)
    }

    /// Whether the node of this name can serve what it holds, as far as is known.
    pub fn serves(&self, node: &str) -> bool {
        let answers = |row: &Node| row.reachable.or(row.registered).unwrap_or(row.status == "up");
        self.nodes.iter().any(|row| row.id == node && row.status != "lost" && answers(row))
    }

    /// How a shard is.
    pub fn health(&self, shard: &Shard) -> Health {
        let mut health = Health::Whole;
        for slot in &shard.slots {
            let is_there = slot.holder().is_some_and(|node| self.serves(node));
            let now = match slot.state.as_str() {
                "empty" => Health::Unplaced,
                "repair" => Health::Short,
                _ if !is_there => Health::Short,
                "steady" => Health::Whole,
                _ => Health::Changing,
            };
            health = health.max(now);
        }
        if shard.slots.is_empty() { Health::Unplaced } else { health }
    }

    /// A slot in words: who holds it, and what is wrong with it.
    pub fn slot_text(&self, slot: &Slot) -> String {
        let silent = |node: &str| if self.serves(node) { "" } else { " (silent)" };
        match (slot.state.as_str(), slot.holder(), &slot.to) {
            ("steady", Some(node), _) => format!("{node}{}", silent(node)),
            (state, Some(node), Some(to)) => format!("{node}{} → {to} {state}", silent(node)),
            (state, Some(node), None) => format!("{node}{} {state}", silent(node)),
            (state, None, _) => state.to_owned(),
        }
    }

    /// The nodes' names, each once, in their order.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.nodes.iter().map(|node| node.id.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

/// How a shard is, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// Every copy can be had.
    Whole,
    /// Every copy can be had, and one is on its way elsewhere.
    Changing,
    /// A copy cannot be had.
    Short,
    /// It was not given to nodes yet.
    Unplaced,
}
