//! The demo's world: a real Prometheus scrapes itself, a node_exporter and the node, and writes all
//! of it to the node by `remote_write`. Afterwards both are asked the same.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::api::Api;
use crate::node::free_address;
use crate::peers::{self, Peer};
use crate::{answers, interrupt, poll};

/// What is scraped: Prometheus itself, a node_exporter and the node.
const TARGETS: usize = 3;

/// Seconds between two scrapes.
const INTERVAL_S: u64 = 2;

/// How long ago the moment lies that both are asked about: long enough for the sender's queue.
const AGE: Duration = Duration::from_secs(20);

/// The longest window of the queries that are asked. It has to begin when every target was scraped
/// already, for two reasons that are not the node's. Where a counter begins within a window, older
/// versions of Prometheus (the distribution's 2.42 is one) extrapolate `rate` to the counter's zero
/// over up to 1.1 intervals, today's over half of one at most: the same samples, another answer.
/// And the sender passes over scrapes that are older than its own start.
const LONGEST_WINDOW: Duration = Duration::from_secs(30);

/// How long every target has to be known when the longest window begins: two scrapes, because the
/// first scrape of a target makes counters that the second one finds.
const KNOWN_BEFORE: Duration = Duration::from_secs(2 * INTERVAL_S);

/// Longest wait for a moment that can be asked about. Prometheus begins to scrape some five seconds
/// after its start, and sends some five seconds later at worst.
const MOMENT_LIMIT: Duration = Duration::from_mins(2);

/// How close to a scrape, in milliseconds, the end of a window may lie: Prometheus moves the times
/// of scrapes by up to two.
const CLEARANCE_MS: u32 = 10;

/// The running processes around a node. The order of the fields is the order in which they stop:
/// first who writes.
pub struct World {
    /// Scrapes and writes.
    pub prometheus: Peer,
    /// Is scraped.
    pub exporter: Peer,
    /// The node that is scraped and written to.
    pub node: Api,
}

/// One query and what both said.
pub struct Row {
    /// The query.
    pub query: String,
    /// What Prometheus said, for the table.
    pub expected: String,
    /// What the node said.
    pub actual: String,
    /// Whether that is the same.
    pub same: bool,
}

impl World {
    /// Starts both around a node that runs, with folders below `folder`.
    pub fn start(folder: &Path, node: &Api) -> Result<Self> {
        let exporter = peers::node_exporter(folder)?;
        let address = free_address()?;
        let targets: [_; TARGETS] = [
            ("prometheus", address.as_str()),
            ("node", host_of(&exporter.api)),
            ("rangekeeper", host_of(node)),
        ];
        let configuration = configuration(&targets, node.base());
        let prometheus = peers::prometheus(folder, &address, &configuration)?;
        Ok(Self { prometheus, exporter, node: node.clone() })
    }

    /// A moment, in seconds since the epoch, for which the node has to answer as Prometheus does:
    /// it lies [`AGE`] back, all that was scraped until then has arrived, and the node knew
    /// every target when the longest window before it began. Waits for it; an error at once if the
    /// program is interrupted.
    pub fn settled_moment(&self) -> Result<f64> {
        poll::until("a moment of which the node knows everything", MOMENT_LIMIT, || {
            match interrupt::check() {
                Ok(()) => self.moment().map(Ok),
                Err(interrupted) => Ok(Err(interrupted)),
            }
        })?
    }

    fn moment(&self) -> Result<f64> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let arrived = self.node.query("up[5m]", now.as_secs_f64())?;
        let targets = arrived["result"].as_array().context("no list of targets")?;
        ensure!(targets.len() == TARGETS, "{} of {TARGETS} targets", targets.len());
        let time = |scrape: &Value| scrape[0].as_f64().context("a scrape without a time");
        let mut phases_ms = Vec::with_capacity(TARGETS);
        let (mut first, mut last) = (0.0, f64::INFINITY);
        for target in targets {
            let scrapes = target["values"].as_array().context("a target without scrapes")?;
            let oldest = time(scrapes.first().context("no scrape")?)?;
            let newest = time(scrapes.last().context("no scrape")?)?;
            phases_ms.push(Duration::try_from_secs_f64(oldest)?.subsec_millis());
            first = f64::max(first, oldest);
            last = f64::min(last, newest);
        }
        let moment = Duration::new(now.saturating_sub(AGE).as_secs(), fraction_ns(&phases_ms));
        let known = moment.saturating_sub(LONGEST_WINDOW + KNOWN_BEFORE).as_secs_f64();
        ensure!(first < known, "the longest window begins {:.1} s too early", first - known);
        let moment = moment.as_secs_f64();
        ensure!(last > moment, "what arrived ends {:.1} s too early", moment - last);
        Ok(moment)
    }

    /// Asks Prometheus and a node the same queries at one fixed moment.
    pub fn compare(&self, node: &Api, queries: &[&str], moment: f64) -> Result<Vec<Row>> {
        queries.iter().map(|query| self.row(node, query, moment)).collect()
    }

    fn row(&self, node: &Api, query: &str, moment: f64) -> Result<Row> {
        let expected = self.prometheus.api.query(query, moment).context("Prometheus refuses")?;
        let actual = node.query(query, moment);
        let nothing = |data: &Value| data["result"].as_array().is_some_and(Vec::is_empty);
        Ok(Row {
            query: query.to_owned(),
            expected: answers::summary(&expected),
            same: actual
                .as_ref()
                .is_ok_and(|actual| !nothing(&expected) && answers::same(&expected, actual)),
            actual: actual
                .map_or_else(|error| format!("{error:#}"), |data| answers::summary(&data)),
        })
    }
}

/// A fraction of a second at which none of the targets is scraped, in nanoseconds: older versions
/// of Prometheus count a sample that lies exactly on the left end of a window, today's do not.
fn fraction_ns(phases_ms: &[u32]) -> u32 {
    let clear = |ms: &u32| phases_ms.iter().all(|phase_ms| phase_ms.abs_diff(*ms) > CLEARANCE_MS);
    let free = (100..900).find(clear).expect("three targets do not fill a second");
    free * 1_000_000
}

fn host_of(api: &Api) -> &str {
    api.base().trim_start_matches("http://")
}

fn configuration(targets: &[(&str, &str)], node: &str) -> String {
    let scrape = |(job, target): &(&str, &str)| {
        format!("  - job_name: {job}\n    static_configs:\n      - targets: ['{target}']\n")
    };
    let scrapes = targets.iter().map(scrape).collect::<Vec<_>>().concat();
    format!(
        "global:\n  scrape_interval: {INTERVAL_S}s\n  scrape_timeout: {INTERVAL_S}s\n\
         remote_write:\n  - url: {node}/api/v1/write\n    queue_config:\n      \
         batch_send_deadline: 1s\nscrape_configs:\n{scrapes}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_window_of_the_demo_is_longer_than_what_is_waited_for() {
        let text = include_str!("../demo-queries.txt");
        let windows: Vec<_> = text.split('[').skip(1).collect();
        assert!(windows.len() > 5, "{windows:?}");
        for window in windows {
            let seconds = window.split_once('s').expect("a window in seconds").0;
            let seconds: u64 = seconds.parse().expect("a window in whole seconds");
            assert!(seconds <= LONGEST_WINDOW.as_secs(), "[{window}");
        }
    }

    #[test]
    fn the_moment_avoids_scrapes() {
        assert_eq!(fraction_ns(&[]), 100_000_000);
        assert_eq!(fraction_ns(&[95, 111, 700]), 122_000_000);
    }
}
