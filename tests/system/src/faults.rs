//! Steps that the tests of a cluster's faults share.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::fleet::Fleet;
use crate::trio::{NAMES, Trio};

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
