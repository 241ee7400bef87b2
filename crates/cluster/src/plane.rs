//! The data plane of a node: its store as a place of shards, the listener for peers, routing,
//! settling and delivering, put together and taken apart.

use std::sync::Arc;

use rangekeeper_model::{ShardCount, StoreId};
use rangekeeper_storage::Store;
use rangekeeper_telemetry::Registry;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
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

/// Where a data plane does its work. With threads of their own the parts do not wait behind each
/// other, and the system tells what each costs.
#[derive(Clone, Debug)]
pub struct Threads {
    /// Where writes are driven: encoded for each place, sent, decided.
    pub route: Handle,
    /// Where this node stores rows, its own and those of peers.
    pub store: Handle,
}

impl Threads {
    /// All of it on the runtime that this is called in.
    pub fn current() -> Self {
        Self { route: Handle::current(), store: Handle::current() }
    }
}

/// What a data plane is made of.
pub struct PlaneOptions {
    /// Where the work is done.
    pub threads: Threads,
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
    /// What the options do not name runs on the runtime that this is called in.
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
        let (folding, threads) = (Folding::default(), options.threads);
        let serving = Serving::new(Arc::clone(&replica), folding.clone(), threads.store.clone());
        let serving = Arc::new(serving);
        let server = PeerServer::new(listener, serving, local, &options.server, registry);
        let stop_serving = CancellationToken::new();
        let serving = tokio::spawn(server.run(stop_serving.clone()));
        let making = (shards, settler, (tasks.clone(), threads), folding);
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
