//! A node: its member, its disk, and what crashes and losses do to them.

use std::sync::Arc;

use rangekeeper_model::{Lineage, NodeId, RunId};
use rangekeeper_model::{SeriesId, ShardId, Window};
use rangekeeper_placement::{
    Assignment, LogPosition, Member, MemberEffect, MemberEvent, NodeIndex, Place, Quorum,
    SlotEpoch, Sources, Unsettled, UnsettledKey, Verdict,
};

use crate::messages::{Asker, Body, Message, Target};
use crate::mutation::Mutation;
use crate::world::{NODES, SHARDS, Set, World, bits, first_run, row_of, store};

/// Entries before days take their place: few, so that it happens.
const MOST_CHUNKS: usize = 3;

pub struct Node {
    pub row: NodeIndex,
    pub is_up: bool,
    pub member: Member,
    /// The map that it has applied names this start of it.
    pub serves: bool,
    /// The starts of its folder, on disk.
    pub lineage: Lineage,
    /// The map on disk.
    cached: Arc<Assignment>,
    pub replicas: Vec<Replica>,
    /// A copy of its folder, made while it was down.
    older: Option<Box<Folder>>,
}

/// What a folder holds.
#[derive(Clone)]
struct Folder {
    lineage: Lineage,
    cached: Arc<Assignment>,
    damaged: Vec<ShardId>,
    replicas: Vec<Replica>,
}

/// A write that waits for the sync of the log.
#[derive(Clone, Copy)]
pub struct Pending {
    pub write: u8,
    pub asker: Asker,
    pub place: Place,
    pub given: rangekeeper_model::Epoch,
}

/// What a node has of a shard.
#[derive(Clone)]
pub struct Replica {
    /// In memory and on disk.
    pub held: Set,
    /// On disk.
    pub synced: Set,
    pub pending: Vec<Pending>,
    /// What the tail shows, in order.
    pub tail: Vec<u8>,
    pub unsettled: Unsettled,
    /// What of `synced` is unsettled.
    pub unsettled_set: Set,
    pub pull: Pull,
}

/// How far the gathering of a slot got; gone after a crash.
#[derive(Clone, Default)]
pub struct Pull {
    pub slot_epoch: SlotEpoch,
    pub cursor: Option<usize>,
    pub sources: Sources,
    /// Of a place's readers, who gave everything while its slot had this epoch.
    pub given: Vec<(Place, SlotEpoch, NodeIndex)>,
}

/// The chunk that a write falls into: its own; a day has eight of them.
pub fn chunk_of(write: u8) -> (Window, SeriesId) {
    let series = SeriesId([write; SeriesId::BYTES]);
    (Window(u32::from(write / 2) * 3), series)
}

/// The writes of an entry.
pub fn writes_of(key: UnsettledKey) -> Set {
    match key {
        UnsettledKey::Record(position) => 1 << position.0,
        UnsettledKey::Chunk(_, series) => 1 << series.0[0],
        UnsettledKey::Day(day) => 0xff << (day.0 * 8),
        UnsettledKey::Exemplars(..) | UnsettledKey::Metadata => unreachable!("none is written"),
    }
}

impl Replica {
    pub fn new(quorum: Quorum) -> Self {
        Self {
            held: 0,
            synced: 0,
            pending: Vec::new(),
            tail: Vec::new(),
            unsettled: Unsettled::new(quorum, MOST_CHUNKS),
            unsettled_set: 0,
            pull: Pull::default(),
        }
    }

    pub fn note_unsettled(&mut self) {
        let all = self.unsettled.iter().fold(0, |all, (key, ..)| all | writes_of(key));
        self.unsettled_set = all & self.synced;
    }

    /// Takes in what is synced already. `unsettled` of it is not known to be everywhere.
    pub fn ingest(&mut self, content: Set, unsettled: Set, shows: bool) {
        let new = content & !self.synced;
        for write in bits(new) {
            if shows {
                self.tail.push(write);
            }
            if unsettled & (1 << write) != 0 {
                self.unsettled.add(UnsettledKey::Record(LogPosition(write.into())));
            }
        }
        self.held |= content;
        self.synced |= content;
        self.note_unsettled();
    }

    /// Syncs the log; says who is to be answered.
    pub fn sync(&mut self) -> Vec<Pending> {
        for pending in &self.pending {
            let write = 1 << pending.write;
            if self.synced & write == 0 {
                self.tail.push(pending.write);
                self.unsettled.add(UnsettledKey::Record(LogPosition(pending.write.into())));
            }
            self.synced |= write;
            self.held |= write;
        }
        self.note_unsettled();
        std::mem::take(&mut self.pending)
    }

    pub fn forget(&mut self, content: Set) {
        self.synced &= !content;
        self.held = self.synced | self.pending.iter().fold(0, |all, p| all | 1 << p.write);
        self.note_unsettled();
    }

    fn crash(&mut self) {
        self.pending.clear();
        self.held = self.synced;
        self.pull = Pull::default();
        // Whom it had heard of is forgotten; what is unsettled is not.
        let keys: Vec<_> = self.unsettled.iter().map(|(key, ..)| key).collect();
        for key in keys {
            self.unsettled.add(key);
        }
        self.note_unsettled();
    }
}

impl Node {
    pub fn new(number: usize, first: &Arc<Assignment>) -> Self {
        let row = NodeIndex(u16::try_from(number).unwrap());
        let lineage = Lineage::begun(first_run(row));
        let mut node = Self {
            row,
            is_up: true,
            member: member(number, row, &lineage, first),
            serves: true,
            lineage,
            cached: Arc::clone(first),
            replicas: (0..SHARDS).map(|_| Replica::new(first.quorum)).collect(),
            older: None,
        };
        node.member.step(MemberEvent::Replayed, &mut Vec::new());
        node
    }

    /// What its folder holds while it is down.
    fn folder(&self) -> Folder {
        Folder {
            lineage: self.lineage.clone(),
            cached: Arc::clone(&self.cached),
            damaged: self.member.damaged().collect(),
            replicas: self.replicas.clone(),
        }
    }

    pub fn replica(&mut self, shard: ShardId) -> &mut Replica {
        &mut self.replicas[usize::from(shard.0)]
    }
}

fn member(number: usize, row: NodeIndex, lineage: &Lineage, cached: &Arc<Assignment>) -> Member {
    let id = NodeId::new(&format!("n{number}")).unwrap();
    Member::new(cached.cluster, id, store(row), lineage.clone(), Some(Arc::clone(cached)))
}

impl World {
    fn any_node(&mut self, is_up: bool) -> Option<usize> {
        let at = self.random.usize(..NODES);
        (0..NODES).map(|n| (at + n) % NODES).find(|&n| self.nodes[n].is_up == is_up)
    }

    pub fn any_up(&mut self) -> Option<usize> {
        self.any_node(true)
    }

    /// A node that is up, with a shard of which it has something to do; else nothing happens.
    pub fn any_with(
        &mut self,
        has_work: impl Fn(&Self, usize, ShardId) -> bool,
    ) -> Option<(usize, ShardId)> {
        let shards = usize::try_from(SHARDS).expect("few");
        let at = self.random.usize(..NODES * shards);
        let mut all = (0..NODES * shards).map(|n| (at + n) % (NODES * shards));
        let found = all.find(|n| {
            let (node, shard) = (n / shards, ShardId(u16::try_from(n % shards).expect("few")));
            self.nodes[node].is_up && has_work(self, node, shard)
        })?;
        Some((found / shards, ShardId(u16::try_from(found % shards).expect("few"))))
    }

    /// A node gets a newer map, and does what it asks.
    pub fn apply_some(&mut self) {
        let newest = self.latest().epoch;
        let is_behind =
            |world: &Self, node: usize, _| world.nodes[node].member.version().epoch < newest;
        let Some((node, _)) = self.any_with(is_behind) else { return };
        let epoch = self.nodes[node].member.version().epoch;
        if let Some(map) = self.some_newer(epoch) {
            self.apply(node, &map);
        }
    }

    pub fn apply(&mut self, node: usize, map: &Arc<Assignment>) {
        let mut effects = Vec::new();
        let it = &mut self.nodes[node];
        it.member.step(MemberEvent::Offered(Arc::clone(map)), &mut effects);
        if effects.is_empty() {
            return;
        }
        effects.clear();
        it.cached = Arc::clone(map);
        it.member.step(MemberEvent::Persisted(map.version()), &mut effects);
        it.serves |= it.member.is_named();
        for (replica, view) in it.replicas.iter_mut().zip(&map.shards) {
            replica.unsettled.rebase(view);
        }
        for effect in effects {
            match effect {
                MemberEffect::Seal(shard, ..) => self.sync_of(node, shard),
                MemberEffect::MayDrop(shard) if self.random.bool() => {
                    *self.nodes[node].replica(shard) = Replica::new(map.quorum);
                }
                _ => {}
            }
        }
    }

    pub fn sync_some(&mut self) {
        let waits = |world: &Self, node: usize, shard: ShardId| {
            !world.nodes[node].replicas[usize::from(shard.0)].pending.is_empty()
        };
        if let Some((node, shard)) = self.any_with(waits) {
            self.sync_of(node, shard);
        }
    }

    pub fn sync_of(&mut self, node: usize, shard: ShardId) {
        let done = self.nodes[node].replica(shard).sync();
        if self.is(Mutation::AcknowledgedUnsynced) {
            return;
        }
        let row = self.nodes[node].row;
        let map = self.latest();
        for pending in done {
            // The map may have changed since the write was taken.
            let routed = Self::version(&map, pending.given);
            let verdict = self.judge_write(node, row, shard, pending.place, routed);
            if verdict == Verdict::Ok || self.is(Mutation::JudgedOnlyWhenTaken) {
                self.acknowledge(node, shard, pending);
            } else {
                self.refuse_write(node, shard, pending.asker, pending.place, verdict);
            }
        }
    }

    pub fn acknowledge(&mut self, node: usize, shard: ShardId, pending: Pending) {
        let Pending { asker, place, given, .. } = pending;
        let routed = Self::version(&self.history[0], given);
        let is_routers_alone = self.is(Mutation::GivenByRoutersMap);
        let given = if is_routers_alone { given } else { self.nodes[node].member.given(routed) };
        let body = Body::Written { request: asker.request, place, given };
        self.send(node, Target::Router(asker.router), shard, body);
    }

    pub fn send(&mut self, node: usize, target: Target, shard: ShardId, body: Body) {
        let sender = Some((self.nodes[node].row, self.nodes[node].member.version()));
        self.messages.push(Message { target, shard, sender, body });
    }

    pub fn crash(&mut self) {
        let Some(node) = self.any_up() else { return };
        let is_copied = self.random.bool();
        let it = &mut self.nodes[node];
        it.is_up = false;
        for replica in &mut it.replicas {
            replica.crash();
        }
        if is_copied {
            it.older = Some(Box::new(it.folder()));
        }
    }

    pub fn restart(&mut self) {
        if let Some(node) = self.any_node(false) {
            let folder = self.nodes[node].folder();
            self.start(node, folder);
        }
    }

    /// A node starts with this in its folder.
    fn start(&mut self, node: usize, folder: Folder) {
        self.starts += 1;
        let row = self.nodes[node].row;
        let drawn = (0, u128::from(self.starts));
        let counted = (u128::from(row.0) + 1, folder.lineage.runs().len() as u128);
        let (high, low) = if self.is(Mutation::StartsCounted) { counted } else { drawn };
        let lineage = folder.lineage.continued(RunId::of(high << 64 | low));
        let mut member = member(node, row, &lineage, &folder.cached);
        for shard in folder.damaged {
            member.step(MemberEvent::Damaged(shard), &mut Vec::new());
        }
        member.step(MemberEvent::Replayed, &mut Vec::new());
        let serves = self.is(Mutation::ServesUnnamed);
        let Folder { cached, replicas, .. } = folder;
        let older = self.nodes[node].older.take();
        self.nodes[node] =
            Node { row, is_up: true, member, serves, lineage, cached, replicas, older };
    }

    /// A node comes back with the copy of its folder that was made before it last started.
    pub fn roll_back(&mut self) {
        let at = self.random.usize(..NODES);
        let is_older = |node: &Node| {
            let older = node.older.as_ref();
            older.is_some_and(|older| older.lineage.runs().len() < node.lineage.runs().len())
        };
        let mut all = (0..NODES).map(|node| (at + node) % NODES);
        let Some(node) = all.find(|&node| is_older(&self.nodes[node])) else { return };
        if !self.latest().shard_count().iter().all(|shard| self.may_lose(node, shard)) {
            return;
        }
        if let Some(folder) = self.nodes[node].older.as_deref().cloned() {
            self.start(node, folder);
        }
    }

    /// How many slots of a shard are without a sound copy, if this node had none.
    fn lost_without(&self, node: usize, shard: ShardId) -> usize {
        let map = self.history.last().expect("the first placement");
        let is_lost = |place: Place| {
            let readers = map.shard(shard).slot(place).state.readers();
            let is_sound =
                |row: NodeIndex| self.rows[row.index()] != node && self.is_intact(row, shard);
            readers.is_empty() || !readers.into_iter().all(is_sound)
        };
        map.shard(shard).places().filter(|(place, _)| is_lost(*place)).count()
    }

    /// The promise holds as long as fewer than a write quorum of a shard's disks are lost at once.
    fn may_lose(&self, node: usize, shard: ShardId) -> bool {
        let map = self.history.last().expect("the first placement");
        let is_named = map.shard(shard).slots.iter().flat_map(|slot| slot.state.nodes());
        let is_named = is_named.into_iter().any(|row| self.rows[row.index()] == node);
        !is_named || self.lost_without(node, shard) < map.quorum.write()
    }

    /// A node loses its disk, and comes back at once with an empty one.
    pub fn lose_disk(&mut self) {
        let node = self.random.usize(..NODES);
        let shards = self.latest().shard_count();
        if !shards.iter().all(|shard| self.may_lose(node, shard)) || self.rows.len() > 60 {
            return;
        }
        self.empty(node);
    }

    /// A node comes back with an empty disk.
    pub fn empty(&mut self, node: usize) {
        // Without its disk it starts with what ZooKeeper has now.
        let cached = self.latest();
        let replicas = (0..SHARDS).map(|_| Replica::new(cached.quorum)).collect();
        let it = &mut self.nodes[node];
        it.older = None;
        let mut lineage = it.lineage.clone();
        if self.mutation != Some(Mutation::DiskLostUnderSameStore) {
            it.row = NodeIndex(u16::try_from(self.rows.len()).unwrap());
            lineage = Lineage::begun(first_run(it.row));
            self.rows.push(node);
        }
        self.start(node, Folder { lineage, cached, damaged: Vec::new(), replicas });
    }

    /// A node finds that a shard's copy is damaged: some of it is gone.
    pub fn damage(&mut self) {
        let Some(node) = self.any_up() else { return };
        let shard = self.any_shard();
        if self.may_lose(node, shard) {
            let keep = u128::from(self.random.u64(..)) << 64 | u128::from(self.random.u64(..));
            self.damage_to(node, shard, keep);
        }
    }

    pub fn damage_to(&mut self, node: usize, shard: ShardId, keep: Set) {
        let kept = self.nodes[node].replica(shard).synced & keep;
        let quorum = self.latest().quorum;
        let replica = self.nodes[node].replica(shard);
        *replica = Replica::new(quorum);
        replica.ingest(kept, kept, true);
        self.nodes[node].member.step(MemberEvent::Damaged(shard), &mut Vec::new());
    }

    pub fn checkpoint_some(&mut self) {
        let Some(node) = self.any_up() else { return };
        let shard = self.any_shard();
        let position = LogPosition(self.random.u64(..=u64::from(self.writes)));
        let replica = self.nodes[node].replica(shard);
        // A record that is not synced is no part of a checkpoint.
        let lowest = replica.pending.iter().map(|pending| pending.write).min();
        let limit = lowest.map_or(position, |w| position.min(LogPosition(u64::from(w) / 2)));
        let chunk = |at: LogPosition| [chunk_of(u8::try_from(at.0).expect("a write"))];
        replica.unsettled.checkpoint(limit, chunk);
        replica.note_unsettled();
    }

    pub fn ping(&mut self) {
        let Some(node) = self.any_up() else { return };
        let target = self.random.usize(..NODES);
        let target = Target::Row(self.nodes[target].row);
        let shard = self.any_shard();
        self.send(node, target, shard, Body::Ping);
    }

    /// The rows that a leader names: of each node that is up its present start, unless its folder
    /// lacks the one that `base` names.
    pub fn table(&self, base: &Assignment) -> Vec<rangekeeper_placement::NodeRow> {
        let row = |(at, &node): (usize, &usize)| {
            let row = NodeIndex(u16::try_from(at).expect("few rows"));
            let it = &self.nodes[node];
            let named = base.nodes.get(at).map(|row| row.run);
            let continues = named.is_none_or(|run| it.lineage.contains(run));
            let is_there = it.row == row && it.is_up && continues;
            let run = if is_there { it.lineage.run() } else { named.unwrap_or(first_run(row)) };
            row_of(row, node, run)
        };
        self.rows.iter().enumerate().map(row).collect()
    }
}
