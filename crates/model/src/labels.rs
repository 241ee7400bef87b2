//! Labels in their one canonical form.
//!
//! A label set is kept as the bytes that remote write 1.0 puts into a `TimeSeries`: for each label,
//! sorted by name, none with an empty name or value, no name twice,
//!
//! ```text
//! ┌──────┬────────────────┬──────┬─────────────┬──────┬──────┬──────────────┬───────┐
//! │ 0x0a │ varint: length │ 0x0a │ varint: len │ name │ 0x12 │ varint: len  │ value │
//! └──────┴────────────────┴──────┴─────────────┴──────┴──────┴──────────────┴───────┘
//! ```
//!
//! with minimal varints. What a well-behaved sender sends *is* this, so the hot path hashes and
//! compares its bytes as they come; equal label sets are equal bytes, everywhere and on disk.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use crate::quote::go_quote;

/// The label that holds a series' metric name.
pub const METRIC_NAME: &str = "__name__";

const FIELD_LABEL: u8 = 0x0a;
const FIELD_NAME: u8 = 0x0a;
const FIELD_VALUE: u8 = 0x12;

/// An immutable label set in canonical form. Cloning is cheap. Ordered as Prometheus orders series:
/// pair by pair, names before values.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Labels(Arc<[u8]>);

/// Why bytes or pairs are no canonical label set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// A label has no name.
    #[error("a label has an empty name")]
    EmptyName,
    /// A name occurs twice.
    #[error("label name {0:?} occurs twice")]
    Duplicate(String),
    /// Bytes that were said to be canonical are not.
    #[error("bytes are no canonical label set at offset {0}")]
    NotCanonical(usize),
}

impl Labels {
    /// No labels.
    pub fn empty() -> Self {
        Self(Arc::new([]))
    }

    /// Takes bytes that are canonical, after checking that they are.
    pub fn from_canonical(bytes: &[u8]) -> Result<Self, LabelError> {
        check_canonical(bytes)?;
        Ok(Self(bytes.into()))
    }

    /// Sorts pairs and drops the empty values.
    pub fn from_pairs<N: Into<String>, V: Into<String>>(
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Self, LabelError> {
        let mut pairs: Vec<(String, String)> =
            pairs.into_iter().map(|(n, v)| (n.into(), v.into())).collect();
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
        if let Some(twice) = pairs.windows(2).find(|p| p[0].0 == p[1].0) {
            return Err(LabelError::Duplicate(twice[0].0.clone()));
        }
        let mut bytes = Vec::new();
        for (name, value) in &pairs {
            if name.is_empty() {
                return Err(LabelError::EmptyName);
            }
            append_label(&mut bytes, name.as_bytes(), value.as_bytes());
        }
        Ok(Self(bytes.into()))
    }

    /// The canonical bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The pairs, sorted by name.
    pub fn iter(&self) -> LabelPairs<'_> {
        LabelPairs::of_canonical(&self.0)
    }

    /// The value of label `name`, if the set has it.
    pub fn value(&self, name: &str) -> Option<&str> {
        raw_pairs(&self.0)
            .take_while(|(n, _)| *n <= name.as_bytes())
            .find(|(n, _)| *n == name.as_bytes())
            .map(|(_, v)| text(v))
    }

    /// The metric name, if the set has one.
    pub fn metric_name(&self) -> Option<&str> {
        self.value(METRIC_NAME)
    }

    /// Number of labels.
    pub fn len(&self) -> usize {
        raw_pairs(&self.0).count()
    }

    /// Whether there is no label.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same set without the labels for which `keep` says no.
    #[must_use]
    pub fn retain(&self, keep: impl FnMut(&str) -> bool) -> Self {
        let mut bytes = Vec::with_capacity(self.0.len());
        self.append_retained(&mut bytes, keep);
        Self(bytes.into())
    }

    /// Appends the canonical bytes of the labels for which `keep` says yes.
    pub fn append_retained(&self, bytes: &mut Vec<u8>, mut keep: impl FnMut(&str) -> bool) {
        let mut pairs = raw_pairs(&self.0);
        loop {
            let before = pairs.rest;
            let Some((name, _)) = pairs.next() else { return };
            if keep(text(name)) {
                bytes.extend_from_slice(&before[..before.len() - pairs.rest.len()]);
            }
        }
    }
}

impl<'a> IntoIterator for &'a Labels {
    type Item = (&'a str, &'a str);
    type IntoIter = LabelPairs<'a>;

    fn into_iter(self) -> LabelPairs<'a> {
        self.iter()
    }
}

/// By the pairs of name and value, one after the other. Those at the beginning that are equal in
/// both are gone past as bytes: selections are sorted, and most of their labels are the same.
impl Ord for Labels {
    fn cmp(&self, other: &Self) -> Ordering {
        let (one, other) = (&*self.0, &*other.0);
        let start = pair_around(one, common_prefix(one, other));
        raw_pairs(&one[start..]).cmp(raw_pairs(&other[start..]))
    }
}

/// Number of bytes at the beginning that are the same.
fn common_prefix(one: &[u8], other: &[u8]) -> usize {
    let words = one.chunks_exact(8).zip(other.chunks_exact(8));
    let equal = 8 * words.take_while(|(one, other)| one == other).count();
    equal + one[equal..].iter().zip(&other[equal..]).take_while(|(one, other)| one == other).count()
}

/// Where the pair begins that holds the byte at `at`, in canonical bytes.
fn pair_around(bytes: &[u8], at: usize) -> usize {
    let mut start = 0;
    loop {
        let mut rest = &bytes[(start + 1).min(bytes.len())..];
        let Some(length) = take_varint(&mut rest) else { return start };
        let end = bytes.len() - rest.len() + length;
        if end > at {
            return start;
        }
        start = end;
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// `{__name__="up", job="node"}`: every label in braces, values Go-quoted, names quoted where they
/// are not legacy names.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (index, (name, value)) in self.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            if is_legacy_label_name(name) {
                write!(f, "{name}={}", go_quote(value))?;
            } else {
                write!(f, "{}={}", go_quote(name), go_quote(value))?;
            }
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

pub(crate) fn is_legacy_label_name(name: &str) -> bool {
    name.bytes()
        .enumerate()
        .all(|(at, b)| b == b'_' || b.is_ascii_alphabetic() || (at > 0 && b.is_ascii_digit()))
}

/// The pairs of a canonical label set, sorted by name.
#[derive(Clone, Debug)]
pub struct LabelPairs<'a>(RawPairs<'a>);

impl<'a> LabelPairs<'a> {
    /// Reads `bytes`, which must be canonical; of other bytes it panics or yields nonsense, but
    /// never out of bounds.
    pub fn of_canonical(bytes: &'a [u8]) -> Self {
        Self(raw_pairs(bytes))
    }
}

impl<'a> Iterator for LabelPairs<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|(n, v)| (text(n), text(v)))
    }
}

/// The metric name in canonical bytes, without building a [`Labels`].
pub fn metric_name_in(canonical: &[u8]) -> Option<&str> {
    raw_pairs(canonical).find(|(n, _)| *n == METRIC_NAME.as_bytes()).map(|(_, v)| text(v))
}

/// Makes a changed label set from another one.
#[derive(Clone, Debug, Default)]
pub struct LabelsBuilder {
    /// Sorted by name; an empty value means that the label is gone.
    pairs: Vec<(String, String)>,
}

impl LabelsBuilder {
    /// Starts with no labels.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts with the labels of `base`.
    pub fn from_labels(base: &Labels) -> Self {
        Self { pairs: base.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect() }
    }

    /// Sets `name` to `value`; an empty value removes it.
    pub fn set(&mut self, name: &str, value: &str) -> &mut Self {
        match self.pairs.binary_search_by(|(n, _)| n.as_str().cmp(name)) {
            Ok(at) => value.clone_into(&mut self.pairs[at].1),
            Err(at) => self.pairs.insert(at, (name.to_owned(), value.to_owned())),
        }
        self
    }

    /// Removes `name`.
    pub fn remove(&mut self, name: &str) -> &mut Self {
        self.pairs.retain(|(n, _)| n != name);
        self
    }

    /// The value of `name` as it stands.
    pub fn value(&self, name: &str) -> Option<&str> {
        let at = self.pairs.binary_search_by(|(n, _)| n.as_str().cmp(name)).ok()?;
        Some(self.pairs[at].1.as_str()).filter(|v| !v.is_empty())
    }

    /// The label set.
    pub fn build(&self) -> Labels {
        let mut bytes = Vec::new();
        for (name, value) in &self.pairs {
            append_label(&mut bytes, name.as_bytes(), value.as_bytes());
        }
        Labels(bytes.into())
    }
}

/// Appends one label in canonical form; a label without a value is none. The caller sees to it that
/// labels come sorted, each once and with a name, and that both texts are UTF-8.
#[inline]
pub fn append_label(bytes: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    if value.is_empty() {
        return;
    }
    let inner = 2 + varint_len(name.len()) + name.len() + varint_len(value.len()) + value.len();
    bytes.push(FIELD_LABEL);
    append_varint(bytes, inner);
    bytes.push(FIELD_NAME);
    append_varint(bytes, name.len());
    bytes.extend_from_slice(name);
    bytes.push(FIELD_VALUE);
    append_varint(bytes, value.len());
    bytes.extend_from_slice(value);
}

fn append_varint(bytes: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        bytes.push(u8::try_from(value & 0x7f).expect("seven bits") | 0x80);
        value >>= 7;
    }
    bytes.push(u8::try_from(value).expect("seven bits"));
}

fn varint_len(value: usize) -> usize {
    ((usize::BITS - (value | 1).leading_zeros()) as usize).div_ceil(7)
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("canonical labels are UTF-8, checked where they were made")
}

#[derive(Clone, Debug)]
struct RawPairs<'a> {
    rest: &'a [u8],
}

fn raw_pairs(bytes: &[u8]) -> RawPairs<'_> {
    RawPairs { rest: bytes }
}

impl<'a> Iterator for RawPairs<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        self.rest = self.rest.strip_prefix(&[FIELD_LABEL])?;
        take_varint(&mut self.rest)?;
        self.rest = self.rest.strip_prefix(&[FIELD_NAME])?;
        let name = take_bytes(&mut self.rest)?;
        self.rest = self.rest.strip_prefix(&[FIELD_VALUE])?;
        let value = take_bytes(&mut self.rest)?;
        Some((name, value))
    }
}

fn take_varint(rest: &mut &[u8]) -> Option<usize> {
    let mut value = 0usize;
    for (at, byte) in rest.iter().enumerate().take(5) {
        value |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            let minimal = at == 0 || *byte != 0;
            *rest = &rest[at + 1..];
            return minimal.then_some(value);
        }
    }
    None
}

fn take_bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = take_varint(rest)?;
    let (bytes, after) = rest.split_at_checked(len)?;
    *rest = after;
    Some(bytes)
}

fn check_canonical(bytes: &[u8]) -> Result<(), LabelError> {
    let mut rest = bytes;
    let mut previous: &[u8] = &[];
    while !rest.is_empty() {
        let offset = bytes.len() - rest.len();
        let pair = take_canonical_pair(&mut rest);
        let (name, value) = pair.ok_or(LabelError::NotCanonical(offset))?;
        let sorted = previous < name;
        if !sorted || value.is_empty() {
            return Err(LabelError::NotCanonical(offset));
        }
        if std::str::from_utf8(name).is_err() || std::str::from_utf8(value).is_err() {
            return Err(LabelError::NotCanonical(offset));
        }
        previous = name;
    }
    Ok(())
}

/// One label, only if its own length says where it ends and nothing else is in it.
fn take_canonical_pair<'a>(rest: &mut &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    *rest = rest.strip_prefix(&[FIELD_LABEL])?;
    let label = take_bytes(rest)?;
    let mut inner = label.strip_prefix(&[FIELD_NAME])?;
    let name = take_bytes(&mut inner)?;
    inner = inner.strip_prefix(&[FIELD_VALUE])?;
    let value = take_bytes(&mut inner)?;
    inner.is_empty().then_some((name, value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        Labels::from_pairs(pairs.iter().copied()).unwrap()
    }

    #[test]
    fn sorts_and_drops_empty_values() {
        let set = labels(&[("job", "node"), ("__name__", "up"), ("zone", "")]);
        assert_eq!(set.to_string(), r#"{__name__="up", job="node"}"#);
        assert_eq!(
            set.as_bytes(),
            b"\x0a\x0e\x0a\x08__name__\x12\x02up\x0a\x0b\x0a\x03job\x12\x04node"
        );
        assert_eq!(
            (set.metric_name(), set.value("job"), set.value("x")),
            (Some("up"), Some("node"), None)
        );
    }

    #[test]
    fn refuses_bytes_that_are_not_canonical() {
        let good = labels(&[("a", "1"), ("b", "2")]);
        assert_eq!(Labels::from_canonical(good.as_bytes()), Ok(good.clone()));
        let swapped = [&good.as_bytes()[8..], &good.as_bytes()[..8]].concat();
        assert_eq!(Labels::from_canonical(&swapped), Err(LabelError::NotCanonical(8)));
        let long_varint = b"\x0a\x86\x00\x0a\x01a\x12\x011";
        assert_eq!(Labels::from_canonical(long_varint), Err(LabelError::NotCanonical(0)));
        assert!(Labels::from_canonical(&good.as_bytes()[..9]).is_err());
        assert!(Labels::from_canonical(b"\x0a\x06\x0a\x01a\x12\x01\xff").is_err());
    }

    #[test]
    fn orders_pair_by_pair() {
        let a = labels(&[("a", "1")]);
        assert!(a < labels(&[("a", "1"), ("b", "1")]));
        assert!(labels(&[("a", "1"), ("b", "1")]) < labels(&[("a", "11")]));
        assert!(labels(&[("a", "2")]) < labels(&[("aa", "1")]));
    }

    proptest! {
        #[test]
        fn the_order_is_that_of_the_pairs(
            one in proptest::collection::btree_map("[ab]{1,3}", "[ab]{1,3}|x{126,130}", 0..5),
            other in proptest::collection::btree_map("[ab]{1,3}", "[ab]{1,3}|x{126,130}", 0..5),
            both in proptest::collection::btree_map("[AB]{1,3}", "[ab]{1,3}|x{126,130}", 0..5),
        ) {
            let merged = |own: &std::collections::BTreeMap<String, String>| {
                both.iter().chain(own).map(|(n, v)| (n.clone(), v.clone())).collect::<Vec<_>>()
            };
            let (one, other) = (merged(&one), merged(&other));
            let of = |pairs: &[(String, String)]| Labels::from_pairs(pairs.to_vec()).unwrap();
            prop_assert_eq!(of(&one).cmp(&of(&other)), one.cmp(&other));
        }

        #[test]
        fn what_is_built_is_canonical(
            pairs in proptest::collection::btree_map("\\PC{1,200}", "\\PC{0,200}", 0..8)
        ) {
            let set = Labels::from_pairs(pairs.clone()).unwrap();
            prop_assert_eq!(&Labels::from_canonical(set.as_bytes()).unwrap(), &set);
            let back: Vec<_> = set.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
            let kept: Vec<_> = pairs.into_iter().filter(|(_, v)| !v.is_empty()).collect();
            prop_assert_eq!(back, kept);
        }
    }
}
