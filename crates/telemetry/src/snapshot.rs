//! Metrics whose values are kept elsewhere and read at each scrape: a store's own statistics, an
//! allocator's, a queue's length.

use prometheus::core::{Collector, Desc};
use prometheus::proto::{self, LabelPair, Metric, MetricFamily, MetricType};

use crate::registry::Kind;

/// A metric that a snapshot gives readings of.
#[derive(Debug)]
pub struct Family {
    /// `rangekeeper_<area>_<noun>_<unit|total>`.
    pub name: &'static str,
    /// What kind of metric it is.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it counts, in one sentence.
    pub help: &'static str,
}

impl Family {
    /// A counter; its readings are running totals.
    pub const fn counter(
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self { name, kind: Kind::Counter, labels, help }
    }

    /// A gauge.
    pub const fn gauge(
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self { name, kind: Kind::Gauge, labels, help }
    }

    /// A histogram, counted elsewhere.
    pub const fn histogram(
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self { name, kind: Kind::Histogram, labels, help }
    }
}

/// What a histogram has counted so far.
#[derive(Clone, Debug)]
pub struct Distribution {
    /// Upper bounds, rising, and how many values each bucket has for itself.
    pub buckets: Vec<(f64, u64)>,
    /// Values above the last bound.
    pub above: u64,
    /// Sum of all values.
    pub sum: f64,
}

/// The readings of one scrape.
pub struct Readings {
    families: &'static [Family],
    metrics: Vec<Vec<Metric>>,
}

impl Readings {
    /// Gives the value of the family `name` under label values in the order of its labels.
    ///
    /// A family that is not among those of the snapshot, or a wrong number of label values, is a
    /// bug and panics.
    pub fn set(&mut self, name: &str, label_values: &[&str], value: f64) {
        self.push(name, label_values, |kind, metric| {
            if kind == Kind::Counter {
                let mut counter = proto::Counter::default();
                counter.set_value(value);
                metric.set_counter(counter);
            } else {
                let mut gauge = proto::Gauge::default();
                gauge.set_value(value);
                metric.set_gauge(gauge);
            }
        });
    }

    /// Gives what the histogram `name` has counted, likewise.
    pub fn set_histogram(&mut self, name: &str, label_values: &[&str], counted: &Distribution) {
        self.push(name, label_values, |_, metric| {
            let mut total = 0;
            let bucket = |(bound, count): &(f64, u64)| {
                total += count;
                let mut bucket = proto::Bucket::default();
                bucket.set_upper_bound(*bound);
                bucket.set_cumulative_count(total);
                bucket
            };
            let buckets = counted.buckets.iter().map(bucket).collect();
            let mut histogram = proto::Histogram::default();
            histogram.set_bucket(buckets);
            histogram.set_sample_count(total + counted.above);
            histogram.set_sample_sum(counted.sum);
            metric.set_histogram(histogram);
        });
    }

    fn push(&mut self, name: &str, label_values: &[&str], fill: impl FnOnce(Kind, &mut Metric)) {
        let index = self
            .families
            .iter()
            .position(|family| family.name == name)
            .unwrap_or_else(|| panic!("metric {name} is not among the snapshot's families"));
        let family = &self.families[index];
        assert_eq!(family.labels.len(), label_values.len(), "labels of metric {name}");
        let mut metric = labelled(family, label_values);
        fill(family.kind, &mut metric);
        self.metrics[index].push(metric);
    }
}

fn labelled(family: &Family, label_values: &[&str]) -> Metric {
    let pair = |(name, value): (&&str, &&str)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    };
    Metric::from_label(family.labels.iter().zip(label_values).map(pair).collect())
}

type Read = Box<dyn Fn(&mut Readings) + Send + Sync>;

/// The collector that the `prometheus` crate sees.
pub(crate) struct Snapshot {
    families: &'static [Family],
    descriptions: Vec<Desc>,
    read: Read,
}

impl Snapshot {
    pub(crate) fn new(families: &'static [Family], read: Read) -> Self {
        let describe = |family: &Family| {
            let labels = family.labels.iter().map(|&label| label.to_owned()).collect();
            Desc::new(family.name.to_owned(), family.help.to_owned(), labels, [].into())
                .unwrap_or_else(|error| panic!("metric {} cannot be made: {error}", family.name))
        };
        Self { families, descriptions: families.iter().map(describe).collect(), read }
    }
}

impl Collector for Snapshot {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut readings =
            Readings { families: self.families, metrics: vec![Vec::new(); self.families.len()] };
        (self.read)(&mut readings);
        self.families.iter().zip(readings.metrics).map(|(f, metrics)| family(f, metrics)).collect()
    }
}

fn family(family: &Family, metrics: Vec<Metric>) -> MetricFamily {
    let kind = match family.kind {
        Kind::Counter => MetricType::COUNTER,
        Kind::Gauge => MetricType::GAUGE,
        Kind::Histogram => MetricType::HISTOGRAM,
    };
    let mut out = MetricFamily::default();
    out.set_name(family.name.to_owned());
    out.set_help(family.help.to_owned());
    out.set_field_type(kind);
    out.set_metric(metrics);
    out
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::Registry;

    const FAMILIES: &[Family] = &[
        Family::gauge("rangekeeper_test_files", &["level"], "Files."),
        Family::counter("rangekeeper_test_reads_total", &[], "Reads."),
        Family::gauge("rangekeeper_test_never_bytes", &[], "Never read."),
    ];

    #[test]
    fn reads_values_at_each_scrape() {
        let reads = Arc::new(AtomicU32::new(0));
        let registry = Registry::new();
        let counted = Arc::clone(&reads);
        registry.snapshot(FAMILIES, move |readings| {
            let reads = counted.fetch_add(1, Ordering::Relaxed) + 1;
            readings.set("rangekeeper_test_files", &["0"], 2.0);
            readings.set("rangekeeper_test_files", &["1"], 5.0);
            readings.set("rangekeeper_test_reads_total", &[], f64::from(reads));
        });
        registry.encode();
        let text = registry.encode();
        for line in [
            "# TYPE rangekeeper_test_files gauge",
            "rangekeeper_test_files{level=\"1\"} 5",
            "# TYPE rangekeeper_test_reads_total counter",
            "rangekeeper_test_reads_total 2",
        ] {
            assert!(text.lines().any(|l| l == line), "no line {line:?} in\n{text}");
        }
        assert!(!text.contains("never"), "a family without a reading is not exported:\n{text}");
        assert_eq!(registry.definitions().len(), 3);
    }

    #[test]
    fn gives_histograms_that_were_counted_elsewhere() {
        const FAMILIES: &[Family] =
            &[Family::histogram("rangekeeper_test_duration_seconds", &[], "Times.")];
        let registry = Registry::new();
        registry.snapshot(FAMILIES, |readings| {
            let counted = Distribution { buckets: vec![(0.5, 2), (1.0, 3)], above: 4, sum: 9.5 };
            readings.set_histogram("rangekeeper_test_duration_seconds", &[], &counted);
        });
        let text = registry.encode();
        for line in [
            "rangekeeper_test_duration_seconds_bucket{le=\"0.5\"} 2",
            "rangekeeper_test_duration_seconds_bucket{le=\"1\"} 5",
            "rangekeeper_test_duration_seconds_bucket{le=\"+Inf\"} 9",
            "rangekeeper_test_duration_seconds_sum 9.5",
            "rangekeeper_test_duration_seconds_count 9",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in {text}");
        }
    }
}
