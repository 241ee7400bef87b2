//! `rangekeeper serve`: the life of a node in a process of its own.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::process;
use std::sync::Arc;

use anyhow::Context;
use rangekeeper_telemetry::{LogFormat, Registry};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task;

use crate::cli::Serve;
use crate::config::{Config, Format, Settings};
use crate::node::{Node, Surroundings};
use crate::server::Drained;
use crate::services::{Opened, Opening};
use crate::{allocator, memory};

/// What a shell expects of a process that Ctrl-C ended: the second signal ends it so.
const INTERRUPTED: i32 = 130;

/// Runs a node until it is told to stop. `open` opens the store; it may block.
pub(super) fn run(
    command: Serve,
    environment: Vec<(String, String)>,
    open: impl FnOnce(Opening) -> anyhow::Result<Opened> + Send + 'static,
) -> anyhow::Result<()> {
    let config = Settings::read(&command.configured.sources(environment))?.config()?;
    let format = match config.telemetry.format {
        Format::Text => LogFormat::Text,
        Format::Json => LogFormat::Json,
    };
    rangekeeper_telemetry::install(format, &config.telemetry.level)?;
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.thread_name("rk-http").enable_all().build()?;
    runtime.block_on(live(Arc::new(config), command.accept_loss, open))
}

/// Listens, opens, serves until the first signal, drains, closes: the stop in the reverse order of
/// the start. A second signal ends the process where it is; the log makes up for what was not
/// written out.
async fn live(
    config: Arc<Config>,
    accept_loss: bool,
    open: impl FnOnce(Opening) -> anyhow::Result<Opened> + Send + 'static,
) -> anyhow::Result<()> {
    let mut signals = Signals::new().context("failed to listen for signals")?;
    let registry = Registry::new();
    registry.process();
    let available_bytes = memory::available_bytes();
    let surroundings = Surroundings {
        registry: registry.clone(),
        measure: allocator::usage,
        available_bytes,
        seed: fastrand::u64(..),
    };
    let node = Node::listen(Arc::clone(&config), surroundings).await?;
    tracing::info!(address = %node.address(), data = %config.storage.data_dir.display(), "opening");

    let opening = Opening {
        config: Arc::clone(&config),
        registry,
        readiness: Arc::clone(node.readiness()),
        http_address: node.address(),
        available_bytes,
        accept_loss,
    };
    let opening = task::spawn_blocking(move || open(opening));
    let opened = tokio::select! {
        opened = opening => opened.context("opening the store panicked")??,
        // Opening goes on in its thread, which no runtime could stop, and is broken off with the
        // process, as by a crash: what it has not done, the next start does.
        () = signals.next() => {
            tracing::info!("stopped while the store was being opened");
            process::exit(0)
        }
    };
    node.open(opened.services.clone());
    tracing::info!(address = %node.address(), "ready");
    // Only now: it tells of a node that can be used.
    io::stdout().write_all(greeting(&config, node.address()).as_bytes())?;

    signals.next().await;
    tracing::info!("stopping: a second signal ends the process at once");
    let stop = async {
        if let Drained::Cut(connections) = node.drain().await {
            tracing::warn!(connections, "connections were cut: the time to drain was over");
        }
        task::spawn_blocking(opened.close).await.context("closing the store panicked")?
    };
    // Whichever branch is dropped, the process is about to end.
    tokio::select! {
        closed = stop => closed?,
        () = signals.next() => process::exit(INTERRUPTED),
    }
    tracing::info!("stopped");
    Ok(())
}

/// The signals that ask for an end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        // A signal that is not taken from one branch is there again at the next call.
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// What the start prints: what to paste into Prometheus and Grafana, and where the data lie.
fn greeting(config: &Config, address: SocketAddr) -> String {
    let url = format!("http://{}", reachable(address));
    let mut out = format!("\nrangekeeper listens on http://{address}\n\n");
    let mut line = |text: &str| writeln!(out, "{text}").expect("a string takes all");
    line("To have a Prometheus write to it, paste this into its prometheus.yml:\n");
    line("remote_write:");
    line(&format!("  - url: {url}/api/v1/write"));
    line("    send_exemplars: true");
    line("    send_native_histograms: true");
    let token_file = config.auth.token_file.as_deref().map(absolute);
    if let Some(path) = &token_file {
        line("    authorization:");
        line(&format!("      credentials: {:?}", format!("<a token of {path}>")));
    }
    line("");
    line(&format!("To have Grafana read from it, add a Prometheus data source with the URL {url}"));
    if let Some(path) = &token_file {
        line(&format!(
            "with basic authentication: any user name, and a token of {path} as password"
        ));
    }
    if address.ip().is_unspecified() {
        line("From another machine, put this one's name in the place of the address.");
    }
    line(&format!("The data lie in {}\n", absolute(&config.storage.data_dir)));
    out
}

/// An address that a program on this machine can use: one that listens everywhere is reached on the
/// loopback.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    fn greeting_of(set: &[&str], address: &str) -> String {
        let set = set.iter().map(|&text| text.to_owned()).collect();
        let sources = Sources { set, ..Sources::default() };
        let config = Settings::read(&sources).unwrap().config().unwrap();
        greeting(&config, address.parse().unwrap())
    }

    #[test]
    fn the_greeting_can_be_pasted() {
        let text = greeting_of(&["storage.data_dir=/srv/data"], "127.0.0.1:9920");
        for part in [
            "\nremote_write:\n  - url: http://127.0.0.1:9920/api/v1/write\n    send_exemplars",
            "data source with the URL http://127.0.0.1:9920\n",
            "The data lie in /srv/data\n",
        ] {
            assert!(text.contains(part), "no {part:?} in\n{text}");
        }
        for part in ["authorization", "authentication", "another machine"] {
            assert!(!text.contains(part), "{part:?} in\n{text}");
        }
    }

    #[test]
    fn the_greeting_of_a_guarded_node_says_where_tokens_go() {
        let text = greeting_of(&["auth.token_file=/etc/tokens"], "0.0.0.0:1");
        for part in [
            "  - url: http://127.0.0.1:1/api/v1/write\n",
            "    authorization:\n      credentials: \"<a token of /etc/tokens>\"\n",
            "any user name, and a token of /etc/tokens as password\n",
            "From another machine",
        ] {
            assert!(text.contains(part), "no {part:?} in\n{text}");
        }
    }
}
