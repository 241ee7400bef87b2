//! JSON as the Prometheus HTTP API writes it.
//!
//! Written straight into bytes: an answer of a hundred thousand points is a megabyte of short
//! numbers, and a tree of JSON values in between would cost more than the query.

mod histogram;
mod number;

use std::time::Duration;

use rangekeeper_model::Labels;
use rangekeeper_promql::eval::Stats;
use rangekeeper_promql::value::{SampleValue, Series, Value};
use rangekeeper_storage::SeriesExemplars;

use self::histogram::append_histogram;
use self::number::{append_seconds, append_value_text};

/// What stands around an answer.
#[derive(Debug, Default)]
pub(crate) struct Envelope {
    pub(crate) warnings: Vec<String>,
    pub(crate) infos: Vec<String>,
}

impl Envelope {
    /// The whole answer; `data` appends what was asked for.
    pub(crate) fn render(&self, data: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        self.close(Self::body(data))
    }

    /// The answer but for its end, before which warnings can still be added.
    pub(crate) fn body(data: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = b"{\"status\":\"success\",\"data\":".to_vec();
        data(&mut out);
        out
    }

    /// Adds the end.
    pub(crate) fn close(&self, mut out: Vec<u8>) -> Vec<u8> {
        for (name, texts) in [("warnings", &self.warnings), ("infos", &self.infos)] {
            if !texts.is_empty() {
                out.push(b',');
                append_text(&mut out, name);
                out.push(b':');
                append_list(&mut out, texts, |out, text| append_text(out, text));
            }
        }
        out.push(b'}');
        out
    }
}

/// What a query cost, for those who ask.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// What was read and held.
    pub(crate) samples: Stats,
    /// From its coming to its turn.
    pub(crate) queued: Duration,
    /// Its evaluation, reading and sorting included.
    pub(crate) evaluated: Duration,
    /// From its coming until it was evaluated.
    pub(crate) executed: Duration,
}

/// Appends a value of the evaluator; at most `limit` series of it. Returns whether that cut
/// something off.
pub(crate) fn append_value(
    out: &mut Vec<u8>,
    value: &Value,
    limit: usize,
    cost: Option<Cost>,
) -> bool {
    out.extend_from_slice(b"{\"resultType\":");
    append_text(out, value.type_name());
    out.extend_from_slice(b",\"result\":");
    let series = match value {
        Value::Scalar(point) => {
            append_point(out, point.timestamp_ms, point.value);
            0
        }
        Value::String(point) => {
            out.push(b'[');
            append_seconds(out, point.timestamp_ms);
            out.push(b',');
            append_text(out, &String::from_utf8_lossy(&point.bytes));
            out.push(b']');
            0
        }
        Value::Vector(samples) => {
            append_list(out, &samples[..samples.len().min(limit)], |out, sample| {
                append_metric(out, &sample.labels);
                match &sample.value {
                    SampleValue::Float(value) => {
                        out.extend_from_slice(b"\"value\":");
                        append_point(out, sample.timestamp_ms, *value);
                    }
                    SampleValue::Histogram(histogram) => {
                        out.extend_from_slice(b"\"histogram\":");
                        append_histogram(out, sample.timestamp_ms, histogram);
                    }
                }
                out.push(b'}');
            });
            samples.len()
        }
        Value::Matrix(series) => {
            append_list(out, &series[..series.len().min(limit)], append_series);
            series.len()
        }
    };
    if let Some(cost) = cost {
        append_cost(out, cost);
    }
    out.push(b'}');
    series > limit
}

fn append_series(out: &mut Vec<u8>, series: &Series) {
    append_metric(out, &series.labels);
    let mut floats = series.floats().peekable();
    let mut histograms = series.histograms().peekable();
    let has_floats = floats.peek().is_some();
    if has_floats {
        out.extend_from_slice(b"\"values\":");
        append_items(out, floats, |out, (at_ms, value)| append_point(out, at_ms, value));
    }
    if histograms.peek().is_some() {
        if has_floats {
            out.push(b',');
        }
        out.extend_from_slice(b"\"histograms\":");
        append_items(out, histograms, |out, (at_ms, histogram)| {
            append_histogram(out, at_ms, histogram);
        });
    } else if !has_floats {
        out.extend_from_slice(b"\"values\":[]");
    }
    out.push(b'}');
}

fn append_metric(out: &mut Vec<u8>, labels: &Labels) {
    out.extend_from_slice(b"{\"metric\":");
    append_labels(out, labels);
    out.push(b',');
}

fn append_point(out: &mut Vec<u8>, at_ms: i64, value: f64) {
    out.push(b'[');
    append_seconds(out, at_ms);
    out.push(b',');
    append_value_text(out, value);
    out.push(b']');
}

/// Appends `stats`. Prometheus also times the parts of an evaluation; here they overlap, as series
/// are read, evaluated and given up one by one.
fn append_cost(out: &mut Vec<u8>, cost: Cost) {
    use std::io::Write as _;
    let Cost { samples, queued, evaluated, executed } = cost;
    write!(
        out,
        ",\"stats\":{{\"timings\":{{\"evalTotalTime\":{},\"execQueueTime\":{},\
         \"execTotalTime\":{}}},\
         \"samples\":{{\"totalQueryableSamples\":{},\"peakSamples\":{}}}}}",
        evaluated.as_secs_f64(),
        queued.as_secs_f64(),
        executed.as_secs_f64(),
        samples.samples_read,
        samples.peak_samples
    )
    .expect("a Vec takes all");
}

/// Appends exemplars by series.
pub(crate) fn append_exemplars(out: &mut Vec<u8>, found: &[SeriesExemplars]) {
    append_list(out, found, |out, series| {
        out.extend_from_slice(b"{\"seriesLabels\":");
        append_labels(out, &series.labels);
        out.extend_from_slice(b",\"exemplars\":");
        append_list(out, &series.exemplars, |out, exemplar| {
            out.extend_from_slice(b"{\"labels\":");
            append_labels(out, &exemplar.labels);
            out.extend_from_slice(b",\"value\":");
            append_value_text(out, exemplar.value);
            out.extend_from_slice(b",\"timestamp\":");
            append_seconds(out, exemplar.timestamp_ms);
            out.push(b'}');
        });
        out.push(b'}');
    });
}

/// Appends a label set as an object.
pub(crate) fn append_labels(out: &mut Vec<u8>, labels: &Labels) {
    out.push(b'{');
    for (index, (name, value)) in labels.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        append_text(out, name);
        out.push(b':');
        append_text(out, value);
    }
    out.push(b'}');
}

/// Appends a list.
pub(crate) fn append_list<T>(out: &mut Vec<u8>, items: &[T], append: impl FnMut(&mut Vec<u8>, &T)) {
    append_items(out, items.iter(), append);
}

fn append_items<T>(
    out: &mut Vec<u8>,
    items: impl Iterator<Item = T>,
    mut append: impl FnMut(&mut Vec<u8>, T),
) {
    out.push(b'[');
    for (index, item) in items.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        append(out, item);
    }
    out.push(b']');
}

/// Appends a text in quotes.
pub(crate) fn append_text(out: &mut Vec<u8>, text: &str) {
    let plain = |b: u8| b >= 0x20 && b != b'"' && b != b'\\';
    if text.bytes().all(plain) {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        serde_json::to_writer(out, text).expect("a Vec takes all");
    }
}
