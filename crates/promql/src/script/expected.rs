//! What a script expects of a query, and whether an answer is that.

use std::collections::BTreeMap;

use rangekeeper_model::{Labels, is_stale};
use regex::Regex;

use crate::annotations::{RenderedAnnotations, go_float};
use crate::series_description::SeriesValue;
use crate::value::{InstantSample, SampleValue, Series, Value};

/// Relative difference below which two floats are the same.
const TOLERANCE: f64 = 1e-6;

/// A text that is expected to be said.
#[derive(Clone, Debug)]
pub(super) enum Text {
    /// Anything.
    Any,
    /// Exactly this.
    Exact(String),
    /// What this matches.
    Pattern(Regex),
}

/// What a query must answer.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// One number.
    Scalar(f64),
    /// A text.
    Text(Vec<u8>),
    /// Series with the points of the query's steps, in the order written.
    Series(Vec<(Labels, Vec<SeriesValue>)>),
    /// Series of a range vector, with points at times of their own.
    RangeVector {
        /// Time of the first point.
        start_ms: i64,
        /// Distance of the points.
        step_ms: i64,
        /// The series.
        series: Vec<(Labels, Vec<SeriesValue>)>,
    },
}

/// All that a script expects of one query.
#[derive(Clone, Debug, Default)]
pub(super) struct Expectation {
    /// The answer; `None` is the empty one.
    pub answer: Option<Answer>,
    /// Whether the order of an instant vector matters.
    pub ordered: bool,
    /// The query must fail, and say this.
    pub fail: Option<Text>,
    /// Warnings; empty if they do not matter.
    pub warnings: Vec<Text>,
    /// Infos; empty if they do not matter.
    pub infos: Vec<Text>,
    /// There must be no warning.
    pub no_warnings: bool,
    /// There must be no info.
    pub no_infos: bool,
}

impl Text {
    /// Whether `text` is what was expected.
    pub fn is(&self, text: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => exact == text,
            Self::Pattern(regex) => regex.is_match(text),
        }
    }
}

impl Expectation {
    /// Compares what was said beside the answer.
    pub fn check_annotations(&self, said: &RenderedAnnotations) -> Result<(), String> {
        let kinds = [
            ("warning", &self.warnings, self.no_warnings, &said.warnings),
            ("info", &self.infos, self.no_infos, &said.infos),
        ];
        for (kind, expected, forbidden, said) in kinds {
            if forbidden && !said.is_empty() {
                return Err(format!("expected no {kind}, got {said:?}"));
            }
            if let Some(missing) = expected.iter().find(|e| !said.iter().any(|text| e.is(text))) {
                return Err(format!("expected {kind} {missing:?}, got {said:?}"));
            }
            let matched = |text: &&String| expected.iter().any(|e| e.is(text));
            if let Some(more) = said.iter().find(|text| !expected.is_empty() && !matched(text)) {
                return Err(format!("unexpected {kind} {more:?}"));
            }
        }
        Ok(())
    }

    /// Compares an answer. The steps of a matrix are `start_ms` and then every `step_ms`.
    pub fn check(&self, value: &Value, start_ms: i64, step_ms: i64) -> Result<(), String> {
        match (&self.answer, value) {
            (Some(Answer::Scalar(expected)), Value::Scalar(point)) => {
                if is_close(*expected, point.value) {
                    return Ok(());
                }
                Err(format!("expected {}, got {}", go_float(*expected), go_float(point.value)))
            }
            (Some(Answer::Text(expected)), Value::String(point)) => {
                if *expected == point.bytes {
                    return Ok(());
                }
                let texts = [expected, &point.bytes].map(|b| String::from_utf8_lossy(b));
                Err(format!("expected {:?}, got {:?}", texts[0], texts[1]))
            }
            (Some(Answer::Series(series)), Value::Vector(samples)) => {
                self.check_vector(series, samples)
            }
            (None, Value::Vector(samples)) => self.check_vector(&[], samples),
            (Some(Answer::Series(expected)), Value::Matrix(series)) => {
                check_matrix(expected, series, start_ms, step_ms)
            }
            (None, Value::Matrix(series)) => check_matrix(&[], series, start_ms, step_ms),
            (
                Some(Answer::RangeVector { start_ms, step_ms, series: expected }),
                Value::Matrix(series),
            ) => check_matrix(expected, series, *start_ms, *step_ms),
            (_, value) => Err(format!("got an unexpected {}: {value:?}", value.type_name())),
        }
    }

    fn check_vector(
        &self,
        expected: &[(Labels, Vec<SeriesValue>)],
        samples: &[InstantSample],
    ) -> Result<(), String> {
        let mut seen = vec![false; expected.len()];
        for (place, sample) in samples.iter().enumerate() {
            let labels = &sample.labels;
            let at = expected.iter().position(|(other, _)| other == labels);
            let Some(at) = at else {
                return Err(format!("unexpected series {labels}: {}", text_of(&sample.value)));
            };
            if std::mem::replace(&mut seen[at], true) {
                return Err(format!("series {labels} came twice"));
            }
            if self.ordered && at != place {
                return Err(format!("expected {labels} at place {at}, it came at {place}"));
            }
            let point = expected[at].1.first().unwrap_or(&SeriesValue::Gap);
            if !is_point(point, &sample.value) {
                let (point, got) = (text_of_expected(point), text_of(&sample.value));
                return Err(format!("expected {point} for {labels}, got {got}"));
            }
        }
        match seen.iter().position(|seen| !seen) {
            Some(at) => Err(format!("expected {}, which did not come", expected[at].0)),
            None => Ok(()),
        }
    }
}

/// Compares a matrix: the series in any order expected, but sorted as they come.
fn check_matrix(
    expected: &[(Labels, Vec<SeriesValue>)],
    series: &[Series],
    start_ms: i64,
    step_ms: i64,
) -> Result<(), String> {
    check_sorted(series)?;
    for got in series {
        let labels = &got.labels;
        let Some((_, points)) = expected.iter().find(|(other, _)| other == labels) else {
            let first = got.floats().next();
            return Err(format!("unexpected series {labels}, first float {first:?}"));
        };
        let mut actual: BTreeMap<i64, SampleValue> = BTreeMap::new();
        actual.extend(got.floats().map(|(t, v)| (t, SampleValue::Float(v))));
        actual.extend(got.histograms().map(|(t, h)| (t, SampleValue::Histogram(h.clone()))));
        for (index, point) in points.iter().enumerate() {
            let time_ms = start_ms + step_ms * index as i64;
            match (point, actual.remove(&time_ms)) {
                (SeriesValue::Gap, None) => {}
                (point, Some(value)) if is_point(point, &value) => {}
                (point, value) => {
                    let value = value.map_or_else(|| "nothing".to_owned(), |v| text_of(&v));
                    let point = text_of_expected(point);
                    return Err(format!(
                        "expected {point} for {labels} at {time_ms} ms, got {value}"
                    ));
                }
            }
        }
        if let Some((time_ms, value)) = actual.first_key_value() {
            let value = text_of(value);
            return Err(format!("unexpected {value} for {labels} at {time_ms} ms"));
        }
    }
    for (labels, points) in expected {
        let is_empty = points.iter().all(|point| matches!(point, SeriesValue::Gap));
        if !is_empty && !series.iter().any(|got| got.labels == *labels) {
            return Err(format!("expected {labels}, which did not come"));
        }
    }
    Ok(())
}

/// An error if series are not in the order of their labels.
pub(super) fn check_sorted(series: &[Series]) -> Result<(), String> {
    match series.windows(2).find(|pair| pair[0].labels >= pair[1].labels) {
        Some(pair) => Err(format!("{} came before {}", pair[0].labels, pair[1].labels)),
        None => Ok(()),
    }
}

/// Whether two floats are the same but for rounding.
fn is_close(expected: f64, actual: f64) -> bool {
    if is_stale(expected) || is_stale(actual) {
        return is_stale(expected) && is_stale(actual);
    }
    if expected.is_nan() && actual.is_nan() || expected == actual {
        return true;
    }
    let (sum, difference) = (expected.abs() + actual.abs(), (expected - actual).abs());
    if expected == 0.0 || actual == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < TOLERANCE * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < TOLERANCE
}

fn is_point(expected: &SeriesValue, actual: &SampleValue) -> bool {
    match (expected, actual) {
        (SeriesValue::Float(expected), SampleValue::Float(actual)) => is_close(*expected, *actual),
        (SeriesValue::Histogram { histogram, .. }, SampleValue::Histogram(actual)) => {
            **histogram == **actual
        }
        _ => false,
    }
}

fn text_of(value: &SampleValue) -> String {
    match value {
        SampleValue::Float(value) => go_float(*value),
        SampleValue::Histogram(histogram) => format!("{histogram:?}"),
    }
}

fn text_of_expected(value: &SeriesValue) -> String {
    match value {
        SeriesValue::Gap => "nothing".to_owned(),
        SeriesValue::Float(value) => go_float(*value),
        SeriesValue::Histogram { histogram, .. } => format!("{histogram:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closeness_is_relative() {
        assert!(is_close(1e300, 1e300 * (1.0 + 1e-7)));
        assert!(!is_close(1.0, 1.00001));
        assert!(!is_close(0.0, 1e-12));
        assert!(is_close(f64::NAN, -f64::NAN));
        assert!(!is_close(f64::INFINITY, f64::MAX));
    }
}
