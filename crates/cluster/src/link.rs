//! One connection to a peer: made when it is first needed, made again when it was lost.
//!
//! A lost connection that had carried a message is made again at once; attempts that led to no
//! message rest longer each time. Who asks while another connects waits for that attempt, and
//! takes its failure as its own.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::body::Body;
use tower_service::Service;

use crate::breaker::rest_after;
use crate::counted::Counted;
use crate::executor::Tasks;
use crate::limits::{
    CONNECT_TIMEOUT, CONNECTION_WINDOW_BYTES, HTTP2_FRAME_BYTES, KEEP_ALIVE_INTERVAL,
    KEEP_ALIVE_TIMEOUT, STREAM_WINDOW_BYTES,
};
use crate::metrics::LinkMetrics;
use crate::secret::ClusterSecret;

/// What a connection carries. One kind never waits behind another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Control,
    Write,
    Query,
    Bulk,
}

/// What connections are made with.
#[derive(Clone)]
pub(crate) struct Dialing {
    /// `host:port`
    pub(crate) address: Arc<str>,
    pub(crate) secret: Option<ClusterSecret>,
    /// All tasks of connections run in it.
    pub(crate) tasks: TaskTracker,
    /// Ends the connections.
    pub(crate) stop: CancellationToken,
}

/// The way to one kind of service of a peer.
pub(crate) struct Link {
    dialing: Dialing,
    metrics: LinkMetrics,
    /// One attempt at a time.
    turn: Semaphore,
    state: Mutex<State>,
}

struct State {
    connection: Option<Connection>,
    /// Attempts that ended, well or not.
    attempts: u64,
    /// Attempts since the last message.
    fruitless: u32,
    rest_until: Instant,
    last_failure: Arc<str>,
    random: fastrand::Rng,
}

/// A connection that was made. Clones share it.
#[derive(Clone)]
pub(crate) struct Connection {
    requests: SendRequest<Body>,
    secret: Option<ClusterSecret>,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Control, Self::Write, Self::Query, Self::Bulk];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Write => "write",
            Self::Query => "query",
            Self::Bulk => "bulk",
        }
    }
}

impl Link {
    pub(crate) fn new(dialing: Dialing, metrics: LinkMetrics, seed: u64) -> Self {
        let state = State {
            connection: None,
            attempts: 0,
            fruitless: 0,
            rest_until: Instant::now(),
            last_failure: "".into(),
            random: fastrand::Rng::with_seed(seed),
        };
        Self { dialing, metrics, turn: Semaphore::new(1), state: Mutex::new(state) }
    }

    /// The connection, made if there is none. May be dropped while it waits: what it began to make
    /// is given up. The error says why there is none.
    pub(crate) async fn connection(&self) -> Result<Connection, Arc<str>> {
        let seen = match self.state.lock().live() {
            Ok(connection) => return Ok(connection),
            Err(attempts) => attempts,
        };
        let _turn = self.turn.acquire().await.expect("the semaphore is never closed");
        let rest_until = {
            let mut state = self.state.lock();
            match state.live() {
                Ok(connection) => return Ok(connection),
                Err(attempts) if attempts > seen => return Err(Arc::clone(&state.last_failure)),
                Err(_) => state.rest_until,
            }
        };
        sleep_until(rest_until).await;
        let dialled = match timeout(CONNECT_TIMEOUT, self.dial()).await {
            Ok(dialled) => dialled,
            Err(_) => Err("the connection could not be made in time".into()),
        };
        self.state.lock().attempted(dialled)
    }

    /// A message came on this connection, so that attempts are worth something again.
    pub(crate) fn heard(&self) {
        self.state.lock().fruitless = 0;
    }

    async fn dial(&self) -> Result<Connection, Arc<str>> {
        let Dialing { address, secret, tasks, stop } = &self.dialing;
        let stream = TcpStream::connect(&**address).await.map_err(|error| error.to_string())?;
        // Answers are waited for; a stream that is dead already shows at the first read.
        let _ = stream.set_nodelay(true);
        let (sent, received) = (self.metrics.sent.clone(), self.metrics.received.clone());
        let io = TokioIo::new(Counted { stream, sent, received });
        let mut http = Builder::new(Tasks { tasks: tasks.clone(), stop: stop.clone() });
        http.timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_frame_size(HTTP2_FRAME_BYTES)
            .keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .keep_alive_while_idle(true);
        let (requests, driver) = http.handshake(io).await.map_err(|error| error.to_string())?;
        let (stop, open) = (stop.clone(), self.metrics.open.clone());
        open.inc();
        tasks.spawn(async move {
            // Both may be dropped: that is how the connection ends.
            tokio::select! {
                () = stop.cancelled() => {}
                ended = driver => if let Err(error) = ended {
                    tracing::debug!(%error, "connection to a peer broke");
                },
            }
            open.dec();
        });
        Ok(Connection { requests, secret: secret.clone() })
    }
}

impl State {
    /// The connection, if there is one; otherwise how many attempts there were.
    fn live(&mut self) -> Result<Connection, u64> {
        match &self.connection {
            Some(connection) if !connection.requests.is_closed() => Ok(connection.clone()),
            _ => {
                self.connection = None;
                Err(self.attempts)
            }
        }
    }

    fn attempted(&mut self, made: Result<Connection, Arc<str>>) -> Result<Connection, Arc<str>> {
        self.attempts += 1;
        self.fruitless = self.fruitless.saturating_add(1);
        self.rest_until = Instant::now() + rest_after(self.fruitless, &mut self.random);
        match &made {
            Ok(connection) => self.connection = Some(connection.clone()),
            Err(text) => self.last_failure = Arc::clone(text),
        }
        made
    }
}

impl Service<Request<Body>> for Connection {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.requests.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if let Some(secret) = &self.secret {
            secret.show(request.headers_mut());
        }
        Box::pin(self.requests.send_request(request))
    }
}
