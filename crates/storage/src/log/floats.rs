//! Float samples in runs of one shard: written and read without a branch on the numbers.
//!
//! ```text
//! ┌──────────────────────────────┬─────────────────────────┬──────────────────────┬─────────────────────┬───────────────┐
//! │ u8: bits 0-1 bytes of the    │ 1 to 4 bytes: reference,│ 0 to 8 bytes:        │ 0 to 8 bytes: start │ 8 bytes:      │
//! │ reference − 1, bits 2-4 width│ zigzag difference to the│ timestamp, zigzag    │ timestamp, zigzag   │ bits of the   │
//! │ of the timestamp, bits 5-7   │ one before (first: to 0)│ difference to the one│ difference to the   │ value         │
//! │ width of the start           │                         │ before (first: base) │ timestamp           │               │
//! └──────────────────────────────┴─────────────────────────┴──────────────────────┴─────────────────────┴───────────────┘
//! width 0 to 7: 0, 1, 2, 3, 4, 5, 6 or 8 bytes; a start of width 0 is unset
//! ```
//!
//! A scrape's samples of one timestamp take 10 to 12 bytes each.

use rangekeeper_model::ShardId;

use super::SeriesRef;
use super::bytes::{unzigzag, zigzag};
use super::encode::{FinishedRuns, FloatSample};
use super::error::MalformedRecord;

/// No sample takes more; each number is stored as eight bytes and then cut, so that many must be there.
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
        let timestamp = zigzag(sample.timestamp_ms.wrapping_sub(self.previous_ms));
        let timestamp_code = width_code(timestamp);
        out[1..5].copy_from_slice(&reference.to_le_bytes());
        let mut at = 1 + reference_bytes;
        out[at..at + 8].copy_from_slice(&timestamp.to_le_bytes());
        at += WIDTHS[timestamp_code & 7];
        let mut control = (reference_bytes - 1) | timestamp_code << 2;
        if sample.start_ms != 0 {
            let start = zigzag(sample.start_ms.wrapping_sub(sample.timestamp_ms));
            let start_code = width_code(start).max(1);
            out[at..at + 8].copy_from_slice(&start.to_le_bytes());
            at += WIDTHS[start_code & 7];
            control |= start_code << 5;
        }
        out[at..at + 8].copy_from_slice(&sample.value.to_bits().to_le_bytes());
        out[0] = control.to_le_bytes()[0];
        self.used += at + 8;
        (self.previous_reference, self.previous_ms) = (sample.reference.0, sample.timestamp_ms);
    }
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
    rest: &'a [u8],
    previous_reference: u32,
    previous_ms: i64,
    malformed: MalformedRecord,
}

impl<'a> Floats<'a> {
    pub(super) fn new(run: &'a [u8], base_ms: i64, malformed: MalformedRecord) -> Self {
        Self { rest: run, previous_reference: 0, previous_ms: base_ms, malformed }
    }

    /// Reads a sample off a window that begins with it; says how many bytes it took.
    #[inline]
    fn read(&mut self, window: &[u8; SAMPLE_ROOM]) -> (FloatSample, usize) {
        let control = usize::from(window[0]);
        let number = |at: usize, width: usize| {
            let bytes = *window[at..].first_chunk::<8>().expect("the window has room to spare");
            if width == 8 {
                u64::from_le_bytes(bytes)
            } else {
                u64::from_le_bytes(bytes) & ((1 << (8 * width)) - 1)
            }
        };
        let reference_bytes = (control & 3) + 1;
        let [a, b, c, d, ..] = number(1, reference_bytes).to_le_bytes();
        let reference = u32::from_le_bytes([a, b, c, d]);
        let step = (reference >> 1) ^ (reference & 1).wrapping_neg();
        self.previous_reference = self.previous_reference.wrapping_add(step);
        let mut at = 1 + reference_bytes;
        let timestamp_width = WIDTHS[control >> 2 & 7];
        self.previous_ms = self.previous_ms.wrapping_add(unzigzag(number(at, timestamp_width)));
        at += timestamp_width;
        let start_width = WIDTHS[control >> 5 & 7];
        let start = unzigzag(number(at, start_width));
        let start_ms = if start_width == 0 { 0 } else { self.previous_ms.wrapping_add(start) };
        at += start_width;
        let sample = FloatSample {
            reference: SeriesRef(self.previous_reference),
            timestamp_ms: self.previous_ms,
            start_ms,
            value: f64::from_bits(number(at, 8)),
        };
        (sample, at + 8)
    }
}

impl Iterator for Floats<'_> {
    type Item = Result<FloatSample, MalformedRecord>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let (sample, used) = if let Some(window) = self.rest.first_chunk() {
            self.read(window)
        } else {
            let mut window = [0; SAMPLE_ROOM];
            window[..self.rest.len()].copy_from_slice(self.rest);
            self.read(&window)
        };
        let Some(rest) = self.rest.get(used..) else {
            self.rest = &[];
            return Some(Err(self.malformed));
        };
        self.rest = rest;
        Some(Ok(sample))
    }
}
