//! What holds when the whole ensemble is away.

use bytes::Bytes;
use rangekeeper_coordination::{Assignment, Membership, Role, SessionState, Version};

use crate::stage::{Cast, Process, Stage, registered, until};

/// Two nodes, one of which leads and has published a map; then the servers are away as `fault` says
/// for one and a half session timeouts; then all is as it was, in new sessions.
async fn away<S: Stage>(cast: &Cast<S>, fault: impl AsyncFn(), mend: impl AsyncFn()) {
    cast.operator().await;
    let (a, b) = (cast.start("a"), cast.start("b"));
    let mut registrations = Vec::new();
    for (process, name) in [(&a, "a"), (&b, "b")] {
        let mut membership = process.register(name, 1, 1);
        let incarnation = registered(&mut membership).await;
        registrations.push((membership, incarnation));
    }
    let (first, mut role) = a.lead().await;
    let mut assignment = b.handle.assignment();
    let payload = Bytes::from_static(b"map 1");
    let version = a.handle.publish(first, Version(0), &payload).await.unwrap();
    let published = Some(Assignment::Published { version, payload });
    until(&mut assignment, "the map", |now| *now == published).await;
    fault().await;
    tokio::time::sleep(cast.stage.session_timeout().mul_f64(1.5)).await;
    for process in [&a, &b] {
        let ended = |state: &SessionState| *state == SessionState::Connecting;
        until(&mut process.handle.session(), "the session's end", ended).await;
    }
    // What was known stays, what was meant is not given up.
    assert_eq!(*assignment.borrow(), published);
    assert!(registrations.iter().all(|(now, _)| *now.borrow() == Membership::Pending));
    assert_eq!(*role.borrow(), Role::Following(None));
    mend().await;
    for (membership, before) in &mut registrations {
        let now = registered(membership).await;
        assert!(now > *before, "{now} after {before}");
    }
    let leading = |role: &Role| matches!(role, Role::Leading(term) if *term > first);
    let Role::Leading(second) = until(&mut role, "leading again", leading).await else {
        unreachable!("waited for")
    };
    let payload = Bytes::from_static(b"map 2");
    let version = a.handle.publish(second, version, &payload).await.unwrap();
    let published = Some(Assignment::Published { version, payload });
    until(&mut assignment, "the next map", |now| *now == published).await;
    assert!(sessions(&b) > 1);
}

fn sessions(process: &Process) -> u64 {
    process.metric("rangekeeper_coordination_sessions_total")
}

pub async fn an_ensemble_that_was_away_longer_than_sessions_last<S: Stage>(cast: &Cast<S>) {
    away(cast, async || cast.stage.kill_all().await, async || cast.stage.start_all().await).await;
}

pub async fn an_ensemble_that_stood_still_longer_than_sessions_last<S: Stage>(cast: &Cast<S>) {
    away(cast, async || cast.stage.stop_all().await, async || cast.stage.resume_all().await).await;
}
