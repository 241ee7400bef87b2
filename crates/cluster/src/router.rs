//! Takes any write and answers any query, wherever the shards lie.

use std::sync::Arc;

use rangekeeper_model::{Day, SeriesHash, ShardCount, TenantId, TimeRange};
use rangekeeper_storage::{FamilyKey, FamilyMetadata, Store, StoreError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

use crate::known::{KnownSeries, Seen};
use crate::plane::Threads;
use crate::reading::folding::Folding;
use crate::replica::Replica;
use crate::settling::Settler;
use crate::topology::Topology;
use crate::writing::RoutedWrite;

/// Series that a router remembers by default, 8 bytes each.
pub const KNOWN_SERIES: usize = 2 << 20;
/// Statements about metric families that a router remembers.
const KNOWN_STATEMENTS: usize = 1 << 17;
/// A semaphore counts permits of so many bytes.
const PERMIT_BYTES: usize = 1 << 10;

/// What can be set about routing.
#[derive(Clone, Debug)]
pub struct RouterOptions {
    /// Series that are remembered.
    pub known_series: usize,
    /// Bytes of writes that may be held beyond their answers, for places that missed them.
    pub held_bytes: usize,
}

impl Default for RouterOptions {
    fn default() -> Self {
        Self { known_series: KNOWN_SERIES, held_bytes: 64 << 20 }
    }
}

/// Routes writes and reads. Clones are handles to the same one.
#[derive(Clone)]
pub struct Router(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    replica: Arc<Replica>,
    shards: ShardCount,
    known: KnownSeries,
    said: KnownSeries,
    settler: Settler,
    held: Arc<Semaphore>,
    tasks: TaskTracker,
    threads: Threads,
    folding: Folding,
}

/// What a router is made with beside its options.
pub(crate) type Making = (ShardCount, Settler, (TaskTracker, Threads), Folding);

impl Router {
    pub(crate) fn new(
        replica: Arc<Replica>,
        (shards, settler, (tasks, threads), folding): Making,
        options: &RouterOptions,
    ) -> Self {
        Self(Arc::new(Inner {
            replica,
            shards,
            known: KnownSeries::new(options.known_series),
            said: KnownSeries::new(KNOWN_STATEMENTS),
            settler,
            held: Arc::new(Semaphore::new(options.held_bytes / PERMIT_BYTES)),
            tasks,
            threads,
            folding,
        }))
    }

    /// This node's own store.
    pub fn store(&self) -> &Store {
        self.0.replica.store()
    }

    /// What of a range is kept: judged once, here, so that all places answer for the same time.
    pub(crate) fn clip(&self, range: TimeRange) -> TimeRange {
        let oldest_ms = self.store().horizon().oldest_ms;
        TimeRange { from_ms: range.from_ms.max(oldest_ms), ..range }
    }

    /// Begins a write for a tenant.
    pub fn write(&self, tenant: &TenantId) -> Result<RoutedWrite, StoreError> {
        let hasher = self.0.replica.store().hasher(tenant)?;
        Ok(RoutedWrite::new(Arc::clone(&self.0), tenant.clone(), hasher))
    }
}

impl Inner {
    pub(crate) fn replica(&self) -> &Replica {
        &self.replica
    }

    pub(crate) fn topology(&self) -> &Arc<dyn Topology> {
        self.replica.topology()
    }

    pub(crate) fn threads(&self) -> &Threads {
        &self.threads
    }

    pub(crate) fn folding(&self) -> &Folding {
        &self.folding
    }

    pub(crate) fn shards(&self) -> ShardCount {
        self.shards
    }

    pub(crate) fn known(&self) -> &KnownSeries {
        &self.known
    }

    pub(crate) fn settler(&self) -> &Settler {
        &self.settler
    }

    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// Room for a write that is held after its answer, if there is some.
    pub(crate) fn room_for(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let permits = u32::try_from(bytes.div_ceil(PERMIT_BYTES)).ok()?;
        Arc::clone(&self.held).try_acquire_many_owned(permits).ok()
    }

    /// What stands for a statement about a metric family today, unless it was passed on today.
    pub(crate) fn news(
        &self,
        write: &RoutedWrite,
        key: &FamilyKey,
        said: &FamilyMetadata,
    ) -> Option<SeriesHash> {
        let today = Day::of(self.replica.store().horizon().now_ms);
        let mut bytes = today.0.to_le_bytes().to_vec();
        let kind = said.metric_type.name();
        for text in [&key.family, kind, &said.help, &said.unit] {
            bytes.extend_from_slice(&text.len().to_le_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
        let hash = write.hasher().hash(&bytes);
        self.said.look().get(hash).is_none().then_some(hash)
    }

    pub(crate) fn passed_on(&self, statements: &[SeriesHash]) {
        for hash in statements {
            self.said.insert(*hash, Seen::Canonical);
        }
    }
}
