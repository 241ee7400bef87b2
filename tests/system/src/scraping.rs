//! The demo's world: a real Prometheus scrapes itself, a node_exporter and the node, and writes all
//! of it to the node by `remote_write`. Afterwards both are asked the same.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::api::Api;
use crate::node::{Node, Setup, free_address};
use crate::peers::{self, Peer};
use crate::{answers, poll};

/// Seconds between two scrapes.
const INTERVAL_S: u32 = 2;

/// How long ago the moment lies that both are asked about: long enough for the senders' queue.
const AGE: Duration = Duration::from_secs(20);

/// Longest wait until what was scraped has arrived.
const ARRIVAL_LIMIT: Duration = Duration::from_mins(1);

/// The running processes. The order of the fields is the order in which they stop: first who
/// writes.
pub struct World {
    /// Scrapes and writes.
    pub prometheus: Peer,
    /// Is scraped.
    pub exporter: Peer,
    /// Is scraped and written to.
    pub node: Node,
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
    /// Starts all three with folders below `folder`.
    pub fn start(folder: &Path) -> Result<Self> {
        let node = Setup::new(&folder.join("rangekeeper"))?.start_ready()?;
        let exporter = peers::node_exporter(folder)?;
        let address = free_address()?;
        let targets = [
            ("prometheus", address.as_str()),
            ("node", host_of(&exporter.api)),
            ("rangekeeper", host_of(&node.api)),
        ];
        let configuration = configuration(&targets, node.api.base());
        let prometheus = peers::prometheus(folder, &address, &configuration)?;
        Ok(Self { prometheus, exporter, node })
    }

    /// Waits until the newest scrape of every target has reached the node, at most a minute.
    pub fn wait_for_arrival(&self, since: SystemTime) -> Result<()> {
        let since = since.duration_since(UNIX_EPOCH)?.as_secs_f64();
        poll::until("the scrapes in the node", ARRIVAL_LIMIT, || {
            let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
            let arrived = self.node.api.query(&format!("count(timestamp(up) > {since})"), now)?;
            let count = arrived["result"][0]["value"][1].as_str();
            ensure!(count == Some("3"), "{} of 3 targets", count.unwrap_or("0"));
            Ok(())
        })
    }

    /// Asks both the same queries at one fixed moment.
    pub fn compare(&self, queries: &[&str]) -> Result<Vec<Row>> {
        let moment = SystemTime::now().duration_since(UNIX_EPOCH)?.saturating_sub(AGE);
        // Not a whole second: older versions of Prometheus count a sample that lies exactly on the
        // left end of a range, today's do not, and no scrape happens at this fraction but by luck.
        let moment = Duration::new(moment.as_secs(), 137_000_000).as_secs_f64();
        queries.iter().map(|query| self.row(query, moment)).collect()
    }

    fn row(&self, query: &str, moment: f64) -> Result<Row> {
        let expected = self.prometheus.api.query(query, moment).context("Prometheus refuses")?;
        let actual = self.node.api.query(query, moment);
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
