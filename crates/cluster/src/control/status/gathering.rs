//! Putting a status together from what is known.

use rangekeeper_coordination::{Members, Membership, Registration, Role, SessionState};
use rangekeeper_model::ShardId;
use rangekeeper_placement::{
    Assignment, NodeIndex, NodeRow, NodeStatus, Proposal, ProposalKind, Slot, SlotState,
};

use super::super::leading::{wishes, zone};
use super::super::shared::Shared;
use super::super::{MapView, readiness};
use super::counting::{lacking, state_name};
use super::{
    AlarmStatus, IntentStatus, LeaderStatus, NodeSummary, ProposalStatus, SessionStatus,
    ShardStatus, SlotStatus, Status, Summary,
};
use crate::peer::{Peer, Probed};

/// All that is known here.
pub(in super::super) fn status(shared: &Shared) -> Status {
    let view = shared.view();
    let map = view.as_ref().map(|view| &view.assignment);
    let members = shared.members.borrow().clone().unwrap_or_default();
    let ready = readiness::readiness(shared);
    let shards = view.as_ref().map_or_else(Vec::new, |view| shards(shared, view));
    let proposals = shared.leading.lock().proposals.iter().copied().map(proposal).collect();
    Status {
        cluster: shared.identity.cluster.to_string(),
        path: shared.coordination.root().to_owned(),
        node: shared.options.node.to_string(),
        time_ms: shared.now_ms(),
        ready: ready.is_ok(),
        not_ready: ready.err(),
        session: session(shared),
        generation: map.map(|map| map.generation.0),
        epoch: map.map(|map| map.epoch.0),
        term: map.map(|map| map.term.0),
        applied_seconds: shared.applied_for().map(|time| time.as_secs_f64()),
        replication: map.map(|map| map.replication.copies()),
        places: map.map(|map| map.quorum.places()),
        retention_floor: map.map(|map| map.retention_floor.to_string()),
        leader: leader(shared),
        nodes: nodes(shared, view.as_deref(), &members),
        summary: map.map_or_else(Summary::default, |map| summary(map, &shards)),
        shards,
        proposals,
        intents: intents(shared),
        alarms: alarms(shared),
    }
}

fn session(shared: &Shared) -> SessionStatus {
    let state = shared.session.borrow();
    let error = match &*state {
        SessionState::Refused(error) => Some(format!("failed to {error}")),
        _ => None,
    };
    let registration = match &*shared.membership.borrow() {
        Membership::Pending => "pending",
        Membership::Registered(_) => "registered",
        Membership::Refused(_) => "refused",
    };
    let (state, registration) = (state.name().to_owned(), registration.to_owned());
    SessionStatus { state, error, registration }
}

fn leader(shared: &Shared) -> Option<LeaderStatus> {
    match &*shared.role.borrow() {
        Role::Leading(term) => Some(LeaderStatus {
            node: shared.options.node.to_string(),
            term: term.0,
            address: shared.options.peer_address.clone(),
            is_self: true,
        }),
        Role::Following(Some(leader)) => Some(LeaderStatus {
            node: leader.node.to_string(),
            term: leader.term,
            address: leader.address.clone(),
            is_self: false,
        }),
        Role::Following(None) | Role::Suspended(_) => None,
    }
}

fn nodes(shared: &Shared, view: Option<&MapView>, members: &Members) -> Vec<NodeSummary> {
    let registered = |row: &NodeRow| {
        let member = members.members.get(&row.id).map(|member| &member.registration);
        member.filter(|said| said.store == row.store.0)
    };
    let rows = view.map_or(&[][..], |view| &view.assignment.nodes);
    let slots = view.map_or_else(Vec::new, |view| slots_by_row(&view.assignment));
    let mut nodes: Vec<NodeSummary> = Vec::with_capacity(rows.len());
    for (row, index) in rows.iter().zip((0..=u16::MAX).map(NodeIndex)) {
        let peer = shared.roster.of_row(index);
        let mut node = summary_of(shared, row, registered(row), peer.as_ref());
        node.index = Some(index.0);
        node.slots = slots[index.index()];
        nodes.push(node);
    }
    for member in members.members.values() {
        let said = &member.registration;
        let has_row = |row: &NodeRow| row.id == said.node && row.store.0 == said.store;
        if rows.iter().any(has_row) {
            continue;
        }
        let row = NodeRow {
            id: said.node.clone(),
            address: said.peer_address.as_str().into(),
            zone: zone(&said.zone),
            weight: said.weight,
            incarnation: member.incarnation,
            store: rangekeeper_model::StoreId(said.store),
            boot: rangekeeper_model::BootCount(said.boot),
            run: rangekeeper_model::RunId(said.run),
            status: NodeStatus::Up,
        };
        let peer = shared.roster.named(said.node.as_str()).filter(|p| p.store() == row.store);
        let mut node = summary_of(shared, &row, Some(said), peer.as_ref());
        "new".clone_into(&mut node.status);
        nodes.push(node);
    }
    nodes
}

fn summary_of(
    shared: &Shared,
    row: &NodeRow,
    registration: Option<&Registration>,
    peer: Option<&Peer>,
) -> NodeSummary {
    let is_self = row.store == shared.identity.store && row.id == shared.options.node;
    let speaker = shared.speakers.of(row.store);
    let (reachable, text) = match peer.map(|peer| peer.health().borrow().probed.clone()) {
        Some(Probed::Answered { text, .. }) => (Some(true), Some(text)),
        Some(Probed::Failed(error)) => (Some(false), Some(error.to_string())),
        Some(Probed::NotYet) | None => (is_self.then_some(true), None),
    };
    let ahead = |ms: i64| std::time::Duration::from_millis(ms.unsigned_abs()).as_secs_f64();
    let clock = speaker.as_ref().map(|speaker| {
        let ms = speaker.clock_ahead_ms;
        if ms < 0 { -ahead(ms) } else { ahead(ms) }
    });
    let applied = speaker.map(|speaker| speaker.view.epoch.0);
    NodeSummary {
        index: None,
        id: row.id.to_string(),
        zone: row.zone.to_string(),
        address: row.address.to_string(),
        http: registration.map(|said| said.http_address.clone()),
        store: row.store.to_string(),
        incarnation: row.incarnation.0,
        boot: row.boot.0,
        weight: row.weight,
        status: status_name(row.status).to_owned(),
        registered: registration.is_some(),
        reachable,
        text: text.filter(|text| !text.is_empty()),
        is_self,
        clock_ahead_seconds: if is_self { Some(0.0) } else { clock },
        applied_epoch: if is_self { Some(shared.version().epoch.0) } else { applied },
        slots: 0,
        software: registration.map(|said| said.software.clone()),
        unsettled: None,
    }
}

fn status_name(status: NodeStatus) -> &'static str {
    match status {
        NodeStatus::Up => "up",
        NodeStatus::Down => "down",
        NodeStatus::Draining => "draining",
        NodeStatus::Lost => "lost",
    }
}

fn slots_by_row(map: &Assignment) -> Vec<usize> {
    let mut counts = vec![0; map.nodes.len()];
    for slot in map.shards.iter().flat_map(|shard| &shard.slots) {
        slot.state.nodes().for_each(|node| counts[node.index()] += 1);
    }
    counts
}

fn shards(shared: &Shared, view: &MapView) -> Vec<ShardStatus> {
    let map = &view.assignment;
    let status = |(id, below_replication): (ShardId, bool)| {
        let shard = map.shard(id);
        ShardStatus {
            shard: id.0,
            since: shard.since.0,
            rsince: shard.rsince.0,
            below_replication,
            slots: shard.slots.iter().map(slot).collect(),
        }
    };
    map.shard_count().iter().zip(lacking(shared, view)).map(status).collect()
}

fn slot(slot: &Slot) -> SlotStatus {
    let from = match slot.state {
        SlotState::Moving { from, .. } | SlotState::Cutover { from, .. } => Some(from.0),
        SlotState::Empty | SlotState::Steady { .. } | SlotState::Repair { .. } => None,
    };
    SlotStatus {
        state: state_name(slot.state),
        node: slot.state.target().map(|node| node.0),
        from,
        epoch: slot.epoch.0.0,
    }
}

fn summary(map: &Assignment, shards: &[ShardStatus]) -> Summary {
    let is_placed = |slot: &Slot| slot.state != SlotState::Empty;
    let placed = map.shards.iter().filter(|shard| shard.slots.iter().all(is_placed));
    let mut summary = Summary {
        shards: map.shards.len(),
        placed: placed.count(),
        steady: map.shards.iter().filter(|shard| shard.is_steady()).count(),
        below_replication: shards.iter().filter(|shard| shard.below_replication).count(),
        ..Summary::default()
    };
    for slot in map.shards.iter().flat_map(|shard| &shard.slots) {
        *summary.slots_by_state.entry(state_name(slot.state)).or_default() += 1;
    }
    summary
}

fn proposal(proposal: Proposal) -> ProposalStatus {
    ProposalStatus {
        kind: kind_name(proposal.kind),
        shard: proposal.shard.0,
        place: proposal.place.0,
        from: proposal.from.0,
        to: proposal.to.0,
    }
}

/// The name of a proposal's kind.
pub(in super::super) fn kind_name(kind: ProposalKind) -> &'static str {
    match kind {
        ProposalKind::Repair => "repair",
        ProposalKind::Drain => "drain",
        ProposalKind::Balance => "balance",
    }
}

fn intents(shared: &Shared) -> IntentStatus {
    let intents = shared.intents.borrow();
    let Some(wishes) = intents.as_ref().map(wishes) else { return IntentStatus::default() };
    IntentStatus {
        draining: wishes.draining.iter().map(ToString::to_string).collect(),
        frozen: wishes.is_frozen,
        confirmed_gone: wishes.confirmed_gone.iter().map(ToString::to_string).collect(),
    }
}

fn alarms(shared: &Shared) -> Vec<AlarmStatus> {
    let status = |alarm: super::super::alarms::Alarm| AlarmStatus {
        kind: alarm.kind.name(),
        text: alarm.text,
        since_ms: alarm.since_ms,
    };
    shared.alarms.all().into_iter().map(status).collect()
}
