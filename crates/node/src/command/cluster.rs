//! `rangekeeper cluster`: what an operator does to a cluster. All of it but looking goes through
//! ZooKeeper, so it works while no node answers.

mod init;
mod show;
mod status;
#[cfg(test)]
mod tests;
mod wishes;

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use rangekeeper_coordination::{
    Address, Coordination, CoordinationMetrics, Ensemble, Settings, ZooKeeper,
};
use rangekeeper_telemetry::Registry;
use tokio::sync::watch;

use super::say;
use crate::cli;
use crate::cli::cluster::Cluster;
use crate::config::read_credentials;

/// How long ZooKeeper keeps the session of a command that is killed. Nothing hangs on it.
const SESSION_TIMEOUT: Duration = Duration::from_secs(6);

/// Does what the command line asks, and says what came of it.
pub(super) fn run(command: Cluster) -> anyhow::Result<()> {
    match command {
        Cluster::Init(command) => {
            let wish = init::Wish::read(&command)?;
            let address = command.ensemble.zookeeper.clone();
            within(&command.ensemble, async move |coordination| {
                init::make(&coordination, &address, &wish).await
            })
        }
        Cluster::Status(command) => status::run(&command),
        Cluster::Drain(cli::cluster::OfNode { ensemble, undo, node }) => {
            let timeout = ensemble.timeout;
            within(&ensemble, async move |coordination| {
                if undo {
                    wishes::keep(&coordination, &node).await
                } else {
                    wishes::drain(&coordination, &node, timeout).await
                }
            })
        }
        Cluster::Freeze(cli::cluster::Freeze { ensemble, undo }) => {
            within(&ensemble, async move |coordination| {
                if undo {
                    wishes::thaw(&coordination).await
                } else {
                    wishes::freeze(&coordination).await
                }
            })
        }
        Cluster::Confirm(cli::cluster::OfNode { ensemble, undo, node }) => {
            let timeout = ensemble.timeout;
            within(&ensemble, async move |coordination| {
                if undo {
                    wishes::expect_back(&coordination, &node, timeout).await
                } else {
                    wishes::confirm(&coordination, &node, timeout).await
                }
            })
        }
    }
}

/// Has `act` done with a session in `ensemble`, and prints what it says.
fn within(
    ensemble: &cli::cluster::Ensemble,
    act: impl AsyncFnOnce(Coordination) -> anyhow::Result<String>,
) -> anyhow::Result<()> {
    let credentials = ensemble.zookeeper_credentials_file.as_deref();
    let said = runtime()?.block_on(async {
        let coordination = connect(&ensemble.zookeeper, credentials, ensemble.timeout)?;
        let said = act(coordination.clone()).await;
        coordination.close().await;
        said
    })?;
    say(&said)
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("failed to start a runtime")
}

/// Begins to keep a session.
fn connect(
    address: &Address,
    credentials_file: Option<&Path>,
    timeout: Duration,
) -> anyhow::Result<Coordination> {
    let ensemble = Ensemble::zookeeper(ZooKeeper {
        address: address.clone(),
        session_timeout: SESSION_TIMEOUT,
        credentials: credentials_file.map(read_credentials).transpose()?,
    });
    let settings =
        Settings { request_timeout: timeout, seed: fastrand::u64(..), ..Settings::default() };
    // A command is over before anybody could scrape it.
    Ok(Coordination::start(ensemble, settings, CoordinationMetrics::new(&Registry::new())))
}

/// The first value of what is followed.
async fn first<T: Clone>(
    mut followed: watch::Receiver<Option<T>>,
    what: &str,
    timeout: Duration,
) -> anyhow::Result<T> {
    let known = tokio::time::timeout(timeout, followed.wait_for(Option::is_some)).await;
    let known = known.ok().and_then(Result::ok);
    let value = known.and_then(|known| known.clone());
    value.with_context(|| format!("failed to read {what} from ZooKeeper within {timeout:?}"))
}
