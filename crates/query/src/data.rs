//! Where answers come from: this node's store, or all nodes of a cluster.

use std::time::Instant;

use rangekeeper_chunk::Decoder;
use rangekeeper_cluster::{Listing, ReadError, Router, SelectedEverywhere, Selecting};
use rangekeeper_model::{Labels, Matcher, Samples, TenantId, TimeRange};
use rangekeeper_promql::source::{Folded, Folding, Select, SeriesSet, Source, SourceError};
use rangekeeper_storage::{
    Found, MetadataRow, ReadLimits, Selection, SeriesExemplars, ShardSet, Store, StoreError,
};
use tokio::runtime::Handle;

use crate::folding;

/// What is asked.
#[derive(Clone)]
pub enum Data {
    /// The store of a lone node.
    Store(Store),
    /// All nodes of a cluster; calls to them run on this runtime.
    Cluster(Router, Handle),
}

impl From<Store> for Data {
    fn from(store: Store) -> Self {
        Self::Store(store)
    }
}

/// What holds for every look at the data that one question takes.
#[derive(Clone, Copy)]
pub(crate) struct Look<'a> {
    pub(crate) data: &'a Data,
    pub(crate) tenant: &'a TenantId,
    /// Whether to stop reading.
    pub(crate) stop: &'a (dyn Fn() -> bool + Sync),
    pub(crate) deadline: Instant,
    /// Of which shards alone, if not of all.
    pub(crate) within: Option<&'a ShardSet>,
    /// What others have to know of the query to fold parts of it.
    pub(crate) told: Option<Told<'a>>,
}

/// A query as other nodes are told of it.
#[derive(Clone, Copy)]
pub(crate) struct Told<'a> {
    pub(crate) text: &'a str,
    pub(crate) features: &'a str,
}

/// Labels, names and the like that a question asks for.
#[derive(Clone, Copy)]
pub(crate) struct Which<'a> {
    pub(crate) selectors: &'a [Vec<Matcher>],
    pub(crate) range: TimeRange,
    pub(crate) limit: usize,
}

impl Data {
    /// This node's own store.
    pub(crate) fn store(&self) -> &Store {
        match self {
            Self::Store(store) => store,
            Self::Cluster(router, _) => router.store(),
        }
    }
}

impl Look<'_> {
    pub(crate) fn label_names(&self, which: Which<'_>) -> Result<Found<String>, ReadError> {
        let Which { selectors, range, limit } = which;
        match self.data {
            Data::Store(store) => {
                Ok(store.label_names(self.tenant, selectors, range, limit, self.stop)?)
            }
            Data::Cluster(router, runtime) => router.label_names(self.listing(which), runtime),
        }
    }

    pub(crate) fn label_values(
        &self,
        name: &str,
        which: Which<'_>,
    ) -> Result<Found<String>, ReadError> {
        let Which { selectors, range, limit } = which;
        match self.data {
            Data::Store(store) => {
                Ok(store.label_values(self.tenant, name, selectors, range, limit, self.stop)?)
            }
            Data::Cluster(router, runtime) => {
                router.label_values(name, self.listing(which), runtime)
            }
        }
    }

    pub(crate) fn series(&self, which: Which<'_>) -> Result<Found<Labels>, ReadError> {
        let Which { selectors, range, limit } = which;
        match self.data {
            Data::Store(store) => {
                Ok(store.series(self.tenant, selectors, range, limit, self.stop)?)
            }
            Data::Cluster(router, runtime) => router.series(self.listing(which), runtime),
        }
    }

    pub(crate) fn exemplars(&self, which: Which<'_>) -> Result<Vec<SeriesExemplars>, ReadError> {
        let Which { selectors, range, .. } = which;
        match self.data {
            Data::Store(store) => Ok(store.exemplars(self.tenant, selectors, range, self.stop)?),
            Data::Cluster(router, runtime) => router.exemplars(self.listing(which), runtime),
        }
    }

    pub(crate) fn metadata(&self, family: Option<&str>) -> Result<Vec<MetadataRow>, ReadError> {
        match self.data {
            Data::Store(store) => Ok(store.metadata(self.tenant, family)?),
            Data::Cluster(router, runtime) => {
                let which = Which { selectors: &[], range: TimeRange::ALL, limit: usize::MAX };
                router.metadata(family, self.listing(which), runtime)
            }
        }
    }

    fn listing<'a>(&'a self, which: Which<'a>) -> Listing<'a> {
        let Which { selectors, range, limit } = which;
        let (tenant, stop, deadline) = (self.tenant, self.stop, self.deadline.into());
        Listing { tenant, selectors, range, limit, stop, deadline }
    }
}

impl Source for Look<'_> {
    fn select(&self, select: &Select<'_>) -> Result<Box<dyn SeriesSet>, SourceError> {
        let Select { matchers, range, max_series } = *select;
        let limits = ReadLimits { series: max_series, stop: self.stop };
        match self.data {
            Data::Store(store) => match store.select(self.tenant, matchers, range, limits) {
                Ok(selection) => Ok(Box::new(Here(selection))),
                Err(error) => Err(of_store(&error)),
            },
            Data::Cluster(router, runtime) => {
                let (tenant, deadline) = (self.tenant, self.deadline.into());
                let within = self.within;
                let selecting = Selecting { tenant, matchers, range, within, limits, deadline };
                match router.select(selecting, runtime) {
                    Ok(selected) => Ok(Box::new(Everywhere(selected))),
                    Err(error) => {
                        Err(SourceError { class: error.class(), message: error.to_string() })
                    }
                }
            }
        }
    }

    fn fold_elsewhere(
        &self,
        folding: &Folding,
        here: &mut dyn FnMut(&dyn Source),
    ) -> Option<Vec<Folded>> {
        let (Data::Cluster(router, runtime), Some(told)) = (self.data, self.told) else {
            return None;
        };
        let request = folding::request(self.tenant, told, folding);
        let mut fold_here = |shards: &ShardSet| {
            here(&Look { within: Some(shards), told: None, ..*self });
        };
        let deadline = self.deadline.into();
        let answers = router.fold_elsewhere(&request, deadline, runtime, &mut fold_here)?;
        answers.into_iter().map(folding::folded).collect()
    }
}

fn of_store(error: &StoreError) -> SourceError {
    SourceError { class: error.class(), message: error.to_string() }
}

struct Here(Selection);

impl SeriesSet for Here {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn labels(&self, index: usize) -> &Labels {
        self.0.labels(index)
    }

    fn read(&self, index: usize, samples: &mut Samples) -> Result<(), SourceError> {
        // A decoder without memory of its own costs nothing; it needs some only where frames
        // overlap.
        let read = self.0.read(index, &mut Decoder::default(), samples);
        read.map_err(|error| of_store(&error))
    }
}

struct Everywhere(SelectedEverywhere);

impl SeriesSet for Everywhere {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn labels(&self, index: usize) -> &Labels {
        self.0.labels(index)
    }

    fn read(&self, index: usize, samples: &mut Samples) -> Result<(), SourceError> {
        let read = self.0.read(index, &mut Decoder::default(), samples);
        read.map_err(|error| SourceError { class: error.class, message: error.message })
    }
}
