//! Starting with and without ZooKeeper.

use std::fs;
use std::time::Duration;

use rangekeeper_cluster::ControlError;
use rangekeeper_coordination::Error;
use rangekeeper_model::{ClusterId, Day, ShardId};
use rangekeeper_placement::{Place, Verdict};

use super::stage::{Part, Stage, eventually, leader, parts};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_start_without_zookeeper_serve_the_newest_map_that_one_of_them_has() {
    let stage = Stage::new(3).await;
    let (parts, mut nodes) = stage.placed().await;
    let c = nodes.pop().expect("there are three");
    c.stop().await;
    // That c is down is an epoch that it has missed.
    for node in &nodes {
        node.epoch(2).await;
    }
    let leader = leader(&nodes).await;
    leader.control.expired(Day(7));
    let mut epoch = 0;
    eventually("both have the floor", || {
        epoch = nodes[0].view().assignment.epoch.0;
        nodes.iter().all(|node| node.control.retention_floor() == Day(7))
    })
    .await;
    stage.ensemble.kill_all();
    for node in nodes {
        node.stop().await;
    }
    // What it gets it cannot use at once.
    let beside = stage.folder("c").join("assignment.new");
    fs::create_dir(&beside).expect("nothing is there");
    let c = stage.start(&parts[2].again()).await;
    assert_eq!(c.view().assignment.epoch.0, 1, "what its folder has");
    let why = c.control.readiness().expect_err("nobody was asked yet");
    assert!(why.contains("peers are asked"), "{why}");
    let me = c.view().me.expect("it has a row");
    let place = c.view().assignment.shard(ShardId(0)).place_of(me).expect("it has every shard");
    let version = c.view().assignment.version();
    let verdict = c.control.judge_read(ShardId(0), place, version, c.store);
    assert_eq!(verdict, Verdict::NotReady, "it may have been replaced by a newer map");
    let b = stage.start(&parts[1].again()).await;
    eventually("it has got the newer one", || c.has_alarm("assignment_not_kept")).await;
    assert!(c.control.readiness().is_err_and(|why| why.contains("peers are asked")));
    fs::remove_dir(&beside).expect("it is empty");
    c.epoch(epoch).await;
    let why = c.control.readiness().expect_err("a was not asked yet");
    assert!(why.contains("peers are asked"), "{why}");
    let a = stage.start(&parts[0].again()).await;
    for node in [&a, &b, &c] {
        eventually("it is ready", || node.control.readiness().is_ok()).await;
        assert_eq!(node.view().assignment.epoch.0, epoch);
        assert_eq!(node.status().session.state, "connecting");
    }
    let kept = fs::read(stage.folder("c").join("assignment")).expect("it is there");
    let kept = rangekeeper_placement::Assignment::decode(&kept).expect("it is whole");
    assert_eq!(kept.epoch.0, epoch, "on disk too");

    stage.ensemble.start_all();
    for node in [&a, &b, &c] {
        eventually("it is registered", || {
            let status = node.status();
            status.session.registration == "registered"
                && status.nodes.iter().all(|row| row.status == "up")
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_starts_alone_asks_its_peers_only_for_a_while() {
    let stage = Stage::new(3).await;
    let (parts, nodes) = stage.placed().await;
    for node in nodes {
        node.stop().await;
    }
    stage.ensemble.kill_all();
    let part = Part { start_wait: Duration::from_millis(50), ..parts[0].again() };
    let a = stage.start(&part).await;
    eventually("it is ready", || a.control.readiness().is_ok()).await;
    let view = a.view();
    let me = view.me.expect("it has a row");
    let place = view.assignment.shard(ShardId(3)).place_of(me).expect("it has every shard");
    let version = view.assignment.version();
    assert_eq!(a.control.judge_write(ShardId(3), place, version, a.store), Verdict::Ok);
    eventually("nobody else is there", || {
        a.metric("rangekeeper_control_shards_below_replication") == 16.0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_not_ready_until_the_log_is_replayed_and_nowhere_where_it_is_damaged() {
    let stage = Stage::new(3).await;
    let parts = parts();
    let mut nodes = Vec::new();
    for part in &parts {
        nodes.push(stage.try_start(part).await.expect("it can join"));
    }
    let a = &nodes[0].control;
    let view = nodes[0].epoch(1).await;
    let (version, store) = (view.assignment.version(), nodes[0].store);
    let me = view.me.expect("it has a row");
    let place = |shard| view.assignment.shard(shard).place_of(me).expect("it has every shard");
    let write = |shard| a.judge_write(shard, place(shard), version, store);
    let read = |shard| a.judge_read(shard, place(shard), version, store);
    assert_eq!((write(ShardId(1)), read(ShardId(1))), (Verdict::NotReady, Verdict::NotReady));
    eventually("that is what it waits for", || {
        a.readiness() == Err("the log is being replayed".to_owned())
    })
    .await;
    a.replayed();
    assert_eq!((write(ShardId(1)), read(ShardId(1))), (Verdict::Ok, Verdict::Ok));
    assert_eq!(a.readiness(), Ok(()));
    assert_eq!(a.given(version), version.epoch);
    let other = Place((place(ShardId(1)).0 + 1) % 3);
    let stale = Verdict::StaleEpoch { mine: version.epoch };
    assert_eq!(a.judge_write(ShardId(1), other, version, store), stale);
    a.damaged(ShardId(1));
    assert!(a.is_damaged(ShardId(1)) && !a.is_damaged(ShardId(2)));
    assert_eq!((read(ShardId(1)), read(ShardId(2))), (Verdict::NotReady, Verdict::Ok));
    assert!(a.readiness().is_ok(), "the rest goes on");
    a.suspected("the machine went down before all was on disk");
    assert_eq!(read(ShardId(2)), Verdict::NotReady);
    assert!(a.readiness().is_err_and(|why| why.contains("the machine went down")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_cache_is_as_good_as_none() {
    let stage = Stage::new(3).await;
    let (parts, mut nodes) = stage.placed().await;
    nodes.remove(0).stop().await;
    let path = stage.folder("a").join("assignment");
    let mut bytes = fs::read(&path).expect("it is there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, &bytes).expect("it can be written");
    stage.ensemble.cut("a");
    let a = stage.start(&parts[0].again()).await;
    assert!(a.control.view().is_none());
    let why = a.control.readiness().expect_err("it knows of no map");
    assert!(why.contains("no assignment is known"), "{why}");
    stage.ensemble.mend("a");
    a.epoch(1).await;
    eventually("it is ready", || a.control.readiness().is_ok()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_joins_one_cluster_only_and_none_that_nobody_knows() {
    let stage = Stage::new(3).await;
    let (_, mut nodes) = stage.placed().await;
    nodes.remove(0).stop().await;
    stage.ensemble.kill_all();
    let unknown = stage.try_start(&Part::new("d", 40)).await.map(drop);
    assert!(matches!(unknown, Err(ControlError::Unknown { .. })), "{unknown:?}");
    for node in nodes {
        node.stop().await;
    }
    let nowhere = Stage::empty();
    let none = nowhere.join(&nowhere.folder("x")).await;
    assert!(matches!(none, Err(ControlError::Refused(Error::NotInitialized { .. }))), "{none:?}");
    let elsewhere = Stage::of(ClusterId::of(8), 3).await;
    let other = elsewhere.join(&stage.folder("a")).await;
    assert!(matches!(other, Err(ControlError::OtherCluster { .. })), "{other:?}");
}
