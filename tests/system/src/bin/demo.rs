//! `make demo`: a real Prometheus scrapes and writes for a minute, then twenty queries at one fixed
//! moment go to it and to the node, and a table shows both answers. Everything that was started is
//! stopped and everything that was written is removed, on Ctrl-C as well.

use std::time::Duration;

use anyhow::{Result, ensure};
use rangekeeper_system_tests::scraping::World;
use rangekeeper_system_tests::{answers, interrupt};

/// How long Prometheus scrapes before both are asked.
const SCRAPING: Duration = Duration::from_mins(1);

/// Width of the column of queries; a longer one is cut.
const QUERY_WIDTH: usize = 64;

fn main() -> Result<()> {
    interrupt::watch()?;
    let folder = tempfile::tempdir()?;
    println!(
        "Starting a node, a node_exporter and a Prometheus in {} ...",
        folder.path().display()
    );
    let world = World::start(folder.path())?;
    println!("  Prometheus   {}", world.prometheus.api.base());
    println!("  rangekeeper  {}", world.node.api.base());
    println!("Scraping and writing for {} s ...", SCRAPING.as_secs());
    interrupt::pass(SCRAPING)?;
    let moment = world.settled_moment()?;

    let queries = answers::queries(include_str!("../../demo-queries.txt"));
    let rows = world.compare(&queries, moment)?;
    println!("\nEach answer: how many series, and the value of the first by its labels.");
    println!("{:QUERY_WIDTH$}  {:<16}  {:<16}  same", "query", "Prometheus", "rangekeeper");
    for row in &rows {
        let query: String = row.query.chars().take(QUERY_WIDTH).collect();
        let verdict = if row.same { "yes" } else { "NO" };
        println!("{query:QUERY_WIDTH$}  {:<16}  {:<16}  {verdict}", row.expected, row.actual);
    }
    let same = rows.iter().filter(|row| row.same).count();
    println!("\n{same} of {} the same. Stopping everything.", rows.len());
    ensure!(same == rows.len(), "{} answers differ", rows.len() - same);
    Ok(())
}
