//! Nodes of one cluster, each with a folder, a port and an agent.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use rangekeeper_cluster::{
    Answering, Control, ControlError, ControlOptions, Drained, Identity, Local, MapView,
    OfferedAssignment, PartSink, PeerHandler, PeerServer, Peers, PeersOptions, Refusal, Report,
    ServerOptions, Speaker, Status, View, join, proto,
};
use rangekeeper_coordination::memory::MemoryEnsemble;
use rangekeeper_coordination::{Cluster, Coordination, CoordinationMetrics, Settings};
use rangekeeper_model::{BootCount, ClusterId, Lineage, NodeId, RunId, StoreId};
use rangekeeper_placement::Policy;
use rangekeeper_telemetry::Registry;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub const CLUSTER: ClusterId = ClusterId::of(7);

/// What a condition may take; far more than it ever does.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Short, so that a session that is cut ends within a test.
const SESSION_TIMEOUT: Duration = Duration::from_millis(600);

/// Between two looks at what cannot be followed.
const LOOK: Duration = Duration::from_millis(5);

pub const ROOT: &str = "/rangekeeper/test";

/// A cluster without nodes.
pub struct Stage {
    pub ensemble: MemoryEnsemble,
    /// How often nodes look at what is theirs without a reason.
    pub verify_interval: Duration,
    folders: TempDir,
}

/// What a node is started with.
#[derive(Clone)]
pub struct Part {
    pub name: &'static str,
    /// Its folder's name: two parts may share one.
    pub folder: &'static str,
    pub store: u128,
    pub boot: u64,
    /// The starts of its folder.
    pub lineage: Lineage,
    pub clock_ahead_ms: i64,
    pub start_wait: Duration,
    pub probe_every: Option<Duration>,
    pub spot: Arc<Spot>,
}

/// A port of this machine that nobody else is given, whether a node listens on it or not.
pub struct Spot {
    _reserved: TcpSocket,
    address: SocketAddr,
}

/// A running node.
pub struct Node {
    pub name: &'static str,
    pub store: StoreId,
    pub control: Control,
    pub registry: Registry,
    /// What its peers are seen to offer, and the test.
    pub offers: mpsc::Sender<OfferedAssignment>,
    stop: CancellationToken,
    serving: JoinHandle<Drained>,
}

impl Stage {
    /// A cluster that expects `expect` nodes.
    pub async fn new(expect: u32) -> Self {
        Self::of(CLUSTER, expect).await
    }

    /// The cluster `id`.
    pub async fn of(id: ClusterId, expect: u32) -> Self {
        let stage = Self::empty();
        let operator = stage.coordination("operator");
        operator.init(&cluster(id, expect)).await.expect("nothing is there");
        operator.close().await;
        stage
    }

    /// No cluster.
    pub fn empty() -> Self {
        let seed = seed();
        println!("seed {seed}");
        let folders = tempfile::tempdir().expect("there is a place for temporary files");
        let verify_interval = Duration::from_millis(200);
        Self { ensemble: MemoryEnsemble::new(seed), verify_interval, folders }
    }

    /// What somebody with this folder is told that the cluster is.
    pub async fn join(&self, folder: &Path) -> Result<Cluster, ControlError> {
        let coordination = self.coordination("somebody");
        let found = join(&coordination, folder, Duration::from_secs(1)).await;
        coordination.close().await;
        found
    }

    pub fn coordination(&self, process: &str) -> Coordination {
        self.coordination_with(process, &Registry::new())
    }

    fn coordination_with(&self, process: &str, registry: &Registry) -> Coordination {
        let address = format!("twin:1{ROOT}").parse().expect("it is an address");
        let ensemble = self.ensemble.client(process, &address, SESSION_TIMEOUT);
        let settings = Settings {
            cluster: None,
            request_timeout: Duration::from_millis(300),
            verify_interval: self.verify_interval,
            reread_interval: Duration::from_hours(1),
            seed: seed(),
        };
        Coordination::start(ensemble, settings, CoordinationMetrics::new(registry))
    }

    pub fn folder(&self, name: &str) -> PathBuf {
        self.folders.path().join(name)
    }

    /// Joins and starts a node; its log is replayed.
    pub async fn start(&self, part: &Part) -> Node {
        let node = self.try_start(part).await.expect("it can join");
        node.control.replayed();
        node
    }

    pub async fn try_start(&self, part: &Part) -> Result<Node, ControlError> {
        let registry = Registry::new();
        let coordination = self.coordination_with(part.name, &registry);
        let folder = self.folder(part.folder);
        let found = join(&coordination, &folder, Duration::from_millis(500)).await;
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                coordination.close().await;
                return Err(error);
            }
        };
        let cluster = ClusterId(found.uuid);
        let store = StoreId::of(part.store);
        let ahead_ms = Arc::new(AtomicI64::new(1_000_000_000 + part.clock_ahead_ms));
        let clock = move || ahead_ms.load(Ordering::Relaxed);
        let local = Local::new(cluster, part.name, store, part.boot, clock.clone());
        let (probe_every, seed) = (part.probe_every, seed());
        let options = PeersOptions { probe_every, seed, ..PeersOptions::default() };
        let (peers, mut from_peers) = Peers::new(local.clone(), options, &registry);
        let (offers, offered) = mpsc::channel(8);
        let offers_of_peers = offers.clone();
        tokio::spawn(async move {
            while let Some(offer) = from_peers.recv().await {
                if offers_of_peers.send(offer).await.is_err() {
                    break;
                }
            }
        });
        let (boot, lineage) = (BootCount(part.boot), part.lineage.clone());
        let identity = Identity { cluster, store, boot, lineage };
        let control = Control::start(
            coordination,
            peers,
            offered,
            local.clone(),
            identity,
            options_of(part, folder),
            clock,
            &registry,
        );
        let handler = Arc::new(Handler(control.clone()));
        let options = ServerOptions { drain: Duration::from_millis(50), ..Default::default() };
        let listener = part.spot.listen();
        let server = PeerServer::new(listener, handler, local, &options, &registry);
        let stop = CancellationToken::new();
        let serving = tokio::spawn(server.run(stop.clone()));
        let name = part.name;
        Ok(Node { name, store, control, registry, offers, stop, serving })
    }

    /// Three nodes with shards on all of them.
    pub async fn placed(&self) -> (Vec<Part>, Vec<Node>) {
        let parts = parts();
        let mut nodes = Vec::new();
        for part in &parts {
            nodes.push(self.start(part).await);
        }
        for node in &nodes {
            node.epoch(1).await;
            eventually("it is ready", || node.control.readiness().is_ok()).await;
        }
        (parts, nodes)
    }
}

/// The nodes a, b and c.
pub fn parts() -> Vec<Part> {
    [("a", 10), ("b", 20), ("c", 30)].map(|(name, store)| Part::new(name, store)).into()
}

impl Part {
    pub fn new(name: &'static str, store: u128) -> Self {
        Self {
            name,
            folder: name,
            store,
            boot: 1,
            lineage: Lineage::begun(RunId(Uuid::new_v4())),
            clock_ahead_ms: 0,
            start_wait: PATIENCE,
            probe_every: Some(Duration::from_millis(20)),
            spot: Arc::new(Spot::new()),
        }
    }

    /// The same at its next start.
    pub fn again(&self) -> Self {
        let lineage = self.lineage.continued(RunId(Uuid::new_v4()));
        Self { boot: self.boot + 1, lineage, ..self.clone() }
    }
}

impl Spot {
    fn new() -> Self {
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
    pub fn view(&self) -> Arc<MapView> {
        self.control.view().expect("there is a map")
    }

    pub fn status(&self) -> Status {
        self.control.status()
    }

    pub fn leads(&self) -> bool {
        self.metric("rangekeeper_control_node_leads") == 1.0
    }

    pub fn has_alarm(&self, kind: &str) -> bool {
        self.status().alarms.iter().any(|alarm| alarm.kind == kind)
    }

    /// Waits for a map of this epoch or later.
    pub async fn epoch(&self, epoch: u64) -> Arc<MapView> {
        let mut views = self.control.views();
        let has = |view: &Option<Arc<MapView>>| {
            view.as_ref().is_some_and(|view| view.assignment.epoch.0 >= epoch)
        };
        let Ok(found) = timeout(PATIENCE, views.wait_for(has)).await else {
            let Status { epoch: has, not_ready, alarms, session, .. } = self.status();
            panic!("{}: not {epoch} but {has:?}, {not_ready:?} {alarms:?} {session:?}", self.name);
        };
        found.expect("the agent is there").clone().expect("waited for")
    }

    /// The value of a metric, by its name and labels as they are exported.
    pub fn metric(&self, series: &str) -> f64 {
        let text = self.registry.encode();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {series} in\n{text}")).parse().expect("a number")
    }

    /// Ends it in order.
    pub async fn stop(self) {
        self.stop.cancel();
        self.serving.await.expect("it does not panic");
        self.control.stop().await;
    }
}

/// The node that leads, once one does.
pub async fn leader(nodes: &[Node]) -> &Node {
    eventually("somebody leads", || nodes.iter().any(Node::leads)).await;
    let leaders: Vec<_> = nodes.iter().filter(|node| node.leads()).collect();
    assert_eq!(leaders.len(), 1, "one leads");
    leaders[0]
}

/// Waits for what no channel tells.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let looking = async {
        while !holds() {
            sleep(LOOK).await;
        }
    };
    timeout(PATIENCE, looking).await.unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"));
}

fn cluster(id: ClusterId, expect: u32) -> Cluster {
    Cluster {
        uuid: id.0,
        generation: 1,
        shards: 16,
        hash: "xxh3-128".to_owned(),
        hash_seed: 17,
        replication: 3,
        expect,
        adopted: false,
        format_level: 1,
    }
}

pub fn node_id(name: &str) -> NodeId {
    NodeId::new(name).expect("it is a name")
}

fn seed() -> u64 {
    let given = std::env::var("RANGEKEEPER_SEED").ok();
    given.map_or_else(|| fastrand::u64(..), |seed| seed.parse().expect("a seed is a number"))
}

/// Everything that a leader waits for is short; a node that is gone is not given up.
fn options_of(part: &Part, folder: PathBuf) -> ControlOptions {
    ControlOptions {
        node: node_id(part.name),
        zone: None,
        weight: 100,
        peer_address: part.spot.address.to_string(),
        http_address: "127.0.0.1:1".to_owned(),
        folder,
        policy: Policy {
            quiet_ms: 50,
            settle_ms: 50,
            publish_every_ms: 10,
            ..Policy::new(usize::MAX)
        },
        software: "0.0.0-test".to_owned(),
        seed: seed(),
        start_wait: part.start_wait,
    }
}

/// A node that answers control messages alone.
struct Handler(Control);

impl PeerHandler for Handler {
    fn report(&self, from: &Speaker) -> Report {
        self.0.heard(from);
        self.0.report()
    }

    fn assignment_newer(&self, than: View) -> Option<Bytes> {
        self.0.assignment_newer(than)
    }

    fn settle(
        &self,
        _from: Speaker,
        _request: proto::SettleRequest,
    ) -> Answering<'_, Result<(), Refusal>> {
        Box::pin(async { Ok(()) })
    }

    fn deliver(
        &self,
        _from: Speaker,
        _request: proto::DeliverRequest,
    ) -> Answering<'_, Result<proto::DeliverAnswer, Refusal>> {
        unreachable!("nobody delivers here")
    }

    fn write(
        &self,
        _from: Speaker,
        _parts: Vec<proto::WritePart>,
    ) -> Answering<'_, Result<Vec<proto::PartAnswer>, Refusal>> {
        Box::pin(async { Err(nothing()) })
    }

    fn select(
        &self,
        _from: Speaker,
        _request: proto::SelectRequest,
        _sink: PartSink<proto::SelectPart>,
    ) -> Answering<'_, Result<(), Refusal>> {
        Box::pin(async { Err(nothing()) })
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
        _request: proto::GlanceRequest,
    ) -> Answering<'_, Result<proto::Glanced, Refusal>> {
        Box::pin(async { Err(nothing()) })
    }

    fn list(
        &self,
        _from: Speaker,
        _request: proto::ListRequest,
        _sink: PartSink<proto::ListPart>,
    ) -> Answering<'_, Result<(), Refusal>> {
        Box::pin(async { Err(nothing()) })
    }
}

fn nothing() -> Refusal {
    Refusal::new(proto::Reason::NotReady, "it has no data")
}
