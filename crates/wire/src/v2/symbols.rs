//! The texts of a request and what refers to them.

use rangekeeper_model::METRIC_NAME;

use super::render::LabelWriter;
use super::{PACKED_REFS, Place, REF, RequestError};
use crate::cursor::Cursor;
use crate::error::DecodeError;
use crate::labels::{RawPair, SeriesError};

/// Error texts show this many references.
const SHOWN_REFS: usize = 64;

/// The whole of the metric name's label name, which has eight bytes.
const METRIC_NAME_PREFIX: u64 = match METRIC_NAME.as_bytes().first_chunk::<8>() {
    Some(name) => u64::from_be_bytes(*name),
    None => panic!("the name of the metric name has eight bytes"),
};

/// Where the symbols lie.
#[derive(Debug, Default)]
pub(super) struct Table {
    places: Vec<Place>,
    /// The first eight bytes of each symbol: they mostly tell which of two comes first.
    prefixes: Vec<u64>,
    /// Whether every symbol is UTF-8; where one is not, labels are checked one by one.
    all_text: bool,
}

impl Table {
    pub(super) fn clear(&mut self) {
        self.places.clear();
        self.prefixes.clear();
    }

    #[inline]
    pub(super) fn push(&mut self, place: Place) {
        self.places.push(place);
    }

    /// Checks the whole table, once all of it is known.
    pub(super) fn check(&mut self, body: &[u8]) -> Result<(), RequestError> {
        let (Some(first), Some(last)) = (self.places.first(), self.places.last()) else {
            return Err(RequestError::NoSymbols);
        };
        if first.start != first.end {
            return Err(RequestError::FirstSymbol);
        }
        // Symbols mostly lie side by side and are ASCII, with their keys and lengths: one pass over all of it.
        let ascii = body[first.start as usize..last.end as usize].is_ascii();
        let is_text = |place: &Place| str::from_utf8(place.of(body)).is_ok();
        self.all_text = ascii || self.places.iter().all(is_text);
        self.prefixes.extend(self.places.iter().map(|place| prefix(body, *place)));
        Ok(())
    }
}

/// The first eight bytes of a symbol as a number, zeros where it is shorter: of two symbols whose numbers differ, the
/// one with the lesser number comes first.
#[inline]
fn prefix(body: &[u8], place: Place) -> u64 {
    let symbol = place.of(body);
    let ahead = body[place.start as usize..].first_chunk::<8>();
    match (symbol.first_chunk::<8>(), ahead) {
        (Some(whole), _) => u64::from_be_bytes(*whole),
        (None, Some(ahead)) => {
            let foreign = u64::MAX >> (8 * symbol.len());
            u64::from_be_bytes(*ahead) & !foreign
        }
        (None, None) => {
            let mut padded = [0; 8];
            padded[..symbol.len()].copy_from_slice(symbol);
            u64::from_be_bytes(padded)
        }
    }
}

/// The texts of a request, by reference.
#[derive(Clone, Copy, Debug)]
pub struct Symbols<'a> {
    body: &'a [u8],
    table: &'a Table,
}

impl<'a> Symbols<'a> {
    pub(super) fn new(body: &'a [u8], table: &'a Table) -> Self {
        Self { body, table }
    }

    pub(super) fn len(&self) -> usize {
        self.table.places.len()
    }

    /// The symbol, if there is one.
    #[inline]
    pub(super) fn bytes(&self, reference: u32) -> Option<&'a [u8]> {
        Some(self.place(reference)?.of(self.body))
    }

    #[inline]
    fn place(&self, reference: u32) -> Option<Place> {
        self.table.places.get(reference as usize).copied()
    }

    /// Writes the canonical bytes of labels that come sorted and are in order in every other way to the front of
    /// `buffer`, and returns their length. Of other labels it makes nothing.
    #[inline]
    pub(super) fn render_sorted(
        &self,
        mut refs: Refs<'a>,
        buffer: &mut Vec<u8>,
    ) -> Result<Option<usize>, DecodeError> {
        let mut writer = LabelWriter::new(self.body, buffer);
        let (mut previous, mut previous_prefix) = (Place { start: 0, end: 0 }, 0);
        let mut has_metric_name = false;
        while let Some(name_ref) = refs.next()? {
            let Some(value_ref) = refs.next()? else { return Ok(None) };
            let (Some(name), Some(value)) = (self.place(name_ref), self.place(value_ref)) else {
                return Ok(None);
            };
            let prefix = self.table.prefixes[name_ref as usize];
            let rises = prefix > previous_prefix
                || prefix == previous_prefix && name.of(self.body) > previous.of(self.body);
            if !rises {
                return Ok(None);
            }
            let is_metric_name = prefix == METRIC_NAME_PREFIX && name.len() == METRIC_NAME.len();
            has_metric_name |= is_metric_name && !value.is_empty();
            writer.write(name, value);
            (previous, previous_prefix) = (name, prefix);
        }
        Ok((has_metric_name && self.table.all_text).then(|| writer.finish()))
    }

    /// The labels that `message` refers to in its field 1, in the order of the references.
    pub(crate) fn resolve(
        &self,
        message: Cursor<'a>,
        pairs: &mut Vec<RawPair<'a>>,
    ) -> Result<(), SeriesError> {
        let mut iter = Refs::of(message);
        let mut refs = Vec::new();
        while let Some(reference) = iter.next()? {
            refs.push(reference);
        }
        let (chunks, odd) = refs.as_chunks::<2>();
        if !odd.is_empty() {
            return Err(SeriesError::OddRefs { refs: describe(&refs), count: refs.len() });
        }
        for &[name, value] in chunks {
            let (Some(name), Some(value)) = (self.bytes(name), self.bytes(value)) else {
                let (refs, symbols) = (describe(&refs), self.len());
                return Err(SeriesError::RefOutOfRange { refs, name, value, symbols });
            };
            pairs.push((name, value));
        }
        Ok(())
    }
}

/// `[1 2 3]`, cut off where there are many.
fn describe(refs: &[u32]) -> String {
    let shown = &refs[..refs.len().min(SHOWN_REFS)];
    let mut texts: Vec<String> = shown.iter().map(u32::to_string).collect();
    if shown.len() < refs.len() {
        texts.push("…".to_owned());
    }
    format!("[{}]", texts.join(" "))
}

/// References out of field 1 of a message: packed into one field or several, or one a field.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refs<'a> {
    packed: Cursor<'a>,
    fields: Cursor<'a>,
}

impl<'a> Refs<'a> {
    /// Those in `packed`, then those in `fields`.
    #[inline]
    pub(super) fn new(packed: Cursor<'a>, fields: Cursor<'a>) -> Self {
        Self { packed, fields }
    }

    fn of(message: Cursor<'a>) -> Self {
        let mut none = message;
        none.finish();
        Self::new(none, message)
    }

    #[inline]
    pub(super) fn next(&mut self) -> Result<Option<u32>, DecodeError> {
        loop {
            if !self.packed.is_done() {
                return self.packed.uint32().map(Some);
            }
            if self.fields.is_done() {
                return Ok(None);
            }
            match self.fields.key()? {
                PACKED_REFS => self.packed = self.fields.message()?,
                REF => return self.fields.uint32().map(Some),
                other => self.fields.skip(other)?,
            }
        }
    }
}
