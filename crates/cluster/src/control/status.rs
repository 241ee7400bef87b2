//! What is known of the cluster here, for people and programs.
//!
//! Every node can tell it: from the map, from what peers say, and from what ZooKeeper said last.
//! Only proposals are the leader's alone.

mod counting;
mod gathering;

use rangekeeper_model::ShardId;
use serde::Serialize;

pub(super) use self::counting::{below_replication, own_slots};
pub(super) use self::gathering::{kind_name, status};

/// The state of a cluster as one node sees it. Serialized it is what `/api/cluster/v1` answers.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// The cluster's uuid.
    pub cluster: String,
    /// Where it lies in ZooKeeper.
    pub path: String,
    /// The node that says all this.
    pub node: String,
    /// Its time of day, in milliseconds since the epoch.
    pub time_ms: i64,
    /// Whether it can take its part.
    pub ready: bool,
    /// Why not.
    pub not_ready: Option<String>,
    /// The session with ZooKeeper.
    pub session: SessionStatus,
    /// The generation of the map in use; none before the first map.
    pub generation: Option<u32>,
    /// Its epoch.
    pub epoch: Option<u64>,
    /// The term in which it was published.
    pub term: Option<u64>,
    /// How long it has been in use here, in seconds.
    pub applied_seconds: Option<f64>,
    /// Copies of each shard that the cluster was made for.
    pub replication: Option<u8>,
    /// Places of each shard, a witness among them.
    pub places: Option<usize>,
    /// Data of earlier days is gone, `YYYY-MM-DD`.
    pub retention_floor: Option<String>,
    /// Who leads, if that is known.
    pub leader: Option<LeaderStatus>,
    /// The rows of the map in their order, then nodes that are registered and have none yet.
    pub nodes: Vec<NodeSummary>,
    /// The shards in their order.
    pub shards: Vec<ShardStatus>,
    /// The shards counted.
    pub summary: Summary,
    /// What the leader would change; empty at all other nodes.
    pub proposals: Vec<ProposalStatus>,
    /// What the operator wants.
    pub intents: IntentStatus,
    /// What the operator has to know.
    pub alarms: Vec<AlarmStatus>,
}

/// The session with ZooKeeper.
#[derive(Clone, Debug, Serialize)]
pub struct SessionStatus {
    /// `connecting`, `connected`, `disconnected`, `refused` or `closed`.
    pub state: String,
    /// Why it is refused.
    pub error: Option<String>,
    /// Whether this node is registered: `pending`, `registered` or `refused`.
    pub registration: String,
}

/// Who leads.
#[derive(Clone, Debug, Serialize)]
pub struct LeaderStatus {
    /// The node.
    pub node: String,
    /// Its term.
    pub term: u64,
    /// Where its peers reach it.
    pub address: String,
    /// Whether it is the node that says this.
    pub is_self: bool,
}

/// A node with one data folder.
#[derive(Clone, Debug, Serialize)]
pub struct NodeSummary {
    /// Its row in the map, by which slots name it; none before it has one.
    pub index: Option<u16>,
    /// Its name. Two rows have the same when a node came back with another data folder.
    pub id: String,
    /// Its failure domain.
    pub zone: String,
    /// Where its peers reach it.
    pub address: String,
    /// Where its API is, if it is registered.
    pub http: Option<String>,
    /// Its data folder.
    pub store: String,
    /// Its last registration.
    pub incarnation: u64,
    /// How often its folder was opened.
    pub boot: u64,
    /// Its share of the shards beside others' shares.
    pub weight: u32,
    /// `up`, `down`, `draining` or `lost`, as the map has it; `new` before it has a row.
    pub status: String,
    /// Whether it is registered with this data folder now, as far as ZooKeeper told.
    pub registered: bool,
    /// Whether it answered this node last time; none if it was not asked.
    pub reachable: Option<bool>,
    /// What it says is wrong with it.
    pub text: Option<String>,
    /// Whether it is the node that says this.
    pub is_self: bool,
    /// How far its clock is ahead of this node's.
    pub clock_ahead_seconds: Option<f64>,
    /// The epoch that it said it had applied.
    pub applied_epoch: Option<u64>,
    /// Slots that name it.
    pub slots: usize,
    /// The version of its software, if it is registered.
    pub software: Option<String>,
    /// What is not yet known to be everywhere, where that was asked.
    pub unsettled: Option<UnsettledStatus>,
}

/// Data of a node that is not yet known to be at all places.
#[derive(Clone, Debug, Default, Serialize)]
pub struct UnsettledStatus {
    /// Records of its log.
    pub records: u64,
    /// Chunks.
    pub chunks: u64,
    /// Whole days of a shard, where chunks were too many.
    pub days: u64,
    /// The age of the oldest of these, in seconds.
    pub oldest_seconds: f64,
}

/// A shard.
#[derive(Clone, Debug, Serialize)]
pub struct ShardStatus {
    /// Its number.
    pub shard: u16,
    /// The epoch of the last change of a writer.
    pub since: u64,
    /// The epoch of the last change of a writer or reader.
    pub rsince: u64,
    /// Whether fewer copies of it can be used than the cluster was made for.
    pub below_replication: bool,
    /// Its places in their order.
    pub slots: Vec<SlotStatus>,
}

/// A place of a shard.
#[derive(Clone, Debug, Serialize)]
pub struct SlotStatus {
    /// `empty`, `steady`, `moving`, `cutover` or `repair`.
    pub state: &'static str,
    /// The row of the node that has it, or will.
    pub node: Option<u16>,
    /// The row of the old owner, while it moves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<u16>,
    /// The epoch that gave it this state.
    pub epoch: u64,
}

/// The shards counted.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    /// All shards.
    pub shards: usize,
    /// Those that are given to nodes.
    pub placed: usize,
    /// Those whose slots are all steady.
    pub steady: usize,
    /// Those of which fewer copies can be used than the cluster was made for.
    pub below_replication: usize,
    /// Slots by state.
    pub slots_by_state: std::collections::BTreeMap<&'static str, usize>,
}

/// What the leader would change.
#[derive(Clone, Debug, Serialize)]
pub struct ProposalStatus {
    /// `repair`, `drain` or `balance`.
    pub kind: &'static str,
    /// Of which shard.
    pub shard: u16,
    /// Which of its places.
    pub place: u8,
    /// The row that owns it.
    pub from: u16,
    /// The row that should.
    pub to: u16,
}

/// What the operator wants.
#[derive(Clone, Debug, Default, Serialize)]
pub struct IntentStatus {
    /// Nodes to be emptied.
    pub draining: Vec<String>,
    /// Whether the map is to stay as it is.
    pub frozen: bool,
    /// Nodes that are gone for good.
    pub confirmed_gone: Vec<String>,
}

/// What the operator has to know.
#[derive(Clone, Debug, Serialize)]
pub struct AlarmStatus {
    /// Of which kind it is, as the metric names it.
    pub kind: &'static str,
    /// What it is.
    pub text: String,
    /// Since when, in milliseconds since the epoch.
    pub since_ms: i64,
}

impl Status {
    /// The shards of which too few copies can be used.
    pub fn shards_below_replication(&self) -> impl Iterator<Item = ShardId> {
        self.shards.iter().filter(|shard| shard.below_replication).map(|s| ShardId(s.shard))
    }
}
