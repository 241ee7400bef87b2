//! What the agent tells as metrics: read from what it knows, at each scrape.

use std::sync::{Arc, Weak};

use rangekeeper_placement::ProposalKind;
use rangekeeper_telemetry::{Family, Readings, Registry};

use super::alarms::AlarmKind;
use super::readiness::readiness;
use super::shared::Shared;
use super::status::{below_replication, kind_name, own_slots};

const GENERATION: &str = "rangekeeper_control_assignment_generation";
const EPOCH: &str = "rangekeeper_control_assignment_epoch";
const TERM: &str = "rangekeeper_control_assignment_term";
const AGE: &str = "rangekeeper_control_assignment_applied_seconds";
const READY: &str = "rangekeeper_control_node_ready";
const LEADS: &str = "rangekeeper_control_node_leads";
const SLOTS: &str = "rangekeeper_control_node_slots";
const BELOW: &str = "rangekeeper_control_shards_below_replication";
const PROPOSALS: &str = "rangekeeper_control_proposals_pending";
const ALARMS: &str = "rangekeeper_control_alarm_active";
const CLOCK: &str = "rangekeeper_control_clock_majority_offset_seconds";

const FAMILIES: &[Family] = &[
    Family::gauge(GENERATION, &[], "Generation of the assignment in use."),
    Family::gauge(EPOCH, &[], "Epoch of the assignment in use."),
    Family::gauge(TERM, &[], "Term in which the assignment in use was published."),
    Family::gauge(AGE, &[], "Time since the assignment in use was applied here."),
    Family::gauge(READY, &[], "1 while this node can take its part in the cluster, else 0."),
    Family::gauge(LEADS, &[], "1 while this node leads, else 0."),
    Family::gauge(SLOTS, &["state"], "Slots that name this node, by their state."),
    Family::gauge(
        BELOW,
        &[],
        "Shards of which fewer copies can be used than the cluster was made for, as this node \
         sees it.",
    ),
    Family::gauge(
        PROPOSALS,
        &["kind"],
        "Changes of slots that the leader would make; told by the leader alone.",
    ),
    Family::gauge(ALARMS, &["kind"], "1 while the operator has to know of this, else 0."),
    Family::gauge(CLOCK, &[], "How far the clocks of most nodes are ahead of this node's."),
];

/// Gives the metrics of the agent to `registry`, for as long as there is an agent.
pub(super) fn export(shared: &Arc<Shared>, registry: &Registry) {
    let shared = Arc::downgrade(shared);
    registry.snapshot(FAMILIES, move |out| {
        if let Some(shared) = Weak::upgrade(&shared) {
            read(&shared, out);
        }
    });
}

#[expect(clippy::cast_precision_loss, reason = "counters far below 2^53")]
fn read(shared: &Shared, out: &mut Readings) {
    let flag = |is_set: bool| if is_set { 1.0 } else { 0.0 };
    if let Some(view) = shared.view() {
        let map = &view.assignment;
        out.set(GENERATION, &[], f64::from(map.generation.0));
        out.set(EPOCH, &[], map.epoch.0 as f64);
        out.set(TERM, &[], map.term.0 as f64);
        out.set(BELOW, &[], below_replication(shared, &view) as f64);
        for (state, slots) in own_slots(&view) {
            out.set(SLOTS, &[state], slots as f64);
        }
    }
    if let Some(applied) = shared.applied_for() {
        out.set(AGE, &[], applied.as_secs_f64());
    }
    out.set(READY, &[], flag(readiness(shared).is_ok()));
    let leading = shared.leading.lock().clone();
    out.set(LEADS, &[], flag(leading.is_leading));
    if leading.is_leading {
        for kind in [ProposalKind::Repair, ProposalKind::Drain, ProposalKind::Balance] {
            let of_kind = leading.proposals.iter().filter(|proposal| proposal.kind == kind);
            out.set(PROPOSALS, &[kind_name(kind)], of_kind.count() as f64);
        }
    }
    for kind in AlarmKind::ALL {
        out.set(ALARMS, &[kind.name()], flag(shared.alarms.holds(kind)));
    }
    out.set(CLOCK, &[], shared.speakers.majority_ahead_ms() as f64 / 1000.0);
}
