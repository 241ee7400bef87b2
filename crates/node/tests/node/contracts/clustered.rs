//! What a node of a cluster counts beyond one that is alone.

use std::sync::Arc;
use std::time::Duration;

use rangekeeper_cluster::{
    Control, ControlOptions, Identity, Local, Peers, PeersOptions, Plane, PlaneOptions,
    RouterOptions, ServerOptions, Threads,
};
use rangekeeper_coordination::memory::MemoryEnsemble;
use rangekeeper_coordination::{Coordination, CoordinationMetrics, Settings, watch_figures};
use rangekeeper_model::{BootCount, ClusterId, StoreId};
use rangekeeper_placement::Policy;
use rangekeeper_storage::{Clock, Store, StoreOptions};
use rangekeeper_telemetry::Registry;
use tokio::net::TcpListener;

/// Has everything that a node of a cluster runs beside its store register its metrics.
pub async fn register(registry: &Registry) {
    let folder = tempfile::tempdir().expect("a folder for the store");
    let store = Store::open(StoreOptions::new(folder.path()), Clock::system()).expect("it opens");
    let identity = store.identity().expect("it is open");
    let (cluster, id) = (ClusterId::of(1), StoreId(identity.store));
    let address = "zk:2181/rangekeeper/test".parse().expect("an address");
    let ensemble = MemoryEnsemble::new(1).client("a", &address, Duration::from_secs(4));
    let metrics = CoordinationMetrics::new(registry);
    let coordination = Coordination::start(ensemble, Settings::default(), metrics);
    let stop = tokio_util::sync::CancellationToken::new();
    stop.cancel();
    watch_figures(Vec::new(), Duration::from_secs(1), registry.clone(), stop).await;
    let local = Local::new(cluster, "a", id, identity.boot, || 0);
    let (peers, offered) = Peers::new(local.clone(), PeersOptions::default(), registry);
    let options = ControlOptions {
        node: "a".parse().expect("a name"),
        zone: None,
        weight: 100,
        peer_address: "127.0.0.1:1".to_owned(),
        http_address: "127.0.0.1:2".to_owned(),
        folder: folder.path().to_owned(),
        policy: Policy::new(1),
        software: String::new(),
        seed: 1,
        start_wait: Duration::ZERO,
    };
    let boot = BootCount(identity.boot);
    let lineage = identity.lineage.clone();
    let identity_of = Identity { cluster, store: id, boot, lineage };
    let control = Control::start(
        coordination.clone(),
        peers,
        offered,
        local.clone(),
        identity_of,
        options,
        || 0,
        registry,
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let options = PlaneOptions {
        threads: Threads::current(),
        server: ServerOptions::default(),
        router: RouterOptions::default(),
        admit: Box::new(|| Ok(())),
    };
    let topology = Arc::new(control.clone());
    let of_store = (id, identity.shards);
    let plane = Plane::start(listener, local, store.clone(), of_store, topology, options, registry);
    plane.stop().await;
    control.stop().await;
    coordination.close().await;
    store.close();
}
