//! Opens a node of a cluster: joins it, opens the store by the cluster's seed and shards, and
//! starts the agent and the data plane around it.
//!
//! The order matters: what the cluster is has to be known before a store can be made, and who the
//! store is before anybody is told of the node.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rangekeeper_cluster::{
    ClusterSecret, Control, ControlOptions, Identity, Local, Peers, PeersOptions, Plane,
    PlaneOptions, RouterOptions, ServerOptions, Threads, UnsettledStatus, join,
};
use rangekeeper_coordination::{
    Cluster, Coordination, CoordinationMetrics, Ensemble, Settings, ZooKeeper, watch_figures,
};
use rangekeeper_model::{BootCount, ClusterId, NodeId, ShardCount, StoreId};
use rangekeeper_placement::Replication;
use rangekeeper_query::Data;
use rangekeeper_storage::{Clock, ClusterIdentity, RetentionBy, Store, StoreIdentity};
use rangekeeper_telemetry::Registry;
use tokio::net::TcpListener;
use tokio::runtime::{self, Runtime};
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Member, read_credentials, read_secret};
use crate::memory::Memory;
use crate::services::{self, Opened, Opening};

/// Between two looks at whether the store met damage.
const DAMAGE_EVERY: Duration = Duration::from_secs(2);
/// Between two looks at which days are to go.
const RETENTION_EVERY: Duration = Duration::from_secs(10);
/// Between two looks at the ensemble's own figures.
const FIGURES_EVERY: Duration = Duration::from_secs(15);

/// Opens the node `member`. Blocks until its log is replayed; must be called within a runtime.
pub(super) fn open(opening: &Opening, member: &Member) -> anyhow::Result<Opened> {
    let runtimes = Runtimes::start().context("failed to start threads")?;
    let runtime = runtimes.peer.handle().clone();
    // What is started from here on runs there.
    let _entered = runtime.enter();
    let folder = &opening.config.storage.data_dir;
    std::fs::create_dir_all(folder)
        .with_context(|| format!("failed to make {}", folder.display()))?;
    opening.readiness.starting("asking ZooKeeper what the cluster is", 0, 0);
    let coordination = coordination(&opening.config, member, &opening.registry)?;
    let wait = opening.config.cluster.start_wait;
    let cluster = runtime
        .block_on(join(&coordination, folder, wait))
        .with_context(|| format!("failed to join the cluster at {}", member.zookeeper))?;
    let opened = Joined::open(opening, cluster)?;
    let Joined { store, .. } = &opened;
    let listener = runtime
        .block_on(TcpListener::bind(member.peer_listen))
        .with_context(|| format!("failed to listen for peers on {}", member.peer_listen))?;
    let secret = opening.config.cluster.secret_file.as_deref().map(read_secret).transpose()?;
    let peer_address = member.reached_at(listener.local_addr()?);
    let local = opened.local(member);
    let control = opened.control(
        opening,
        member,
        (coordination, local.clone()),
        peer_address,
        secret.clone(),
    )?;
    let plane = opened.plane(opening, (listener, local), &control, (secret, runtimes.threads()));

    let stop = CancellationToken::new();
    runtime.spawn(watch_damage(control.clone(), store.clone(), stop.clone()));
    runtime.spawn(keep_retention(control.clone(), store.clone(), stop.clone()));
    let (servers, registry) = (member.zookeeper.servers().to_vec(), opening.registry.clone());
    runtime.spawn(watch_figures(servers, FIGURES_EVERY, registry, stop.clone()));
    let router = plane.router().clone();
    let data = Data::Cluster(router.clone(), runtime.clone());
    let view = View { control: control.clone(), store: store.clone(), node: member.node.clone() };
    let services = super::services(opening, store, router.into(), data, Some(Arc::new(view)))?;
    let store = store.clone();
    let close = Box::new(move || {
        stop.cancel();
        runtime.block_on(async {
            plane.stop().await;
            control.stop().await;
        });
        store.close();
        runtimes.stop();
        Ok(())
    });
    Ok(Opened { services, close })
}

/// The threads of a member's parts, each part by its name in what the system lists. Requests are
/// received on those of the server.
struct Runtimes {
    /// Peers and ZooKeeper.
    peer: Runtime,
    route: Runtime,
    place: Runtime,
}

impl Runtimes {
    fn start() -> io::Result<Self> {
        let named =
            |name| runtime::Builder::new_multi_thread().thread_name(name).enable_all().build();
        Ok(Self { peer: named("rk-peer")?, route: named("rk-route")?, place: named("rk-place")? })
    }

    fn threads(&self) -> Threads {
        Threads { route: self.route.handle().clone(), store: self.place.handle().clone() }
    }

    /// What still runs is given up.
    fn stop(self) {
        for runtime in [self.peer, self.route, self.place] {
            runtime.shutdown_background();
        }
    }
}

/// A store that is open, and the cluster that it belongs to.
struct Joined {
    cluster: Cluster,
    store: Store,
    who: StoreIdentity,
}

impl Joined {
    /// Opens the store by the cluster's seed and shards.
    fn open(opening: &Opening, cluster: Cluster) -> anyhow::Result<Self> {
        let damaged = "what ZooKeeper says of the cluster makes no sense";
        let shards = ShardCount::new(cluster.shards).context(damaged)?;
        let replication = Replication::new(cluster.replication).context(damaged)?;
        let Opening { config, available_bytes, accept_loss, .. } = opening;
        let mut options = super::store_options(config, *available_bytes, *accept_loss);
        options.replicated = Some(replication.quorum());
        options.retention_by = RetentionBy::Cluster;
        options.cluster =
            Some(ClusterIdentity { cluster: cluster.uuid, seed: cluster.hash_seed, shards });
        options.machine_boot = machine_boot();
        let store = super::start_store(options, opening)?;
        let who = store.identity().context("failed to ask the store who it is")?;
        Ok(Self { cluster, store, who })
    }

    fn identity(&self) -> Identity {
        Identity {
            cluster: ClusterId(self.cluster.uuid),
            store: StoreId(self.who.store),
            boot: BootCount(self.who.boot),
            lineage: self.who.lineage.clone(),
        }
    }

    /// The node, as its messages say.
    fn local(&self, member: &Member) -> Local {
        let Identity { cluster, store, boot, .. } = self.identity();
        let clock = Clock::system();
        Local::new(cluster, member.node.as_str(), store, boot.0, move || clock.now_ms())
    }

    /// Starts the agent. It is told what the copies here are worth before anybody asks for them.
    fn control(
        &self,
        opening: &Opening,
        member: &Member,
        (coordination, local): (Coordination, Local),
        peer_address: String,
        secret: Option<ClusterSecret>,
    ) -> anyhow::Result<Control> {
        let Opening { config, registry, http_address, .. } = opening;
        let seed = fastrand::u64(..);
        let options = PeersOptions { secret, seed, ..PeersOptions::default() };
        let (peers, offered) = Peers::new(local.clone(), options, registry);
        let expect = usize::try_from(self.cluster.expect).unwrap_or(usize::MAX);
        let options = ControlOptions {
            node: member.node.clone(),
            zone: config.cluster.zone.clone(),
            weight: config.cluster.weight,
            peer_address,
            http_address: member.reached_at(*http_address),
            folder: config.storage.data_dir.clone(),
            policy: config.cluster.policy(expect),
            software: env!("CARGO_PKG_VERSION").to_owned(),
            seed,
            start_wait: config.cluster.start_wait,
        };
        let (identity, clock) = (self.identity(), Clock::system());
        let now = move || clock.now_ms();
        let control =
            Control::start(coordination, peers, offered, local, identity, options, now, registry);
        if self.who.is_suspect {
            control.suspected("acknowledged writes were lost, or may be, when it last went down");
        }
        for shard in self.store.damaged_shards()? {
            control.damaged(shard);
        }
        control.replayed();
        Ok(control)
    }

    /// Starts the data plane.
    fn plane(
        &self,
        opening: &Opening,
        (listener, local): (TcpListener, Local),
        control: &Control,
        (secret, threads): (Option<ClusterSecret>, Threads),
    ) -> Plane {
        let limit = opening.config.limits.memory.of(opening.available_bytes);
        let memory = Memory::new(crate::allocator::usage, limit);
        let options = PlaneOptions {
            threads,
            server: ServerOptions { secret, ..ServerOptions::default() },
            router: RouterOptions::default(),
            admit: Box::new(move || memory.admits_writes()),
        };
        let who = (self.identity().store, self.who.shards);
        let (store, topology) = (self.store.clone(), Arc::new(control.clone()));
        Plane::start(listener, local, store, who, topology, options, &opening.registry)
    }
}

fn coordination(
    config: &Config,
    member: &Member,
    registry: &Registry,
) -> anyhow::Result<Coordination> {
    let file = config.cluster.zookeeper_credentials_file.as_deref();
    let credentials = file.map(read_credentials).transpose()?;
    let session_timeout = config.cluster.session_timeout;
    let address = member.zookeeper.clone();
    let ensemble = Ensemble::zookeeper(ZooKeeper { address, session_timeout, credentials });
    let settings = Settings { seed: fastrand::u64(..), ..Settings::default() };
    Ok(Coordination::start(ensemble, settings, CoordinationMetrics::new(registry)))
}

/// Which boot of the machine this is, where the system tells.
fn machine_boot() -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(boot.trim().to_owned())
}

/// Tells the leader what this node's clock would drop, and drops what the cluster dropped.
async fn keep_retention(control: Control, store: Store, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(RETENTION_EVERY) => {}
        }
        control.expired(store.due_floor());
        let (floor, of_thread) = (control.retention_floor(), store.clone());
        let raised = tokio::task::spawn_blocking(move || of_thread.raise_floor(floor)).await;
        if let Ok(Err(error)) = raised {
            tracing::error!(%error, %floor, "failed to drop what is beyond retention");
        }
    }
}

/// Tells the agent of damage that is found while the node runs: what cannot be read whole is no
/// copy any more.
async fn watch_damage(control: Control, store: Store, stop: CancellationToken) {
    let mut known = 0;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(DAMAGE_EVERY) => {}
        }
        let Some(found) = store.stats().map(|stats| stats.damage_total) else { continue };
        if found == known {
            continue;
        }
        let of_thread = store.clone();
        let shards = tokio::task::spawn_blocking(move || of_thread.damaged_shards()).await;
        // A store that is not open now is asked again.
        let Ok(Ok(shards)) = shards else { continue };
        known = found;
        for shard in shards.into_iter().filter(|shard| !control.is_damaged(*shard)) {
            tracing::error!(%shard, "the copy here is damaged and is not used any more");
            control.damaged(shard);
        }
    }
}

/// The cluster as this node's surface shows it.
struct View {
    control: Control,
    store: Store,
    node: NodeId,
}

impl services::Cluster for View {
    fn status(&self) -> serde_json::Value {
        let mut status = self.control.status();
        let own = status.nodes.iter_mut().find(|node| node.id == self.node.as_str());
        if let Some(own) = own {
            own.unsettled = Some(unsettled(&self.store, status.time_ms));
        }
        serde_json::to_value(status).expect("names and numbers are JSON")
    }

    fn readiness(&self) -> Result<(), String> {
        self.control.readiness()
    }

    fn clock(&self) -> Result<(), String> {
        self.control.clock()
    }
}

fn unsettled(store: &Store, now_ms: i64) -> UnsettledStatus {
    let stats = store.unsettled_stats();
    #[expect(clippy::cast_precision_loss, reason = "an age, for people")]
    let seconds = |since_ms: i64| now_ms.saturating_sub(since_ms).max(0) as f64 / 1000.0;
    UnsettledStatus {
        records: stats.records as u64,
        chunks: stats.chunks as u64,
        days: stats.days as u64,
        oldest_seconds: stats.oldest_ms.map_or(0.0, seconds),
    }
}
