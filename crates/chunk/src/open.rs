//! The open segment of one series: floats that the head appends to and readers read, in the format
//! of [`xor`](crate::xor), which needs no finishing but a head.

use std::fmt;

use crate::bits::{put_bits, reserve_in_small_steps};
use crate::frame::{FrameKind, MAX_FRAME_SAMPLES, VALUE_HEAD, put_frame};
use crate::xor::put_step;

/// Float samples in the order of time, compressed as they come. 64 bytes and what
/// [`heap_bytes`](Self::heap_bytes) says; readable at any time
/// ([`Decoder::decode_open`](crate::Decoder::decode_open)).
#[derive(Clone, Default)]
pub struct OpenFloats {
    /// The body of a frame; empty while there is no sample.
    bytes: Vec<u8>,
    min_ms: i64,
    /// Bits of the last value.
    value: u64,
    /// Start timestamp of the last sample.
    start_ms: i64,
    /// Time of the last sample, from `min_ms` on.
    last: u32,
    /// The last delta; 0 before the second sample.
    delta: u32,
    count: u32,
    /// Bits in use in the last byte, 1 to 8.
    used: u8,
    /// Where the last xor had its bits: leading zeros, and length from 1 to 64.
    leading: u8,
    length: u8,
}

/// Why a sample was not appended; it must go elsewhere, nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Its time is not after the last sample's.
    #[error("sample is not newer than the last one")]
    NotNewer,
    /// The segment has [`MAX_FRAME_SAMPLES`] samples, or would span more than 49 days.
    #[error("open segment is full")]
    Full,
}

impl OpenFloats {
    /// An empty segment, which has allocated nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of samples.
    pub fn count(&self) -> usize {
        self.count as usize
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Time of the first sample.
    pub fn min_ms(&self) -> Option<i64> {
        (self.count > 0).then_some(self.min_ms)
    }

    /// Time of the last sample.
    pub fn max_ms(&self) -> Option<i64> {
        (self.count > 0).then(|| self.last_ms())
    }

    /// Time, start timestamp and value of the last sample.
    pub fn last(&self) -> Option<(i64, i64, f64)> {
        (self.count > 0).then(|| (self.last_ms(), self.start_ms, f64::from_bits(self.value)))
    }

    /// Memory that it holds beyond itself.
    pub fn heap_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    /// Appends a sample; `start_ms` is 0 where it is unset.
    #[inline]
    pub fn append(&mut self, timestamp_ms: i64, start_ms: i64, value: f64) -> Result<(), Refused> {
        if self.count == 0 {
            self.begin(timestamp_ms, start_ms, value.to_bits());
            return Ok(());
        }
        if timestamp_ms <= self.last_ms() {
            return Err(Refused::NotNewer);
        }
        let since_first = timestamp_ms.wrapping_sub(self.min_ms).cast_unsigned();
        if since_first > u64::from(u32::MAX) || self.count() == MAX_FRAME_SAMPLES {
            return Err(Refused::Full);
        }
        let delta = since_first as u32 - self.last;
        let xor = value.to_bits() ^ self.value;
        if delta != self.delta || xor != 0 || start_ms != self.start_ms {
            self.put_change(delta, start_ms, xor);
        } else if self.used < 8 {
            // Unused bits of the last byte are zeros.
            self.used += 1;
        } else {
            reserve_in_small_steps(&mut self.bytes, 1);
            self.bytes.push(0);
            self.used = 1;
        }
        self.last = since_first as u32;
        self.count += 1;
        Ok(())
    }

    /// The samples as a chunk value of one frame; of no samples, nothing.
    pub fn finish(&self) -> Vec<u8> {
        let mut value = Vec::new();
        if !self.is_empty() {
            value.reserve_exact(32 + self.bytes.len());
            value.extend_from_slice(&VALUE_HEAD);
            self.put_frame(&mut value);
        }
        value
    }

    pub(crate) fn put_frame(&self, out: &mut Vec<u8>) {
        let span = (self.min_ms, self.last_ms());
        put_frame(out, FrameKind::XorFloats, self.count(), span, &self.bytes);
    }

    pub(crate) fn body(&self) -> &[u8] {
        &self.bytes
    }

    fn last_ms(&self) -> i64 {
        self.min_ms + i64::from(self.last)
    }

    fn begin(&mut self, timestamp_ms: i64, start_ms: i64, bits: u64) {
        *self = Self {
            bytes: Vec::with_capacity(16),
            min_ms: timestamp_ms,
            value: bits,
            start_ms,
            used: 8,
            leading: 0,
            length: 64,
            count: 1,
            last: 0,
            delta: 0,
        };
        self.bytes.extend_from_slice(&bits.to_le_bytes());
        put_bits(&mut self.bytes, &mut self.used, u64::from(start_ms != 0), 1);
        if start_ms != 0 {
            put_step(&mut self.bytes, &mut self.used, start_ms.wrapping_sub(timestamp_ms));
        }
    }

    fn put_change(&mut self, delta: u32, start_ms: i64, xor: u64) {
        let (bytes, used) = (&mut self.bytes, &mut self.used);
        if start_ms != self.start_ms {
            put_bits(bytes, used, 0b1111, 4);
            put_step(bytes, used, start_ms.wrapping_sub(self.start_ms));
            self.start_ms = start_ms;
        }
        let step = i64::from(delta) - i64::from(self.delta);
        self.delta = delta;
        match (step != 0, xor != 0) {
            (false, false) => put_bits(bytes, used, 0, 1),
            (false, true) => self.put_xor(0b10, 2, xor),
            (true, false) => {
                put_bits(bytes, used, 0b110, 3);
                put_step(bytes, used, step);
            }
            (true, true) => {
                put_bits(bytes, used, 0b1110, 4);
                put_step(bytes, used, step);
                self.put_xor(0, 0, xor);
            }
        }
    }

    /// Appends `code_bits` bits of `code`, then the xor.
    #[inline]
    fn put_xor(&mut self, code: u64, code_bits: u32, xor: u64) {
        let (leading, trailing) = (xor.leading_zeros(), xor.trailing_zeros());
        let significant = 64 - leading - trailing;
        let (kept_leading, kept_length) = (u32::from(self.leading), u32::from(self.length));
        let fits = leading >= kept_leading && trailing >= 64 - kept_leading - kept_length;
        let (head, head_bits, length, bits) = if fits && kept_length <= significant + 12 {
            (code << 1, code_bits + 1, kept_length, xor >> (64 - kept_leading - kept_length))
        } else {
            (self.leading, self.length) = (leading as u8, significant as u8);
            let place = 1 << 12 | u64::from(leading) << 6 | u64::from(significant - 1);
            (code << 13 | place, code_bits + 13, significant, xor >> trailing)
        };
        self.value ^= xor;
        let (bytes, used) = (&mut self.bytes, &mut self.used);
        if head_bits + length <= 56 {
            put_bits(bytes, used, head << length | bits, head_bits + length);
        } else {
            put_bits(bytes, used, head << (length - 32) | bits >> 32, head_bits + length - 32);
            put_bits(bytes, used, bits & 0xffff_ffff, 32);
        }
    }
}

impl fmt::Debug for OpenFloats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenFloats")
            .field("count", &self.count)
            .field("min_ms", &self.min_ms())
            .field("max_ms", &self.max_ms())
            .field("bytes", &self.bytes.len())
            .finish_non_exhaustive()
    }
}
