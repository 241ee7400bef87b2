//! What answering counts.

use prometheus::{HistogramVec, IntCounter, IntGauge};
use rangekeeper_telemetry::{Registry, latency_buckets};

/// Metrics of queries.
#[derive(Clone)]
pub(crate) struct QueryMetrics {
    /// Time a query took, by endpoint and outcome.
    pub(crate) seconds: HistogramVec,
    /// Queries that run now.
    pub(crate) running: IntGauge,
    /// Samples that queries read.
    pub(crate) samples: IntCounter,
    /// Series that queries read.
    pub(crate) series: IntCounter,
}

impl QueryMetrics {
    pub(crate) fn new(registry: &Registry) -> Self {
        Self {
            seconds: registry.histograms(
                "rangekeeper_query_duration_seconds",
                &["kind", "outcome"],
                "Time that queries took, waiting for their turn included.",
                latency_buckets(),
            ),
            running: registry.gauge("rangekeeper_query_running", "Queries that run now."),
            samples: registry
                .counter("rangekeeper_query_samples_total", "Samples that queries read."),
            series: registry.counter("rangekeeper_query_series_total", "Series that queries read."),
        }
    }
}
