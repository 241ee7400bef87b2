//! Series in memory, as a script loads them.

use std::collections::BTreeMap;
use std::sync::Arc;

use rangekeeper_model::{HistogramSample, Labels, Samples, TimeRange};

use crate::source::{Select, SeriesSet, Source, SourceError};

/// A source that holds its series in memory, decoded.
#[derive(Clone, Debug, Default)]
pub struct MemoryStorage {
    series: BTreeMap<Labels, Arc<Samples>>,
}

impl MemoryStorage {
    /// No series.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a float sample, which must be newer than the floats that the series has.
    pub fn push_float(&mut self, labels: &Labels, timestamp_ms: i64, start_ms: i64, value: f64) {
        self.samples(labels).floats.push(timestamp_ms, start_ms, value);
    }

    /// Adds a histogram sample, which must be newer than the histograms that the series has.
    pub fn push_histogram(&mut self, labels: &Labels, sample: HistogramSample) {
        self.samples(labels).histograms.push(sample);
    }

    /// Whether any series has a histogram.
    pub fn has_histograms(&self) -> bool {
        self.series.values().any(|samples| !samples.histograms.is_empty())
    }

    fn samples(&mut self, labels: &Labels) -> &mut Samples {
        Arc::make_mut(self.series.entry(labels.clone()).or_default())
    }
}

impl Source for MemoryStorage {
    fn select(&self, select: &Select<'_>) -> Result<Box<dyn SeriesSet>, SourceError> {
        let matches = |labels: &Labels| {
            select
                .matchers
                .iter()
                .all(|matcher| matcher.matches(labels.value(matcher.name()).unwrap_or_default()))
        };
        let found = self.series.iter().filter(|(labels, _)| matches(labels));
        let series = found.map(|(labels, samples)| (labels.clone(), Arc::clone(samples)));
        Ok(Box::new(Found { series: series.collect(), range: select.range }))
    }
}

/// The series that a selector found.
struct Found {
    series: Vec<(Labels, Arc<Samples>)>,
    range: TimeRange,
}

impl SeriesSet for Found {
    fn len(&self) -> usize {
        self.series.len()
    }

    fn labels(&self, index: usize) -> &Labels {
        &self.series[index].0
    }

    fn read(&self, index: usize, samples: &mut Samples) -> Result<(), SourceError> {
        let stored = &self.series[index].1;
        let TimeRange { from_ms, to_ms } = self.range;
        samples.clear();
        let times = &stored.floats.timestamps;
        let first = times.partition_point(|time| *time < from_ms);
        let end = times.partition_point(|time| *time <= to_ms).max(first);
        samples.floats.timestamps.extend_from_slice(&times[first..end]);
        samples.floats.values.extend_from_slice(&stored.floats.values[first..end]);
        if !stored.floats.starts.is_empty() {
            samples.floats.starts.extend_from_slice(&stored.floats.starts[first..end]);
        }
        let in_range = stored.histograms.iter().filter(|s| self.range.contains(s.timestamp_ms));
        samples.histograms.extend(in_range.cloned());
        Ok(())
    }
}
