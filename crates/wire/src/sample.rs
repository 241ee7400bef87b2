//! Float samples as they lie in a series of either version.

use crate::cursor::{Cursor, FIXED64, Messages, VARINT, fields, key};
use crate::error::DecodeError;

/// In a series of either version.
const SAMPLES: u32 = 2;
const SAMPLES_BYTE: u8 = 0x12;
const VALUE: u32 = key(1, FIXED64);
const TIMESTAMP: u32 = key(2, VARINT);
const START: u32 = key(3, VARINT);

/// Fields of a sample of remote write 1.0.
pub(crate) const FIELDS_V1: u32 = fields(&[1, 2]);
/// Fields of a sample of remote write 2.0, which may have a start timestamp.
pub(crate) const FIELDS_V2: u32 = fields(&[1, 2, 3]);

/// A usual sample has a value and a timestamp of six bytes: any from the year 1971 to 2109.
const USUAL_BYTES: usize = 16;
const USUAL_LENGTH: u8 = 16;
/// Its last eight bytes are the value's last one, the timestamp's key, and six that say whether
/// another follows.
const USUAL_MASK: u64 = u64::from_le_bytes([0, 0xff, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80]);
const USUAL_BITS: u64 = u64::from_le_bytes([0, 0x10, 0x80, 0x80, 0x80, 0x80, 0x80, 0]);

/// A float sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// When the counter began, in milliseconds since the epoch; 0 where unset.
    pub start_ms: i64,
    /// The value, bit for bit.
    pub value: f64,
}

/// The float samples of one series.
#[derive(Clone, Debug)]
pub struct Samples<'a> {
    messages: Messages<'a>,
    /// The fields that a sample has in this version.
    known: u32,
    /// For samples without a start timestamp of their own.
    start_ms: i64,
}

impl<'a> Samples<'a> {
    #[inline]
    pub(crate) fn new(fields: Cursor<'a>, known: u32, start_ms: i64) -> Self {
        Self { messages: Messages::new(fields, SAMPLES), known, start_ms }
    }
}

impl Iterator for Samples<'_> {
    type Item = Result<Sample, DecodeError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let start_ms = self.start_ms;
        let fields = self.messages.fields();
        if fields.is_done() {
            return None;
        }
        if let Some([SAMPLES_BYTE, USUAL_LENGTH, sample @ ..]) =
            fields.rest().first_chunk::<{ 2 + USUAL_BYTES }>()
            && let Some(sample) = read_usual(sample, start_ms)
        {
            fields.advance(2 + USUAL_BYTES);
            return Some(Ok(sample));
        }
        self.next_unusual()
    }
}

impl Samples<'_> {
    #[cold]
    fn next_unusual(&mut self) -> Option<Result<Sample, DecodeError>> {
        let (known, start_ms) = (self.known, self.start_ms);
        self.messages.read_next(|message| read_any(message, known, start_ms))
    }
}

/// A value, then a timestamp of six bytes: two loads and a comparison.
#[inline]
fn read_usual(sample: &[u8; USUAL_BYTES], start_ms: i64) -> Option<Sample> {
    let (value, _) = sample[1..].split_first_chunk::<8>()?;
    let (_, tail) = sample.split_last_chunk::<8>()?;
    let tail = u64::from_le_bytes(*tail);
    if sample[0] != 0x09 || tail & USUAL_MASK != USUAL_BITS {
        return None;
    }
    let timestamp_ms = join_sevens(tail >> 16).cast_signed();
    Some(Sample { timestamp_ms, start_ms, value: f64::from_le_bytes(*value) })
}

/// The varint in the low six bytes, without its marks.
#[inline]
fn join_sevens(bytes: u64) -> u64 {
    let pairs = (bytes & 0x007f_007f_007f) | ((bytes & 0x7f00_7f00_7f00) >> 1);
    (pairs & 0x3fff) | ((pairs >> 16 & 0x3fff) << 14) | ((pairs >> 32 & 0x3fff) << 28)
}

fn read_any(mut message: Cursor<'_>, known: u32, start_ms: i64) -> Result<Sample, DecodeError> {
    let mut sample = Sample { timestamp_ms: 0, start_ms: 0, value: 0.0 };
    while !message.is_done() {
        match message.key()? {
            VALUE => sample.value = message.double()?,
            TIMESTAMP => sample.timestamp_ms = message.int64()?,
            START if known == FIELDS_V2 => sample.start_ms = message.int64()?,
            other => message.skip_unknown(other, known)?,
        }
    }
    if sample.start_ms == 0 {
        sample.start_ms = start_ms;
    }
    Ok(sample)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;

    use super::*;
    use crate::proto::v2;

    /// Reads `sample` as the only one of a series.
    fn read(sample: &[u8], start_ms: i64) -> Result<Sample, DecodeError> {
        let series = [&[SAMPLES_BYTE, u8::try_from(sample.len()).unwrap()], sample].concat();
        let mut samples = Samples::new(Cursor::new(&series), FIELDS_V2, start_ms);
        let sample = samples.next().expect("a sample");
        assert!(samples.next().is_none());
        sample
    }

    #[test]
    fn the_usual_shape_takes_the_fast_path() {
        let sample = v2::Sample { value: -1.5, timestamp: 1_700_000_000_123, start_timestamp: 0 };
        let bytes = sample.encode_to_vec();
        let expected = Sample { timestamp_ms: 1_700_000_000_123, start_ms: 9, value: -1.5 };
        assert_eq!(read_usual(&bytes.try_into().unwrap(), 9), Some(expected));
    }

    #[test]
    fn the_start_of_the_sample_wins_over_that_of_the_series() {
        let sample = v2::Sample { value: 1.0, timestamp: 5, start_timestamp: 3 };
        assert_eq!(read(&sample.encode_to_vec(), 9).unwrap().start_ms, 3);
        let sample = v2::Sample { start_timestamp: 0, ..sample };
        assert_eq!(read(&sample.encode_to_vec(), 9).unwrap().start_ms, 9);
    }

    #[test]
    fn the_last_of_repeated_fields_wins() {
        assert_eq!(read(&[0x10, 1, 0x10, 2], 0).unwrap().timestamp_ms, 2);
    }

    proptest! {
        #[test]
        fn every_sample_reads_as_it_was_written(
            bits: u64,
            short in 0i64..1 << 42,
            any: i64,
            start: i64,
        ) {
            for timestamp in [short, any] {
                let value = f64::from_bits(bits);
                let sample = v2::Sample { value, timestamp, start_timestamp: start };
                let back = read(&sample.encode_to_vec(), 0).unwrap();
                prop_assert_eq!((back.timestamp_ms, back.start_ms), (timestamp, start));
                // Zero of either sign is left out when it is written.
                prop_assert!(back.value.to_bits() == bits || value == 0.0);
            }
        }
    }
}
