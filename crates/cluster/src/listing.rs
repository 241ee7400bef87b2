//! What is asked without samples: names, values, series, exemplars, metadata, united from as many
//! places of each shard as a read needs.
//!
//! Every place gives its first entries up to the limit and one more, in one order everywhere, so
//! the first of all of them are the first of the union.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rangekeeper_model::{
    Labels, MatchOp, Matcher, MatcherError, MetricType, SeriesId, TenantId, TimeRange,
};
use rangekeeper_placement::ReadMode;
use rangekeeper_storage::{
    Exemplar, FamilyMetadata, Found, MetadataRow, SeriesExemplars, ShardSet, Store, StoreError,
};
use rangekeeper_wire::encode;
use rangekeeper_wire::proto::{peer as proto, v1};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::cardinality;
use crate::error::PeerError;
use crate::peer::{Call, Urgency};
use crate::reading::{Plan, ReadError, Said, own_failure, selector_of};
use crate::router::{Inner, Router};

/// Whose entries are listed.
#[derive(Clone, Copy)]
pub struct Listing<'a> {
    /// Whose.
    pub tenant: &'a TenantId,
    /// Of what matches any of them.
    pub selectors: &'a [Vec<Matcher>],
    /// When.
    pub range: TimeRange,
    /// At most so many.
    pub limit: usize,
    /// Asked now and then whether to stop.
    pub stop: &'a (dyn Fn() -> bool + Sync),
    /// When the answer has to be there.
    pub deadline: Instant,
}

/// What one place gives.
pub(crate) struct Wanted<'a> {
    pub(crate) tenant: &'a TenantId,
    pub(crate) listing: proto::Listing,
    pub(crate) name: &'a str,
    pub(crate) selectors: &'a [Vec<Matcher>],
    pub(crate) range: TimeRange,
    pub(crate) shards: &'a ShardSet,
    pub(crate) limit: usize,
    pub(crate) stop: &'a (dyn Fn() -> bool + Sync),
}

impl Router {
    /// Names of the labels of series that match; without selectors, of all. Blocks.
    pub fn label_names(
        &self,
        listing: Listing<'_>,
        runtime: &Handle,
    ) -> Result<Found<String>, ReadError> {
        let entries = self.list(proto::Listing::LabelNames, "", listing, runtime)?;
        Ok(cut(texts(&entries), listing.limit))
    }

    /// Values of label `name` of the series that match. Blocks.
    pub fn label_values(
        &self,
        name: &str,
        listing: Listing<'_>,
        runtime: &Handle,
    ) -> Result<Found<String>, ReadError> {
        let entries = self.list(proto::Listing::LabelValues, name, listing, runtime)?;
        Ok(cut(texts(&entries), listing.limit))
    }

    /// Labels of the series that match. Blocks.
    pub fn series(
        &self,
        listing: Listing<'_>,
        runtime: &Handle,
    ) -> Result<Found<Labels>, ReadError> {
        let entries = self.list(proto::Listing::Series, "", listing, runtime)?;
        let series = entries.iter().filter_map(|entry| Labels::from_canonical(&entry.key).ok());
        Ok(cut(series.collect(), listing.limit))
    }

    /// Exemplars of the series that match, by series. Blocks.
    pub fn exemplars(
        &self,
        listing: Listing<'_>,
        runtime: &Handle,
    ) -> Result<Vec<SeriesExemplars>, ReadError> {
        let mut found: BTreeMap<Labels, BTreeMap<(i64, u64, Labels), Exemplar>> = BTreeMap::new();
        for entry in self.list(proto::Listing::Exemplars, "", listing, runtime)? {
            let Ok(labels) = Labels::from_canonical(&entry.key) else { continue };
            let of_series = found.entry(labels).or_default();
            for exemplar in exemplars_of(&entry.exemplars) {
                let key =
                    (exemplar.timestamp_ms, exemplar.value.to_bits(), exemplar.labels.clone());
                of_series.insert(key, exemplar);
            }
        }
        let found = found.into_iter();
        Ok(found
            .map(|(labels, of)| SeriesExemplars { labels, exemplars: of.into_values().collect() })
            .collect())
    }

    /// What senders said of metric families; of one, where `family` names it. Blocks.
    pub fn metadata(
        &self,
        family: Option<&str>,
        listing: Listing<'_>,
        runtime: &Handle,
    ) -> Result<Vec<MetadataRow>, ReadError> {
        let mut found: BTreeMap<String, BTreeSet<FamilyMetadata>> = BTreeMap::new();
        let kind = proto::Listing::Metadata;
        for entry in self.list(kind, family.unwrap_or_default(), listing, runtime)? {
            let Ok(family) = String::from_utf8(entry.key.to_vec()) else { continue };
            let said = entry.metadata.into_iter().map(|said| FamilyMetadata {
                metric_type: MetricType::from_name(&said.metric_type),
                help: said.help,
                unit: said.unit,
            });
            found.entry(family).or_default().extend(said);
        }
        let row = |(family, said): (String, BTreeSet<_>)| MetadataRow {
            family,
            metadata: said.into_iter().collect(),
        };
        Ok(found.into_iter().map(row).collect())
    }

    /// The entries of all places, not united yet.
    fn list(
        &self,
        kind: proto::Listing,
        name: &str,
        listing: Listing<'_>,
        runtime: &Handle,
    ) -> Result<Vec<proto::ListEntry>, ReadError> {
        let listing = Listing { range: self.clip(listing.range), ..listing };
        let mut entries = Vec::new();
        let mut plan = Plan::begin(self.0.topology(), ReadMode::Union, None)?;
        while let Some(round) = plan.next_round()? {
            let (mut calls, map) = (JoinSet::new(), plan.map());
            let mut own = None;
            for (node, asks) in round {
                if map.me == Some(node) {
                    own = Some((node, asks));
                    continue;
                }
                let scope = proto::Scope {
                    view: Some(map.view().into()),
                    tenant: listing.tenant.as_str().to_owned(),
                    from_ms: listing.range.from_ms,
                    to_ms: listing.range.to_ms,
                    shards: asks.full.iter().collect(),
                    unsettled_shards: Vec::new(),
                };
                let request = proto::ListRequest {
                    header: None,
                    scope: Some(scope),
                    listing: kind.into(),
                    name: name.to_owned(),
                    selectors: listing.selectors.iter().map(|s| selector_of(s)).collect(),
                    limit: if listing.limit == usize::MAX { 0 } else { listing.limit as u64 },
                };
                let peer_name: Arc<str> = map.assignment.node(node).id.as_str().into();
                let (deadline, within) = (listing.deadline, plan.begin_within());
                let call = self.0.list_from(node, peer_name, request, deadline, within);
                calls.spawn_on(async move { (asks, call.await) }, runtime);
            }
            if let Some((node, asks)) = own {
                let faults = self.0.replica().unreadable(&asks, map.version());
                let Listing { tenant, selectors, range, limit, stop, .. } = listing;
                let shards = &asks.full;
                let wanted =
                    Wanted { tenant, listing: kind, name, selectors, range, shards, limit, stop };
                let result = match list(self.0.replica().store(), &wanted) {
                    Ok(found) => {
                        entries.extend(found);
                        Ok(faults)
                    }
                    Err(error) => Err(own_failure(&map, node, error)?),
                };
                plan.take(Said { node, asks, result });
            }
            while let Some(answered) = runtime.block_on(calls.join_next()) {
                if (listing.stop)() {
                    return Err(ReadError::Stopped);
                }
                let (asks, (node, result, found)) =
                    answered.expect("calls do not panic and are not cancelled");
                entries.extend(found);
                plan.take(Said { node, asks, result });
            }
            plan.refresh(runtime, listing.deadline);
        }
        Ok(entries)
    }
}

pub(crate) type Listed = (
    rangekeeper_placement::NodeIndex,
    Result<Vec<proto::ShardFault>, PeerError>,
    Vec<proto::ListEntry>,
);

impl Inner {
    pub(crate) fn list_from(
        &self,
        node: rangekeeper_placement::NodeIndex,
        name: Arc<str>,
        request: proto::ListRequest,
        deadline: Instant,
        within: Duration,
    ) -> impl Future<Output = Listed> + Send + 'static {
        let peer = self.topology().peer(node);
        async move {
            let Some(peer) = peer else {
                let error = PeerError::Unreachable { node: name, text: "it is not there".into() };
                return (node, Err(error), Vec::new());
            };
            let (mut faults, mut entries) = (Vec::new(), Vec::new());
            let read = async {
                let call = Call { deadline, urgency: Urgency::MustTry };
                let mut parts =
                    peer.begin(Box::pin(peer.list(request, call)), call, within).await?;
                while let Some(part) = parts.next().await? {
                    faults.extend(part.faults);
                    entries.extend(part.entries);
                }
                Ok(())
            };
            (node, read.await.map(|()| faults), entries)
        }
    }
}

/// What this node's store has. Copies that it keeps of shards that are not its own any more may be
/// among it: all of it was written once.
pub(crate) fn list(
    store: &Store,
    wanted: &Wanted<'_>,
) -> Result<Vec<proto::ListEntry>, StoreError> {
    let Wanted { tenant, listing, name, selectors, range, limit, stop, .. } = *wanted;
    let most = limit.saturating_add(1);
    let keys =
        |found: Found<String>| found.items.into_iter().map(|key| entry(key.into())).collect();
    Ok(match listing {
        proto::Listing::Unspecified => Vec::new(),
        proto::Listing::LabelNames => {
            keys(store.label_names(tenant, selectors, range, most, stop)?)
        }
        proto::Listing::LabelValues => {
            keys(store.label_values(tenant, name, selectors, range, most, stop)?)
        }
        proto::Listing::Series => {
            let found = store.series(tenant, selectors, range, most, stop)?.items;
            let key = |labels: &Labels| entry(Bytes::copy_from_slice(labels.as_bytes()));
            found.iter().map(key).collect()
        }
        proto::Listing::Exemplars => {
            store.exemplars(tenant, selectors, range, stop)?.iter().map(exemplars_entry).collect()
        }
        proto::Listing::Metadata => {
            let family = Some(name).filter(|name| !name.is_empty());
            store.metadata(tenant, family)?.into_iter().map(metadata_entry).collect()
        }
        proto::Listing::LabelPairs => cardinality::pairs_of(store, wanted)?,
    })
}

fn entry(key: Bytes) -> proto::ListEntry {
    proto::ListEntry { key, ..proto::ListEntry::default() }
}

fn exemplars_entry(found: &SeriesExemplars) -> proto::ListEntry {
    let label =
        |(name, value): (&str, &str)| v1::Label { name: name.to_owned(), value: value.to_owned() };
    let exemplars = found.exemplars.iter().map(|exemplar| v1::Exemplar {
        labels: exemplar.labels.iter().map(label).collect(),
        value: exemplar.value,
        timestamp: exemplar.timestamp_ms,
    });
    let series = v1::TimeSeries { exemplars: exemplars.collect(), ..v1::TimeSeries::default() };
    proto::ListEntry {
        key: Bytes::copy_from_slice(found.labels.as_bytes()),
        exemplars: encode::series_v1(&series).into(),
        ..proto::ListEntry::default()
    }
}

fn exemplars_of(bytes: &Bytes) -> Vec<Exemplar> {
    let series = encode::read_series_v1(bytes).unwrap_or_default();
    let exemplar = |exemplar: v1::Exemplar| {
        let pairs = exemplar.labels.into_iter().map(|label| (label.name, label.value));
        let labels = Labels::from_pairs(pairs).ok()?;
        let (timestamp_ms, value) = (exemplar.timestamp, exemplar.value);
        Some(Exemplar { id: SeriesId([0; SeriesId::BYTES]), timestamp_ms, value, labels })
    };
    series.exemplars.into_iter().filter_map(exemplar).collect()
}

fn metadata_entry(row: MetadataRow) -> proto::ListEntry {
    let said = row.metadata.into_iter().map(|said| proto::FamilyMetadata {
        metric_type: said.metric_type.name().to_owned(),
        help: said.help,
        unit: said.unit,
        last_day: 0,
    });
    let metadata = said.collect();
    proto::ListEntry { key: row.family.into(), metadata, ..proto::ListEntry::default() }
}

fn texts(entries: &[proto::ListEntry]) -> BTreeSet<String> {
    entries
        .iter()
        .filter_map(|entry| std::str::from_utf8(&entry.key).ok())
        .map(str::to_owned)
        .collect()
}

fn cut<T>(items: BTreeSet<T>, limit: usize) -> Found<T> {
    let truncated = items.len() > limit;
    Found { items: items.into_iter().take(limit).collect(), truncated }
}

/// Matchers as a message has them.
pub(crate) fn matchers_of(selector: &proto::Selector) -> Result<Vec<Matcher>, MatcherError> {
    let matchers = selector.matchers.iter().map(|matcher| {
        let op = match matcher.op() {
            proto::MatchOp::Equal | proto::MatchOp::Unspecified => MatchOp::Equal,
            proto::MatchOp::NotEqual => MatchOp::NotEqual,
            proto::MatchOp::Regex => MatchOp::Regex,
            proto::MatchOp::NotRegex => MatchOp::NotRegex,
        };
        Matcher::new(op, &matcher.name, &matcher.value)
    });
    matchers.collect()
}
