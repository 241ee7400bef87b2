//! The keeper of the session: always one, a new one when it has ended.
//!
//! A client of ZooKeeper does not outlive its session, and declares it ended by itself after 1.4
//! session timeouts without a server. So an outage ends every client, while the server may still
//! hold the old session and its nodes; whoever registers has to reckon with that.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::core::Core;
use crate::record::decode;
use crate::znodes::{End, Failure, Link, Session};
use crate::{Cluster, Error};

/// Pauses between attempts to open a session: doubled from the first to the last, each with jitter,
/// so that an ensemble that comes back is not run over.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(2);

/// A session that lived shorter than this does not count as a success: the pause goes on growing.
const SHORT_LIFE: Duration = Duration::from_secs(2);

/// Time to end a session on the server. It is milliseconds while one answers; if none does, the
/// session ends by its timeout.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// The state of the session, as last known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// A session is being opened.
    Connecting,
    /// Connected; what is watched is current.
    Connected,
    /// No server answers; the session may live on.
    Disconnected,
    /// The ensemble answers but must not be used, or does not let us in: the cause. Tried again.
    Refused(Arc<Error>),
    /// Closed for good.
    Closed,
}

impl SessionState {
    pub(crate) const NAMES: &[&str] =
        &["connecting", "connected", "disconnected", "refused", "closed"];

    /// In one word.
    pub fn name(&self) -> &'static str {
        Self::NAMES[match self {
            Self::Connecting => 0,
            Self::Connected => 1,
            Self::Disconnected => 2,
            Self::Refused(_) => 3,
            Self::Closed => 4,
        }]
    }
}

/// Doubling pauses.
struct Backoff {
    next: Duration,
}

impl Backoff {
    fn next(&mut self, core: &Core) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(LAST_PAUSE);
        pause / 2 + core.jitter(pause / 2)
    }
}

impl Core {
    fn set_state(&self, state: SessionState) {
        self.metrics.state(&state);
        if *self.state.borrow() != state {
            self.state.send_replace(state);
        }
    }

    /// Asks for another session in place of `session`, if that is still the one in use.
    pub(crate) fn renew(&self, session: &Arc<dyn Session>) {
        let is_current =
            self.current.borrow().as_ref().is_some_and(|current| Arc::ptr_eq(current, session));
        if is_current {
            self.renew.notify_one();
        }
    }
}

/// Keeps a session open until the handle is closed.
pub(crate) async fn keep(core: Arc<Core>) {
    let mut backoff = Backoff { next: FIRST_PAUSE };
    loop {
        let opened = Instant::now();
        match open(&core).await {
            Some(Ok(session)) => {
                if !serve(&core, session).await {
                    break;
                }
                if opened.elapsed() >= SHORT_LIFE {
                    backoff.next = FIRST_PAUSE;
                }
            }
            Some(Err(error)) => {
                core.metrics.failed_connects.inc();
                warn!(%error, "failed to open a session of ZooKeeper");
                let is_refusal = !matches!(error, Error::Unavailable { .. });
                core.set_state(if is_refusal {
                    SessionState::Refused(Arc::new(error))
                } else {
                    SessionState::Connecting
                });
            }
            None => break,
        }
        if !core.pause(backoff.next(&core)).await {
            break;
        }
    }
    core.set_state(SessionState::Closed);
}

/// A session with the right cluster behind it; `None` when the handle was closed meanwhile.
async fn open(core: &Core) -> Option<Result<Arc<dyn Session>, Error>> {
    let operation = "open a session";
    // Cancel-safe: a connection that is given up has registered nothing.
    let connected = tokio::select! {
        () = core.stop.cancelled() => return None,
        connected = core.connect.connect() => connected,
    };
    let session = match connected {
        Ok(session) => session,
        Err(failure) => {
            return Some(Err(Error::Unavailable { operation, reason: failure.to_string() }));
        }
    };
    if let Err(error) = check_cluster(core, &session).await {
        close(&session).await;
        return Some(Err(error));
    }
    Some(Ok(session))
}

/// Refuses an ensemble that holds another cluster at our place, or none where there was one: what
/// is done there would be done to others.
async fn check_cluster(core: &Core, session: &Arc<dyn Session>) -> Result<(), Error> {
    let path = &core.paths.cluster;
    let expected = *core.cluster.lock();
    let found = match core.ask("read_cluster", session, |s| s.read(path)).await {
        Ok((data, _)) => decode::<Cluster>(path, &data)?.uuid,
        Err(failure) if failure.is_no_node() => {
            return match expected {
                // Nobody has joined yet: `init` may be about to make it.
                None => Ok(()),
                Some(_) => Err(Error::NotInitialized { root: core.paths.root.clone() }),
            };
        }
        Err(failure) => return Err(Error::of("read the cluster", path, failure)),
    };
    core.pin_cluster(found)
}

impl Core {
    /// Notes the cluster that is there as ours, or refuses it.
    pub(crate) fn pin_cluster(&self, found: uuid::Uuid) -> Result<(), Error> {
        let mut cluster = self.cluster.lock();
        match *cluster {
            Some(expected) if expected != found => {
                Err(Error::OtherCluster { root: self.paths.root.clone(), expected, found })
            }
            _ => {
                *cluster = Some(found);
                Ok(())
            }
        }
    }
}

/// Gives out the session while it lives; says whether another one is wanted.
async fn serve(core: &Core, session: Arc<dyn Session>) -> bool {
    core.metrics.sessions.inc();
    core.metrics.session(Some(session.id()));
    info!(session = format!("{:#x}", session.id()), "opened a session of ZooKeeper");
    let mut link = session.link();
    core.current.send_replace(Some(Arc::clone(&session)));
    let goes_on = loop {
        let now = *link.borrow_and_update();
        match now {
            Link::Connected => core.set_state(SessionState::Connected),
            Link::Disconnected => core.set_state(SessionState::Disconnected),
            Link::Ended(end) => {
                warn!(session = format!("{:#x}", session.id()), "{end}");
                break true;
            }
        }
        // Cancel-safe: all only wait; a notification that is not taken stays.
        tokio::select! {
            () = core.stop.cancelled() => break false,
            () = core.renew.notified() => break true,
            changed = link.changed() => {
                if changed.is_err() && !matches!(*link.borrow(), Link::Ended(_)) {
                    break true;
                }
            }
        }
    };
    core.metrics.session(None);
    core.set_state(SessionState::Connecting);
    core.current.send_replace(None);
    close(&session).await;
    goes_on
}

async fn close(session: &Arc<dyn Session>) {
    if tokio::time::timeout(CLOSE_LIMIT, session.close()).await.is_err() {
        warn!("failed to close the session of ZooKeeper in {CLOSE_LIMIT:?}; it will time out");
    }
}

/// Waits until the connection of a session is another than it was, or for ever if the session has
/// ended and somebody else notices.
pub(crate) async fn link_changed(link: &mut watch::Receiver<Link>) -> Link {
    if link.changed().await.is_err() {
        let now = *link.borrow();
        return if now == Link::Connected { Link::Ended(End::Closed) } else { now };
    }
    *link.borrow_and_update()
}

/// Whether asking again in a moment may help.
pub(crate) fn is_passing(failure: &Failure) -> bool {
    !matches!(failure, Failure::Refused { .. })
}
