//! The words of annotations, and Go's ways to write numbers and times.

use std::fmt;

use rangekeeper_model::{Day, go_quote};

use super::Annotation;
use crate::ast::Span;

impl fmt::Display for Annotation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidQuantile(q) => {
                write!(f, "quantile value should be between 0 and 1, got {}", go_float(*q))
            }
            Self::InvalidRatio { given, taken } => write!(
                f,
                "ratio value should be between -1 and 1, got {}, capping to {}",
                go_float(*given),
                go_float(*taken)
            ),
            Self::BadBucketLabel { le, metric } => {
                let le = go_quote(le);
                write!(f, "bucket label \"le\" is missing or has a malformed value of {le}")?;
                for_metric(f, metric.as_deref())
            }
            Self::MixedRange { metric } => {
                f.write_str("encountered a mix of histograms and floats")?;
                for_metric(f, Some(metric))
            }
            Self::MixedGroup => {
                f.write_str("encountered a mix of histograms and floats for aggregation")
            }
            Self::ClassicAndNative { metric } => {
                f.write_str("vector contains a mix of classic and native histograms")?;
                for_metric(f, metric.as_deref())
            }
            Self::SortIneffective => f.write_str(
                "sort is ineffective for range queries since results are always ordered by labels",
            ),
            Self::OverlappingStart { metric } => write!(
                f,
                "sample has start time that overlaps with previous sample timestamp for metric {}",
                go_quote(metric)
            ),
            Self::PossibleNonCounter { metric } => write!(
                f,
                "metric might not be a counter, \
                 name does not end in _total/_sum/_count/_bucket: {}",
                go_quote(metric)
            ),
            Self::ForcedMonotonicity { metric, .. } => {
                f.write_str(
                    "input to histogram_quantile needed to be fixed for monotonicity (see \
                     https://prometheus.io/docs/prometheus/latest/querying/functions/\
                     #histogram_quantile)",
                )?;
                for_metric(f, metric.as_deref())
            }
            Self::IncompatibleSamples { op, left, right } => write!(
                f,
                "incompatible sample types encountered for binary operator \"{op}\": \
                 {left} {op} {right}"
            ),
            Self::HistogramIgnoredInAggregation(op) => {
                write!(f, "ignored histogram in {op} aggregation")
            }
            Self::HistogramIgnoredInRange { metric } => {
                f.write_str("ignored histograms in a range containing both floats and histograms")?;
                for_metric(f, Some(metric))
            }
        }
    }
}

fn for_metric(f: &mut fmt::Formatter<'_>, metric: Option<&str>) -> fmt::Result {
    match metric {
        Some(name) => write!(f, " for metric name {}", go_quote(name)),
        None => Ok(()),
    }
}

/// Line and column, from 1, of where `span` starts; columns are bytes.
pub(super) fn line_and_column(query: &str, span: Span) -> String {
    let start = (span.start as usize).min(query.len());
    let before = &query.as_bytes()[..start];
    let last_line = before.split(|b| *b == b'\n').next_back().unwrap_or_default();
    let line = before.split(|b| *b == b'\n').count();
    let column = 1 + last_line.len();
    format!("{line}:{column}")
}

/// A float as Go's `%g` writes it: the fewest digits that say it, with an exponent below 1e-4 and
/// from 1e6 on.
pub fn go_float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf".into() } else { "-Inf".into() };
    }
    let exponential = format!("{value:e}");
    let (mantissa, exponent) = exponential.split_once('e').expect("the format has an exponent");
    let exponent: i32 = exponent.parse().expect("the exponent is a number");
    if (-4..6).contains(&exponent) {
        return format!("{value}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

/// A float as Go's `%.2g` writes it.
pub(super) fn two_digits(value: f64) -> String {
    if !value.is_finite() || value == 0.0 {
        return go_float(value);
    }
    let exponential = format!("{value:.1e}");
    let (mantissa, exponent) = exponential.split_once('e').expect("the format has an exponent");
    let exponent: i32 = exponent.parse().expect("the exponent is a number");
    if (-4..2).contains(&exponent) {
        let rounded: f64 = exponential.parse().expect("it was made from a float");
        return format!("{rounded}");
    }
    let mantissa = mantissa.strip_suffix(".0").unwrap_or(mantissa);
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

/// A time in UTC to the second.
pub(super) fn rfc3339(time_ms: i64) -> String {
    let seconds = time_ms.max(0) / 1000;
    let (hours, minutes) = (seconds / 3600 % 24, seconds / 60 % 60);
    format!("{}T{hours:02}:{minutes:02}:{:02}Z", Day::of(time_ms), seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_written_as_go_does() {
        let cases = [
            (1.1, "1.1"),
            (-1.0, "-1"),
            (1e6, "1e+06"),
            (123_456.0, "123456"),
            (1e-5, "1e-05"),
            (f64::INFINITY, "+Inf"),
            (1.5e300, "1.5e+300"),
        ];
        for (value, text) in cases {
            assert_eq!(go_float(value), text);
        }
        for (value, text) in [(7.5, "7.5"), (10.0, "10"), (123.0, "1.2e+02"), (0.01234, "0.012")] {
            assert_eq!(two_digits(value), text);
        }
    }
}
