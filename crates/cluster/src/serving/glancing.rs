//! Answering what is unsettled at a glance: mostly there is nothing, which is seen without
//! blocking; what there is has to fit into one part.

use std::sync::Arc;

use bytes::Bytes;
use rangekeeper_model::{MatchOp, Matcher, TenantId, TimeRange};
use rangekeeper_placement::Version;
use rangekeeper_storage::Selection;
use rangekeeper_wire::proto::peer as proto;
use tokio_util::sync::CancellationToken;

use super::{Scoped, blocking, matchers, selected};
use crate::error::Refusal;
use crate::identity::View;
use crate::limits::PART_TARGET_BYTES;
use crate::reading::{Asks, shards_in};
use crate::replica::Replica;

/// Answers `request`. Dropped, it stops the work.
pub(super) async fn glance(
    replica: &Arc<Replica>,
    request: proto::GlanceRequest,
) -> Result<proto::Glanced, Refusal> {
    let scoped = scoped(&request)?;
    if let Some(glanced) = nothing(replica, &scoped, &request) {
        return Ok(glanced);
    }
    let (replica, gone) = (Arc::clone(replica), CancellationToken::new());
    let is_gone = gone.clone();
    let _gone = gone.drop_guard();
    blocking(move || {
        let matchers = matchers(request.selector.iter())?.pop().unwrap_or_default();
        let stop = || is_gone.is_cancelled();
        let (selection, faults) =
            selected(&replica, &scoped, &matchers, request.max_series, &stop)?;
        let series = selection.as_ref().map_or(Some(Vec::new()), collect);
        Ok(match series {
            Some(series) => proto::Glanced { series, faults, too_large: false },
            None => proto::Glanced { too_large: true, ..proto::Glanced::default() },
        })
    })
    .await
}

/// The answer, if it is seen without blocking that nothing is unsettled.
fn nothing(
    replica: &Replica,
    scoped: &Scoped,
    request: &proto::GlanceRequest,
) -> Option<proto::Glanced> {
    let (scope, mut faults) = replica.readable(&scoped.asks, scoped.routed);
    if !scope.unsettled.is_empty() {
        // What fewer matchers do not find, all do not find either; compiling a regex costs more
        // than looking.
        let matchers: Vec<Matcher> = request.selector.iter().flat_map(equalities).collect();
        let Scoped { tenant, range, .. } = scoped;
        let store = replica.store();
        if !store.has_nothing_unsettled(tenant, &matchers, *range, &scope.unsettled) {
            return None;
        }
        // A map that was applied meanwhile may have let somebody else take writes.
        faults.extend(replica.readable(&scoped.asks, scoped.routed).1);
    }
    Some(proto::Glanced { series: Vec::new(), faults, too_large: false })
}

fn equalities(selector: &proto::Selector) -> impl Iterator<Item = Matcher> {
    let equalities = selector.matchers.iter().filter(|m| m.op() == proto::MatchOp::Equal);
    equalities.filter_map(|m| Matcher::new(MatchOp::Equal, &m.name, &m.value).ok())
}

/// The whole selection; none if it is larger than a part.
fn collect(selection: &Selection) -> Option<Vec<proto::SelectedSeries>> {
    let (mut series, mut bytes) = (Vec::with_capacity(selection.len()), 0);
    for index in 0..selection.len() {
        let labels = selection.labels(index).as_bytes();
        bytes += labels.len() + selection.chunks(index).map(<[u8]>::len).sum::<usize>();
        if bytes > PART_TARGET_BYTES {
            return None;
        }
        let chunks = selection.chunks(index).map(Bytes::copy_from_slice).collect();
        series.push(proto::SelectedSeries { labels: Bytes::copy_from_slice(labels), chunks });
    }
    Some(series)
}

fn scoped(request: &proto::GlanceRequest) -> Result<Scoped, Refusal> {
    let malformed = |text: &str| Refusal::new(proto::Reason::Malformed, text);
    let tenant = TenantId::new(&request.tenant).map_err(|error| malformed(&error.to_string()))?;
    let view = request.view.map(View::from).unwrap_or_default();
    let unsettled = shards_in(&request.unsettled_shards);
    let unsettled = unsettled.ok_or_else(|| malformed("a shard that cannot be"))?;
    Ok(Scoped {
        tenant,
        range: TimeRange { from_ms: request.from_ms, to_ms: request.to_ms },
        asks: Asks { unsettled, ..Asks::default() },
        routed: Version { generation: view.generation, epoch: view.epoch },
    })
}
