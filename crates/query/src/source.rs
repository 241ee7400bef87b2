//! The store as the evaluator sees it.

use rangekeeper_chunk::Decoder;
use rangekeeper_model::{Labels, Samples, TenantId};
use rangekeeper_promql::source::{Select, SeriesSet, Source, SourceError};
use rangekeeper_storage::{ReadLimits, Selection, Store};

/// The series of one tenant.
pub(crate) struct StoreSource<'a> {
    pub(crate) store: &'a Store,
    pub(crate) tenant: &'a TenantId,
    /// Whether to stop reading.
    pub(crate) stop: &'a (dyn Fn() -> bool + Sync),
}

impl Source for StoreSource<'_> {
    fn select(&self, select: &Select<'_>) -> Result<Box<dyn SeriesSet>, SourceError> {
        let Select { matchers, range, max_series } = *select;
        let limits = ReadLimits { series: max_series, stop: self.stop };
        match self.store.select(self.tenant, matchers, range, limits) {
            Ok(selection) => Ok(Box::new(Found(selection))),
            Err(error) => Err(SourceError { class: error.class(), message: error.to_string() }),
        }
    }
}

struct Found(Selection);

impl SeriesSet for Found {
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
        read.map_err(|error| SourceError { class: error.class(), message: error.to_string() })
    }
}
