//! Who is not listened to: other clusters, messages for other data folders, and strangers.

use std::sync::atomic::Ordering;

use rangekeeper_cluster::proto::{self, Reason};
use rangekeeper_cluster::{
    ClusterSecret, Local, Peer, PeerAddress, PeerError, Peers, PeersOptions, ServerOptions,
};
use rangekeeper_model::{ClusterId, StoreId};
use rangekeeper_telemetry::Registry;

use super::harness::{
    CLUSTER, FREE, Node, OWN, call, metric, options, peer_of, peers_of, rows, samples,
};

/// Why each kind of call is refused; all of them are.
async fn reasons(peer: &Peer) -> [Reason; 5] {
    let reason = |error: PeerError| match error {
        PeerError::Refused { refusal, .. } => refusal.reason,
        other => panic!("not refused: {other:?}"),
    };
    let (select, list) = (proto::SelectRequest::default(), proto::ListRequest::default());
    let glance = proto::GlanceRequest::default();
    [
        reason(peer.probe(call()).await.map(drop).expect_err("refused")),
        reason(peer.write(FREE, rows([1], true), call()).await.map(drop).expect_err("refused")),
        reason(peer.select(select, call()).await.map(drop).expect_err("refused")),
        reason(peer.glance(glance, call()).await.map(drop).expect_err("refused")),
        reason(peer.list(list, call()).await.map(drop).expect_err("refused")),
    ]
}

fn secret(text: &str) -> ClusterSecret {
    ClusterSecret::new(text).expect("it is a line")
}

#[tokio::test]
async fn another_cluster_is_refused_before_the_handler() {
    let node = Node::start("a", 10);
    let stranger = Local::new(ClusterId::of(CLUSTER.0.as_u128() + 1), "own", OWN, 1, || 0);
    let (peers, _) = Peers::new(stranger, options(), &Registry::new());
    peers.update([node.peer_address()]);
    assert_eq!(reasons(&peer_of(&peers, "a")).await, [Reason::WrongCluster; 5]);
    assert_eq!(node.handler.seen.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_message_for_another_data_folder_is_refused_before_the_handler() {
    let node = Node::start("a", 10);
    let (peers, _) = peers_of(&[], options());
    peers.update([PeerAddress { store: StoreId::of(11), ..node.peer_address() }]);
    assert_eq!(reasons(&peer_of(&peers, "a")).await, [Reason::WrongStore; 5]);
    assert_eq!(node.handler.seen.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn who_does_not_show_the_secret_is_refused() {
    let guarded = ServerOptions { secret: Some(secret("sesame")), ..ServerOptions::default() };
    let node = Node::start_with("a", 10, &guarded);
    for wrong in [None, Some(secret("sesam")), Some(secret("sesame2"))] {
        let (peers, _) = peers_of(&[&node], PeersOptions { secret: wrong, ..options() });
        assert_eq!(reasons(&peer_of(&peers, "a")).await, [Reason::Unauthenticated; 5]);
    }
    assert_eq!(node.handler.seen.load(Ordering::SeqCst), 0);
    let refused = r#"rangekeeper_peer_served_total{kind="any",outcome="unauthenticated"}"#;
    assert_eq!(metric(&node.registry, refused), Some(15.0));
    let (peers, _) =
        peers_of(&[&node], PeersOptions { secret: Some(secret("sesame")), ..options() });
    let answer = peer_of(&peers, "a").write(FREE, rows([1], true), call()).await;
    assert_eq!(samples(&answer), 1);
}

#[tokio::test]
async fn control_calls_and_write_streams_beyond_those_that_are_served_are_shed() {
    let none = ServerOptions {
        control_calls: 0,
        write_streams: 0,
        queries: 0,
        ..ServerOptions::default()
    };
    let node = Node::start_with("a", 10, &none);
    let (peers, _) = peers_of(&[&node], options());
    assert_eq!(reasons(&peer_of(&peers, "a")).await, [Reason::Shed; 5]);
}
