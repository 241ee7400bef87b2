//! One leads, places once, and publishes no more than it may.

use std::time::Duration;

use rangekeeper_coordination::Intent;
use rangekeeper_model::{Day, Term};
use rangekeeper_placement::{NodeStatus, Shard, SlotState};

use super::stage::{Node, Part, Stage, eventually, leader, node_id, parts};

/// Who owns what.
fn owners(node: &Node) -> Vec<Shard> {
    node.view().assignment.shards.clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shards_are_placed_once_and_only_when_the_expected_nodes_are_registered() {
    let stage = Stage::new(3).await;
    let parts = parts();
    let a = stage.start(&parts[0]).await;
    let b = stage.start(&parts[1]).await;
    eventually("both know of both", || a.status().nodes.len() == 2 && b.status().nodes.len() == 2)
        .await;
    eventually("somebody is elected", || a.status().leader.is_some()).await;
    assert!(a.control.view().is_none() && b.control.view().is_none());
    let why = a.control.readiness().expect_err("nothing is placed");
    assert!(why.contains("which 2 are"), "{why}");
    assert!(a.status().nodes.iter().all(|node| node.status == "new" && node.registered));

    let c = stage.start(&parts[2]).await;
    let nodes = [a, b, c];
    for node in &nodes {
        let view = node.epoch(1).await;
        assert!(view.assignment.is_placed() && view.me.is_some());
        eventually("it is ready", || node.control.readiness().is_ok()).await;
        for row in 0..3 {
            let peer = node.control.peer(rangekeeper_placement::NodeIndex(row));
            let of = &view.assignment.nodes[usize::from(row)];
            let expected = (of.id.as_str() != node.name).then_some(of.store);
            assert_eq!(peer.map(|peer| peer.store()), expected);
        }
    }
    let leader = leader(&nodes).await;
    let first = owners(leader);
    // Something else is published, on the same owners.
    leader.control.expired(Day(9));
    for node in &nodes {
        node.epoch(2).await;
        assert_eq!(owners(node), first);
        assert_eq!(node.control.retention_floor(), Day(9));
        let status = node.status();
        assert_eq!((status.summary.placed, status.summary.steady), (16, 16));
        eventually("it knows who leads", || {
            node.status().leader.is_some_and(|known| known.node == leader.name)
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_leaders_clock_raises_the_floor_of_retention() {
    let stage = Stage::new(3).await;
    let (_, nodes) = stage.placed().await;
    let leader = leader(&nodes).await;
    let other = nodes.iter().find(|node| node.name != leader.name).expect("there are three");
    other.control.expired(Day(50));
    leader.control.expired(Day(40));
    let view = other.epoch(2).await;
    assert_eq!(view.assignment.retention_floor, Day(40));
    leader.control.expired(Day(39));
    leader.control.expired(Day(41));
    assert_eq!(other.epoch(3).await.assignment.retention_floor, Day(41));
    let refused = r#"operation="publish",outcome="refused""#;
    assert!(!leader.registry.encode().contains(refused), "each expects what the last one made");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_session_ends_is_followed_and_nothing_moves() {
    let stage = Stage::new(3).await;
    let (_, nodes) = stage.placed().await;
    let (before, first) = (owners(&nodes[0]), leader(&nodes).await);
    let (term, epoch) = (first.view().assignment.term, first.view().assignment.epoch);
    stage.ensemble.cut(first.name);
    eventually("it leads no more", || !first.leads()).await;
    let others: Vec<_> = nodes.iter().filter(|node| node.name != first.name).collect();
    eventually("another leads", || others.iter().any(|node| node.leads())).await;
    // That it is not registered is published, and it hears so from its peers.
    let is_down = |node: &Node| {
        let map = &node.view().assignment;
        let row = map.nodes.iter().find(|row| row.id.as_str() == first.name);
        row.is_some_and(|row| row.status == NodeStatus::Down)
    };
    for node in &nodes {
        eventually("it has the new map", || is_down(node)).await;
        assert!(node.view().assignment.term > term && node.view().assignment.epoch > epoch);
        assert_eq!(owners(node), before);
        assert!(node.control.readiness().is_ok(), "the data path goes on");
    }
    stage.ensemble.mend(first.name);
    eventually("it is registered again", || {
        let nodes = others[0].status().nodes;
        nodes.iter().all(|node| node.status == "up" && node.registered)
    })
    .await;
    assert_eq!(owners(others[0]), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_does_not_know_of_its_successor_cannot_publish() {
    let mut stage = Stage::new(3).await;
    stage.verify_interval = Duration::from_hours(1);
    let (_, nodes) = stage.placed().await;
    let old = leader(&nodes).await;
    let term = old.view().assignment.term;
    stage.ensemble.hold_watches(old.name);
    assert!(stage.ensemble.delete(&format!("{}/leader", super::stage::ROOT)));
    let mut successor = None;
    eventually("another leads", || {
        successor = nodes.iter().find(|node| node.name != old.name && node.leads());
        successor.is_some()
    })
    .await;
    let successor = successor.expect("waited for");
    assert!(old.leads(), "nothing has told it");
    old.control.expired(Day(70));
    eventually("it was told by the refusal", || !old.leads()).await;
    let refused =
        r#"rangekeeper_coordination_requests_total{operation="publish",outcome="refused"}"#;
    assert_eq!(old.metric(refused), 1.0);
    successor.control.expired(Day(60));
    let view = successor.epoch(2).await;
    assert_eq!(view.assignment.retention_floor, Day(60));
    assert!(view.assignment.term > term && view.assignment.term > Term(1));
    stage.ensemble.release_watches(old.name);
    assert_eq!(old.epoch(2).await.assignment.retention_floor, Day(60));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_node_gets_a_row_of_its_own_and_its_repair_is_only_proposed() {
    let stage = Stage::new(3).await;
    let (parts, mut nodes) = stage.placed().await;
    let before = owners(&nodes[0]);
    nodes.pop().expect("there are three").stop().await;
    let wiped = Part { folder: "c2", store: 31, ..parts[2].clone() };
    let c = stage.start(&wiped).await;
    let mut views = c.control.views();
    let has_row = |view: &Option<std::sync::Arc<rangekeeper_cluster::MapView>>| {
        view.as_ref().is_some_and(|view| view.me.is_some())
    };
    tokio::time::timeout(super::stage::PATIENCE, views.wait_for(has_row))
        .await
        .expect("it gets a row")
        .expect("the agent is there");
    let view = c.view();
    let old = view.assignment.row(&node_id("c"), rangekeeper_model::StoreId::of(30));
    let old = old.expect("rows stay");
    assert_eq!(view.assignment.node(old).status, NodeStatus::Lost);
    assert_eq!(view.assignment.shards, before, "the slots are the old store's");
    assert!(c.control.peer(old).is_none(), "the old store is nowhere");
    nodes.push(c);
    let leader = leader(&nodes).await;
    let new = view.me.expect("waited for").0;
    eventually("repairs are proposed", || leader.status().proposals.len() == 16).await;
    for proposal in leader.status().proposals {
        assert_eq!((proposal.kind, proposal.from, proposal.to), ("repair", old.0, new));
    }
    let series = r#"rangekeeper_control_proposals_pending{kind="repair"}"#;
    assert_eq!(leader.metric(series), 16.0);
    for node in &nodes {
        eventually("all shards lack a copy", || {
            node.metric("rangekeeper_control_shards_below_replication") == 16.0
        })
        .await;
        let is_steady = |shard: &Shard| {
            shard.slots.iter().all(|slot| matches!(slot.state, SlotState::Steady { .. }))
        };
        assert!(owners(node).iter().all(is_steady), "proposed, not published");
    }
    eventually("it is ready: it routes, and holds nothing", || {
        nodes[2].control.readiness().is_ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_operator_wants_is_seen_everywhere_and_done_by_the_leader() {
    let stage = Stage::new(3).await;
    let (_, nodes) = stage.placed().await;
    let operator = stage.coordination("operator");
    let drain = Intent::Drain(node_id("b"));
    operator.declare(&drain, &bytes::Bytes::new()).await.expect("it can be written");
    operator.declare(&Intent::Freeze, &bytes::Bytes::new()).await.expect("it can be written");
    let gone = bytes::Bytes::from_static(br#"["z"]"#);
    operator.declare(&Intent::Confirm, &gone).await.expect("it can be written");
    for node in &nodes {
        eventually("its status has them", || {
            let intents = node.status().intents;
            intents.draining == ["b"] && intents.frozen && intents.confirmed_gone == ["z"]
        })
        .await;
        eventually("the map has it", || {
            let status = node.status();
            status.nodes.iter().any(|row| row.id == "b" && row.status == "draining")
        })
        .await;
    }
    operator.withdraw(&drain).await.expect("it can be taken back");
    for node in &nodes {
        eventually("it is over", || node.status().nodes.iter().all(|row| row.status == "up")).await;
    }
    operator.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ensemble_that_forgot_the_map_does_not_make_the_nodes_forget_it() {
    let stage = Stage::new(3).await;
    let (parts, nodes) = stage.placed().await;
    let before = owners(&nodes[0]);
    let is_first_leader = leader(&nodes).await.name;
    for node in nodes {
        node.stop().await;
    }
    let path = format!("{}/assignment", super::stage::ROOT);
    assert!(stage.ensemble.delete(&path));
    stage.ensemble.create(&path, b"");
    // The one that comes first has never had a map, so only the others can tell it.
    let fresh = Part::new("d", 40);
    let mut restarted = vec![stage.start(&fresh).await];
    eventually("it is elected", || {
        restarted[0].status().leader.is_some_and(|leader| leader.is_self)
    })
    .await;
    assert!(parts.iter().any(|part| part.name == is_first_leader));
    for part in &parts {
        restarted.push(stage.start(&part.again()).await);
    }
    eventually("it says so", || restarted[0].has_alarm("missing_assignment")).await;
    assert_eq!(stage.ensemble.read(&path).expect("it is there"), b"".as_slice());
    for node in &restarted[1..] {
        assert_eq!(owners(node), before);
        eventually("it serves", || node.control.readiness().is_ok()).await;
    }
}
