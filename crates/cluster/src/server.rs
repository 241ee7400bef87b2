//! Serving peers: connections up to a limit, the guard before every call, and a drain against a
//! deadline when the node stops.

mod answering;
mod glances;
mod guard;
mod handler;
mod service;
mod writes;

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rangekeeper_telemetry::Registry;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::guard::Guard;
use self::service::PeerService;
use crate::counted::Counted;
use crate::executor::Tasks;
use crate::identity::Local;
use crate::limits::{
    CONNECTION_WINDOW_BYTES, CONNECTIONS, DRAIN, HTTP2_FRAME_BYTES, KEEP_ALIVE_INTERVAL,
    KEEP_ALIVE_TIMEOUT, SERVED_CONTROL_CALLS, SERVED_QUERIES, SERVED_WRITE_STREAMS,
    STREAM_WINDOW_BYTES,
};
use crate::metrics::ServerMetrics;
use crate::secret::ClusterSecret;

pub use self::answering::{PartSink, SinkClosed};
pub use self::handler::{Answering, PeerHandler, Report};

/// How long accepting rests after it failed: mostly there are no file descriptors left, and asking
/// again at once would only take the time that closes them.
const REST_AFTER_ERROR: Duration = Duration::from_millis(100);

/// What can be set about serving peers.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// What every peer has to show.
    pub secret: Option<ClusterSecret>,
    /// Connections that are taken at most.
    pub connections: usize,
    /// Control calls that are served at a time; more are shed.
    pub control_calls: usize,
    /// Write streams that are served at a time; more are shed.
    pub write_streams: usize,
    /// Queries that are served at a time; more are shed.
    pub queries: usize,
    /// How long what has begun gets when the node stops.
    pub drain: Duration,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            secret: None,
            connections: CONNECTIONS,
            control_calls: SERVED_CONTROL_CALLS,
            write_streams: SERVED_WRITE_STREAMS,
            queries: SERVED_QUERIES,
            drain: DRAIN,
        }
    }
}

/// How the last calls ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// All that had begun were answered.
    Whole,
    /// The time was over before; the rest was cut.
    Cut,
}

/// Serves the peers of a node.
pub struct PeerServer {
    listener: TcpListener,
    service: TowerToHyperService<Guard>,
    http: http2::Builder<Tasks>,
    /// Connections that may still be opened.
    room: Arc<Semaphore>,
    metrics: ServerMetrics,
    tasks: TaskTracker,
    /// No new calls, no new frames.
    stopping: CancellationToken,
    /// What runs ends.
    cut: CancellationToken,
    drain: Duration,
}

impl PeerServer {
    /// Serves peers that come to `listener` with the answers of `handler`.
    pub fn new(
        listener: TcpListener,
        handler: Arc<dyn PeerHandler>,
        local: Local,
        options: &ServerOptions,
        registry: &Registry,
    ) -> Self {
        let metrics = ServerMetrics::new(registry);
        let (stopping, cut) = (CancellationToken::new(), CancellationToken::new());
        let tasks = TaskTracker::new();
        let service = PeerService::new(handler, local, options, &metrics, &stopping);
        let guard = Guard::new(service, options.secret.clone(), stopping.clone(), metrics.clone());
        let mut http = http2::Builder::new(Tasks { tasks: tasks.clone(), stop: cut.clone() });
        http.timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_frame_size(HTTP2_FRAME_BYTES)
            .keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT);
        Self {
            listener,
            service: TowerToHyperService::new(guard),
            http,
            room: Arc::new(Semaphore::new(options.connections)),
            metrics,
            tasks,
            stopping,
            cut,
            drain: options.drain,
        }
    }

    /// Accepts and serves until `stop`; then closes the listener, takes no new calls and frames,
    /// and gives what has begun its time. Dropped, it cuts everything.
    pub async fn run(self, stop: CancellationToken) -> Drained {
        let _cut = self.cut.clone().drop_guard();
        loop {
            // Both may be dropped while they wait: a connection that was not accepted stays in the
            // backlog, a permit that was not given stays in the semaphore.
            tokio::select! {
                () = stop.cancelled() => break,
                (permit, accepted) = self.accept() => match accepted {
                    Ok(stream) => self.serve(stream, permit),
                    Err(error) => {
                        tracing::warn!(%error, "failed to accept a peer's connection");
                        tokio::time::sleep(REST_AFTER_ERROR).await;
                    }
                },
            }
        }
        drop(self.listener);
        self.stopping.cancel();
        self.tasks.close();
        let drained = tokio::time::timeout(self.drain, self.tasks.wait()).await;
        self.cut.cancel();
        self.tasks.wait().await;
        if drained.is_ok() { Drained::Whole } else { Drained::Cut }
    }

    /// The next connection, once there is room for it.
    async fn accept(&self) -> (OwnedSemaphorePermit, io::Result<TcpStream>) {
        let room = Arc::clone(&self.room);
        let permit = room.acquire_owned().await.expect("the semaphore is never closed");
        (permit, self.listener.accept().await.map(|(stream, _)| stream))
    }

    /// One connection to its end.
    fn serve(&self, stream: TcpStream, permit: OwnedSemaphorePermit) {
        // Answers are waited for; a stream that is dead already shows at the first read.
        let _ = stream.set_nodelay(true);
        let (sent, received) = (self.metrics.sent.clone(), self.metrics.received.clone());
        let io = TokioIo::new(Counted { stream, sent, received });
        let connection = self.http.serve_connection(io, self.service.clone());
        let (stopping, cut) = (self.stopping.clone(), self.cut.clone());
        let open = self.metrics.connections.clone();
        open.inc();
        self.tasks.spawn(async move {
            let mut connection = pin!(connection);
            let ended = async {
                // A connection goes on where it was left.
                tokio::select! {
                    ended = connection.as_mut() => return ended,
                    () = stopping.cancelled() => connection.as_mut().graceful_shutdown(),
                }
                connection.await
            };
            // Both may be dropped: that is how the connection ends.
            tokio::select! {
                () = cut.cancelled() => {}
                ended = ended => if let Err(error) = ended {
                    tracing::debug!(%error, "a peer's connection broke");
                },
            }
            open.dec();
            drop(permit);
        });
    }
}
