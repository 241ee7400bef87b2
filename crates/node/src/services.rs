//! What the HTTP surface needs from the rest of the node: one trait a direction.
//!
//! The surface listens before the store is open, so that `/-/ready` can tell how far the start has
//! come; it is given its [`Services`] when they are there.

use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use rangekeeper_model::{ErrorClass, TenantId};
use rangekeeper_query::Question;
use rangekeeper_telemetry::Registry;
use rangekeeper_wire::Version;
use serde::Serialize;
use uuid::Uuid;

use crate::config::Config;
use crate::http::Parameters;
use crate::readiness::Readiness;

/// An answer that is on its way. Dropping it cancels the work: the client went away.
pub type Answering<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A request failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What kind of failure it is; decides the status code.
    pub class: ErrorClass,
    /// What failed, for the person who asked. The first line is all that a sender logs.
    pub message: String,
}

impl Failure {
    /// A failure of `class`, told by `message`.
    pub fn new(class: ErrorClass, message: impl Into<String>) -> Self {
        Self { class, message: message.into() }
    }
}

/// A body that was received, still compressed.
#[derive(Debug)]
pub struct WriteRequest {
    /// Whose samples they are.
    pub tenant: TenantId,
    /// How the body is encoded.
    pub version: Version,
    /// The body: a snappy block.
    pub body: Bytes,
}

/// Exact counts of what was stored, for the headers of remote write 2.0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Float samples.
    pub samples: u64,
    /// Native histograms.
    pub histograms: u64,
    /// Exemplars.
    pub exemplars: u64,
}

/// What became of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteOutcome {
    /// Whether all of it was stored.
    pub result: Result<(), Failure>,
    /// What was stored, of a write that failed too.
    pub written: Written,
}

/// Takes writes.
pub trait WritePath: Send + Sync {
    /// Bytes that `body` will take once it is decompressed, as far as its beginning tells; nought
    /// if it is damaged.
    fn decoded_bytes(&self, body: &[u8]) -> u64;

    /// Stores a write. The outcome comes when it is as durable as the configuration asks.
    fn receive(&self, request: WriteRequest) -> Answering<'_, WriteOutcome>;
}

/// A request to read.
#[derive(Clone, Debug)]
pub struct ReadRequest {
    /// Whose data are asked for.
    pub tenant: TenantId,
    /// What is asked.
    pub question: Question,
    /// With which parameters.
    pub parameters: Parameters,
}

/// Answers reads.
pub trait ReadPath: Send + Sync {
    /// The whole answer, its envelope included, as JSON.
    fn answer(&self, request: ReadRequest) -> Answering<'_, Result<Bytes, Failure>>;
}

/// What an operator asks of the store. All calls block and are made where blocking is allowed.
pub trait Operations: Send + Sync {
    /// Whether the store takes writes at this moment; says what is wrong otherwise. Cheap: asked
    /// for each write.
    fn may_write(&self) -> Result<(), String>;

    /// Flushes and seals everything, and returns when it is done.
    fn seal(&self) -> Result<(), Failure>;

    /// Makes a copy of the store in `folder`, which does not exist yet, that opens as a store.
    fn snapshot(&self, folder: &Path) -> Result<(), Failure>;

    /// Accepts that the clock has jumped ahead, so that retention deletes again.
    fn confirm_clock(&self) -> Result<(), Failure>;

    /// What the store is.
    fn identity(&self) -> Result<Identity, Failure>;
}

/// What a node's store is, for whoever makes a cluster around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Identity {
    /// The data folder.
    pub store: Uuid,
    /// The seed of the hash that places series.
    pub seed: u64,
    /// Into how many shards.
    pub shards: u32,
    /// The cluster that the folder belongs to.
    pub cluster: Option<Uuid>,
}

/// What a node knows of its cluster. Both calls are cheap: made for each request.
pub trait Cluster: Send + Sync {
    /// All that an operator is shown, as [`Overview`](crate::overview::Overview) reads it; it may
    /// say more.
    fn status(&self) -> serde_json::Value;

    /// Whether the node can do its part; says what is wrong otherwise.
    fn readiness(&self) -> Result<(), String>;

    /// Whether the node's clock can be trusted to judge samples; says what is wrong otherwise.
    fn clock(&self) -> Result<(), String>;
}

/// Everything behind the surface.
#[derive(Clone)]
pub struct Services {
    /// Takes writes.
    pub write: Arc<dyn WritePath>,
    /// Answers reads.
    pub read: Arc<dyn ReadPath>,
    /// Serves operators.
    pub operations: Arc<dyn Operations>,
    /// Knows the cluster; none on a node that is alone.
    pub cluster: Option<Arc<dyn Cluster>>,
}

/// What the store is opened with.
pub struct Opening {
    /// All that is configured.
    pub config: Arc<Config>,
    /// Where metrics go.
    pub registry: Registry,
    /// Where progress is reported.
    pub readiness: Arc<Readiness>,
    /// Where HTTP is listened for; the port is the real one.
    pub http_address: SocketAddr,
    /// The memory of which limits are shares.
    pub available_bytes: u64,
    /// Whether damage may be given up.
    pub accept_loss: bool,
}

/// A store that is open.
pub struct Opened {
    /// What serves requests.
    pub services: Services,
    /// Writes everything out and closes; called when no request is left. May block.
    pub close: Box<dyn FnOnce() -> anyhow::Result<()> + Send>,
}
