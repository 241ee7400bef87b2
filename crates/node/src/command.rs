//! What the commands of the binary do.

mod client;
mod cluster;
mod query;
mod serve;

use std::io::{self, Write};
use std::process::ExitCode;

use crate::cli::{Admin, Cli, Command, Configured};
use crate::config::{ConfigError, Settings, read_credentials, read_secret};
use crate::services::{Opened, Opening};

/// The command did what it was asked to.
const DONE: u8 = 0;
/// It failed on the way.
const FAILED: u8 = 1;
/// What it was asked to do makes no sense: the command line (clap's own code too) or the
/// configuration.
const REFUSED: u8 = 2;

/// Does what the command line asks, within `environment`. Says on the standard error stream what
/// went wrong. `open` opens the store of a node that is to serve; it may block.
pub fn run(
    cli: Cli,
    environment: Vec<(String, String)>,
    open: impl FnOnce(Opening) -> anyhow::Result<Opened> + Send + 'static,
) -> ExitCode {
    let result = match cli.command {
        Command::Serve(command) => serve::run(command, environment, open),
        Command::CheckConfig(configured) => check(configured, environment),
        Command::PrintConfig(configured) => print(configured, environment),
        Command::Query(command) => query::run(&command),
        Command::Admin(command) => admin(&command),
        Command::Cluster(command) => cluster::run(command),
    };
    match result {
        Ok(()) => ExitCode::from(DONE),
        // Whoever read the output has seen enough, as `head` has.
        Err(error) if is_broken_pipe(&error) => ExitCode::from(DONE),
        Err(error) => {
            // Nobody is left to tell if this fails.
            let _ = writeln!(io::stderr(), "rangekeeper: {error:#}");
            ExitCode::from(if error.is::<ConfigError>() { REFUSED } else { FAILED })
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
}

fn check(configured: Configured, environment: Vec<(String, String)>) -> anyhow::Result<()> {
    let config = Settings::read(&configured.sources(environment))?.config()?;
    if let Some(path) = &config.auth.token_file {
        crate::http::Tokens::read(path)?;
    }
    if let Some(path) = &config.cluster.secret_file {
        read_secret(path)?;
    }
    if let Some(path) = &config.cluster.zookeeper_credentials_file {
        read_credentials(path)?;
    }
    say("the configuration is good")
}

fn print(configured: Configured, environment: Vec<(String, String)>) -> anyhow::Result<()> {
    let settings = Settings::read(&configured.sources(environment))?;
    settings.config()?;
    say(settings.print().trim_end())
}

fn admin(command: &Admin) -> anyhow::Result<()> {
    match command {
        Admin::Seal(target) => {
            client::Client::new(target)?.operate("seal", &[])?;
            say("sealed")
        }
        Admin::Snapshot { target, folder } => {
            let folder = std::path::absolute(folder)?;
            let text = folder.to_str().ok_or_else(|| anyhow::anyhow!("DIR is not UTF-8"))?;
            client::Client::new(target)?.operate("snapshot", &[("dir", text)])?;
            say(&format!("the copy is in {text}; \"rangekeeper serve --data\" opens it"))
        }
        Admin::ConfirmClock(target) => {
            client::Client::new(target)?.operate("confirm-clock", &[])?;
            say("the clock is confirmed")
        }
    }
}

/// Writes a line to the standard output stream.
fn say(line: &str) -> anyhow::Result<()> {
    writeln!(io::stdout(), "{line}")?;
    Ok(())
}
