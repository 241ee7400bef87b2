//! The oracle: what a store has to answer, kept in the simplest way that can be right.
//!
//! Maps of samples; no log, no chunks, no index, no stripes, no threads. Every answer looks at
//! everything. Tests run one suite against it and against the [`Store`](crate::Store), and compare
//! the two after random operations. It applies the rule for two samples at one time in its own
//! words, so that an error in the one that the store uses does not go unseen.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rangekeeper_model::{
    Buckets, Day, Floats, Histogram, HistogramSample, Labels, Matcher, Samples, TenantId,
    TimeRange, is_stale,
};

use crate::{Clock, FamilyMetadata, Horizon, MetadataRow};

/// A write as plain data.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// Its series. One may come more than once.
    pub rows: Vec<Row>,
    /// What is said of metric families.
    pub metadata: Vec<(String, FamilyMetadata)>,
}

/// One series of a [`Batch`].
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Who it is.
    pub labels: Labels,
    /// Time, start timestamp (0 where unset) and value of its float samples, in any order.
    pub floats: Vec<(i64, i64, f64)>,
    /// Its histograms, in any order.
    pub histograms: Vec<HistogramSample>,
    /// Time, value and labels of its exemplars, in any order.
    pub exemplars: Vec<(i64, f64, Labels)>,
}

impl Row {
    /// A series without samples.
    pub fn new(labels: Labels) -> Self {
        Self { labels, floats: Vec::new(), histograms: Vec::new(), exemplars: Vec::new() }
    }
}

/// An exemplar: time in milliseconds, the value's bits, labels.
pub type OracleExemplar = (i64, u64, Labels);

/// A store in memory, without a way to lose anything.
#[derive(Clone, Debug)]
pub struct Oracle {
    clock: Clock,
    retention_ms: i64,
    tenants: BTreeMap<TenantId, Kept>,
    newest_ms: i64,
    floor: Day,
}

/// What one tenant wrote.
#[derive(Clone, Debug, Default)]
struct Kept {
    series: BTreeMap<Labels, Series>,
    /// What was said of each family, with the last day on which it was said.
    families: BTreeMap<String, BTreeMap<FamilyMetadata, Day>>,
}

#[derive(Clone, Debug, Default)]
struct Series {
    samples: BTreeMap<i64, Element>,
    exemplars: BTreeSet<OracleExemplar>,
}

/// What can lie at one time.
#[derive(Clone, Debug)]
enum Element {
    Float { start_ms: i64, value: f64 },
    Histogram { start_ms: i64, histogram: Arc<Histogram> },
}

impl Oracle {
    /// An oracle that holds nothing.
    pub fn new(clock: Clock, retention_ms: i64) -> Self {
        Self { clock, retention_ms, tenants: BTreeMap::new(), newest_ms: 0, floor: Day(0) }
    }

    /// Keeps a write.
    pub fn put(&mut self, tenant: &TenantId, batch: &Batch) {
        let today = Day::of(self.clock.now_ms());
        let kept = self.tenants.entry(tenant.clone()).or_default();
        for row in &batch.rows {
            let series = kept.series.entry(row.labels.clone()).or_default();
            let floats = row
                .floats
                .iter()
                .map(|&(at_ms, start_ms, value)| (at_ms, Element::Float { start_ms, value }));
            let histograms = row.histograms.iter().map(|sample| {
                let (start_ms, histogram) = (sample.start_ms, Arc::clone(&sample.histogram));
                (sample.timestamp_ms, Element::Histogram { start_ms, histogram })
            });
            for (at_ms, element) in floats.chain(histograms) {
                self.newest_ms = self.newest_ms.max(at_ms);
                // What lies below the floor was dropped for good.
                if Day::of(at_ms) >= self.floor {
                    series.put(at_ms, element);
                }
            }
            let exemplars =
                row.exemplars.iter().filter(|(at_ms, ..)| Day::of(*at_ms) >= self.floor);
            series.exemplars.extend(
                exemplars.map(|(at_ms, value, labels)| (*at_ms, value.to_bits(), labels.clone())),
            );
        }
        for (family, metadata) in &batch.metadata {
            let said = kept.families.entry(family.clone()).or_default();
            said.insert(metadata.clone(), today);
        }
    }

    /// The series that match and have samples in `range`, with these samples, sorted by labels.
    pub fn select(
        &self,
        tenant: &TenantId,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Vec<(Labels, Samples)> {
        let range = self.clip(range);
        self.matching(tenant, matchers)
            .map(|(labels, series)| (labels.clone(), series.samples(range)))
            .filter(|(_, samples)| !samples.is_empty())
            .collect()
    }

    /// Labels of the series that match any of `selectors` and have samples on the days of `range`.
    pub fn series(
        &self,
        tenant: &TenantId,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
    ) -> BTreeSet<Labels> {
        let range = self.clip(range);
        selectors
            .iter()
            .flat_map(|matchers| self.matching(tenant, matchers))
            .filter(|(_, series)| series.touches_days(range))
            .map(|(labels, _)| labels.clone())
            .collect()
    }

    /// Names of the labels of the series that [`Self::series`] finds with the one selector
    /// `matchers`.
    pub fn label_names(
        &self,
        tenant: &TenantId,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> BTreeSet<String> {
        let series = self.series(tenant, &[matchers.to_vec()], range);
        series.iter().flat_map(Labels::iter).map(|(name, _)| name.to_owned()).collect()
    }

    /// Values of label `name` of the series that [`Self::series`] finds with the one selector
    /// `matchers`.
    pub fn label_values(
        &self,
        tenant: &TenantId,
        name: &str,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> BTreeSet<String> {
        let series = self.series(tenant, &[matchers.to_vec()], range);
        series.iter().filter_map(|labels| labels.value(name)).map(str::to_owned).collect()
    }

    /// Exemplars in `range` of the series that match and have samples on the days of `range`.
    pub fn exemplars(
        &self,
        tenant: &TenantId,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Vec<(Labels, Vec<OracleExemplar>)> {
        let range = self.clip(range);
        let in_range = |(at_ms, ..): &&OracleExemplar| range.contains(*at_ms);
        self.matching(tenant, matchers)
            .filter(|(_, series)| series.touches_days(range))
            .map(|(labels, s)| (labels, s.exemplars.iter().filter(in_range).cloned().collect()))
            .filter(|(_, exemplars): &(_, Vec<_>)| !exemplars.is_empty())
            .map(|(labels, exemplars)| (labels.clone(), exemplars))
            .collect()
    }

    /// What was said of metric families.
    pub fn metadata(&self, tenant: &TenantId) -> Vec<MetadataRow> {
        let families = self.tenants.get(tenant).into_iter().flat_map(|kept| &kept.families);
        families
            .map(|(family, said)| MetadataRow {
                family: family.clone(),
                metadata: said.keys().cloned().collect(),
            })
            .collect()
    }

    /// From when to when samples are taken and kept.
    pub fn horizon(&self) -> Horizon {
        let now_ms = self.clock.now_ms();
        let oldest_ms = self.sample_now_ms().saturating_sub(self.retention_ms);
        Horizon { oldest_ms: oldest_ms.max(self.floor.start_ms()), now_ms }
    }

    /// The first day that retention keeps now.
    pub fn due_floor(&self) -> Day {
        Day::of(self.sample_now_ms().saturating_sub(self.retention_ms)).max(self.floor)
    }

    /// Drops everything before `floor`, for good. A floor only rises.
    pub fn raise_floor(&mut self, floor: Day) {
        self.floor = self.floor.max(floor);
        let floor = self.floor;
        for kept in self.tenants.values_mut() {
            for series in kept.series.values_mut() {
                series.samples.retain(|at_ms, _| Day::of(*at_ms) >= floor);
                series.exemplars.retain(|(at_ms, ..)| Day::of(*at_ms) >= floor);
            }
            for said in kept.families.values_mut() {
                said.retain(|_, day| *day >= floor);
            }
            kept.families.retain(|_, said| !said.is_empty());
        }
    }

    fn sample_now_ms(&self) -> i64 {
        match self.newest_ms {
            0 => self.clock.now_ms(),
            newest_ms => self.clock.now_ms().min(newest_ms),
        }
    }

    fn clip(&self, range: TimeRange) -> TimeRange {
        TimeRange { from_ms: range.from_ms.max(self.horizon().oldest_ms), to_ms: range.to_ms }
    }

    fn matching<'a>(
        &'a self,
        tenant: &TenantId,
        matchers: &'a [Matcher],
    ) -> impl Iterator<Item = (&'a Labels, &'a Series)> {
        let series = self.tenants.get(tenant).into_iter().flat_map(|kept| &kept.series);
        series.filter(|(labels, _)| {
            matchers.iter().all(|m| m.matches(labels.value(m.name()).unwrap_or_default()))
        })
    }
}

impl Series {
    /// Keeps the greater of two elements at one time.
    fn put(&mut self, at_ms: i64, element: Element) {
        let rank = element.rank();
        let stays = self.samples.get(&at_ms).is_some_and(|there| there.rank() >= rank);
        if !stays {
            self.samples.insert(at_ms, element);
        }
    }

    fn samples(&self, range: TimeRange) -> Samples {
        let mut floats = Floats::default();
        let mut histograms = Vec::new();
        for (&at_ms, element) in self.samples.iter().filter(|(at_ms, _)| range.contains(**at_ms)) {
            match element {
                Element::Float { start_ms, value } => floats.push(at_ms, *start_ms, *value),
                Element::Histogram { start_ms, histogram } => histograms.push(HistogramSample {
                    timestamp_ms: at_ms,
                    start_ms: *start_ms,
                    histogram: Arc::clone(histogram),
                }),
            }
        }
        Samples { floats, histograms }
    }

    fn touches_days(&self, range: TimeRange) -> bool {
        let (first, last) = (Day::of(range.from_ms), Day::of(range.to_ms));
        self.samples.keys().any(|at_ms| (first..=last).contains(&Day::of(*at_ms)))
    }
}

impl Element {
    /// What decides between two at one time: a value beats a stale marker; then a float histogram
    /// beats an integer one, and that a float; then the greater bytes; then the greater start
    /// timestamp.
    fn rank(&self) -> (bool, u8, Vec<u8>, i64) {
        match self {
            Self::Float { start_ms, value } => {
                (!is_stale(*value), 0, value.to_bits().to_be_bytes().to_vec(), *start_ms)
            }
            Self::Histogram { start_ms, histogram } => {
                let kind = match histogram.buckets {
                    Buckets::Integer { .. } => 1,
                    Buckets::Float { .. } => 2,
                };
                (!histogram.is_stale(), kind, histogram.canonical_bytes(), *start_ms)
            }
        }
    }
}
