//! A name is one node's, and a folder is opened once.

use rangekeeper_model::ShardId;
use rangekeeper_placement::Verdict;

use crate::stage::{Part, Stage, eventually};

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
    let copy = Part { folder: "copy", ..Part::new("a", parts[0].store) };
    let copy = stage.start(&copy).await;
    eventually("it says why", || {
        copy.control.readiness().is_err_and(|why| why.contains("a copy of it"))
    })
    .await;
    let view = nodes[0].view();
    let version = view.assignment.version();
    let me = view.me.expect("it has a row");
    let place = view.assignment.shard(ShardId(0)).place_of(me).expect("it has every shard");
    let asked = |node: &crate::stage::Node| {
        let (control, store) = (&node.control, node.store);
        let write = control.judge_write(ShardId(0), place, version, store);
        (write, control.judge_read(ShardId(0), place, version, store))
    };
    copy.epoch(1).await;
    assert_eq!(asked(&copy), (Verdict::NotReady, Verdict::NotReady));
    assert_eq!(asked(&nodes[0]), (Verdict::Ok, Verdict::Ok));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_state_of_a_folder_is_found_by_its_count() {
    let stage = Stage::new(3).await;
    let (parts, mut nodes) = stage.placed().await;
    nodes.remove(0).stop().await;
    let third = parts[0].again().again();
    let a = stage.start(&third).await;
    eventually("the map has its count", || {
        a.status().nodes.iter().any(|row| row.is_self && row.boot == 3)
    })
    .await;
    a.stop().await;
    let rolled_back = stage.start(&parts[0].again()).await;
    eventually("it says why", || {
        rolled_back.control.readiness().is_err_and(|why| why.contains("older copy"))
    })
    .await;
    let view = rolled_back.view();
    assert_eq!(view.me, None);
}
