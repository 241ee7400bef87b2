//! A cluster as an operator is shown it, by the command line and by the page: what a node says of
//! it as JSON, or, while no node answers, what ZooKeeper knows.
//!
//! What a node says is read leniently: a newer one may say more, an older one less. The names are
//! those of [`Status`](rangekeeper_cluster::Status), which says what each of them is.

mod ensemble;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use ensemble::{Known, of_ensemble};

macro_rules! told {
    ($(
        $(#[$doc:meta])*
        $name:ident { $($(#[$field_doc:meta])* $field:ident: $kind:ty),+ $(,)? }
    )+) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default)]
        pub struct $name { $($(#[$field_doc])* pub $field: $kind),+ }
    )+};
}

told! {
    /// A cluster.
    Overview {
        /// Its identity.
        cluster: String,
        /// Its place in ZooKeeper.
        path: String,
        /// Who says all this; none if it is not a node.
        node: Option<String>,
        /// The session of that node with ZooKeeper.
        session: Option<Session>,
        /// Of the operator's last reset.
        generation: Option<u32>,
        /// The number of the map.
        epoch: Option<u64>,
        /// The term of the leader that made the map.
        term: Option<u64>,
        /// Copies of each shard.
        replication: Option<u8>,
        /// Places of each shard.
        places: Option<usize>,
        /// Data of earlier days is gone.
        retention_floor: Option<String>,
        /// Who leads.
        leader: Option<Leader>,
        /// The rows of the map, then nodes that have none yet.
        nodes: Vec<Node>,
        /// All shards, by their numbers.
        shards: Vec<Shard>,
        /// How many shards there are of which kind.
        summary: Summary,
        /// What the leader would move, were it to; only the leader says.
        proposals: Vec<Proposal>,
        /// What the operator wants.
        intents: Intents,
        /// What the operator has to know.
        alarms: Vec<Alarm>,
    }

    /// A session with ZooKeeper.
    Session {
        /// `connected`, or what it is instead.
        state: String,
        /// Why it is refused.
        error: Option<String>,
        /// Whether the node is registered.
        registration: String,
    }

    /// Who leads.
    Leader {
        /// The node.
        node: String,
        /// Its term.
        term: u64,
    }

    /// A node with one data folder.
    Node {
        /// By which slots name it.
        index: Option<u16>,
        /// Its name. Two rows have the same when a node came back with another folder.
        id: String,
        /// What fails together with it.
        zone: String,
        /// Where peers reach it.
        address: String,
        /// Where its API is, if it is registered.
        http: Option<String>,
        /// Its data folder.
        store: String,
        /// `up`, `down`, `draining` or `lost`; `new` before it has a row.
        status: String,
        /// Whether it is registered in ZooKeeper.
        registered: bool,
        /// Whether it answers whoever says this; none if it was not asked.
        reachable: Option<bool>,
        /// What it says is wrong with it.
        text: Option<String>,
        /// Whether it is who says this.
        is_self: bool,
        /// How far its clock is ahead of that of whoever says this.
        clock_ahead_seconds: Option<f64>,
        /// The epoch that it has applied.
        applied_epoch: Option<u64>,
        /// Slots that name it.
        slots: u64,
        /// The version of its software.
        software: Option<String>,
        /// What of its data is not known to be at all places.
        unsettled: Option<Unsettled>,
    }

    /// Data that are not known to be at all places.
    Unsettled {
        /// Records of the log.
        records: u64,
        /// Chunks.
        chunks: u64,
        /// Whole days of shards.
        days: u64,
        /// The age of the oldest of these.
        oldest_seconds: f64,
    }

    /// A shard.
    Shard {
        /// Its number.
        shard: u32,
        /// Whether fewer copies of it can be used than there should be.
        below_replication: bool,
        /// Its places.
        slots: Vec<Slot>,
    }

    /// A place of a shard.
    Slot {
        /// `empty`, `steady`, `moving`, `cutover` or `repair`.
        state: String,
        /// The row of who has it, or will.
        node: Option<u16>,
        /// The row of who had it, while it moves.
        from: Option<u16>,
    }

    /// How many shards there are of which kind.
    Summary {
        /// All.
        shards: u64,
        /// Those that were given to nodes.
        placed: u64,
        /// Those of which every slot is steady.
        steady: u64,
        /// Those of which fewer copies can be used than there should be.
        below_replication: u64,
        /// Slots by their state.
        slots_by_state: BTreeMap<String, u64>,
    }

    /// What the leader would move.
    Proposal {
        /// Why.
        kind: String,
        /// Of which shard.
        shard: u32,
        /// From which row.
        from: u16,
        /// To which.
        to: u16,
    }

    /// What the operator wants.
    Intents {
        /// Nodes to be emptied.
        draining: Vec<String>,
        /// Whether shards stay where they are.
        frozen: bool,
        /// Nodes that are gone for good.
        confirmed_gone: Vec<String>,
    }

    /// What the operator has to know.
    Alarm {
        /// Of which kind it is.
        kind: String,
        /// What it is.
        text: String,
    }
}

/// Shards one after the other whose places are alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first of them.
    pub first: u32,
    /// The last of them.
    pub last: u32,
    /// Who has their places, in words.
    pub places: String,
    /// How they are.
    pub health: Health,
}

impl Run {
    /// Which shards they are.
    pub fn numbers(&self) -> String {
        let Self { first, last, .. } = self;
        if first == last { first.to_string() } else { format!("{first} – {last}") }
    }
}

/// How a shard is, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// Every copy can be used.
    Whole,
    /// One is on its way elsewhere.
    Changing,
    /// A copy cannot be used.
    Short,
    /// It was not given to nodes yet.
    Unplaced,
}

impl Overview {
    /// Reads what a node says.
    pub fn read(status: &Value) -> Result<Self, serde_json::Error> {
        Self::deserialize(status)
    }

    /// The row that slots name by this index.
    pub fn row(&self, index: u16) -> Option<&Node> {
        let is_it = |row: &&Node| row.index == Some(index);
        // The rows come in their order, so this is where it lies.
        let expected = self.nodes.get(usize::from(index)).filter(is_it);
        expected.or_else(|| self.nodes.iter().find(is_it))
    }

    /// The name of the node that slots name by this index.
    pub fn name(&self, index: u16) -> &str {
        self.row(index).map_or("?", |row| &row.id)
    }

    /// What the leader would move, the shards counted: of each kind, from whom to whom.
    pub fn moves(&self) -> Vec<(&str, &str, &str, usize)> {
        let mut counts = BTreeMap::new();
        for Proposal { kind, from, to, .. } in &self.proposals {
            *counts.entry((kind.as_str(), self.name(*from), self.name(*to))).or_default() += 1;
        }
        counts.into_iter().map(|((kind, from, to), count)| (kind, from, to, count)).collect()
    }

    /// Whether the node of a row leads.
    pub fn leads(&self, row: &Node) -> bool {
        let leader = self.leader.as_ref().map(|leader| &leader.node);
        row.status != "lost" && leader == Some(&row.id)
    }

    /// All shards, those together whose places are alike.
    pub fn runs(&self) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        for shard in &self.shards {
            let texts: Vec<_> = shard.slots.iter().map(|slot| self.slot_text(slot)).collect();
            let (number, places, health) = (shard.shard, texts.join(", "), shard.health());
            let goes_on = |run: &&mut Run| {
                run.last + 1 == number && run.places == places && run.health == health
            };
            match runs.last_mut().filter(goes_on) {
                Some(run) => run.last = number,
                None => runs.push(Run { first: number, last: number, places, health }),
            }
        }
        runs
    }

    /// A slot in words: who has it, and what is wrong with it.
    pub fn slot_text(&self, slot: &Slot) -> String {
        let said = |index: u16| {
            let silent = if self.row(index).is_some_and(Node::serves) { "" } else { " (silent)" };
            format!("{}{silent}", self.name(index))
        };
        match (slot.state.as_str(), slot.from, slot.node) {
            ("steady", None, Some(node)) => said(node),
            (state, Some(from), Some(node)) => format!("{} → {} {state}", said(from), said(node)),
            (state, None, Some(node)) => format!("{} {state}", said(node)),
            (state, ..) => state.to_owned(),
        }
    }
}

impl Shard {
    /// How it is.
    pub fn health(&self) -> Health {
        if self.slots.iter().all(|slot| slot.state == "empty") {
            Health::Unplaced
        } else if self.below_replication {
            Health::Short
        } else if self.slots.iter().all(|slot| slot.state == "steady") {
            Health::Whole
        } else {
            Health::Changing
        }
    }
}

impl Node {
    /// Whether it can serve what it has, as far as is known.
    pub fn serves(&self) -> bool {
        self.status != "lost" && (self.is_self || self.reachable.unwrap_or(self.registered))
    }
}

impl Unsettled {
    /// In words.
    pub fn text(&self) -> String {
        let counts = [(self.records, "records"), (self.chunks, "chunks"), (self.days, "days")];
        let counts: Vec<_> =
            counts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
        if counts.is_empty() {
            return "none".to_owned();
        }
        format!("{}, the oldest of {:.0} s", counts.join(", "), self.oldest_seconds)
    }
}
