//! A real ensemble of ZooKeeper on loopback, ended with its owner.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::node::free_address_on;
use crate::process::Process;
use crate::{poll, programs};

/// The servers' unit of time. Sessions may last 2 to 20 of them.
const TICK: Duration = Duration::from_millis(500);

/// Time for all servers to form a quorum; five seconds on an idle machine.
const READY_LIMIT: Duration = Duration::from_mins(1);

/// Java, and what it runs.
#[derive(Debug, Clone)]
struct Java {
    program: PathBuf,
    class_path: String,
}

impl Java {
    fn find() -> Result<Self> {
        let roots = [programs::unpacked(), PathBuf::from("/")];
        let jars = roots
            .iter()
            .map(|root| root.join("usr/share/java"))
            .find(|jars| jars.join("zookeeper.jar").is_file())
            .context("no zookeeper.jar here; `make tools` fetches it")?;
        let path = std::env::var_os("PATH").unwrap_or_default();
        let unpacked = roots.iter().flat_map(|root| {
            let versions = fs::read_dir(root.join("usr/lib/jvm")).into_iter().flatten().flatten();
            versions.map(|version| version.path().join("bin"))
        });
        let runs = |java: &PathBuf| {
            Command::new(java).arg("-version").output().is_ok_and(|output| output.status.success())
        };
        let program = std::env::split_paths(&path)
            .chain(unpacked)
            .map(|folder| folder.join("java"))
            .find(runs)
            .context("no java here that runs; `make tools` fetches one")?;
        // The manifest of the jar names absolute paths, which are not where it was unpacked.
        Ok(Self { program, class_path: format!("{}/*", jars.display()) })
    }

    fn command(&self, class: &str) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(["-Xmx192m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
            .args(["-cp", &self.class_path])
            .arg(class);
        command
    }
}

/// The ensemble.
#[derive(Debug)]
pub struct Ensemble {
    java: Java,
    servers: Vec<Server>,
}

/// A server of it.
#[derive(Debug)]
pub struct Server {
    address: String,
    configuration: PathBuf,
    log: PathBuf,
    /// None while it was killed.
    pub process: Option<Process>,
}

impl Ensemble {
    /// Starts `count` servers with their data in `folder`, and waits until they serve. `None`, and
    /// a line that says so, where there is no ZooKeeper or no Java.
    pub fn start(folder: &Path, count: usize) -> Result<Option<Self>> {
        Self::start_on(folder, count, "127.0.0.1")
    }

    /// As [`Self::start`], at an address of the machine.
    pub fn start_on(folder: &Path, count: usize, host: &str) -> Result<Option<Self>> {
        let java = match Java::find() {
            Ok(java) => java,
            Err(error) => {
                println!("skipped: {error}");
                return Ok(None);
            }
        };
        let addresses = |_| (0..count).map(|_| free_address_on(host)).collect::<Result<Vec<_>>>();
        let [clients, peers, elections] = [addresses(0)?, addresses(1)?, addresses(2)?];
        let quorum: Vec<_> = (0..count)
            .map(|id| {
                let election = elections[id].rsplit(':').next().unwrap_or_default();
                format!("server.{}={}:{election}", id + 1, peers[id])
            })
            .collect();
        // One server alone forms no quorum with others.
        let quorum = if count > 1 { quorum.join("\n") } else { String::new() };
        let mut servers = Vec::with_capacity(count);
        for (id, address) in clients.into_iter().enumerate() {
            let data = folder.join(format!("zookeeper-{id}"));
            fs::create_dir_all(&data)?;
            fs::write(data.join("myid"), (id + 1).to_string())?;
            let (host, port) = address.rsplit_once(':').context("an address has a port")?;
            let configuration = folder.join(format!("zookeeper-{id}.cfg"));
            fs::write(
                &configuration,
                format!(
                    "tickTime={}\ninitLimit=50\nsyncLimit=20\ndataDir={}\nclientPort={port}\n\
                     clientPortAddress={host}\nmaxClientCnxns=0\nadmin.enableServer=false\n\
                     4lw.commands.whitelist=mntr,ruok,srvr\n{quorum}\n",
                    TICK.as_millis(),
                    data.display(),
                ),
            )?;
            let log = folder.join(format!("zookeeper-{id}.log"));
            servers.push(Server { address, configuration, log, process: None });
        }
        let mut ensemble = Self { java, servers };
        ensemble.start_all()?;
        Ok(Some(ensemble))
    }

    /// Starts the servers that do not run, and waits until all serve.
    pub fn start_all(&mut self) -> Result<()> {
        for server in self.servers.iter_mut().filter(|server| server.process.is_none()) {
            let mut command =
                self.java.command("org.apache.zookeeper.server.quorum.QuorumPeerMain");
            command.arg(&server.configuration);
            server.process = Some(Process::start("zookeeper", command, &server.log)?);
        }
        for server in &mut self.servers {
            let Server { address, process, .. } = server;
            let process = process.as_mut().context("it was started")?;
            poll::until("a server of ZooKeeper that serves", READY_LIMIT, || {
                process.check_alive()?;
                ensure!(ask(address, "srvr")?.contains("Mode: "), "{}", process.last_lines());
                Ok(())
            })?;
        }
        Ok(())
    }

    /// The servers, for faults.
    pub fn servers(&mut self) -> &mut [Server] {
        &mut self.servers
    }

    /// Where the cluster `name` lies in it, as `--zookeeper` wants it.
    pub fn cluster(&self, name: &str) -> String {
        let servers: Vec<_> = self.servers.iter().map(|server| server.address.as_str()).collect();
        format!("{}/rangekeeper/{name}", servers.join(","))
    }

    /// Makes a node in its tree by ZooKeeper's own client, past everything of ours.
    pub fn create(&self, path: &str, data: &str) -> Result<()> {
        let mut command = self.java.command("org.apache.zookeeper.ZooKeeperMain");
        command.args(["-server", &self.servers[0].address, "create", path, data]);
        let output = command.output().context("failed to run ZooKeeper's client")?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "failed to create {path}: {said}");
        Ok(())
    }
}

impl Server {
    /// Where clients connect.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Whether it is the one that orders all writes.
    pub fn leads(&self) -> bool {
        ask(&self.address, "srvr").is_ok_and(|answer| answer.contains("Mode: leader"))
    }

    /// The folder with all that it knows.
    pub fn data(&self) -> PathBuf {
        self.configuration.with_extension("")
    }

    /// Kills it as `kill -9` does; see [`Ensemble::start_all`].
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().map_or(Ok(()), |mut process| process.kill())
    }
}

/// What a server answers to a command of four letters.
fn ask(address: &str, command: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.write_all(command.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
