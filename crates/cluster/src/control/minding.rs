//! What the session says of the ensemble, as alarms: that it lost the cluster, or has another one.

use std::sync::Arc;

use rangekeeper_coordination::{Error, SessionState};

use super::alarms::AlarmKind;
use super::shared::{Shared, changed};

/// What is told when the ensemble has no cluster although this node belongs to one.
pub(super) fn lost(root: &str) -> String {
    format!(
        "ZooKeeper has lost the cluster at {root}: the nodes go on with what they know; restore \
         ZooKeeper's data, and do not run `cluster init`, which makes another cluster"
    )
}

/// Raises and clears alarms as the session goes, until the agent is stopped.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut session = shared.session.clone();
    // Others raise these kinds too, so only what was raised here is cleared here.
    let mut raised: Option<AlarmKind> = None;
    loop {
        let state = session.borrow_and_update().clone();
        let now = match &state {
            SessionState::Refused(error) => match &**error {
                Error::NotInitialized { root } => Some((AlarmKind::Lost, lost(root))),
                Error::OtherCluster { .. } => {
                    Some((AlarmKind::OtherCluster, format!("failed to {error}")))
                }
                _ => None,
            },
            _ => None,
        };
        let is_current = matches!(state, SessionState::Connected | SessionState::Refused(_));
        if let Some(before) = raised
            && is_current
            && now.as_ref().is_none_or(|(kind, _)| *kind != before)
        {
            shared.alarms.clear(before);
            raised = None;
        }
        if let Some((kind, text)) = now {
            shared.raise(kind, text);
            raised = Some(kind);
        }
        // Cancel-safe: both only wait.
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = changed(&mut session) => {}
        }
    }
}
