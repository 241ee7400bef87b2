//! Getting a map that somebody was heard to have, or that a router met: from peers that have it,
//! which takes one way there and back, else from ZooKeeper. One at a time, however many ask.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rangekeeper_coordination::{Assignment, SessionState};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::shared::{Shared, Wanted, changed};
use crate::peer::{Call, Peer, Urgency};

/// Peers that are asked at once. One would do; two more for those that are about to die.
const ASKED_AT_ONCE: usize = 3;

/// How long a peer may take: it answers from memory.
const PEER_WITHIN: Duration = Duration::from_secs(1);

/// How long what came gets to be written and applied before others are asked.
const APPLY_WITHIN: Duration = Duration::from_millis(200);

/// Between the first two rounds; doubled from round to round up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// See [`FIRST_PAUSE`].
const LAST_PAUSE: Duration = Duration::from_secs(1);

/// Fetches what is wanted until the agent is stopped.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut wanted = shared.wanted.subscribe();
    loop {
        let now = *wanted.borrow_and_update();
        let is_over = now.until <= Instant::now() || has(&shared, now);
        // Cancel-safe: a round that is given up has at most sent a map to be looked at.
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = changed(&mut wanted) => {}
            () = used(&shared, now), if !is_over => {}
            () = sleep_until(now.until), if !is_over => {}
            () = ask(&shared, now), if !is_over => {}
        }
    }
}

fn has(shared: &Shared, wanted: Wanted) -> bool {
    shared.view().is_some_and(|view| view.assignment.version() >= wanted.version)
}

/// Waits until the map is in use.
async fn used(shared: &Shared, wanted: Wanted) {
    let mut views = shared.views.subscribe();
    while !has(shared, wanted) {
        changed(&mut views).await;
    }
}

/// Asks whoever may have it, again and again.
async fn ask(shared: &Shared, wanted: Wanted) {
    let mut pause = FIRST_PAUSE;
    loop {
        // Whoever has a newer one than this node: what is wanted may be nobody's.
        let ours = shared.version();
        let has = |peer: Peer| {
            let theirs = shared.speakers.version_of(peer.store()).filter(|theirs| *theirs > ours);
            theirs.map(|theirs| (theirs, peer))
        };
        let mut holders: Vec<_> = shared.roster.all().into_iter().filter_map(has).collect();
        holders.sort_by_key(|(theirs, _)| std::cmp::Reverse(*theirs));
        let deadline = wanted.until.min(Instant::now() + PEER_WITHIN);
        let call = Call { deadline, urgency: Urgency::MustTry };
        // Dropped with this future, which ends the calls.
        let mut asked: JoinSet<Option<Bytes>> = JoinSet::new();
        for (_, peer) in holders.into_iter().take(ASKED_AT_ONCE) {
            asked.spawn(async move { peer.newer_assignment(call).await.ok().flatten() });
        }
        let mut is_given = false;
        while let Some(answer) = asked.join_next().await {
            if let Some(encoded) = answer.ok().flatten() {
                is_given = true;
                // Nobody takes it only when the agent stops.
                let _ = shared.maps.send(encoded).await;
                break;
            }
        }
        if is_given {
            sleep(APPLY_WITHIN).await;
        }
        ask_zookeeper(shared).await;
        sleep(pause).await;
        pause = (pause * 2).min(LAST_PAUSE);
    }
}

/// Reads the map, if ZooKeeper can be asked now.
async fn ask_zookeeper(shared: &Shared) {
    if *shared.session.borrow() != SessionState::Connected {
        return;
    }
    if let Ok(Assignment::Published { payload, .. }) = shared.coordination.read_assignment().await {
        let _ = shared.maps.send(payload).await;
    }
}
