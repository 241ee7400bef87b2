//! Walking a frame: a copy of nothing, an error for anything that no writer made.

use rangekeeper_model::{Labels, SeriesHash, TenantId};

use super::{COUNT_SHIFT, HAS_LABELS, HAS_REST, HAS_STARTS, HASH_BYTES};
use crate::cursor::Cursor;
use crate::error::{DecodeError, Fault};
use crate::sample::Sample;
use crate::v1;

/// A sample takes a value and a byte of time at least.
const SAMPLE_MIN_BYTES: usize = 9;

/// Walks a frame. After an error nothing more comes.
pub fn frame(bytes: &[u8]) -> Frame<'_> {
    Frame { at: Cursor::new(bytes), rows_left: 0, previous_ms: 0 }
}

/// What a frame holds, in the order of its bytes.
#[derive(Clone, Debug)]
pub struct Frame<'a> {
    at: Cursor<'a>,
    /// Rows of the request that was begun last.
    rows_left: u64,
    previous_ms: i64,
}

/// A part of a frame.
#[derive(Clone, Debug)]
pub enum Part<'a> {
    /// A request begins.
    Request(Request<'a>),
    /// A row of the request that was begun last.
    Row(Row<'a>),
}

/// What comes before the rows of a request.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// Whose rows they are.
    pub tenant: TenantId,
    /// How many rows follow.
    pub rows: u64,
    metadata: &'a [u8],
}

/// A series and what there is of it.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// The series.
    pub hash: SeriesHash,
    /// Its canonical label bytes, checked to be that, if they came along.
    pub labels: Option<&'a [u8]>,
    samples: Cursor<'a>,
    sample_count: usize,
    has_starts: bool,
    previous_ms: i64,
    rest: Option<v1::Series<'a>>,
}

/// The float samples of a row.
#[derive(Clone, Debug)]
pub struct RowSamples<'a> {
    at: Cursor<'a>,
    left: usize,
    has_starts: bool,
    previous_ms: i64,
}

impl<'a> Frame<'a> {
    fn next_part(&mut self) -> Result<Option<Part<'a>>, DecodeError> {
        if self.rows_left > 0 {
            self.rows_left -= 1;
            return self.row().map(|row| Some(Part::Row(row)));
        }
        if self.at.is_done() {
            return Ok(None);
        }
        self.request().map(|request| Some(Part::Request(request)))
    }

    fn request(&mut self) -> Result<Request<'a>, DecodeError> {
        let start = self.at;
        let tenant = std::str::from_utf8(self.at.bytes()?).ok();
        let tenant = tenant.and_then(|tenant| TenantId::new(tenant).ok());
        let tenant = tenant.ok_or_else(|| start.error(Fault::Tenant))?;
        let metadata = self.at.bytes()?;
        self.previous_ms = self.at.fixed64()?.cast_signed();
        self.rows_left = self.at.varint()?;
        Ok(Request { tenant, rows: self.rows_left, metadata })
    }

    #[inline]
    fn row(&mut self) -> Result<Row<'a>, DecodeError> {
        let hash = self.hash()?;
        let head = self.at.varint()?;
        let labels = if head & HAS_LABELS == 0 { None } else { Some(self.labels()?) };
        let sample_count = self.sample_count(head)?;
        let has_starts = head & HAS_STARTS != 0;
        let (samples, previous_ms) = (self.at, self.previous_ms);
        let mut all = RowSamples { at: samples, left: sample_count, has_starts, previous_ms };
        while all.left > 0 {
            all.read()?;
        }
        (self.at, self.previous_ms) = (all.at, all.previous_ms);
        let rest = if head & HAS_REST == 0 { None } else { Some(self.rest()?) };
        Ok(Row { hash, labels, samples, sample_count, has_starts, previous_ms, rest })
    }

    #[inline]
    fn hash(&mut self) -> Result<SeriesHash, DecodeError> {
        let Some((hash, _)) = self.at.rest().split_first_chunk::<HASH_BYTES>() else {
            return Err(self.at.error(Fault::Truncated));
        };
        self.at.advance(HASH_BYTES);
        Ok(SeriesHash(u128::from_le_bytes(*hash)))
    }

    fn labels(&mut self) -> Result<&'a [u8], DecodeError> {
        let start = self.at;
        let bytes = self.at.bytes()?;
        match Labels::from_canonical(bytes) {
            Ok(_) => Ok(bytes),
            Err(_) => Err(start.error(Fault::Labels)),
        }
    }

    /// So many samples must at least have room in what is left.
    fn sample_count(&self, head: u64) -> Result<usize, DecodeError> {
        let most = self.at.rest().len() / SAMPLE_MIN_BYTES;
        let count = usize::try_from(head >> COUNT_SHIFT).ok().filter(|count| *count <= most);
        count.ok_or_else(|| self.at.error(Fault::Truncated))
    }

    fn rest(&mut self) -> Result<v1::Series<'a>, DecodeError> {
        v1::Series::walk(self.at.message()?)
    }
}

impl<'a> Iterator for Frame<'a> {
    type Item = Result<Part<'a>, DecodeError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let part = self.next_part().transpose();
        if matches!(part, Some(Err(_))) {
            self.at.finish();
            self.rows_left = 0;
        }
        part
    }
}

impl<'a> Request<'a> {
    /// What the sender says of metric families.
    pub fn metadata(&self) -> v1::Entries<'a> {
        v1::entries(self.metadata)
    }
}

impl<'a> Row<'a> {
    /// Its float samples.
    #[inline]
    pub fn samples(&self) -> RowSamples<'a> {
        RowSamples {
            at: self.samples,
            left: self.sample_count,
            has_starts: self.has_starts,
            previous_ms: self.previous_ms,
        }
    }

    /// Its histograms and exemplars.
    pub fn rest(&self) -> Option<&v1::Series<'a>> {
        self.rest.as_ref()
    }
}

impl RowSamples<'_> {
    #[inline]
    fn read(&mut self) -> Result<Sample, DecodeError> {
        self.left -= 1;
        let value = self.at.double()?;
        let timestamp_ms = self.previous_ms.wrapping_add(self.at.sint64()?);
        self.previous_ms = timestamp_ms;
        let start_ms =
            if self.has_starts { timestamp_ms.wrapping_sub(self.at.sint64()?) } else { 0 };
        Ok(Sample { timestamp_ms, start_ms, value })
    }
}

impl Iterator for RowSamples<'_> {
    type Item = Sample;

    #[inline]
    fn next(&mut self) -> Option<Sample> {
        if self.left == 0 {
            return None;
        }
        Some(self.read().expect("the walk over the frame went past these bytes"))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for RowSamples<'_> {}
