//! Rows: how they are gathered, how answers find their callers, and what a caller is told when
//! they did not arrive.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rangekeeper_cluster::proto::{self, ShardState};
use rangekeeper_cluster::{PeerError, PeersOptions, Urgency, View, limits};
use tokio::task::JoinSet;

use super::harness::{
    FREE, HELD, Node, call, call_within, metric, options, peer_of, peers_of, rows, samples, until,
};

#[tokio::test]
async fn rows_of_many_calls_go_in_one_frame_and_each_caller_gets_its_own_answer() {
    let node = Node::start("a", 10);
    let bytes = (1..=9).map(|count| rows(0..count, true).len()).sum();
    // Only all nine fill the frame.
    let gathering =
        PeersOptions { frame_bytes: bytes, frame_wait: Duration::from_hours(1), ..options() };
    let (peers, registry) = peers_of(&[&node], gathering);
    let mut calls = JoinSet::new();
    for count in 1..=9 {
        let peer = peer_of(&peers, "a");
        calls.spawn(async move { (count, peer.write(FREE, rows(0..count, true), call()).await) });
    }
    while let Some(done) = calls.join_next().await {
        let (count, answer) = done.expect("it did not panic");
        assert_eq!(samples(&answer), u64::try_from(count).expect("it is small"));
        assert_eq!(answer.expect("it is answered").position, Some(42));
    }
    assert_eq!(*node.handler.parts_by_frame.lock(), [9]);
    assert_eq!(metric(&registry, r#"rangekeeper_peer_frames_total{peer="a"}"#), Some(1.0));
    assert_eq!(metric(&registry, r#"rangekeeper_peer_queue_bytes{peer="a"}"#), Some(0.0));
    let ok = r#"rangekeeper_peer_requests_total{kind="write",outcome="ok",peer="a"}"#;
    assert_eq!(metric(&registry, ok), Some(9.0));
}

#[tokio::test]
async fn a_frame_that_is_not_full_goes_all_the_same() {
    let node = Node::start("a", 10);
    let gathering = PeersOptions { frame_bytes: limits::FRAME_BYTES, ..options() };
    let (peers, _) = peers_of(&[&node], gathering);
    let answer = peer_of(&peers, "a").write(FREE, rows(0..5, true), call()).await;
    assert_eq!(samples(&answer), 5);
}

#[tokio::test]
async fn rows_that_the_peer_does_not_know_come_back_and_are_stored_with_their_labels() {
    let node = Node::start("a", 10);
    let (peers, _) = peers_of(&[&node], options());
    let peer = peer_of(&peers, "a");
    assert_eq!(samples(&peer.write(FREE, rows([1, 3], true), call()).await), 2);
    let answer = peer.write(FREE, rows([1, 2, 3, 4], false), call()).await.expect("answered");
    assert_eq!(answer.unknown_rows, [1, 3]);
    assert_eq!(samples(&peer.write(FREE, rows([2, 4], true), call()).await), 2);
    let answer = peer.write(FREE, rows([1, 2, 3, 4], false), call()).await;
    assert_eq!(samples(&answer), 4);
}

#[tokio::test]
async fn what_is_wrong_with_shards_and_rows_reaches_the_caller_whole() {
    let node = Node::start("a", 10);
    let states = [
        ShardState::Stale,
        ShardState::NotReady,
        ShardState::WrongStore,
        ShardState::Shed,
        ShardState::Damaged,
    ];
    let view = Some(View::of(1, 8, 3).into());
    let faults = (0..).zip(states).map(|(shard, state)| proto::ShardFault {
        shard,
        state: state.into(),
        view,
        text: format!("shard {shard}"),
    });
    let rejected = proto::RejectedRow { row: 1, reason: "old".into(), text: "too old".into() };
    let scripted = proto::PartAnswer {
        faults: faults.collect(),
        rejected: vec![rejected],
        ..proto::PartAnswer::default()
    };
    *node.handler.answer.lock() = Some(scripted.clone());
    let (peers, _) = peers_of(&[&node], options());
    let answer = peer_of(&peers, "a").write(FREE, rows([1], true), call()).await;
    let answer = answer.expect("a fault of a shard is no failure of the call");
    assert_eq!((answer.faults, answer.rejected), (scripted.faults, scripted.rejected));
}

#[tokio::test]
async fn a_frame_that_waits_holds_up_neither_later_ones_nor_other_peers() {
    let (a, b) = (Node::start("a", 10), Node::start("b", 20));
    let (peers, _) = peers_of(&[&a, &b], options());
    let peer = peer_of(&peers, "a");
    let held = tokio::spawn(async move { peer.write(HELD, rows(0..7, true), call()).await });
    until(&a.handler.begun, |begun| *begun == 1).await;
    for node in ["a", "b"] {
        let answer = peer_of(&peers, node).write(FREE, rows(0..3, true), call()).await;
        assert_eq!(samples(&answer), 3, "node {node}");
    }
    a.handler.gate.send_replace(true);
    assert_eq!(samples(&held.await.expect("it did not panic")), 7);
}

#[tokio::test]
async fn a_full_queue_is_a_miss_at_once_and_has_room_again_after_the_answer() {
    let node = Node::start("a", 10);
    let (first, second) = (rows(0..100, true), rows(0..1, true));
    let queue_bytes = first.len() + limits::CALL_BYTES;
    let (peers, registry) = peers_of(&[&node], PeersOptions { queue_bytes, ..options() });
    let peer = peer_of(&peers, "a");
    let held = tokio::spawn(async move { peer.write(HELD, first, call()).await });
    until(&node.handler.begun, |begun| *begun == 1).await;
    let gauge = r#"rangekeeper_peer_queue_bytes{peer="a"}"#;
    #[expect(clippy::cast_precision_loss, reason = "some thousands")]
    let expected = queue_bytes as f64;
    assert_eq!(metric(&registry, gauge), Some(expected));
    let peer = peer_of(&peers, "a");
    let missed = peer.write(FREE, second.clone(), call()).await;
    assert_eq!(missed, Err(PeerError::QueueFull { node: "a".into() }));
    assert!(!peer.is_breaker_open());
    node.handler.gate.send_replace(true);
    assert_eq!(samples(&held.await.expect("it did not panic")), 100);
    assert_eq!(samples(&peer.write(FREE, second, call()).await), 1);
    let misses = r#"rangekeeper_peer_requests_total{kind="write",outcome="queue_full",peer="a"}"#;
    assert_eq!(metric(&registry, misses), Some(1.0));
}

#[tokio::test]
async fn a_call_that_was_not_sent_in_time_is_taken_back_and_known_not_to_be_there() {
    let node = Node::start("a", 10);
    let (small, filling) = (rows(0..1, true), rows(0..9, true));
    let gathering = PeersOptions {
        frame_bytes: small.len() + filling.len(),
        frame_wait: Duration::from_hours(1),
        ..options()
    };
    let (peers, _) = peers_of(&[&node], gathering);
    let peer = peer_of(&peers, "a");
    let soon = call_within(Duration::from_millis(20), Urgency::MustTry);
    let answer = peer.write(FREE, small, soon).await;
    assert_eq!(answer, Err(PeerError::Expired { node: "a".into() }));
    assert_eq!(samples(&peer.write(FREE, filling, call()).await), 9);
    assert_eq!(*node.handler.parts_by_frame.lock(), [1], "what was taken back is not sent");
}

#[tokio::test]
async fn a_call_that_was_sent_and_is_not_answered_in_time_is_unknown() {
    let node = Node::start("a", 10);
    let (peers, _) = peers_of(&[&node], options());
    let peer = peer_of(&peers, "a");
    // The stream is open, so what follows is sent at once.
    assert_eq!(samples(&peer.write(FREE, rows(0..1, true), call()).await), 1);
    let soon = call_within(Duration::from_millis(200), Urgency::MustTry);
    let error = peer.write(HELD, rows(0..1, true), soon).await.expect_err("it is held");
    assert_eq!(error, PeerError::Deadline { node: "a".into() });
    assert!(error.is_unknown());
    // Its answer still comes, and is nobody's.
    node.handler.gate.send_replace(true);
    assert_eq!(samples(&peer.write(FREE, rows(0..2, true), call()).await), 2);
}

#[tokio::test]
async fn a_frame_that_is_never_answered_is_given_up_and_does_not_block_its_peer() {
    let node = Node::start("a", 10);
    let hasty = PeersOptions { frame_timeout: Duration::from_millis(50), ..options() };
    let (peers, _) = peers_of(&[&node], hasty);
    let peer = peer_of(&peers, "a");
    let error = peer.write(HELD, rows([1], true), call()).await.expect_err("it is held");
    assert!(matches!(error, PeerError::Lost { .. }) && error.is_unknown(), "{error:?}");
    assert_eq!(samples(&peer.write(FREE, rows([1], true), call()).await), 1);
}

#[tokio::test]
async fn no_more_frames_are_in_flight_than_are_allowed() {
    const CALLS: usize = limits::FRAMES_IN_FLIGHT * 3;
    let node = Node::start("a", 10);
    let (peers, _) = peers_of(&[&node], options());
    let mut calls = JoinSet::new();
    for _ in 0..CALLS {
        let peer = peer_of(&peers, "a");
        calls.spawn(async move { samples(&peer.write(HELD, rows(0..1, true), call()).await) });
    }
    until(&node.handler.begun, |begun| *begun == limits::FRAMES_IN_FLIGHT).await;
    node.handler.gate.send_replace(true);
    assert_eq!(calls.join_all().await.into_iter().sum::<u64>(), CALLS as u64);
    assert_eq!(node.handler.most_in_hand.load(Ordering::SeqCst), limits::FRAMES_IN_FLIGHT);
}

#[tokio::test]
async fn rows_beyond_the_limit_are_not_sent() {
    let node = Node::start("a", 10);
    let (peers, _) = peers_of(&[&node], options());
    let bytes = limits::PART_BYTES + 1;
    let answer = peer_of(&peers, "a").write(FREE, vec![0; bytes].into(), call()).await;
    let limit = limits::PART_BYTES;
    assert_eq!(answer, Err(PeerError::TooLarge { node: "a".into(), bytes, limit }));
    assert_eq!(node.handler.seen.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_part_as_large_as_allowed_arrives() {
    let node = Node::start("a", 10);
    let gathering = PeersOptions { queue_bytes: 2 * limits::PART_BYTES, ..options() };
    let (peers, _) = peers_of(&[&node], gathering);
    let row_bytes = rows([1], false).len();
    let count = (limits::PART_BYTES - 1000) / row_bytes;
    let large = rows(0..count as u128, false);
    assert!(large.len() > limits::FRAME_BYTES * 16, "{} bytes", large.len());
    let answer = peer_of(&peers, "a").write(FREE, large, call()).await.expect("it fits");
    assert_eq!(answer.unknown_rows.len(), count);
}
