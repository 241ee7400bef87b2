//! Three nodes of one cluster around a real ZooKeeper, as their users run them; five where each
//! shard has five copies.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::node::{Node, Setup, free_address};
use crate::zookeeper::Ensemble;
use crate::{poll, programs};

/// The nodes' names, of which a cluster of three has the first three.
pub const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// Time in which all shards have to be given to nodes, or be whole again.
const STEADY_LIMIT: Duration = Duration::from_mins(1);

/// Where a node is.
#[derive(Debug, Clone)]
pub struct Place {
    /// Address and port of its API.
    pub listen: String,
    /// Address and port for the other nodes.
    pub peer: String,
    /// A program with arguments that is put before the node's own command line.
    pub wrapper: Vec<OsString>,
}

/// Three nodes or five, or fewer while some are away.
#[derive(Debug)]
pub struct Trio {
    nodes: Vec<Option<Node>>,
    setups: Vec<Setup>,
    /// ZooKeeper.
    pub ensemble: Ensemble,
    /// Where the cluster is in it.
    pub zookeeper: String,
}

impl Trio {
    /// Makes a cluster with `replication` copies of each shard and starts its nodes, as many as a
    /// shard has places and three at least, with folders below `folder`, at these addresses or at
    /// free ones; `servers` of ZooKeeper. `None`, and a line that says so, where there is no
    /// ZooKeeper.
    pub fn start(
        folder: &Path,
        listen: Option<[&str; 3]>,
        servers: usize,
        replication: u8,
    ) -> Result<Option<Self>> {
        let Some(ensemble) = Ensemble::start(folder, servers)? else { return Ok(None) };
        let place = |at: usize| -> Result<Place> {
            let listen = listen.map_or_else(free_address, |listen| Ok(listen[at].to_owned()))?;
            // The port after that of HTTP may be taken where ports are drawn.
            Ok(Place { listen, peer: free_address()?, wrapper: Vec::new() })
        };
        let places = (0..usize::from(replication).max(3)).map(place).collect::<Result<Vec<_>>>()?;
        Self::around(folder, ensemble, replication, &places).map(Some)
    }

    /// As [`Self::start`], around an ensemble that runs, each node at its own place.
    pub fn around(
        folder: &Path,
        ensemble: Ensemble,
        replication: u8,
        places: &[Place],
    ) -> Result<Self> {
        let zookeeper = ensemble.cluster("system");
        let program = programs::rangekeeper()?;
        // It waits 5 s for a ZooKeeper, which has just been started.
        poll::until("a cluster", Duration::from_secs(30), || {
            let made = Command::new(&program)
                .args(["cluster", "init", "--zookeeper", &zookeeper, "--shards", "256"])
                .args(["--replication", &replication.to_string(), "--expect"])
                .arg(places.len().to_string())
                .output()
                .context("failed to run cluster init")?;
            ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
            Ok(())
        })?;
        let setup = |at: usize| -> Result<Setup> {
            let Place { listen, peer, wrapper } = places[at].clone();
            let mut setup = Setup::new(&folder.join(NAMES[at]))?;
            let options =
                [["--zookeeper", &zookeeper], ["--node-id", NAMES[at]], ["--peer-listen", &peer]];
            setup.options = options.concat().into_iter().map(Into::into).collect();
            // Nobody else is in the network that has other addresses than these.
            if !listen.starts_with("127.") {
                setup.options.push("--no-auth".into());
            }
            (setup.listen, setup.wrapper) = (listen, wrapper);
            setup.settings.push("cluster.session_timeout=2s".to_owned());
            Ok(setup)
        };
        let setups = (0..places.len()).map(setup).collect::<Result<Vec<_>>>()?;
        let nodes = places.iter().map(|_| None).collect();
        let mut trio = Self { nodes, setups, ensemble, zookeeper };
        trio.start_all()?;
        Ok(trio)
    }

    /// Starts those that are away, all at once, and waits until they are ready.
    pub fn start_all(&mut self) -> Result<()> {
        for (node, setup) in self.nodes.iter_mut().zip(&self.setups) {
            if node.is_none() {
                *node = Some(setup.start()?);
            }
        }
        self.nodes.iter_mut().flatten().try_for_each(Node::wait_ready)
    }

    /// The nodes' names, in the order of their numbers.
    pub fn names(&self) -> &'static [&'static str] {
        &NAMES[..self.setups.len()]
    }

    /// How a node is started.
    pub fn setup(&mut self, at: usize) -> &mut Setup {
        &mut self.setups[at]
    }

    /// A node that runs.
    pub fn node(&self, at: usize) -> &Node {
        self.nodes[at].as_ref().expect("the test has not stopped it")
    }

    /// Kills a node as `kill -9` does.
    pub fn kill(&mut self, at: usize) -> Result<()> {
        self.nodes[at].take().context("it runs")?.process.kill()
    }

    /// Stops a node in order.
    pub fn stop(&mut self, at: usize) -> Result<()> {
        let status = self.nodes[at].take().context("it runs")?.process.stop()?;
        ensure!(status.success(), "node {} ended with {status}", NAMES[at]);
        Ok(())
    }

    /// What a node says of the cluster.
    pub fn status(&self, at: usize) -> Result<Value> {
        let answer = self.node(at).api.get("/api/cluster/v1")?;
        ensure!(answer.is_success(), "{} {}", answer.status, answer.body);
        Ok(serde_json::from_str(&answer.body)?)
    }

    /// Starts one that is away, without waiting until it is ready.
    pub fn begin(&mut self, at: usize) -> Result<()> {
        ensure!(self.nodes[at].is_none(), "node {} runs", NAMES[at]);
        self.nodes[at] = Some(self.setups[at].start()?);
        Ok(())
    }

    /// The number of the node that leads, as a node sees it.
    pub fn leader(&self, seen_by: usize) -> Result<usize> {
        let leader = self.status(seen_by)?["leader"].take();
        let at = self.names().iter().position(|name| leader["node"] == *name);
        at.with_context(|| format!("nobody leads: {leader}"))
    }

    /// Waits until nothing is unsettled at any node that runs: all places have everything.
    pub fn wait_settled(&self) -> Result<()> {
        poll::until("everything at all places", STEADY_LIMIT, || {
            for at in (0..self.nodes.len()).filter(|at| self.nodes[*at].is_some()) {
                let status = self.status(at)?;
                let nodes = status["nodes"].as_array().context("no list of nodes")?;
                let own = nodes.iter().find(|node| node["id"] == NAMES[at]);
                let unsettled = &own.context("it does not list itself")?["unsettled"];
                for kind in ["records", "chunks", "days"] {
                    let count = unsettled[kind].as_u64().context("no figure")?;
                    ensure!(count == 0, "{count} {kind} at node {}", NAMES[at]);
                }
            }
            Ok(())
        })
    }
}
