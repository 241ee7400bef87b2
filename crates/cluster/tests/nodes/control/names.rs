//! A name is one node's, and a folder is opened once.

use std::fs;

use rangekeeper_cluster::Status;
use rangekeeper_model::ShardId;
use rangekeeper_placement::Verdict;

use super::stage::{Part, Stage, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_node_of_a_name_is_not_ready_until_the_first_is_gone() {
    let stage = Stage::new(3).await;
    let (_, mut nodes) = stage.placed().await;
    let second = Part { folder: "other", ..Part::new("a", 99) };
    let second = stage.start(&second).await;
    let is_refused = || second.control.readiness().is_err_and(|why| why.contains("has that name"));
    eventually("it says why", is_refused).await;
    assert!(second.has_alarm("name_taken"));
    assert_eq!(second.metric(r#"rangekeeper_control_alarm_active{kind="name_taken"}"#), 1.0);
    assert_eq!(second.status().session.registration, "refused");
    nodes.remove(0).stop().await;
    eventually("it has the name", || second.control.readiness().is_ok()).await;
    assert!(!second.has_alarm("name_taken"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_a_folder_answers_for_nothing() {
    let stage = Stage::new(3).await;
    let (parts, nodes) = stage.placed().await;
    // Copied before the last start, and started more often than its original since.
    let copy = Part { folder: "copy", ..Part::new("a", parts[0].store) };
    let copy = stage.start(&copy.again().again()).await;
    eventually("it says why", || {
        copy.control.readiness().is_err_and(|why| why.contains("a copy of it"))
    })
    .await;
    let view = nodes[0].view();
    let version = view.assignment.version();
    let me = view.me.expect("it has a row");
    let place = view.assignment.shard(ShardId(0)).place_of(me).expect("it has every shard");
    let asked = |node: &super::stage::Node| {
        let (control, store) = (&node.control, node.store);
        let write = control.judge_write(ShardId(0), place, version, store);
        (write, control.judge_read(ShardId(0), place, version, store))
    };
    copy.epoch(1).await;
    assert_eq!(asked(&copy), (Verdict::NotReady, Verdict::NotReady));
    assert_eq!(asked(&nodes[0]), (Verdict::Ok, Verdict::Ok));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_state_of_a_folder_is_refused_however_often_it_is_started() {
    let stage = Stage::new(3).await;
    let (parts, mut nodes) = stage.placed().await;
    nodes.remove(0).stop().await;
    let second = parts[0].again();
    let a = stage.start(&second).await;
    eventually("it is ready", || a.control.readiness().is_ok()).await;
    assert!(a.status().nodes.iter().any(|row| row.is_self && row.boot == 2));
    a.stop().await;
    let mut older = parts[0].clone();
    for _ in 0..3 {
        older = older.again();
        let rolled_back = stage.start(&older).await;
        eventually("it says why", || {
            rolled_back.control.readiness().is_err_and(|why| why.contains("older copy"))
        })
        .await;
        assert_eq!(rolled_back.view().me, None);
        let row = |status: Status| status.nodes.into_iter().find(|row| row.id == "a");
        eventually("the others count it as lost", || {
            row(nodes[0].status()).is_some_and(|row| row.status == "lost" && row.boot == 2)
        })
        .await;
        rolled_back.stop().await;
    }
    let a = stage.start(&second.again()).await;
    eventually("its own folder is whole", || a.control.readiness().is_ok()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_answers_for_nothing_before_a_map_names_it() {
    let stage = Stage::new(3).await;
    let (parts, mut nodes) = stage.placed().await;
    let before = nodes[0].view().assignment.version();
    nodes.remove(0).stop().await;
    for node in &nodes {
        node.epoch(before.epoch.0 + 1).await;
    }
    // A folder of the name that maps are written under: what names the start is not used.
    let beside = stage.folder("a").join("assignment.new");
    fs::create_dir(&beside).expect("nothing is there");
    let a = stage.start(&parts[0].again()).await;
    eventually("it is offered the map", || a.has_alarm("assignment_not_kept")).await;
    eventually("it says what it waits for", || {
        a.control.readiness().is_err_and(|why| why.contains("does not name this start"))
    })
    .await;
    let view = a.view();
    let place = view.assignment.shard(ShardId(0)).place_of(view.me.expect("it has a row"));
    let place = place.expect("it has every shard");
    let asked = || a.control.judge_write(ShardId(0), place, view.assignment.version(), a.store);
    assert_eq!(asked(), Verdict::NotReady);
    let rows = a.status().nodes.len();
    fs::remove_dir(&beside).expect("it is empty");
    eventually("it is ready", || a.control.readiness().is_ok()).await;
    assert_eq!(asked(), Verdict::Ok);
    let view = a.view();
    assert_eq!(a.status().nodes.len(), rows, "it has the row that it had");
    let shards = &view.assignment.shards;
    assert!(shards.iter().all(|shard| shard.rsince <= before.epoch), "no request is refused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn starts_that_nobody_was_told_of_leave_no_gap() {
    let stage = Stage::new(3).await;
    let (parts, mut nodes) = stage.placed().await;
    nodes.remove(0).stop().await;
    let mut part = parts[0].clone();
    for _ in 0..40 {
        part = part.again();
    }
    let a = stage.start(&part).await;
    eventually("it is ready", || a.control.readiness().is_ok()).await;
}
