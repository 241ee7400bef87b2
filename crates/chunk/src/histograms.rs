//! Histograms of one kind, integer or float, in a codec of their own.
//!
//! ```text
//! body   ┌───────┬────────┬─────────┬──────┬───────┬────────────────────────────┐
//!        │ times │ starts │ layouts │ sums │ cells │ digest u64, in sealed ones │
//!        └───────┴────────┴─────────┴──────┴───────┴────────────────────────────┘
//! ```
//!
//! A *layout* is what seldom changes: schema, thresholds, spans, custom bounds; each is stored once
//! for the run of samples that have it. *Sums* are [`values`](crate::values). *Cells* are the
//! counts, one layout after the other, in each bucket by bucket and in a bucket sample by sample,
//! as what belongs together changes together:
//!
//! - of integer histograms one series of ints: per bucket the absolute count of the first sample,
//!   then differences from sample to sample. The first column is what the count has beyond the sum
//!   of all buckets, so mostly zeros;
//! - of float histograms one series of values: the count, the zero bucket, the buckets.
//!
//! Arithmetic wraps, and spans need not agree with buckets: what a sender sent comes back, valid or
//! not.

mod cells;
mod layout;

use std::sync::Arc;

use rangekeeper_model::{Buckets, Histogram, HistogramSample};

use crate::digest::histograms_digest;
use crate::frame::{Frame, FrameKind, MAX_FRAME_SAMPLES, put_frame};
use crate::sealed::{DIGEST_BYTES, Scratch};
use crate::starts::{put_starts, read_starts};
use crate::times::{put_times, read_times};
use crate::values::{put_values, read_values};
use crate::varint::Reader;

/// Most cells of one frame: buckets, spans and bounds of all its samples. Equal ones need next to
/// no bytes, so without a bound a small frame could ask for any amount of memory.
const MAX_CELLS: usize = 1 << 22;

/// Whether a frame can hold the histogram: all but those of millions of buckets, which whoever
/// takes samples in has to refuse, as encoding leaves them out.
pub fn fits(histogram: &Histogram) -> bool {
    layout::cells(histogram) <= MAX_CELLS
}

/// Appends frames as the head flushes them.
pub(crate) fn put(out: &mut Vec<u8>, samples: &[HistogramSample], scratch: &mut Scratch) {
    put_kind(out, samples, FrameKind::IntegerHistograms, scratch);
    put_kind(out, samples, FrameKind::FloatHistograms, scratch);
}

/// Appends sealed frames.
pub(crate) fn put_sealed(out: &mut Vec<u8>, samples: &[HistogramSample], scratch: &mut Scratch) {
    put_kind(out, samples, FrameKind::SealedIntegerHistograms, scratch);
    put_kind(out, samples, FrameKind::SealedFloatHistograms, scratch);
}

fn is_integer_kind(kind: FrameKind) -> bool {
    matches!(kind, FrameKind::IntegerHistograms | FrameKind::SealedIntegerHistograms)
}

fn put_kind(
    out: &mut Vec<u8>,
    samples: &[HistogramSample],
    kind: FrameKind,
    scratch: &mut Scratch,
) {
    let is_ours = |sample: &&HistogramSample| {
        let is_integer = matches!(sample.histogram.buckets, Buckets::Integer { .. });
        is_integer == is_integer_kind(kind) && fits(&sample.histogram)
    };
    let mut frame: Vec<&HistogramSample> = Vec::new();
    let mut cells = 0;
    for sample in samples.iter().filter(is_ours) {
        let more = layout::cells(&sample.histogram);
        if frame.len() == MAX_FRAME_SAMPLES || cells + more > MAX_CELLS {
            put_one(out, &frame, kind, scratch);
            frame.clear();
            cells = 0;
        }
        frame.push(sample);
        cells += more;
    }
    if !frame.is_empty() {
        put_one(out, &frame, kind, scratch);
    }
}

fn put_one(
    out: &mut Vec<u8>,
    samples: &[&HistogramSample],
    kind: FrameKind,
    scratch: &mut Scratch,
) {
    let times: Vec<i64> = samples.iter().map(|sample| sample.timestamp_ms).collect();
    let starts: Vec<i64> = samples.iter().map(|sample| sample.start_ms).collect();
    let mut body = Vec::new();
    put_times(&mut body, &times, &mut scratch.ints);
    put_starts(&mut body, &times, &starts, &mut scratch.ints);
    layout::put_all(&mut body, samples);
    scratch.floats.clear();
    scratch.floats.extend(samples.iter().map(|sample| sample.histogram.sum));
    put_values(&mut body, &scratch.floats, &mut scratch.values);
    if is_integer_kind(kind) {
        cells::put_integers(&mut body, samples, scratch);
    } else {
        cells::put_floats(&mut body, samples, scratch);
    }
    if kind.is_sealed() {
        let digest =
            samples.iter().fold(0u64, |sum, sample| sum.wrapping_add(histograms_digest([*sample])));
        body.extend_from_slice(&digest.to_le_bytes());
    }
    put_frame(out, kind, samples.len(), (times[0], times[times.len() - 1]), &body);
}

/// Appends the samples of a frame; nothing where it is malformed, and then `out` is as it was.
pub(crate) fn decode(frame: &Frame<'_>, out: &mut Vec<HistogramSample>) -> Option<()> {
    let mut reader = Reader::new(frame.body);
    let mut times = vec![0; frame.count];
    read_times(&mut reader, (frame.min_ms, frame.max_ms), &mut times)?;
    let mut starts = Vec::new();
    read_starts(&mut reader, &times, 0, &mut starts)?;
    let layouts = layout::read_all(&mut reader, frame.count, MAX_CELLS)?;
    let mut sums = vec![0.0; frame.count];
    let mut ints = Vec::new();
    read_values(&mut reader, &mut sums, &mut ints)?;
    let buckets = if is_integer_kind(frame.kind) {
        cells::read_integers(&mut reader, &layouts)?
    } else {
        cells::read_floats(&mut reader, &layouts, &mut ints)?
    };
    let digest_bytes = if frame.kind.is_sealed() { DIGEST_BYTES } else { 0 };
    if reader.rest().len() != digest_bytes {
        return None;
    }
    let layouts = layouts.iter().flat_map(|layout| std::iter::repeat_n(layout, layout.samples));
    let heads = layouts.zip(sums);
    out.extend(heads.zip(buckets).enumerate().map(|(index, ((layout, sum), buckets))| {
        HistogramSample {
            timestamp_ms: times[index],
            start_ms: starts.get(index).copied().unwrap_or(0),
            histogram: Arc::new(layout.histogram(sum, buckets)),
        }
    }));
    Some(())
}
