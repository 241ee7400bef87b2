//! Keeping this node's name, and giving way where somebody else has it.

use std::sync::Arc;

use rangekeeper_coordination::{Error, Membership, Registration};
use rangekeeper_placement::Assignment;
use tracing::warn;

use super::alarms::AlarmKind;
use super::minding;
use super::shared::{Shared, changed};

/// Registers this node and says how that goes, until the agent is stopped.
///
/// **Invariant:** a node whose name is another's judges every request as not ready: what lies here
/// may be a copy of the other's folder, and counts as no second one.
pub(super) async fn run(shared: Arc<Shared>) {
    if let Err(error) = shared.coordination.belong(shared.identity.cluster.0) {
        shared.raise(AlarmKind::OtherCluster, format!("failed to {error}"));
        return shared.standing.refuse();
    }
    let mut membership = shared.coordination.register(registration(&shared));
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

/// What this node says of itself.
fn registration(shared: &Shared) -> Registration {
    let options = &shared.options;
    if options.weight == 0 {
        warn!(node = %options.node, "registers with a weight of 0: it is given no shards");
    }
    Registration {
        node: options.node.clone(),
        store: shared.identity.store.0,
        boot: shared.identity.boot.0,
        run: options.run,
        peer_address: options.peer_address.clone(),
        http_address: options.http_address.clone(),
        zone: options.zone.as_ref().map_or_else(String::new, |zone| zone.as_str().to_owned()),
        weight: options.weight,
        software: options.software.clone(),
        format_level: u32::from(Assignment::LEVEL.0),
    }
}
