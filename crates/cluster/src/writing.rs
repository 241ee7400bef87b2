//! A request's way through the router: its series as rows, their names, and the answer when every
//! shard that they belong to has its quorum.

mod driver;

use std::sync::Arc;

use rangekeeper_model::{HistogramSample, Labels, SeriesHash, SeriesHasher, TenantId};
use rangekeeper_storage::{FamilyKey, FamilyMetadata, RowIndex};
use tokio::sync::oneshot;

use self::driver::Driver;
use crate::known::Seen;
use crate::router::Inner;
use crate::rows::Batch;
pub use crate::rows::Stored;

/// A request that is being routed.
pub struct RoutedWrite {
    router: Arc<Inner>,
    batch: Batch,
    /// Statements about metric families in it.
    statements: Vec<SeriesHash>,
}

/// What became of a write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routed {
    /// What a quorum of each shard has.
    pub stored: Stored,
    /// Series that places refuse: what they said, and how many samples that cost.
    pub refused: Vec<(String, u64)>,
    /// What may succeed later: the first shard that has no quorum, and why.
    pub unavailable: Option<String>,
    /// How many failures there were of that kind.
    pub failures: usize,
}

impl Routed {
    fn failed(&mut self, why: String) {
        self.failures += 1;
        self.unavailable.get_or_insert(why);
    }
}

impl RoutedWrite {
    pub(crate) fn new(router: Arc<Inner>, tenant: TenantId, hasher: SeriesHasher) -> Self {
        let batch = Batch::new(tenant, hasher, router.shards());
        Self { router, batch, statements: Vec::new() }
    }

    /// Whose write it is.
    pub fn tenant(&self) -> &TenantId {
        self.batch.tenant()
    }

    /// Hashes label bytes of this tenant.
    pub fn hasher(&self) -> &SeriesHasher {
        self.batch.hasher()
    }

    /// Begins a series, named by its label bytes and their hash.
    #[inline]
    pub fn series(&mut self, hash: SeriesHash, labels: &[u8]) -> RowIndex {
        self.batch.series(hash, labels)
    }

    /// Adds a float sample to the series that was begun last.
    #[inline]
    pub fn float(&mut self, timestamp_ms: i64, start_ms: i64, value: f64) {
        self.batch.float(timestamp_ms, start_ms, value);
    }

    /// Adds a histogram sample to a series.
    pub fn histogram(&mut self, row: RowIndex, sample: HistogramSample) {
        self.batch.histogram(row, sample);
    }

    /// Adds an exemplar to a series.
    pub fn exemplar(&mut self, row: RowIndex, timestamp_ms: i64, value: f64, labels: Labels) {
        self.batch.exemplar(row, timestamp_ms, value, labels);
    }

    /// Adds what the sender says of a metric family, unless it was passed on lately.
    pub fn metadata(&mut self, family: FamilyKey, metadata: FamilyMetadata) {
        let Some(statement) = self.router.news(self, &family, &metadata) else { return };
        // A store that is not open now is found out by the write itself.
        let store = self.router.replica().store();
        if let Ok(shard) = store.family_shard(&family.tenant, &family.family) {
            self.statements.push(statement);
            self.batch.family(shard, family, metadata);
        }
    }

    /// Number of float samples and histograms of a series.
    pub fn samples_of(&self, row: RowIndex) -> u64 {
        self.batch.samples_of(row)
    }

    /// Looks all series up; returns those that this router has not seen. Each of them has to be
    /// [defined](Self::define), or it is left out.
    pub fn resolve(&mut self) -> Vec<RowIndex> {
        let known = self.router.known().look();
        let (mut unknown, mut aliases) = (Vec::new(), Vec::new());
        for (row, hash) in self.batch.hashes() {
            match known.get(hash) {
                Some(Seen::Canonical) => {}
                Some(Seen::Alias(of)) => aliases.push((row, of)),
                None => unknown.push(row),
            }
        }
        drop(known);
        for (row, of) in aliases {
            self.batch.name(row, of.0, of.1.as_bytes(), false);
        }
        for row in &unknown {
            self.batch.unname(*row);
        }
        unknown
    }

    /// Gives a series that this router has not seen its identity.
    pub fn define(&mut self, row: RowIndex, labels: Labels) {
        let raw = self.batch.hash_of(row);
        let hash = self.batch.hasher().hash(labels.as_bytes());
        self.batch.name(row, hash, labels.as_bytes(), true);
        let known = self.router.known();
        if raw != hash {
            known.insert(raw, Seen::Alias(Arc::new((hash, labels))));
        }
        known.insert(hash, Seen::Canonical);
    }

    /// Brings every series to the places of its shard, and answers when each shard has its quorum
    /// or has to be given up.
    ///
    /// Runs to its end even if the caller no longer waits.
    pub async fn commit(mut self) -> Routed {
        self.batch.seal();
        if self.batch.runs().is_empty() {
            return Routed::default();
        }
        let Some(map) = self.router.topology().view() else {
            let mut routed = Routed::default();
            routed.failed("this node has no map of the cluster yet".to_owned());
            return routed;
        };
        if !map.assignment.is_placed() {
            let mut routed = Routed::default();
            routed.failed("the cluster's shards are not placed yet".to_owned());
            return routed;
        }
        let (answer, answered) = oneshot::channel();
        let router = self.router;
        let driver = Driver::new(Arc::clone(&router), Arc::new(self.batch), map, answer);
        router.tasks().spawn_on(driver.run(), &router.threads().route);
        let routed = answered.await.unwrap_or_else(|_| {
            let mut routed = Routed::default();
            routed.failed("this node is stopping".to_owned());
            routed
        });
        if routed.unavailable.is_none() {
            router.passed_on(&self.statements);
        }
        routed
    }
}
