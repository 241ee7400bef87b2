//! Steps that the tests of a cluster's faults share.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};

use crate::fleet::Fleet;
use crate::folder::Folder;
use crate::node::free_address;
use crate::remote_write::{TimeSeries, WriteRequest};
use crate::trio::{NAMES, Place, Trio};
use crate::zookeeper::Ensemble;

/// One figure for a run of seconds, another for a soak.
pub fn short_or_soak<T>(short: T, soak: T) -> T {
    if std::env::var_os("RANGEKEEPER_SOAK").is_some() { soak } else { short }
}

/// Each of these nodes answers everything that was acknowledged, and nothing that was never sent.
pub fn inspect(fleet: &Fleet, nodes: &[usize]) -> Result<()> {
    for &node in nodes {
        let asked = || format!("asked of node {}", NAMES[node]);
        let finding = fleet.inspect(node).with_context(asked)?;
        finding.check().with_context(asked)?;
        ensure!(finding.acknowledged > 0, "there was nothing to look for");
    }
    Ok(())
}

/// As [`inspect`], of the two others while each of three nodes in turn is dead. No sender may run.
pub fn inspect_with_each_stopped(trio: &mut Trio, fleet: &Fleet) -> Result<()> {
    for (stopped, name) in trio.names().iter().enumerate() {
        trio.kill(stopped)?;
        inspect(fleet, &[(stopped + 1) % 3, (stopped + 2) % 3])
            .with_context(|| format!("while node {name} is dead"))?;
        trio.start_all()?;
    }
    Ok(())
}

/// Copies a folder as it is.
pub fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status();
    let status = status.context("failed to run cp")?;
    ensure!(status.success(), "failed to copy {} to {}", from.display(), to.display());
    Ok(())
}

/// A cluster with three copies of everything, each node behind the words that `wrapper` puts before
/// its command line. `None`, and a line that says so, where there is no ZooKeeper.
pub fn wrapped_trio(
    folder: &Folder,
    wrapper: impl Fn(usize) -> Vec<OsString>,
) -> Result<Option<Trio>> {
    let Some(ensemble) = Ensemble::start(folder.path(), 1)? else { return Ok(None) };
    let place = |at: usize| -> Result<Place> {
        Ok(Place { listen: free_address()?, peer: free_address()?, wrapper: wrapper(at) })
    };
    let places = [place(0)?, place(1)?, place(2)?];
    Trio::around(folder.path(), ensemble, 3, &places).map(Some)
}

/// Words before a command line that give it more environment.
pub fn with_environment(variables: &[(String, OsString)]) -> Vec<OsString> {
    let assignment = |(name, value): &(String, OsString)| {
        let mut assignment = OsString::from(format!("{name}="));
        assignment.push(value);
        assignment
    };
    [OsString::from("env")].into_iter().chain(variables.iter().map(assignment)).collect()
}

/// A request with a series in most shards, of a metric that no ledger knows.
pub fn stray_request() -> Result<Vec<u8>> {
    let now_ms = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
    let series = |number: u32| {
        let number = number.to_string();
        let labels = [("__name__", "stray"), ("number", &number)];
        TimeSeries::with_sample(&labels, now_ms, 1.0)
    };
    Ok(WriteRequest { timeseries: (0..200).map(series).collect() }.to_body())
}
