//! Answers in parts: their order, their pace, and how they end early.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use rangekeeper_cluster::proto::{self, Reason};
use rangekeeper_cluster::{PeerError, Refusal, ServerOptions, Urgency};

use super::harness::{Node, Script, call, call_within, metric, options, peer_of, peers_of, until};

/// A part with one series of so many bytes.
fn part(bytes: usize) -> proto::SelectPart {
    let chunk = Bytes::from(vec![7; bytes]);
    let series = proto::SelectedSeries { labels: Bytes::from_static(b"l"), chunks: vec![chunk] };
    proto::SelectPart { series: vec![series], ..proto::SelectPart::default() }
}

fn entries(numbers: std::ops::Range<u32>) -> proto::ListPart {
    let entry = |number: u32| proto::ListEntry {
        key: Bytes::from(format!("{number:05}")),
        ..proto::ListEntry::default()
    };
    proto::ListPart { entries: numbers.map(entry).collect(), ..proto::ListPart::default() }
}

#[tokio::test]
async fn parts_arrive_whole_and_in_order() {
    let node = Node::start("a", 10);
    let sent: Vec<_> = [1, 300_000, 2_000_000, 5].map(part).into();
    *node.handler.select.lock() = Script::Parts(sent.clone());
    let (peers, registry) = peers_of(&[&node], options());
    let request = proto::SelectRequest::default();
    let mut stream = peer_of(&peers, "a").select(request, call()).await.expect("it begins");
    for expected in sent {
        let got = stream.next().await.expect("it goes on").expect("there are more");
        assert_eq!(got.header.expect("each part has one").node, "a");
        assert!(got.series == expected.series, "the series are not what was sent");
    }
    assert_eq!(stream.next().await, Ok(None));
    assert_eq!(stream.next().await, Ok(None), "the end stays the end");
    let ok = r#"rangekeeper_peer_requests_total{kind="select",outcome="ok",peer="a"}"#;
    assert_eq!(metric(&registry, ok), Some(1.0));
}

#[tokio::test]
async fn dropping_the_stream_stops_the_handler() {
    let node = Node::start("a", 10);
    *node.handler.select.lock() = Script::Silence;
    let (peers, _) = peers_of(&[&node], options());
    let request = proto::SelectRequest::default();
    let stream = peer_of(&peers, "a").select(request, call()).await.expect("it begins");
    until(&node.handler.working, |working| *working == 1).await;
    drop(stream);
    until(&node.handler.working, |working| *working == 0).await;
}

#[tokio::test]
async fn a_reader_that_rests_makes_the_handler_rest_and_holds_up_nobody_else() {
    const PART_BYTES: usize = 256 << 10;
    let node = Node::start("a", 10);
    *node.handler.select.lock() = Script::Endless(part(PART_BYTES));
    *node.handler.list.lock() = Script::Parts(vec![entries(0..3)]);
    let (peers, _) = peers_of(&[&node], options());
    let peer = peer_of(&peers, "a");
    let request = proto::SelectRequest::default();
    let mut stream = peer.select(request, call()).await.expect("it begins");
    assert!(stream.next().await.expect("it goes on").is_some());
    for _ in 0..200 {
        let request = proto::ListRequest::default();
        let mut other = peer.list(request, call()).await.expect("it begins");
        assert!(other.next().await.expect("it goes on").is_some());
        assert_eq!(other.next().await, Ok(None));
    }
    let sent = node.handler.sent.load(Ordering::SeqCst) * PART_BYTES;
    assert!(sent <= 4 << 20, "{sent} bytes were made that nobody read");
    for _ in 0..40 {
        assert!(stream.next().await.expect("it goes on").is_some());
    }
}

#[tokio::test]
async fn the_deadline_holds_for_the_caller() {
    let node = Node::start("a", 10);
    *node.handler.select.lock() = Script::Silence;
    let (peers, _) = peers_of(&[&node], options());
    let soon = call_within(Duration::from_millis(100), Urgency::MustTry);
    let request = proto::SelectRequest::default();
    let mut stream = peer_of(&peers, "a").select(request, soon).await.expect("it begins");
    assert_eq!(stream.next().await, Err(PeerError::Deadline { node: "a".into() }));
    assert_eq!(stream.next().await, Ok(None), "after an error nothing comes");
}

#[tokio::test]
async fn the_deadline_ends_the_work_at_the_peer_even_if_nobody_reads() {
    let node = Node::start("a", 10);
    *node.handler.select.lock() = Script::Silence;
    let (peers, _) = peers_of(&[&node], options());
    let soon = call_within(Duration::from_millis(100), Urgency::MustTry);
    let request = proto::SelectRequest::default();
    let _stream = peer_of(&peers, "a").select(request, soon).await.expect("it begins");
    until(&node.handler.working, |working| *working == 0).await;
    let ended = r#"rangekeeper_peer_served_total{kind="select",outcome="deadline"}"#;
    assert_eq!(metric(&node.registry, ended), Some(1.0));
}

#[tokio::test]
async fn a_list_has_one_entry_more_than_its_limit_and_then_stops_the_handler() {
    let node = Node::start("a", 10);
    let parts = (0..20).map(|part| entries(part * 7..part * 7 + 7)).collect();
    *node.handler.list.lock() = Script::Parts(parts);
    let (peers, _) = peers_of(&[&node], options());
    for (limit, expected) in [(10, 11), (6, 7), (139, 140), (500, 140), (0, 140)] {
        let request = proto::ListRequest { limit, ..proto::ListRequest::default() };
        let mut stream = peer_of(&peers, "a").list(request, call()).await.expect("it begins");
        let mut keys = Vec::new();
        while let Some(part) = stream.next().await.expect("it goes on") {
            keys.extend(part.entries.into_iter().map(|entry| entry.key));
        }
        assert_eq!(keys.len(), expected, "limit {limit}");
        assert!(keys.is_sorted());
        let is_cut = node.handler.closed.send_replace(false);
        assert_eq!(is_cut, expected < 134, "limit {limit}: was the handler told to stop?");
    }
}

#[tokio::test]
async fn what_a_handler_refuses_with_reaches_the_caller() {
    let node = Node::start("a", 10);
    *node.handler.list.lock() = Script::Silence;
    let (peers, _) = peers_of(&[&node], options());
    let request = proto::ListRequest::default();
    let mut stream = peer_of(&peers, "a").list(request, call()).await.expect("it begins");
    let refusal = Refusal::new(Reason::NotReady, "the log is being replayed");
    assert_eq!(stream.next().await, Err(PeerError::Refused { node: "a".into(), refusal }));
}

#[tokio::test]
async fn a_part_beyond_the_limit_costs_its_own_query_alone() {
    let node = Node::start("a", 10);
    *node.handler.select.lock() = Script::Parts(vec![part(9 << 20)]);
    *node.handler.list.lock() = Script::Parts(vec![entries(0..3)]);
    let (peers, _) = peers_of(&[&node], options());
    let peer = peer_of(&peers, "a");
    let request = proto::ListRequest::default();
    let mut other = peer.list(request, call()).await.expect("it begins");
    let request = proto::SelectRequest::default();
    let mut stream = peer.select(request, call()).await.expect("it begins");
    let error = stream.next().await.expect_err("it is too large");
    assert!(matches!(error, PeerError::Lost { .. }), "{error:?}");
    assert!(other.next().await.expect("it goes on").is_some());
}

#[tokio::test]
async fn queries_beyond_those_that_are_served_are_shed() {
    let few = ServerOptions { queries: 1, ..ServerOptions::default() };
    let node = Node::start_with("a", 10, &few);
    *node.handler.select.lock() = Script::Silence;
    let (peers, _) = peers_of(&[&node], options());
    let peer = peer_of(&peers, "a");
    let request = proto::SelectRequest::default();
    let _first = peer.select(request.clone(), call()).await.expect("it begins");
    let Err(PeerError::Refused { refusal, .. }) = peer.select(request, call()).await.map(drop)
    else {
        panic!("the second query was served");
    };
    assert_eq!(refusal.reason, Reason::Shed);
    assert!(!peer.is_breaker_open());
}
