//! `make demo`: three nodes around a ZooKeeper, and a real Prometheus that scrapes and writes to
//! the first of them. After a minute twenty queries at one fixed moment go to Prometheus and to the
//! second node, and a table shows both answers; then the third node is killed, everything goes on
//! without it, and when it is back what it missed is brought to it. Everything that was started is
//! stopped and everything that was written is removed, on Ctrl-C as well.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rangekeeper_system_tests::scraping::{Row, World};
use rangekeeper_system_tests::trio::{NAMES, Trio};
use rangekeeper_system_tests::{answers, interrupt, poll};
use serde_json::Value;

/// Where the nodes listen; their peers one port further.
const LISTEN: [&str; 3] = ["127.0.0.1:9920", "127.0.0.1:9930", "127.0.0.1:9940"];
/// How long Prometheus scrapes before both are asked.
const SCRAPING: Duration = Duration::from_mins(1);
/// How long the third node is away.
const AWAY: Duration = Duration::from_secs(20);
/// Time for what it missed to arrive.
const ARRIVAL: Duration = Duration::from_mins(1);
/// Width of the column of queries; a longer one is cut.
const QUERY_WIDTH: usize = 64;

fn main() -> Result<()> {
    interrupt::watch()?;
    let folder = tempfile::tempdir()?;
    println!("Starting ZooKeeper and three nodes in {} ...", folder.path().display());
    let Some(mut trio) = Trio::start(folder.path(), Some(LISTEN), 1, 3)? else {
        bail!("the demo needs a ZooKeeper")
    };
    let first = trio.node(0).api.clone();
    let world = World::start(folder.path(), &first)?;
    println!("  ZooKeeper    {}", trio.zookeeper);
    for (at, name) in trio.names().iter().enumerate() {
        println!("  node {name}       {}", trio.node(at).api.base());
    }
    println!("  Prometheus   {}  writes to node {}", world.prometheus.api.base(), NAMES[0]);
    show_slots(&trio.status(1)?)?;

    println!("\nScraping and writing for {} s ...", SCRAPING.as_secs());
    interrupt::pass(SCRAPING)?;
    compare(&world, &trio, 1)?;

    println!("\nKilling node {} with SIGKILL; {} s without it ...", NAMES[2], AWAY.as_secs());
    trio.kill(2)?;
    interrupt::pass(AWAY)?;
    let status = trio.status(1)?;
    println!("  shards below their copies: {}", status["summary"]["below_replication"]);
    let missed = unsettled(&status, 1)?;
    println!("  chunks that node {} keeps in mind for it: {missed}", NAMES[1]);
    compare(&world, &trio, 1)?;

    println!("\nStarting node {} again ...", NAMES[2]);
    trio.start_all()?;
    let from = std::time::Instant::now();
    poll::until("the arrival of what it missed", ARRIVAL, || {
        interrupt::check()?;
        let missed = unsettled(&trio.status(1)?, 1)?;
        ensure!(missed == 0, "{missed} chunks are on their way");
        Ok(())
    })?;
    println!("  what it missed has arrived after {:.1} s", from.elapsed().as_secs_f64());
    trio.kill(1)?;
    println!("Killing node {}, which had everything: node {} answers.", NAMES[1], NAMES[2]);
    compare(&world, &trio, 2)?;
    println!("\nStopping everything.");
    Ok(())
}

/// Asks Prometheus and a node the same, and shows both answers.
fn compare(world: &World, trio: &Trio, at: usize) -> Result<()> {
    let moment = world.settled_moment()?;
    let queries = answers::queries(include_str!("../../demo-queries.txt"));
    let rows: Vec<Row> = world.compare(&trio.node(at).api, &queries, moment)?;
    let name = format!("node {}", NAMES[at]);
    println!("\nEach answer: how many series, and the value of the first by its labels.");
    println!("{:QUERY_WIDTH$}  {:<16}  {name:<16}  same", "query", "Prometheus");
    for row in &rows {
        let query: String = row.query.chars().take(QUERY_WIDTH).collect();
        let verdict = if row.same { "yes" } else { "NO" };
        println!("{query:QUERY_WIDTH$}  {:<16}  {:<16}  {verdict}", row.expected, row.actual);
    }
    let same = rows.iter().filter(|row| row.same).count();
    println!("{same} of {} the same.", rows.len());
    ensure!(same == rows.len(), "{} answers differ", rows.len() - same);
    Ok(())
}

/// Shows at which nodes the slots of the shards are.
fn show_slots(status: &Value) -> Result<()> {
    let shards = status["shards"].as_array().context("no list of shards")?;
    let names = |slot: &Value| {
        let nodes = status["nodes"].as_array().into_iter().flatten();
        let named = nodes.clone().find(|node| node["index"] == slot["node"]);
        named.and_then(|node| node["id"].as_str()).unwrap_or("-").to_owned()
    };
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for shard in shards {
        let slots = shard["slots"].as_array().context("a shard without slots")?;
        let nodes: Vec<_> = slots.iter().map(names).collect();
        *places.entry(nodes.join(" ")).or_default() += 1;
    }
    println!("\nWhere the slots of the {} shards are:", shards.len());
    for (nodes, count) in places {
        println!("  {nodes:<12} {count} shards");
    }
    Ok(())
}

/// Chunks that a node does not know to be at all places.
fn unsettled(status: &Value, at: usize) -> Result<u64> {
    let nodes = status["nodes"].as_array().context("no list of nodes")?;
    let own = nodes.iter().find(|node| node["id"] == NAMES[at]).context("it lists not itself")?;
    own["unsettled"]["chunks"].as_u64().context("no figure of what is unsettled")
}
