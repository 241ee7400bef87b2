//! The times of a frame: a grid, and what each sample deviates from it.
//!
//! ```text
//! ┌─────────────┬───────────────────────────────────────────────────┐
//! │ step varint │ ints: time − min − index·step, from the second on │
//! └─────────────┴───────────────────────────────────────────────────┘
//! ```
//!
//! Of one sample there is nothing.
//!
//! Scrapes that are late for once are offsets with a gap and a deviation each; a grid that shifts,
//! as after a scrape that was missed, is a delta. All series of a target have the same bytes here
//! and in the head of the frame before it, so a general compressor behind this one finds them
//! again.

use crate::ints::{Shape, put_ints, read_ints};
use crate::varint::{Reader, put_varint};

/// Appends the times, which rise; the head of the frame has the first. `scratch` is only memory.
pub(crate) fn put_times(out: &mut Vec<u8>, times: &[i64], scratch: &mut Vec<i64>) {
    if times.len() < 2 {
        return;
    }
    let step = step(times);
    put_varint(out, step.cast_unsigned());
    let mut grid = times[0];
    scratch.clear();
    scratch.extend(times[1..].iter().map(|&time| {
        grid = grid.wrapping_add(step);
        time.wrapping_sub(grid)
    }));
    put_ints(out, 0, scratch, Shape::Series);
}

/// The delta that most neighbours have; where there is none such, the mean.
fn step(times: &[i64]) -> i64 {
    let deltas = || times.windows(2).map(|pair| pair[1].wrapping_sub(pair[0]));
    // Majority vote: if one delta has more than half of the votes, it is left over.
    let (mut leader, mut lead) = (0, 0usize);
    for delta in deltas() {
        if lead == 0 {
            leader = delta;
        }
        lead = if delta == leader { lead + 1 } else { lead - 1 };
    }
    if deltas().filter(|&delta| delta == leader).count() * 2 > times.len() {
        return leader;
    }
    let span = times[times.len() - 1].wrapping_sub(times[0]).cast_unsigned();
    (span / (times.len() as u64 - 1)).cast_signed()
}

/// Fills `times`; they rise from `min_ms` to `max_ms`, or there is nothing.
pub(crate) fn read_times(
    reader: &mut Reader<'_>,
    (min_ms, max_ms): (i64, i64),
    times: &mut [i64],
) -> Option<()> {
    let (first, rest) = times.split_first_mut()?;
    *first = min_ms;
    let mut before = min_ms;
    let mut is_rising = true;
    if !rest.is_empty() {
        let step = reader.varint()?.cast_signed();
        read_ints(reader, 0, rest)?;
        let mut grid = min_ms;
        for time in rest {
            grid = grid.wrapping_add(step);
            *time = time.wrapping_add(grid);
            is_rising &= before < *time;
            before = *time;
        }
    }
    (is_rising && before == max_ms).then_some(())
}
