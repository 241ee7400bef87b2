//! What this node does with the messages of its peers.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use rangekeeper_model::{Matcher, TenantId, TimeRange};
use rangekeeper_placement::Version;
use rangekeeper_storage::{ReadLimits, Selection};
use rangekeeper_wire::proto::peer as proto;
use tokio::runtime::Handle;

use crate::error::Refusal;
use crate::identity::{Speaker, View};
use crate::limits::PART_TARGET_BYTES;
use crate::listing::{Wanted, list, matchers_of};
use crate::reading::Asks;
use crate::reading::folding::{self, Folding};
use crate::replica::Replica;
use crate::server::{Answering, PartSink, PeerHandler, Report};
use crate::settling;

/// Answers peers for a node that has a store.
pub(crate) struct Serving {
    replica: Arc<Replica>,
    folding: Folding,
    /// Where rows are stored.
    storing: Handle,
}

/// A scope as it was asked for.
struct Scoped {
    tenant: TenantId,
    range: TimeRange,
    asks: Asks,
    routed: Version,
}

impl Serving {
    pub(crate) fn new(replica: Arc<Replica>, folding: Folding, storing: Handle) -> Self {
        Self { replica, folding, storing }
    }
}

impl PeerHandler for Serving {
    fn report(&self, from: &Speaker) -> Report {
        self.replica.topology().heard(from);
        self.replica.topology().report()
    }

    fn assignment_newer(&self, than: View) -> Option<Bytes> {
        self.replica.topology().assignment_newer(than)
    }

    fn settle(
        &self,
        from: Speaker,
        request: proto::SettleRequest,
    ) -> Answering<'_, Result<(), Refusal>> {
        Box::pin(async move {
            self.replica.topology().heard(&from);
            settling::settle(&self.replica, &request.settled);
            settling::settle_chunks(&self.replica, &request.chunks);
            Ok(())
        })
    }

    fn deliver(
        &self,
        from: Speaker,
        request: proto::DeliverRequest,
    ) -> Answering<'_, Result<proto::DeliverAnswer, Refusal>> {
        Box::pin(async move {
            self.replica.topology().heard(&from);
            settling::take_delivery(Arc::clone(&self.replica), request).await
        })
    }

    fn write(
        &self,
        from: Speaker,
        parts: Vec<proto::WritePart>,
    ) -> Answering<'_, Result<Vec<proto::PartAnswer>, Refusal>> {
        Box::pin(async move {
            self.replica.topology().heard(&from);
            let replica = Arc::clone(&self.replica);
            let storing = self.storing.spawn(async move {
                // Side by side, so that they share a sync.
                join_all(parts.iter().map(|part| replica.write_part(part))).await
            });
            let failed = |_| Refusal::new(proto::Reason::Failed, "the work broke");
            storing.await.map_err(failed)
        })
    }

    fn select(
        &self,
        from: Speaker,
        request: proto::SelectRequest,
        sink: PartSink<proto::SelectPart>,
    ) -> Answering<'_, Result<(), Refusal>> {
        Box::pin(async move {
            self.replica.topology().heard(&from);
            let replica = Arc::clone(&self.replica);
            blocking(move || select(&replica, &request, sink)).await
        })
    }

    fn fold(
        &self,
        from: Speaker,
        request: proto::FoldRequest,
        sink: PartSink<proto::FoldPart>,
    ) -> Answering<'_, Result<(), Refusal>> {
        Box::pin(async move {
            self.replica.topology().heard(&from);
            let folder = self.folding.folder()?;
            blocking(move || folding::give(&*folder, &request, sink)).await
        })
    }

    fn list(
        &self,
        from: Speaker,
        request: proto::ListRequest,
        sink: PartSink<proto::ListPart>,
    ) -> Answering<'_, Result<(), Refusal>> {
        Box::pin(async move {
            self.replica.topology().heard(&from);
            let replica = Arc::clone(&self.replica);
            blocking(move || give_list(&replica, &request, sink)).await
        })
    }
}

pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    let failed = |_| Refusal::new(proto::Reason::Failed, "the work broke");
    tokio::task::spawn_blocking(work).await.map_err(failed)?
}

fn select(
    replica: &Replica,
    request: &proto::SelectRequest,
    mut sink: PartSink<proto::SelectPart>,
) -> Result<(), Refusal> {
    let scoped = scoped(request.scope.as_ref())?;
    let matchers = matchers(request.selector.iter())?.pop().unwrap_or_default();
    let (scope, mut faults) = replica.readable(&scoped.asks, scoped.routed);
    if !scope.full.is_empty() || !scope.unsettled.is_empty() {
        let series = if request.max_series == 0 { u64::MAX } else { request.max_series };
        let stop = || sink.is_closed();
        let limits = ReadLimits { series, stop: &stop };
        let Scoped { tenant, range, .. } = &scoped;
        let selection = replica
            .store()
            .select_in(tenant, &matchers, *range, limits, &scope)
            .map_err(|error| {
                let reason = match error {
                    rangekeeper_storage::StoreError::TooManySeries { .. } => proto::Reason::Limit,
                    _ => proto::Reason::Failed,
                };
                Refusal::new(reason, error.to_string())
            })?;
        send(&selection, &mut sink);
        // A map that was applied meanwhile may have let somebody else take writes.
        faults.extend(replica.unreadable(&scoped.asks, scoped.routed));
    }
    // Nobody listens: then nobody needs the end either.
    let _ = sink.blocking_send(proto::SelectPart { header: None, series: Vec::new(), faults });
    Ok(())
}

/// Sends a selection in parts; a series that is large alone goes in several.
fn send(selection: &Selection, sink: &mut PartSink<proto::SelectPart>) {
    let (mut series, mut bytes) = (Vec::new(), 0);
    let part = |series| proto::SelectPart { header: None, series, faults: Vec::new() };
    for index in 0..selection.len() {
        let labels = Bytes::copy_from_slice(selection.labels(index).as_bytes());
        let mut chunks = Vec::new();
        bytes += labels.len();
        for chunk in selection.chunks(index) {
            chunks.push(Bytes::copy_from_slice(chunk));
            bytes += chunk.len();
            if bytes >= PART_TARGET_BYTES {
                let chunks = std::mem::take(&mut chunks);
                series.push(proto::SelectedSeries { labels: labels.clone(), chunks });
                if sink.blocking_send(part(std::mem::take(&mut series))).is_err() {
                    return;
                }
                bytes = labels.len();
            }
        }
        series.push(proto::SelectedSeries { labels, chunks });
    }
    if !series.is_empty() {
        // Nobody listens: then nobody needs it.
        let _ = sink.blocking_send(part(series));
    }
}

fn give_list(
    replica: &Replica,
    request: &proto::ListRequest,
    mut sink: PartSink<proto::ListPart>,
) -> Result<(), Refusal> {
    let scoped = scoped(request.scope.as_ref())?;
    let selectors = matchers(request.selectors.iter())?;
    let entries = {
        let stop = || sink.is_closed();
        let limit = usize::try_from(request.limit).unwrap_or(usize::MAX);
        let wanted = Wanted {
            tenant: &scoped.tenant,
            listing: request.listing(),
            name: &request.name,
            selectors: &selectors,
            range: scoped.range,
            limit: if limit == 0 { usize::MAX } else { limit },
            stop: &stop,
        };
        list(replica.store(), &wanted)
    };
    let entries =
        entries.map_err(|error| Refusal::new(proto::Reason::Failed, error.to_string()))?;
    let faults = replica.unreadable(&scoped.asks, scoped.routed);
    let part = |entries, faults| proto::ListPart { header: None, entries, faults };
    // First the faults: the sink may be full before the last entry.
    if sink.blocking_send(part(Vec::new(), faults)).is_err() {
        return Ok(());
    }
    let (mut gathered, mut bytes) = (Vec::new(), 0);
    for entry in entries {
        bytes += entry.key.len() + entry.exemplars.len();
        gathered.push(entry);
        if bytes >= PART_TARGET_BYTES {
            bytes = 0;
            if sink.blocking_send(part(std::mem::take(&mut gathered), Vec::new())).is_err() {
                return Ok(());
            }
        }
    }
    // Nobody listens: then nobody needs it.
    let _ = sink.blocking_send(part(gathered, Vec::new()));
    Ok(())
}

fn scoped(scope: Option<&proto::Scope>) -> Result<Scoped, Refusal> {
    let malformed = |text: &str| Refusal::new(proto::Reason::Malformed, text);
    let scope = scope.ok_or_else(|| malformed("a question without a scope"))?;
    let tenant = TenantId::new(&scope.tenant).map_err(|error| malformed(&error.to_string()))?;
    let view = scope.view.map(View::from).unwrap_or_default();
    let asks = Asks {
        full: scope.shards.iter().copied().collect(),
        unsettled: scope.unsettled_shards.iter().copied().collect(),
    };
    let is_shard = |number: u32| u16::try_from(number).is_ok();
    if !asks.full.iter().chain(&asks.unsettled).all(is_shard) {
        return Err(malformed("a shard that cannot be"));
    }
    let range = TimeRange { from_ms: scope.from_ms, to_ms: scope.to_ms };
    let routed = Version { generation: view.generation, epoch: view.epoch };
    Ok(Scoped { tenant, range, asks, routed })
}

fn matchers<'a>(
    selectors: impl Iterator<Item = &'a proto::Selector>,
) -> Result<Vec<Vec<Matcher>>, Refusal> {
    let malformed = |error: rangekeeper_model::MatcherError| {
        Refusal::new(proto::Reason::Malformed, error.to_string())
    };
    selectors.map(matchers_of).collect::<Result<_, _>>().map_err(malformed)
}
