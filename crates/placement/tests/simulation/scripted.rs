//! Beginnings that chance would seldom find, and the end: when nothing goes wrong any more,
//! everything has to become well.

use std::sync::Arc;

use rangekeeper_model::ShardId;
use rangekeeper_placement::{NodeIndex, Place, SlotState, Transition};

use crate::messages::{Body, Message, Target};
use crate::world::{ROUTERS, World};

impl World {
    /// Delivers what is wanted, and what follows from that, until there is no more.
    fn deliver_all(&mut self, wanted: impl Fn(&Message) -> bool) {
        while let Some(at) = self.messages.iter().position(&wanted) {
            let message = self.messages.remove(at);
            self.handle(message);
        }
    }

    /// A write is on its way to three places. The last has taken and acknowledged it when its copy
    /// is found damaged; it is repaired from the others, which the write has not reached. Chance
    /// goes on from there, with the write and the acknowledgement still counting for their router.
    pub fn repair_under_a_write(&mut self) {
        let (shard, place) = (ShardId(0), Place(2));
        self.begin_write_of(0, shard);
        let is_to_last = |message: &Message| match message.body {
            Body::Write { place: asked, .. } => asked == place,
            _ => false,
        };
        self.deliver_all(is_to_last);
        let SlotState::Steady { node: row } = self.latest().shard(shard).slot(place).state else {
            panic!("all slots begin steady");
        };
        let node = self.rows[row.index()];
        self.sync_of(node, shard);
        self.deliver_all(|message| matches!(message.target, Target::Router(_)));
        self.damage_to(node, shard, 0);
        self.change(0, shard, place, Transition::Repair(row));
        let everybody = 0..self.nodes.len();
        for node in everybody {
            self.apply(node, &self.latest());
        }
        let is_pull = |message: &Message| {
            matches!(message.body, Body::Pull(_) | Body::Pulled(_) | Body::Report(_))
        };
        for _ in 0..64 {
            self.pull(node, shard);
            self.deliver_all(is_pull);
        }
        let mut reports = self.leaders.iter().flat_map(|leader| &leader.reports);
        assert!(reports.any(|(of, report)| *of == shard && report.place == place));
        self.change(0, shard, place, Transition::Finish);
        assert_eq!(self.latest().shard(shard).slot(place).state, SlotState::Steady { node: row });
    }

    /// A slot goes from its first node to another by a repair, and back by a second, of which the
    /// first node knows nothing: by its own map it still is what it was at the beginning. One
    /// router knows of the second repair and writes; the others read by the map before.
    pub fn give_back_to_a_node_that_is_behind(&mut self) {
        let (shard, place) = (ShardId(0), Place(0));
        let first = self.latest();
        let behind = first.shard(shard).slot(place).state.target().expect("it is placed");
        let is_free = |node: &usize| first.shard(shard).place_of(self.nodes[*node].row).is_none();
        let other = (0..self.nodes.len()).find(is_free).expect("there are more nodes than places");
        let others: Vec<usize> =
            (0..self.nodes.len()).filter(|node| *node != self.rows[behind.index()]).collect();
        let row = self.nodes[other].row;
        let is_pull = |message: &Message| matches!(message.body, Body::Pull(_) | Body::Pulled(_));
        for transition in [Transition::Repair(row), Transition::Finish] {
            self.change(0, shard, place, transition);
            for &node in &others {
                self.apply(node, &self.latest());
            }
            for _ in 0..64 {
                self.pull(other, shard);
                self.deliver_all(is_pull);
            }
        }
        let refresh = |world: &mut Self, router: usize| {
            while world.routers[router].map.epoch < world.latest().epoch {
                world.refresh(router);
            }
        };
        (0..ROUTERS).for_each(|router| refresh(self, router));
        self.change(0, shard, place, Transition::Repair(behind));
        refresh(self, 0);
        self.begin_write_of(0, shard);
    }

    /// Nothing goes wrong any more: all are up, hear everything, and one leader completes what is
    /// reported and repairs what is lost. Says what is not well after a bounded time.
    pub fn calm_down(&mut self) -> Result<(), String> {
        self.messages.clear();
        while self.nodes.iter().any(|node| !node.is_up) {
            self.restart();
        }
        for node in 0..self.nodes.len() {
            // An older copy is of no use: its folder is emptied.
            if !self.has_store(self.nodes[node].row) {
                self.empty(node);
            }
        }
        for round in 0..200 {
            self.elect();
            let leader = usize::from(self.leaders[1].term == self.term);
            self.name_starts();
            self.lead_calmly(leader);
            for router in 0..ROUTERS {
                self.refresh(router);
            }
            for node in 0..self.nodes.len() {
                self.apply(node, &self.latest());
                for shard in self.latest().shard_count().iter() {
                    self.sync_of(node, shard);
                    self.pull(node, shard);
                }
            }
            for _ in 0..64 {
                self.deliver_unsettled();
                self.ping();
            }
            self.deliver_all(|_| true);
            self.check();
            if let Some(violation) = self.violation.take() {
                return Err(format!("round {round}: {violation}"));
            }
            if self.is_calm() {
                return Ok(());
            }
        }
        Err(format!("not calm: {:?}", self.latest().shards))
    }

    /// Every slot is steady, and whatever anybody holds is everywhere.
    fn is_calm(&self) -> bool {
        let latest = self.latest();
        latest.shard_count().iter().all(|shard| {
            let view = latest.shard(shard);
            let named = view.slots.iter().flat_map(|slot| slot.state.nodes());
            view.is_steady()
                && named.into_iter().all(|row| {
                    let node = &self.nodes[self.rows[row.index()]];
                    let replica = &node.replicas[usize::from(shard.0)];
                    let is_named = self.is_intact(row, shard);
                    is_named && replica.unsettled_set == 0 && replica.pending.is_empty()
                })
        })
    }

    /// Completes what is reported, repairs what is lost, begins nothing else.
    fn lead_calmly(&mut self, leader: usize) {
        let reports: Vec<_> =
            self.leaders.iter_mut().flat_map(|leader| leader.reports.drain(..)).collect();
        for (shard, report) in reports {
            if let Some(step) = self.follows(leader, shard, &report) {
                self.change(leader, shard, report.place, step);
            }
        }
        let base = Arc::clone(&self.leaders[leader].base);
        for shard in base.shard_count().iter() {
            for (place, slot) in base.shard(shard).places() {
                let is_lost = |row: NodeIndex| !self.is_intact(row, shard);
                let now = |row: NodeIndex| self.nodes[self.rows[row.index()]].row;
                let step = match slot.state {
                    SlotState::Moving { from, .. } if is_lost(from) => {
                        Some(Transition::Repair(now(from)))
                    }
                    SlotState::Moving { to, .. } if is_lost(to) => Some(Transition::Cancel),
                    SlotState::Cutover { from, to } if is_lost(from) || is_lost(to) => {
                        Some(Transition::Repair(now(to)))
                    }
                    SlotState::Steady { node } | SlotState::Repair { node } if is_lost(node) => {
                        Some(Transition::Repair(now(node)))
                    }
                    _ => None,
                };
                let serves = |row| self.is_intact(row, shard);
                let base = Arc::clone(&self.leaders[leader].base);
                let may = base.shard(shard).may_repair(place, base.quorum, serves);
                if let Some(step) = step.filter(|step| may || *step == Transition::Cancel) {
                    self.change(leader, shard, place, step);
                }
            }
        }
    }
}
