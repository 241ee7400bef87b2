//! One remote node, as whoever asks it sees it.

mod gather;
mod glances;
mod headed;
mod parts;
mod probing;
mod writer;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rangekeeper_wire::proto::peer as proto;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Response, Status};

use self::glances::Glances;
use self::headed::Headed;
use self::parts::Asked;
use self::writer::Queue;
use crate::breaker::Breaker;
use crate::error::{PeerError, Refusal};
use crate::identity::{Local, Speaker, View};
use crate::limits::{
    BULK_CALLS, BULK_MESSAGE_BYTES, CONTROL_CALLS, CONTROL_MESSAGE_BYTES, QUERY_CALLS,
    QUERY_MESSAGE_BYTES, WRITE_MESSAGE_BYTES,
};
use crate::link::{Connection, Dialing, Kind, Link};
use crate::metrics::{ClientMetrics, PeerMetrics};
use crate::peers::PeersOptions;
use crate::rpc::peer_client::PeerClient;
use rangekeeper_model::StoreId;

pub use self::parts::{FoldStream, ListStream, PartStream, SelectStream};
pub use self::probing::{Health, OfferedAssignment, Probed};
pub(crate) use self::probing::{Probing, probe_always};
pub(crate) use self::writer::Writer;

type Client = PeerClient<Connection>;

/// Whether a call may fail because its peer failed lately.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// The call does without the peer as well: an open breaker is a miss at once.
    MayMiss,
    /// A quorum needs the peer: it is asked, whatever it did before.
    MustTry,
}

/// How a call is made.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// When its answer, or the last part of it, must be there.
    pub deadline: Instant,
    /// Whether it may miss.
    pub urgency: Urgency,
}

/// A remote node. Clones are handles to the same one.
#[derive(Clone)]
pub struct Peer(Arc<Inner>);

pub(crate) struct Inner {
    node: Arc<str>,
    store: StoreId,
    local: Local,
    breaker: Breaker,
    health: watch::Sender<Health>,
    control: Link,
    write: Link,
    query: Link,
    bulk: Link,
    control_room: Semaphore,
    query_room: Arc<Semaphore>,
    bulk_room: Semaphore,
    queue: Queue,
    glances: Glances,
    metrics: PeerMetrics,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// What a peer is made with beside its options.
pub(crate) struct Making<'a> {
    pub(crate) node: &'a str,
    pub(crate) store: StoreId,
    pub(crate) local: Local,
    pub(crate) dialing: Dialing,
    pub(crate) seed: u64,
}

impl Peer {
    /// A peer, and what has to run for its writes.
    pub(crate) fn new(
        making: Making<'_>,
        options: &PeersOptions,
        metrics: &ClientMetrics,
    ) -> (Self, Writer) {
        let Making { node, store, local, dialing, seed } = making;
        let mut random = fastrand::Rng::with_seed(seed);
        let (tasks, stop) = (dialing.tasks.clone(), dialing.stop.clone());
        let mut link =
            |kind| Link::new(dialing.clone(), metrics.of_link(node, kind), random.u64(..));
        let (control, write) = (link(Kind::Control), link(Kind::Write));
        let (query, bulk) = (link(Kind::Query), link(Kind::Bulk));
        let of_peer = metrics.of_peer(node);
        let node: Arc<str> = node.into();
        let (queue, waiting) = Queue::new(options.queue_bytes, of_peer.queue_bytes.clone());
        let peer = Self(Arc::new(Inner {
            node,
            store,
            local,
            breaker: Breaker::new(options.breaker_failures),
            health: watch::Sender::new(Health::default()),
            control,
            write,
            query,
            bulk,
            control_room: Semaphore::new(CONTROL_CALLS),
            query_room: Arc::new(Semaphore::new(QUERY_CALLS)),
            bulk_room: Semaphore::new(BULK_CALLS),
            queue,
            glances: Glances::new(),
            metrics: of_peer,
            tasks,
            stop,
        }));
        let writer = Writer::new(peer.clone(), waiting, options);
        (peer, writer)
    }

    /// The node's name.
    pub fn node(&self) -> &str {
        &self.0.node
    }

    /// The data folder that it is asked for.
    pub fn store(&self) -> StoreId {
        self.0.store
    }

    /// What is known of it, followed as it changes.
    pub fn health(&self) -> watch::Receiver<Health> {
        self.0.health.subscribe()
    }

    /// Whether it may not answer: the last probe failed, or so much did that its breaker is open.
    pub fn is_doubtful(&self) -> bool {
        self.is_breaker_open() || matches!(self.0.health.borrow().probed, Probed::Failed(_))
    }

    /// Begins to ask for something that comes in parts. Whoever serves says at once that it has
    /// begun, however long that then takes, so one that does not `within` this time is silent.
    pub(crate) async fn begin<T>(
        &self,
        beginning: impl Future<Output = Result<T, PeerError>>,
        call: Call,
        within: Duration,
    ) -> Result<T, PeerError> {
        let by = call.deadline.min(Instant::now() + within);
        let silent = || PeerError::Deadline { node: Arc::clone(&self.0.node) };
        timeout_at(by, beginning).await.unwrap_or_else(|_| Err(silent()))
    }

    /// Whether calls that may miss are a miss at once.
    pub fn is_breaker_open(&self) -> bool {
        self.0.breaker.is_open()
    }

    /// Asks how it is. The answer may carry a newer assignment.
    pub async fn probe(&self, call: Call) -> Result<proto::ProbeAnswer, PeerError> {
        let request = proto::ProbeRequest { header: Some(self.header()) };
        let question = |mut client: Client| async move { client.probe(timed(request, call)).await };
        self.once(Kind::Control, "probe", call, question).await
    }

    /// Asks for the assignment, if it has a newer one than this node's.
    pub async fn newer_assignment(&self, call: Call) -> Result<Option<Bytes>, PeerError> {
        let request = proto::AssignmentRequest { header: Some(self.header()) };
        let question =
            |mut client: Client| async move { client.fetch_assignment(timed(request, call)).await };
        let answer = self.once(Kind::Control, "assignment", call, question).await?;
        Ok(Some(answer.assignment).filter(|assignment| !assignment.is_empty()))
    }

    /// Tells it what is settled. A notice that is lost costs work, never data. The header of
    /// `request` is written here.
    pub async fn settle(
        &self,
        mut request: proto::SettleRequest,
        call: Call,
    ) -> Result<(), PeerError> {
        request.header = Some(self.header());
        let question =
            |mut client: Client| async move { client.settle(timed(request, call)).await };
        self.once(Kind::Control, "settle", call, question).await.map(drop)
    }

    /// Brings it chunks that it may lack. The header of `request` is written here. What fails may
    /// have been taken; chunks may be brought twice.
    pub async fn deliver(
        &self,
        mut request: proto::DeliverRequest,
        call: Call,
    ) -> Result<proto::DeliverAnswer, PeerError> {
        request.header = Some(self.header());
        let question =
            |mut client: Client| async move { client.deliver(timed(request, call)).await };
        self.once(Kind::Bulk, "deliver", call, question).await
    }

    /// Sends rows that were routed here by `view`, in a frame with those of other calls, and
    /// gives this call's part of the answer.
    ///
    /// Dropping the future before the frame is sent takes the rows back; after that they are
    /// stored all the same.
    pub async fn write(
        &self,
        view: View,
        rows: Bytes,
        call: Call,
    ) -> Result<proto::PartAnswer, PeerError> {
        let mut asked = self.0.metrics.begin("write");
        let part = proto::WritePart { view: Some(view.into()), rows };
        let answer = match self.may_ask(call.urgency) {
            Ok(()) => self.0.queue.write(&self.0.node, part, call.deadline).await,
            Err(error) => Err(error),
        };
        if let Err(PeerError::Deadline { .. }) = &answer {
            self.failed();
        }
        asked.end(&answer);
        answer
    }

    /// Asks for the series and chunks of one selector. The header of `request` is written here.
    ///
    /// Dropping the stream stops the peer's work.
    pub async fn select(
        &self,
        mut request: proto::SelectRequest,
        call: Call,
    ) -> Result<SelectStream, PeerError> {
        request.header = Some(self.header());
        let question =
            |mut client: Client| async move { client.select(timed(request, call)).await };
        self.ask("select", call, question).await
    }

    /// Asks for names, values, series, exemplars or metadata. The header of `request` is written
    /// here. Dropping the stream stops the peer's work.
    pub async fn list(
        &self,
        mut request: proto::ListRequest,
        call: Call,
    ) -> Result<ListStream, PeerError> {
        request.header = Some(self.header());
        let question = |mut client: Client| async move { client.list(timed(request, call)).await };
        self.ask("list", call, question).await
    }

    /// Asks for an aggregation over the series of some shards. The header of `request` is written
    /// here. Dropping the stream stops the peer's work.
    pub async fn fold(
        &self,
        mut request: proto::FoldRequest,
        call: Call,
    ) -> Result<FoldStream, PeerError> {
        request.header = Some(self.header());
        let question = |mut client: Client| async move { client.fold(timed(request, call)).await };
        self.ask("fold", call, question).await
    }

    /// One question with one answer, on a connection for such.
    async fn once<T, F>(
        &self,
        connection: Kind,
        kind: &'static str,
        call: Call,
        question: impl FnOnce(Client) -> F,
    ) -> Result<T, PeerError>
    where
        T: Headed,
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let mut asked = self.0.metrics.begin(kind);
        let answering = async {
            let room = match connection {
                Kind::Bulk => &self.0.bulk_room,
                Kind::Control | Kind::Write | Kind::Query => &self.0.control_room,
            };
            let room = timeout_at(call.deadline, room.acquire()).await;
            let _room = room.map_err(|_| self.expired())?.expect("never closed");
            let client = self.client(connection, call).await?;
            let answer = self.in_time(call.deadline, question(client)).await?.into_inner();
            self.accept(connection, answer.header()).map(|()| answer)
        };
        let answer = match self.may_ask(call.urgency) {
            Ok(()) => self.unless_stopped(answering).await,
            Err(error) => Err(error),
        };
        self.note(&answer);
        asked.end(&answer);
        answer
    }

    /// One question with an answer in parts, on the query connection.
    async fn ask<T, F>(
        &self,
        kind: &'static str,
        call: Call,
        question: impl FnOnce(Client) -> F,
    ) -> Result<PartStream<T>, PeerError>
    where
        F: Future<Output = Result<Response<tonic::Streaming<T>>, Status>>,
    {
        let mut asked = self.0.metrics.begin(kind);
        let answering = async {
            let room = Arc::clone(&self.0.query_room);
            let room = timeout_at(call.deadline, room.acquire_owned()).await;
            let room = room.map_err(|_| self.expired())?.expect("never closed");
            let client = self.client(Kind::Query, call).await?;
            let parts = self.in_time(call.deadline, question(client)).await?;
            Ok((parts.into_inner(), room))
        };
        let begun = match self.may_ask(call.urgency) {
            Ok(()) => self.unless_stopped(answering).await,
            Err(error) => Err(error),
        };
        match begun {
            Ok((parts, room)) => {
                let asked =
                    Asked { peer: self.clone(), counted: asked, deadline: call.deadline, room };
                Ok(PartStream::new(parts, asked))
            }
            Err(error) => {
                let failed = Err(error);
                self.note(&failed);
                asked.end(&failed);
                failed
            }
        }
    }

    /// A client on the connection of this kind, made if need be.
    async fn client(&self, kind: Kind, call: Call) -> Result<Client, PeerError> {
        let connecting = timeout_at(call.deadline, self.link(kind).connection()).await;
        let connection = connecting.map_err(|_| self.expired())?;
        connection.map(|connection| client(kind, connection)).map_err(|text| self.unreachable(text))
    }

    /// The answer, unless the deadline is over before.
    async fn in_time<T>(
        &self,
        deadline: Instant,
        answer: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, PeerError> {
        match timeout_at(deadline, answer).await {
            Ok(answer) => answer.map_err(|status| PeerError::of_status(&self.0.node, &status)),
            Err(_) => Err(PeerError::Deadline { node: Arc::clone(&self.0.node) }),
        }
    }

    async fn unless_stopped<T>(
        &self,
        answer: impl Future<Output = Result<T, PeerError>>,
    ) -> Result<T, PeerError> {
        // Both may be dropped: a call that is stopped is over.
        tokio::select! {
            () = self.0.stop.cancelled() => Err(self.stopped()),
            answer = answer => answer,
        }
    }

    fn may_ask(&self, urgency: Urgency) -> Result<(), PeerError> {
        match urgency {
            Urgency::MayMiss if self.0.breaker.is_open() => {
                Err(PeerError::BreakerOpen { node: Arc::clone(&self.0.node) })
            }
            Urgency::MayMiss | Urgency::MustTry => Ok(()),
        }
    }

    fn header(&self) -> proto::Header {
        self.0.local.header(self.0.store)
    }

    /// Reads the header of an answer: it must be of the node that was asked. A message from it is
    /// a sign of life, whatever it says.
    fn accept(&self, kind: Kind, header: Option<&proto::Header>) -> Result<(), PeerError> {
        let node = Arc::clone(&self.0.node);
        let speaker = match self.0.local.read(header) {
            Ok(speaker) if speaker.store == self.0.store => speaker,
            Ok(speaker) => {
                let text = format!("node {} answered from another data folder", speaker.node);
                let refusal = Refusal::new(proto::Reason::WrongStore, text);
                return Err(PeerError::Refused { node, refusal });
            }
            Err(refusal) => return Err(PeerError::Refused { node, refusal }),
        };
        self.link(kind).heard();
        self.heard(speaker);
        Ok(())
    }

    fn heard(&self, speaker: Speaker) {
        self.lives();
        #[expect(clippy::cast_precision_loss, reason = "a clock's offset for people")]
        self.0.metrics.clock.set(speaker.clock_ahead_ms as f64 / 1000.0);
        self.0.health.send_if_modified(|health| {
            let is_news = health.speaker.as_ref() != Some(&speaker);
            health.speaker = Some(speaker);
            is_news
        });
    }

    /// A message came.
    fn lives(&self) {
        self.0.breaker.heard();
        self.0.metrics.breaker.set(0);
    }

    fn failed(&self) {
        self.0.breaker.failed();
        self.0.metrics.breaker.set(i64::from(self.0.breaker.is_open()));
    }

    /// Counts for the breaker how a call ended. A refusal is a message too.
    fn note<T>(&self, result: &Result<T, PeerError>) {
        match result {
            Err(error) if error.is_silence() => self.failed(),
            Err(PeerError::Refused { .. }) => self.lives(),
            _ => {}
        }
    }

    fn link(&self, kind: Kind) -> &Link {
        match kind {
            Kind::Control => &self.0.control,
            Kind::Write => &self.0.write,
            Kind::Query => &self.0.query,
            Kind::Bulk => &self.0.bulk,
        }
    }

    fn unreachable(&self, text: Arc<str>) -> PeerError {
        PeerError::Unreachable { node: Arc::clone(&self.0.node), text }
    }

    fn expired(&self) -> PeerError {
        PeerError::Expired { node: Arc::clone(&self.0.node) }
    }

    fn stopped(&self) -> PeerError {
        PeerError::Stopped { node: Arc::clone(&self.0.node) }
    }
}

/// The client of a connection, with the limits of its kind.
fn client(kind: Kind, connection: Connection) -> Client {
    let limit = match kind {
        Kind::Control => CONTROL_MESSAGE_BYTES,
        Kind::Write => WRITE_MESSAGE_BYTES,
        Kind::Query => QUERY_MESSAGE_BYTES,
        Kind::Bulk => BULK_MESSAGE_BYTES,
    };
    // The authority is for the form only: the connection is made already.
    PeerClient::with_origin(connection, http::Uri::from_static("http://peer"))
        .max_decoding_message_size(limit)
        .max_encoding_message_size(limit)
}

/// The request with the time that is left to it.
fn timed<T>(message: T, call: Call) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(call.deadline.saturating_duration_since(Instant::now()));
    request
}
