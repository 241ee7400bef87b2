//! The demo as a test: a real Prometheus writes what it scrapes, and the node answers as it does.

use std::time::{Duration, SystemTime};

use rangekeeper_system_tests::scraping::World;
use rangekeeper_system_tests::{answers, poll, programs};

#[test]
fn a_real_prometheus_and_the_node_answer_the_same() {
    if let Err(missing) = programs::prometheus().and(programs::node_exporter()) {
        eprintln!("skipped: {missing:#}");
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let world = World::start(folder.path()).expect("node, exporter and Prometheus start");
    // The queries ask about a moment 20 s ago. Prometheus begins to scrape some 5 s after it is
    // ready, and a rate needs a few scrapes.
    let reach = SystemTime::now() + Duration::from_secs(40);
    poll::until("scrapes before the moment that is asked about", Duration::from_mins(2), || {
        Ok(SystemTime::now().duration_since(reach)?)
    })
    .expect("time passes");
    world.wait_for_arrival(SystemTime::now() - Duration::from_secs(5)).expect("scrapes arrive");

    let queries = answers::queries(include_str!("../demo-queries.txt"));
    assert_eq!(queries.len(), 20);
    let rows = world.compare(&queries).expect("Prometheus answers");
    let wrong: Vec<_> = rows
        .iter()
        .filter(|row| !row.same)
        .map(|row| format!("{}: {} | {}", row.query, row.expected, row.actual))
        .collect();
    assert!(wrong.is_empty(), "{} of {} differ: {wrong:#?}", wrong.len(), rows.len());
}
