//! Three real servers of ZooKeeper on loopback, ended with their owner.

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// The servers' unit of time. Sessions may last 2 to 20 of them.
pub const TICK: Duration = Duration::from_millis(200);

/// Time for all servers to form a quorum; five seconds on an idle machine.
const READY_LIMIT: Duration = Duration::from_mins(1);

/// Java and what it runs.
pub struct Programs {
    java: PathBuf,
    class_path: String,
}

impl Programs {
    /// Looks where the tests' tools are unpacked, then where the distribution installs them; names
    /// what is missing.
    pub fn find() -> Result<Self, String> {
        let tools = std::env::var_os("RANGEKEEPER_TOOLS").map_or_else(
            || {
                let home = std::env::var_os("HOME").map_or_else(std::env::temp_dir, PathBuf::from);
                home.join(".cache/rangekeeper/tools")
            },
            PathBuf::from,
        );
        let roots = [tools.join("root"), PathBuf::from("/")];
        let jars = roots
            .iter()
            .map(|root| root.join("usr/share/java"))
            .find(|jars| jars.join("zookeeper.jar").is_file())
            .ok_or("no zookeeper.jar here; `make tools` fetches it")?;
        // The manifest of the jar names absolute paths, which are not where it was unpacked.
        let class_path = format!("{}/*", jars.display());
        let path = std::env::var_os("PATH").unwrap_or_default();
        let unpacked = roots.iter().flat_map(|root| {
            let versions = fs::read_dir(root.join("usr/lib/jvm")).into_iter().flatten().flatten();
            versions.map(|version| version.path().join("bin"))
        });
        let java = std::env::split_paths(&path)
            .chain(unpacked)
            .map(|folder| folder.join("java"))
            .find(|java| {
                Command::new(java).arg("-version").output().is_ok_and(|o| o.status.success())
            })
            .ok_or("no java here that runs; `make tools` fetches one")?;
        Ok(Self { java, class_path })
    }
}

/// The ensemble.
pub struct Servers {
    programs: Programs,
    folder: TempDir,
    each: Vec<Server>,
}

struct Server {
    port: u16,
    child: Option<Child>,
}

impl Servers {
    /// Starts three servers and waits until they serve.
    pub fn start(programs: Programs) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the servers");
        let ports: Vec<u16> = free_ports(9);
        for id in 0..3 {
            let data = folder.path().join(format!("server{id}"));
            fs::create_dir(&data).unwrap();
            fs::write(data.join("myid"), (id + 1).to_string()).unwrap();
            let address = |id: usize| {
                let (peers, election) = (ports[3 + id], ports[6 + id]);
                format!("server.{}=127.0.0.1:{peers}:{election}", id + 1)
            };
            let quorum = [0, 1, 2].map(address).join("\n");
            let configuration = format!(
                "tickTime={}\ninitLimit=50\nsyncLimit=20\ndataDir={}\n\
                 clientPort={}\nclientPortAddress=127.0.0.1\nmaxClientCnxns=0\n\
                 admin.enableServer=false\n4lw.commands.whitelist=mntr,ruok,srvr\n{quorum}\n",
                TICK.as_millis(),
                data.display(),
                ports[id],
            );
            fs::write(folder.path().join(format!("server{id}.cfg")), configuration).unwrap();
        }
        let each = ports[..3].iter().map(|port| Server { port: *port, child: None }).collect();
        let mut this = Self { programs, folder, each };
        this.start_all();
        this.wait();
        this
    }

    /// The ports that clients connect to.
    pub fn ports(&self) -> Vec<u16> {
        self.each.iter().map(|server| server.port).collect()
    }

    /// Kills one as `kill -9` does.
    pub fn kill(&mut self, index: usize) {
        if let Some(mut child) = self.each[index].child.take() {
            child.kill().expect("a child of ours");
            child.wait().expect("a child of ours");
        }
    }

    pub fn kill_all(&mut self) {
        (0..self.each.len()).for_each(|index| self.kill(index));
    }

    /// Starts those that do not run.
    pub fn start_all(&mut self) {
        for index in 0..self.each.len() {
            if self.each[index].child.is_none() {
                self.each[index].child = Some(self.spawn(index));
            }
        }
    }

    pub fn stop_all(&self) {
        self.signal_all(libc::SIGSTOP);
    }

    pub fn resume_all(&self) {
        self.signal_all(libc::SIGCONT);
    }

    /// Waits until every server that runs serves.
    pub fn wait(&self) {
        let started = Instant::now();
        for (index, server) in self.each.iter().enumerate() {
            while server.child.is_some() && !serves(server.port) {
                let log = self.log(index);
                assert!(
                    started.elapsed() < READY_LIMIT,
                    "server {index} does not serve:\n{}",
                    fs::read_to_string(&log).unwrap_or_default()
                );
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }

    /// The index of the one that leads.
    pub fn leader(&self) -> usize {
        let leads = |server: &Server| ask(server.port, "srvr").contains("Mode: leader");
        self.each.iter().position(leads).expect("a quorum has a leader")
    }

    fn log(&self, index: usize) -> PathBuf {
        self.folder.path().join(format!("server{index}.log"))
    }

    fn spawn(&self, index: usize) -> Child {
        let log = File::options().create(true).append(true).open(self.log(index)).unwrap();
        let mut command = Command::new(&self.programs.java);
        command
            .args(["-Xmx192m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
            // A sync is not what is tested here, and the disk may be a busy one.
            .arg("-Dzookeeper.forceSync=no")
            .args(["-cp", &self.programs.class_path])
            .arg("org.apache.zookeeper.server.quorum.QuorumPeerMain")
            .arg(Path::new(self.folder.path()).join(format!("server{index}.cfg")))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        // SAFETY: prctl is async-signal-safe and touches nothing of the parent.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
        command.spawn().expect("java starts; it did a moment ago")
    }

    fn signal_all(&self, signal: libc::c_int) {
        for child in self.each.iter().filter_map(|server| server.child.as_ref()) {
            let pid = libc::pid_t::try_from(child.id()).expect("a process id");
            // SAFETY: a plain system call; the child is not reaped, so the id is still its own.
            assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
        }
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.kill_all();
    }
}

/// Ports that were free a moment ago.
fn free_ports(count: usize) -> Vec<u16> {
    let listeners: Vec<_> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
    listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
}

/// Whether the server at `port` has a quorum.
fn serves(port: u16) -> bool {
    ask(port, "srvr").contains("Mode: ")
}

/// What the server at `port` answers to a command of four letters; nothing if it does not.
fn ask(port: u16, command: &str) -> String {
    use std::io::{Read, Write};
    let mut answer = String::new();
    let _ = TcpStream::connect(("127.0.0.1", port)).and_then(|mut stream| {
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(command.as_bytes())?;
        stream.read_to_string(&mut answer)
    });
    answer
}
