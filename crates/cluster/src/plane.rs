//! The data plane of a node: its store as a place of shards, the listener for peers, routing,
//! settling and delivering, put together and taken apart.

use std::sync::Arc;

use rangekeeper_model::{ShardCount, StoreId};
use rangekeeper_storage::Store;
use rangekeeper_telemetry::Registry;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::identity::Local;
use crate::reading::folding::Folding;
use crate::replica::{Admit, Replica};
use crate::router::{Router, RouterOptions};
use crate::server::{Drained, PeerServer, ServerOptions};
use crate::serving::Serving;
use crate::settling::{Settler, deliver_always};
use crate::topology::Topology;

/// What a data plane is made of.
pub struct PlaneOptions {
    /// How peers are served.
    pub server: ServerOptions,
    /// How writes and reads are routed.
    pub router: RouterOptions,
    /// Whether there is room for a peer's rows.
    pub admit: Admit,
}

/// The data plane of a node. [`Self::stop`] ends it.
pub struct Plane {
    router: Router,
    serving: JoinHandle<Drained>,
    stop_serving: CancellationToken,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Plane {
    /// Serves peers on `listener` and routes, with the data of `store`, by the maps of `topology`.
    /// Runs on the runtime that this is called in.
    pub fn start(
        listener: TcpListener,
        local: Local,
        store: Store,
        (store_id, shards): (StoreId, ShardCount),
        topology: Arc<dyn Topology>,
        options: PlaneOptions,
        registry: &Registry,
    ) -> Self {
        let replica = Arc::new(Replica::new(store, store_id, topology, options.admit));
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let settler = Settler::start(Arc::clone(&replica), &tasks, stop.clone());
        tasks.spawn(deliver_always(Arc::clone(&replica), stop.clone()));
        let folding = Folding::default();
        let serving = Arc::new(Serving::new(Arc::clone(&replica), folding.clone()));
        let server = PeerServer::new(listener, serving, local, &options.server, registry);
        let stop_serving = CancellationToken::new();
        let serving = tokio::spawn(server.run(stop_serving.clone()));
        let making = (shards, settler, tasks.clone(), folding);
        let router = Router::new(replica, making, &options.router);
        Self { router, serving, stop_serving, tasks, stop }
    }

    /// Routes writes and reads.
    pub fn router(&self) -> &Router {
        &self.router
    }

    /// Stops serving peers, and waits until what has begun has ended or was given up.
    pub async fn stop(self) -> Drained {
        self.stop_serving.cancel();
        let drained = self.serving.await.expect("the server does not panic");
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        drained
    }
}
