//! The registry of a node's metrics.
//!
//! Every metric is made by one of its constructors, which note the name, type, labels and help:
//! that list is a contract with whoever draws dashboards, and it is complete even where no time
//! series exists yet.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus::core::Collector;
use prometheus::{HistogramOpts, Opts, TextEncoder};

use crate::snapshot::{Family, Readings, Snapshot};
use crate::{
    Counter, CounterVec, Gauge, GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec,
    IntGauge, IntGaugeVec,
};

/// What every name of ours begins with.
const PREFIX: &str = "rangekeeper_";

/// The type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Only rises, until the process ends.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Counts observations in buckets.
    Histogram,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        })
    }
}

/// A metric that the node exports.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Definition {
    /// `rangekeeper_<area>_<noun>_<unit|total>`, or a name that the field gives to every process.
    pub name: String,
    /// Its type.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: Vec<String>,
    /// What it counts, in one sentence.
    pub help: String,
}

/// The metrics of one node. Clones share them.
///
/// Names are constants of the program, so a name that is taken twice or breaks the rule is a bug:
/// the constructors panic, at the first start, naming it.
#[derive(Clone, Default)]
pub struct Registry {
    metrics: prometheus::Registry,
    definitions: Arc<Mutex<Vec<Definition>>>,
}

/// The bounds of latency histograms, in seconds: 100 µs to 60 s.
pub fn latency_buckets() -> Vec<f64> {
    vec![
        0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
        5.0, 10.0, 30.0, 60.0,
    ]
}

impl Registry {
    /// A registry without metrics.
    pub fn new() -> Self {
        Self::default()
    }

    /// A counter of whole things.
    pub fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.add(name, Kind::Counter, &[], help, IntCounter::new(name, help))
    }

    /// Counters of whole things by label.
    pub fn counters(&self, name: &str, labels: &[&str], help: &str) -> IntCounterVec {
        let metric = IntCounterVec::new(Opts::new(name, help), labels);
        self.add(name, Kind::Counter, labels, help, metric)
    }

    /// A counter of parts, such as seconds.
    pub fn float_counter(&self, name: &str, help: &str) -> Counter {
        self.add(name, Kind::Counter, &[], help, Counter::new(name, help))
    }

    /// Counters of parts by label.
    pub fn float_counters(&self, name: &str, labels: &[&str], help: &str) -> CounterVec {
        let metric = CounterVec::new(Opts::new(name, help), labels);
        self.add(name, Kind::Counter, labels, help, metric)
    }

    /// A gauge of whole things.
    pub fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.add(name, Kind::Gauge, &[], help, IntGauge::new(name, help))
    }

    /// Gauges of whole things by label.
    pub fn gauges(&self, name: &str, labels: &[&str], help: &str) -> IntGaugeVec {
        let metric = IntGaugeVec::new(Opts::new(name, help), labels);
        self.add(name, Kind::Gauge, labels, help, metric)
    }

    /// A gauge of parts, such as seconds or ratios.
    pub fn float_gauge(&self, name: &str, help: &str) -> Gauge {
        self.add(name, Kind::Gauge, &[], help, Gauge::new(name, help))
    }

    /// Gauges of parts by label.
    pub fn float_gauges(&self, name: &str, labels: &[&str], help: &str) -> GaugeVec {
        let metric = GaugeVec::new(Opts::new(name, help), labels);
        self.add(name, Kind::Gauge, labels, help, metric)
    }

    /// A histogram whose buckets end at `bounds`.
    pub fn histogram(&self, name: &str, help: &str, bounds: Vec<f64>) -> Histogram {
        let options = HistogramOpts::new(name, help).buckets(bounds);
        self.add(name, Kind::Histogram, &[], help, Histogram::with_opts(options))
    }

    /// Histograms by label, all with buckets that end at `bounds`.
    pub fn histograms(
        &self,
        name: &str,
        labels: &[&str],
        help: &str,
        bounds: Vec<f64>,
    ) -> HistogramVec {
        let options = HistogramOpts::new(name, help).buckets(bounds);
        self.add(name, Kind::Histogram, labels, help, HistogramVec::new(options, labels))
    }

    /// Metrics whose values are kept elsewhere: at each scrape `read` is called once and gives
    /// their readings.
    ///
    /// `read` runs where blocking is allowed. Counters must be given as their running totals.
    pub fn snapshot(
        &self,
        families: &'static [Family],
        read: impl Fn(&mut Readings) + Send + Sync + 'static,
    ) {
        for family in families {
            self.define(family.name, family.kind, family.labels, family.help);
        }
        self.register(families[0].name, Snapshot::new(families, Box::new(read)));
    }

    /// What the kernel knows of this process, under the names that every Prometheus client uses.
    ///
    /// The numbers are of the process, so of all nodes in it.
    pub fn process(&self) {
        let collector = prometheus::process_collector::ProcessCollector::for_self();
        for family in collector.collect() {
            let kind = match family.get_field_type() {
                prometheus::proto::MetricType::COUNTER => Kind::Counter,
                _ => Kind::Gauge,
            };
            self.note(family.name(), kind, &[], family.help());
        }
        self.register("process", collector);
    }

    /// All metrics that were made, by name.
    pub fn definitions(&self) -> Vec<Definition> {
        let mut definitions = self.definitions.lock().clone();
        definitions.sort();
        definitions
    }

    /// The metrics in the text format of Prometheus, 0.0.4. Blocks for as long as the snapshots
    /// take.
    pub fn encode(&self) -> String {
        TextEncoder::new()
            .encode_to_string(&self.metrics.gather())
            .expect("families have a name and a value each")
    }

    fn add<M: Collector + Clone + 'static>(
        &self,
        name: &str,
        kind: Kind,
        labels: &[&str],
        help: &str,
        metric: prometheus::Result<M>,
    ) -> M {
        self.define(name, kind, labels, help);
        let metric = metric.unwrap_or_else(|error| panic!("metric {name} cannot be made: {error}"));
        self.register(name, metric.clone());
        metric
    }

    fn register(&self, name: &str, collector: impl Collector + 'static) {
        self.metrics
            .register(Box::new(collector))
            .unwrap_or_else(|error| panic!("metric {name} cannot be registered: {error}"));
    }

    fn define(&self, name: &str, kind: Kind, labels: &[&str], help: &str) {
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        assert!(
            name.starts_with(PREFIX) && name.bytes().all(fits) && name.split('_').count() > 2,
            "metric {name} is not named rangekeeper_<area>_<noun>_<unit|total>"
        );
        assert_eq!(
            kind == Kind::Counter,
            name.ends_with("_total"),
            "metric {name}: counters, and only they, end in _total"
        );
        self.note(name, kind, labels, help);
    }

    fn note(&self, name: &str, kind: Kind, labels: &[&str], help: &str) {
        self.definitions.lock().push(Definition {
            name: name.to_owned(),
            kind,
            labels: labels.iter().map(|&label| label.to_owned()).collect(),
            help: help.to_owned(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_metrics_that_have_no_series_yet() {
        let registry = Registry::new();
        registry.counters("rangekeeper_test_things_total", &["kind"], "Things.");
        assert_eq!(registry.encode(), "");
        assert_eq!(
            registry.definitions(),
            [Definition {
                name: "rangekeeper_test_things_total".to_owned(),
                kind: Kind::Counter,
                labels: vec!["kind".to_owned()],
                help: "Things.".to_owned(),
            }]
        );
    }

    #[test]
    fn exports_what_was_counted() {
        let registry = Registry::new();
        let things = registry.counters("rangekeeper_test_things_total", &["kind"], "Things.");
        let waits = registry.histogram("rangekeeper_test_wait_seconds", "Waits.", vec![0.1, 1.0]);
        things.with_label_values(&["good"]).inc_by(3);
        waits.observe(0.5);
        let text = registry.encode();
        for line in [
            "# TYPE rangekeeper_test_things_total counter",
            "rangekeeper_test_things_total{kind=\"good\"} 3",
            "rangekeeper_test_wait_seconds_bucket{le=\"0.1\"} 0",
            "rangekeeper_test_wait_seconds_bucket{le=\"1\"} 1",
            "rangekeeper_test_wait_seconds_count 1",
        ] {
            assert!(text.lines().any(|l| l == line), "no line {line:?} in\n{text}");
        }
    }

    #[test]
    fn the_process_collector_gives_what_it_lists() {
        let registry = Registry::new();
        registry.process();
        let text = registry.encode();
        let definitions = registry.definitions();
        assert!(definitions.iter().any(|d| d.name == "process_cpu_seconds_total"));
        for definition in definitions {
            let line = format!("# TYPE {} {}", definition.name, definition.kind);
            assert!(text.lines().any(|l| l == line), "no line {line:?} in\n{text}");
        }
    }

    #[test]
    #[should_panic(expected = "end in _total")]
    fn refuses_a_counter_without_total() {
        Registry::new().counter("rangekeeper_test_things", "Things.");
    }

    #[test]
    #[should_panic(expected = "cannot be registered")]
    fn refuses_a_name_twice() {
        let registry = Registry::new();
        registry.counter("rangekeeper_test_things_total", "Things.");
        registry.counter("rangekeeper_test_things_total", "Things.");
    }
}
