//! What all parts of one handle share: the session that is in use, and the one way to ask it.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::paths::Paths;
use crate::session::SessionState;
use crate::znodes::{Answer, Connect, Failure, Link, Operation, Session};
use crate::{CoordinationMetrics, Ensemble, Error, Settings};

/// The most that is written at once. A server with its default settings closes the connection on a
/// packet of 1 MiB and says nothing; half of that leaves room for what a packet has besides.
pub(crate) const PAYLOAD_LIMIT_BYTES: usize = 512 * 1024;

/// Requests under way. The client library's queue has no end, so this is the bound; a handle has a
/// handful of loops, each with one request.
const REQUEST_LIMIT: usize = 64;

pub(crate) struct Core {
    pub(crate) connect: Arc<dyn Connect>,
    pub(crate) paths: Paths,
    pub(crate) settings: Settings,
    pub(crate) metrics: CoordinationMetrics,
    /// The session in use, which may be disconnected.
    pub(crate) current: watch::Sender<Option<Arc<dyn Session>>>,
    pub(crate) state: watch::Sender<SessionState>,
    /// The cluster that this node belongs to, once it is known.
    pub(crate) cluster: Mutex<Option<Uuid>>,
    /// Asks the keeper of the session for another one.
    pub(crate) renew: Notify,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
    random: Mutex<fastrand::Rng>,
    requests: Semaphore,
}

impl Core {
    pub(crate) fn new(
        ensemble: Ensemble,
        settings: Settings,
        metrics: CoordinationMetrics,
    ) -> Arc<Self> {
        Arc::new(Self {
            connect: ensemble.connect,
            paths: Paths::new(&ensemble.root),
            current: watch::Sender::new(None),
            state: watch::Sender::new(SessionState::Connecting),
            cluster: Mutex::new(settings.cluster),
            renew: Notify::new(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            random: Mutex::new(fastrand::Rng::with_seed(settings.seed)),
            requests: Semaphore::new(REQUEST_LIMIT),
            settings,
            metrics,
        })
    }

    /// A time up to `most`, so that many nodes do not act at once.
    pub(crate) fn jitter(&self, most: Duration) -> Duration {
        most.mul_f64(self.random.lock().f64())
    }

    /// Asks `session`. Nothing is sent without a connection: the library would keep it and send it
    /// whenever there is one again.
    pub(crate) async fn ask<'a, T>(
        &self,
        operation: &'static str,
        session: &'a Arc<dyn Session>,
        request: impl FnOnce(&'a dyn Session) -> Answer<'a, T>,
    ) -> Result<T, Failure> {
        let started = Instant::now();
        let answer = async {
            let _turn = self.requests.acquire().await.expect("nobody closes it");
            let link = *session.link().borrow();
            match link {
                Link::Connected => request(session.as_ref()).await,
                Link::Disconnected => Err(Failure::Unsent),
                Link::Ended(end) => Err(Failure::Ended(end)),
            }
        };
        let limit = self.settings.request_timeout;
        // What is given up here may still be carried out, as any unknown outcome may.
        let result = tokio::time::timeout(limit, answer)
            .await
            .unwrap_or_else(|_| Err(Failure::Unknown(format!("no answer within {limit:?}"))));
        self.metrics.request(operation, started.elapsed(), result.as_ref().err());
        result
    }

    /// Writes all of `operations` or nothing. What is too large is an error before it is sent.
    pub(crate) async fn commit(
        &self,
        operation: &'static str,
        session: &Arc<dyn Session>,
        operations: Vec<Operation>,
    ) -> Result<(), Failure> {
        self.ask(operation, session, |session| session.commit(operations)).await
    }

    /// Refuses a payload that is too large to be sent.
    pub(crate) fn check_size(&self, path: &str, bytes: usize) -> Result<(), Error> {
        if bytes <= PAYLOAD_LIMIT_BYTES {
            return Ok(());
        }
        self.metrics.oversize.inc();
        Err(Error::TooLarge { path: path.to_owned(), bytes, limit: PAYLOAD_LIMIT_BYTES })
    }

    /// The session, once it is connected; waits no longer than a request may take.
    pub(crate) async fn connected(
        &self,
        operation: &'static str,
    ) -> Result<Arc<dyn Session>, Error> {
        let limit = self.settings.request_timeout;
        let mut state = self.state.subscribe();
        // Cancel-safe: all only wait.
        tokio::select! {
            biased;
            session = self.connected_session() => session.ok_or(Error::Closed { operation }),
            error = refusal(&mut state) => Err(error),
            () = tokio::time::sleep(limit) => {
                let reason = format!("it is {} since {limit:?}", self.state.borrow().name());
                Err(Error::Unavailable { operation, reason })
            }
        }
    }

    /// The session, whenever it is connected; `None` once the handle is closed.
    pub(crate) async fn connected_session(&self) -> Option<Arc<dyn Session>> {
        let mut current = self.current.subscribe();
        loop {
            let session = current.borrow_and_update().clone();
            // Cancel-safe: all branches only wait, and what they wait for is looked at again.
            if let Some(session) = session {
                let mut link = session.link();
                if *link.borrow_and_update() == Link::Connected {
                    return Some(session);
                }
                tokio::select! {
                    () = self.stop.cancelled() => return None,
                    _ = current.changed() => {}
                    changed = link.changed() => {
                        if changed.is_err() {
                            // Its client is gone; the keeper will put another in its place.
                            tokio::select! {
                                () = self.stop.cancelled() => return None,
                                _ = current.changed() => {}
                            }
                        }
                    }
                }
            } else {
                tokio::select! {
                    () = self.stop.cancelled() => return None,
                    _ = current.changed() => {}
                }
            }
        }
    }

    /// Waits until the session that was in use is given up.
    pub(crate) async fn session_gone(&self) {
        let mut current = self.current.subscribe();
        // Its sender is ours, so this cannot fail.
        let _ = current.wait_for(Option::is_none).await;
    }

    /// Waits, and says whether to go on.
    pub(crate) async fn pause(&self, time: Duration) -> bool {
        // Cancel-safe: both only wait.
        tokio::select! {
            () = self.stop.cancelled() => false,
            () = tokio::time::sleep(time) => true,
        }
    }
}

/// Waits for an ensemble that must not be used, and says why.
async fn refusal(state: &mut watch::Receiver<SessionState>) -> Error {
    loop {
        if let SessionState::Refused(error) = &*state.borrow_and_update() {
            return (**error).clone();
        }
        if state.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use rangekeeper_telemetry::Registry;

    use super::*;
    use crate::memory::MemoryEnsemble;
    use crate::znodes::Lifetime;

    #[tokio::test(start_paused = true)]
    async fn nothing_is_sent_that_would_wait_for_a_connection() {
        let twin = MemoryEnsemble::new(1);
        let address = "twin:1/root".parse().unwrap();
        let ensemble = twin.client("a", &address, Duration::from_secs(4));
        let metrics = CoordinationMetrics::new(&Registry::new());
        let core = Core::new(ensemble, Settings::default(), metrics);
        let session = core.connect.connect().await.unwrap();
        twin.cut("a");
        let create = vec![Operation::create("/late", Bytes::new(), Lifetime::Persistent)];
        let failure = core.commit("create", &session, create).await;
        assert_eq!(failure, Err(Failure::Unsent));
        twin.mend("a");
        let mut link = session.link();
        link.wait_for(|link| *link == Link::Connected).await.unwrap();
        core.ask("read", &session, |session| session.read("/")).await.unwrap();
        assert_eq!(twin.read("/late"), None);
    }
}
