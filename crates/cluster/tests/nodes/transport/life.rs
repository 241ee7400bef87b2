//! Ends: a peer that dies or stops, a peer that is taken off the list, a node that stops itself.

use std::time::Duration;

use rangekeeper_cluster::{
    Drained, Peer, PeerAddress, PeerError, PeersOptions, ServerOptions, Urgency,
};
use rangekeeper_model::StoreId;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::harness::{
    FREE, HELD, Node, Spot, call, call_within, metric, options, peer_of, peers_of, rows, samples,
    until,
};

type Answer = Result<rangekeeper_cluster::proto::PartAnswer, PeerError>;

/// A write that reached the handler, and waits there.
async fn held(peer: &Peer, node: &Node) -> JoinHandle<Answer> {
    let peer = peer.clone();
    let writing = tokio::spawn(async move { peer.write(HELD, rows([1], true), call()).await });
    until(&node.handler.begun, |begun| *begun > 0).await;
    writing
}

#[tokio::test]
async fn what_a_killed_peer_had_in_hand_is_unknown_and_its_successor_is_found() {
    let spot = Spot::new();
    let node = Node::start_at(&spot, "a", 10, &ServerOptions::default());
    let (peers, _) = peers_of(&[&node], options());
    let peer = peer_of(&peers, "a");
    let in_flight = held(&peer, &node).await;
    node.kill().await;
    let error = in_flight.await.expect("it did not panic").expect_err("nobody answers");
    assert!(matches!(error, PeerError::Lost { .. }) && error.is_unknown(), "{error:?}");
    let error = peer.write(FREE, rows([1], true), call()).await.expect_err("nobody is there");
    assert!(matches!(error, PeerError::Unreachable { .. }) && !error.is_unknown(), "{error:?}");

    let _node = Node::start_at(&spot, "a", 10, &ServerOptions::default());
    let must = call_within(Duration::from_secs(20), Urgency::MustTry);
    assert_eq!(samples(&peer.write(FREE, rows([1, 2], true), must).await), 2);
}

#[tokio::test]
async fn a_peer_that_takes_connections_and_says_nothing_has_not_seen_the_write() {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("there is a port");
    let address = silent.local_addr().expect("it is bound").to_string();
    let (peers, _) = peers_of(&[], PeersOptions { breaker_failures: 1, ..options() });
    peers.update([PeerAddress { node: "a".into(), address, store: StoreId::of(10) }]);
    let peer = peer_of(&peers, "a");
    let soon = || call_within(Duration::from_millis(50), Urgency::MustTry);
    let answer = peer.write(FREE, rows([1], true), soon()).await;
    assert_eq!(answer, Err(PeerError::Expired { node: "a".into() }));
    let probed = peer.probe(soon()).await.map(drop);
    assert_eq!(probed, Err(PeerError::Deadline { node: "a".into() }));
    assert!(peer.is_breaker_open());
}

#[tokio::test]
async fn a_node_that_stops_answers_what_it_has_and_takes_nothing_more() {
    let node = Node::start("a", 10);
    let (peers, _) = peers_of(&[&node], options());
    let peer = peer_of(&peers, "a");
    let in_flight = held(&peer, &node).await;
    node.stop.cancel();
    let error = loop {
        // A call that was sent just before the peer stopped reading has no answer.
        match peer.probe(call()).await {
            Ok(_) => tokio::task::yield_now().await,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, PeerError::Unreachable { .. } | PeerError::Lost { .. }), "{error:?}");
    assert!(!in_flight.is_finished());
    node.handler.gate.send_replace(true);
    assert_eq!(samples(&in_flight.await.expect("it did not panic")), 1);
    assert_eq!(node.serving.await.expect("it did not panic"), Drained::Whole);
}

#[tokio::test]
async fn a_node_that_stops_waits_only_so_long() {
    let hasty = ServerOptions { drain: Duration::from_millis(50), ..ServerOptions::default() };
    let node = Node::start_with("a", 10, &hasty);
    let (peers, _) = peers_of(&[&node], options());
    let in_flight = held(&peer_of(&peers, "a"), &node).await;
    node.stop.cancel();
    assert_eq!(node.serving.await.expect("it did not panic"), Drained::Cut);
    let error = in_flight.await.expect("it did not panic").expect_err("it was cut");
    assert!(error.is_unknown(), "{error:?}");
}

#[tokio::test]
async fn a_peer_that_is_taken_off_the_list_is_not_asked_any_more_and_others_are_kept() {
    let (a, b) = (Node::start("a", 10), Node::start("b", 20));
    let (peers, registry) = peers_of(&[&a, &b], options());
    let (peer_a, peer_b) = (peer_of(&peers, "a"), peer_of(&peers, "b"));
    let (lost, kept) = (held(&peer_a, &a).await, held(&peer_b, &b).await);
    peers.update([b.peer_address()]);
    let error = lost.await.expect("it did not panic").expect_err("it was given up");
    assert!(error.is_unknown(), "{error:?}");
    let stopped = Err(PeerError::Stopped { node: "a".into() });
    assert_eq!(peer_a.write(FREE, rows([1], true), call()).await, stopped);
    assert_eq!(peer_a.probe(call()).await.map(drop), stopped.map(drop));
    assert!(peers.peer("a").is_none());
    assert_eq!(metric(&registry, r#"rangekeeper_peer_queue_bytes{peer="a"}"#), None);
    b.handler.gate.send_replace(true);
    assert_eq!(samples(&kept.await.expect("it did not panic")), 1);
}

#[tokio::test]
async fn a_node_that_comes_back_with_another_data_folder_is_another_peer() {
    let node = Node::start("a", 10);
    let (peers, _) = peers_of(&[], options());
    peers.update([PeerAddress { store: StoreId::of(9), ..node.peer_address() }]);
    let before = peer_of(&peers, "a");
    let refused = before.write(FREE, rows([1], true), call()).await;
    assert!(matches!(refused, Err(PeerError::Refused { .. })), "{refused:?}");
    peers.update([node.peer_address()]);
    let after = peer_of(&peers, "a");
    assert_eq!((before.store(), after.store()), (StoreId::of(9), StoreId::of(10)));
    assert_eq!(samples(&after.write(FREE, rows([1], true), call()).await), 1);
}

#[tokio::test]
async fn stopping_ends_every_call_and_waits_for_everything_that_ran() {
    let node = Node::start("a", 10);
    let (peers, registry) = peers_of(&[&node], options());
    let peer = peer_of(&peers, "a");
    let in_flight = held(&peer, &node).await;
    peer.probe(call()).await.expect("it is answered");
    peers.shutdown().await;
    let error = in_flight.await.expect("it did not panic").expect_err("it was given up");
    assert!(error.is_unknown(), "{error:?}");
    for connection in ["control", "write"] {
        let series =
            format!(r#"rangekeeper_peer_connections{{connection="{connection}",peer="a"}}"#);
        assert_eq!(metric(&registry, &series), Some(0.0));
    }
    let stopped = Err(PeerError::Stopped { node: "a".into() });
    assert_eq!(peer.write(FREE, rows([1], true), call()).await, stopped);
    until(&node.handler.begun, |begun| *begun == 1).await;
}
