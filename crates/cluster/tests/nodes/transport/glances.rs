//! Small questions on one stream: whose answer is whose, and how questions and their stream end.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use rangekeeper_cluster::proto::{self, Reason};
use rangekeeper_cluster::{Drained, Peer, PeerError, PeersOptions, ServerOptions, Urgency};
use rangekeeper_model::StoreId;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use super::harness::{
    HELD_TENANT, Node, Script, Spot, call, call_within, metric, options, peer_of, peers_of, until,
};

type Answer = Result<proto::Glanced, PeerError>;

/// A question by which its answer is known.
fn question(number: u32) -> proto::GlanceRequest {
    let tenant = format!("t{number}");
    let unsettled_shards = Bytes::copy_from_slice(&number.to_le_bytes());
    proto::GlanceRequest { tenant, unsettled_shards, ..proto::GlanceRequest::default() }
}

fn held_question() -> proto::GlanceRequest {
    proto::GlanceRequest { tenant: HELD_TENANT.to_owned(), ..proto::GlanceRequest::default() }
}

/// Whether an answer is the one to the question of this number.
fn is_of(answer: &Answer, number: u32) -> bool {
    let series = &answer.as_ref().expect("it is answered").series;
    let last = series.last().expect("the question comes back");
    last.labels == format!("t{number}") && last.chunks == [number.to_le_bytes().as_slice()]
}

/// A question that reached the handler, and waits there.
async fn held(peer: &Peer, node: &Node) -> JoinHandle<Answer> {
    let peer = peer.clone();
    let asking = tokio::spawn(async move { peer.glance(held_question(), call()).await });
    until(&node.handler.working, |working| *working > 0).await;
    asking
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_many_questions_gets_its_own_answer_on_one_stream() {
    let node = Node::start("a", 10);
    let (peers, registry) = peers_of(&[&node], options());
    let peer = peer_of(&peers, "a");
    let waiting = held(&peer, &node).await;
    assert!(is_of(&peer.glance(question(500), call()).await, 500));
    assert!(!waiting.is_finished(), "the other did not wait for it");
    let mut asking = JoinSet::new();
    for number in 0..500 {
        let peer = peer.clone();
        asking.spawn(async move { (number, peer.glance(question(number), call()).await) });
    }
    while let Some(asked) = asking.join_next().await {
        let (number, answer) = asked.expect("it did not panic");
        assert!(is_of(&answer, number), "{number}: {answer:?}");
    }
    node.handler.gate.send_replace(true);
    assert!(waiting.await.expect("it did not panic").is_ok());
    let ok = r#"rangekeeper_peer_requests_total{kind="select",outcome="ok",peer="a"}"#;
    assert_eq!(metric(&registry, ok), Some(502.0));
    let served = r#"rangekeeper_peer_served_total{kind="select",outcome="ok"}"#;
    assert_eq!(metric(&node.registry, served), Some(502.0));
}

#[tokio::test]
async fn an_answer_of_a_whole_part_comes_in_one_frame() {
    let node = Node::start("a", 10);
    let chunks = vec![Bytes::from(vec![7; rangekeeper_cluster::limits::PART_TARGET_BYTES])];
    let series = proto::SelectedSeries { labels: Bytes::from_static(b"l"), chunks };
    let part = proto::SelectPart { series: vec![series.clone()], ..Default::default() };
    *node.handler.select.lock() = Script::Parts(vec![part]);
    let (peers, _) = peers_of(&[&node], options());
    for number in 0..20 {
        let answer = peer_of(&peers, "a").glance(question(number), call()).await;
        assert!(is_of(&answer, number));
        assert!(answer.expect("it is answered").series[0] == series);
    }
}

#[tokio::test]
async fn what_takes_longer_than_a_glance_is_to_be_asked_in_parts() {
    let node = Node::start("a", 10);
    let (peers, _) = peers_of(&[&node], options());
    let peer = peer_of(&peers, "a");
    let answer = held(&peer, &node).await.await.expect("it did not panic");
    let expected = proto::Glanced { too_large: true, ..proto::Glanced::default() };
    assert_eq!(answer, Ok(expected));
    until(&node.handler.working, |working| *working == 0).await;
    assert!(!peer.is_breaker_open());
}

#[tokio::test]
async fn the_deadline_holds_for_the_caller_and_ends_the_work_at_the_peer() {
    let node = Node::start("a", 10);
    *node.handler.select.lock() = Script::Silence;
    let (peers, _) = peers_of(&[&node], PeersOptions { breaker_failures: 1, ..options() });
    let peer = peer_of(&peers, "a");
    let soon = call_within(Duration::from_millis(100), Urgency::MustTry);
    let answer = peer.glance(question(1), soon).await;
    assert_eq!(answer, Err(PeerError::Deadline { node: "a".into() }));
    assert!(peer.is_breaker_open(), "it was silent");
    until(&node.handler.working, |working| *working == 0).await;
    let ended = r#"rangekeeper_peer_served_total{kind="select",outcome="deadline"}"#;
    assert_eq!(metric(&node.registry, ended), Some(1.0));
    // The stream is as good as before.
    *node.handler.select.lock() = Script::Parts(Vec::new());
    let must = call_within(Duration::from_secs(20), Urgency::MustTry);
    assert!(is_of(&peer.glance(question(2), must).await, 2));
    assert!(!peer.is_breaker_open());
}

#[tokio::test]
async fn what_never_says_a_word_is_not_waited_for_beyond_the_deadline() {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("there is a port");
    let address = silent.local_addr().expect("it is bound").to_string();
    let (peers, _) = peers_of(&[], options());
    let store = StoreId::of(10);
    peers.update([rangekeeper_cluster::PeerAddress { node: "a".into(), address, store }]);
    let soon = call_within(Duration::from_millis(300), Urgency::MustTry);
    let answer = peer_of(&peers, "a").glance(question(1), soon).await;
    assert_eq!(answer, Err(PeerError::Deadline { node: "a".into() }));
}

#[tokio::test]
async fn a_lost_stream_loses_its_questions_and_is_opened_again() {
    let spot = Spot::new();
    let node = Node::start_at(&spot, "a", 10, &ServerOptions::default());
    let (peers, _) = peers_of(&[&node], options());
    let peer = peer_of(&peers, "a");
    let in_flight = held(&peer, &node).await;
    node.kill().await;
    let error = in_flight.await.expect("it did not panic").expect_err("nobody answers");
    assert!(matches!(error, PeerError::Lost { .. }), "{error:?}");
    let error = peer.glance(question(1), call()).await.expect_err("nobody is there");
    assert!(matches!(error, PeerError::Unreachable { .. }), "{error:?}");

    let _node = Node::start_at(&spot, "a", 10, &ServerOptions::default());
    let must = call_within(Duration::from_secs(20), Urgency::MustTry);
    assert!(is_of(&peer.glance(question(2), must).await, 2));
}

#[tokio::test]
async fn a_caller_that_goes_away_holds_up_nobody() {
    let node = Node::start("a", 10);
    let (peers, registry) = peers_of(&[&node], options());
    let peer = peer_of(&peers, "a");
    // Together more than may be asked, or are handled, at a time.
    for _ in 0..3 {
        let mut asking = JoinSet::new();
        for _ in 0..50 {
            let peer = peer.clone();
            asking.spawn(async move {
                timeout(Duration::from_millis(50), peer.glance(held_question(), call())).await
            });
        }
        while let Some(gone) = asking.join_next().await {
            assert!(gone.expect("it did not panic").is_err(), "nobody answers");
        }
    }
    node.handler.gate.send_replace(true);
    assert!(is_of(&peer.glance(question(7), call()).await, 7));
    let canceled = r#"rangekeeper_peer_requests_total{kind="select",outcome="canceled",peer="a"}"#;
    assert_eq!(metric(&registry, canceled), Some(150.0));
    assert!(!peer.is_breaker_open());
}

#[tokio::test]
async fn a_node_that_stops_answers_the_questions_that_it_has_and_takes_no_more() {
    let node = Node::start("a", 10);
    let (peers, _) = peers_of(&[&node], options());
    let peer = peer_of(&peers, "a");
    let in_flight = held(&peer, &node).await;
    node.stop.cancel();
    node.handler.gate.send_replace(true);
    let answer = in_flight.await.expect("it did not panic");
    assert_eq!(answer.expect("it was in hand").series.len(), 1);
    assert_eq!(node.serving.await.expect("it did not panic"), Drained::Whole);
    let error = peer.glance(question(1), call()).await.expect_err("it has stopped");
    assert!(matches!(error, PeerError::Lost { .. } | PeerError::Unreachable { .. }), "{error:?}");
}

#[tokio::test]
async fn stopping_ends_questions_and_their_stream() {
    let node = Node::start("a", 10);
    let (peers, registry) = peers_of(&[&node], options());
    let peer = peer_of(&peers, "a");
    let in_flight = held(&peer, &node).await;
    peers.shutdown().await;
    let stopped = Err(PeerError::Stopped { node: "a".into() });
    assert_eq!(in_flight.await.expect("it did not panic"), stopped);
    assert_eq!(peer.glance(question(1), call()).await, stopped);
    let open = r#"rangekeeper_peer_connections{connection="query",peer="a"}"#;
    assert_eq!(metric(&registry, open), Some(0.0));
    until(&node.handler.working, |working| *working == 0).await;
}

#[tokio::test]
async fn questions_beyond_the_queries_that_are_served_are_shed() {
    let few = ServerOptions { queries: 1, ..ServerOptions::default() };
    let node = Node::start_with("a", 10, &few);
    let (peers, _) = peers_of(&[&node], options());
    let peer = peer_of(&peers, "a");
    let first = held(&peer, &node).await;
    let Err(PeerError::Refused { refusal, .. }) = peer.glance(question(1), call()).await else {
        panic!("the second question was served");
    };
    assert_eq!(refusal.reason, Reason::Shed);
    node.handler.gate.send_replace(true);
    assert!(first.await.expect("it did not panic").is_ok());
    assert!(is_of(&peer.glance(question(2), call()).await, 2));
    assert_eq!(node.handler.seen.load(Ordering::SeqCst), 2);
}
