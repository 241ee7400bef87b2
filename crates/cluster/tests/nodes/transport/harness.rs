//! A node that serves peers, its scripted handler, and the peers that ask it.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use rangekeeper_cluster::proto::{self, Readiness};
use rangekeeper_cluster::{
    Answering, Call, Drained, Local, PartSink, Peer, PeerAddress, PeerError, PeerHandler,
    PeerServer, Peers, PeersOptions, Refusal, Report, ServerOptions, SinkClosed, Speaker, Urgency,
    View,
};
use rangekeeper_model::{ClusterId, StoreId};
use rangekeeper_model::{Labels, SeriesHash, TenantId};
use rangekeeper_telemetry::Registry;
use rangekeeper_wire::Sample;
use rangekeeper_wire::peer::{FrameWriter, Part, frame};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub const CLUSTER: ClusterId = ClusterId::of(7);
/// The data folder of the node that asks.
pub const OWN: StoreId = StoreId::of(1);
/// Parts of this epoch are handled once the handler's gate is open; all others at once.
pub const HELD: View = View::of(0, 99, 0);
pub const FREE: View = View::of(0, 1, 0);
/// Glances of this tenant are answered once the handler's gate is open.
pub const HELD_TENANT: &str = "held";

/// What a condition may take; far more than it ever does.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a select or list is answered.
#[derive(Clone, Debug)]
pub enum Script<T> {
    /// With these parts.
    Parts(Vec<T>),
    /// With the same part for ever.
    Endless(T),
    /// Not at all.
    Silence,
}

/// Stores hashes, and does to queries what it was told.
pub struct Scripted {
    known: Mutex<HashSet<SeriesHash>>,
    pub parts_by_frame: Mutex<Vec<usize>>,
    pub answer: Mutex<Option<proto::PartAnswer>>,
    pub gate: watch::Sender<bool>,
    /// Frames that were begun.
    pub begun: watch::Sender<usize>,
    in_hand: AtomicUsize,
    pub most_in_hand: AtomicUsize,
    pub settled: watch::Sender<Vec<proto::Settled>>,
    pub assignment: Mutex<Option<(View, Bytes)>>,
    pub report: Mutex<Report>,
    pub select: Mutex<Script<proto::SelectPart>>,
    pub list: Mutex<Script<proto::ListPart>>,
    /// Parts of queries that the sink took.
    pub sent: AtomicUsize,
    /// Whether the sink of a list was closed before its handler was done.
    pub closed: watch::Sender<bool>,
    /// Queries that are being worked on.
    pub working: watch::Sender<usize>,
    /// Messages of any kind that got here.
    pub seen: AtomicUsize,
}

/// A node that serves.
pub struct Node {
    pub name: &'static str,
    pub store: StoreId,
    pub address: SocketAddr,
    pub local: Local,
    pub handler: Arc<Scripted>,
    pub registry: Registry,
    pub stop: CancellationToken,
    pub serving: JoinHandle<Drained>,
}

/// A port of this machine that nobody else is given, whether a node listens on it or not.
pub struct Spot {
    _reserved: TcpSocket,
    pub address: SocketAddr,
}

/// Counts work for as long as it lives.
struct Working<'a>(&'a watch::Sender<usize>);

impl Default for Scripted {
    fn default() -> Self {
        Self {
            known: Mutex::default(),
            parts_by_frame: Mutex::default(),
            answer: Mutex::default(),
            gate: watch::Sender::new(false),
            begun: watch::Sender::new(0),
            in_hand: AtomicUsize::new(0),
            most_in_hand: AtomicUsize::new(0),
            settled: watch::Sender::default(),
            assignment: Mutex::default(),
            report: Mutex::new(Report { readiness: Readiness::Ready, text: String::new() }),
            select: Mutex::new(Script::Parts(Vec::new())),
            list: Mutex::new(Script::Parts(Vec::new())),
            sent: AtomicUsize::new(0),
            closed: watch::Sender::new(false),
            working: watch::Sender::new(0),
            seen: AtomicUsize::new(0),
        }
    }
}

impl<'a> Working<'a> {
    fn begin(working: &'a watch::Sender<usize>) -> Self {
        working.send_modify(|count| *count += 1);
        Self(working)
    }
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl Scripted {
    fn store(&self, part: &proto::WritePart) -> proto::PartAnswer {
        let mut answer = self.answer.lock().clone().unwrap_or_default();
        let mut written = proto::Written::default();
        let rows = frame(&part.rows).map(|part| part.expect("a writer made it"));
        let rows = rows.filter_map(|part| match part {
            Part::Row(row) => Some(row),
            Part::Request(_) => None,
        });
        for (number, row) in (0..).zip(rows) {
            let mut known = self.known.lock();
            if row.labels.is_some() {
                known.insert(row.hash);
            }
            if known.contains(&row.hash) {
                written.samples += row.samples().len() as u64;
            } else {
                answer.unknown_rows.push(number);
            }
        }
        proto::PartAnswer { written: Some(written), position: Some(42), ..answer }
    }
}

impl PeerHandler for Scripted {
    fn report(&self, _from: &Speaker) -> Report {
        self.seen.fetch_add(1, Ordering::SeqCst);
        self.report.lock().clone()
    }

    fn assignment_newer(&self, than: View) -> Option<Bytes> {
        let assignment = self.assignment.lock().clone();
        assignment.filter(|(view, _)| *view > than).map(|(_, bytes)| bytes)
    }

    fn settle(
        &self,
        _from: Speaker,
        request: proto::SettleRequest,
    ) -> Answering<'_, Result<(), Refusal>> {
        self.settled.send_replace(request.settled);
        Box::pin(async { Ok(()) })
    }

    fn deliver(
        &self,
        _from: Speaker,
        request: proto::DeliverRequest,
    ) -> Answering<'_, Result<proto::DeliverAnswer, Refusal>> {
        let held = request.chunks.iter().map(|chunk| proto::HeldChunk {
            day: chunk.day,
            window_in_day: chunk.window_in_day,
            series: chunk.series.clone(),
            mark: 1,
        });
        let held = held.collect();
        Box::pin(async { Ok(proto::DeliverAnswer { held, ..Default::default() }) })
    }

    fn write(
        &self,
        _from: Speaker,
        parts: Vec<proto::WritePart>,
    ) -> Answering<'_, Result<Vec<proto::PartAnswer>, Refusal>> {
        Box::pin(async move {
            self.seen.fetch_add(1, Ordering::SeqCst);
            self.parts_by_frame.lock().push(parts.len());
            let in_hand = self.in_hand.fetch_add(1, Ordering::SeqCst) + 1;
            self.most_in_hand.fetch_max(in_hand, Ordering::SeqCst);
            self.begun.send_modify(|begun| *begun += 1);
            if parts.iter().any(|part| part.view.map(View::from) == Some(HELD)) {
                let mut gate = self.gate.subscribe();
                gate.wait_for(|is_open| *is_open).await.expect("the handler has the sender");
            }
            self.in_hand.fetch_sub(1, Ordering::SeqCst);
            Ok(parts.iter().map(|part| self.store(part)).collect())
        })
    }

    fn select(
        &self,
        _from: Speaker,
        _request: proto::SelectRequest,
        mut sink: PartSink<proto::SelectPart>,
    ) -> Answering<'_, Result<(), Refusal>> {
        Box::pin(async move {
            self.seen.fetch_add(1, Ordering::SeqCst);
            let script = self.select.lock().clone();
            let _working = Working::begin(&self.working);
            match script {
                Script::Parts(parts) => {
                    for part in parts {
                        sink.send(part).await.map_err(gone)?;
                    }
                }
                Script::Endless(part) => loop {
                    sink.send(part.clone()).await.map_err(gone)?;
                    self.sent.fetch_add(1, Ordering::SeqCst);
                },
                Script::Silence => std::future::pending().await,
            }
            Ok(())
        })
    }

    fn fold(
        &self,
        _from: Speaker,
        _request: proto::FoldRequest,
        _sink: PartSink<proto::FoldPart>,
    ) -> Answering<'_, Result<(), Refusal>> {
        Box::pin(async { Err(Refusal::new(proto::Reason::NotReady, "nothing is folded here")) })
    }

    fn glance(
        &self,
        _from: Speaker,
        request: proto::GlanceRequest,
    ) -> Answering<'_, Result<proto::Glanced, Refusal>> {
        Box::pin(async move {
            self.seen.fetch_add(1, Ordering::SeqCst);
            let _working = Working::begin(&self.working);
            if request.tenant == HELD_TENANT {
                let mut gate = self.gate.subscribe();
                gate.wait_for(|is_open| *is_open).await.expect("the handler has the sender");
            }
            let Script::Parts(parts) = self.select.lock().clone() else {
                return std::future::pending().await;
            };
            let mut series: Vec<_> = parts.into_iter().flat_map(|part| part.series).collect();
            // What was asked, so that the caller sees that the answer is its own.
            let chunks = vec![request.unsettled_shards];
            series.push(proto::SelectedSeries { labels: request.tenant.into(), chunks });
            Ok(proto::Glanced { series, ..proto::Glanced::default() })
        })
    }

    fn list(
        &self,
        _from: Speaker,
        _request: proto::ListRequest,
        mut sink: PartSink<proto::ListPart>,
    ) -> Answering<'_, Result<(), Refusal>> {
        Box::pin(async move {
            let Script::Parts(parts) = self.list.lock().clone() else {
                return Err(Refusal::new(proto::Reason::NotReady, "the log is being replayed"));
            };
            for part in parts {
                if sink.send(part).await == Err(SinkClosed) {
                    self.closed.send_replace(true);
                    break;
                }
            }
            Ok(())
        })
    }
}

fn gone(_: SinkClosed) -> Refusal {
    Refusal::new(proto::Reason::Failed, "nobody reads")
}

impl Spot {
    pub fn new() -> Self {
        let reserved = socket();
        reserved.bind(([127, 0, 0, 1], 0).into()).expect("there is a port");
        let address = reserved.local_addr().expect("it is bound");
        Self { _reserved: reserved, address }
    }

    fn listen(&self) -> TcpListener {
        let socket = socket();
        socket.bind(self.address).expect("the port is reserved");
        socket.listen(128).expect("it is bound")
    }
}

fn socket() -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("there are sockets");
    socket.set_reuseaddr(true).expect("a new socket takes it");
    socket.set_reuseport(true).expect("a new socket takes it");
    socket
}

impl Node {
    pub fn start(name: &'static str, store: u128) -> Self {
        Self::start_with(name, store, &ServerOptions::default())
    }

    pub fn start_with(name: &'static str, store: u128, options: &ServerOptions) -> Self {
        Self::start_at(&Spot::new(), name, store, options)
    }

    pub fn start_at(spot: &Spot, name: &'static str, store: u128, options: &ServerOptions) -> Self {
        let (listener, address) = (spot.listen(), spot.address);
        let (store, registry) = (StoreId::of(store), Registry::new());
        let local = Local::new(CLUSTER, name, store, 1, || 5_000);
        let handler = Arc::new(Scripted::default());
        let (shared, stop) = (Arc::clone(&handler), CancellationToken::new());
        let server = PeerServer::new(listener, shared, local.clone(), options, &registry);
        let serving = tokio::spawn(server.run(stop.clone()));
        Self { name, store, address, local, handler, registry, stop, serving }
    }

    pub fn peer_address(&self) -> PeerAddress {
        let (node, address) = (self.name.to_owned(), self.address.to_string());
        PeerAddress { node, address, store: self.store }
    }

    /// Ends it as a kill does: nothing is answered any more.
    pub async fn kill(self) {
        self.serving.abort();
        let ended = self.serving.await;
        assert!(ended.is_err_and(|error| error.is_cancelled()));
    }
}

/// The node that asks: no probes, and frames that go as soon as there is a row.
pub fn options() -> PeersOptions {
    PeersOptions { probe_every: None, frame_bytes: 1, seed: 5, ..PeersOptions::default() }
}

pub fn own() -> Local {
    Local::new(CLUSTER, "own", OWN, 3, || 1_000)
}

/// The peers of `nodes`, and the metrics of who asks.
pub fn peers_of(nodes: &[&Node], options: PeersOptions) -> (Peers, Registry) {
    let registry = Registry::new();
    let (peers, _) = Peers::new(own(), options, &registry);
    peers.update(nodes.iter().map(|node| node.peer_address()));
    (peers, registry)
}

pub fn peer_of(peers: &Peers, node: &str) -> Peer {
    peers.peer(node).expect("it is on the list")
}

/// A call with time enough.
pub fn call() -> Call {
    Call { deadline: Instant::now() + PATIENCE, urgency: Urgency::MayMiss }
}

pub fn call_within(time: Duration, urgency: Urgency) -> Call {
    Call { deadline: Instant::now() + time, urgency }
}

/// Rows of one request: a sample for each hash, with labels where they are to come along.
pub fn rows(hashes: impl IntoIterator<Item = u128>, with_labels: bool) -> Bytes {
    let labels = Labels::from_pairs([("__name__", "up")]).expect("they are valid");
    let labels = with_labels.then_some(labels.as_bytes());
    let mut writer = FrameWriter::new();
    writer.request(&TenantId::new("t").expect("it is valid"), &[], 1_000);
    for hash in hashes {
        let sample = Sample { timestamp_ms: 1_000, start_ms: 0, value: 1.0 };
        writer.row(SeriesHash(hash), labels, &[sample], None);
    }
    writer.finish().into()
}

pub fn samples(answer: &Result<proto::PartAnswer, PeerError>) -> u64 {
    let answer = answer.as_ref().expect("it is answered");
    answer.written.expect("it says what was written").samples
}

/// Waits until `condition` holds.
pub async fn until<T>(watched: &watch::Sender<T>, condition: impl FnMut(&T) -> bool) {
    let mut watched = watched.subscribe();
    let waiting = tokio::time::timeout(PATIENCE, watched.wait_for(condition));
    let _seen = waiting.await.expect("the condition holds in time").expect("the sender is there");
}

/// The value of a metric, by its name and labels as they are exported.
pub fn metric(registry: &Registry, series: &str) -> Option<f64> {
    let text = registry.encode();
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map(|value| value.parse().expect("a number"))
}
