//! Connections: accepted up to a limit, served, and drained against a deadline when the node stops.
//!
//! `axum::serve` has neither the limit, nor timeouts, nor the deadline, so the loop is here;
//! HTTP/1.1 itself is hyper's.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use rangekeeper_telemetry::{IntCounter, IntGauge, Registry};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::JoinSet;

use crate::config;

/// How long accepting rests after it failed: mostly there are no file descriptors left, and asking
/// again at once would only take the time that closes them.
const REST_AFTER_ERROR: Duration = Duration::from_millis(100);

/// How the last connections ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// All requests that had begun were answered.
    Whole,
    /// The time was over before so many connections had ended; they were cut.
    Cut(usize),
}

/// Serves connections until it is told to stop.
pub(crate) struct Server {
    listener: TcpListener,
    router: Router,
    http: http1::Builder,
    drain: Duration,
    /// Connections that may still be opened.
    room: Arc<Semaphore>,
    open: IntGauge,
    accepted: IntCounter,
}

impl Server {
    pub(crate) fn new(
        listener: TcpListener,
        router: Router,
        config: &config::Server,
        registry: &Registry,
    ) -> Self {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(config.idle_timeout);
        Self {
            listener,
            router,
            http,
            drain: config.drain,
            room: Arc::new(Semaphore::new(config.max_connections.get())),
            open: registry.gauge("rangekeeper_http_connections", "Connections that are open."),
            accepted: registry.counter(
                "rangekeeper_http_connections_accepted_total",
                "Connections that were accepted.",
            ),
        }
    }

    /// Accepts and serves until `stop` comes or is dropped; then closes the listener and gives
    /// requests that have begun the time to be answered.
    pub(crate) async fn run(self, mut stop: oneshot::Receiver<()>) -> Drained {
        let graceful = GracefulShutdown::new();
        let mut connections = JoinSet::new();
        loop {
            // All three may be dropped while they wait: a connection that was not accepted stays in
            // the backlog, a permit that was not given stays in the semaphore, and an ended task
            // stays in the set.
            tokio::select! {
                _ = &mut stop => break,
                Some(_) = connections.join_next() => {}
                (permit, accepted) = self.accept() => match accepted {
                    Ok(stream) => {
                        connections.spawn(self.serve(stream, permit, graceful.watcher()));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "failed to accept a connection");
                        tokio::time::sleep(REST_AFTER_ERROR).await;
                    }
                },
            }
        }
        drop(self.listener);
        let drained = tokio::time::timeout(self.drain, graceful.shutdown()).await;
        let left = graceful_left(&mut connections);
        connections.shutdown().await;
        if drained.is_ok() { Drained::Whole } else { Drained::Cut(left) }
    }

    /// The next connection, once there is room for it.
    async fn accept(&self) -> (OwnedSemaphorePermit, io::Result<TcpStream>) {
        let room = Arc::clone(&self.room);
        let permit = room.acquire_owned().await.expect("the semaphore is never closed");
        let accepted = self.listener.accept().await.map(|(stream, _)| stream);
        (permit, accepted)
    }

    /// One connection to its end.
    fn serve(
        &self,
        stream: TcpStream,
        permit: OwnedSemaphorePermit,
        watcher: Watcher,
    ) -> impl Future<Output = ()> + use<> {
        self.accepted.inc();
        self.open.inc();
        let open = self.open.clone();
        // Answers are small and waited for; a peer that is gone already shows when the stream is
        // read.
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(self.router.clone());
        let connection = self.http.serve_connection(TokioIo::new(stream), service);
        async move {
            if let Err(error) = watcher.watch(connection).await {
                tracing::debug!(%error, "connection broke");
            }
            open.dec();
            drop(permit);
        }
    }
}

/// Connections that have not ended.
fn graceful_left(connections: &mut JoinSet<()>) -> usize {
    while connections.try_join_next().is_some() {}
    connections.len()
}
