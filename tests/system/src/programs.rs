//! Where the programs are that the tests start: the node as built, and the peers as unpacked by
//! `scripts/unpack.sh`. Nothing is looked for over the network.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The root of the repository: cargo says it to tests, and `make` starts programs there. Not what
/// it was when this was built, because a build folder can serve more than one checkout.
pub fn root() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(
        || std::env::current_dir().unwrap_or_default(),
        |package| {
            let root = Path::new(&package).ancestors().nth(2);
            root.expect("this package lies in tests/system of the workspace").to_owned()
        },
    )
}

/// The node: `RANGEKEEPER_BIN`, or what the build of this very program left beside it.
pub fn rangekeeper() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("RANGEKEEPER_BIN") {
        return existing(PathBuf::from(path)).context("RANGEKEEPER_BIN names no file");
    }
    built("rangekeeper")
        .context("no rangekeeper found: run `cargo build --release` first, or set RANGEKEEPER_BIN")
}

/// The library that watches writes and syncs, preloaded into the node.
pub fn powerloss() -> Result<PathBuf> {
    built("librangekeeper_powerloss.so")
        .context("run `cargo build --release -p rangekeeper-powerloss` first")
}

/// The library that moves the time of day, preloaded into the node.
pub fn clockshift() -> Result<PathBuf> {
    built("librangekeeper_clockshift.so")
        .context("run `cargo build --release -p rangekeeper-clockshift` first")
}

/// A Prometheus: today's from `.peers` if it was fetched, else the distribution's.
pub fn prometheus() -> Result<PathBuf> {
    tool("prometheus")
}

/// The tool that checks a Prometheus' configuration.
pub fn promtool() -> Result<PathBuf> {
    tool("promtool")
}

/// A node_exporter.
pub fn node_exporter() -> Result<PathBuf> {
    tool("prometheus-node-exporter")
}

/// VictoriaMetrics, a single node.
pub fn victoria_metrics() -> Result<PathBuf> {
    tool("victoria-metrics")
}

/// Data that is measured against but never copied into the project.
pub fn shared() -> Option<PathBuf> {
    let folder = match std::env::var_os("RANGEKEEPER_SHARED") {
        Some(folder) => PathBuf::from(folder),
        None => root().parent()?.join("shared"),
    };
    folder.is_dir().then_some(folder)
}

/// Where what is large and can be made again is kept between runs.
pub fn cache() -> PathBuf {
    let home = std::env::var_os("HOME").map_or_else(std::env::temp_dir, PathBuf::from);
    home.join(".cache/rangekeeper")
}

/// Where the tests' tools are unpacked: a root of a file system.
pub fn unpacked() -> PathBuf {
    let tools = std::env::var_os("RANGEKEEPER_TOOLS");
    tools.map_or_else(|| cache().join("tools"), PathBuf::from).join("root")
}

/// Looks in `.peers`, then where the tests' tools are unpacked, then in `PATH`.
fn tool(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    [root().join(".peers/root/usr/bin"), unpacked().join("usr/bin")]
        .into_iter()
        .chain(std::env::split_paths(&path))
        .find_map(|folder| existing(folder.join(name)))
        .with_context(|| format!("no {name} here; `make tools` fetches one"))
}

/// A file in the folder of the profile that this program was built into.
fn built(name: &str) -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    program.ancestors().skip(1).take(2).find_map(|folder| existing(folder.join(name)))
}

fn existing(path: PathBuf) -> Option<PathBuf> {
    path.is_file().then_some(path)
}
