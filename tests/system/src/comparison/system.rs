//! One of the compared systems, and what taking the load costs it.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::load::{Generator, Load};
use crate::api::Api;
use crate::node::{Node, Setup, free_address};
use crate::peers::{self, Peer};
use crate::poll;
use crate::process::Process;

/// Longest wait for a forced merge.
const MERGE_LIMIT: Duration = Duration::from_mins(10);

/// The compared systems.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// Ours.
    Rangekeeper,
    /// Prometheus, as a receiver.
    Prometheus,
    /// VictoriaMetrics, one process.
    VictoriaMetrics,
}

impl Kind {
    /// All of them; ours first.
    pub const ALL: [Self; 3] = [Self::Rangekeeper, Self::Prometheus, Self::VictoriaMetrics];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rangekeeper => "rangekeeper",
            Self::Prometheus => "prometheus",
            Self::VictoriaMetrics => "victoria-metrics",
        })
    }
}

/// A running one.
#[derive(Debug)]
pub struct System {
    /// Which.
    pub kind: Kind,
    /// Its data folder.
    pub data: PathBuf,
    running: Running,
}

#[derive(Debug)]
enum Running {
    Node(Node),
    Peer(Peer),
}

/// What the load cost.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// CPU seconds per million samples until the last answer.
    pub cpu_taken: f64,
    /// CPU seconds per million samples until the data is in its final form.
    pub cpu_settled: f64,
    /// Seconds until the last answer.
    pub wall_s: f64,
    /// Resident MiB at the last answer.
    pub memory_mib: f64,
    /// Highest resident MiB until then.
    pub peak_mib: f64,
    /// Bytes a sample at the last answer, all files.
    pub bytes_taken: f64,
    /// Bytes a sample in the final form, all files.
    pub bytes_settled: f64,
}

impl System {
    /// Starts one with a fresh folder below `folder`.
    pub fn start(kind: Kind, folder: &Path) -> Result<Self> {
        let data = folder.join(kind.to_string());
        let running = match kind {
            Kind::Rangekeeper => Running::Node(Setup::new(&data)?.start_ready()?),
            Kind::Prometheus => {
                let nothing = "global:\n  scrape_interval: 1m\n";
                Running::Peer(peers::prometheus(folder, &free_address()?, nothing)?)
            }
            Kind::VictoriaMetrics => Running::Peer(peers::victoria_metrics(folder)?),
        };
        Ok(Self { kind, data, running })
    }

    /// The process.
    pub fn process(&self) -> &Process {
        match &self.running {
            Running::Node(node) => &node.process,
            Running::Peer(peer) => &peer.process,
        }
    }

    /// The API.
    pub fn api(&self) -> &Api {
        match &self.running {
            Running::Node(node) => &node.api,
            Running::Peer(peer) => &peer.api,
        }
    }

    /// Takes the load and brings the data into its final form.
    pub fn take(&self, generator: &Generator, load: &Load) -> Result<Cost> {
        let pid = self.process().pid();
        let cpu_before = cpu_seconds(pid)?;
        let replayed = replay(generator, load, self.api(), pid)?;
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let samples = load.samples as f64;
        let per_million = |cpu: f64| (cpu - cpu_before) / (samples / 1e6);
        let cpu_taken = per_million(cpu_seconds(pid)?);
        let bytes_taken = size_on_disk(&self.data)? / samples;
        self.settle()?;
        Ok(Cost {
            cpu_taken,
            cpu_settled: per_million(cpu_seconds(pid)?),
            wall_s: replayed.wall_s,
            memory_mib: replayed.memory_mib,
            peak_mib: replayed.peak_mib,
            bytes_taken,
            bytes_settled: size_on_disk(&self.data)? / samples,
        })
    }

    /// Seals, or forces what comes next to that. Prometheus has nothing of the kind: it compacts
    /// when a block's time has passed.
    fn settle(&self) -> Result<()> {
        match (&self.running, self.kind) {
            (Running::Node(node), _) => node.seal(),
            (Running::Peer(peer), Kind::VictoriaMetrics) => force_merge(&peer.api),
            (Running::Peer(_), _) => Ok(()),
        }
    }
}

fn force_merge(api: &Api) -> Result<()> {
    for path in ["/internal/force_flush", "/internal/force_merge"] {
        let answer = api.get(path)?;
        ensure!(answer.is_success(), "{path}: {} {}", answer.status, answer.body);
    }
    poll::until("the end of the forced merge", MERGE_LIMIT, || {
        let metrics = api.get("/metrics")?.body;
        let active = metrics.lines().find(|line| line.starts_with("vm_active_force_merges "));
        ensure!(active.context("no count of merges")?.ends_with(" 0"), "still merging");
        Ok(())
    })
}

/// What the generator says of a replay.
#[derive(Debug)]
pub struct Replayed {
    /// Seconds until the last answer.
    pub wall_s: f64,
    /// Resident MiB then.
    pub memory_mib: f64,
    /// Highest resident MiB until then.
    pub peak_mib: f64,
}

/// Sends the load.
pub fn replay(generator: &Generator, load: &Load, api: &Api, pid: u32) -> Result<Replayed> {
    let printed = generator.run(&[
        "replay".to_owned(),
        format!("--input={}", load.path.display()),
        format!("--url={}/api/v1/write", api.base()),
        format!("--pid={pid}"),
    ])?;
    for line in printed.lines() {
        println!("  {line}");
    }
    let words: Vec<&str> = printed.split_whitespace().collect();
    let figure = |name: &str| -> Result<f64> {
        let at = words.iter().position(|word| *word == name);
        let word = at.and_then(|at| words.get(at + 1)).with_context(|| format!("no {name}"))?;
        word.parse().with_context(|| format!("{name} is {word}"))
    };
    Ok(Replayed {
        wall_s: figure("wall_s")?,
        memory_mib: figure("rss_mib")?,
        peak_mib: figure("peak_mib")?,
    })
}

/// CPU seconds of a process so far, all its threads, those that ended included.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("no such process")?;
    let (_, after_name) = stat.rsplit_once(") ").context("no name in stat")?;
    let fields: Vec<&str> = after_name.split(' ').collect();
    let ticks = |at: usize| -> Result<f64> {
        fields.get(at).context("a short stat")?.parse().context("ticks")
    };
    // Ticks of user space are hundredths of a second on every Linux.
    Ok((ticks(11)? + ticks(12)?) / 100.0)
}

/// Resident MiB of a process.
pub fn resident_mib(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("no such process")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
    let kib: f64 = line.split_whitespace().nth(1).context("no figure")?.parse()?;
    Ok(kib / 1024.0)
}

/// Bytes that the files below a folder take on the disk.
fn size_on_disk(path: &Path) -> Result<f64> {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    Ok(bytes_below(path)? as f64)
}

fn bytes_below(path: &Path) -> Result<u64> {
    let entry = fs::symlink_metadata(path)?;
    if !entry.is_dir() {
        return Ok(entry.blocks() * 512);
    }
    let mut total = 0;
    for child in fs::read_dir(path)? {
        // A file may be deleted between listing and looking.
        total += bytes_below(&child?.path()).unwrap_or(0);
    }
    Ok(total)
}
