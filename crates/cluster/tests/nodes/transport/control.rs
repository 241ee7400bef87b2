//! How peers learn about each other: probes, assignments, settled notices, and the breaker.

use std::time::Duration;

use bytes::Bytes;
use rangekeeper_cluster::proto::{self, Readiness};
use rangekeeper_cluster::{
    OfferedAssignment, PeerAddress, PeerError, Peers, PeersOptions, Probed, Report, ServerOptions,
    Speaker, Urgency, View, limits,
};
use rangekeeper_model::{Epoch, StoreId};
use rangekeeper_telemetry::Registry;

use super::harness::{
    FREE, Node, Spot, call, call_within, metric, options, own, peer_of, peers_of, rows, samples,
};

const NEWER: View = View::of(1, 6, 2);

#[tokio::test]
async fn a_probe_tells_how_the_peer_is_and_what_it_has_applied() {
    let node = Node::start("a", 10);
    node.local.apply(NEWER);
    *node.handler.report.lock() =
        Report { readiness: Readiness::NotReady, text: "replaying the log".into() };
    let (peers, registry) = peers_of(&[&node], options());
    let peer = peer_of(&peers, "a");
    let answer = peer.probe(call()).await.expect("it is answered");
    assert_eq!(answer.readiness(), Readiness::NotReady);
    assert_eq!(answer.text, "replaying the log");
    let speaker = peer.health().borrow().speaker.clone().expect("it was heard");
    let (node_name, store) = ("a".to_owned(), StoreId::of(10));
    let expected = Speaker { node: node_name, store, boot: 1, view: NEWER, clock_ahead_ms: 4_000 };
    assert_eq!(speaker, expected);
    let offset = r#"rangekeeper_peer_clock_offset_seconds{peer="a"}"#;
    assert_eq!(metric(&registry, offset), Some(4.0));
    let open = r#"rangekeeper_peer_connections{connection="control",peer="a"}"#;
    assert_eq!(metric(&registry, open), Some(1.0));
}

#[tokio::test]
async fn what_a_peer_has_applied_is_seen_in_the_answers_to_writes_too() {
    let node = Node::start("a", 10);
    let (peers, _) = peers_of(&[&node], options());
    let peer = peer_of(&peers, "a");
    for epoch in [6, 7] {
        let view = View { epoch: Epoch(epoch), ..NEWER };
        node.local.apply(view);
        assert_eq!(samples(&peer.write(FREE, rows([1], true), call()).await), 1);
        let speaker = peer.health().borrow().speaker.clone().expect("it was heard");
        assert_eq!(speaker.view, view);
    }
}

#[tokio::test]
async fn a_newer_assignment_is_offered_with_a_probe_or_fetched_if_it_is_large() {
    let node = Node::start("a", 10);
    let probing = PeersOptions { probe_every: Some(Duration::from_millis(5)), ..options() };
    let local = own();
    let (peers, mut offers) = Peers::new(local.clone(), probing, &Registry::new());
    peers.update([node.peer_address()]);
    let small = Bytes::from_static(b"an assignment");
    *node.handler.assignment.lock() = Some((NEWER, small.clone()));
    node.local.apply(NEWER);
    let offer = offers.recv().await.expect("it is offered");
    let expected = OfferedAssignment { node: "a".into(), view: NEWER, assignment: Some(small) };
    assert_eq!(offer, expected);

    let large = Bytes::from(vec![1; limits::PROBE_ASSIGNMENT_BYTES + 1]);
    *node.handler.assignment.lock() = Some((NEWER, large.clone()));
    let fetched = peer_of(&peers, "a").newer_assignment(call()).await;
    assert_eq!(fetched, Ok(Some(large)));
    while offers.recv().await.expect("it is offered").assignment.is_some() {}

    local.apply(NEWER);
    assert_eq!(peer_of(&peers, "a").newer_assignment(call()).await, Ok(None));
}

#[tokio::test]
async fn settled_notices_reach_the_handler() {
    let node = Node::start("a", 10);
    let (peers, _) = peers_of(&[&node], options());
    let notice =
        proto::Settled { view: Some(NEWER.into()), positions: vec![4, 9], shards: vec![1, 255] };
    let settled = vec![notice.clone()];
    let request = proto::SettleRequest { settled, ..proto::SettleRequest::default() };
    let told = peer_of(&peers, "a").settle(request, call()).await;
    assert_eq!(told, Ok(()));
    assert_eq!(*node.handler.settled.borrow(), [notice]);
}

#[tokio::test]
async fn chunks_are_delivered_and_the_answer_says_what_is_held() {
    let node = Node::start("a", 10);
    let (peers, _) = peers_of(&[&node], options());
    let series = Bytes::from_static(&[7; 16]);
    let chunk = proto::DeliveredChunk {
        day: 20_000,
        window_in_day: 3,
        series: series.clone(),
        tenant: "anonymous".to_owned(),
        ..proto::DeliveredChunk::default()
    };
    let chunks = vec![chunk];
    let request = proto::DeliverRequest { chunks, ..proto::DeliverRequest::default() };
    let answer = peer_of(&peers, "a").deliver(request, call()).await.expect("it answers");
    let held = proto::HeldChunk { day: 20_000, window_in_day: 3, series, mark: 1 };
    assert_eq!(answer.held, [held]);
}

#[tokio::test]
async fn the_breaker_opens_is_passed_by_what_must_be_tried_and_closes_on_a_message() {
    let spot = Spot::new();
    let address = spot.address.to_string();
    let registry = Registry::new();
    let (peers, _) =
        Peers::new(own(), PeersOptions { breaker_failures: 2, ..options() }, &registry);
    peers.update([PeerAddress { node: "a".into(), address, store: StoreId::of(10) }]);
    let peer = peer_of(&peers, "a");
    for _ in 0..2 {
        let error = peer.probe(call()).await.map(drop).expect_err("nobody listens");
        assert!(matches!(error, PeerError::Unreachable { .. }), "{error:?}");
    }
    let open = r#"rangekeeper_peer_breaker_open{peer="a"}"#;
    assert_eq!(metric(&registry, open), Some(1.0));
    let missed = PeerError::BreakerOpen { node: "a".into() };
    assert_eq!(peer.write(FREE, rows([1], true), call()).await, Err(missed.clone()));
    let request = proto::SelectRequest::default();
    assert_eq!(peer.select(request, call()).await.map(drop), Err(missed));
    // It was rightly not asked; what must be tried is, and finds nobody.
    let must = || call_within(Duration::from_secs(20), Urgency::MustTry);
    let error = peer.write(FREE, rows([1], true), must()).await.expect_err("nobody listens");
    assert!(matches!(error, PeerError::Unreachable { .. }), "{error:?}");
    assert!(!error.is_unknown());

    let _node = Node::start_at(&spot, "a", 10, &ServerOptions::default());
    assert_eq!(samples(&peer.write(FREE, rows([1], true), must()).await), 1);
    assert!(!peer.is_breaker_open());
    assert_eq!(metric(&registry, open), Some(0.0));
    assert_eq!(samples(&peer.write(FREE, rows([1], true), call()).await), 1);
}

#[tokio::test]
async fn probing_closes_the_breaker_by_itself() {
    let spot = Spot::new();
    let address = spot.address.to_string();
    let probing = PeersOptions {
        breaker_failures: 1,
        probe_every: Some(Duration::from_millis(5)),
        ..options()
    };
    let (peers, _) = Peers::new(own(), probing, &Registry::new());
    peers.update([PeerAddress { node: "a".into(), address, store: StoreId::of(10) }]);
    let peer = peer_of(&peers, "a");
    let mut health = peer.health();
    let failed = health.wait_for(|health| matches!(health.probed, Probed::Failed(_))).await;
    assert!(failed.is_ok_and(|health| health.speaker.is_none()));
    assert!(peer.is_breaker_open());
    let _node = Node::start_at(&spot, "a", 10, &ServerOptions::default());
    let answered = Probed::Answered { readiness: Readiness::Ready, text: String::new() };
    let healthy = health.wait_for(|health| health.probed == answered).await;
    assert!(healthy.is_ok_and(|health| health.speaker.is_some()));
    assert!(!peer.is_breaker_open());
}
