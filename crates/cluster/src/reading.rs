//! A query's series, wherever they lie: from each shard one full copy, and what is unsettled at as
//! many others as a read needs.
//!
//! Runs on threads that may block: what lies here is read on the asker's own thread, what lies at
//! peers comes meanwhile. Chunks travel as they lie on disk and are decoded where they are
//! evaluated. Everything that any place gave is kept, also when a shard is asked again by a newer
//! map: all of it was written once, and sets unite.

mod asking;
pub(crate) mod folding;
mod plan;
mod union;

use rangekeeper_model::{ErrorClass, MatchOp, Matcher, ShardId, TenantId, TimeRange};
use rangekeeper_placement::{NodeIndex, ReadMode};
use rangekeeper_storage::{ReadLimits, Selection, ShardSet, StoreError};
use rangekeeper_wire::proto::peer as proto;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::Instant;

pub(crate) use self::asking::shards_in;
pub use self::folding::{FoldAnswer, Folder};
pub(crate) use self::plan::{Asks, Plan, shard_of};
use self::union::Remote;
pub use self::union::{SelectedEverywhere, SeriesError};
use crate::error::{PeerError, Refusal};
use crate::router::{Inner, Router};
use crate::topology::MapView;

/// Why a query could not be answered.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Too few places of a shard can be read.
    #[error("shard {shard} cannot be read now: {why}")]
    Unavailable {
        /// Which shard.
        shard: ShardId,
        /// What the places said.
        why: String,
    },
    /// There is no map, or nothing is placed by it.
    #[error("{0}")]
    NoMap(&'static str),
    /// More series or bytes than the asker wants.
    #[error("{0}")]
    Limit(String),
    /// This node's own store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The asker wants no more.
    #[error("the query was stopped")]
    Stopped,
}

impl ReadError {
    /// The class of the failure.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Unavailable { .. } | Self::NoMap(_) | Self::Stopped => ErrorClass::Unavailable,
            Self::Limit(_) => ErrorClass::Execution,
            Self::Store(error) => error.class(),
        }
    }
}

/// What is asked of whom.
#[derive(Clone, Copy)]
pub struct Selecting<'a> {
    /// Whose series.
    pub tenant: &'a TenantId,
    /// Which.
    pub matchers: &'a [Matcher],
    /// When.
    pub range: TimeRange,
    /// Of which shards alone, if not of all.
    pub within: Option<&'a ShardSet>,
    /// When there are too many, and whether to stop.
    pub limits: ReadLimits<'a>,
    /// When the answer has to be there.
    pub deadline: Instant,
}

/// What a place said to a call for many shards.
pub(crate) struct Said {
    pub(crate) node: NodeIndex,
    pub(crate) asks: Asks,
    /// Shards that gave nothing, or why the call failed.
    pub(crate) result: Result<Vec<proto::ShardFault>, PeerError>,
}

impl Router {
    /// The series that match, with their chunks, from wherever they lie. Blocks; `runtime` carries
    /// the calls to peers.
    pub fn select(
        &self,
        selecting: Selecting<'_>,
        runtime: &Handle,
    ) -> Result<SelectedEverywhere, ReadError> {
        let selecting = Selecting { range: self.clip(selecting.range), ..selecting };
        let mut gathered = Gathered { local: Vec::new(), remote: Remote::default() };
        let mut plan =
            Plan::begin(self.0.topology(), ReadMode::FullAndUnsettled, selecting.within)?;
        while let Some(round) = plan.next_round()? {
            let mut calls = JoinSet::new();
            let map = plan.map();
            let mut own = None;
            for (node, asks) in round {
                if map.me == Some(node) {
                    own = Some((node, asks));
                } else {
                    let within = plan.begin_within();
                    let call = self.0.select_from(&map, node, asks, selecting, within);
                    calls.spawn_on(call, runtime);
                }
            }
            if let Some((node, asks)) = own {
                let said = self.0.select_here(&map, node, asks, selecting, &mut gathered)?;
                plan.take(said);
            }
            while let Some(answered) = runtime.block_on(calls.join_next()) {
                if (selecting.limits.stop)() {
                    return Err(ReadError::Stopped);
                }
                let (said, series) = answered.expect("calls do not panic and are not cancelled");
                gathered.remote.add(series);
                plan.take(said);
            }
            plan.refresh(runtime, selecting.deadline);
        }
        let selected = SelectedEverywhere::new(gathered.local, gathered.remote, selecting.range);
        let (matched, limit) = (selected.len() as u64, selecting.limits.series);
        if matched > limit {
            return Err(StoreError::TooManySeries { matched, limit }.into());
        }
        Ok(selected)
    }
}

struct Gathered {
    local: Vec<Selection>,
    remote: Remote,
}

type RemoteSeries = Vec<proto::SelectedSeries>;

impl Inner {
    /// Reads what this node itself has of some shards, as one of their places.
    fn select_here(
        &self,
        map: &MapView,
        node: NodeIndex,
        asks: Asks,
        selecting: Selecting<'_>,
        gathered: &mut Gathered,
    ) -> Result<Said, ReadError> {
        let (scope, mut faults) = self.replica().readable(&asks, map.version());
        if !scope.full.is_empty() || !scope.unsettled.is_empty() {
            let Selecting { tenant, matchers, range, limits, .. } = selecting;
            match self.replica().store().select_in(tenant, matchers, range, limits, &scope) {
                Ok(selection) => gathered.local.push(selection),
                Err(error) => {
                    let result = Err(own_failure(map, node, error)?);
                    return Ok(Said { node, asks, result });
                }
            }
            faults.extend(self.replica().unreadable(&asks, map.version()));
        }
        Ok(Said { node, asks, result: Ok(faults) })
    }
}

/// What this node's own store failed with, as if a peer had: other places may have what it cannot
/// give. What every place would say ends the question.
pub(crate) fn own_failure(
    map: &MapView,
    node: NodeIndex,
    error: StoreError,
) -> Result<PeerError, ReadError> {
    if matches!(error.class(), ErrorClass::Execution | ErrorClass::Canceled | ErrorClass::Timeout) {
        return Err(error.into());
    }
    tracing::warn!(%error, "the copy here cannot be read, others are asked");
    let node = map.assignment.node(node).id.as_str().into();
    let refusal = Refusal::new(proto::Reason::Failed, error.to_string());
    Ok(PeerError::Refused { node, refusal })
}

/// Matchers as a message has them.
pub(crate) fn selector_of(matchers: &[Matcher]) -> proto::Selector {
    let matchers = matchers.iter().map(|matcher| {
        let op = match matcher.op() {
            MatchOp::Equal => proto::MatchOp::Equal,
            MatchOp::NotEqual => proto::MatchOp::NotEqual,
            MatchOp::Regex => proto::MatchOp::Regex,
            MatchOp::NotRegex => proto::MatchOp::NotRegex,
        };
        let (name, value) = (matcher.name().to_owned(), matcher.value().to_owned());
        proto::Matcher { op: op.into(), name, value }
    });
    proto::Selector { matchers: matchers.collect() }
}
