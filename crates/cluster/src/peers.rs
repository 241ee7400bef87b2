//! The peers of a node: one handle each, kept as membership changes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rangekeeper_telemetry::Registry;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::identity::Local;
use crate::limits::{
    BREAKER_FAILURES, FRAME_BYTES, FRAME_TIMEOUT, FRAME_WAIT, OFFERED_ASSIGNMENTS, PROBE_INTERVAL,
    QUEUE_BYTES,
};
use crate::link::Dialing;
use crate::metrics::ClientMetrics;
use crate::peer::{Making, OfferedAssignment, Peer, Probing, probe_always};
use crate::secret::ClusterSecret;
use rangekeeper_model::StoreId;

/// What can be set about calls to peers.
#[derive(Clone, Debug)]
pub struct PeersOptions {
    /// Shown to every peer.
    pub secret: Option<ClusterSecret>,
    /// Bytes that writes to one peer may hold until they are answered.
    pub queue_bytes: usize,
    /// Bytes of rows at which a frame is full.
    pub frame_bytes: usize,
    /// How long the first rows of a frame wait for others.
    pub frame_wait: Duration,
    /// After how long without its answer a frame is given up, and its stream with it.
    pub frame_timeout: Duration,
    /// Failures in a row that open a breaker.
    pub breaker_failures: u32,
    /// How often a peer is probed; none leaves probing to the caller.
    pub probe_every: Option<Duration>,
    /// For what is drawn, so that nodes differ.
    pub seed: u64,
}

impl Default for PeersOptions {
    fn default() -> Self {
        Self {
            secret: None,
            queue_bytes: QUEUE_BYTES,
            frame_bytes: FRAME_BYTES,
            frame_wait: FRAME_WAIT,
            frame_timeout: FRAME_TIMEOUT,
            breaker_failures: BREAKER_FAILURES,
            probe_every: Some(PROBE_INTERVAL),
            seed: 0,
        }
    }
}

/// Where a peer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerAddress {
    /// The node's name.
    pub node: String,
    /// `host:port` of its peers' listener.
    pub address: String,
    /// Its data folder. A node that lost its folder is another peer under the same name.
    pub store: StoreId,
}

/// The peers of a node. Dropped, it ends all calls; [`Peers::shutdown`] waits for that too.
pub struct Peers {
    local: Local,
    options: PeersOptions,
    metrics: ClientMetrics,
    offers: mpsc::Sender<OfferedAssignment>,
    tasks: TaskTracker,
    stop: CancellationToken,
    state: Mutex<State>,
}

struct State {
    known: BTreeMap<String, Known>,
    random: fastrand::Rng,
}

struct Known {
    address: PeerAddress,
    peer: Peer,
    stop: CancellationToken,
}

impl Peers {
    /// No peers yet, and where the assignments come that peers offer.
    pub fn new(
        local: Local,
        options: PeersOptions,
        registry: &Registry,
    ) -> (Self, mpsc::Receiver<OfferedAssignment>) {
        let (offers, offered) = mpsc::channel(OFFERED_ASSIGNMENTS);
        let random = fastrand::Rng::with_seed(options.seed);
        let peers = Self {
            local,
            options,
            metrics: ClientMetrics::new(registry),
            offers,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            state: Mutex::new(State { known: BTreeMap::new(), random }),
        };
        (peers, offered)
    }

    /// Makes the peers those of `addresses`. Who is there already is kept with its connections;
    /// who is not named, or moved, is not asked any more: its calls end.
    ///
    /// Runs on a runtime: what it starts are tasks.
    pub fn update(&self, addresses: impl IntoIterator<Item = PeerAddress>) {
        let addresses = addresses.into_iter();
        let wanted: BTreeMap<_, _> = addresses.map(|peer| (peer.node.clone(), peer)).collect();
        let mut state = self.state.lock();
        let State { known, random } = &mut *state;
        known.retain(|node, known| {
            let stays = wanted.get(node) == Some(&known.address);
            if !stays {
                known.stop.cancel();
                self.metrics.forget(node);
            }
            stays
        });
        for (node, address) in wanted {
            known.entry(node).or_insert_with(|| self.start(address, random));
        }
    }

    /// The peer with this name.
    pub fn peer(&self, node: &str) -> Option<Peer> {
        self.state.lock().known.get(node).map(|known| known.peer.clone())
    }

    /// All peers, in the order of their names.
    pub fn all(&self) -> Vec<Peer> {
        self.state.lock().known.values().map(|known| known.peer.clone()).collect()
    }

    /// Ends all calls and waits until everything that ran has ended.
    pub async fn shutdown(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn start(&self, address: PeerAddress, random: &mut fastrand::Rng) -> Known {
        let stop = self.stop.child_token();
        let dialing = Dialing {
            address: Arc::from(address.address.as_str()),
            secret: self.options.secret.clone(),
            tasks: self.tasks.clone(),
            stop: stop.clone(),
        };
        let (node, store, local) = (&*address.node, address.store, self.local.clone());
        let making = Making { node, store, local, dialing, seed: random.u64(..) };
        let (peer, writer) = Peer::new(making, &self.options, &self.metrics);
        self.tasks.spawn(writer.run());
        if let Some(every) = self.options.probe_every {
            let (offers, random) = (self.offers.clone(), random.fork());
            self.tasks.spawn(probe_always(peer.clone(), Probing { every, offers, random }));
        }
        Known { address, peer, stop }
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
