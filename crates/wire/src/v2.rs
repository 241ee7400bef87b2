//! Remote write 2.0, read where it lies: a walk over the bytes of a `Request` that copies nothing
//! but labels, which it renders from the symbols into a buffer.

mod render;
mod symbols;
#[cfg(test)]
mod tests;

use rangekeeper_model::{ErrorClass, HistogramSample, MetricType};

pub use symbols::Symbols;
use symbols::Table;

use crate::cursor::{BYTES, Cursor, Messages, VARINT, end_of_short_run, fields, key};
use crate::error::{DecodeError, Fault};
use crate::exemplar::Exemplars;
use crate::histogram::Histograms;
use crate::labels::{MetricName, RawPair, SeriesError, canonicalize};
use crate::metadata::{Metadata, read_type};
use crate::sample::{self, Samples};

const SYMBOL: u32 = key(4, BYTES);
const TIMESERIES: u32 = key(5, BYTES);
const REQUEST_FIELDS: u32 = fields(&[4, 5]);

const PACKED_REFS: u32 = key(1, BYTES);
const PACKED_REFS_BYTE: u8 = 0x0a;
const REF: u32 = key(1, VARINT);
const SAMPLE: u32 = key(2, BYTES);
const SAMPLE_BYTE: u8 = 0x12;
const HISTOGRAM: u32 = key(3, BYTES);
const EXEMPLAR: u32 = key(4, BYTES);
const METADATA: u32 = key(5, BYTES);
const METADATA_BYTE: u8 = 0x2a;
const CREATED: u32 = key(6, VARINT);
const SERIES_FIELDS: u32 = fields(&[1, 2, 3, 4, 5, 6]);
const HISTOGRAMS: u32 = 3;
const EXEMPLARS: u32 = 4;
const SERIES_METADATA: u32 = 5;

const METADATA_TYPE: u32 = key(1, VARINT);
const METADATA_TYPE_BYTE: u8 = 0x08;
const HELP_REF: u32 = key(3, VARINT);
const HELP_REF_BYTE: u8 = 0x18;
const UNIT_REF: u32 = key(4, VARINT);
const UNIT_REF_BYTE: u8 = 0x20;
const METADATA_FIELDS: u32 = fields(&[1, 3, 4]);

/// Why a request as a whole can't be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The bytes are malformed.
    #[error(transparent)]
    Malformed(#[from] DecodeError),
    /// There are no symbols: this is no message of remote write 2.0.
    #[error("request has no symbols table")]
    NoSymbols,
    /// The first symbol must be the empty text, because a reference of 0 means none.
    #[error("first entry of the symbols table is not the empty string")]
    FirstSymbol,
}

impl RequestError {
    /// What kind of failure it is.
    pub fn class(&self) -> ErrorClass {
        ErrorClass::Invalid
    }
}

/// Where things lie in a body: memory that one request after the other uses. Symbols may come after
/// the series that refer to them, so that a request is walked once before its series are.
#[derive(Debug, Default)]
pub struct Scratch {
    table: Table,
    series: Vec<Place>,
}

/// Bytes of a body.
#[derive(Clone, Copy, Debug)]
struct Place {
    start: u32,
    end: u32,
}

impl Place {
    #[inline]
    fn new(start: usize, cursor: &Cursor<'_>) -> Result<Self, DecodeError> {
        match (u32::try_from(start), u32::try_from(cursor.offset())) {
            (Ok(start), Ok(end)) => Ok(Self { start, end }),
            _ => Err(cursor.error(Fault::TooLong)),
        }
    }

    #[inline]
    fn of(self, body: &[u8]) -> &[u8] {
        &body[self.start as usize..self.end as usize]
    }
}

impl Scratch {
    /// Memory for requests, none of it yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Walks an uncompressed body and checks its symbols. That no symbol occurs twice is the
    /// sender's affair: nothing here rests on it.
    pub fn read<'a>(&'a mut self, body: &'a [u8]) -> Result<Request<'a>, RequestError> {
        self.table.clear();
        self.series.clear();
        let mut request = Cursor::new(body);
        while !request.is_done() {
            match request.key()? {
                SYMBOL => {
                    let start = request.skip_bytes()?;
                    self.table.push(body, Place::new(start, &request)?);
                }
                TIMESERIES => {
                    let start = request.skip_bytes()?;
                    self.series.push(Place::new(start, &request)?);
                }
                other => request.skip_unknown(other, REQUEST_FIELDS)?,
            }
        }
        self.table.check(body)?;
        let symbols = Symbols::new(body, &self.table);
        Ok(Request { body, symbols, series: &self.series })
    }
}

/// A request of remote write 2.0 whose symbols are known.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    body: &'a [u8],
    symbols: Symbols<'a>,
    series: &'a [Place],
}

impl<'a> Request<'a> {
    /// The series, in the order of the bytes. After an error the rest can't be trusted: the request
    /// as a whole is lost.
    #[inline]
    pub fn series(&self) -> impl Iterator<Item = Result<Series<'a>, DecodeError>> + use<'a> {
        let Self { body, symbols, .. } = *self;
        self.series.iter().map(move |place| {
            let message = Cursor::within(body, place.start as usize, place.end as usize);
            Series::walk(message, symbols)
        })
    }

    /// Number of series.
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// Whether there is no series.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }
}

/// A series as it lies in a request. Its fields are well-formed; what is in them is read when it is
/// asked for.
#[derive(Clone, Copy, Debug)]
pub struct Series<'a> {
    message: Cursor<'a>,
    symbols: Symbols<'a>,
    /// Where the packed references at the start begin and end; the rest comes after them.
    run_start: usize,
    run_end: usize,
    /// No metadata lies before this byte.
    metadata_start: usize,
    created_ms: i64,
    after_holds: Holds,
}

/// What a series' message holds besides samples and the references at its start.
#[derive(Clone, Copy, Debug, Default)]
struct Holds {
    refs: bool,
    metadata: bool,
    histograms_or_exemplars: bool,
}

impl<'a> Series<'a> {
    #[inline]
    fn walk(message: Cursor<'a>, symbols: Symbols<'a>) -> Result<Self, DecodeError> {
        match Self::walk_usual(message, symbols) {
            Some(series) => Ok(series),
            None => Self::walk_any(message, symbols),
        }
    }

    /// Packed references, then samples, then perhaps metadata, and nothing else, each shorter than
    /// 128 bytes.
    #[inline]
    fn walk_usual(message: Cursor<'a>, symbols: Symbols<'a>) -> Option<Self> {
        let bytes = message.whole();
        let [PACKED_REFS_BYTE, length] = *message.rest().first_chunk()? else { return None };
        if length >= 0x80 {
            return None;
        }
        let run_start = message.offset() + 2;
        let run_end = run_start + usize::from(length);
        let samples_end = end_of_short_run(bytes, run_end, SAMPLE_BYTE)?;
        let end = end_of_short_run(bytes, samples_end, METADATA_BYTE)?;
        let after_holds = Holds { metadata: end > samples_end, ..Holds::default() };
        let (metadata_start, created_ms) = (samples_end, 0);
        let series =
            Self { message, symbols, run_start, run_end, metadata_start, created_ms, after_holds };
        (end == bytes.len()).then_some(series)
    }

    fn walk_any(message: Cursor<'a>, symbols: Symbols<'a>) -> Result<Self, DecodeError> {
        let mut at = message;
        let mut run_start = at.offset();
        if at.peek() == Some(PACKED_REFS_BYTE) {
            at.key()?;
            run_start = at.skip_bytes()?;
        }
        let (run_end, after_holds) = (at.offset(), Holds::default());
        let (metadata_start, created_ms) = (run_end, 0);
        let mut series =
            Self { message, symbols, run_start, run_end, metadata_start, created_ms, after_holds };
        while !at.is_done() {
            let key = at.key()?;
            series.note(key, &mut at)?;
        }
        Ok(series)
    }

    /// Goes past a field, and keeps in mind that it is there.
    fn note(&mut self, key: u32, at: &mut Cursor<'_>) -> Result<(), DecodeError> {
        match key {
            SAMPLE => {}
            METADATA => self.after_holds.metadata = true,
            HISTOGRAM | EXEMPLAR => self.after_holds.histograms_or_exemplars = true,
            CREATED => {
                self.created_ms = at.int64()?;
                return Ok(());
            }
            PACKED_REFS => self.after_holds.refs = true,
            REF => {
                self.after_holds.refs = true;
                return at.varint().map(drop);
            }
            other => return at.skip_unknown(other, SERIES_FIELDS),
        }
        at.skip_bytes().map(drop)
    }

    /// The canonical bytes of the labels, written into `buffer`: at once where the references come
    /// packed and sorted by name, else the slow way. Every rule for labels is checked here. The
    /// buffer keeps its greatest length.
    #[inline]
    pub fn canonical<'b>(&self, buffer: &'b mut Vec<u8>) -> Result<&'b [u8], SeriesError> {
        let refs = self.after_run().since(self.run_start);
        match self.symbols.render_sorted(refs, buffer) {
            Some(length) if !self.after_holds.refs => Ok(&buffer[..length]),
            _ => self.canonical_by_sorting(buffer),
        }
    }

    #[cold]
    fn canonical_by_sorting<'b>(&self, buffer: &'b mut Vec<u8>) -> Result<&'b [u8], SeriesError> {
        let mut pairs: Vec<RawPair<'a>> = Vec::new();
        self.symbols.resolve(self.message, &mut pairs)?;
        canonicalize(&mut pairs, MetricName::Required, buffer)?;
        Ok(buffer)
    }

    #[inline]
    fn after_run(&self) -> Cursor<'a> {
        self.message.at(self.run_end)
    }

    /// The float samples; one without a start timestamp of its own has the series'.
    #[inline]
    pub fn samples(&self) -> Samples<'a> {
        Samples::new(self.after_run(), sample::FIELDS_V2, self.created_ms)
    }

    /// Whether there are neither histograms nor exemplars, so that they need not be asked for.
    #[inline]
    pub fn has_only_samples(&self) -> bool {
        !self.after_holds.histograms_or_exemplars
    }

    /// The native histograms; one without a start timestamp of its own has the series'.
    pub fn histograms(&self) -> impl Iterator<Item = Result<HistogramSample, DecodeError>> + 'a {
        Histograms::new(self.after_run(), HISTOGRAMS, self.created_ms)
    }

    /// The exemplars.
    pub fn exemplars(&self) -> Exemplars<'a> {
        Exemplars::new(self.after_run(), EXEMPLARS, Some(self.symbols))
    }

    /// Bytes that hold the metadata, if there are any, and perhaps more: series of one request in
    /// which they are the same say the same.
    #[inline]
    pub fn metadata_bytes(&self) -> Option<&'a [u8]> {
        self.after_holds.metadata.then(|| self.message.at(self.metadata_start).rest())
    }

    /// The metadata of the series' metric, if the sender gave any.
    #[inline]
    pub fn metadata(&self) -> Result<Option<RawMetadata<'a>>, SeriesError> {
        match self.metadata_bytes() {
            None => Ok(None),
            Some(bytes) => match self.symbols.usual_metadata(bytes) {
                Some(metadata) => Ok(Some(metadata)),
                None => self.any_metadata().map(Some),
            },
        }
    }

    #[cold]
    fn any_metadata(&self) -> Result<RawMetadata<'a>, SeriesError> {
        let (mut metric_type, mut help_ref, mut unit_ref) = (MetricType::Unknown, 0, 0);
        let mut messages = Messages::new(self.message.at(self.metadata_start), SERIES_METADATA);
        // A message that comes in pieces is the union of the pieces, as protobuf says.
        while let Some(piece) = messages.read_next(Ok) {
            let mut piece = piece?;
            while !piece.is_done() {
                match piece.key()? {
                    METADATA_TYPE => metric_type = read_type(&mut piece)?,
                    HELP_REF => help_ref = piece.uint32()?,
                    UNIT_REF => unit_ref = piece.uint32()?,
                    other => piece.skip_unknown(other, METADATA_FIELDS)?,
                }
            }
        }
        let text = |reference| {
            let symbols = self.symbols.len();
            let error = || SeriesError::MetadataRef { reference, symbols };
            self.symbols.bytes(reference).ok_or_else(error)
        };
        Ok(RawMetadata { metric_type, help: text(help_ref)?, unit: text(unit_ref)? })
    }
}

/// The metadata of a series, its texts where they lie among the symbols.
#[derive(Clone, Copy, Debug)]
pub struct RawMetadata<'a> {
    /// The type.
    pub metric_type: MetricType,
    /// The help text.
    pub help: &'a [u8],
    /// The unit.
    pub unit: &'a [u8],
}

impl<'a> RawMetadata<'a> {
    /// The metadata as text.
    pub fn text(&self) -> Metadata<'a> {
        Metadata {
            metric_type: self.metric_type,
            help: String::from_utf8_lossy(self.help),
            unit: String::from_utf8_lossy(self.unit),
        }
    }

    /// Whether nothing is said: some senders give each series metadata, known or not.
    pub fn is_empty(&self) -> bool {
        self.metric_type == MetricType::Unknown && self.help.is_empty() && self.unit.is_empty()
    }
}
