//! Maps are kept before they are used, and got from whoever has them.

use std::fs;
use std::time::Duration;

use rangekeeper_cluster::{Call, OfferedAssignment, Urgency, View};
use rangekeeper_model::{ClusterId, Day, Epoch};
use rangekeeper_placement::{Assignment, NodeStatus};
use tokio::time::Instant;

use super::stage::{PATIENCE, Part, Stage, eventually, leader, node_id, parts};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_map_that_somebody_needs_is_got_from_a_peer_at_once() {
    let stage = Stage::new(3).await;
    let (parts, nodes) = stage.placed().await;
    for node in nodes {
        node.stop().await;
    }
    // Nobody is told anything by probes.
    let mut nodes = Vec::new();
    for part in &parts {
        let part = Part { probe_every: None, start_wait: Duration::ZERO, ..part.again() };
        nodes.push(stage.start(&part).await);
    }
    for node in &nodes {
        eventually("the map has all of them", || {
            let map = &node.view().assignment;
            map.nodes.iter().all(|row| row.boot.0 == 2 && row.status == NodeStatus::Up)
        })
        .await;
    }
    let name = leader(&nodes).await.name;
    let silent = nodes.iter().position(|node| node.name != name).expect("there are three");
    let silent = nodes.remove(silent);
    stage.ensemble.cut(silent.name);
    leader(&nodes).await.control.expired(Day(5));
    let mut newest = 0;
    eventually("the others have another map", || {
        newest = nodes[0].view().assignment.epoch.0;
        nodes.iter().all(|node| node.control.retention_floor() == Day(5))
    })
    .await;
    assert!(silent.view().assignment.epoch.0 < newest);
    // A request of a router that has it; its header says so.
    let deadline = Instant::now() + PATIENCE;
    let row = nodes[0].view().assignment.row(&node_id(silent.name), silent.store);
    let peer = nodes[0].control.peer(row.expect("it has a row")).expect("it is a peer");
    peer.probe(Call { deadline, urgency: Urgency::MustTry }).await.expect("it answers");
    assert!(silent.control.at_least(Epoch(newest), deadline).await);
    assert!(silent.view().assignment.epoch.0 >= newest);
    let soon = Instant::now() + Duration::from_millis(50);
    assert!(!silent.control.at_least(Epoch(newest + 1000), soon).await, "nobody has that");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_map_that_cannot_be_kept_is_not_used_until_it_can() {
    let stage = Stage::new(3).await;
    let (_, nodes) = stage.placed().await;
    // A folder of the name that it is written under.
    let beside = stage.folder("b").join("assignment.new");
    fs::create_dir(&beside).expect("nothing is there");
    let leader = leader(&nodes).await;
    leader.control.expired(Day(5));
    let b = &nodes[1];
    eventually("it says so", || b.has_alarm("assignment_not_kept")).await;
    assert_eq!((b.view().assignment.epoch, b.control.retention_floor()), (Epoch(1), Day(0)));
    fs::remove_dir(&beside).expect("it is empty");
    b.epoch(2).await;
    assert_eq!(b.control.retention_floor(), Day(5));
    eventually("that is over", || !b.has_alarm("assignment_not_kept")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_are_given_what_is_newer_than_theirs() {
    let stage = Stage::new(3).await;
    let a = stage.start(&parts()[0]).await;
    assert_eq!(a.control.assignment_newer(View::default()), None);
    let stage = Stage::new(3).await;
    let (_, nodes) = stage.placed().await;
    let map = &nodes[0].view().assignment;
    let given = nodes[0].control.assignment_newer(View::default()).expect("it has one");
    let given = Assignment::decode(&given).expect("it is whole");
    assert_eq!(given, **map);
    let same = View { generation: map.generation, epoch: map.epoch, term: map.term };
    assert_eq!(nodes[0].control.assignment_newer(same), None);
    assert_eq!(nodes[0].control.report().readiness, rangekeeper_cluster::proto::Readiness::Ready);
    let control = nodes[0].control.clone();
    for node in nodes {
        node.stop().await;
    }
    let report = control.report();
    assert_eq!(report.readiness, rangekeeper_cluster::proto::Readiness::Stopping);
    assert!(control.view().is_some(), "the map stays in use");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_map_that_a_peer_offers_is_used_if_it_is_whole_and_of_this_cluster() {
    let stage = Stage::new(3).await;
    let (parts, mut nodes) = stage.placed().await;
    let given = nodes[1].control.assignment_newer(View::default()).expect("it has one");
    nodes.remove(0).stop().await;
    fs::remove_file(stage.folder("a").join("assignment")).expect("it is there");
    // It knows nobody: no map, no ZooKeeper, so no peers.
    stage.ensemble.cut("a");
    let a = stage.start(&parts[0].again()).await;
    let offer = async |assignment: Vec<u8>| {
        let (node, view) = ("b".to_owned(), View::of(1, 1, 1));
        let assignment = Some(assignment.into());
        let offer = OfferedAssignment { node, view, assignment };
        a.offers.send(offer).await.expect("the agent is there");
    };
    offer(given[..given.len() - 1].to_vec()).await;
    eventually("it says so", || a.has_alarm("unreadable_assignment")).await;
    let mut foreign = Assignment::decode(&given).expect("it is whole");
    foreign.cluster = ClusterId::of(8);
    offer(foreign.encode().expect("it is consistent")).await;
    eventually("it says so", || a.has_alarm("other_cluster")).await;
    assert!(a.control.view().is_none());
    offer(given.to_vec()).await;
    let view = a.epoch(1).await;
    assert!(view.me.is_some() && !a.has_alarm("unreadable_assignment"));
}
