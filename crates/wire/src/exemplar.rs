//! Exemplars of either version.

use rangekeeper_model::Labels;

use crate::cursor::{BYTES, Cursor, FIXED64, Messages, VARINT, fields, key};
use crate::error::DecodeError;
use crate::labels::{MAX_LABELS, MetricName, RawPair, RawPairs, SeriesError, canonicalize};
use crate::v2::Symbols;

const LABELS: u32 = key(1, BYTES);
const REF: u32 = key(1, VARINT);
const VALUE: u32 = key(2, FIXED64);
const TIMESTAMP: u32 = key(3, VARINT);
const EXEMPLAR_FIELDS: u32 = fields(&[1, 2, 3]);

/// An example behind a series' samples, such as a trace.
#[derive(Clone, Copy, Debug)]
pub struct Exemplar<'a> {
    /// Milliseconds since the epoch; 0 where the sender left it out.
    pub timestamp_ms: i64,
    /// The value, bit for bit.
    pub value: f64,
    message: Cursor<'a>,
    symbols: Option<Symbols<'a>>,
}

impl<'a> Exemplar<'a> {
    fn read(message: Cursor<'a>, symbols: Option<Symbols<'a>>) -> Result<Self, DecodeError> {
        let mut out = Self { timestamp_ms: 0, value: 0.0, message, symbols };
        let mut fields = message;
        while !fields.is_done() {
            match (fields.key()?, symbols) {
                (VALUE, _) => out.value = fields.double()?,
                (TIMESTAMP, _) => out.timestamp_ms = fields.int64()?,
                (LABELS, _) => drop(fields.skip_bytes()?),
                (REF, Some(_)) => drop(fields.varint()?),
                (other, _) => fields.skip_unknown(other, EXEMPLAR_FIELDS)?,
            }
        }
        Ok(out)
    }

    /// Its labels, which may be none.
    pub fn labels(&self) -> Result<Labels, SeriesError> {
        let mut pairs: Vec<RawPair<'a>> = Vec::new();
        match self.symbols {
            Some(symbols) => symbols.resolve(self.message, &mut pairs)?,
            None => {
                for pair in RawPairs::new(self.message).take(MAX_LABELS + 1) {
                    pairs.push(pair?);
                }
            }
        }
        let mut bytes = Vec::new();
        canonicalize(&mut pairs, MetricName::Optional, &mut bytes)?;
        Ok(Labels::from_canonical(&bytes).expect("labels were just made canonical"))
    }
}

/// The exemplars of one series.
#[derive(Clone, Debug)]
pub struct Exemplars<'a> {
    messages: Messages<'a>,
    /// The symbols of the request, for remote write 2.0.
    symbols: Option<Symbols<'a>>,
}

impl<'a> Exemplars<'a> {
    pub(crate) fn new(fields: Cursor<'a>, tag: u32, symbols: Option<Symbols<'a>>) -> Self {
        Self { messages: Messages::new(fields, tag), symbols }
    }
}

impl<'a> Iterator for Exemplars<'a> {
    type Item = Result<Exemplar<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let symbols = self.symbols;
        self.messages.read_next(|message| Exemplar::read(message, symbols))
    }
}
