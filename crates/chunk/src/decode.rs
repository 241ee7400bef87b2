//! From frames to columns: what lies in the range of time, united.

use rangekeeper_model::{Floats, HistogramSample, Samples, TimeRange};

use crate::frame::{Damage, DamageKind, Frame, FrameKind, Frames};
use crate::open::OpenFloats;
use crate::{histograms, sealed, xor};

/// Decodes chunk values. Keep one for many of them: it holds the memory that frames which overlap
/// in time need.
#[derive(Debug, Default)]
pub struct Decoder {
    /// Samples of frames that overlap in time with what is in the output already.
    late: Samples,
    /// One frame that overlaps with those too.
    later: Samples,
    ints: Vec<i64>,
}

/// Unites with `out` the samples of the chunk value that lie in `range`. Returns what could not be
/// read; everything else is in `out`. For many values, use a [`Decoder`].
pub fn decode(value: &[u8], range: TimeRange, out: &mut Samples) -> Vec<Damage> {
    Decoder::default().decode(value, range, out)
}

impl Decoder {
    /// As [`decode`]: values of successive windows may go to one `out`, and then cost no more than
    /// the copy.
    pub fn decode(&mut self, value: &[u8], range: TimeRange, out: &mut Samples) -> Vec<Damage> {
        let mut damages = Vec::new();
        for frame in Frames::new(value) {
            if let Err(damage) = frame.and_then(|frame| self.add_frame(&frame, range, out)) {
                damages.push(damage);
            }
        }
        self.unite_late(out);
        damages
    }

    /// Unites with `out` the samples of an open segment that lie in `range`.
    pub fn decode_open(&mut self, open: &OpenFloats, range: TimeRange, out: &mut Samples) {
        let (Some(min_ms), Some(max_ms)) = (open.min_ms(), open.max_ms()) else { return };
        if !range.is_empty() && range.overlaps(min_ms, max_ms) {
            let kind = FrameKind::XorFloats;
            let (count, body) = (open.count(), open.body());
            let frame = Frame { kind, count, min_ms, max_ms, offset: 0, body, bytes: &[] };
            let added = self.add_frame(&frame, range, out);
            debug_assert!(added.is_ok(), "an open segment is always whole");
            self.unite_late(out);
        }
    }

    /// Decodes a frame behind what is in `out`; if it does not lie behind that, aside.
    fn add_frame(
        &mut self,
        frame: &Frame<'_>,
        range: TimeRange,
        out: &mut Samples,
    ) -> Result<(), Damage> {
        let damage = |what| Damage { offset: frame.offset, what };
        match frame.kind {
            FrameKind::Damaged => return Err(damage(DamageKind::Kept)),
            FrameKind::Tombstone => return Err(damage(DamageKind::UnknownKind)),
            _ if range.is_empty() => return Ok(()),
            _ if !range.overlaps(frame.min_ms, frame.max_ms) => return Ok(()),
            _ => {}
        }
        let lies_behind = |samples: &Samples| samples.last_ms().is_none_or(|t| t < frame.min_ms);
        let target = if lies_behind(out) {
            out
        } else if lies_behind(&self.late) {
            &mut self.late
        } else {
            self.later.clear();
            &mut self.later
        };
        append_frame(frame, range, target, &mut self.ints).ok_or(damage(DamageKind::Malformed))?;
        if !self.later.is_empty() {
            self.late.unite(&self.later);
            self.later.clear();
        }
        Ok(())
    }

    fn unite_late(&mut self, out: &mut Samples) {
        if !self.late.is_empty() {
            out.unite(&self.late);
            self.late.clear();
        }
    }
}

/// Appends what lies in `range`; of a frame that is malformed, nothing.
fn append_frame(
    frame: &Frame<'_>,
    range: TimeRange,
    out: &mut Samples,
    ints: &mut Vec<i64>,
) -> Option<()> {
    let (floats, histograms) = (out.floats.len(), out.histograms.len());
    let decoded = decode_frame(frame, out, ints);
    if decoded.is_none() {
        out.floats.truncate(floats);
        out.histograms.truncate(histograms);
    } else if frame.min_ms < range.from_ms || frame.max_ms > range.to_ms {
        clip_floats(&mut out.floats, floats, range);
        clip_histograms(&mut out.histograms, histograms, range);
    } else {
        return decoded;
    }
    let starts = &mut out.floats.starts;
    if starts.iter().all(|&start_ms| start_ms == 0) {
        starts.clear();
    }
    decoded
}

fn decode_frame(frame: &Frame<'_>, out: &mut Samples, ints: &mut Vec<i64>) -> Option<()> {
    let span = (frame.min_ms, frame.max_ms);
    match frame.kind {
        FrameKind::XorFloats => xor::decode(frame.body, frame.count, span, &mut out.floats),
        FrameKind::SealedFloats => sealed::decode_floats(frame, &mut out.floats, ints),
        FrameKind::IntegerHistograms
        | FrameKind::FloatHistograms
        | FrameKind::SealedIntegerHistograms
        | FrameKind::SealedFloatHistograms => histograms::decode(frame, &mut out.histograms),
        FrameKind::Tombstone | FrameKind::Damaged => None,
    }
}

fn clip_floats(floats: &mut Floats, from: usize, range: TimeRange) {
    let new = &floats.timestamps[from..];
    let below = new.partition_point(|&timestamp| timestamp < range.from_ms);
    let kept = new.partition_point(|&timestamp| timestamp <= range.to_ms);
    floats.truncate(from + kept);
    floats.timestamps.drain(from..from + below);
    floats.values.drain(from..from + below);
    if !floats.starts.is_empty() {
        floats.starts.drain(from..from + below);
    }
}

fn clip_histograms(histograms: &mut Vec<HistogramSample>, from: usize, range: TimeRange) {
    let new = &histograms[from..];
    let below = new.partition_point(|sample| sample.timestamp_ms < range.from_ms);
    let kept = new.partition_point(|sample| sample.timestamp_ms <= range.to_ms);
    histograms.truncate(from + kept);
    histograms.drain(from..from + below);
}
