//! Three nodes with all shards; the first of them asks.

use std::future::{Future, ready};
use std::pin::Pin;

use bytes::Bytes;
use rangekeeper_model::{
    BootCount, ClusterId, Day, FormatLevel, Generation, Incarnation, NodeId, RunId, ShardCount,
    StoreId, Term, Zone,
};
use rangekeeper_placement::{
    Assignment, NodeRow, NodeStatus, PublishId, Replication, Slot, SlotEpoch, SlotState, Verdict,
    Version,
};
use rangekeeper_telemetry::Registry;

use super::*;
use crate::identity::{Local, Speaker};
use crate::peer::Peer;
use crate::peers::{PeerAddress, Peers, PeersOptions};
use crate::server::Report;

struct Three {
    map: Arc<MapView>,
    peers: Peers,
}

impl Three {
    fn new() -> Self {
        let cluster = ClusterId::of(1);
        let names = ["a", "b", "c"];
        let (nodes, slots) = (0..3u16)
            .map(|at| {
                let slot = Slot {
                    epoch: SlotEpoch(Epoch(1)),
                    state: SlotState::Steady { node: NodeIndex(at) },
                };
                let row = NodeRow {
                    id: NodeId::new(names[usize::from(at)]).expect("a sound name"),
                    address: "127.0.0.1:1".into(),
                    zone: Zone::new("z").expect("a sound name"),
                    weight: 1,
                    incarnation: Incarnation(1),
                    store: StoreId::of(at.into()),
                    boot: BootCount(1),
                    run: RunId::of(1),
                    status: NodeStatus::Up,
                };
                (row, slot)
            })
            .unzip::<_, _, Vec<_>, Vec<_>>();
        let replication = Replication::new(3).expect("three copies");
        let shard = Shard { since: Epoch(1), rsince: Epoch(1), slots: slots.into() };
        let assignment = Assignment {
            level: FormatLevel(1),
            cluster,
            generation: Generation(1),
            epoch: Epoch(1),
            term: Term(1),
            publish: PublishId(1),
            retention_floor: Day(0),
            replication,
            quorum: replication.quorum(),
            nodes,
            shards: ShardCount::new(4)
                .expect("a power of two")
                .iter()
                .map(|_| shard.clone())
                .collect(),
        };
        let own = Local::new(cluster, "a", StoreId::of(0), 1, || 0);
        let options = PeersOptions { probe_every: None, ..PeersOptions::default() };
        let (peers, _) = Peers::new(own, options, &Registry::new());
        peers.update((1..3u16).map(|at| PeerAddress {
            node: names[usize::from(at)].into(),
            address: "127.0.0.1:1".into(),
            store: StoreId::of(at.into()),
        }));
        Self { map: Arc::new(MapView::new(Arc::new(assignment), Some(NodeIndex(0)))), peers }
    }
}

impl Topology for Three {
    fn view(&self) -> Option<Arc<MapView>> {
        Some(Arc::clone(&self.map))
    }

    fn at_least(&self, _: Epoch, _: Instant) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
        Box::pin(ready(false))
    }

    fn judge_write(&self, _: ShardId, _: Place, _: Version, _: StoreId) -> Verdict {
        unreachable!("nothing is written")
    }

    fn judge_reads(&self, _: &ShardSet, _: Version, _: StoreId) -> Vec<(ShardId, Verdict)> {
        unreachable!("nothing is served")
    }

    fn given(&self, _: Version) -> Epoch {
        unreachable!("nothing is acknowledged")
    }

    fn peer(&self, node: NodeIndex) -> Option<Peer> {
        self.peers.peer(self.map.assignment.node(node).id.as_str())
    }

    fn report(&self) -> Report {
        unreachable!("nobody probes")
    }

    fn assignment_newer(&self, _: View) -> Option<Bytes> {
        None
    }

    fn heard(&self, _: &Speaker) {}
}

fn late() -> PeerError {
    PeerError::Deadline { node: "it".into() }
}

fn gone() -> PeerError {
    PeerError::Unreachable { node: "it".into(), text: "refused".into() }
}

/// Reads to the end: how the others answer is told by how often they were asked before. Says how
/// often each of them was asked, and how it ended.
fn read(
    plan: &mut Plan,
    answer: impl Fn(u32) -> Option<PeerError>,
) -> ([u32; 3], Result<(), ReadError>) {
    let mut asked = [0; 3];
    loop {
        let round = match plan.next_round() {
            Ok(Some(round)) => round,
            Ok(None) => return (asked, Ok(())),
            Err(error) => return (asked, Err(error)),
        };
        for (node, asks) in round {
            let times = &mut asked[node.index()];
            let failure = answer(*times).filter(|_| node != NodeIndex(0));
            *times += 1;
            plan.take(Said { node, asks, result: failure.map_or(Ok(Vec::new()), Err) });
        }
    }
}

fn plan() -> Plan {
    let topology: Arc<dyn Topology> = Arc::new(Three::new());
    Plan::begin(&topology, ReadMode::FullAndUnsettled, None).expect("a map")
}

#[tokio::test]
async fn who_was_late_is_asked_once_more_and_has_longer() {
    let mut plan = plan();
    assert_eq!(plan.begin_within(), BEGIN_WITHIN);
    let (asked, end) = read(&mut plan, |times| (times == 0).then(late));
    end.expect("one answered at last");
    assert_eq!(asked[1] + asked[2], 3, "both were late, and then one was not");
    assert_eq!(plan.begin_within(), BEGIN_AT_LAST_WITHIN);
}

#[tokio::test]
async fn who_is_late_again_is_not_waited_for() {
    let (asked, end) = read(&mut plan(), |_| Some(late()));
    assert!(matches!(end, Err(ReadError::Unavailable { .. })), "{end:?}");
    assert_eq!(asked[1..], [2, 2]);
}

#[tokio::test]
async fn who_cannot_be_reached_is_not_asked_again() {
    let (asked, end) = read(&mut plan(), |_| Some(gone()));
    assert!(matches!(end, Err(ReadError::Unavailable { .. })), "{end:?}");
    assert_eq!(asked[1..], [1, 1]);
}
