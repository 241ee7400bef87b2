//! How many series there are, and of what: each shard counted once, at one of its full copies.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use rangekeeper_model::{Day, TimeRange};
use rangekeeper_placement::NodeIndex;
use rangekeeper_storage::db::{Cardinality, CardinalityTally};
use rangekeeper_storage::{HeadOfTenant, ShardSet, Store, StoreError};
use rangekeeper_wire::proto::peer as proto;
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::limits::BEGIN_WITHIN;
use crate::listing::{Listing, Wanted, list};
use crate::reading::ReadError;
use crate::reading::folding::deal;
use crate::router::Router;
use crate::topology::MapView;

/// Between the name and the value of a pair.
const SEPARATOR: u8 = 0xff;

impl Router {
    /// How many series there are on the newest day that this node has, and of what; each list cut
    /// to the listing's limit. What is not settled yet may be missing. Blocks.
    pub fn cardinality(
        &self,
        listing: Listing<'_>,
        runtime: &Handle,
    ) -> Result<(Cardinality, HeadOfTenant), ReadError> {
        let topology = self.0.topology();
        let map = topology.view().ok_or(ReadError::NoMap("this node has no map yet"))?;
        let mut parts = deal(&map, &**topology)
            .ok_or(ReadError::NoMap("some shard has no copy that can be counted now"))?;
        let newest_ms = self.store().head_of(listing.tenant)?.newest_ms;
        let day = Day::of(newest_ms);
        let range = TimeRange { from_ms: day.start_ms(), to_ms: day.end_ms() - 1 };
        let listing = Listing { range, ..listing };
        let own = map.me.and_then(|me| parts.remove(&me));
        let mut calls = JoinSet::new();
        for (node, shards) in parts {
            let call = self.count_at(&map, node, &shards, listing);
            calls.spawn_on(call, runtime);
        }
        let mut entries = Vec::new();
        if let Some(shards) = own {
            entries.extend(list(self.store(), &wanted(listing, &shards))?);
        }
        while let Some(answered) = runtime.block_on(calls.join_next()) {
            if (listing.stop)() {
                return Err(ReadError::Stopped);
            }
            entries.extend(answered.expect("calls do not panic and are not cancelled")?);
        }
        let (found, chunks) = united(entries, listing.limit);
        Ok((found, HeadOfTenant { chunks, newest_ms }))
    }

    fn count_at(
        &self,
        map: &Arc<MapView>,
        node: NodeIndex,
        shards: &ShardSet,
        listing: Listing<'_>,
    ) -> impl Future<Output = Result<Vec<proto::ListEntry>, ReadError>> + Send + 'static {
        let scope = proto::Scope {
            view: Some(map.view().into()),
            tenant: listing.tenant.as_str().to_owned(),
            from_ms: listing.range.from_ms,
            to_ms: listing.range.to_ms,
            shards: shards.iter().collect(),
            unsettled_shards: Vec::new(),
        };
        let request = proto::ListRequest {
            scope: Some(scope),
            listing: proto::Listing::LabelPairs.into(),
            ..proto::ListRequest::default()
        };
        let name: Arc<str> = map.assignment.node(node).id.as_str().into();
        let first = crate::reading::shard_of(shards.min().unwrap_or_default());
        let call = self.0.list_from(node, name, request, listing.deadline, BEGIN_WITHIN);
        async move {
            let unavailable = |shard, why| ReadError::Unavailable { shard, why };
            let (_, result, entries) = call.await;
            let faults = result.map_err(|error| unavailable(first, error.to_string()))?;
            match faults.first() {
                None => Ok(entries),
                Some(fault) => {
                    let shard = crate::reading::shard_of(fault.shard);
                    Err(unavailable(shard, fault.state().as_str_name().to_owned()))
                }
            }
        }
    }
}

fn wanted<'a>(listing: Listing<'a>, shards: &'a ShardSet) -> Wanted<'a> {
    let Listing { tenant, selectors, range, limit, stop, .. } = listing;
    let listing = proto::Listing::LabelPairs;
    Wanted { tenant, listing, name: "", selectors, range, shards, limit, stop }
}

/// The label pairs of the shards that are wanted, as entries.
pub(crate) fn pairs_of(
    store: &Store,
    wanted: &Wanted<'_>,
) -> Result<Vec<proto::ListEntry>, StoreError> {
    let Wanted { tenant, range, shards, stop, .. } = *wanted;
    let chunks = store.head_in(tenant, Some(shards))?.chunks;
    let mut entries = vec![proto::ListEntry { chunks, ..proto::ListEntry::default() }];
    store.label_pairs(
        tenant,
        Day::of(range.from_ms),
        shards,
        stop,
        &mut |name, value, series| {
            if name.is_empty() {
                entries[0].series += series;
                return;
            }
            let mut key = Vec::with_capacity(name.len() + value.len() + 1);
            key.extend_from_slice(name.as_bytes());
            key.push(SEPARATOR);
            key.extend_from_slice(value.as_bytes());
            entries.push(proto::ListEntry {
                key: key.into(),
                series,
                ..proto::ListEntry::default()
            });
        },
    )?;
    Ok(entries)
}

/// The pairs of disjoint sets of series, counted together, and the chunks that are in memory.
fn united(entries: Vec<proto::ListEntry>, limit: usize) -> (Cardinality, u64) {
    let (mut pairs, mut chunks): (BTreeMap<Bytes, u64>, u64) = (BTreeMap::new(), 0);
    for entry in entries {
        chunks += entry.chunks;
        *pairs.entry(entry.key).or_default() += entry.series;
    }
    let mut tally = CardinalityTally::new(limit);
    for (key, series) in pairs {
        let at = key.iter().position(|byte| *byte == SEPARATOR);
        let (name, value) = at.map_or((&b""[..], &b""[..]), |at| (&key[..at], &key[at + 1..]));
        // A peer that sends what is no text is broken; there is nothing to count it under.
        if let (Ok(name), Ok(value)) = (std::str::from_utf8(name), std::str::from_utf8(value)) {
            tally.add(name, value, series);
        }
    }
    (tally.finish(), chunks)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &[u8], series: u64) -> proto::ListEntry {
        let key = Bytes::copy_from_slice(key);
        proto::ListEntry { key, series, ..proto::ListEntry::default() }
    }

    #[test]
    fn pairs_of_several_nodes_are_counted_together() {
        let entries = vec![
            proto::ListEntry { chunks: 5, ..entry(b"", 3) },
            entry(b"__name__\xffup", 3),
            entry(b"job\xffa", 2),
            proto::ListEntry { chunks: 7, ..entry(b"", 4) },
            entry(b"__name__\xffup", 4),
            entry(b"job\xffbb", 4),
        ];
        let (found, chunks) = united(entries, 10);
        assert_eq!((found.series, found.label_pairs, chunks), (7, 3, 12));
        assert_eq!(found.by_metric, [("up".to_owned(), 7)]);
        assert_eq!(found.values_by_label, [("job".to_owned(), 2), ("__name__".to_owned(), 1)]);
        assert_eq!(found.bytes_by_label, [("__name__".to_owned(), 14), ("job".to_owned(), 10)]);
    }
}
