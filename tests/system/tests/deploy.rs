//! What `deploy/` gives people: every query of the dashboard and of the alerts is one that a node
//! answers, of metrics that a node has.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rangekeeper_system_tests::node::Setup;
use rangekeeper_system_tests::programs;
use serde_json::Value;

const DASHBOARD: &str = "deploy/grafana/dashboards/rangekeeper.json";
const ALERTS: &str = "deploy/prometheus/alerts.yml";

fn text(path: &str) -> Result<String> {
    fs::read_to_string(programs::root().join(path))
        .with_context(|| format!("failed to read {path}"))
}

/// The queries of the dashboard, with values where Grafana puts them.
fn dashboard_queries() -> Result<Vec<String>> {
    let dashboard: Value = serde_json::from_str(&text(DASHBOARD)?)?;
    let panels = dashboard["panels"].as_array().context("a dashboard has panels")?;
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let query = |target: &Value| {
        let query = target["expr"].as_str().context("a target has an expression")?;
        Ok(query.replace("$__rate_interval", "1m").replace("$instance", ".*").replace("$job", ".*"))
    };
    targets.map(query).collect()
}

/// The expressions of the alerts, each on its line or folded onto those below it.
fn alert_queries() -> Result<Vec<String>> {
    let alerts = text(ALERTS)?;
    let mut lines = alerts.lines().peekable();
    let mut queries = Vec::new();
    while let Some(line) = lines.next() {
        let Some(rest) = line.trim_start().strip_prefix("expr: ") else { continue };
        if rest != ">-" {
            queries.push(rest.to_owned());
            continue;
        }
        let indent = |line: &str| line.len() - line.trim_start().len();
        let mut query = Vec::new();
        while let Some(more) = lines.next_if(|more| indent(more) > indent(line)) {
            query.push(more.trim());
        }
        queries.push(query.join(" "));
    }
    Ok(queries)
}

/// The metrics that a query names.
fn metrics(query: &str) -> BTreeSet<String> {
    let words = query.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let is_metric = |word: &&str| word.starts_with("rangekeeper_") || word.starts_with("process_");
    words.filter(is_metric).map(str::to_owned).collect()
}

#[test]
fn a_node_answers_every_query_of_the_dashboard_and_the_alerts() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let node = Setup::new(&folder.path().join("data"))?.start_ready()?;
    let contract = text("crates/node/contracts/metrics.txt")?;
    let known = |metric: &str| {
        let family = ["_bucket", "_count", "_sum"].iter().find_map(|s| metric.strip_suffix(s));
        let begins = |name: &str| contract.lines().any(|l| l.starts_with(&format!("{name} ")));
        begins(metric) || family.is_some_and(begins)
    };
    let queries = [dashboard_queries()?, alert_queries()?].concat();
    ensure!(queries.len() > 40, "{} queries were found", queries.len());
    for query in &queries {
        let names = metrics(query);
        ensure!(!names.is_empty() || query.starts_with("up{"), "{query:?} asks for no metric");
        for name in names {
            ensure!(known(&name), "{query:?} asks for {name}, which no node has");
        }
        node.api.query(query, 1.0).with_context(|| format!("failed to ask {query:?}"))?;
    }
    Ok(())
}

#[test]
fn promtool_accepts_the_alerts() -> Result<()> {
    let Ok(promtool) = programs::promtool() else {
        println!("skipped: there is no promtool here; `make tools` gets one");
        return Ok(());
    };
    let output = Command::new(promtool)
        .args(["check", "rules"])
        .arg(programs::root().join(ALERTS))
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    ensure!(said.contains(&format!("{} rules found", alert_queries()?.len())), "{said}");
    Ok(())
}
