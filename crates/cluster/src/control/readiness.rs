//! Whether this node can take its part.

use rangekeeper_coordination::{Error, Membership, SessionState};
use rangekeeper_wire::proto::peer::Readiness;

use super::alarms::AlarmKind;
use super::shared::Shared;
use super::speakers::CLOCK_LIMIT;
use crate::server::Report;

/// Nothing if it can, or what it waits for, as a sentence for people.
///
/// Whether ZooKeeper answers is no part of it: a node that the map names was registered once, and
/// goes on without.
pub(super) fn readiness(shared: &Shared) -> Result<(), String> {
    if shared.stop.is_cancelled() {
        return Err("the node is stopping".to_owned());
    }
    let is_lost = match &*shared.membership.borrow() {
        // As if nobody answered: the map says that this node had its name once.
        Membership::Refused(error) if matches!(**error, Error::NotInitialized { .. }) => true,
        Membership::Refused(error) => return Err(format!("failed to {error}")),
        Membership::Pending | Membership::Registered(_) => false,
    };
    if shared.standing.is_refused() {
        return Err("ZooKeeper has another cluster where this one was".to_owned());
    }
    if let Some(why) = shared.standing.suspicion() {
        return Err(format!("the data folder is not to be trusted: {why}"));
    }
    placed(shared)?;
    // While nobody answers, the map says that this node had its name once.
    let is_connected = *shared.session.borrow() == SessionState::Connected;
    if is_connected && !is_lost && !shared.standing.has_registered() {
        return Err("the node is not registered yet".to_owned());
    }
    if !shared.standing.has_asked() {
        return Err("peers are asked for a newer assignment".to_owned());
    }
    if !shared.standing.is_known() {
        return Err("the assignment does not name this start of the data folder yet".to_owned());
    }
    if !shared.standing.is_replayed() {
        return Err("the log is being replayed".to_owned());
    }
    clock(shared)
}

/// Whether the shards are given to nodes and this is one of those.
fn placed(shared: &Shared) -> Result<(), String> {
    let Some(view) = shared.view() else {
        let members = shared.members.borrow();
        return Err(match members.as_ref() {
            Some(_) if shared.alarms.holds(AlarmKind::Unreadable) => {
                "the assignment cannot be read by this build".to_owned()
            }
            Some(members) => format!(
                "shards are placed when all expected nodes are registered, which {} are",
                members.members.len()
            ),
            None => {
                let session = shared.session.borrow();
                format!("no assignment is known, and ZooKeeper's session is {}", session.name())
            }
        });
    };
    let (assignment, me) = (&view.assignment, view.me);
    if !assignment.is_placed() {
        return Err("no shards are placed".to_owned());
    }
    if me.is_some() {
        return Ok(());
    }
    let (node, identity) = (&shared.options.node, &shared.identity);
    Err(match assignment.row(node, identity.store).map(|row| assignment.node(row).boot) {
        Some(boot) => format!(
            "the data folder was opened {} times, and {boot} times when the cluster saw it last, \
             which is no start that it knows of: it is an older copy",
            identity.boot
        ),
        None => "the assignment does not name this node with this data folder yet".to_owned(),
    })
}

/// Whether the clock agrees with most others'.
pub(super) fn clock(shared: &Shared) -> Result<(), String> {
    let ahead_ms = shared.speakers.majority_ahead_ms();
    if u128::from(ahead_ms.unsigned_abs()) < CLOCK_LIMIT.as_millis() {
        return Ok(());
    }
    let seconds = ahead_ms.unsigned_abs() / 1000;
    let side = if ahead_ms > 0 { "behind" } else { "ahead of" };
    Err(format!("the clock is {seconds} s {side} those of most nodes"))
}

/// The same as peers are told.
pub(super) fn report(shared: &Shared) -> Report {
    let (readiness, text) = match readiness(shared) {
        Ok(()) => (Readiness::Ready, String::new()),
        Err(text) if shared.stop.is_cancelled() => (Readiness::Stopping, text),
        Err(text) => (Readiness::NotReady, text),
    };
    Report { readiness, text }
}
