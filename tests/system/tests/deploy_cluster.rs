//! What `deploy/` gives people for a cluster: files that name each other, options and keys that the
//! program has, and what the tools of others say of it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{fs, io};

use anyhow::{Context, Result, ensure};
use rangekeeper_system_tests::programs;

const COMPOSE: &str = "deploy/compose/compose.yml";
const BALANCER: &str = "deploy/haproxy/haproxy.cfg";
const SCRAPING: &str = "deploy/prometheus/prometheus.yml";
const DATA_SOURCE: &str = "deploy/compose/datasource.yml";

fn path(path: &str) -> PathBuf {
    programs::root().join(path)
}

fn text(name: &str) -> Result<String> {
    fs::read_to_string(path(name)).with_context(|| format!("failed to read {name}"))
}

/// What a tool says; `None`, and a line that says so, where it is not on this machine.
fn said(mut command: Command) -> Result<Option<Output>> {
    match command.output() {
        Ok(output) => Ok(Some(output)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            println!("skipped: there is no {} here", command.get_program().display());
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// The words of a file that hold `part`, without the marks around them.
fn words<'a>(text: &'a str, part: &'a str) -> impl Iterator<Item = &'a str> {
    let code = text.lines().map(|line| line.split("# ").next().unwrap_or_default());
    let words = code.flat_map(|line| line.split(['"', ',', ' ', '[', ']', '\t']));
    words.filter(move |word| word.contains(part))
}

#[test]
fn the_files_of_the_compose_file_are_there() -> Result<()> {
    let compose = text(COMPOSE)?;
    let folder = path(COMPOSE);
    let folder = folder.parent().context("it lies in a folder")?;
    let mut found = 0;
    for word in words(&compose, "./") {
        let file = Path::new(word.split(':').next().unwrap_or_default());
        ensure!(folder.join(file).exists(), "{COMPOSE} names {word}, which is not there");
        found += 1;
    }
    ensure!(found >= 6, "{found} files were found");
    ensure!(folder.join("../..").join("deploy/docker/Dockerfile").exists(), "no Dockerfile");
    Ok(())
}

#[test]
fn options_and_keys_of_the_compose_file_are_those_of_the_program() -> Result<()> {
    let compose = text(COMPOSE)?;
    let options = text("crates/node/contracts/options.txt")?;
    let ours =
        compose.lines().filter(|line| line.contains("node-id") || line.contains("rangekeeper "));
    let ours: Vec<_> = ours.collect();
    let mut found = 0;
    for word in ours.iter().flat_map(|line| words(line, "--")) {
        let is_there = options.lines().any(|line| line.trim().split(' ').next() == Some(word));
        ensure!(is_there, "{COMPOSE} has the option {word}, which the program has not");
        found += 1;
    }
    ensure!(found >= 10, "{found} options were found");
    let keys = text("crates/node/contracts/configuration.txt")?;
    for word in words(&compose, "RANGEKEEPER_") {
        let name = word.trim_start_matches("RANGEKEEPER_").trim_end_matches(':');
        let key = name.replace("__", ".").to_ascii_lowercase();
        let begins = format!("{key} = ");
        ensure!(keys.lines().any(|line| line.starts_with(&begins)), "no key {key} for {word}");
    }
    Ok(())
}

#[test]
fn hosts_that_are_named_are_services() -> Result<()> {
    let compose = text(COMPOSE)?;
    let is_service = |host: &str| compose.lines().any(|line| line == format!("  {host}:"));
    for (file, port) in
        [(BALANCER, ":9920"), (SCRAPING, ":9920"), (SCRAPING, ":9919"), (DATA_SOURCE, ":9919")]
    {
        let text = text(file)?;
        let mut found = 0;
        for word in words(&text, port) {
            let host = word.trim_start_matches("http://").split(':').next().unwrap_or_default();
            ensure!(is_service(host), "{file} names {host}, which is no service");
            found += 1;
        }
        ensure!(found > 0, "{file} names nothing at {port}");
    }
    Ok(())
}

#[test]
fn compose_accepts_the_file() -> Result<()> {
    let mut command = Command::new("docker-compose");
    command
        .args(["--project-name", "rangekeeper", "--file"])
        .arg(path(COMPOSE))
        .args(["config", "-q"]);
    if let Some(output) = said(command)? {
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

#[test]
fn haproxy_accepts_the_balancer() -> Result<()> {
    let mut command = Command::new("haproxy");
    command.args(["-c", "-f"]).arg(path(BALANCER));
    if let Some(output) = said(command)? {
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

#[test]
fn promtool_accepts_the_scraping() -> Result<()> {
    let Ok(promtool) = programs::promtool() else {
        println!("skipped: there is no promtool here; `make tools` gets one");
        return Ok(());
    };
    let output = Command::new(promtool).args(["check", "config"]).arg(path(SCRAPING)).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
