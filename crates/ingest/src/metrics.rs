//! What receiving counts.

use prometheus::{IntCounter, IntCounterVec};
use rangekeeper_telemetry::Registry;

use crate::reject::Reason;

/// Metrics of receiving.
#[derive(Clone)]
pub struct IngestMetrics {
    stored: IntCounterVec,
    rejected: IntCounterVec,
    rejected_exemplars: IntCounterVec,
    unavailable: IntCounter,
    refused: IntCounterVec,
    unsorted: IntCounter,
}

/// Why nothing of a request was stored, for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestReason {
    /// The body is no Snappy block.
    Snappy,
    /// The message is no protobuf of its kind.
    Malformed,
    /// The table of symbols is missing or does not begin as it has to.
    Symbols,
    /// It holds more than one request may.
    TooLarge,
}

impl RequestReason {
    const ALL: [Self; 4] = [Self::Snappy, Self::Malformed, Self::Symbols, Self::TooLarge];

    fn name(self) -> &'static str {
        match self {
            Self::Snappy => "snappy",
            Self::Malformed => "malformed",
            Self::Symbols => "symbols",
            Self::TooLarge => "too_large",
        }
    }
}

impl IngestMetrics {
    /// Makes the metrics in `registry`.
    pub fn new(registry: &Registry) -> Self {
        let metrics = Self {
            stored: registry.counters(
                "rangekeeper_ingest_stored_total",
                &["kind"],
                "Samples, histograms and exemplars that were stored.",
            ),
            rejected: registry.counters(
                "rangekeeper_ingest_rejected_samples_total",
                &["reason"],
                "Samples that were refused for good, by reason.",
            ),
            rejected_exemplars: registry.counters(
                "rangekeeper_ingest_rejected_exemplars_total",
                &["reason"],
                "Exemplars that were refused for good while their series was stored, by reason.",
            ),
            unavailable: registry.counter(
                "rangekeeper_ingest_unavailable_requests_total",
                "Requests that the store could not take now; their senders try again.",
            ),
            refused: registry.counters(
                "rangekeeper_ingest_refused_requests_total",
                &["reason"],
                "Requests of which nothing was stored, for good, by reason.",
            ),
            unsorted: registry.counter(
                "rangekeeper_ingest_noncanonical_series_total",
                "Series that were met for the first time with labels not in canonical order.",
            ),
        };
        for reason in Reason::ALL {
            metrics.rejected.with_label_values(&[reason.name()]);
        }
        for reason in RequestReason::ALL {
            metrics.refused.with_label_values(&[reason.name()]);
        }
        for reason in Reason::OF_EXEMPLARS {
            metrics.rejected_exemplars.with_label_values(&[reason.name()]);
        }
        metrics
    }

    pub(crate) fn stored(&self, samples: u64, histograms: u64, exemplars: u64) {
        for (kind, count) in
            [("sample", samples), ("histogram", histograms), ("exemplar", exemplars)]
        {
            if count > 0 {
                self.stored.with_label_values(&[kind]).inc_by(count);
            }
        }
    }

    pub(crate) fn rejected(&self, reason: Reason, count: u64) {
        self.rejected.with_label_values(&[reason.name()]).inc_by(count);
    }

    pub(crate) fn rejected_exemplars(&self, reason: Reason, count: u64) {
        self.rejected_exemplars.with_label_values(&[reason.name()]).inc_by(count);
    }

    pub(crate) fn unavailable(&self) {
        self.unavailable.inc();
    }

    pub(crate) fn refused(&self, reason: RequestReason) {
        self.refused.with_label_values(&[reason.name()]).inc();
    }

    pub(crate) fn unsorted(&self) {
        self.unsorted.inc();
    }
}
