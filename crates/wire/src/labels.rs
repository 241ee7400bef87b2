//! The labels of a series as they lie in a request, and the slow way from there to canonical bytes.

use rangekeeper_model::{ErrorClass, METRIC_NAME, append_label, go_quote};

use crate::cursor::{BYTES, Cursor, Messages, fields, key};
use crate::error::DecodeError;

const LABELS: u32 = 1;
const NAME: u32 = key(1, BYTES);
const VALUE: u32 = key(2, BYTES);
const LABEL_FIELDS: u32 = fields(&[1, 2]);

/// Labels of a set beyond which it is refused without a closer look. In remote write 2.0 a
/// reference of a byte or two stands for a text of any length: what a short request says must not
/// be written out before it is known to be of a size that anybody would want to keep.
pub(crate) const MAX_LABELS: usize = 1 << 16;
/// Bytes of a label set, likewise.
pub(crate) const MAX_LABEL_SET_BYTES: usize = 16 << 20;

/// Error texts show this much of a label set: a sender logs the first 1,024 bytes of an answer.
const SHOWN_BYTES: usize = 512;
/// And this much of a name.
const SHOWN_NAME_BYTES: usize = 128;

/// The labels of a series of remote write 1.0, before anything in them was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RawLabels<'a> {
    /// All of them, one after the other, at the start of the series. If the sender is well-behaved
    /// these *are* the canonical bytes; if not, they are the identity of no series.
    Run(&'a [u8]),
    /// Other fields lie before or between them.
    Scattered,
}

/// Why one series can't be taken, while the others of its request can.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SeriesError {
    /// The bytes are malformed: here the request as a whole is lost.
    #[error(transparent)]
    Malformed(#[from] DecodeError),
    /// A metric name or label is not as it has to be.
    #[error("invalid metric name or labels, got {labels}: {fault}")]
    Labels {
        /// The label set, cut off where it is long.
        labels: String,
        /// What is wrong with it.
        fault: LabelFault,
    },
    /// A name occurs twice.
    #[error("invalid labels for series, labels {labels}, duplicated label {name}")]
    Duplicate {
        /// The label set, cut off where it is long.
        labels: String,
        /// The name, cut off where it is long.
        name: String,
    },
    /// References to labels come in pairs.
    #[error("parsing labels for series {refs}: invalid labelRefs length {count}")]
    OddRefs {
        /// The references, cut off where there are many.
        refs: String,
        /// How many there are.
        count: usize,
    },
    /// A reference points beyond the symbols.
    #[error(
        "parsing labels for series {refs}: labelRefs {name} (name) = {value} (value) \
         outside of symbols table (size {symbols})"
    )]
    RefOutOfRange {
        /// The references, cut off where there are many.
        refs: String,
        /// The reference to the name.
        name: u32,
        /// The reference to the value.
        value: u32,
        /// Number of symbols.
        symbols: usize,
    },
    /// A reference of the metadata points beyond the symbols.
    #[error(
        "parsing metadata for series: reference {reference} outside of symbols table \
         (size {symbols})"
    )]
    MetadataRef {
        /// The reference.
        reference: u32,
        /// Number of symbols.
        symbols: usize,
    },
}

/// What is wrong with a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelFault {
    /// Names and values are UTF-8.
    #[error("a name or value is not UTF-8")]
    NotUtf8,
    /// Every label has a name.
    #[error("a label has no name")]
    EmptyName,
    /// Every series has a metric name.
    #[error("no metric name")]
    NoMetricName,
    /// No label set has so many labels, whatever the receiver allows.
    #[error("more than {MAX_LABELS} labels")]
    TooMany,
    /// No label set is so long, whatever the receiver allows.
    #[error("longer than {MAX_LABEL_SET_BYTES} bytes")]
    TooLong,
}

impl SeriesError {
    /// What kind of failure it is.
    pub fn class(&self) -> ErrorClass {
        ErrorClass::Invalid
    }
}

/// Whether a label set must have a metric name: a series' must, an exemplar's need not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MetricName {
    Required,
    Optional,
}

pub(crate) type RawPair<'a> = (&'a [u8], &'a [u8]);

/// The (name, value) pairs of a message whose field 1 is a repeated `Label`, in the order of the
/// bytes.
#[derive(Clone, Debug)]
pub(crate) struct RawPairs<'a>(Messages<'a>);

impl<'a> RawPairs<'a> {
    pub(crate) fn new(fields: Cursor<'a>) -> Self {
        Self(Messages::new(fields, LABELS))
    }
}

impl<'a> Iterator for RawPairs<'a> {
    type Item = Result<RawPair<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.read_next(read_label)
    }
}

fn read_label(mut label: Cursor<'_>) -> Result<RawPair<'_>, DecodeError> {
    let (mut name, mut value) = (&[][..], &[][..]);
    while !label.is_done() {
        match label.key()? {
            NAME => name = label.bytes()?,
            VALUE => value = label.bytes()?,
            other => label.skip_unknown(other, LABEL_FIELDS)?,
        }
    }
    Ok((name, value))
}

/// A pair as text, if it is.
pub(crate) fn text_pair((name, value): RawPair<'_>) -> Result<(&str, &str), SeriesError> {
    match (str::from_utf8(name), str::from_utf8(value)) {
        (Ok(name), Ok(value)) => Ok((name, value)),
        _ => Err(SeriesError::Labels {
            labels: describe(&[(name, value)]),
            fault: LabelFault::NotUtf8,
        }),
    }
}

/// Writes the canonical bytes of `pairs` over `out`: sorted by name, without empty values; refuses
/// what is no label set.
pub(crate) fn canonicalize(
    pairs: &mut [RawPair<'_>],
    metric_name: MetricName,
    out: &mut Vec<u8>,
) -> Result<(), SeriesError> {
    out.clear();
    pairs.sort_by_key(|(name, _)| *name);
    check(pairs, metric_name)?;
    for (name, value) in pairs {
        append_label(out, name, value);
    }
    Ok(())
}

fn check(pairs: &[RawPair<'_>], metric_name: MetricName) -> Result<(), SeriesError> {
    let invalid = |fault| Err(SeriesError::Labels { labels: describe(pairs), fault });
    if pairs.len() > MAX_LABELS {
        return invalid(LabelFault::TooMany);
    }
    if pairs.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>()
        > MAX_LABEL_SET_BYTES
    {
        return invalid(LabelFault::TooLong);
    }
    if pairs.iter().any(|(n, v)| str::from_utf8(n).is_err() || str::from_utf8(v).is_err()) {
        return invalid(LabelFault::NotUtf8);
    }
    if pairs.iter().any(|(name, _)| name.is_empty()) {
        return invalid(LabelFault::EmptyName);
    }
    if let Some(twice) = pairs.windows(2).find(|p| p[0].0 == p[1].0) {
        return Err(SeriesError::Duplicate {
            labels: describe(pairs),
            name: describe_name(twice[0].0),
        });
    }
    let is_metric_name =
        |(name, value): &RawPair<'_>| *name == METRIC_NAME.as_bytes() && !value.is_empty();
    if metric_name == MetricName::Required && !pairs.iter().any(is_metric_name) {
        return invalid(LabelFault::NoMetricName);
    }
    Ok(())
}

/// `{a="1", b="2"}`, cut off where it is long.
pub(crate) fn describe(pairs: &[RawPair<'_>]) -> String {
    let mut text = String::from("{");
    for (at, (name, value)) in pairs.iter().enumerate() {
        if at > 0 {
            text.push_str(", ");
        }
        if text.len() > SHOWN_BYTES {
            break;
        }
        text.push_str(&describe_name(name));
        text.push('=');
        let start = &value[..value.len().min(SHOWN_BYTES)];
        text.push_str(&go_quote(&String::from_utf8_lossy(start)));
    }
    if text.len() > SHOWN_BYTES {
        text.truncate(text.floor_char_boundary(SHOWN_BYTES));
        text.push('…');
    }
    text.push('}');
    text
}

/// The name of a label, cut off where it is long, on one line.
fn describe_name(name: &[u8]) -> String {
    let shown = String::from_utf8_lossy(&name[..name.len().min(SHOWN_NAME_BYTES)]);
    shown.replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use rangekeeper_model::Labels;

    use super::*;

    fn canonical(pairs: &[(&str, &str)]) -> Result<Labels, String> {
        let mut raw: Vec<_> = pairs.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect();
        let mut out = vec![1, 2, 3];
        canonicalize(&mut raw, MetricName::Required, &mut out).map_err(|e| e.to_string())?;
        Ok(Labels::from_canonical(&out).unwrap())
    }

    #[test]
    fn sorts_and_drops_empty_values() {
        let labels = canonical(&[("job", "node"), ("zone", ""), ("__name__", "up")]).unwrap();
        assert_eq!(labels, Labels::from_pairs([("__name__", "up"), ("job", "node")]).unwrap());
    }

    #[test]
    fn names_of_any_text_are_names() {
        assert!(canonical(&[("__name__", "http.requests total"), ("ünï code", "a\nb")]).is_ok());
    }

    #[test]
    fn refuses_what_is_no_series_and_shows_it() {
        let text = |pairs| canonical(pairs).unwrap_err();
        assert_eq!(
            text(&[("job", "a"), ("__name__", "")]),
            r#"invalid metric name or labels, got {__name__="", job="a"}: no metric name"#
        );
        assert_eq!(
            text(&[("__name__", "up"), ("", "a")]),
            r#"invalid metric name or labels, got {="a", __name__="up"}: a label has no name"#
        );
        assert_eq!(
            text(&[("x", "1"), ("__name__", "up"), ("x", "")]),
            r#"invalid labels for series, labels {__name__="up", x="1", x=""}, duplicated label x"#
        );
    }

    #[test]
    fn error_texts_are_short_however_long_the_labels() {
        let long = "x".repeat(100_000);
        let text = canonical(&[("job", &long), ("zone", &long), ("zone2", &long)]).unwrap_err();
        assert!(text.len() < 2 * SHOWN_BYTES, "{} bytes", text.len());
        assert!(text.ends_with(": no metric name"), "{text}");
        let text = canonical(&[("__name__", "up"), (&long, "a"), (&long, "b")]).unwrap_err();
        assert!(text.len() < 2 * SHOWN_BYTES, "{} bytes", text.len());
    }

    #[test]
    fn refuses_bytes_that_are_no_text() {
        let mut out = Vec::new();
        let mut raw = [(&b"__name__"[..], &b"up"[..]), (b"a", b"\xff")];
        let error = canonicalize(&mut raw, MetricName::Required, &mut out).unwrap_err();
        let expected = "invalid metric name or labels, got {__name__=\"up\", a=\"\u{fffd}\"}: \
                        a name or value is not UTF-8";
        assert_eq!(error.to_string(), expected);
    }
}
