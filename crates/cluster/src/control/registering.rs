//! Keeping this node's name, and giving way where somebody else has it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rangekeeper_coordination::{
    self as coordination, Error, Membership, Registration, SessionState,
};
use rangekeeper_model::RunId;
use rangekeeper_placement::Assignment;
use tokio::time::sleep;
use tracing::warn;
use uuid::Uuid;

use super::alarms::AlarmKind;
use super::minding;
use super::shared::{Shared, changed};

/// Runs before the present one that a registration names: as often a node may start and end without
/// reading the map that names it, or while ZooKeeper is put back to an earlier state.
const RECENT_RUNS: usize = 32;

/// How long the map may take to be read once ZooKeeper answers, before the node registers without.
const READ_WITHIN: Duration = Duration::from_secs(5);

/// Registers this node and says how that goes, until the agent is stopped.
///
/// **Invariant:** a node whose name is another's judges every request as not ready: what lies here
/// may be a copy of the other's folder, and counts as no second one.
pub(super) async fn run(shared: Arc<Shared>) {
    if let Err(error) = shared.coordination.belong(shared.identity.cluster.0) {
        shared.raise(AlarmKind::OtherCluster, format!("failed to {error}"));
        return shared.standing.refuse();
    }
    let Some(named) = run_in_map(&shared).await else { return };
    let lineage = shared.identity.lineage.clone();
    let mut membership = shared.coordination.register(registration(&shared, named), lineage);
    loop {
        let now = membership.borrow_and_update().clone();
        match &now {
            // It was there once, as what this node knows of it: it is away, no other's name.
            Membership::Refused(error) if matches!(**error, Error::NotInitialized { .. }) => {
                shared.raise(AlarmKind::Lost, minding::lost(shared.coordination.root()));
            }
            Membership::Refused(error) => {
                shared.standing.refuse();
                shared.raise(AlarmKind::NameTaken, format!("failed to {error}"));
            }
            Membership::Registered(_) => {
                shared.standing.registered();
                shared.alarms.clear(AlarmKind::NameTaken);
                shared.alarms.clear(AlarmKind::Lost);
            }
            // Whoever was refused waits for its name until it has it.
            Membership::Pending => {}
        }
        shared.membership.send_replace(now);
        // Cancel-safe: both only wait.
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = changed(&mut membership) => {}
        }
    }
}

/// The run of this node's row in the map that ZooKeeper has: read before the node registers, so
/// that whoever leads finds it in the registration. None when the agent is stopped; no run where
/// there is no such row, or it is not to be had.
async fn run_in_map(shared: &Shared) -> Option<Option<RunId>> {
    let mut published = shared.coordination.assignment();
    let mut session = shared.session.clone();
    let given_up = async {
        // Nobody tells any more only when the handle is closed.
        let _ = session.wait_for(|now| *now == SessionState::Connected).await;
        sleep(READ_WITHIN).await;
    };
    tokio::pin!(given_up);
    loop {
        let now = published.borrow_and_update().clone();
        if let Some(now) = now {
            let coordination::Assignment::Published { payload, .. } = now else {
                return Some(None);
            };
            // One that cannot be read is said where it is followed.
            return Some(Assignment::decode(&payload).ok().and_then(|map| run_in(&map, shared)));
        }
        // Cancel-safe: all only wait.
        tokio::select! {
            () = shared.stop.cancelled() => return None,
            () = changed(&mut published) => {}
            () = &mut given_up => return Some(None),
        }
    }
}

fn run_in(map: &Assignment, shared: &Shared) -> Option<RunId> {
    let row = map.row(&shared.options.node, shared.identity.store)?;
    Some(map.node(row).run)
}

/// The runs that this start comes after and that the node table may name: the last ones, and those
/// that the maps named, if they are this folder's.
fn after(shared: &Shared, named: Option<RunId>) -> Vec<Uuid> {
    let lineage = &shared.identity.lineage;
    let cached = shared.view().and_then(|view| run_in(&view.assignment, shared));
    let named = named.into_iter().chain(cached).filter(|run| lineage.contains(*run));
    let recent = lineage.recent(RECENT_RUNS + 1).iter().copied();
    let runs: BTreeSet<RunId> = recent.chain(named).collect();
    runs.into_iter().filter(|run| *run != lineage.run()).map(|run| run.0).collect()
}

/// What this node says of itself, where the map names the run `named` of it.
fn registration(shared: &Shared, named: Option<RunId>) -> Registration {
    let options = &shared.options;
    if options.weight == 0 {
        warn!(node = %options.node, "registers with a weight of 0: it is given no shards");
    }
    Registration {
        node: options.node.clone(),
        store: shared.identity.store.0,
        boot: shared.identity.boot.0,
        run: shared.identity.lineage.run().0,
        after: after(shared, named),
        peer_address: options.peer_address.clone(),
        http_address: options.http_address.clone(),
        zone: options.zone.as_ref().map_or_else(String::new, |zone| zone.as_str().to_owned()),
        weight: options.weight,
        software: options.software.clone(),
        format_level: u32::from(Assignment::LEVEL.0),
    }
}
