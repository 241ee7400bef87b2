//! Asking one peer for its part of a read. Where only what is unsettled is wanted, which mostly is
//! nothing, the question goes on the stream for such.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rangekeeper_placement::NodeIndex;
use rangekeeper_storage::ShardSet;
use rangekeeper_wire::proto::peer as proto;
use tokio::time::Instant;

use super::{Asks, RemoteSeries, Said, Selecting, selector_of};
use crate::error::PeerError;
use crate::peer::{Call, Peer, Urgency};
use crate::router::Inner;
use crate::topology::MapView;

/// Shards that gave nothing, or why the peer did not answer.
type Faults = Result<Vec<proto::ShardFault>, PeerError>;

impl Inner {
    /// Asks a peer.
    pub(super) fn select_from(
        &self,
        map: &Arc<MapView>,
        node: NodeIndex,
        asks: Asks,
        selecting: Selecting<'_>,
        within: Duration,
    ) -> impl Future<Output = (Said, RemoteSeries)> + Send + 'static {
        let peer = self.topology().peer(node);
        let name: Arc<str> = map.assignment.node(node).id.as_str().into();
        let request = request_of(map, &asks.unsettled, selecting);
        let call = Call { deadline: selecting.deadline, urgency: Urgency::MustTry };
        async move {
            let Some(peer) = peer else {
                let error = PeerError::Unreachable { node: name, text: "it is not there".into() };
                return (Said { node, asks, result: Err(error) }, Vec::new());
            };
            let mut series = Vec::new();
            let result = ask(&peer, &asks, request, (call, within), &mut series).await;
            (Said { node, asks, result }, series)
        }
    }
}

async fn ask(
    peer: &Peer,
    asks: &Asks,
    request: proto::GlanceRequest,
    (call, within): (Call, Duration),
    series: &mut RemoteSeries,
) -> Faults {
    if asks.full.is_empty() {
        let soon = Call { deadline: call.deadline.min(Instant::now() + within), ..call };
        let glanced = peer.glance(request.clone(), soon).await?;
        if !glanced.too_large {
            *series = glanced.series;
            return Ok(glanced.faults);
        }
    }
    // Boxed: it is large, and seldom needed.
    Box::pin(ask_in_parts(peer, select_of(request, asks), (call, within), series)).await
}

async fn ask_in_parts(
    peer: &Peer,
    request: proto::SelectRequest,
    (call, within): (Call, Duration),
    series: &mut RemoteSeries,
) -> Faults {
    let mut faults = Vec::new();
    let mut parts = peer.begin(Box::pin(peer.select(request, call)), call, within).await?;
    while let Some(part) = parts.next().await? {
        series.extend(part.series);
        faults.extend(part.faults);
    }
    Ok(faults)
}

fn request_of(
    map: &MapView,
    unsettled: &ShardSet,
    selecting: Selecting<'_>,
) -> proto::GlanceRequest {
    proto::GlanceRequest {
        view: Some(map.view().into()),
        tenant: selecting.tenant.as_str().to_owned(),
        from_ms: selecting.range.from_ms,
        to_ms: selecting.range.to_ms,
        unsettled_shards: bits_of(unsettled),
        selector: Some(selector_of(selecting.matchers)),
        max_series: selecting.limits.series,
    }
}

/// The same question for an answer in parts, with the shards that are wanted in full.
fn select_of(request: proto::GlanceRequest, asks: &Asks) -> proto::SelectRequest {
    let proto::GlanceRequest { view, tenant, from_ms, to_ms, selector, max_series, .. } = request;
    let (shards, unsettled_shards) = (asks.full.iter(), asks.unsettled.iter());
    let (shards, unsettled_shards) = (shards.collect(), unsettled_shards.collect());
    let scope = proto::Scope { view, tenant, from_ms, to_ms, shards, unsettled_shards };
    proto::SelectRequest { header: None, scope: Some(scope), selector, max_series }
}

/// A bit for each shard, as a message has them.
fn bits_of(shards: &ShardSet) -> Bytes {
    let bytes = shards.max().map_or(0, |last| last as usize / 8 + 1);
    let mut bits = vec![0u8; bytes];
    for shard in shards {
        bits[shard as usize / 8] |= 1 << (shard % 8);
    }
    bits.into()
}

/// The shards whose bits are set; none if there can be no such shard.
pub(crate) fn shards_in(bits: &[u8]) -> Option<ShardSet> {
    const MOST_BYTES: usize = (u16::MAX as usize + 1) / 8;
    (bits.len() <= MOST_BYTES).then(|| ShardSet::from_lsb0_bytes(0, bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_what_their_bits_say() {
        for shards in [vec![], vec![0], vec![7, 8], vec![1, 300, 65_535], (0..256).collect()] {
            let shards: ShardSet = shards.into_iter().collect();
            assert_eq!(shards_in(&bits_of(&shards)), Some(shards));
        }
        assert_eq!(bits_of(&[0, 9].into_iter().collect()), [1u8, 2].as_slice());
        assert_eq!(shards_in(&[0; 8193]), None, "shards have numbers of 16 bits");
    }
}
