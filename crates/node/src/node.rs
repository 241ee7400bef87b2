//! A node: listens first, serves when its store is open, drains when it is told to stop.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rangekeeper_telemetry::Registry;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::config::Config;
use crate::http::{self, AuthError, Surface, Tokens};
use crate::memory::{Memory, Usage};
use crate::readiness::Readiness;
use crate::server::{Drained, Server};
use crate::services::Services;
use crate::version;

/// A node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The tokens cannot be had.
    #[error(transparent)]
    Auth(#[from] AuthError),
}

/// What a node finds around it. Passed in, so that many nodes fit into one process.
pub struct Surroundings {
    /// Where its metrics go.
    pub registry: Registry,
    /// What the allocator counts.
    pub measure: fn() -> Usage,
    /// The memory of which its limits are shares.
    pub available_bytes: u64,
    /// For ids that should differ from start to start.
    pub seed: u64,
}

/// A node that listens.
pub struct Node {
    address: SocketAddr,
    surface: Arc<Surface>,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<Drained>,
}

impl Node {
    /// Listens. Until [`Node::open`] all but health, readiness and metrics is a 503 that tells what
    /// the start does.
    pub async fn listen(
        config: Arc<Config>,
        surroundings: Surroundings,
    ) -> Result<Self, StartError> {
        let Surroundings { registry, measure, available_bytes, seed } = surroundings;
        let tokens = config.auth.token_file.as_deref().map(Tokens::read).transpose()?;
        let address = config.server.listen;
        let failed = |source| StartError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        version::register(&registry);
        let memory = Memory::new(measure, config.limits.memory.of(available_bytes));
        let surface = Arc::new(Surface::new(
            Arc::clone(&config),
            registry.clone(),
            tokens,
            memory,
            available_bytes,
            seed,
        ));
        let server = Server::new(listener, http::router(&surface), &config.server, &registry);
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(server.run(stopped));
        Ok(Self { address, surface, stop, serving })
    }

    /// Where it listens; the port is the real one where port 0 was configured.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the start reports what it is doing.
    pub fn readiness(&self) -> &Arc<Readiness> {
        self.surface.readiness()
    }

    /// Serves everything from now on.
    pub fn open(&self, services: Services) {
        self.surface.open(services);
    }

    /// Stops accepting and answers what has begun, as long as the configuration allows. The
    /// services are the caller's to close, after this.
    pub async fn drain(self) -> Drained {
        self.readiness().stopping();
        // The server may have ended by itself; then there is nobody to tell.
        let _ = self.stop.send(());
        self.serving.await.expect("the server does not panic")
    }
}
