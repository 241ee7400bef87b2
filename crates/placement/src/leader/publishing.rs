//! What the next assignment is, and whether there is one.

use std::sync::Arc;

use rangekeeper_model::ShardId;

use super::{CarryOut, Leader, LeaderAlarm, LeaderEffect, Pending, Phase};
use crate::assignment::{Assignment, NodeRow, NodeStatus, Shard};
use crate::ids::{NodeIndex, Place, SlotEpoch};
use crate::planner::{
    Owners, PlanNode, Proposal, ProposalKind, TooFewNodes, plan, proposals, release,
};
use crate::quorum::Replication;
use crate::slot::SlotState;
use crate::transition::Transition;
use rangekeeper_model::Epoch;

impl Leader {
    /// Decides after each event: probes, plans, and publishes when something has changed and
    /// nothing is under way.
    pub(super) fn decide(&mut self, now_ms: u64, effects: &mut Vec<LeaderEffect>) {
        if let Phase::Quiet(until) = self.phase {
            if now_ms >= until {
                self.phase = Phase::Leading;
            } else {
                effects.push(LeaderEffect::Wake(until));
            }
        }
        let Some(base) = self.base.clone() else { return };
        effects.extend(self.membership.absent().cloned().map(LeaderEffect::Probe));
        let is_frozen = self.is_frozen(effects);
        let may_plan = self.phase == Phase::Leading
            && !is_frozen
            && base.is_placed()
            && self.membership.is_settled(now_ms, &self.policy);
        let rows = self.table(&base, is_frozen);
        self.damaged
            .retain(|(shard, place, epoch)| base.shard(*shard).slot(*place).epoch == *epoch);
        self.proposals = if may_plan { self.propose(now_ms, &base, &rows) } else { Vec::new() };
        self.wake(now_ms, effects);
        if !matches!(self.pending, Pending::Nothing) {
            return;
        }
        let due_ms = self.last_publish_ms.map_or(0, |last| last + self.policy.publish_every_ms);
        if now_ms < due_ms {
            return effects.push(LeaderEffect::Wake(due_ms));
        }
        if let Some(next) = self.next(&base, rows, effects) {
            let next = Arc::new(next);
            self.last_publish_ms = Some(now_ms);
            self.pending = Pending::Publish(Arc::clone(&next));
            effects.push(LeaderEffect::Publish(next));
        }
    }

    /// Whether the map stays as it is: by the operator's wish, or because too many are gone. Says
    /// so once.
    fn is_frozen(&mut self, effects: &mut Vec<LeaderEffect>) -> bool {
        let breaker = self.membership.breaker(&self.policy, &self.intents);
        match breaker {
            Some((gone, all)) if !self.is_alarmed => {
                effects.push(LeaderEffect::Alarm(LeaderAlarm::Frozen(gone, all)));
            }
            _ => {}
        }
        self.is_alarmed = breaker.is_some();
        self.intents.is_frozen || breaker.is_some()
    }

    /// Asks to be woken when waiting alone makes a difference.
    fn wake(&self, now_ms: u64, effects: &mut Vec<LeaderEffect>) {
        let settles = Some(self.membership.settles_at(&self.policy)).filter(|at| *at > now_ms);
        let grace = self.base.as_ref().map(|base| self.grace_ms(base.replication));
        let given_up = grace.and_then(|grace| self.membership.next_given_up(now_ms, grace));
        effects.extend(settles.into_iter().chain(given_up).min().map(LeaderEffect::Wake));
    }

    /// How long a node is waited for. Five copies stand a second loss, but not for long.
    fn grace_ms(&self, replication: Replication) -> u64 {
        let is_second = replication == Replication::Five && self.membership.silent() > 1;
        if is_second {
            self.policy.repair_after_second_loss_ms
        } else {
            self.policy.repair_after_ms
        }
    }

    /// The node table as it should be: the rows in their order, what changed of them, and a row for
    /// each store that is new. Rows are never taken out, since slots name them by their index.
    ///
    /// In a frozen map nobody who was there goes down.
    fn table(&self, base: &Assignment, is_frozen: bool) -> Vec<NodeRow> {
        let mut rows = base.nodes.clone();
        for registration in self.membership.present() {
            let known = rows
                .iter()
                .position(|row| row.id == registration.id && row.store == registration.store);
            let row = NodeRow {
                id: registration.id.clone(),
                address: Arc::clone(&registration.address),
                zone: registration.zone.clone(),
                weight: registration.weight,
                incarnation: registration.incarnation,
                store: registration.store,
                boot: registration.boot,
                run: registration.run,
                status: NodeStatus::Up,
            };
            match known {
                // A folder that has not begun the row's run is an older copy, or a copy of one: the
                // row keeps the run, and the node refuses by it.
                Some(at) if !registration.continues(rows[at].run) => {
                    rows[at].status = NodeStatus::Lost;
                }
                Some(at) => rows[at] = row,
                None => rows.push(row),
            }
        }
        for row in &mut rows {
            let present = self.membership.registration(&row.id);
            row.status = match present {
                Some(registration) if registration.store != row.store => NodeStatus::Lost,
                _ if row.status == NodeStatus::Lost => NodeStatus::Lost,
                _ if self.intents.draining.contains(&row.id) => NodeStatus::Draining,
                Some(_) if self.membership.is_registered(&row.id) => NodeStatus::Up,
                Some(_) if is_frozen => row.status,
                Some(_) => NodeStatus::Down,
                // A leader that has not seen it registered knows no better than the last one.
                None => row.status,
            };
        }
        rows
    }

    /// What the planner would change. A node that came back with another disk keeps what it had.
    fn propose(&self, now_ms: u64, base: &Assignment, rows: &[NodeRow]) -> Vec<Proposal> {
        let grace = self.grace_ms(base.replication);
        let given_up = |row: &NodeRow| {
            row.status == NodeStatus::Lost
                || self.membership.is_given_up(&row.id, now_ms, grace, &self.intents)
        };
        let nodes: Vec<PlanNode> = rows
            .iter()
            .map(|row| {
                let takes = !given_up(row) && row.status != NodeStatus::Draining;
                PlanNode { zone: row.zone.clone(), weight: if takes { row.weight } else { 0 } }
            })
            .collect();
        let heir = |node: NodeIndex| {
            let row = &rows[node.index()];
            let is_heir = |other: &NodeRow| other.id == row.id && other.status != NodeStatus::Lost;
            let at = rows.iter().position(is_heir).filter(|_| row.status == NodeStatus::Lost);
            at.and_then(|at| u16::try_from(at).ok()).map_or(node, NodeIndex)
        };
        let owners: Vec<Owners> = base
            .shards
            .iter()
            .map(|s| s.slots.iter().map(|slot| slot.state.target().map(heir)).collect())
            .collect();
        let mut proposed = self.damaged_slots(base);
        match plan(&nodes, base.replication, &owners) {
            Ok(plan) if plan.quorum == base.quorum => {
                let is_gone = |node: NodeIndex| given_up(&rows[node.index()]);
                let is_draining =
                    |node: NodeIndex| rows[node.index()].status == NodeStatus::Draining;
                proposed.extend(proposals(base, &plan, is_gone, is_draining));
            }
            _ => {}
        }
        proposed
    }

    /// A damaged copy is made anew where it is: what is left of it counts.
    fn damaged_slots(&self, base: &Assignment) -> Vec<Proposal> {
        let repair = |&(shard, place, _): &(ShardId, Place, SlotEpoch)| {
            let SlotState::Steady { node } = base.shard(shard).slot(place).state else {
                return None;
            };
            let kind = ProposalKind::Repair;
            Some(Proposal { kind, shard, place, from: node, to: node })
        };
        self.damaged.iter().filter_map(repair).collect()
    }

    /// The next assignment, if it differs from the present one.
    fn next(
        &mut self,
        base: &Assignment,
        rows: Vec<NodeRow>,
        effects: &mut Vec<LeaderEffect>,
    ) -> Option<Assignment> {
        let mut next = base.clone();
        let highest = base.version().max(self.highest.0);
        next.generation = highest.generation;
        next.epoch = highest.epoch.max(base.epoch).next();
        next.term = self.term;
        let is_new = rows != base.nodes;
        next.nodes = rows;
        let is_changed = if base.is_placed() {
            let completed = self.complete(&mut next);
            let released = self.carry_out(&mut next);
            next.retention_floor = base.retention_floor.max(self.retention_floor);
            is_new || completed || released || next.retention_floor > base.retention_floor
        } else {
            self.place(&mut next, effects)
        };
        // Somebody has a later map than ZooKeeper, which was restored: outrank it.
        let is_overtaken = base.is_placed() && self.highest.0 > base.version();
        if !is_changed && !is_overtaken {
            return None;
        }
        if let Err(error) = next.check() {
            effects.push(LeaderEffect::Alarm(error.into()));
            return None;
        }
        next.publish = self.draw();
        Some(next)
    }

    /// The first placement, once the expected nodes are there.
    fn place(&self, next: &mut Assignment, effects: &mut Vec<LeaderEffect>) -> bool {
        let present = self.membership.present().count();
        if present < self.policy.expect.max(1) {
            return false;
        }
        if let Some(first) = self.policy.first
            && !self.membership.present().any(|node| node.store == first)
        {
            return false;
        }
        let takes = |row: &NodeRow| {
            row.status == NodeStatus::Up && self.policy.first.is_none_or(|first| first == row.store)
        };
        let weight = |row: &NodeRow| if takes(row) { row.weight } else { 0 };
        let nodes: Vec<PlanNode> = next
            .nodes
            .iter()
            .map(|row| PlanNode { zone: row.zone.clone(), weight: weight(row) })
            .collect();
        let holes = vec![Owners::default(); next.shards.len()];
        let plan = match plan(&nodes, next.replication, &holes) {
            Ok(plan) => plan,
            Err(error @ TooFewNodes { .. }) => {
                effects.push(LeaderEffect::Alarm(error.into()));
                return false;
            }
        };
        next.quorum = plan.quorum;
        for (shard, owners) in next.shards.iter_mut().zip(&plan.owners) {
            *shard = placed(plan.quorum, owners, next.epoch);
        }
        true
    }

    /// Carries out what was reported complete, where it still is.
    fn complete(&mut self, next: &mut Assignment) -> bool {
        let mut is_changed = false;
        for (shard, place, slot_epoch, transition) in std::mem::take(&mut self.completions) {
            let shard = &mut next.shards[usize::from(shard.0)];
            if shard.slot(place).epoch == slot_epoch {
                is_changed |= shard.apply(place, transition, next.epoch).is_ok();
            }
        }
        is_changed
    }

    /// Begins as many of the proposed changes as the budget lets, if they may be carried out.
    fn carry_out(&self, next: &mut Assignment) -> bool {
        if self.policy.carry_out == CarryOut::Propose {
            return false;
        }
        let mut is_changed = false;
        for proposal in release(next, &self.proposals, self.policy.budget) {
            let Proposal { kind, shard, place, to, .. } = proposal;
            let serves = |node: NodeIndex| {
                matches!(next.node(node).status, NodeStatus::Up | NodeStatus::Draining)
            };
            let transition = match kind {
                ProposalKind::Repair => Transition::Repair(to),
                ProposalKind::Drain | ProposalKind::Balance => Transition::Move(to),
            };
            let may = kind != ProposalKind::Repair
                || next.shard(shard).may_repair(place, next.quorum, serves);
            if may {
                let epoch = next.epoch;
                let shard = &mut next.shards[usize::from(shard.0)];
                is_changed |= shard.apply(place, transition, epoch).is_ok();
            }
        }
        is_changed
    }
}

/// A shard with its first owners.
fn placed(quorum: crate::quorum::Quorum, owners: &Owners, epoch: Epoch) -> Shard {
    let mut shard = Shard::empty(quorum);
    for (index, owner) in owners.iter().enumerate() {
        if let Some(node) = owner {
            let placed = shard.apply(Place::of(index), Transition::Place(*node), epoch);
            placed.expect("an empty slot, and a plan names a node once a shard");
        }
    }
    shard
}
