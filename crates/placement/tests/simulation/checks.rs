//! The promises, checked after every step.
//!
//! - Every acknowledged write is on the disk of somebody whom the newest map names.
//! - Any read quorum that the newest map allows meets every acknowledged write; and so does any
//!   that a router could gather at this moment by the map it has, old or not.
//! - So does one full copy with what is unsettled at the others.
//!
//! The reads that are on their way are checked when they are complete, against what was
//! acknowledged when they began.

use std::sync::Arc;

use rangekeeper_model::ShardId;
use rangekeeper_placement::{Assignment, NodeIndex, Place, Verdict};

use crate::mutation::Mutation;
use crate::world::{ROUTERS, Set, World};

/// What a place would answer.
struct Copy {
    is_witness: bool,
    all: Set,
    unsettled: Set,
}

impl World {
    pub fn check(&mut self) {
        let latest = self.latest();
        for shard in latest.shard_count().iter() {
            let acknowledged = self.acknowledged[usize::from(shard.0)];
            if acknowledged == 0 {
                continue;
            }
            self.check_disks(&latest, shard, acknowledged);
            let intact = |world: &Self, row, _| world.is_intact(row, shard);
            self.check_reads(&latest, shard, acknowledged, intact, "the newest map");
            for router in 0..ROUTERS {
                let map = Arc::clone(&self.routers[router].map);
                let version = map.version();
                let answers = |world: &Self, row: NodeIndex, place| {
                    let node = world.rows[row.index()];
                    world.nodes[node].is_up
                        && world.has_store(row)
                        && world.judge_read(node, row, shard, place, version) == Verdict::Ok
                };
                self.check_reads(&map, shard, acknowledged, answers, "a router's map");
            }
        }
    }

    fn check_disks(&mut self, latest: &Assignment, shard: ShardId, acknowledged: Set) {
        let named = latest.shard(shard).slots.iter().flat_map(|slot| slot.state.nodes());
        let on_disk = named.fold(0, |all, row| {
            let node = &self.nodes[self.rows[row.index()]];
            all | if self.has_store(row) { node.replicas[usize::from(shard.0)].synced } else { 0 }
        });
        let lost = acknowledged & !on_disk;
        if lost != 0 {
            self.fail(|| format!("the writes {:?} are on no disk", Self::name(lost)));
        }
    }

    /// Whether every read quorum among the places that answer has everything.
    fn check_reads(
        &mut self,
        map: &Assignment,
        shard: ShardId,
        acknowledged: Set,
        answers: impl Fn(&Self, NodeIndex, Place) -> bool,
        whose: &str,
    ) {
        let read = if self.is(Mutation::HintsAnywhere) { 1 } else { map.quorum.read() };
        let mut copies = Vec::with_capacity(5);
        for (place, slot) in map.shard(shard).places() {
            let readers = slot.state.readers();
            if readers.is_empty() || !readers.into_iter().all(|row| answers(self, row, place)) {
                continue;
            }
            let mut copy = Copy { is_witness: map.quorum.is_witness(place), all: 0, unsettled: 0 };
            for row in readers {
                let node = self.rows[row.index()];
                copy.all |= self.content(node, shard, place, true);
                copy.unsettled |= self.content(node, shard, place, false);
            }
            copies.push(copy);
        }
        if copies.len() < read {
            return;
        }
        let missing = at_least(copies.iter().map(|copy| !copy.all), read) & acknowledged;
        if missing != 0 {
            let missing = Self::name(missing);
            self.fail(|| format!("a read by {whose} lacks the writes {missing:?}"));
        }
        for (at, full) in copies.iter().enumerate().filter(|(_, copy)| !copy.is_witness) {
            let others = copies.iter().enumerate().filter(|(other, _)| *other != at);
            let lacking = at_least(others.map(|(_, copy)| !copy.unsettled), read - 1);
            let missing = !full.all & lacking & acknowledged;
            if missing != 0 {
                let missing = Self::name(missing);
                self.fail(|| format!("a full copy by {whose} and the unsettled lack {missing:?}"));
            }
        }
    }
}

/// The writes that are in at least `count` of the sets.
fn at_least(sets: impl Iterator<Item = Set>, count: usize) -> Set {
    // In at least 0, 1, … 5 of those seen so far.
    let mut reached: [Set; 6] = [Set::MAX, 0, 0, 0, 0, 0];
    for set in sets {
        for level in (1..reached.len()).rev() {
            reached[level] |= reached[level - 1] & set;
        }
    }
    reached[count]
}
