//! Real programs of others, started on loopback with folders of their own.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::api::Api;
use crate::node::free_address;
use crate::process::Process;
use crate::{poll, programs};

/// Time in which a peer has to answer.
const READY_LIMIT: Duration = Duration::from_mins(1);

/// A running peer.
#[derive(Debug)]
pub struct Peer {
    /// The process.
    pub process: Process,
    /// Its API.
    pub api: Api,
}

impl Peer {
    fn start(name: &str, command: Command, folder: &Path, address: &str) -> Result<Self> {
        let process = Process::start(name, command, &folder.join(format!("{name}.log")))?;
        Ok(Self { process, api: Api::new(&format!("http://{address}")) })
    }

    fn wait(mut self, path: &str) -> Result<Self> {
        let Self { process, api } = &mut self;
        poll::until(&format!("an answer of {path}"), READY_LIMIT, || {
            process.check_alive()?;
            let answer = api.get(path)?;
            anyhow::ensure!(answer.is_success(), "{} {}", answer.status, answer.body);
            Ok(())
        })?;
        Ok(self)
    }
}

/// A Prometheus with this configuration, data in `folder/prometheus`. It also takes remote writes.
pub fn prometheus(folder: &Path, address: &str, configuration: &str) -> Result<Peer> {
    let file = folder.join("prometheus.yml");
    fs::write(&file, configuration).context("failed to write prometheus.yml")?;
    let mut command = Command::new(programs::prometheus()?);
    command
        .arg(format!("--config.file={}", file.display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("prometheus").display()))
        .arg("--storage.tsdb.retention.time=30d")
        .arg(format!("--web.listen-address={address}"))
        .arg("--web.enable-remote-write-receiver");
    Peer::start("prometheus", command, folder, address)?.wait("/-/ready")
}

/// A node_exporter.
pub fn node_exporter(folder: &Path) -> Result<Peer> {
    let address = free_address()?;
    let mut command = Command::new(programs::node_exporter()?);
    command.arg(format!("--web.listen-address={address}"));
    Peer::start("node_exporter", command, folder, &address)?.wait("/metrics")
}

/// A VictoriaMetrics with a retention of a year, data in `folder/victoria-metrics`.
pub fn victoria_metrics(folder: &Path) -> Result<Peer> {
    let address = free_address()?;
    let mut command = Command::new(programs::victoria_metrics()?);
    command
        .arg(format!("-httpListenAddr={address}"))
        .arg(format!("-storageDataPath={}", folder.join("victoria-metrics").display()))
        .arg("-retentionPeriod=12")
        // A range query over all series of a host is larger than its default allows.
        .arg("-search.maxPointsPerTimeseries=30000")
        .arg("-search.latencyOffset=0s");
    Peer::start("victoria-metrics", command, folder, &address)?.wait("/health")
}
