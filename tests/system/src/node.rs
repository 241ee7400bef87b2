//! A node as its users run it.

use std::ffi::OsString;
use std::net::TcpListener;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::api::Api;
use crate::process::Process;
use crate::{poll, programs};

/// Time in which a node has to be ready, replay included.
const READY_LIMIT: Duration = Duration::from_mins(2);

/// Where ports are drawn from: below those that the system gives to outgoing connections.
const PORTS: Range<u16> = 10_000..32_000;

/// How a node is started; kept, so that it can be started again after a crash.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The data folder.
    pub data: PathBuf,
    /// Address and port, the same over restarts.
    pub listen: String,
    /// Settings given with `--set`, each `key=value`.
    pub settings: Vec<String>,
    /// Options behind all others.
    pub options: Vec<OsString>,
    /// More environment.
    pub environment: Vec<(String, OsString)>,
    /// A program with arguments that is put before the node's own command line.
    pub wrapper: Vec<OsString>,
}

impl Setup {
    /// A node on its defaults, on a free port of loopback.
    pub fn new(data: &Path) -> Result<Self> {
        Ok(Self {
            data: data.to_owned(),
            listen: free_address()?,
            settings: Vec::new(),
            options: Vec::new(),
            environment: Vec::new(),
            wrapper: Vec::new(),
        })
    }

    /// Starts the node without waiting until it is ready. Its log lies beside the data folder.
    pub fn start(&self) -> Result<Node> {
        let binary = programs::rangekeeper()?;
        let mut command = match self.wrapper.split_first() {
            Some((program, arguments)) => {
                let mut command = Command::new(program);
                command.args(arguments).arg(binary);
                command
            }
            None => Command::new(binary),
        };
        command.arg("serve").arg("--listen").arg(&self.listen).arg("--data").arg(&self.data);
        for setting in &self.settings {
            command.arg("--set").arg(setting);
        }
        command.args(&self.options);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let log = self.data.with_extension("log");
        let process = Process::start("rangekeeper", command, &log)?;
        Ok(Node { process, api: Api::new(&format!("http://{}", self.listen)) })
    }

    /// Starts the node and waits until it takes writes.
    pub fn start_ready(&self) -> Result<Node> {
        let mut node = self.start()?;
        node.wait_ready()?;
        Ok(node)
    }
}

/// A running node.
#[derive(Debug)]
pub struct Node {
    /// The process.
    pub process: Process,
    /// Its API.
    pub api: Api,
}

impl Node {
    /// Waits until the node takes writes; an error at once if it ends instead.
    pub fn wait_ready(&mut self) -> Result<()> {
        let Self { process, api } = self;
        let mut ended = None;
        let ready = poll::until("a ready node", READY_LIMIT, || {
            if let Err(error) = process.check_alive() {
                ended = Some(error);
                return Ok(());
            }
            api.check_ready()
        });
        match ended {
            Some(error) => Err(error),
            None => ready.with_context(|| format!("its log ends: {}", process.last_lines())),
        }
    }

    /// Seals everything now, by the command that users have for it.
    pub fn seal(&self) -> Result<()> {
        let status = Command::new(programs::rangekeeper()?)
            .args(["admin", "seal", "--url", self.api.base()])
            .stdout(std::process::Stdio::null())
            .status()
            .context("failed to run admin seal")?;
        anyhow::ensure!(status.success(), "admin seal ended with {status}");
        Ok(())
    }
}

/// An address of loopback that was free a moment ago.
pub fn free_address() -> Result<String> {
    free_address_on("127.0.0.1")
}

/// A port of this host's address that was free a moment ago, and that nobody else in this process
/// got. The system takes none of these for connections, so it stays free until somebody listens.
pub fn free_address_on(host: &str) -> Result<String> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Other tests' processes begin elsewhere.
    let first = fastrand::u16(PORTS);
    let _ = NEXT.compare_exchange(0, first, Ordering::Relaxed, Ordering::Relaxed);
    for _ in PORTS {
        let at = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = PORTS.start + at % (PORTS.end - PORTS.start);
        if TcpListener::bind((host, port)).is_ok() {
            return Ok(format!("{host}:{port}"));
        }
    }
    bail!("no port of {host} is free")
}
