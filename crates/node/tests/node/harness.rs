//! A running node with a stand-in for its store, and a client for it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use rangekeeper_node::config::{Settings, Sources};
use rangekeeper_node::memory::Usage;
use rangekeeper_node::node::{Node, Surroundings};
use rangekeeper_node::server::Drained;
use rangekeeper_node::services::{
    Answering, Cluster, Failure, Identity, Operations, ReadPath, ReadRequest, Services,
    WriteOutcome, WritePath, WriteRequest, Written,
};
use rangekeeper_telemetry::Registry;
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, watch};
use uuid::Uuid;

/// The memory that the shares of the limits are of.
pub const AVAILABLE_BYTES: u64 = 1 << 30;

/// What stands behind the surface: takes what it is told to take, and remembers what it was asked.
pub struct StandIn {
    pub outcome: Mutex<WriteOutcome>,
    pub answer: Mutex<Result<Bytes, Failure>>,
    /// Why writes cannot be taken.
    pub refusal: Mutex<Option<String>>,
    pub writes: Mutex<Vec<WriteRequest>>,
    pub reads: Mutex<Vec<ReadRequest>>,
    pub operations: Mutex<Vec<String>>,
    /// A write or a read waits for a permit: there are many unless a test takes them away.
    pub gate: Semaphore,
    /// Requests that wait at the gate, and how many were dropped there.
    pub waiting: watch::Sender<(usize, usize)>,
}

const OPEN_GATE: usize = 1_000_000;

impl StandIn {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            outcome: Mutex::new(WriteOutcome { result: Ok(()), written: Written::default() }),
            answer: Mutex::new(Ok(Bytes::from_static(b"{\"status\":\"success\"}"))),
            refusal: Mutex::new(None),
            writes: Mutex::default(),
            reads: Mutex::default(),
            operations: Mutex::default(),
            gate: Semaphore::new(OPEN_GATE),
            waiting: watch::Sender::new((0, 0)),
        })
    }

    /// From now on requests wait until [`StandIn::let_go`].
    pub fn hold(&self) {
        assert_eq!(self.gate.forget_permits(OPEN_GATE), OPEN_GATE);
    }

    pub fn let_go(&self) {
        self.gate.add_permits(OPEN_GATE);
    }

    async fn pass(&self) {
        let mut at_gate = AtGate { stand_in: self, passed: false };
        self.waiting.send_modify(|(waiting, _)| *waiting += 1);
        drop(self.gate.acquire().await.expect("the gate is never closed"));
        at_gate.passed = true;
    }
}

struct AtGate<'a> {
    stand_in: &'a StandIn,
    passed: bool,
}

impl Drop for AtGate<'_> {
    fn drop(&mut self) {
        self.stand_in.waiting.send_modify(|(waiting, dropped)| {
            *waiting -= 1;
            *dropped += usize::from(!self.passed);
        });
    }
}

impl WritePath for StandIn {
    /// The bodies of these tests begin with the number of bytes that they claim to hold, in a line
    /// of its own.
    fn decoded_bytes(&self, body: &[u8]) -> u64 {
        let line = body.split(|&byte| byte == b'\n').next().unwrap_or_default();
        str::from_utf8(line).ok().and_then(|line| line.parse().ok()).unwrap_or(0)
    }

    fn receive(&self, request: WriteRequest) -> Answering<'_, WriteOutcome> {
        Box::pin(async move {
            self.writes.lock().push(request);
            self.pass().await;
            self.outcome.lock().clone()
        })
    }
}

impl ReadPath for StandIn {
    fn answer(&self, request: ReadRequest) -> Answering<'_, Result<Bytes, Failure>> {
        Box::pin(async move {
            self.reads.lock().push(request);
            self.pass().await;
            self.answer.lock().clone()
        })
    }
}

impl Operations for StandIn {
    fn may_write(&self) -> Result<(), String> {
        self.refusal.lock().clone().map_or(Ok(()), Err)
    }

    fn seal(&self) -> Result<(), Failure> {
        self.operations.lock().push("seal".to_owned());
        Ok(())
    }

    fn snapshot(&self, folder: &Path) -> Result<(), Failure> {
        self.operations.lock().push(format!("snapshot {}", folder.display()));
        Ok(())
    }

    fn confirm_clock(&self) -> Result<(), Failure> {
        self.operations.lock().push("confirm-clock".to_owned());
        Ok(())
    }

    fn identity(&self) -> Result<Identity, Failure> {
        Ok(Identity { store: Uuid::from_u128(7), seed: u64::MAX, shards: 64, cluster: None })
    }
}

/// What a node knows of its cluster, and why it cannot do its part.
#[derive(Default)]
pub struct OfCluster {
    pub status: serde_json::Value,
    pub refusal: Mutex<Option<String>>,
    pub clock: Mutex<Option<String>>,
}

impl Cluster for OfCluster {
    fn status(&self) -> serde_json::Value {
        self.status.clone()
    }

    fn readiness(&self) -> Result<(), String> {
        self.refusal.lock().clone().map_or(Ok(()), Err)
    }

    fn clock(&self) -> Result<(), String> {
        self.clock.lock().clone().map_or(Ok(()), Err)
    }
}

/// A node that runs until it is dropped or drained.
pub struct Harness {
    pub runtime: Runtime,
    pub stand_in: Arc<StandIn>,
    pub registry: Registry,
    pub node: Option<Node>,
    agent: ureq::Agent,
    _files: tempfile::TempDir,
}

/// What a node answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: ureq::http::HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> &str {
        str::from_utf8(&self.body).expect("the body is text")
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("the body is JSON")
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("the header is text"))
    }
}

fn little() -> Usage {
    Usage { active_bytes: 1, allocated_bytes: 1, resident_bytes: 1 }
}

impl Harness {
    /// A node that serves; `set` as for `--set`.
    pub fn serving(set: &[&str]) -> Self {
        let harness = Self::starting(set, little);
        harness.open();
        harness
    }

    /// A node whose store is not open yet.
    pub fn starting(set: &[&str], measure: fn() -> Usage) -> Self {
        let files = tempfile::tempdir().expect("a folder for files");
        let mut set: Vec<_> = set.iter().map(|&text| text.to_owned()).collect();
        set.push("server.listen=127.0.0.1:0".to_owned());
        if set.iter().any(|text| text == "auth.token_file=TOKENS") {
            let path: PathBuf = files.path().join("tokens");
            std::fs::write(&path, "open-sesame\n").expect("write the tokens");
            set.push(format!("auth.token_file={}", path.display()));
        }
        let sources = Sources { set, ..Sources::default() };
        let config = Settings::read(&sources).and_then(|settings| settings.config());
        let config = Arc::new(config.expect("the configuration is good"));
        let runtime = Runtime::new().expect("a runtime");
        let registry = Registry::new();
        let surroundings = Surroundings {
            registry: registry.clone(),
            measure,
            available_bytes: AVAILABLE_BYTES,
            seed: 1,
        };
        let node = runtime.block_on(Node::listen(config, surroundings)).expect("it listens");
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build();
        Self {
            runtime,
            stand_in: StandIn::new(),
            registry,
            node: Some(node),
            agent: agent.into(),
            _files: files,
        }
    }

    /// A node of a cluster that serves.
    pub fn clustered(cluster: Arc<OfCluster>) -> Self {
        let harness = Self::starting(&[], little);
        harness.open_with(Some(cluster));
        harness
    }

    /// Opens the store.
    pub fn open(&self) {
        self.open_with(None);
    }

    fn open_with(&self, cluster: Option<Arc<OfCluster>>) {
        self.node().open(Services {
            cluster: cluster.map(|cluster| cluster as _),
            write: Arc::clone(&self.stand_in) as _,
            read: Arc::clone(&self.stand_in) as _,
            operations: Arc::clone(&self.stand_in) as _,
        });
    }

    pub fn node(&self) -> &Node {
        self.node.as_ref().expect("the node runs")
    }

    /// Begins to stop the node; the handle gives how that ended.
    pub fn drain(&mut self) -> tokio::task::JoinHandle<Drained> {
        let node = self.node.take().expect("the node runs");
        self.runtime.spawn(node.drain())
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.node().address())
    }

    pub fn get(&self, path: &str) -> Answer {
        self.get_with(path, &[])
    }

    pub fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let request = self.agent.get(self.url(path));
        let request = headers.iter().fold(request, |r, (name, value)| r.header(*name, *value));
        answer(request.call().expect("an answer"))
    }

    pub fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let request = self.agent.post(self.url(path));
        let request = headers.iter().fold(request, |r, (name, value)| r.header(*name, *value));
        answer(request.send(body).expect("an answer"))
    }

    /// A write of version 1.
    pub fn write(&self, body: &[u8]) -> Answer {
        self.post("/api/v1/write", &[("Content-Type", "application/x-protobuf")], body)
    }

    /// Waits until `condition` holds for the requests at the gate and those that were dropped
    /// there.
    pub fn wait_until(&self, condition: impl FnMut(&(usize, usize)) -> bool) {
        let mut waiting = self.stand_in.waiting.subscribe();
        self.runtime.block_on(waiting.wait_for(condition)).expect("the stand-in lives");
    }

    /// The value of a metric, its labels included in `series`.
    pub fn metric(&self, series: &str) -> f64 {
        let text = self.registry.encode();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {series} in\n{text}")).parse().expect("a number")
    }
}

fn answer(mut response: ureq::http::Response<ureq::Body>) -> Answer {
    Answer {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        body: response.body_mut().read_to_vec().expect("the whole body"),
    }
}
