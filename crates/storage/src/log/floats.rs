//! Float samples in runs of one shard: written and read with as few branches as there can be.
//!
//! ```text
//! ┌────────────┬───────────────┬───────────────┬─────────────────┬───────────────┐
//! │ u8: widths │ 1 to 4 bytes: │ 0 to 8 bytes: │ 0 to 8 bytes:   │ 8 bytes: bits │
//! │            │ reference     │ timestamp     │ start timestamp │ of the value  │
//! └────────────┴───────────────┴───────────────┴─────────────────┴───────────────┘
//! widths     bits 0-1 bytes of the reference − 1, bits 2-4 timestamp, bits 5-7 start timestamp;
//!            a width of 0 to 7 means 0, 1, 2, 3, 4, 5, 6 or 8 bytes; a start of width 0 is unset
//! reference  zigzag difference to the one before, in a run's first sample to 0
//! timestamp  zigzag difference to the one before, in a run's first sample to the record's base
//! start      zigzag difference to the timestamp
//! ```
//!
//! A scrape's samples of one timestamp take 10 to 12 bytes each.

use rangekeeper_model::ShardId;

use super::SeriesRef;
use super::bytes::{unzigzag, zigzag};
use super::encode::{FinishedRuns, FloatSample};
use super::error::MalformedRecord;

/// No sample takes more; each number is stored as eight bytes and then cut, so that many must be
/// there.
const SAMPLE_ROOM: usize = 1 + 4 + 8 + 8 + 8 + 8;

const WIDTHS: [usize; 8] = [0, 1, 2, 3, 4, 5, 6, 8];

/// Float samples being encoded.
#[derive(Default)]
pub(super) struct FloatRuns {
    starts: Vec<(ShardId, usize)>,
    /// `used` bytes are content, the rest is room: growing is a rare branch, writing none.
    data: Vec<u8>,
    used: usize,
    previous_reference: u32,
    previous_ms: i64,
}

impl FloatRuns {
    pub(super) fn clear(&mut self) {
        self.starts.clear();
        self.used = 0;
    }

    pub(super) fn capacity_bytes(&self) -> usize {
        self.data.capacity()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.used == 0
    }

    pub(super) fn runs(&self) -> FinishedRuns<'_> {
        FinishedRuns { starts: &self.starts, data: &self.data[..self.used] }
    }

    #[inline]
    pub(super) fn push(&mut self, shard: ShardId, base_ms: i64, sample: &FloatSample) {
        if self.starts.last().is_none_or(|(last, _)| *last != shard) {
            self.starts.push((shard, self.used));
            (self.previous_reference, self.previous_ms) = (0, base_ms);
        }
        if self.data.len() - self.used < SAMPLE_ROOM {
            self.data.resize((self.data.len() * 2).max(4096), 0);
        }
        let out: &mut [u8; SAMPLE_ROOM] =
            self.data[self.used..].first_chunk_mut().expect("room was made above");

        let step = sample.reference.0.wrapping_sub(self.previous_reference).cast_signed();
        let reference = ((step << 1) ^ (step >> 31)).cast_unsigned();
        let reference_bytes = 4 - (reference | 1).leading_zeros() as usize / 8;
        let mut at = 1 + reference_bytes;
        let head = (reference_bytes - 1) as u64 | u64::from(reference) << 8;
        out[..8].copy_from_slice(&head.to_le_bytes());
        // A scrape's samples have one timestamp and no start: mostly this is passed over.
        if sample.timestamp_ms != self.previous_ms || sample.start_ms != 0 {
            at = put_times(out, at, self.previous_ms, sample);
        }
        out[at..at + 8].copy_from_slice(&sample.value.to_bits().to_le_bytes());
        self.used += at + 8;
        (self.previous_reference, self.previous_ms) = (sample.reference.0, sample.timestamp_ms);
    }
}

/// Writes timestamp and start to `at`, their widths into the first byte; returns where they end.
fn put_times(
    out: &mut [u8; SAMPLE_ROOM],
    mut at: usize,
    previous_ms: i64,
    sample: &FloatSample,
) -> usize {
    let timestamp = zigzag(sample.timestamp_ms.wrapping_sub(previous_ms));
    let timestamp_code = width_code(timestamp);
    out[at..at + 8].copy_from_slice(&timestamp.to_le_bytes());
    at += WIDTHS[timestamp_code];
    let mut widths = timestamp_code << 2;
    if sample.start_ms != 0 {
        let start = zigzag(sample.start_ms.wrapping_sub(sample.timestamp_ms));
        let start_code = width_code(start).max(1);
        out[at..at + 8].copy_from_slice(&start.to_le_bytes());
        at += WIDTHS[start_code];
        widths |= start_code << 5;
    }
    out[0] |= widths.to_le_bytes()[0];
    at
}

/// Index in [`WIDTHS`] of the bytes that `value` needs.
#[inline]
fn width_code(value: u64) -> usize {
    let bytes = (64 - value.leading_zeros() as usize).div_ceil(8);
    bytes.min(7)
}

/// The float samples of one run.
#[derive(Clone, Debug)]
pub struct Floats<'a> {
    /// The run's bytes from the next sample on, and whatever follows them.
    bytes: &'a [u8],
    /// How many of them are the run's.
    left: usize,
    previous_reference: u32,
    previous_ms: i64,
    malformed: MalformedRecord,
}

impl<'a> Floats<'a> {
    /// The samples in the first `left` of `bytes`. What follows is not looked at, but where it is
    /// long enough samples can be read without a check for each number.
    pub(super) fn new(
        bytes: &'a [u8],
        left: usize,
        base_ms: i64,
        malformed: MalformedRecord,
    ) -> Self {
        Self { bytes, left, previous_reference: 0, previous_ms: base_ms, malformed }
    }

    /// Reads a sample off a window that begins with it; says how many bytes it took.
    #[inline]
    fn read(&mut self, window: &[u8; SAMPLE_ROOM]) -> (FloatSample, usize) {
        let control = usize::from(window[0]);
        let reference_bytes = (control & 3) + 1;
        let reference = number(window, 1, reference_bytes);
        let step = unzigzag(reference).to_le_bytes();
        let step = u32::from_le_bytes([step[0], step[1], step[2], step[3]]);
        self.previous_reference = self.previous_reference.wrapping_add(step);
        let mut at = 1 + reference_bytes;
        let mut start_ms = 0;
        if control > 3 {
            (at, start_ms) = self.read_times(window, at, control);
        }
        let sample = FloatSample {
            reference: SeriesRef(self.previous_reference),
            timestamp_ms: self.previous_ms,
            start_ms,
            value: f64::from_bits(number(window, at, 8)),
        };
        (sample, at + 8)
    }

    /// Reads the timestamp, and the start, which it returns with where they end.
    fn read_times(
        &mut self,
        window: &[u8; SAMPLE_ROOM],
        mut at: usize,
        control: usize,
    ) -> (usize, i64) {
        let timestamp_width = WIDTHS[control >> 2 & 7];
        let step = unzigzag(number(window, at, timestamp_width));
        self.previous_ms = self.previous_ms.wrapping_add(step);
        at += timestamp_width;
        let start_width = WIDTHS[control >> 5 & 7];
        if start_width == 0 {
            return (at, 0);
        }
        let step = unzigzag(number(window, at, start_width));
        (at + start_width, self.previous_ms.wrapping_add(step))
    }
}

/// The `width` bytes at `at`, which are at most eight.
#[inline]
fn number(window: &[u8; SAMPLE_ROOM], at: usize, width: usize) -> u64 {
    let bytes = *window[at..].first_chunk::<8>().expect("the window has room to spare");
    let number = u64::from_le_bytes(bytes);
    if width == 8 { number } else { number & ((1 << (8 * width)) - 1) }
}

impl Iterator for Floats<'_> {
    type Item = Result<FloatSample, MalformedRecord>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let (sample, used) = if let Some(window) = self.bytes.first_chunk() {
            self.read(window)
        } else {
            let mut window = [0; SAMPLE_ROOM];
            window[..self.bytes.len()].copy_from_slice(self.bytes);
            self.read(&window)
        };
        if used > self.left {
            self.left = 0;
            return Some(Err(self.malformed));
        }
        self.left -= used;
        self.bytes = &self.bytes[used..];
        Some(Ok(sample))
    }
}
