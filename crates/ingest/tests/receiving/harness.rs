//! A receiver before a real store in a folder of its own, and bodies for it.

use std::collections::BTreeMap;

use rangekeeper_chunk::Decoder;
use rangekeeper_ingest::{Limits, Outcome, Receiver, Written};
use rangekeeper_model::{ErrorClass, MatchOp, Matcher, Samples, TenantId, TimeRange};
use rangekeeper_storage::{Clock, ReadLimits, Store, StoreOptions};
use rangekeeper_telemetry::Registry;
use rangekeeper_wire::Version;
use rangekeeper_wire::encode::{RequestV2, labels_v1, request_v1};
use rangekeeper_wire::proto::{v1, v2};
use tokio::runtime::Runtime;

/// The time of the store's clock, which stands still.
pub const NOW_MS: i64 = 1_763_812_345_678;

pub type Pairs<'a> = &'a [(&'a str, &'a str)];

/// A receiver and what is behind it.
pub struct Harness {
    pub store: Store,
    receiver: Receiver,
    registry: Registry,
    runtime: Runtime,
    _dir: tempfile::TempDir,
}

impl Harness {
    pub fn new() -> Self {
        Self::with(Limits::default())
    }

    pub fn with(limits: Limits) -> Self {
        let dir = tempfile::tempdir().expect("a folder for the store");
        let options = StoreOptions::new(dir.path());
        let store = Store::open(options, Clock::new(|| NOW_MS)).expect("the store opens");
        let registry = Registry::new();
        let receiver = Receiver::new(store.clone(), limits, &registry);
        let runtime = Runtime::new().expect("a runtime");
        Self { store, receiver, registry, runtime, _dir: dir }
    }

    pub fn receive(&self, tenant: &str, version: Version, body: &[u8]) -> Outcome {
        let tenant = TenantId::new(tenant).expect("a tenant");
        self.runtime.block_on(self.receiver.receive(&tenant, version, body))
    }

    pub fn v1(&self, timeseries: Vec<v1::TimeSeries>) -> Outcome {
        let request = v1::WriteRequest { timeseries, metadata: Vec::new() };
        self.receive("anonymous", Version::V1, &request_v1(&request))
    }

    pub fn v2(&self, request: RequestV2) -> Outcome {
        self.receive("anonymous", Version::V2, &request.body())
    }

    /// What is stored of a tenant, by the text of its labels.
    pub fn samples_of(&self, tenant: &str) -> BTreeMap<String, Samples> {
        let any = Matcher::new(MatchOp::Equal, "no such label", "").expect("a matcher");
        let tenant = TenantId::new(tenant).expect("a tenant");
        let selection = self.store.select(&tenant, &[any], TimeRange::ALL, ReadLimits::NONE);
        let selection = selection.expect("the store answers");
        let mut decoder = Decoder::default();
        let read = |at| {
            let mut samples = Samples::default();
            selection.read(at, &mut decoder, &mut samples).unwrap();
            (selection.labels(at).to_string(), samples)
        };
        (0..selection.len()).map(read).filter(|(_, samples)| !samples.is_empty()).collect()
    }

    pub fn samples(&self) -> BTreeMap<String, Samples> {
        self.samples_of("anonymous")
    }

    /// The series that are stored.
    pub fn series(&self) -> Vec<String> {
        self.samples().into_keys().collect()
    }

    /// The counts of a metric by the value of its one label, without those that are zero.
    pub fn counts(&self, metric: &str) -> BTreeMap<String, u64> {
        let text = self.registry.encode();
        let lines = text.lines().filter_map(|line| line.strip_prefix(metric)?.strip_prefix('{'));
        let counts = lines.map(|line| {
            let (labels, count) = line.rsplit_once("} ").expect("labels, then a number");
            let reason = labels.split('"').nth(1).expect("one label").to_owned();
            (reason, count.parse::<f64>().expect("a number"))
        });
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small counts")]
        let counts = counts.filter(|(_, count)| *count > 0.0).map(|(name, n)| (name, n as u64));
        counts.collect()
    }

    /// Samples that were refused, by reason.
    pub fn refused(&self) -> BTreeMap<String, u64> {
        self.counts("rangekeeper_ingest_rejected_samples_total")
    }

    /// Exemplars that were refused, by reason.
    pub fn refused_exemplars(&self) -> BTreeMap<String, u64> {
        self.counts("rangekeeper_ingest_rejected_exemplars_total")
    }
}

impl Harness {
    /// Requests of which nothing was stored, for good.
    pub fn refused_requests(&self, reason: &str) -> u64 {
        let counts = self.counts("rangekeeper_ingest_refused_requests_total");
        counts.get(reason).copied().unwrap_or(0)
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        self.store.close();
    }
}

pub fn counts<const N: usize>(counts: [(&str, u64); N]) -> BTreeMap<String, u64> {
    counts.map(|(reason, count)| (reason.to_owned(), count)).into()
}

pub fn written(samples: u64, histograms: u64, exemplars: u64) -> Written {
    Written { samples, histograms, exemplars }
}

/// The message of an outcome that says that something will never be taken.
pub fn invalid(outcome: &Outcome) -> &str {
    match &outcome.result {
        Err((ErrorClass::Invalid, message)) => message,
        other => panic!("expected a refusal for good, got {other:?}"),
    }
}

/// A series of remote write 1.0 with a sample now.
pub fn series_v1(labels: Pairs<'_>) -> v1::TimeSeries {
    samples_v1(labels, &[(NOW_MS, 1.0)])
}

pub fn samples_v1(labels: Pairs<'_>, samples: &[(i64, f64)]) -> v1::TimeSeries {
    let sample = |&(timestamp, value): &(i64, f64)| v1::Sample { value, timestamp };
    v1::TimeSeries {
        labels: labels_v1(labels),
        samples: samples.iter().map(sample).collect(),
        ..Default::default()
    }
}

pub fn sample_v2(timestamp: i64, value: f64) -> v2::Sample {
    v2::Sample { value, timestamp, start_timestamp: 0 }
}

/// An integer histogram of `buckets` buckets that are all empty but the first, which has `count`.
pub fn histogram(timestamp: i64, buckets: u32, count: i64) -> v2::Histogram {
    let mut deltas = vec![0; buckets as usize];
    deltas[0] = count;
    if let Some(second) = deltas.get_mut(1) {
        *second = -count;
    }
    v2::Histogram {
        count: Some(v2::histogram::Count::CountInt(count.unsigned_abs())),
        sum: 1.5,
        schema: 3,
        zero_threshold: 0.001,
        positive_spans: vec![v2::BucketSpan { offset: 0, length: buckets }],
        positive_deltas: deltas,
        timestamp,
        ..Default::default()
    }
}
