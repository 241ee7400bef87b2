//! What nodes do with messages, and what they send to each other by themselves.

use rangekeeper_model::Epoch;
use rangekeeper_model::ShardId;
use rangekeeper_placement::{
    LogPosition, MemberEvent, NodeIndex, Place, Progress, SlotEpoch, SlotState, UnsettledKey,
    Verdict, Version, is_sealed, may_write,
};

use crate::messages::{Asker, Body, Delivery, Message, PullRequest, Pulled, Report, Target};
use crate::mutation::Mutation;
use crate::node::{Pending, Pull, writes_of};
use crate::world::{Set, World, bit, bits, store};

impl World {
    pub fn handle(&mut self, message: Message) {
        let Message { target, shard, sender, body } = message;
        let row = match target {
            Target::Router(router) => return self.handle_at_router(router, shard, &body),
            Target::Leader(leader) => return self.handle_at_leader(leader, shard, body),
            Target::Row(row) => row,
        };
        let node = self.rows[row.index()];
        if !self.nodes[node].is_up {
            return;
        }
        if let Some((sender, version)) = sender {
            let mut effects = Vec::new();
            let heard = MemberEvent::Heard(store(sender), version);
            self.nodes[node].member.step(heard, &mut effects);
            if !effects.is_empty() && self.random.u8(..) < 64 {
                self.apply(node, &self.latest());
            }
        }
        match body {
            Body::Write { asker, place, write, routed } => {
                self.on_write(node, row, shard, asker, place, write, routed);
            }
            Body::Read { asker, place, all, routed } => {
                self.on_read(node, row, shard, asker, place, all, routed);
            }
            Body::Settled { write } => self.on_settled(node, row, shard, write),
            Body::Deliver(delivery) => self.on_deliver(node, row, shard, delivery),
            Body::Delivered(delivery) => self.on_delivered(node, row, shard, delivery),
            Body::Pull(request) => self.on_pull(node, row, shard, request),
            Body::Pulled(pulled) => self.on_pulled(node, row, shard, &pulled),
            _ => {}
        }
    }

    /// The member's verdict on a write, or what a mutation makes of it.
    pub fn judge_write(
        &self,
        node: usize,
        row: NodeIndex,
        shard: ShardId,
        place: Place,
        mut routed: Version,
    ) -> Verdict {
        let member = &self.nodes[node].member;
        if self.is(Mutation::NoSince) {
            routed.epoch = Epoch(u64::MAX);
        }
        if !self.nodes[node].serves {
            return Verdict::NotReady;
        }
        let verdict = member.judge_write(shard, place, routed, store(row));
        let is_waiting = verdict == Verdict::NotReady && !member.is_damaged(shard);
        match (member.assignment(), member.me()) {
            (Some(map), Some(me)) if is_waiting && self.is(Mutation::NoActivation) => {
                may_write(map.shard(shard), map.epoch, me, place, routed.epoch)
            }
            _ => verdict,
        }
    }

    pub fn judge_read(
        &self,
        node: usize,
        row: NodeIndex,
        shard: ShardId,
        place: Place,
        mut routed: Version,
    ) -> Verdict {
        if self.is(Mutation::NoReadCheck) {
            return Verdict::Ok;
        }
        if !self.nodes[node].serves {
            return Verdict::NotReady;
        }
        if self.is(Mutation::ReadCheckWithoutEpoch) {
            routed.epoch = Epoch(u64::MAX);
        }
        self.nodes[node].member.judge_read(shard, place, routed, store(row))
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of a request")]
    fn on_write(
        &mut self,
        node: usize,
        row: NodeIndex,
        shard: ShardId,
        asker: Asker,
        place: Place,
        write: u8,
        routed: Version,
    ) {
        let is_hint = self.is(Mutation::HintsAnywhere) && place == Place(2);
        let verdict = match self.judge_write(node, row, shard, place, routed) {
            _ if is_hint => Verdict::Ok,
            verdict => verdict,
        };
        if verdict != Verdict::Ok {
            return self.refuse_write(node, shard, asker, place, verdict);
        }
        let pending = Pending { write, asker, place, given: routed.epoch };
        if is_hint {
            return self.acknowledge(node, shard, pending);
        }
        let replica = self.nodes[node].replica(shard);
        replica.held |= bit(write);
        replica.pending.push(pending);
        if self.is(Mutation::AcknowledgedUnsynced) {
            self.acknowledge(node, shard, pending);
        }
    }

    pub fn refuse_write(
        &mut self,
        node: usize,
        shard: ShardId,
        asker: Asker,
        place: Place,
        verdict: Verdict,
    ) {
        let request = asker.request;
        let answer = match verdict {
            Verdict::StaleEpoch { mine } => Body::WriteStale { request, place, mine },
            _ => Body::WriteRefused { request, place },
        };
        self.send(node, Target::Router(asker.router), shard, answer);
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of a request")]
    fn on_read(
        &mut self,
        node: usize,
        row: NodeIndex,
        shard: ShardId,
        asker: Asker,
        place: Place,
        all: bool,
        routed: Version,
    ) {
        let body = match self.judge_read(node, row, shard, place, routed) {
            Verdict::Ok => {
                let content = self.content(node, shard, place, all);
                Body::Answer { asker, place, row, content }
            }
            Verdict::StaleEpoch { mine } => Body::ReadStale { asker, place, mine },
            _ => Body::ReadRefused { asker, place },
        };
        self.send(node, Target::Router(asker.router), shard, body);
    }

    /// What a place gives to a read. All that a witness holds is what somebody missed.
    pub fn content(&self, node: usize, shard: ShardId, place: Place, all: bool) -> Set {
        let replica = &self.nodes[node].replicas[usize::from(shard.0)];
        let is_witness = self.history[0].quorum.is_witness(place);
        if all || is_witness { replica.synced } else { replica.unsettled_set }
    }

    fn my_place(&self, node: usize, shard: ShardId) -> Option<Place> {
        let member = &self.nodes[node].member;
        member.assignment()?.shard(shard).place_of(member.me()?)
    }

    fn on_settled(&mut self, node: usize, row: NodeIndex, shard: ShardId, write: u8) {
        if self.nodes[node].row != row {
            return;
        }
        let replica = self.nodes[node].replica(shard);
        replica.unsettled.settle(LogPosition(write.into()));
        replica.note_unsettled();
        self.drop_at_witness(node, shard, bit(write));
    }

    /// What is settled is nothing that somebody missed.
    fn drop_at_witness(&mut self, node: usize, shard: ShardId, settled: Set) {
        let place = self.my_place(node, shard);
        if place.is_some_and(|place| self.history[0].quorum.is_witness(place)) {
            self.nodes[node].replica(shard).forget(settled);
        }
    }

    /// A holder delivers an unsettled entry to a copy that is not known to have it.
    pub fn deliver_unsettled(&mut self) {
        let holds = |world: &Self, node: usize, shard: ShardId| {
            !world.nodes[node].replicas[usize::from(shard.0)].unsettled.is_empty()
        };
        let Some((node, shard)) = self.any_with(holds) else { return };
        let count = self.nodes[node].replica(shard).unsettled.len();
        let member = &self.nodes[node].member;
        let (Some(map), Some(me)) = (member.assignment().cloned(), member.me()) else { return };
        let Some(own) = map.shard(shard).place_of(me).filter(|_| count > 0) else { return };
        let at = self.random.usize(..count);
        let replica = self.nodes[node].replica(shard);
        let (key, mark, tally) = replica.unsettled.iter().nth(at).expect("it is among them");
        let content = writes_of(key) & replica.synced;
        if writes_of(key) & replica.held != content || content == 0 {
            return;
        }
        let (row, given) = (self.nodes[node].row, map.version());
        let delivery = Delivery { key, mark, place: own, content, given, holder: row };
        if self.judge_write(node, row, shard, own, given) == Verdict::Ok {
            self.on_delivered(node, row, shard, delivery);
        }
        let missing: Vec<Place> = tally.missing(map.quorum).filter(|place| *place != own).collect();
        let Some(&place) = self.random.choice(&missing) else { return };
        if let Some(writer) = map.shard(shard).slot(place).state.writer() {
            let delivery = Delivery { place, ..delivery };
            self.send(node, Target::Row(writer), shard, Body::Deliver(delivery));
        }
    }

    fn on_deliver(&mut self, node: usize, row: NodeIndex, shard: ShardId, delivery: Delivery) {
        let verdict = self.judge_write(node, row, shard, delivery.place, delivery.given);
        if verdict == Verdict::Ok {
            let shows = !self.is(Mutation::TailMissesDeliveries);
            let content = delivery.content;
            self.nodes[node].replica(shard).ingest(content, content, shows);
            let holder = Target::Row(delivery.holder);
            let mut delivery = delivery;
            if !self.is(Mutation::GivenByRoutersMap) {
                delivery.given.epoch = self.nodes[node].member.given(delivery.given);
            }
            self.send(node, holder, shard, Body::Delivered(delivery));
        }
    }

    fn on_delivered(&mut self, node: usize, row: NodeIndex, shard: ShardId, delivery: Delivery) {
        let member = &self.nodes[node].member;
        let Some(map) = member.assignment().cloned().filter(|_| self.nodes[node].row == row) else {
            return;
        };
        let Delivery { key, mark, place, given, content, .. } = delivery;
        let view = map.shard(shard);
        let own = self.my_place(node, shard);
        let replica = self.nodes[node].replica(shard);
        let settled = replica.unsettled.delivered(key, mark, place, given.epoch, view);
        replica.note_unsettled();
        if settled {
            self.drop_at_witness(node, shard, content);
            if matches!(key, UnsettledKey::Record(_)) {
                let rows: Vec<_> = view.slots.iter().flat_map(|slot| slot.state.nodes()).collect();
                for row in rows {
                    let write = u8::try_from(content.trailing_zeros()).expect("one write");
                    self.send(node, Target::Row(row), shard, Body::Settled { write });
                }
            }
        } else if self.is(Mutation::WitnessDropsEarly) && own != Some(place) {
            self.drop_at_witness(node, shard, content);
        }
    }

    /// Somebody who has to gather a slot's data asks for some of it.
    pub fn pull_some(&mut self) {
        let gathers = |world: &Self, node, shard| world.gathering(node, shard).is_some();
        if let Some((node, shard)) = self.any_with(gathers) {
            self.pull(node, shard);
        }
    }

    /// The slot that the node has to gather by its own map.
    fn gathering(&self, node: usize, shard: ShardId) -> Option<(Place, SlotEpoch, SlotState)> {
        let member = &self.nodes[node].member;
        let view = member.assignment()?.shard(shard);
        let place = view.place_of(member.me()?)?;
        let slot = view.slot(place);
        let is_mine = slot.state.target() == member.me() && !member.is_damaged(shard);
        let is_steady = matches!(slot.state, SlotState::Steady { .. });
        (is_mine && !is_steady).then_some((place, slot.epoch, slot.state))
    }

    pub fn pull(&mut self, node: usize, shard: ShardId) {
        let Some((place, wanted, state)) = self.gathering(node, shard) else { return };
        let Some(map) = self.nodes[node].member.assignment().cloned() else { return };
        let view = map.shard(shard);
        let asker = self.nodes[node].row;
        let pull = &mut self.nodes[node].replica(shard).pull;
        if pull.slot_epoch != wanted {
            // A cutover goes on where the moving was.
            let cursor = pull.cursor.filter(|_| matches!(state, SlotState::Cutover { .. }));
            *pull = Pull { slot_epoch: wanted, cursor, ..Pull::default() };
        }
        let cursor = pull.cursor;
        let source = match state {
            SlotState::Repair { .. } => {
                let others: Vec<_> = view
                    .places()
                    .filter(|(other, slot)| *other != place && slot.state.is_readable())
                    .collect();
                self.random.choice(&others).copied()
            }
            _ => Some((place, view.slot(place))),
        };
        let Some((source, slot)) = source else { return };
        let only_unsettled = source != place && map.quorum.is_witness(place);
        for reader in slot.state.readers().into_iter().filter(|reader| *reader != asker) {
            let routed = map.version();
            let source_epoch = slot.epoch;
            let request = PullRequest {
                place,
                wanted,
                source,
                source_epoch,
                cursor,
                only_unsettled,
                asker,
                routed,
            };
            self.send(node, Target::Row(reader), shard, Body::Pull(request));
        }
    }

    fn on_pull(&mut self, node: usize, row: NodeIndex, shard: ShardId, request: PullRequest) {
        let PullRequest { source, routed, cursor, only_unsettled, .. } = request;
        let early = match self.mutation {
            Some(Mutation::ExportBeforeApplying) => true,
            Some(Mutation::CutoverUnsealed) => request.place == source,
            _ => false,
        };
        let wanted = if early { SlotEpoch::default() } else { request.wanted };
        let member = &self.nodes[node].member;
        let verdict = member.judge_export(shard, source, wanted, routed, store(row));
        if !self.nodes[node].serves || verdict != Verdict::Ok {
            return;
        }
        let sealed_by = |view: &rangekeeper_placement::Shard| {
            is_sealed(view, row, source) && view.slot(source).epoch == request.wanted
        };
        let is_sealed = member.assignment().is_some_and(|map| sealed_by(map.shard(shard)));
        let replica = self.nodes[node].replica(shard);
        let content = match cursor {
            Some(from) => replica.tail.iter().skip(from).fold(0, |all, w| all | bit(*w)),
            None if only_unsettled => replica.unsettled_set,
            None => replica.synced,
        };
        let unsettled = content & (replica.unsettled_set | !replica.synced);
        let pulled =
            Pulled { request, content, unsettled, end: replica.tail.len(), is_sealed, source: row };
        self.send(node, Target::Row(request.asker), shard, Body::Pulled(Box::new(pulled)));
    }

    fn on_pulled(&mut self, node: usize, row: NodeIndex, shard: ShardId, pulled: &Pulled) {
        let Pulled { request, content, unsettled, end, is_sealed, source } = *pulled;
        let Some((place, epoch, state)) = self.gathering(node, shard) else { return };
        let pull = &self.nodes[node].replica(shard).pull;
        let is_wanted = epoch == request.wanted && pull.slot_epoch == epoch;
        if !is_wanted || pull.cursor != request.cursor || self.nodes[node].row != row {
            return;
        }
        let Some(map) = self.nodes[node].member.assignment().cloned() else { return };
        let view = map.shard(shard);
        let replica = self.nodes[node].replica(shard);
        replica.ingest(content, unsettled, true);
        let unsealed = self.is(Mutation::CutoverUnsealed);
        let pull = &mut self.nodes[node].replica(shard).pull;
        let progress = match state {
            SlotState::Moving { .. } => {
                pull.cursor = Some(end);
                Progress::CaughtUp
            }
            SlotState::Cutover { .. } => {
                pull.cursor = Some(end);
                if !is_sealed && !unsealed {
                    return;
                }
                Progress::Drained
            }
            _ => {
                pull.given.push((request.source, request.source_epoch, source));
                let given = pull.given.clone();
                let slot = view.slot(request.source);
                let is_whole = slot.epoch == request.source_epoch
                    && slot.state.readers().into_iter().all(|reader| {
                        given.contains(&(request.source, request.source_epoch, reader))
                    });
                if is_whole {
                    pull.sources.insert(request.source, request.source_epoch);
                }
                let sources = pull.sources;
                if !self.is_repaired(view, place, &sources, &map) {
                    return;
                }
                Progress::Repaired(sources)
            }
        };
        let run = self.nodes[node].lineage.run();
        let report = Report { run, reporter: row, place, slot_epoch: epoch, progress };
        let leader = usize::from(self.random.bool());
        self.send(node, Target::Leader(leader), shard, Body::Report(Box::new(report)));
    }

    /// Whether a repair has all it needs, or what a mutation takes for that.
    pub fn is_repaired(
        &self,
        view: &rangekeeper_placement::Shard,
        place: Place,
        sources: &rangekeeper_placement::Sources,
        map: &rangekeeper_placement::Assignment,
    ) -> bool {
        let readable = view.places().filter(|(other, s)| *other != place && s.state.is_readable());
        match self.mutation {
            Some(Mutation::RepairFromOne) => {
                view.places().any(|(other, slot)| sources.holds(other, slot))
            }
            Some(Mutation::RepairOfTooMany) => {
                let readable: Vec<_> = readable.collect();
                let least = readable.len().min(map.quorum.read());
                readable.iter().filter(|(o, s)| sources.holds(*o, *s)).count() >= least
            }
            _ => view.is_repaired(place, sources, map.quorum),
        }
    }

    /// Writes of a set, for messages of violations.
    pub fn name(set: Set) -> Vec<u8> {
        bits(set).collect()
    }
}
