//! The world of a schedule: eight nodes, two shards, three routers, two who think they lead, and
//! messages that arrive late, in any order, or never. One step is one thing that happens.
//!
//! Decisions are the crate's own: [`Member`], the rounds of the router, the slot machine. The world
//! adds disks, logs, the network and chance.

use std::sync::Arc;

use crate::leaders::Leader;
use crate::messages::Message;
use crate::mutation::Mutation;
use crate::node::Node;
use crate::routers::Router;
use fastrand::Rng;
use rangekeeper_model::{
    BootCount, ClusterId, Epoch, Incarnation, NodeId, RunId, StoreId, Term, Zone,
};
use rangekeeper_model::{ShardCount, ShardId};
use rangekeeper_placement::{
    Assignment, NodeIndex, NodeRow, NodeStatus, Place, PublishId, Replication, Transition, Version,
};

pub const NODES: usize = 8;
pub const SHARDS: u32 = 2;
pub const ROUTERS: usize = 3;

/// Writes, one a bit.
pub type Set = u128;

/// The most writes of a schedule.
pub const MOST_WRITES: usize = 128;

pub fn bit(write: u8) -> Set {
    1 << write
}

pub fn bits(set: Set) -> impl Iterator<Item = u8> {
    let mut rest = set;
    std::iter::from_fn(move || {
        let next = u8::try_from(rest.trailing_zeros()).ok().filter(|_| rest != 0)?;
        rest &= rest - 1;
        Some(next)
    })
}

pub struct World {
    pub random: Rng,
    pub mutation: Option<Mutation>,
    pub nodes: Vec<Node>,
    /// The node of each row of any table.
    pub rows: Vec<usize>,
    pub routers: Vec<Router>,
    pub leaders: [Leader; 2],
    /// The term that may publish.
    pub term: Term,
    /// All that was published.
    pub history: Vec<Arc<Assignment>>,
    pub messages: Vec<Message>,
    /// Writes of each shard whose senders were told that they are kept.
    pub acknowledged: [Set; SHARDS as usize],
    pub writes: u8,
    /// Starts of all nodes.
    pub starts: u32,
    pub reads_checked: u64,
    pub violation: Option<String>,
}

pub fn store(row: NodeIndex) -> StoreId {
    StoreId::of(u128::from(row.0) + 1)
}

/// The first run of the store of a row.
pub fn first_run(row: NodeIndex) -> RunId {
    RunId::of((u128::from(row.0) + 1) << 64)
}

pub fn row_of(row: NodeIndex, node: usize, run: RunId) -> NodeRow {
    NodeRow {
        id: NodeId::new(&format!("n{node}")).unwrap(),
        address: "127.0.0.1:9921".into(),
        zone: Zone::new("z").unwrap(),
        weight: 1,
        incarnation: Incarnation(1),
        store: store(row),
        boot: BootCount(0),
        run,
        status: NodeStatus::Up,
    }
}

impl World {
    pub fn new(seed: u64, replication: Replication, mutation: Option<Mutation>) -> Self {
        let cluster = ClusterId::of(99);
        let shards = ShardCount::new(SHARDS).unwrap();
        let mut random = Rng::with_seed(seed);
        let mut first = Assignment::empty(cluster, replication, shards);
        first.epoch = Epoch(1);
        let index = |node: usize| NodeIndex(u16::try_from(node).unwrap());
        first.nodes =
            (0..NODES).map(|node| row_of(index(node), node, first_run(index(node)))).collect();
        for shard in &mut first.shards {
            let begin = random.usize(..NODES);
            for place in 0..first.quorum.places() {
                let node = index((begin + place) % NODES);
                let place = Place(u8::try_from(place).unwrap());
                shard.apply(place, Transition::Place(node), Epoch(1)).unwrap();
            }
        }
        let first = Arc::new(first);
        let nodes = (0..NODES).map(|node| Node::new(node, &first)).collect();
        let leader = |term| Leader { term: Term(term), base: Arc::clone(&first), reports: vec![] };
        Self {
            random,
            mutation,
            nodes,
            rows: (0..NODES).collect(),
            routers: (0..ROUTERS).map(|_| Router::new(&first)).collect(),
            leaders: [leader(1), leader(0)],
            term: Term(1),
            history: vec![first],
            messages: Vec::new(),
            acknowledged: [0; SHARDS as usize],
            writes: 0,
            starts: 0,
            reads_checked: 0,
            violation: None,
        }
    }

    pub fn is(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    pub fn latest(&self) -> Arc<Assignment> {
        Arc::clone(self.history.last().expect("the first placement"))
    }

    pub fn any_shard(&mut self) -> ShardId {
        ShardId(self.random.u16(..u16::try_from(SHARDS).unwrap()))
    }

    /// Whether the node of the row still has the row's store, and no older copy of it.
    pub fn has_store(&self, row: NodeIndex) -> bool {
        let node = &self.nodes[self.rows[row.index()]];
        let map = self.history.last().expect("the first placement");
        let is_older = |row: &NodeRow| !node.lineage.contains(row.run);
        node.row == row && !map.nodes.get(row.index()).is_some_and(is_older)
    }

    /// Whether the row's node has a copy of the shard that may be used, be it up or not.
    pub fn is_intact(&self, row: NodeIndex, shard: ShardId) -> bool {
        let node = &self.nodes[self.rows[row.index()]];
        self.has_store(row) && !node.member.is_damaged(shard)
    }

    pub fn fail(&mut self, what: impl FnOnce() -> String) {
        if self.violation.is_none() {
            self.violation = Some(what());
        }
    }

    /// One thing happens, then all promises are checked.
    pub fn step(&mut self) {
        match self.random.u16(..1000) {
            0..548 => self.deliver(),
            548..558 => self.name_starts(),
            558..560 => self.roll_back(),
            560..580 => self.lose(),
            580..620 => self.begin_write(),
            620..640 => self.nudge_write(),
            640..670 => self.begin_read(),
            670..675 => self.fail_read(),
            675..725 => self.sync_some(),
            725..785 => self.apply_some(),
            785..805 => self.refresh_router(),
            805..870 => self.lead(),
            870..874 => self.elect(),
            874..880 => self.crash(),
            880..900 => self.restart(),
            900..904 => self.lose_disk(),
            904..908 => self.damage(),
            908..950 => self.pull_some(),
            950..980 => self.deliver_unsettled(),
            980..993 => self.ping(),
            _ => self.checkpoint_some(),
        }
        self.check();
    }

    fn deliver(&mut self) {
        if self.messages.is_empty() {
            return;
        }
        // More when more are on their way; mostly the older ones, but any may come first.
        for _ in 0..=self.messages.len() / 24 {
            let count = self.messages.len();
            if count == 0 {
                return;
            }
            let at = self.random.usize(..count).min(self.random.usize(..count));
            let message = self.messages.swap_remove(at);
            if self.random.u8(..) < 4 {
                self.messages.push(message.clone());
            }
            self.handle(message);
        }
    }

    fn lose(&mut self) {
        if !self.messages.is_empty() {
            let at = self.random.usize(..self.messages.len());
            self.messages.swap_remove(at);
        }
    }

    pub fn version(assignment: &Assignment, epoch: Epoch) -> Version {
        Version { generation: assignment.generation, epoch }
    }

    /// A map that was published, newer than `epoch` if there is one: mostly the newest.
    pub fn some_newer(&mut self, epoch: Epoch) -> Option<Arc<Assignment>> {
        let newer = self.history.iter().rev().take_while(|map| map.epoch > epoch).count();
        if newer == 0 {
            return None;
        }
        let back = if self.random.bool() { 0 } else { self.random.usize(..newer) };
        Some(Arc::clone(&self.history[self.history.len() - 1 - back]))
    }

    pub fn draw_publish(&mut self) -> PublishId {
        PublishId(self.random.u64(..))
    }
}
