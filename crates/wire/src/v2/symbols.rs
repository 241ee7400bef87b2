//! The texts of a request and what refers to them.

use rangekeeper_model::{METRIC_NAME, append_label};

use super::{PACKED_REFS, Place, REF, RequestError};
use crate::cursor::Cursor;
use crate::error::DecodeError;
use crate::labels::{RawPair, SeriesError};

/// Error texts show this many references.
const SHOWN_REFS: usize = 64;

/// Where the symbols lie.
#[derive(Debug, Default)]
pub(super) struct Table {
    places: Vec<Place>,
    /// Whether every symbol is UTF-8; where one is not, labels are checked one by one.
    all_text: bool,
}

impl Table {
    pub(super) fn clear(&mut self) {
        self.places.clear();
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
        Ok(())
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
        Some(self.table.places.get(reference as usize)?.of(self.body))
    }

    /// Writes the canonical bytes of labels that come sorted and are in order in every other way. Says `false` where
    /// they are not: then what is in `out` means nothing.
    #[inline]
    pub(super) fn render_sorted(
        &self,
        mut refs: Refs<'a>,
        out: &mut Vec<u8>,
    ) -> Result<bool, DecodeError> {
        out.clear();
        let mut previous: &[u8] = &[];
        let mut has_metric_name = false;
        while let Some(name) = refs.next()? {
            let Some(value) = refs.next()? else { return Ok(false) };
            let (Some(name), Some(value)) = (self.bytes(name), self.bytes(value)) else {
                return Ok(false);
            };
            if name <= previous {
                return Ok(false);
            }
            if !has_metric_name {
                has_metric_name = name == METRIC_NAME.as_bytes() && !value.is_empty();
            }
            append_label(out, name, value);
            previous = name;
        }
        Ok(has_metric_name && self.table.all_text)
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
