//! What a promise is played on: an ensemble whose faults can be called for.

use std::cell::RefCell;
use std::time::Duration;

use bytes::Bytes;
use rangekeeper_coordination::{
    Candidate, Cluster, Coordination, CoordinationMetrics, Ensemble, Membership, Registration,
    Role, Settings, memory::Fate,
};
use rangekeeper_model::{Lineage, NodeId, RunId, Term};
use rangekeeper_telemetry::Registry;
use tokio::sync::watch;
use uuid::Uuid;

/// How long anything may take; bound of every wait.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// An ensemble and its faults. Processes are told by name.
pub trait Stage {
    /// What `process` connects to; the cluster lies at `root`.
    fn ensemble(&self, process: &str, root: &str) -> Ensemble;
    /// How long sessions last.
    fn session_timeout(&self) -> Duration;
    /// Cuts a process off, until it is mended.
    fn cut(&self, process: &str);
    fn mend(&self, process: &str);
    /// Loses the answer to the next write of a process, and its connection.
    fn lose_next_answer(&self, process: &str, fate: Fate);
    /// What is at a path, past all processes.
    async fn read(&self, path: &str) -> Option<Bytes>;
    async fn delete(&self, path: &str) -> bool;
    async fn create(&self, path: &str, data: &[u8]);
    /// Faults of all servers.
    async fn kill_all(&self);
    async fn start_all(&self);
    async fn stop_all(&self);
    async fn resume_all(&self);
}

/// A promise's part of the stage: a root of its own, and the processes that it started.
pub struct Cast<S> {
    pub stage: S,
    name: String,
    started: RefCell<Vec<Coordination>>,
}

/// A running process.
pub struct Process {
    pub name: String,
    pub handle: Coordination,
    pub registry: Registry,
}

impl Process {
    /// Registers as the node `node` at the start `boot` of its folder, which is as many runs old.
    pub fn register(&self, node: &str, store: u128, boot: u64) -> watch::Receiver<Membership> {
        let runs = (1..=boot).map(|start| run(store, start)).collect();
        self.register_as(node, store, Lineage::of(runs).expect("a start"))
    }

    /// The same with another lineage than that.
    pub fn register_as(
        &self,
        node: &str,
        store: u128,
        lineage: Lineage,
    ) -> watch::Receiver<Membership> {
        self.handle.register(registration(node, store, &lineage), lineage)
    }

    /// The value of a counter.
    pub fn metric(&self, name: &str) -> u64 {
        self.reading(name).parse().unwrap()
    }

    /// The value of a metric with these labels, as it is exported.
    pub fn reading(&self, name: &str) -> String {
        let text = self.registry.encode();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in\n{text}")).to_owned()
    }

    pub fn candidate(&self) -> Candidate {
        let node = self.name.rsplit(':').next().unwrap();
        Candidate { node: node.parse().unwrap(), address: "127.0.0.1:9".to_owned() }
    }

    /// Stands for election and waits until it leads.
    pub async fn lead(&self) -> (Term, watch::Receiver<Role>) {
        let mut role = self.handle.campaign(self.candidate());
        let now = until(&mut role, "leading", |role| matches!(role, Role::Leading(_))).await;
        let Role::Leading(term) = now else { unreachable!("waited for") };
        (term, role)
    }
}

impl<S: Stage> Cast<S> {
    pub fn new(stage: S, name: &str) -> Self {
        Self { stage, name: name.to_owned(), started: RefCell::default() }
    }

    pub fn root(&self) -> String {
        format!("/rangekeeper/{}", self.name)
    }

    pub fn path(&self, below: &str) -> String {
        format!("{}{below}", self.root())
    }

    /// The process `name` as the stage knows it: promises share a stage.
    fn process_name(&self, name: &str) -> String {
        format!("{}:{name}", self.name)
    }

    /// A request has half the time that a session has, so that a promise can wait for one to fail.
    pub fn settings(&self) -> Settings {
        Settings {
            cluster: None,
            request_timeout: self.stage.session_timeout() / 2,
            verify_interval: Duration::from_secs(1),
            // Never, in a test: what is seen is seen by watches.
            reread_interval: Duration::from_hours(1),
            seed: fastrand::u64(..),
        }
    }

    pub fn start(&self, name: &str) -> Process {
        self.start_with(name, self.settings())
    }

    pub fn start_with(&self, name: &str, settings: Settings) -> Process {
        let ensemble = self.stage.ensemble(&self.process_name(name), &self.root());
        self.start_on(ensemble, name, settings)
    }

    pub fn start_on(&self, ensemble: Ensemble, name: &str, settings: Settings) -> Process {
        let name = self.process_name(name);
        let registry = Registry::new();
        let metrics = CoordinationMetrics::new(&registry);
        let handle = Coordination::start(ensemble, settings, metrics);
        self.started.borrow_mut().push(handle.clone());
        Process { name, handle, registry }
    }

    /// Starts a process that makes the cluster.
    pub async fn operator(&self) -> Process {
        let operator = self.start("operator");
        operator.handle.init(&cluster(1)).await.unwrap();
        operator
    }

    pub fn cut(&self, process: &Process) {
        self.stage.cut(&process.name);
    }

    pub fn mend(&self, process: &Process) {
        self.stage.mend(&process.name);
    }

    pub fn lose_next_answer(&self, process: &Process, fate: Fate) {
        self.stage.lose_next_answer(&process.name, fate);
    }

    /// Cuts a process off until its session has ended on both sides.
    pub async fn expire(&self, process: &Process) {
        self.cut(process);
        tokio::time::sleep(self.stage.session_timeout().mul_f64(1.6)).await;
        self.mend(process);
    }

    /// Closes what was started, so that nothing of it is left for others.
    pub async fn end(&self) {
        let started = std::mem::take(&mut *self.started.borrow_mut());
        for handle in started {
            handle.close().await;
        }
    }
}

/// The cluster `number`.
pub fn cluster(number: u128) -> Cluster {
    Cluster {
        uuid: Uuid::from_u128(number),
        generation: 1,
        shards: 256,
        hash: "xxh3-128".to_owned(),
        hash_seed: 17,
        replication: 3,
        expect: 3,
        adopted: false,
        format_level: 1,
    }
}

/// The node `node` with its folder `store` opened for the `boot`th time.
/// A start of a folder that was never copied.
pub fn run(store: u128, start: u64) -> RunId {
    RunId::of(store << 64 | u128::from(start))
}

fn registration(node: &str, store: u128, lineage: &Lineage) -> Registration {
    let boot = u64::try_from(lineage.runs().len()).unwrap();
    Registration {
        node: node.parse().unwrap(),
        store: Uuid::from_u128(store),
        boot,
        run: lineage.run().0,
        after: Vec::new(),
        peer_address: format!("127.0.0.1:{}", 9000 + boot),
        http_address: "127.0.0.1:9920".to_owned(),
        zone: "z1".to_owned(),
        weight: 100,
        software: "0.1.0".to_owned(),
        format_level: 1,
    }
}

pub fn node(name: &str) -> NodeId {
    name.parse().unwrap()
}

/// Waits until what is followed is as `is_wanted` says.
pub async fn until<T: Clone + std::fmt::Debug>(
    receiver: &mut watch::Receiver<T>,
    what: &str,
    is_wanted: impl FnMut(&T) -> bool,
) -> T {
    let last = receiver.clone();
    match tokio::time::timeout(PATIENCE, receiver.wait_for(is_wanted)).await {
        Ok(Ok(value)) => value.clone(),
        Ok(Err(_)) => panic!("nobody tells any more; waited for {what}"),
        Err(tokio::time::error::Elapsed { .. }) => {
            panic!("not within {PATIENCE:?}: {what}; it is {:?}", *last.borrow())
        }
    }
}

/// Waits for a registration, and gives its incarnation.
pub async fn registered(membership: &mut watch::Receiver<Membership>) -> u64 {
    let now =
        until(membership, "registration", |now| matches!(now, Membership::Registered(_))).await;
    let Membership::Registered(incarnation) = now else { unreachable!("waited for") };
    incarnation.0
}
