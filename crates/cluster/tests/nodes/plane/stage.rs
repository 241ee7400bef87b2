//! Whole nodes of one cluster in one process: store, agent, data plane, real connections; ZooKeeper
//! is its twin in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rangekeeper_chunk::Decoder;
use rangekeeper_cluster::{
    Control, ControlOptions, Identity, Local, Peers, PeersOptions, Plane, PlaneOptions, ReadError,
    Routed, Router, RouterOptions, Selecting, ServerOptions, Threads,
};
use rangekeeper_coordination::memory::MemoryEnsemble;
use rangekeeper_coordination::{Cluster, Coordination, CoordinationMetrics, Settings};
use rangekeeper_model::{
    BootCount, ClusterId, Labels, MatchOp, Matcher, MetricType, NodeId, Samples, ShardCount,
    StoreId, TenantId, TimeRange,
};
use rangekeeper_placement::{Policy, Replication};
use rangekeeper_storage::{
    Clock, ClusterIdentity, FamilyKey, FamilyMetadata, MetadataRow, ReadLimits, RetentionBy, Store,
    StoreOptions, UnsettledStats,
};
use rangekeeper_telemetry::Registry;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

/// What a condition may take; far more than it ever does.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(10);
const SESSION_TIMEOUT: Duration = Duration::from_millis(600);
const ROOT: &str = "/rangekeeper/plane";

pub struct Stage {
    ensemble: MemoryEnsemble,
    cluster: Cluster,
    folders: TempDir,
    spots: BTreeMap<&'static str, Spot>,
}

/// A port of this machine that nobody else is given, whether a node listens on it or not.
struct Spot {
    _reserved: TcpSocket,
    address: SocketAddr,
}

pub struct Node {
    pub store: Store,
    pub control: Control,
    plane: Plane,
}

/// What a request has of a series.
pub enum Part {
    Sample,
    Exemplar,
    /// With this help.
    Metadata(&'static str),
}

impl Stage {
    pub async fn new(replication: u8, expect: u32) -> Self {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let cluster = Cluster {
            uuid: Uuid::from_u128(77),
            generation: 1,
            shards: 16,
            hash: "xxh3-128".to_owned(),
            hash_seed: 42,
            replication,
            expect,
            adopted: false,
            format_level: 1,
        };
        let stage = Self {
            ensemble: MemoryEnsemble::new(seed),
            cluster,
            folders: tempfile::tempdir().unwrap(),
            spots: BTreeMap::new(),
        };
        let operator = stage.coordination("operator");
        operator.init(&stage.cluster).await.unwrap();
        operator.close().await;
        stage
    }

    fn coordination(&self, process: &str) -> Coordination {
        let address = format!("twin:1{ROOT}").parse().unwrap();
        let ensemble = self.ensemble.client(process, &address, SESSION_TIMEOUT);
        let settings = Settings {
            request_timeout: Duration::from_millis(300),
            verify_interval: Duration::from_millis(200),
            ..Settings::default()
        };
        Coordination::start(ensemble, settings, CoordinationMetrics::new(&Registry::new()))
    }

    /// Starts nodes and waits until all of them are ready.
    pub async fn start<const N: usize>(&mut self, names: [&'static str; N]) -> [Node; N] {
        let mut nodes = Vec::new();
        for name in names {
            nodes.push(self.start_one(name).await);
        }
        for node in &nodes {
            until("a node is ready", || node.control.readiness().is_ok()).await;
        }
        nodes.try_into().ok().expect("as many as names")
    }

    async fn open_store(&self, folder: PathBuf, shards: ShardCount) -> Store {
        let replication = Replication::new(self.cluster.replication).unwrap();
        let mut options = StoreOptions::new(folder);
        options.replicated = Some(replication.quorum());
        options.retention_by = RetentionBy::Cluster;
        options.unsettled_age = Duration::from_millis(200);
        let (cluster, seed) = (self.cluster.uuid, self.cluster.hash_seed);
        options.cluster = Some(ClusterIdentity { cluster, seed, shards });
        options.reserve_bytes = 0;
        let opened =
            tokio::task::spawn_blocking(move || Store::open(options, Clock::system()).unwrap());
        opened.await.unwrap()
    }

    async fn start_one(&mut self, name: &'static str) -> Node {
        let spot = self.spots.entry(name).or_insert_with(Spot::new);
        let address = spot.address;
        let listener = listen(address);
        let folder = self.folders.path().join(name);
        let shards = ShardCount::new(self.cluster.shards).unwrap();
        let store = self.open_store(folder.clone(), shards).await;
        let who = store.identity().unwrap();
        let identity = Identity {
            cluster: ClusterId(self.cluster.uuid),
            store: StoreId(who.store),
            boot: BootCount(who.boot),
            lineage: who.lineage.clone(),
        };
        let clock = Clock::system();
        let now = move || clock.now_ms();
        let local = Local::new(identity.cluster, name, identity.store, who.boot, now.clone());
        let registry = Registry::new();
        let probing = PeersOptions {
            probe_every: Some(Duration::from_millis(100)),
            ..PeersOptions::default()
        };
        let (peers, offered) = Peers::new(local.clone(), probing, &registry);
        let options = ControlOptions {
            node: NodeId::new(name).unwrap(),
            zone: None,
            weight: 100,
            peer_address: address.to_string(),
            http_address: address.to_string(),
            folder,
            policy: Policy { quiet_ms: 100, settle_ms: 100, ..Policy::new(1) },
            software: "test".to_owned(),
            seed: fastrand::u64(..),
            start_wait: Duration::from_millis(200),
        };
        let coordination = self.coordination(name);
        let control = Control::start(
            coordination,
            peers,
            offered,
            local.clone(),
            identity,
            options,
            now,
            &registry,
        );
        control.replayed();
        let plane = Plane::start(
            listener,
            local,
            store.clone(),
            (StoreId(who.store), shards),
            Arc::new(control.clone()),
            PlaneOptions {
                threads: Threads::current(),
                server: ServerOptions::default(),
                router: RouterOptions::default(),
                admit: Box::new(|| Ok(())),
            },
            &registry,
        );
        Node { store, control, plane }
    }
}

impl Node {
    pub fn router(&self) -> &Router {
        self.plane.router()
    }

    /// Writes one sample of each series `metric{number="…"}`.
    pub async fn write(&self, metric: &str, numbers: std::ops::Range<u32>, at_ms: i64) -> Routed {
        self.send(metric, numbers, &[Part::Sample], at_ms).await
    }

    /// Writes these parts for each series `metric{number="…"}`, in one request.
    pub async fn send(
        &self,
        metric: &str,
        numbers: std::ops::Range<u32>,
        parts: &[Part],
        at_ms: i64,
    ) -> Routed {
        let tenant = TenantId::new("anonymous").unwrap();
        let mut write = self.router().write(&tenant).unwrap();
        let mut all = Vec::new();
        for number in numbers {
            let (text, value) = (number.to_string(), f64::from(number));
            let labels = Labels::from_pairs([("__name__", metric), ("number", &text)]).unwrap();
            let hash = write.hasher().hash(labels.as_bytes());
            let row = write.series(hash, labels.as_bytes());
            for part in parts {
                match part {
                    Part::Sample => write.float(at_ms, 0, value),
                    Part::Exemplar => {
                        let trace = Labels::from_pairs([("trace", text.as_str())]).unwrap();
                        write.exemplar(row, at_ms, value, trace);
                    }
                    Part::Metadata(help) => {
                        let family = FamilyKey { tenant: tenant.clone(), family: metric.into() };
                        write.metadata(family, said(help));
                    }
                }
            }
            all.push(labels);
        }
        for row in write.resolve() {
            write.define(row, all[row.number()].clone());
        }
        write.commit().await
    }

    /// Says something of metric families, in a request without series.
    pub async fn tell(&self, families: &[String], help: &str) -> Routed {
        let tenant = TenantId::new("anonymous").unwrap();
        let mut write = self.router().write(&tenant).unwrap();
        for family in families {
            let family = FamilyKey { tenant: tenant.clone(), family: family.clone() };
            write.metadata(family, said(help));
        }
        write.commit().await
    }

    /// The exemplars of a metric that the node's own store has.
    pub fn own_exemplars(&self, metric: &str) -> usize {
        let tenant = TenantId::new("anonymous").unwrap();
        let selector = vec![Matcher::new(MatchOp::Equal, "__name__", metric).unwrap()];
        let found = self.store.exemplars(&tenant, &[selector], TimeRange::ALL, &|| false).unwrap();
        found.iter().map(|series| series.exemplars.len()).sum()
    }

    /// What the node's own store has been told: family and help.
    pub fn own_metadata(&self) -> BTreeSet<(String, String)> {
        let tenant = TenantId::new("anonymous").unwrap();
        let rows = self.store.metadata(&tenant, None).unwrap().into_iter();
        let row = |row: MetadataRow| {
            let family = row.family;
            row.metadata.into_iter().map(move |said| (family.clone(), said.help))
        };
        rows.flat_map(row).collect()
    }

    /// All samples of a metric, as (number, time, value).
    pub async fn read(&self, metric: &str) -> Result<Vec<(String, i64, f64)>, ReadError> {
        let (router, metric) = (self.router().clone(), metric.to_owned());
        let runtime = Handle::current();
        let read = tokio::task::spawn_blocking(move || {
            let tenant = TenantId::new("anonymous").unwrap();
            let matchers = [Matcher::new(MatchOp::Equal, "__name__", &metric).unwrap()];
            let selecting = Selecting {
                within: None,
                tenant: &tenant,
                matchers: &matchers,
                range: TimeRange::ALL,
                limits: ReadLimits::NONE,
                deadline: Instant::now() + Duration::from_secs(10),
            };
            let found = router.select(selecting, &runtime)?;
            let mut rows = Vec::new();
            let mut samples = Samples::default();
            for index in 0..found.len() {
                found.read(index, &mut Decoder::default(), &mut samples).unwrap();
                let number = found.labels(index).value("number").unwrap().to_owned();
                let floats = samples.floats.timestamps.iter().zip(&samples.floats.values);
                rows.extend(floats.map(|(at, value)| (number.clone(), *at, *value)));
            }
            Ok(rows)
        });
        read.await.unwrap()
    }

    pub fn unsettled(&self) -> UnsettledStats {
        self.store.unsettled_stats()
    }

    /// Ends the node in order.
    pub async fn stop(self) {
        self.plane.stop().await;
        self.control.stop().await;
        let store = self.store;
        tokio::task::spawn_blocking(move || store.close()).await.unwrap();
    }

    /// Ends the node as if it were killed: nothing more is written.
    pub async fn kill(self) {
        let store = self.store;
        tokio::task::spawn_blocking(move || store.abandon()).await.unwrap();
        self.plane.stop().await;
        self.control.stop().await;
    }
}

impl Spot {
    fn new() -> Self {
        let reserved = TcpSocket::new_v4().unwrap();
        reserved.set_reuseport(true).unwrap();
        reserved.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let address = reserved.local_addr().unwrap();
        Self { _reserved: reserved, address }
    }
}

fn listen(address: SocketAddr) -> TcpListener {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseport(true).unwrap();
    socket.bind(address).unwrap();
    socket.listen(128).unwrap()
}

fn said(help: &str) -> FamilyMetadata {
    let unit = String::new();
    FamilyMetadata { metric_type: MetricType::Counter, help: help.to_owned(), unit }
}

/// Waits until something holds.
pub async fn until(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            sleep(LOOK).await;
        }
    };
    timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{what} in {PATIENCE:?}"));
}
