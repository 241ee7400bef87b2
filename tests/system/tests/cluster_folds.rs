//! One copy of each shard on three nodes, so that none has all: what is folded where it lies, and
//! counted there, is what one node would say of everything.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rangekeeper_system_tests::api::Api;
use rangekeeper_system_tests::folder::Folder;
use rangekeeper_system_tests::ledger::{Ledger, METRIC, Place};
use rangekeeper_system_tests::poll;
use rangekeeper_system_tests::trio::Trio;

const LANES: [&str; 3] = ["one", "two", "three"];
const SERIES: u32 = 200;
const SAMPLES: i64 = 40;
const STEP_MS: i64 = 15_000;

/// Aggregations of `{}`, some selector, that are folded in parts.
const FOLDED: [&str; 7] = [
    "count by (lane) ({})",
    "group by (lane) ({})",
    "min by (lane) (max_over_time({}[2m]))",
    "max without (series) ({})",
    "topk by (lane) (3, {})",
    "bottomk(5, delta({}[1m]))",
    "count_values(\"value\", {} > bool 100)",
];

/// Writes the series of all lanes through one node; gives the time of the last sample.
fn write_all(api: &Api) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    let end_ms = i64::try_from(now.as_millis()).expect("a clock before the year 292 million");
    let start_ms = end_ms - SAMPLES * STEP_MS;
    for lane in LANES {
        let mut ledger = Ledger::new(lane);
        for sample in 0..SAMPLES {
            let time_ms = start_ms + sample * STEP_MS;
            let places: Vec<Place> = (0..SERIES).map(|series| (series, time_ms)).collect();
            let answer = api.write(&ledger.attempt(&places)).expect("it answers");
            assert!(answer.is_success(), "{} {}", answer.status, answer.body);
        }
    }
    start_ms + (SAMPLES - 1) * STEP_MS
}

fn answer(api: &Api, query: &str, range: bool, end_ms: i64) -> String {
    let end = Duration::from_millis(u64::try_from(end_ms).expect("after 1970")).as_secs_f64();
    let answer =
        if range { api.query_range(query, end - 600.0, end, 15.0) } else { api.query(query, end) };
    answer.unwrap_or_else(|error| panic!("{query}: {error:#}")).to_string()
}

/// Folds for peers that a node has done so far.
fn folds(api: &Api) -> u64 {
    let text = api.get("/metrics").expect("it answers").body;
    let is_fold = |line: &&str| {
        line.starts_with("rangekeeper_peer_served_total{kind=\"fold\"") && line.contains("\"ok\"")
    };
    text.lines().find(is_fold).and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
}

#[test]
fn what_is_folded_at_three_nodes_is_what_is_folded_in_one_piece() {
    let folder = Folder::new("folds-").expect("a folder");
    let Some(trio) = Trio::start(folder.path(), None, 1, 1).expect("three nodes start") else {
        return;
    };
    let end_ms = write_all(&trio.node(0).api);
    for (node, query, range) in (0..3).flat_map(|node| {
        FOLDED.iter().flat_map(move |query| [(node, *query, false), (node, *query, true)])
    }) {
        let others: Vec<&Api> = (0..3).filter(|n| *n != node).map(|n| &trio.node(n).api).collect();
        let api = &trio.node(node).api;
        let before: u64 = others.iter().map(|other| folds(other)).sum();
        let apart = answer(api, &query.replace("{}", METRIC), range, end_ms);
        let after: u64 = others.iter().map(|other| folds(other)).sum();
        assert_eq!(after, before + 2, "{query} is not folded by both others of node {node}");
        // A selector by two names is never folded in parts.
        let selector = format!("{{__name__=~\"{METRIC}|none\"}}");
        let whole = answer(api, &query.replace("{}", &selector), range, end_ms);
        assert_eq!(apart, whole, "{query} at node {node}, range {range}");
        assert!(apart.contains("lane") || !query.contains("lane"), "{apart}");
    }
}

#[test]
fn every_node_counts_each_shard_once() {
    let folder = Folder::new("counted-").expect("a folder");
    let Some(trio) = Trio::start(folder.path(), None, 1, 1).expect("three nodes start") else {
        return;
    };
    write_all(&trio.node(0).api);
    let all = LANES.len() * usize::try_from(SERIES).expect("a small number");
    for node in 0..3 {
        // New series are counted once they are in the index of their day.
        let counted = || -> anyhow::Result<()> {
            let body = trio.node(node).api.get("/api/v1/status/tsdb?limit=500")?.body;
            let status: serde_json::Value = serde_json::from_str(&body)?;
            let data = &status["data"];
            anyhow::ensure!(data["headStats"]["numSeries"] == all, "{body}");
            let values = data["labelValueCountByLabelName"].as_array();
            let of = |name: &str| {
                values?.iter().find(|row| row["name"] == name).map(|row| row["value"].clone())
            };
            anyhow::ensure!(of("lane") == Some(LANES.len().into()), "{body}");
            anyhow::ensure!(of("series") == Some(SERIES.into()), "{body}");
            Ok(())
        };
        poll::until("all series counted", Duration::from_secs(30), counted).expect("each once");
    }
}
