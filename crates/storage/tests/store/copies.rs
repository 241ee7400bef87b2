//! Copies of one cluster's shards, each a store, and what a router and holders do with them.

use std::collections::BTreeMap;

use rangekeeper_chunk::Decoder;
use rangekeeper_model::Epoch;
use rangekeeper_model::{
    Labels, Matcher, Samples, SeriesId, ShardCount, ShardId, TenantId, TimeRange,
};
use rangekeeper_placement::{
    Mark, NodeIndex, Place, Quorum, Replication, Shard, Slot, SlotEpoch, SlotState, UnsettledKey,
};
use rangekeeper_storage::log::Position;
use rangekeeper_storage::oracle::Batch;
use rangekeeper_storage::{
    Bundle, ClusterIdentity, ReadLimits, RetentionBy, Scope, Selection, Store, StoreOptions,
};
use tempfile::TempDir;
use uuid::Uuid;

use crate::keeper::{Rows, TestClock, options, points, try_put};

/// The quorum of the copies.
pub fn quorum() -> Quorum {
    Replication::Three.quorum()
}

/// A view in which every place has had its node from epoch 1 on.
pub fn view() -> Shard {
    let state = SlotState::Steady { node: NodeIndex(0) };
    let slot = Slot { state, epoch: SlotEpoch(Epoch(1)) };
    Shard { since: Epoch(1), rsince: Epoch(1), slots: vec![slot; quorum().places()].into() }
}

/// The cluster that all copies are of.
pub fn identity(shards: u32) -> ClusterIdentity {
    let shards = ShardCount::new(shards).unwrap();
    ClusterIdentity { cluster: Uuid::from_u128(77), seed: 99, shards }
}

/// The scope of all shards, in full or of what is unsettled.
pub fn all_in(options: &StoreOptions, full: bool) -> Scope {
    let all = (0..options.cluster.unwrap().shards.count()).collect();
    if full {
        Scope { full: all, ..Scope::default() }
    } else {
        Scope { unsettled: all, ..Scope::default() }
    }
}

/// A store that may be crashed and opened again.
pub struct Copy {
    /// Deleted with it.
    _dir: TempDir,
    clock: TestClock,
    pub options: StoreOptions,
    store: Option<Store>,
}

impl Copy {
    pub fn new(clock: &TestClock, shards: u32, change: impl FnOnce(&mut StoreOptions)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut options = options(dir.path());
        options.cluster = Some(identity(shards));
        options.replicated = Some(quorum());
        options.retention_by = RetentionBy::Cluster;
        change(&mut options);
        let mut copy = Self { _dir: dir, clock: clock.clone(), options, store: None };
        copy.open();
        copy
    }

    fn open(&mut self) {
        self.store = Some(Store::open(self.options.clone(), self.clock.clock()).unwrap());
    }

    pub fn store(&self) -> &Store {
        self.store.as_ref().expect("only a crash takes it")
    }

    /// The process is killed and started again.
    pub fn crash(&mut self) {
        self.crash_with(|| ());
    }

    /// The process is killed, `meanwhile` happens, and it is started again.
    pub fn crash_with(&mut self, meanwhile: impl FnOnce()) {
        let store = self.store.take().expect("open");
        store.abandon();
        drop(store);
        meanwhile();
        self.open();
    }

    /// The process ends and is started again.
    pub fn restart(&mut self) {
        self.store.take().expect("open").close();
        self.open();
    }

    pub fn put(&self, tenant: &TenantId, batch: &Batch) -> Option<Position> {
        try_put(self.store(), tenant, batch).unwrap().position
    }

    pub fn select_in(
        &self,
        tenant: &TenantId,
        matchers: &[Matcher],
        range: TimeRange,
        scope: &Scope,
    ) -> Selection {
        self.store().select_in(tenant, matchers, range, ReadLimits::NONE, scope).unwrap()
    }

    /// Whether nothing of all shards is unsettled, as far as it is seen without blocking.
    pub fn has_nothing_unsettled(
        &self,
        tenant: &TenantId,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> bool {
        let shards = all_in(&self.options, false).unsettled;
        self.store().has_nothing_unsettled(tenant, matchers, range, &shards)
    }

    /// The key of a series.
    pub fn id_of(&self, tenant: &TenantId, labels: &Labels) -> SeriesId {
        let hasher = self.store().hasher(tenant).unwrap();
        let hash = hasher.hash(labels.as_bytes());
        let shards = self.options.cluster.unwrap().shards;
        hasher.id(hash, labels.metric_name().unwrap_or_default(), shards)
    }
}

/// The union of what copies gave, from their encoded chunks.
pub fn unite(selections: &[Selection], range: TimeRange) -> Rows {
    let mut series: BTreeMap<Labels, Samples> = BTreeMap::new();
    let mut decoder = Decoder::default();
    for selection in selections {
        for index in 0..selection.len() {
            let samples = series.entry(selection.labels(index).clone()).or_default();
            for chunk in selection.chunks(index) {
                assert_eq!(decoder.decode(chunk, range, samples), []);
            }
        }
    }
    let rows = series.into_iter().filter(|(_, samples)| !samples.is_empty());
    rows.map(|(labels, samples)| (labels, points(&samples))).collect()
}

/// Has the copy at `from` deliver some of what is unsettled in `shard` to the others, and settle
/// what then is everywhere. Returns how many entries it tried.
pub fn deliver(copies: &[Copy], from: usize, shard: ShardId, most: usize) -> usize {
    let view = view();
    let place = |copy: usize| Place(u8::try_from(copy).unwrap());
    let holder = copies[from].store();
    let entries = holder.undelivered(shard, most);
    let keys: Vec<_> = entries.iter().map(|(key, ..)| *key).collect();
    let bundle = holder.read_unsettled(shard, &keys, &rangekeeper_storage::db::never).unwrap();
    for (key, mark, _) in &entries {
        assert!(!holder.delivered(shard, *key, *mark, place(from), Epoch(1), &view));
    }
    let mut taken = Vec::new();
    for other in (0..copies.len()).filter(|other| *other != from) {
        for (key, mark) in take(copies[other].store(), shard, &bundle) {
            taken.push((other, key, mark));
        }
        for (key, mark, _) in &entries {
            if holder.delivered(shard, *key, *mark, place(other), Epoch(1), &view) {
                for (at, of, mark) in taken.iter().filter(|(_, of, _)| holds(*key, *of)) {
                    copies[*at].store().settle_chunk(shard, *of, *mark);
                }
            }
        }
    }
    entries.len()
}

/// Takes in what another copy holds; gives the keys that hold nothing else.
pub fn take(store: &Store, shard: ShardId, bundle: &Bundle) -> Vec<(UnsettledKey, Mark)> {
    let mut keys = Vec::new();
    for (day, chunks) in &bundle.chunks {
        keys.extend(store.ingest(*day, chunks).unwrap());
    }
    keys.extend(store.ingest_extras(shard, &bundle.exemplars, &bundle.metadata).unwrap());
    keys
}

/// Whether what is known of the one key is known of the other.
fn holds(key: UnsettledKey, of: UnsettledKey) -> bool {
    key == of || of.within().is_some_and(|day| key == UnsettledKey::Day(day))
}
