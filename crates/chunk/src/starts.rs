//! The start timestamps of a frame.
//!
//! ```text
//! 0 │
//! 1 │ runs varint │ (length varint, start − start before signed) × runs
//! 2 │ ints: time − start, after 0
//! ```
//!
//! 0: no sample has one. 1: it seldom changes; before the first run comes the frame's min. 2: it
//! goes with the time, as in deltas.

use crate::ints::{Shape, put_ints, read_ints};
use crate::varint::{Reader, put_signed, put_varint};

const NONE: u8 = 0;
const RUNS: u8 = 1;
const EACH: u8 = 2;

/// Appends the start timestamps of samples at `times`; `starts` is empty where none has one.
pub(crate) fn put_starts(out: &mut Vec<u8>, times: &[i64], starts: &[i64], scratch: &mut Vec<i64>) {
    if starts.iter().all(|&start_ms| start_ms == 0) {
        return out.push(NONE);
    }
    let runs = starts.chunk_by(|a, b| a == b).count();
    if runs > 4 && runs > starts.len() / 8 {
        out.push(EACH);
        scratch.clear();
        scratch.extend(times.iter().zip(starts).map(|(time, start)| time.wrapping_sub(*start)));
        return put_ints(out, 0, scratch, Shape::Series);
    }
    out.push(RUNS);
    put_varint(out, runs as u64);
    let mut before = times[0];
    for run in starts.chunk_by(|a, b| a == b) {
        put_varint(out, run.len() as u64);
        put_signed(out, run[0].wrapping_sub(before));
        before = run[0];
    }
}

/// Appends to `starts` the start timestamps of the samples at `times`. Leaves a column empty that
/// is empty, as long as none is set; else it must have one for each sample before.
pub(crate) fn read_starts(
    reader: &mut Reader<'_>,
    times: &[i64],
    before: usize,
    starts: &mut Vec<i64>,
) -> Option<()> {
    let end = before + times.len();
    match reader.byte()? {
        NONE if starts.is_empty() => {}
        NONE => starts.resize(end, 0),
        RUNS => {
            starts.resize(before, 0);
            let mut start_ms = *times.first()?;
            for _ in 0..reader.varint()? {
                let length = usize::try_from(reader.varint()?).ok()?;
                if length == 0 || length > end - starts.len() {
                    return None;
                }
                start_ms = start_ms.wrapping_add(reader.signed()?);
                starts.resize(starts.len() + length, start_ms);
            }
        }
        EACH => {
            starts.resize(end, 0);
            let new = &mut starts[before..];
            read_ints(reader, 0, new)?;
            for (start, time) in new.iter_mut().zip(times) {
                *start = time.wrapping_sub(*start);
            }
        }
        _ => return None,
    }
    (starts.is_empty() || starts.len() == end).then_some(())
}
