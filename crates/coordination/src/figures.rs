//! The ensemble's own figures, as each server tells them on its `mntr` command.
//!
//! A server answers that only if its configuration allows it (`4lw.commands.whitelist`), so not
//! being allowed is a state of its own and no fault.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rangekeeper_telemetry::{Family, Readings, Registry};
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// An answer is about 4 KiB; what goes on and on is not one.
const ANSWER_LIMIT_BYTES: u64 = 64 * 1024;

/// Time for one server's whole answer. Less than any sensible interval, more than a busy server
/// needs.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);

const STATE: &str = "rangekeeper_ensemble_server_state";
const CONNECTIONS: &str = "rangekeeper_ensemble_connections";
const OUTSTANDING: &str = "rangekeeper_ensemble_outstanding_requests";
const ZNODES: &str = "rangekeeper_ensemble_znodes";
const WATCHES: &str = "rangekeeper_ensemble_watches";
const FOLLOWERS: &str = "rangekeeper_ensemble_synced_followers";
const LATENCY: &str = "rangekeeper_ensemble_request_latency_seconds";

const FAMILIES: &[Family] = &[
    Family::gauge(STATE, &["server", "state"], "1 at the state of a server of ZooKeeper, else 0."),
    Family::gauge(CONNECTIONS, &["server"], "Clients connected to a server of ZooKeeper."),
    Family::gauge(OUTSTANDING, &["server"], "Requests that wait in a server of ZooKeeper."),
    Family::gauge(ZNODES, &["server"], "Nodes that a server of ZooKeeper holds."),
    Family::gauge(WATCHES, &["server"], "Watches that are set at a server of ZooKeeper."),
    Family::gauge(FOLLOWERS, &["server"], "Followers in step with the leader; only it says so."),
    Family::gauge(LATENCY, &["server"], "Mean time of a request in a server of ZooKeeper."),
];

/// The states of a server, as the metric names them.
const STATES: &[&str] = &[
    "leader",
    "follower",
    "observer",
    "standalone",
    "not_serving",
    "forbidden",
    "unreachable",
    "malformed",
];

/// What a server is in its ensemble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerRole {
    /// Orders all writes.
    Leader,
    /// Votes and answers reads.
    Follower,
    /// Answers reads.
    Observer,
    /// There is no other.
    Standalone,
}

/// What a server says of itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    /// What it is.
    pub role: ServerRole,
    /// Clients connected.
    pub connections: u64,
    /// Requests that wait.
    pub outstanding_requests: u64,
    /// Nodes it holds.
    pub znodes: u64,
    /// Watches set.
    pub watches: u64,
    /// Of the leader: followers in step.
    pub synced_followers: Option<u64>,
    /// Mean time of a request.
    pub latency: Duration,
}

/// Why there are no figures of a server.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum FiguresError {
    /// It is not there, or does not answer in time.
    #[error("reach {server}: {reason}")]
    Unreachable {
        /// Which.
        server: String,
        /// Why.
        reason: String,
    },
    /// Its configuration does not allow the command.
    #[error("read figures of {server}: mntr is not in its 4lw.commands.whitelist")]
    Forbidden {
        /// Which.
        server: String,
    },
    /// It runs but has no quorum.
    #[error("read figures of {server}: it serves nobody at the moment")]
    NotServing {
        /// Which.
        server: String,
    },
    /// It said something else.
    #[error("read figures of {server}: its answer has no {missing}")]
    Malformed {
        /// Which.
        server: String,
        /// What is not there.
        missing: &'static str,
    },
}

impl Figures {
    /// Asks a server, `HOST:PORT`.
    pub async fn ask(server: &str) -> Result<Self, FiguresError> {
        let unreachable =
            |reason: String| FiguresError::Unreachable { server: server.to_owned(), reason };
        let answer = tokio::time::timeout(ANSWER_LIMIT, answer(server))
            .await
            .map_err(|_| unreachable(format!("no answer within {ANSWER_LIMIT:?}")))?
            .map_err(|error| unreachable(error.to_string()))?;
        Self::parse(server, &answer)
    }

    /// Reads the answer of `server`.
    pub fn parse(server: &str, answer: &str) -> Result<Self, FiguresError> {
        let server = server.to_owned();
        if answer.contains("not in the whitelist") {
            return Err(FiguresError::Forbidden { server });
        }
        if answer.contains("not currently serving requests") {
            return Err(FiguresError::NotServing { server });
        }
        let value = |key: &str| {
            answer.lines().find_map(|line| {
                let (found, value) = line.split_once('\t')?;
                (found == key).then(|| value.trim())
            })
        };
        let missing = |missing| FiguresError::Malformed { server: server.clone(), missing };
        let count = |key: &'static str| {
            value(key).and_then(|value| value.parse().ok()).ok_or_else(|| missing(key))
        };
        let role = match value("zk_server_state") {
            Some("leader") => ServerRole::Leader,
            Some("follower") => ServerRole::Follower,
            Some("observer") => ServerRole::Observer,
            Some("standalone") => ServerRole::Standalone,
            _ => return Err(missing("zk_server_state")),
        };
        let latency = value("zk_avg_latency").and_then(|value| value.parse::<f64>().ok());
        Ok(Self {
            role,
            connections: count("zk_num_alive_connections")?,
            outstanding_requests: count("zk_outstanding_requests")?,
            znodes: count("zk_znode_count")?,
            watches: count("zk_watch_count")?,
            synced_followers: value("zk_synced_followers").and_then(|value| value.parse().ok()),
            latency: latency
                .and_then(|ms| Duration::try_from_secs_f64(ms / 1e3).ok())
                .ok_or_else(|| missing("zk_avg_latency"))?,
        })
    }
}

/// Sends the command and reads all that comes.
async fn answer(server: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(server).await?;
    stream.write_all(b"mntr").await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_LIMIT_BYTES).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

type Reports = Vec<(String, Result<Figures, FiguresError>)>;

/// Asks all `servers` every `interval` until `stop`, and exports what they say. Run it as a task.
pub async fn watch_figures(
    servers: Vec<String>,
    interval: Duration,
    registry: Registry,
    stop: CancellationToken,
) {
    let reports = Arc::new(Mutex::new(Reports::new()));
    let shared = Arc::clone(&reports);
    registry.snapshot(FAMILIES, move |out| {
        for (server, report) in &*shared.lock() {
            export(out, server, report);
        }
    });
    loop {
        let mut found = Reports::with_capacity(servers.len());
        for server in &servers {
            // Cancel-safe: a question that is given up has changed nothing.
            tokio::select! {
                () = stop.cancelled() => return,
                report = Figures::ask(server) => found.push((server.clone(), report)),
            }
        }
        *reports.lock() = found;
        // Cancel-safe: both only wait.
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(interval) => {}
        }
    }
}

fn export(out: &mut Readings, server: &str, report: &Result<Figures, FiguresError>) {
    let state = STATES[match report {
        Ok(Figures { role: ServerRole::Leader, .. }) => 0,
        Ok(Figures { role: ServerRole::Follower, .. }) => 1,
        Ok(Figures { role: ServerRole::Observer, .. }) => 2,
        Ok(Figures { role: ServerRole::Standalone, .. }) => 3,
        Err(FiguresError::NotServing { .. }) => 4,
        Err(FiguresError::Forbidden { .. }) => 5,
        Err(FiguresError::Unreachable { .. }) => 6,
        Err(FiguresError::Malformed { .. }) => 7,
    }];
    for name in STATES {
        out.set(STATE, &[server, name], if *name == state { 1.0 } else { 0.0 });
    }
    let Ok(figures) = report else { return };
    #[expect(clippy::cast_precision_loss, reason = "counts of an ensemble are far below 2^53")]
    let mut set = |name, value: u64| out.set(name, &[server], value as f64);
    set(CONNECTIONS, figures.connections);
    set(OUTSTANDING, figures.outstanding_requests);
    set(ZNODES, figures.znodes);
    set(WATCHES, figures.watches);
    if let Some(followers) = figures.synced_followers {
        set(FOLLOWERS, followers);
    }
    out.set(LATENCY, &[server], figures.latency.as_secs_f64());
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    /// An answer with these lines before and after what matters.
    fn mntr(state: &str) -> String {
        let mut text = String::from("zk_version\t3.8.0, built on 2023\n");
        for (key, value) in [
            ("zk_server_state", state),
            ("zk_ephemerals_count", "2"),
            ("zk_avg_latency", "0.25"),
            ("zk_num_alive_connections", "3"),
            ("zk_outstanding_requests", "1"),
            ("zk_znode_count", "17"),
            ("zk_watch_count", "6"),
        ] {
            writeln!(text, "{key}\t{value}").unwrap();
        }
        text
    }

    #[test]
    fn reads_what_a_follower_says() {
        assert_eq!(
            Figures::parse("zk1:2181", &mntr("follower")),
            Ok(Figures {
                role: ServerRole::Follower,
                connections: 3,
                outstanding_requests: 1,
                znodes: 17,
                watches: 6,
                synced_followers: None,
                latency: Duration::from_micros(250),
            })
        );
    }

    #[test]
    fn reads_a_leaders_followers() {
        let text = mntr("leader") + "zk_synced_followers\t2\n";
        let figures = Figures::parse("zk1:2181", &text).unwrap();
        assert_eq!((figures.role, figures.synced_followers), (ServerRole::Leader, Some(2)));
    }

    #[test]
    fn tells_why_there_are_no_figures() {
        let server = "zk1:2181".to_owned();
        let missing = "zk_server_state";
        for (answer, error) in [
            (
                "mntr is not executed because it is not in the whitelist.\n",
                FiguresError::Forbidden { server: server.clone() },
            ),
            (
                "This ZooKeeper instance is not currently serving requests\n",
                FiguresError::NotServing { server: server.clone() },
            ),
            ("", FiguresError::Malformed { server: server.clone(), missing }),
            (&mntr("boss"), FiguresError::Malformed { server: server.clone(), missing }),
        ] {
            assert_eq!(Figures::parse(&server, answer), Err(error));
        }
    }

    #[test]
    fn exports_the_state_even_of_a_server_that_is_away() {
        let registry = Registry::new();
        let reports: Reports = vec![
            ("a:1".to_owned(), Figures::parse("a:1", &mntr("leader"))),
            ("b:1".to_owned(), Figures::parse("b:1", "not in the whitelist")),
        ];
        registry.snapshot(FAMILIES, move |out| {
            for (server, report) in &reports {
                export(out, server, report);
            }
        });
        let text = registry.encode();
        for line in [
            "rangekeeper_ensemble_server_state{server=\"a:1\",state=\"leader\"} 1",
            "rangekeeper_ensemble_server_state{server=\"b:1\",state=\"forbidden\"} 1",
            "rangekeeper_ensemble_server_state{server=\"b:1\",state=\"leader\"} 0",
            "rangekeeper_ensemble_znodes{server=\"a:1\"} 17",
        ] {
            assert!(text.lines().any(|found| found == line), "no line {line:?} in\n{text}");
        }
        assert!(!text.contains("znodes{server=\"b:1\"}"), "{text}");
    }
}
