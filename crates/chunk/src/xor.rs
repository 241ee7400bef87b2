//! XOR floats: what open segments are made of, and what the head flushes. Bits, most significant
//! first:
//!
//! ```text
//! body     first value, f64, 8 bytes │ 0, or 1 step(first start − min): its start timestamp
//!          then for each further sample
//! 0        time goes on by the same delta, value unchanged
//! 10       same delta, other value                       │ xor
//! 110      other delta, value unchanged                  │ step(delta − delta before)
//! 1110     other delta, other value                      │ step(delta − delta before) │ xor
//! 1111     other start timestamp; then one of the above  │ step(start − start before)
//!
//! step     0 and 7 bits │ 10 and 14 │ 110 and 20 │ 1110 and 32 │ 1111 and 64, of the zigzag value
//! xor      0: the bits in the same place as the last time, or
//!          1: 6 bits leading zeros, 6 bits length − 1, then those bits
//! ```
//!
//! The delta before the second sample is 0. The place of the first xor is all 64 bits. One bit a
//! sample is what nine in ten samples need; so the two most frequent events share one code.

use rangekeeper_model::Floats;

use crate::bits::{BitReader, put_bits};
use crate::varint::{unzigzag, zigzag};

/// Decodes `count` samples from `min_ms` to `max_ms`; nothing where the body is none that the
/// writer makes, and then `out` holds more than before.
pub(crate) fn decode(
    body: &[u8],
    count: usize,
    (min_ms, max_ms): (i64, i64),
    out: &mut Floats,
) -> Option<()> {
    let (first, body) = body.split_first_chunk()?;
    // A sample takes a bit or more, so this bounds what is reserved by what is there.
    if count > 1 + 8 * body.len() || max_ms.checked_sub(min_ms)? > i64::from(u32::MAX) {
        return None;
    }
    let base = out.len();
    out.timestamps.resize(base + count, min_ms);
    out.values.resize(base + count, 0.0);
    let timestamps = &mut out.timestamps[base..];
    let values = &mut out.values[base..];
    let mut value = u64::from_le_bytes(*first);
    let (mut time, mut delta) = (min_ms, 0i64);
    let mut place = (0, 64);
    let mut reader = BitReader::new(body);
    reader.refill();
    let has_start = reader.take(1) == 1;
    let mut starts = StartRuns {
        starts: &mut out.starts,
        from: base,
        start_ms: if has_start { min_ms.wrapping_add(step(&mut reader)) } else { 0 },
    };
    values[0] = f64::from_bits(value);
    let mut index = 1;
    while index < count {
        reader.refill();
        let zeros = reader.zeros().min((count - index) as u32);
        if zeros > 0 {
            let end = index + zeros as usize;
            for timestamp in &mut timestamps[index..end] {
                time = time.wrapping_add(delta);
                *timestamp = time;
            }
            values[index..end].fill(f64::from_bits(value));
            reader.skip(zeros);
            index = end;
            continue;
        }
        match (!reader.peek()).leading_zeros() {
            // No zero and no one: the end.
            0 => return None,
            1 => {
                reader.skip(2);
                value ^= xor(&mut reader, &mut place)?;
            }
            2 => {
                reader.skip(3);
                delta = changed(delta, &mut reader)?;
            }
            3 => {
                reader.skip(4);
                delta = changed(delta, &mut reader)?;
                value ^= xor(&mut reader, &mut place)?;
            }
            _ => {
                reader.skip(4);
                let change = step(&mut reader);
                starts.change(base + index, change);
                continue;
            }
        }
        time = time.wrapping_add(delta);
        timestamps[index] = time;
        values[index] = f64::from_bits(value);
        index += 1;
    }
    starts.fill_to(base + count);
    // A delta is 0 before the first change and positive after it, and none is long enough to go
    // once around: so with the first step, and ending at the right time, times rise.
    let is_rising = count == 1 || timestamps[1] > min_ms;
    let sound = !reader.overrun() && time == max_ms && is_rising;
    sound.then_some(())
}

/// The delta after a change; times must rise.
#[inline]
fn changed(delta: i64, reader: &mut BitReader<'_>) -> Option<i64> {
    let delta = delta.wrapping_add(step(reader));
    (1..=i64::from(u32::MAX)).contains(&delta).then_some(delta)
}

/// The xor of a value with the one before; `place` is (leading zeros, length).
#[inline]
fn xor(reader: &mut BitReader<'_>, place: &mut (u32, u32)) -> Option<u64> {
    reader.refill();
    if reader.take(1) == 1 {
        *place = (reader.take(6) as u32, reader.take(6) as u32 + 1);
        reader.refill();
    }
    let (leading, length) = *place;
    let bits = if length <= 55 {
        reader.take(length)
    } else {
        let high = reader.take(length - 32);
        reader.refill();
        high << 32 | reader.take(32)
    };
    Some(bits << 64u32.checked_sub(leading + length)?)
}

/// Fills the column of start timestamps run by run, and leaves it empty as long as none is set.
pub(crate) struct StartRuns<'a> {
    pub(crate) starts: &'a mut Vec<i64>,
    /// Where the run began.
    pub(crate) from: usize,
    pub(crate) start_ms: i64,
}

impl StartRuns<'_> {
    /// From sample `index` on the start timestamp is another.
    pub(crate) fn change(&mut self, index: usize, change: i64) {
        self.fill_to(index);
        self.start_ms = self.start_ms.wrapping_add(change);
    }

    /// Ends the run before sample `index`.
    pub(crate) fn fill_to(&mut self, index: usize) {
        if self.start_ms != 0 || !self.starts.is_empty() {
            self.starts.resize(self.from, 0);
            self.starts.resize(index, self.start_ms);
        }
        self.from = index;
    }
}

/// Appends `value` as a *step*.
pub(crate) fn put_step(bytes: &mut Vec<u8>, used: &mut u8, value: i64) {
    let bits = zigzag(value);
    match 64 - bits.leading_zeros() {
        0..=7 => put_bits(bytes, used, bits, 8),
        8..=14 => put_bits(bytes, used, bits | 0b10 << 14, 16),
        15..=20 => put_bits(bytes, used, bits | 0b110 << 20, 23),
        21..=32 => put_bits(bytes, used, bits | 0b1110 << 32, 36),
        _ => {
            put_bits(bytes, used, 0b1111 << 32 | bits >> 32, 36);
            put_bits(bytes, used, bits & 0xffff_ffff, 32);
        }
    }
}

fn step(reader: &mut BitReader<'_>) -> i64 {
    reader.refill();
    let ones = (!reader.peek()).leading_zeros().min(4);
    reader.skip((ones + 1).min(4));
    unzigzag(match ones {
        0 => reader.take(7),
        1 => reader.take(14),
        2 => reader.take(20),
        3 => reader.take(32),
        _ => {
            let high = reader.take(32);
            reader.refill();
            high << 32 | reader.take(32)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_stands_still_is_malformed() {
        let decoded = |codes: [u8; 2], count| {
            let body = [&[0; 8][..], &codes].concat();
            decode(&body, count, (1000, 1001), &mut Floats::default())
        };
        // No start; 110 and a step of 1, in eight bits, to the second sample.
        assert_eq!(decoded([0b0110_0000, 0b0010_0000], 2), Some(()));
        // The same behind a second sample at the time of the first.
        assert_eq!(decoded([0b0011_0000, 0b0001_0000], 3), None);
    }
}
