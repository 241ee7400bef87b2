//! Remote write 1.0, read where it lies: a walk over the bytes of a `WriteRequest` that copies and
//! allocates nothing.

#[cfg(test)]
mod tests;

use rangekeeper_model::HistogramSample;

use crate::cursor::{BYTES, Cursor, end_of_short_run, fields, key};
use crate::error::DecodeError;
use crate::exemplar::Exemplars;
use crate::histogram::Histograms;
use crate::labels::{
    MAX_LABELS, MetricName, RawLabels, RawPair, RawPairs, SeriesError, canonicalize, text_pair,
};
use crate::metadata::FamilyMetadata;
use crate::sample::{self, Samples};

const TIMESERIES: u32 = key(1, BYTES);
const METADATA: u32 = key(3, BYTES);
const REQUEST_FIELDS: u32 = fields(&[1, 3]);

const LABEL: u32 = key(1, BYTES);
const LABEL_BYTE: u8 = 0x0a;
const SAMPLE: u32 = key(2, BYTES);
const SAMPLE_BYTE: u8 = 0x12;
const EXEMPLAR: u32 = key(3, BYTES);
const HISTOGRAM: u32 = key(4, BYTES);
const SERIES_FIELDS: u32 = fields(&[1, 2, 3, 4]);
const EXEMPLARS: u32 = 3;
const HISTOGRAMS: u32 = 4;

/// Walks an uncompressed body. After an error nothing more comes.
pub fn entries(body: &[u8]) -> Entries<'_> {
    Entries { request: Cursor::new(body) }
}

/// What a request holds, in the order of its bytes.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    request: Cursor<'a>,
}

/// A part of a request.
#[derive(Clone, Debug)]
pub enum Entry<'a> {
    /// A series and what there is of it.
    Series(Series<'a>),
    /// The metadata of a metric family. Boxed, because it is rare, and an entry is handed on a
    /// million times a second.
    Metadata(Box<FamilyMetadata<'a>>),
}

impl<'a> Entries<'a> {
    /// The next entry, or none at the end. What the iterator gives, without the moves of an item in
    /// an option of a result; after an error the walk is over.
    #[expect(clippy::inline_always, reason = "else results go through memory, in pieces")]
    #[inline(always)]
    pub fn try_next(&mut self) -> Result<Option<Entry<'a>>, DecodeError> {
        while !self.request.is_done() {
            match self.request.key()? {
                TIMESERIES => {
                    let series = Series::walk(self.request.message()?)?;
                    return Ok(Some(Entry::Series(series)));
                }
                METADATA => {
                    let metadata = FamilyMetadata::read(self.request.message()?)?;
                    return Ok(Some(Entry::Metadata(Box::new(metadata))));
                }
                other => self.request.skip_unknown(other, REQUEST_FIELDS)?,
            }
        }
        Ok(None)
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, DecodeError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let item = self.try_next().transpose();
        if matches!(item, Some(Err(_))) {
            self.request.finish();
        }
        item
    }
}

/// A series as it lies in a request. Its fields are well-formed; what is in them is read when it is
/// asked for.
#[derive(Clone, Copy, Debug)]
pub struct Series<'a> {
    message: Cursor<'a>,
    /// Where the labels at the start end and the rest begins.
    run_end: usize,
    rest: Rest,
}

/// What comes after the labels at a series' start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)] // A whole word: what is written in one piece is read in one.
enum Rest {
    /// Samples, and fields unknown.
    Samples,
    /// Exemplars or histograms too.
    More,
    /// More labels among them.
    Labels,
}

impl<'a> Series<'a> {
    #[expect(clippy::inline_always, reason = "else results go through memory, in pieces")]
    #[inline(always)]
    pub(crate) fn walk(message: Cursor<'a>) -> Result<Self, DecodeError> {
        match Self::walk_usual(message) {
            Some(series) => Ok(series),
            None => Self::walk_any(message),
        }
    }

    /// Labels, then samples, and nothing else, each shorter than 128 bytes.
    #[inline]
    fn walk_usual(message: Cursor<'a>) -> Option<Self> {
        let bytes = message.whole();
        let run_end = end_of_short_run(bytes, message.offset(), LABEL_BYTE)?;
        let end = end_of_short_run(bytes, run_end, SAMPLE_BYTE)?;
        (end == bytes.len()).then_some(Self { message, run_end, rest: Rest::Samples })
    }

    fn walk_any(message: Cursor<'a>) -> Result<Self, DecodeError> {
        let mut at = message;
        at.skip_run(LABEL_BYTE)?;
        let run_end = at.offset();
        let mut rest = Rest::Samples;
        while !at.is_done() {
            let key = at.key()?;
            rest = rest.with(key, &mut at)?;
        }
        Ok(Self { message, run_end, rest })
    }

    /// The labels, as raw as they can be.
    #[inline]
    pub fn labels(&self) -> RawLabels<'a> {
        match self.rest {
            Rest::Labels => RawLabels::Scattered,
            Rest::Samples | Rest::More => {
                RawLabels::Run(self.after_run().since(self.message.offset()))
            }
        }
    }

    /// The (name, value) pairs in the order of the bytes, not checked but to be text.
    pub fn pairs(&self) -> impl Iterator<Item = Result<(&'a str, &'a str), SeriesError>> {
        RawPairs::new(self.message).map(|pair| text_pair(pair?))
    }

    /// The canonical bytes of the labels, written into `buffer`: the slow way, for labels that are
    /// not known.
    pub fn canonical<'b>(&self, buffer: &'b mut Vec<u8>) -> Result<&'b [u8], SeriesError> {
        let pairs = RawPairs::new(self.message).take(MAX_LABELS + 1);
        let mut pairs = pairs.collect::<Result<Vec<RawPair<'_>>, _>>()?;
        canonicalize(&mut pairs, MetricName::Required, buffer)?;
        Ok(buffer)
    }

    #[inline]
    fn after_run(&self) -> Cursor<'a> {
        self.message.at(self.run_end)
    }

    /// The float samples.
    #[inline]
    pub fn samples(&self) -> Samples<'a> {
        Samples::new(self.after_run(), sample::FIELDS_V1, 0)
    }

    /// Whether there is nothing besides labels and float samples, so that nothing else need be
    /// asked for.
    #[inline]
    pub fn has_only_samples(&self) -> bool {
        self.rest == Rest::Samples
    }

    /// The native histograms.
    pub fn histograms(&self) -> impl Iterator<Item = Result<HistogramSample, DecodeError>> + 'a {
        Histograms::new(self.after_run(), HISTOGRAMS, 0)
    }

    /// The exemplars.
    pub fn exemplars(&self) -> Exemplars<'a> {
        Exemplars::new(self.after_run(), EXEMPLARS, None)
    }
}

impl Rest {
    /// Goes past a field, and says what the rest holds with it.
    fn with(self, key: u32, at: &mut Cursor<'_>) -> Result<Self, DecodeError> {
        let seen = match key {
            LABEL => Self::Labels,
            EXEMPLAR | HISTOGRAM if self == Self::Samples => Self::More,
            SAMPLE | EXEMPLAR | HISTOGRAM => self,
            other => return at.skip_unknown(other, SERIES_FIELDS).map(|()| self),
        };
        at.skip_bytes()?;
        Ok(seen)
    }
}
