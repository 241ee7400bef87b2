//! What parameters mean: times, durations, limits, selectors.

use rangekeeper_model::{Matcher, TimeRange};
use rangekeeper_promql::{ParserOptions, parse_metric_selector};

use crate::error::QueryError;

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
                let reason = format!("cannot parse {text:?} to a valid timestamp");
                QueryError::parameter(name, &reason)
            }),
        }
    }

    /// A duration in milliseconds, if the parameter is there.
    pub(crate) fn duration_ms(self, name: &'static str) -> Result<Option<i64>, QueryError> {
        let parse = |text: &str| {
            duration_ms(text).ok_or_else(|| {
                QueryError::parameter(name, &format!("cannot parse {text:?} to a valid duration"))
            })
        };
        self.first(name).map(parse).transpose()
    }

    /// `limit`: a number of things, where 0 and absence mean all of them.
    pub(crate) fn limit(self, name: &'static str) -> Result<usize, QueryError> {
        let Some(text) = self.first(name) else { return Ok(usize::MAX) };
        let limit: i64 = text.parse().map_err(|_| {
            QueryError::parameter(name, &format!("strconv.Atoi: parsing {text:?}: invalid syntax"))
        })?;
        match usize::try_from(limit) {
            Ok(0) => Ok(usize::MAX),
            Ok(limit) => Ok(limit),
            Err(_) => Err(QueryError::parameter(name, "limit must be non-negative")),
        }
    }

    /// `start` and `end`, from the beginning to the end of time where they are absent.
    pub(crate) fn range(self) -> Result<TimeRange, QueryError> {
        let from_ms = self.time_ms("start", i64::MIN)?;
        let to_ms = self.time_ms("end", i64::MAX)?;
        if to_ms < from_ms {
            let reason = "end timestamp must not be before start time";
            return Err(QueryError::parameter("end", reason));
        }
        Ok(TimeRange { from_ms, to_ms })
    }

    /// All `match[]`.
    pub(crate) fn selectors(
        self,
        options: &ParserOptions,
    ) -> Result<Vec<Vec<Matcher>>, QueryError> {
        self.all("match[]")
            .map(|text| {
                parse_metric_selector(text, options)
                    .map_err(|error| QueryError::parameter("match[]", &error))
            })
            .collect()
    }
}

/// Unix seconds with a fraction, or RFC 3339.
fn time_ms(text: &str) -> Option<i64> {
    if let Ok(seconds) = text.parse::<f64>() {
        return seconds.is_finite().then(|| to_ms(seconds));
    }
    text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond)
}

/// Seconds with a fraction, or a duration as PromQL writes it.
pub(crate) fn duration_ms(text: &str) -> Option<i64> {
    if let Ok(seconds) = text.parse::<f64>() {
        let in_range = seconds.is_finite() && seconds.abs() < 9.2e9;
        return in_range.then(|| to_ms(seconds));
    }
    rangekeeper_promql::parse_duration_ms(text)
}

/// Rounds to the millisecond; what is out of range goes to its end.
#[expect(clippy::cast_possible_truncation, reason = "a cast from float to integer saturates")]
fn to_ms(seconds: f64) -> i64 {
    (seconds * 1000.0).round() as i64
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
    fn durations_are_seconds_or_promql() {
        for (text, expected) in
            [("15", Some(15_000)), ("0.5", Some(500)), ("1h30m", Some(5_400_000)), ("x", None)]
        {
            assert_eq!(duration_ms(text), expected, "{text}");
        }
    }
}
