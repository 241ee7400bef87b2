//! The demo as a test: a real Prometheus writes what it scrapes, and the node answers as it does.

use rangekeeper_system_tests::node::Setup;
use rangekeeper_system_tests::scraping::World;
use rangekeeper_system_tests::{answers, programs};

#[test]
fn a_real_prometheus_and_the_node_answer_the_same() {
    if let Err(missing) = programs::prometheus().and(programs::node_exporter()) {
        eprintln!("skipped: {missing:#}");
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let setup = Setup::new(&folder.path().join("rangekeeper")).expect("a port");
    let node = setup.start_ready().expect("the node starts");
    let world = World::start(folder.path(), &node.api).expect("exporter and Prometheus start");
    let moment = world.settled_moment().expect("the node gets all that is scraped");

    let queries = answers::queries(include_str!("../demo-queries.txt"));
    assert_eq!(queries.len(), 20);
    let rows = world.compare(&node.api, &queries, moment).expect("Prometheus answers");
    let wrong: Vec<_> = rows
        .iter()
        .filter(|row| !row.same)
        .map(|row| format!("{}: {} | {}", row.query, row.expected, row.actual))
        .collect();
    assert!(wrong.is_empty(), "{} of {} differ: {wrong:#?}", wrong.len(), rows.len());
}
