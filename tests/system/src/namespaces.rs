//! Namespaces of a test's own, for what nobody outside may notice: disks and networks. No privilege
//! is needed where the kernel lets users make namespaces.

use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Says to the test's own program that it runs inside.
const INSIDE: &str = "RANGEKEEPER_NAMESPACE";

/// Runs `body` as the root of namespaces of these kinds, options of `unshare`: the program of the
/// test runs itself again inside, with `test` as the only test. A line says so where `probe` shows
/// that it is not allowed.
pub fn inside(
    test: &str,
    kinds: &[&str],
    probe: &[&str],
    body: impl FnOnce() -> Result<()>,
) -> Result<()> {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user"]).args(kinds);
        command
    };
    let allowed = unshare().args(probe).output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        println!("skipped: no namespaces of one's own here");
        return Ok(());
    }
    let program = std::env::current_exe()?;
    let status = unshare()
        .args(["setpriv", "--pdeathsig", "KILL"])
        .arg(program)
        .args(["--exact", test, "--nocapture", "--test-threads", "1"])
        .env(INSIDE, "1")
        .status()
        .context("failed to run the test in namespaces of its own")?;
    ensure!(status.success(), "the test ended with {status}");
    Ok(())
}
