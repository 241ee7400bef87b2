//! The texts of a request and what refers to them.

use rangekeeper_model::{METRIC_NAME, MetricType};

use super::render::LabelWriter;
use super::{
    HELP_REF_BYTE, METADATA_BYTE, METADATA_TYPE_BYTE, PACKED_REFS, Place, REF, RawMetadata,
    RequestError, UNIT_REF_BYTE,
};
use crate::cursor::Cursor;
use crate::error::DecodeError;
use crate::labels::{LabelFault, MAX_LABEL_SET_BYTES, MAX_LABELS, RawPair, SeriesError};

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
    symbols: Vec<Symbol>,
    /// Whether every symbol is UTF-8; where one is not, labels are checked one by one.
    all_text: bool,
}

/// Where a symbol lies, and its beginning.
#[derive(Clone, Copy, Debug)]
pub(super) struct Symbol {
    pub(super) place: Place,
    /// The first eight bytes as a number, zeros where there are fewer: of two symbols whose numbers
    /// differ, the one with the lesser number comes first.
    prefix: u64,
}

impl Symbol {
    #[inline]
    fn new(body: &[u8], place: Place) -> Self {
        let text = place.of(body);
        let ahead = body[place.start as usize..].first_chunk();
        let prefix = match (text.first_chunk(), ahead) {
            (Some(whole), _) => u64::from_be_bytes(*whole),
            (None, Some(ahead)) => {
                let foreign = u64::MAX >> (8 * text.len());
                u64::from_be_bytes(*ahead) & !foreign
            }
            (None, None) => {
                let mut padded = [0; 8];
                padded[..text.len()].copy_from_slice(text);
                u64::from_be_bytes(padded)
            }
        };
        Self { place, prefix }
    }

    #[inline]
    fn is_after(self, other: Self, body: &[u8]) -> bool {
        self.prefix > other.prefix
            || self.prefix == other.prefix && self.place.of(body) > other.place.of(body)
    }

    #[inline]
    pub(super) fn len(self) -> usize {
        (self.place.end - self.place.start) as usize
    }
}

impl Table {
    pub(super) fn clear(&mut self) {
        self.symbols.clear();
    }

    #[inline]
    pub(super) fn push(&mut self, body: &[u8], place: Place) {
        self.symbols.push(Symbol::new(body, place));
    }

    /// Checks the whole table, once all of it is known.
    pub(super) fn check(&mut self, body: &[u8]) -> Result<(), RequestError> {
        let (Some(first), Some(last)) = (self.symbols.first(), self.symbols.last()) else {
            return Err(RequestError::NoSymbols);
        };
        if first.len() > 0 {
            return Err(RequestError::FirstSymbol);
        }
        // Symbols mostly lie side by side and are ASCII, with their keys and lengths: one pass over
        // all of it.
        let ascii = body[first.place.start as usize..last.place.end as usize].is_ascii();
        let is_text = |symbol: &Symbol| str::from_utf8(symbol.place.of(body)).is_ok();
        self.all_text = ascii || self.symbols.iter().all(is_text);
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
        self.table.symbols.len()
    }

    /// The symbol, if there is one.
    #[inline]
    pub(super) fn bytes(&self, reference: u32) -> Option<&'a [u8]> {
        Some(self.table.symbols.get(reference as usize)?.place.of(self.body))
    }

    /// Takes the symbol that the first of `refs` refers to.
    #[inline]
    fn take(&self, refs: &mut &[u8]) -> Option<Symbol> {
        self.table.symbols.get(take_short_ref(refs)?).copied()
    }

    /// Writes the canonical bytes of labels whose packed references come sorted, and which are in
    /// order in every other way, to the front of `buffer`, and returns their length. Of other
    /// labels it makes nothing.
    #[inline]
    pub(super) fn render_sorted(&self, mut refs: &[u8], buffer: &mut Vec<u8>) -> Option<usize> {
        let mut writer = LabelWriter::new(self.body, buffer);
        let mut previous = *self.table.symbols.first()?;
        let mut has_metric_name = false;
        while !refs.is_empty() {
            let (name, value) = (self.take(&mut refs)?, self.take(&mut refs)?);
            if !name.is_after(previous, self.body) {
                return None;
            }
            let is_metric_name =
                name.prefix == METRIC_NAME_PREFIX && name.len() == METRIC_NAME.len();
            has_metric_name |= is_metric_name && value.len() > 0;
            if writer.len() + name.len() + value.len() > MAX_LABEL_SET_BYTES {
                return None;
            }
            writer.write(name, value);
            previous = name;
        }
        (has_metric_name && self.table.all_text).then(|| writer.finish())
    }

    /// The metadata in `field`, one field with its key, if it has the shape that senders give it:
    /// type, help and unit in this order, those that are not said left out.
    #[inline]
    pub(super) fn usual_metadata(&self, field: &[u8]) -> Option<RawMetadata<'a>> {
        let [METADATA_BYTE, length, fields @ ..] = field else { return None };
        if usize::from(*length) != fields.len() {
            return None;
        }
        let (mut fields, mut metric_type) = (fields, MetricType::Unknown);
        if let [METADATA_TYPE_BYTE, number, rest @ ..] = fields
            && *number < 0x80
        {
            (metric_type, fields) = (MetricType::from_number(*number), rest);
        }
        let mut text = |key: u8| {
            if fields.first() != Some(&key) {
                return Some(&[][..]);
            }
            fields = &fields[1..];
            Some(self.take(&mut fields)?.place.of(self.body))
        };
        let (help, unit) = (text(HELP_REF_BYTE)?, text(UNIT_REF_BYTE)?);
        fields.is_empty().then_some(RawMetadata { metric_type, help, unit })
    }

    /// The labels that `message` refers to in its field 1, in the order of the references.
    pub(crate) fn resolve(
        &self,
        message: Cursor<'a>,
        pairs: &mut Vec<RawPair<'a>>,
    ) -> Result<(), SeriesError> {
        let mut iter = Refs::of(message);
        let mut refs = Vec::new();
        while refs.len() <= 2 * MAX_LABELS
            && let Some(reference) = iter.next()?
        {
            refs.push(reference);
        }
        if refs.len() > 2 * MAX_LABELS {
            let labels = format!("{} references and more", refs.len());
            return Err(SeriesError::Labels { labels, fault: LabelFault::TooMany });
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

/// Takes a reference of one to three bytes: as far as tables of two million symbols.
#[inline]
fn take_short_ref(refs: &mut &[u8]) -> Option<usize> {
    let seven = |byte: u8| usize::from(byte & 0x7f);
    match **refs {
        [a, ref rest @ ..] if a < 0x80 => {
            *refs = rest;
            Some(usize::from(a))
        }
        [a, b, ref rest @ ..] if b < 0x80 => {
            *refs = rest;
            Some(seven(a) | seven(b) << 7)
        }
        [a, b, c, ref rest @ ..] if c < 0x80 => {
            *refs = rest;
            Some(seven(a) | seven(b) << 7 | seven(c) << 14)
        }
        _ => None,
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
struct Refs<'a> {
    packed: Cursor<'a>,
    fields: Cursor<'a>,
}

impl<'a> Refs<'a> {
    fn of(message: Cursor<'a>) -> Self {
        let mut none = message;
        none.finish();
        Self { packed: none, fields: message }
    }

    fn next(&mut self) -> Result<Option<u32>, DecodeError> {
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
