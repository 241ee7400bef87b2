//! Aggregations that are folded where their series lie.
//!
//! Whoever has a shard reads it as for a query of its own, so nothing is new about which samples
//! are seen; only the result of the fold travels. What this node has itself it folds itself, and
//! if anybody cannot fold its part, this node does all of it.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, Weak};

use rangekeeper_placement::NodeIndex;
use rangekeeper_storage::ShardSet;
use rangekeeper_wire::proto::peer as proto;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::plan::{cost_of, costs, first_of};
use crate::error::{PeerError, Refusal};
use crate::limits::{BEGIN_WITHIN, PART_TARGET_BYTES};
use crate::peer::{Call, Peer, Urgency};
use crate::router::Router;
use crate::server::PartSink;
use crate::topology::{MapView, Topology};

/// What a part of an aggregation was folded to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FoldAnswer {
    /// The result over the part's shards.
    pub rows: Vec<proto::FoldedRow>,
    /// Series that were touched.
    pub series: u64,
    /// Samples that were read.
    pub samples_read: u64,
}

/// Folds for peers: whoever evaluates queries here.
pub trait Folder: Send + Sync + 'static {
    /// Folds over the shards of the request. Blocks; asks `stop` now and then.
    fn fold(
        &self,
        request: &proto::FoldRequest,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<FoldAnswer, Refusal>;
}

/// Who folds for peers, once there is somebody.
#[derive(Clone, Default)]
pub(crate) struct Folding(Arc<OnceLock<Weak<dyn Folder>>>);

impl Folding {
    pub(crate) fn begin(&self, folder: Weak<dyn Folder>) {
        // The first stays: there is one of them in a node.
        let _ = self.0.set(folder);
    }

    pub(crate) fn folder(&self) -> Result<Arc<dyn Folder>, Refusal> {
        let folder = self.0.get().and_then(Weak::upgrade);
        folder.ok_or_else(|| Refusal::new(proto::Reason::NotReady, "no query is evaluated yet"))
    }
}

impl Router {
    /// From now on `folder` folds for peers, as long as it is there.
    pub fn fold_by(&self, folder: Weak<dyn Folder>) {
        self.0.folding().begin(folder);
    }

    /// Has an aggregation folded by the nodes that have the shards which are not here. Calls
    /// `here` with those that are, while the others fold. The shards of `request` are written here.
    ///
    /// `None` if all shards are here, or somebody could not fold.
    pub fn fold_elsewhere(
        &self,
        request: &proto::FoldRequest,
        deadline: Instant,
        runtime: &Handle,
        here: &mut dyn FnMut(&ShardSet),
    ) -> Option<Vec<FoldAnswer>> {
        let topology = self.0.topology();
        let map = topology.view()?;
        let mut parts = deal(&map, &**topology)?;
        let own = map.me.and_then(|me| parts.remove(&me)).unwrap_or_default();
        if parts.is_empty() {
            return None;
        }
        let call = Call { deadline, urgency: Urgency::MustTry };
        let mut calls = JoinSet::new();
        for (node, shards) in parts {
            let peer = topology.peer(node)?;
            let request = proto::FoldRequest { shards: shards.iter().collect(), ..request.clone() };
            calls.spawn_on(ask(peer, request, call), runtime);
        }
        if !own.is_empty() {
            here(&own);
        }
        let mut answers = Vec::new();
        while let Some(answer) = runtime.block_on(calls.join_next()) {
            match answer.expect("calls do not panic and are not cancelled") {
                Ok(answer) => answers.push(answer),
                // Dropping the set stops the others.
                Err(error) => {
                    tracing::debug!(%error, "a part was not folded elsewhere");
                    return None;
                }
            }
        }
        Some(answers)
    }
}

/// Which node is to fold which shards: each shard at one that has it in full, this one first.
/// `None` if some shard is in full nowhere that can be asked.
pub(crate) fn deal(
    map: &MapView,
    topology: &dyn Topology,
) -> Option<BTreeMap<NodeIndex, ShardSet>> {
    if !map.assignment.is_placed() {
        return None;
    }
    let (costs, quorum) = (costs(map, topology), map.assignment.quorum);
    let mut parts: BTreeMap<NodeIndex, ShardSet> = BTreeMap::new();
    for alike in map.alike() {
        let view = map.shard(first_of(alike)?);
        let full = view
            .places()
            .filter(|(place, slot)| slot.state.is_readable() && !quorum.is_witness(*place));
        let candidates = full.filter_map(|(place, slot)| {
            let cost = cost_of(view, place, &costs)?;
            Some((cost, slot.state.readers().into_iter().next()?))
        });
        let (_, node) = candidates.min()?;
        *parts.entry(node).or_default() |= alike;
    }
    Some(parts)
}

async fn ask(peer: Peer, request: proto::FoldRequest, call: Call) -> Result<FoldAnswer, PeerError> {
    let mut parts = peer.begin(Box::pin(peer.fold(request, call)), call, BEGIN_WITHIN).await?;
    let mut answer = FoldAnswer::default();
    while let Some(part) = parts.next().await? {
        answer.rows.extend(part.rows);
        answer.series += part.series;
        answer.samples_read += part.samples_read;
    }
    Ok(answer)
}

/// Folds for a peer and sends the rows in parts.
pub(crate) fn give(
    folder: &dyn Folder,
    request: &proto::FoldRequest,
    mut sink: PartSink<proto::FoldPart>,
) -> Result<(), Refusal> {
    let FoldAnswer { rows, series, samples_read } = {
        let stop = || sink.is_closed();
        folder.fold(request, &stop)?
    };
    let mut part = proto::FoldPart { header: None, rows: Vec::new(), series, samples_read };
    let mut bytes = 0;
    for row in rows {
        bytes += row.first.len() + row.labels.len() + size_of::<f64>() * row.values.len();
        part.rows.push(row);
        if bytes >= PART_TARGET_BYTES {
            bytes = 0;
            if sink.blocking_send(std::mem::take(&mut part)).is_err() {
                return Ok(());
            }
        }
    }
    // Nobody listens: then nobody needs the end either.
    let _ = sink.blocking_send(part);
    Ok(())
}
