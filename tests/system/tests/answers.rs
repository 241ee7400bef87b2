//! A real Prometheus writes what it scrapes, to a lone node and to one of three around a real
//! ZooKeeper: each node answers as Prometheus does, also while one of three is away.

use rangekeeper_system_tests::node::Setup;
use rangekeeper_system_tests::scraping::World;
use rangekeeper_system_tests::trio::Trio;
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

#[test]
fn a_real_prometheus_writes_to_one_of_three_and_each_answers_the_same() {
    if let Err(missing) = programs::prometheus().and(programs::node_exporter()) {
        eprintln!("skipped: {missing:#}");
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let Some(mut trio) = Trio::start(folder.path(), None, 1, 3).expect("three nodes start") else {
        return;
    };
    let api = trio.node(0).api.clone();
    let world = World::start(folder.path(), &api).expect("exporter and Prometheus start");
    let queries = answers::queries(include_str!("../demo-queries.txt"));
    let compare = |trio: &Trio, at: usize| {
        let moment = world.settled_moment().expect("the node gets all that is scraped");
        let rows = world.compare(&trio.node(at).api, &queries, moment).expect("they answer");
        let wrong: Vec<_> = rows
            .iter()
            .filter(|row| !row.same)
            .map(|row| format!("{}: {} | {}", row.query, row.expected, row.actual))
            .collect();
        assert!(
            wrong.is_empty(),
            "node {at}: {} of {} differ: {wrong:#?}",
            wrong.len(),
            rows.len()
        );
    };
    for at in 0..3 {
        compare(&trio, at);
    }
    trio.kill(2).expect("it runs");
    compare(&trio, 1);
    trio.start_all().expect("it starts again");
    trio.wait_settled().expect("what it missed arrives");
    trio.kill(1).expect("it runs");
    compare(&trio, 2);
}
