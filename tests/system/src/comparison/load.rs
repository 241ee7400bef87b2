//! The load: real scrapes, multiplied by the generator into ready request bodies. A file is a
//! quarter of a gigabyte and more, so it is kept between runs while it is fresh.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};

use crate::programs;

/// Windows of the store begin on multiples of this.
const WINDOW_MS: u64 = 2 * 60 * 60 * 1000;

/// The first scrape begins off the boundary, as real ones do.
const OFFSET_MS: u64 = 137;

/// Windows between the last boundary and the start of the load: its end is sealable then.
const WINDOWS_AGO: u64 = 2;

/// Time between two scrapes of a host.
const INTERVAL_MS: u64 = 15_000;

/// How old a kept file may be; within every retention that is compared.
const FRESH: Duration = Duration::from_hours(7 * 24);

/// The generator and where its trace lies.
#[derive(Debug)]
pub struct Generator {
    /// The built program.
    pub program: PathBuf,
    /// The folder of shared data.
    pub shared: PathBuf,
}

/// What a load is made of.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Simulated hosts.
    pub hosts: u32,
    /// Scrapes a host.
    pub ticks: u32,
    /// Part of the host names; another one makes other series.
    pub prefix: &'static str,
}

/// A file of request bodies.
#[derive(Debug)]
pub struct Load {
    /// The file.
    pub path: PathBuf,
    /// Samples in it.
    pub samples: u64,
    /// Its beginning, whole seconds since the epoch.
    pub start_s: u64,
    /// Its end, whole seconds.
    pub end_s: u64,
}

impl Generator {
    /// A load of this shape, made now unless a fresh one is kept.
    pub fn load(&self, shape: &Shape) -> Result<Load> {
        let folder = folder()?;
        let name = format!("{}-{}x{}-", shape.prefix, shape.hosts, shape.ticks);
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let fresh_ms = u64::try_from(now.saturating_sub(FRESH).as_millis())?;
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let file = path.file_name().and_then(|file| file.to_str()).unwrap_or_default();
            let start = file.strip_prefix(&name).and_then(|rest| rest.strip_suffix(".bin"));
            match start.map(str::parse::<u64>) {
                Some(Ok(start_ms)) if start_ms >= fresh_ms => {
                    return Load::read(path, start_ms, shape);
                }
                Some(_) => fs::remove_file(&path)?,
                None => {}
            }
        }
        let now_ms = u64::try_from(now.as_millis())?;
        let start_ms = (now_ms / WINDOW_MS - WINDOWS_AGO) * WINDOW_MS + OFFSET_MS;
        let path = folder.join(format!("{name}{start_ms}.bin"));
        // Under another name until it is whole: a file that an interrupt left is made again.
        let unfinished = folder.join(format!("{name}unfinished"));
        println!("generating {}", path.display());
        let trace = self.shared.join("data/scrape.trace.gz");
        self.run(&[
            "gen".to_owned(),
            format!("--trace={}", trace.display()),
            format!("--hosts={}", shape.hosts),
            format!("--ticks={}", shape.ticks),
            format!("--start-ms={start_ms}"),
            format!("--prefix={}", shape.prefix),
            format!("--out={}", unfinished.display()),
        ])?;
        fs::rename(&unfinished, &path)?;
        Load::read(path, start_ms, shape)
    }

    /// Runs the generator with these arguments and returns what it printed.
    pub fn run(&self, arguments: &[String]) -> Result<String> {
        let output = Command::new(&self.program)
            .args(arguments)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("failed to run {}", self.program.display()))?;
        if !output.status.success() {
            bail!("the load generator ended with {}", output.status);
        }
        String::from_utf8(output.stdout).context("the load generator printed no text")
    }

    /// The queries that come with the generator.
    pub fn queries(&self) -> PathBuf {
        self.shared.join("tools/rwbench/queries.txt")
    }
}

impl Load {
    fn read(path: PathBuf, start_ms: u64, shape: &Shape) -> Result<Self> {
        let samples = count_samples(&path)?;
        ensure!(samples > 0, "{} holds no samples", path.display());
        let start_s = start_ms / 1000;
        let end_s = start_s + u64::from(shape.ticks) * INTERVAL_MS / 1000;
        Ok(Self { path, samples, start_s, end_s })
    }
}

/// Where loads and the systems' data lie: beside the builds, so on a disk and not in memory.
pub fn folder() -> Result<PathBuf> {
    let folder = programs::cache().join("compare");
    fs::create_dir_all(&folder).context("failed to make the folder of the comparison")?;
    Ok(folder)
}

/// Adds the counts in the headers of a file: connection, samples, length, each u32, then the body.
fn count_samples(path: &PathBuf) -> Result<u64> {
    use std::io::{BufReader, Read};

    let mut file = BufReader::new(fs::File::open(path)?);
    let mut samples = 0;
    let mut header = [0; 12];
    while file.read_exact(&mut header).is_ok() {
        let word = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("4 bytes"));
        samples += u64::from(word(4));
        file.seek_relative(i64::from(word(8)))?;
    }
    Ok(samples)
}
