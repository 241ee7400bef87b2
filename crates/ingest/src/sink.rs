//! Where what is good of a request goes: this node's store, or the places of a cluster.

use rangekeeper_cluster::{Routed, RoutedWrite, Router};
use rangekeeper_model::{HistogramSample, Labels, SeriesHash, SeriesHasher, TenantId};
use rangekeeper_storage::{
    FamilyKey, FamilyMetadata, HashCollision, Horizon, RowIndex, Store, Write, WriteError,
};

use crate::receiver::Written;

/// Keeps what is received.
#[derive(Clone)]
pub enum Sink {
    /// The store of a lone node.
    Store(Store),
    /// The places of each series' shard.
    Cluster(Router),
}

impl From<Store> for Sink {
    fn from(store: Store) -> Self {
        Self::Store(store)
    }
}

impl From<Router> for Sink {
    fn from(router: Router) -> Self {
        Self::Cluster(router)
    }
}

/// A request on its way into a [`Sink`].
pub(crate) enum SinkWrite {
    Store(Write),
    Cluster(RoutedWrite),
}

/// What became of it.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(crate) written: Written,
    /// Series that cannot be kept: why, and how many samples that cost.
    pub(crate) refused: Vec<(String, u64)>,
    /// What may succeed later, if something may.
    pub(crate) unavailable: Option<String>,
}

impl Sink {
    pub(crate) fn write(&self, tenant: &TenantId) -> Result<SinkWrite, WriteError> {
        match self {
            Self::Store(store) => store.write(tenant).map(SinkWrite::Store),
            Self::Cluster(router) => match router.write(tenant) {
                Ok(write) => Ok(SinkWrite::Cluster(write)),
                Err(error) => Err(WriteError::Refused(error.to_string())),
            },
        }
    }

    pub(crate) fn horizon(&self) -> Horizon {
        match self {
            Self::Store(store) => store.horizon(),
            Self::Cluster(router) => router.store().horizon(),
        }
    }
}

impl SinkWrite {
    pub(crate) fn tenant(&self) -> &TenantId {
        match self {
            Self::Store(write) => write.tenant().id(),
            Self::Cluster(write) => write.tenant(),
        }
    }

    pub(crate) fn hasher(&self) -> &SeriesHasher {
        match self {
            Self::Store(write) => write.tenant().hasher(),
            Self::Cluster(write) => write.hasher(),
        }
    }

    /// Begins a series whose label bytes `labels` have `hash`.
    #[inline]
    pub(crate) fn series(&mut self, hash: SeriesHash, labels: &[u8]) -> RowIndex {
        match self {
            Self::Store(write) => write.series(hash),
            Self::Cluster(write) => write.series(hash, labels),
        }
    }

    #[inline]
    pub(crate) fn float(&mut self, timestamp_ms: i64, start_ms: i64, value: f64) {
        match self {
            Self::Store(write) => write.float(timestamp_ms, start_ms, value),
            Self::Cluster(write) => write.float(timestamp_ms, start_ms, value),
        }
    }

    pub(crate) fn histogram(&mut self, row: RowIndex, sample: HistogramSample) {
        match self {
            Self::Store(write) => write.histogram(row, sample),
            Self::Cluster(write) => write.histogram(row, sample),
        }
    }

    pub(crate) fn exemplar(&mut self, row: RowIndex, at_ms: i64, value: f64, labels: Labels) {
        match self {
            Self::Store(write) => write.exemplar(row, at_ms, value, labels),
            Self::Cluster(write) => write.exemplar(row, at_ms, value, labels),
        }
    }

    pub(crate) fn metadata(&mut self, family: FamilyKey, metadata: FamilyMetadata) {
        match self {
            Self::Store(write) => write.metadata(family, metadata),
            Self::Cluster(write) => write.metadata(family, metadata),
        }
    }

    pub(crate) fn samples_of(&self, row: RowIndex) -> u64 {
        match self {
            Self::Store(write) => write.samples_of(row),
            Self::Cluster(write) => write.samples_of(row),
        }
    }

    /// Looks all series up; returns those that are not known. Each of them has to be
    /// [defined](Self::define), or it is left out.
    pub(crate) fn resolve(&mut self) -> Vec<RowIndex> {
        match self {
            Self::Store(write) => write.resolve(),
            Self::Cluster(write) => write.resolve(),
        }
    }

    pub(crate) fn define(&mut self, row: RowIndex, labels: Labels) -> Result<(), HashCollision> {
        match self {
            Self::Store(write) => write.define(row, labels),
            // Where it lies it is compared with what has its hash.
            Self::Cluster(write) => {
                write.define(row, labels);
                Ok(())
            }
        }
    }

    pub(crate) async fn commit(self) -> Result<Kept, WriteError> {
        match self {
            Self::Store(write) => {
                let stored = write.commit().await?;
                let (samples, histograms) = (stored.samples, stored.histograms);
                let written = Written { samples, histograms, exemplars: stored.exemplars };
                Ok(Kept { written, ..Kept::default() })
            }
            Self::Cluster(write) => {
                let Routed { stored, refused, unavailable, .. } = write.commit().await;
                let (samples, histograms) = (stored.samples, stored.histograms);
                let written = Written { samples, histograms, exemplars: stored.exemplars };
                Ok(Kept { written, refused, unavailable })
            }
        }
    }
}
