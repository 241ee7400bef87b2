//! What a store and the oracle have in common, with answers that can be compared: NaNs by their
//! bits, no difference between unset start timestamps and none.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use rangekeeper_chunk::Decoder;
use rangekeeper_model::{Labels, Matcher, Samples, ShardCount, TenantId, TimeRange};
use rangekeeper_storage::db::never;
use rangekeeper_storage::oracle::{Batch, Oracle, OracleExemplar};
use rangekeeper_storage::{
    Clock, Committed, FamilyKey, MetadataRow, ReadLimits, Store, StoreError, StoreOptions,
    WriteError,
};

/// A sample: time, start timestamp, and what it is, as bytes.
pub type Point = (i64, i64, Vec<u8>);

/// Series with their samples, sorted by labels.
pub type Rows = Vec<(Labels, Vec<Point>)>;

/// What can be written to and asked.
pub trait Keeper {
    /// Writes; returns when it is acknowledged.
    fn put(&mut self, tenant: &TenantId, batch: &Batch);
    /// The series that match and have samples in `range`.
    fn ask(&self, tenant: &TenantId, matchers: &[Matcher], range: TimeRange) -> Rows;
    /// The series that match any of the selectors on the days of `range`.
    fn list(
        &self,
        tenant: &TenantId,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
    ) -> BTreeSet<Labels>;
    /// Label names of the series that match on the days of `range`.
    fn names(&self, tenant: &TenantId, matchers: &[Matcher], range: TimeRange) -> BTreeSet<String>;
    /// Values of one label of the series that match on the days of `range`.
    fn values(
        &self,
        tenant: &TenantId,
        name: &str,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> BTreeSet<String>;
    /// Exemplars in `range` of the series that match.
    fn examples(
        &self,
        tenant: &TenantId,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Vec<(Labels, Vec<OracleExemplar>)>;
    /// What was said of metric families.
    fn statements(&self, tenant: &TenantId) -> Vec<MetadataRow>;
}

impl Keeper for Oracle {
    fn put(&mut self, tenant: &TenantId, batch: &Batch) {
        Oracle::put(self, tenant, batch);
    }

    fn ask(&self, tenant: &TenantId, matchers: &[Matcher], range: TimeRange) -> Rows {
        let found = Oracle::select(self, tenant, matchers, range);
        found.into_iter().map(|(labels, samples)| (labels, points(&samples))).collect()
    }

    fn list(
        &self,
        tenant: &TenantId,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
    ) -> BTreeSet<Labels> {
        Oracle::series(self, tenant, selectors, range)
    }

    fn names(&self, tenant: &TenantId, matchers: &[Matcher], range: TimeRange) -> BTreeSet<String> {
        self.label_names(tenant, matchers, range)
    }

    fn values(
        &self,
        tenant: &TenantId,
        name: &str,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> BTreeSet<String> {
        self.label_values(tenant, name, matchers, range)
    }

    fn examples(
        &self,
        tenant: &TenantId,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Vec<(Labels, Vec<OracleExemplar>)> {
        Oracle::exemplars(self, tenant, matchers, range)
    }

    fn statements(&self, tenant: &TenantId) -> Vec<MetadataRow> {
        Oracle::metadata(self, tenant)
    }
}

impl Keeper for Store {
    fn put(&mut self, tenant: &TenantId, batch: &Batch) {
        try_put(self, tenant, batch).unwrap();
    }

    fn ask(&self, tenant: &TenantId, matchers: &[Matcher], range: TimeRange) -> Rows {
        try_select(self, tenant, matchers, range).unwrap()
    }

    fn list(
        &self,
        tenant: &TenantId,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
    ) -> BTreeSet<Labels> {
        let found = Store::series(self, tenant, selectors, range, usize::MAX, &never).unwrap();
        assert!(!found.truncated && found.items.is_sorted());
        found.items.into_iter().collect()
    }

    fn names(&self, tenant: &TenantId, matchers: &[Matcher], range: TimeRange) -> BTreeSet<String> {
        let selectors = [matchers.to_vec()];
        let found = self.label_names(tenant, &selectors, range, 100_000, &never).unwrap();
        assert!(!found.truncated && found.items.is_sorted());
        found.items.into_iter().collect()
    }

    fn values(
        &self,
        tenant: &TenantId,
        name: &str,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> BTreeSet<String> {
        let selectors = [matchers.to_vec()];
        let found = self.label_values(tenant, name, &selectors, range, 100_000, &never).unwrap();
        assert!(!found.truncated && found.items.is_sorted());
        found.items.into_iter().collect()
    }

    fn examples(
        &self,
        tenant: &TenantId,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Vec<(Labels, Vec<OracleExemplar>)> {
        let found = Store::exemplars(self, tenant, &[matchers.to_vec()], range, &never).unwrap();
        found
            .into_iter()
            .map(|row| {
                let mut exemplars: Vec<_> = row
                    .exemplars
                    .into_iter()
                    .map(|e| (e.timestamp_ms, e.value.to_bits(), e.labels))
                    .collect();
                assert!(exemplars.is_sorted_by_key(|(at_ms, ..)| *at_ms), "they rise in time");
                exemplars.sort();
                (row.labels, exemplars)
            })
            .collect()
    }

    fn statements(&self, tenant: &TenantId) -> Vec<MetadataRow> {
        Store::metadata(self, tenant, None).unwrap()
    }
}

/// Writes to a store. Of every other row that is not canonical as it was sent, the raw bytes differ
/// from the canonical ones, as from a sender that does not sort.
pub fn try_put(store: &Store, tenant: &TenantId, batch: &Batch) -> Result<Committed, WriteError> {
    let mut write = store.write(tenant)?;
    for (number, row) in batch.rows.iter().enumerate() {
        let mut raw = row.labels.as_bytes().to_vec();
        if number % 3 == 2 {
            raw.reverse();
        }
        let index = write.series(write.tenant().hasher().hash(&raw));
        for &(at_ms, start_ms, value) in &row.floats {
            write.float(at_ms, start_ms, value);
        }
        for sample in &row.histograms {
            write.histogram(index, sample.clone());
        }
        for (at_ms, value, labels) in &row.exemplars {
            write.exemplar(index, *at_ms, *value, labels.clone());
        }
    }
    for (family, metadata) in &batch.metadata {
        let key = FamilyKey { tenant: tenant.clone(), family: family.clone() };
        write.metadata(key, metadata.clone());
    }
    for index in write.resolve() {
        write.define(index, batch.rows[index.number()].labels.clone()).expect("no collision");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let committed = runtime.block_on(write.commit())?;
    let count = |of: fn(&rangekeeper_storage::oracle::Row) -> usize| -> u64 {
        batch.rows.iter().map(of).sum::<usize>() as u64
    };
    assert_eq!(committed.samples, count(|row| row.floats.len()));
    assert_eq!(committed.histograms, count(|row| row.histograms.len()));
    assert_eq!(committed.exemplars, count(|row| row.exemplars.len()));
    Ok(committed)
}

/// Asks a store that may be damaged.
pub fn try_select(
    store: &Store,
    tenant: &TenantId,
    matchers: &[Matcher],
    range: TimeRange,
) -> Result<Rows, StoreError> {
    let selection = store.select(tenant, matchers, range, ReadLimits::NONE)?;
    let (mut decoder, mut samples) = (Decoder::default(), Samples::default());
    let mut rows = Rows::new();
    for index in 0..selection.len() {
        selection.read(index, &mut decoder, &mut samples)?;
        if !samples.is_empty() {
            rows.push((selection.labels(index).clone(), points(&samples)));
        }
    }
    assert!(rows.is_sorted_by(|a, b| a.0 < b.0), "a series comes once, in the order of labels");
    Ok(rows)
}

/// Names the first difference; whole answers are too long to read.
pub fn compare(expected: &Rows, found: &Rows, what: &str) {
    if expected == found {
        return;
    }
    let points = |rows: &Rows| -> BTreeSet<String> {
        let line = |labels: &_, point: &_| format!("{labels} {point:?}");
        rows.iter().flat_map(|(l, points)| points.iter().map(move |p| line(l, p))).collect()
    };
    let (expected, found) = (points(expected), points(found));
    let missing: Vec<_> = expected.difference(&found).take(3).collect();
    let invented: Vec<_> = found.difference(&expected).take(3).collect();
    panic!("{what}: missing {missing:#?}, invented {invented:#?}");
}

/// The samples as points.
pub fn points(samples: &Samples) -> Vec<Point> {
    let floats = &samples.floats;
    assert!(floats.timestamps.is_sorted_by(|a, b| a < b), "times of floats rise");
    let mut points: Vec<Point> = (0..floats.len())
        .map(|at| {
            let mut bytes = vec![0];
            bytes.extend(floats.values[at].to_bits().to_be_bytes());
            (floats.timestamps[at], floats.start_ms(at), bytes)
        })
        .collect();
    points.extend(
        samples.histograms.iter().map(|sample| {
            (sample.timestamp_ms, sample.start_ms, sample.histogram.canonical_bytes())
        }),
    );
    points.sort();
    assert!(points.is_sorted_by(|a, b| a.0 < b.0), "a time has one sample");
    points
}

/// A clock that stands until it is moved.
#[derive(Clone)]
pub struct TestClock(Arc<AtomicI64>);

impl TestClock {
    /// A clock that stands at `now_ms`.
    pub fn at(now_ms: i64) -> Self {
        Self(Arc::new(AtomicI64::new(now_ms)))
    }

    /// As the store wants it.
    pub fn clock(&self) -> Clock {
        let clock = Arc::clone(&self.0);
        Clock::new(move || clock.load(Ordering::SeqCst))
    }

    /// Milliseconds since the epoch.
    pub fn now_ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }

    /// Sets it, forward or back.
    pub fn set(&self, now_ms: i64) {
        self.0.store(now_ms, Ordering::SeqCst);
    }
}

/// Options for small stores.
pub fn options(dir: &Path) -> StoreOptions {
    let mut options = StoreOptions::new(dir);
    options.shards = ShardCount::new(16).unwrap();
    options.log_file_bytes = 64 << 10;
    options.cache_bytes = 8 << 20;
    options.reserve_bytes = 0;
    options
}
