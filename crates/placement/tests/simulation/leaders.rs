//! Two who may think that they lead. They move, repair and declare dead by chance; what they may
//! not do, the slot machine and the fence refuse.

use std::sync::Arc;

use rangekeeper_model::ShardId;
use rangekeeper_model::{Epoch, Term};
use rangekeeper_placement::{
    Assignment, NodeIndex, Place, Progress, Shard, Slot, SlotEpoch, SlotState, Transition,
};

use crate::messages::{Body, Report};
use crate::mutation::Mutation;
use crate::world::World;

pub struct Leader {
    pub term: Term,
    /// The assignment that it goes on from.
    pub base: Arc<Assignment>,
    pub reports: Vec<(ShardId, Report)>,
}

/// Reports that a leader keeps.
const MOST_REPORTS: usize = 12;

impl World {
    pub fn handle_at_leader(&mut self, leader: usize, shard: ShardId, body: Body) {
        if let Body::Report(report) = body {
            let reports = &mut self.leaders[leader].reports;
            if reports.len() == MOST_REPORTS {
                reports.remove(0);
            }
            reports.push((shard, *report));
        }
    }

    pub fn elect(&mut self) {
        self.term.0 += 1;
        let leader = usize::from(self.random.bool());
        self.leaders[leader].term = self.term;
        self.leaders[leader].base = self.latest();
    }

    /// A leader does one thing: finishes what is reported complete, or begins something.
    pub fn lead(&mut self) {
        let leader = if self.random.u8(..) < 40 {
            usize::from(self.random.bool())
        } else {
            usize::from(self.leaders[1].term == self.term)
        };
        if !self.leaders[leader].reports.is_empty() && self.random.bool() {
            let at = self.random.usize(..self.leaders[leader].reports.len());
            let (shard, report) = self.leaders[leader].reports.swap_remove(at);
            if let Some(transition) = self.follows(leader, shard, &report) {
                self.change(leader, shard, report.place, transition);
            }
            return;
        }
        let shard = self.any_shard();
        let places = u8::try_from(self.history[0].quorum.places()).expect("at most five");
        let place = Place(self.random.u8(..places));
        self.act(leader, shard, place);
    }

    pub fn follows(&self, leader: usize, shard: ShardId, report: &Report) -> Option<Transition> {
        let base = &self.leaders[leader].base;
        let view = base.shard(shard);
        let Report { run, reporter, place, slot_epoch, progress } = *report;
        // What an earlier start has reported counts no more, and what one reports that no map names
        // yet would be in no copy's lineage.
        let is_named = base.nodes.get(reporter.index()).is_some_and(|row| row.run == run);
        if !self.has_store(reporter) || !is_named {
            return None;
        }
        let lax =
            matches!(self.mutation, Some(Mutation::RepairFromOne | Mutation::RepairOfTooMany));
        if let Progress::Repaired(sources) = progress
            && lax
        {
            let slot = view.slot(place);
            let is_it = slot.epoch == slot_epoch && slot.state.target() == Some(reporter);
            let is_done = is_it && self.is_repaired(view, place, &sources, base);
            return is_done.then_some(Transition::Finish);
        }
        view.after(place, reporter, slot_epoch, progress, base.quorum)
    }

    /// Whether a leader takes the node of a row for gone: rightly, because its store or its copy
    /// is, or wrongly.
    fn seems_gone(&mut self, row: NodeIndex, shard: ShardId) -> bool {
        let node = self.rows[row.index()];
        !self.is_intact(row, shard)
            || !self.nodes[node].is_up && self.random.u8(..) < 128
            || self.random.u8(..) < 12
    }

    fn act(&mut self, leader: usize, shard: ShardId, place: Place) {
        let base = Arc::clone(&self.leaders[leader].base);
        let view = base.shard(shard);
        match view.slot(place).state {
            SlotState::Empty => {}
            SlotState::Steady { node } => {
                if self.seems_gone(node, shard) {
                    self.repair(leader, shard, place, None);
                } else if self.random.u8(..) < 150
                    && let Some(to) = self.candidate(view)
                {
                    self.change(leader, shard, place, Transition::Move(to));
                }
            }
            SlotState::Moving { from, to } => {
                if self.seems_gone(to, shard) || self.random.u8(..) < 6 {
                    self.change(leader, shard, place, Transition::Cancel);
                } else if self.seems_gone(from, shard) {
                    self.repair(leader, shard, place, Some(to));
                }
            }
            SlotState::Cutover { from, to } => {
                if self.seems_gone(from, shard) {
                    if self.is(Mutation::SourceDeadTakenAsSteady) {
                        self.take_as_steady(leader, shard, place, to);
                    } else {
                        self.repair(leader, shard, place, Some(to));
                    }
                } else if self.seems_gone(to, shard) {
                    if self.is(Mutation::TargetDeadTakenAsSteady) {
                        self.take_as_steady(leader, shard, place, from);
                    } else {
                        self.repair(leader, shard, place, Some(from));
                    }
                }
            }
            SlotState::Repair { node } => {
                if self.seems_gone(node, shard) {
                    self.repair(leader, shard, place, None);
                }
            }
        }
    }

    /// A node that is up and that the shard does not name.
    fn candidate(&mut self, view: &Shard) -> Option<NodeIndex> {
        let named = |node: usize| {
            view.slots.iter().flat_map(|s| s.state.nodes()).any(|r| self.rows[r.index()] == node)
        };
        let has_store = |node: usize| self.has_store(self.nodes[node].row);
        let free: Vec<usize> = (0..self.nodes.len())
            .filter(|&node| self.nodes[node].is_up && has_store(node) && !named(node))
            .collect();
        self.random.choice(&free).map(|&node| self.nodes[node].row)
    }

    /// Repair at the given node, at the one that has the slot, or elsewhere.
    fn repair(&mut self, leader: usize, shard: ShardId, place: Place, at: Option<NodeIndex>) {
        let base = Arc::clone(&self.leaders[leader].base);
        let view = base.shard(shard);
        let serves = |row| self.is_intact(row, shard);
        let may = view.may_repair(place, base.quorum, serves);
        if !may && !self.is(Mutation::RepairOfTooMany) {
            return;
        }
        let own = view.slot(place).state.target().map(|row| self.rows[row.index()]);
        let node = match at {
            Some(row) => Some(row),
            None if self.random.bool() => {
                own.map(|node| self.nodes[node].row).filter(|row| self.has_store(*row))
            }
            None => self.candidate(view),
        };
        if let Some(node) = node {
            self.change(leader, shard, place, Transition::Repair(node));
        }
    }

    fn take_as_steady(&mut self, leader: usize, shard: ShardId, place: Place, node: NodeIndex) {
        self.publish(leader, |next, epoch| {
            let view = &mut next.shards[usize::from(shard.0)];
            view.slots[place.index()] =
                Slot { state: SlotState::Steady { node }, epoch: SlotEpoch(epoch) };
            (view.since, view.rsince) = (epoch, epoch);
            true
        });
    }

    pub fn change(&mut self, leader: usize, shard: ShardId, place: Place, transition: Transition) {
        let keeps_fences = self.is(Mutation::RepairKeepsFences);
        self.publish(leader, |next, epoch| {
            let view = &mut next.shards[usize::from(shard.0)];
            let before = view.clone();
            let is_done = view.apply(place, transition, epoch).is_ok();
            let writer = before.slot(place).state.writer();
            if keeps_fences && transition == Transition::Repair(writer.unwrap_or_default()) {
                (view.since, view.rsince) = (before.since, before.rsince);
            }
            is_done
        });
    }

    /// The starts that no map names yet, and nothing else.
    pub fn name_starts(&mut self) {
        let leader = usize::from(self.leaders[1].term == self.term);
        let base = Arc::clone(&self.leaders[leader].base);
        if self.table(&base) != base.nodes {
            self.publish(leader, |_, _| true);
        }
    }

    /// The fenced publish: only in the present term, and only over the assignment that the leader
    /// went on from.
    fn publish(&mut self, leader: usize, change: impl FnOnce(&mut Assignment, Epoch) -> bool) {
        let (term, base) = (self.leaders[leader].term, Arc::clone(&self.leaders[leader].base));
        let latest = self.latest();
        let is_fenced = term != self.term || base.publish != latest.publish;
        if is_fenced && !self.is(Mutation::NoFence) {
            if term == self.term {
                self.leaders[leader].base = latest;
            }
            return;
        }
        let mut next = Assignment::clone(&base);
        next.epoch = base.epoch.next();
        next.term = term;
        next.publish = self.draw_publish();
        next.nodes = self.table(&base);
        let epoch = next.epoch;
        if !change(&mut next, epoch) {
            return;
        }
        if let Err(error) = next.check() {
            self.fail(|| format!("a leader publishes what contradicts itself: {error}"));
        }
        if epoch <= latest.epoch {
            self.fail(|| format!("epoch {epoch} is published after {}", latest.epoch));
        }
        let next = Arc::new(next);
        self.leaders[leader].base = Arc::clone(&next);
        self.history.push(next);
    }
}
