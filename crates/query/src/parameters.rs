//! What parameters mean: times, durations, limits, selectors.

use std::num::{IntErrorKind, ParseIntError};
use std::time::Duration;

use rangekeeper_model::{Matcher, TimeRange, go_quote};
use rangekeeper_promql::{ParserOptions, SelectorError, parse_metric_selector};

use crate::error::QueryError;

pub(crate) const NS_PER_MS: i64 = 1_000_000;

/// The parameters of a request, names and values as they came; a name may come several times.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parameters<'a>(pub(crate) &'a [(String, String)]);

impl<'a> Parameters<'a> {
    /// The first value of `name` that is not empty.
    pub(crate) fn first(self, name: &str) -> Option<&'a str> {
        self.all(name).find(|value| !value.is_empty())
    }

    /// All values of `name`.
    pub(crate) fn all(self, name: &str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// A time, or `absent` where the parameter is not there.
    pub(crate) fn time_ms(self, name: &'static str, absent: i64) -> Result<i64, QueryError> {
        match self.first(name) {
            None => Ok(absent),
            Some(text) => time_ms(text).ok_or_else(|| {
                let reason = format!(
                    "invalid time value for '{name}': cannot parse {} to a valid timestamp",
                    go_quote(text)
                );
                QueryError::parameter(name, &reason)
            }),
        }
    }

    /// A time that has to be there.
    pub(crate) fn required_time_ms(self, name: &'static str) -> Result<i64, QueryError> {
        let text = self.first(name).unwrap_or_default();
        time_ms(text).ok_or_else(|| {
            let reason = format!("cannot parse {} to a valid timestamp", go_quote(text));
            QueryError::parameter(name, &reason)
        })
    }

    /// A duration in nanoseconds, if the parameter is there.
    pub(crate) fn duration_ns(self, name: &'static str) -> Result<Option<i64>, QueryError> {
        let duration = self.first(name).map(duration_ns).transpose();
        duration.map_err(|error| QueryError::parameter(name, &error))
    }

    /// `timeout`, if the request asks for one.
    pub(crate) fn timeout(self) -> Result<Option<Duration>, QueryError> {
        let ns = self.duration_ns("timeout")?;
        Ok(ns.map(|ns| Duration::from_nanos(u64::try_from(ns).unwrap_or(0))))
    }

    /// `lookback_delta` in milliseconds, unless the default is meant: by its absence, or by what is
    /// no positive duration.
    pub(crate) fn lookback_ms(self) -> Result<Option<i64>, QueryError> {
        let lookback = self.first("lookback_delta").map(duration_ns).transpose();
        let lookback_ns = lookback.map_err(|error| {
            QueryError::Invalid(format!("error parsing lookback delta duration: {error}"))
        })?;
        Ok(lookback_ns.filter(|ns| *ns > 0).map(|ns| ns / NS_PER_MS))
    }

    /// `limit`: a number of things, where 0 and absence mean all of them.
    pub(crate) fn limit(self) -> Result<usize, QueryError> {
        let Some(text) = self.first("limit") else { return Ok(usize::MAX) };
        let limit: i64 = text.parse().map_err(|error: ParseIntError| {
            let problem = match error.kind() {
                IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
                _ => "invalid syntax",
            };
            let reason = format!("strconv.Atoi: parsing {}: {problem}", go_quote(text));
            QueryError::parameter("limit", &reason)
        })?;
        match usize::try_from(limit) {
            Ok(0) => Ok(usize::MAX),
            Ok(limit) => Ok(limit),
            Err(_) => Err(QueryError::parameter("limit", "limit must be non-negative")),
        }
    }

    /// A number of things as `metadata` takes it, `None` where it is absent.
    pub(crate) fn count(self, name: &'static str) -> Result<Option<i64>, QueryError> {
        let count = self.first(name).map(str::parse).transpose();
        count.map_err(|_| QueryError::Invalid(format!("{name} must be a number")))
    }

    /// `start` and `end`, from the beginning to the end of time where they are absent. The end may
    /// come first.
    pub(crate) fn range(self) -> Result<TimeRange, QueryError> {
        let from_ms = self.time_ms("start", i64::MIN)?;
        let to_ms = self.time_ms("end", i64::MAX)?;
        Ok(TimeRange { from_ms, to_ms })
    }

    /// All `match[]`.
    pub(crate) fn selectors(
        self,
        options: &ParserOptions,
    ) -> Result<Vec<Vec<Matcher>>, SelectorError> {
        self.all("match[]").map(|text| parse_metric_selector(text, options)).collect()
    }
}

/// A text is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum DurationError {
    #[error("cannot parse {} to a valid duration", go_quote(.0))]
    Syntax(String),
    #[error("cannot parse {} to a valid duration. It overflows int64", go_quote(.0))]
    Overflow(String),
}

/// Unix seconds with a fraction, or RFC 3339.
fn time_ms(text: &str) -> Option<i64> {
    if let Ok(seconds) = text.parse::<f64>() {
        return seconds.is_finite().then(|| seconds_to_ms(seconds));
    }
    text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond)
}

/// Milliseconds of Unix seconds as Prometheus has them: the fraction of the float is rounded, not
/// the float, so 1.0005 is 1 s because its fraction is a little less than half a millisecond. What
/// is out of range goes to its end.
#[expect(clippy::cast_possible_truncation, reason = "a cast from float to integer saturates")]
fn seconds_to_ms(seconds: f64) -> i64 {
    let whole_ms = (seconds.trunc() as i64).saturating_mul(1_000);
    let fraction = (seconds.fract() * 1000.0).round() / 1000.0;
    let fraction_ns = (fraction * 1e9) as i64;
    whole_ms.saturating_add(fraction_ns.div_euclid(NS_PER_MS))
}

/// Seconds with a fraction, or a duration as PromQL writes it, in nanoseconds; what is less than
/// one is cut off.
fn duration_ns(text: &str) -> Result<i64, DurationError> {
    if let Ok(seconds) = text.parse::<f64>() {
        let ns = seconds * 1e9;
        // The float next below is the greatest that 64 bits have; NaN becomes 0.
        if ns.abs() > 9_223_372_036_854_775_807.0 {
            return Err(DurationError::Overflow(text.to_owned()));
        }
        #[expect(clippy::cast_possible_truncation, reason = "checked to be in range")]
        return Ok(ns as i64);
    }
    let ms = rangekeeper_promql::parse_duration_ms(text);
    ms.and_then(|ms| ms.checked_mul(NS_PER_MS))
        .ok_or_else(|| DurationError::Syntax(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_unix_seconds_or_rfc_3339() {
        for (text, expected) in [
            ("1600096945.479", Some(1_600_096_945_479)),
            ("4", Some(4_000)),
            ("1600096945479", Some(1_600_096_945_479_000)),
            ("2020-09-14T15:22:25.479Z", Some(1_600_096_945_479)),
            ("2020-09-14T17:22:25.479+02:00", Some(1_600_096_945_479)),
            ("NaN", None),
            ("yesterday", None),
        ] {
            assert_eq!(time_ms(text), expected, "{text}");
        }
    }

    #[test]
    fn the_fraction_of_a_time_is_rounded_to_milliseconds() {
        for (text, expected) in [
            ("1.0005", 1_000),
            ("0.9999", 1_000),
            ("1.9996", 2_000),
            ("-1.0005", -1_000),
            ("-0.0005", -1),
            ("-1.5", -1_500),
            ("1e300", i64::MAX),
        ] {
            assert_eq!(time_ms(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn durations_are_seconds_or_promql_and_cut_off() {
        for (text, expected) in [
            ("15", Some(15_000_000_000)),
            ("1.0005", Some(1_000_500_000)),
            ("0.0166667", Some(16_666_700)),
            ("14.9999", Some(14_999_900_000)),
            ("1e-10", Some(0)),
            ("NaN", Some(0)),
            ("9223372036", Some(9_223_372_036_000_000_000)),
            ("1h30m", Some(5_400_000_000_000)),
            ("x", None),
            ("-5m", None),
            ("9223372037", None),
            ("-Inf", None),
        ] {
            assert_eq!(duration_ns(text).ok(), expected, "{text}");
        }
    }
}
