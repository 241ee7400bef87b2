//! The lines that describe series in test scripts: labels, then values.
//!
//! ```text
//! up{job="node"} 1 _ 3x2 4+1x3 stale {{schema:1 count:3 sum:5 buckets:[1 2]}}x2
//! up{job="node"}@st _ -30s-1mx2
//! ```
//!
//! `_` is no sample, `ax2` three times `a`, `a+bx2` three values from `a` on in steps of `b`. The
//! second line gives the start timestamps of the samples that the next line describes, each as an
//! offset to its sample's time.

mod cursor;
mod histogram;

use rangekeeper_model::{Histogram, Labels, STALE_NAN_BITS};

use self::cursor::Cursor;
use self::histogram::Description as HistogramDescription;
use crate::parser::{duration_text_seconds, parse_metric};

/// The most values that a line may come to.
const MAX_VALUES: usize = 1_000_000;

/// What a line describes.
#[derive(Clone, Debug, PartialEq)]
pub enum SeriesLine {
    /// A series, with one value a step.
    Samples {
        /// Its labels.
        labels: Labels,
        /// Its values.
        values: Vec<SeriesValue>,
    },
    /// The start timestamps of the series that the next line describes.
    Starts {
        /// Its labels.
        labels: Labels,
        /// Of each sample the offset of its start timestamp to its time, in milliseconds; `None`
        /// where it has none.
        offsets_ms: Vec<Option<i64>>,
    },
}

/// What a series has at one step.
#[derive(Clone, Debug, PartialEq)]
pub enum SeriesValue {
    /// Nothing.
    Gap,
    /// A number; may be the stale marker.
    Float(f64),
    /// A native histogram with float counts.
    Histogram {
        /// The histogram.
        histogram: Box<Histogram>,
        /// Whether the text says what its counter reset hint is; if not, an expectation does not
        /// care.
        has_hint: bool,
    },
}

/// A line that is no description of a series.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("parse series: {text} at byte {at}")]
pub struct SeriesLineError {
    /// Which byte of the line it is about.
    pub at: usize,
    /// What is wrong.
    pub text: String,
}

/// Parses a line.
pub fn parse_series_line(line: &str) -> Result<SeriesLine, SeriesLineError> {
    let (labels, end) = parse_metric(line).map_err(|errors| {
        let first = &errors.errors()[0];
        SeriesLineError { at: first.span.start as usize, text: first.text.clone() }
    })?;
    if let Some(items) = line[end..].strip_prefix("@st") {
        let mut cursor = Cursor::new(line, line.len() - items.len());
        let mut offsets_ms = Vec::new();
        while cursor.next_item()? {
            start_item(&mut cursor, &mut offsets_ms)?;
        }
        return Ok(SeriesLine::Starts { labels, offsets_ms });
    }
    let mut cursor = Cursor::new(line, end);
    let mut values = Vec::new();
    while cursor.next_item()? {
        item(&mut cursor, &mut values)?;
    }
    Ok(SeriesLine::Samples { labels, values })
}

/// One item of a line of values.
fn item(cursor: &mut Cursor<'_>, values: &mut Vec<SeriesValue>) -> Result<(), SeriesLineError> {
    if cursor.take("_") {
        let count = times(cursor, values.len())?.unwrap_or(1);
        values.extend(std::iter::repeat_n(SeriesValue::Gap, count));
        return Ok(());
    }
    if cursor.rest().starts_with("{{") {
        return histogram_item(cursor, values);
    }
    let first = if cursor.take_word("stale") {
        f64::from_bits(STALE_NAN_BITS)
    } else {
        cursor.signed_number()?
    };
    let step = if cursor.at_sign() { Some(cursor.signed_number()?) } else { None };
    let Some(count) = times(cursor, values.len())? else {
        if step.is_some() {
            return Err(cursor.error("expected \"x\" and a count"));
        }
        values.push(SeriesValue::Float(first));
        return Ok(());
    };
    let mut value = first;
    for _ in 0..=count {
        values.push(SeriesValue::Float(value));
        // Added up one by one, as upstream does: a product would round otherwise.
        value += step.unwrap_or(0.0);
    }
    Ok(())
}

fn histogram_item(
    cursor: &mut Cursor<'_>,
    values: &mut Vec<SeriesValue>,
) -> Result<(), SeriesLineError> {
    let mut histogram = HistogramDescription::parse(cursor)?;
    let sign = match cursor.rest().as_bytes().first() {
        Some(b'+') => 1.0,
        Some(b'-') => -1.0,
        _ => 0.0,
    };
    let mut step = None;
    if sign != 0.0 {
        cursor.skip(1);
        step = Some(HistogramDescription::parse(cursor)?);
    }
    let count = times(cursor, values.len())?;
    if step.is_some() && count.is_none() {
        return Err(cursor.error("expected \"x\" and a count"));
    }
    let has_hint = step.as_ref().unwrap_or(&histogram).hint.is_some();
    for index in 0..=count.unwrap_or(0) {
        if let Some(step) = step.as_ref().filter(|_| index > 0) {
            histogram = histogram.plus(step, sign).map_err(|text| cursor.error(text))?;
        }
        let value = Box::new(histogram.to_histogram());
        values.push(SeriesValue::Histogram { histogram: value, has_hint });
    }
    Ok(())
}

/// One item of a line of start timestamps.
fn start_item(
    cursor: &mut Cursor<'_>,
    offsets_ms: &mut Vec<Option<i64>>,
) -> Result<(), SeriesLineError> {
    if cursor.take("_") {
        let count = times(cursor, offsets_ms.len())?.unwrap_or(1);
        offsets_ms.extend(std::iter::repeat_n(None, count));
        return Ok(());
    }
    let first = signed_duration_ms(cursor)?;
    let step = if cursor.at_sign() { Some(signed_duration_ms(cursor)?) } else { None };
    let count = times(cursor, offsets_ms.len())?;
    if step.is_some() && count.is_none() {
        return Err(cursor.error("expected \"x\" and a count"));
    }
    let mut offset = first;
    for _ in 0..=count.unwrap_or(0) {
        offsets_ms.push(Some(offset));
        offset = offset.saturating_add(step.unwrap_or(0));
    }
    Ok(())
}

/// The count after an `x`, if there is one; `present` values are there already.
fn times(cursor: &mut Cursor<'_>, present: usize) -> Result<Option<usize>, SeriesLineError> {
    if !cursor.take("x") {
        return Ok(None);
    }
    let digits = cursor.take_while(|c| c.is_ascii_digit());
    let count: usize = digits
        .parse()
        .map_err(|error| cursor.error(format!("invalid repetition in series values: {error}")))?;
    if present.saturating_add(count) > MAX_VALUES {
        return Err(cursor.error(format!("more than {MAX_VALUES} values")));
    }
    Ok(Some(count))
}

fn signed_duration_ms(cursor: &mut Cursor<'_>) -> Result<i64, SeriesLineError> {
    let is_negative = cursor.rest().starts_with('-');
    if cursor.at_sign() {
        cursor.skip(1);
    }
    let text = cursor.take_while(|c| c.is_ascii_digit() || "smhdwy".contains(c));
    if text.is_empty() {
        return Err(cursor.error("expected a duration"));
    }
    let seconds = duration_text_seconds(text).map_err(|text| cursor.error(text))?;
    #[expect(clippy::cast_possible_truncation, reason = "durations fit by far")]
    let ms = (seconds * 1000.0).round() as i64;
    Ok(if is_negative { -ms } else { ms })
}

#[cfg(test)]
mod tests;
