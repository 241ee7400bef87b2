//! Bodies of fuzz targets: each takes any bytes and panics where a promise is broken. The tests run
//! them over a corpus.

use std::collections::BTreeSet;
use std::sync::Arc;

use rangekeeper_model::{
    Buckets, CounterResetHint, Histogram, HistogramSample, STALE_NAN_BITS, Samples, Span, TimeRange,
};

use crate::frame::{FrameKind, MAX_FRAME_SAMPLES, VALUE_HEAD, put_frame};
use crate::{Frames, OpenFloats, decode, digest, encode, merge, seal, sealed_digest};

/// A set of samples as rows that can be compared: NaNs by their bits, unset starts as 0.
///
/// # Panics
///
/// Where the samples do not rise in time, or a time occurs twice.
pub fn content(samples: &Samples) -> Vec<(i64, i64, Vec<u8>)> {
    let floats = &samples.floats;
    assert!(floats.starts.is_empty() || floats.starts.len() == floats.len());
    assert!(floats.timestamps.is_sorted_by(|a, b| a < b));
    assert!(samples.histograms.is_sorted_by(|a, b| a.timestamp_ms < b.timestamp_ms));
    let float_rows = (0..floats.len()).map(|index| {
        let bits = floats.values[index].to_bits().to_be_bytes().to_vec();
        (floats.timestamps[index], floats.start_ms(index), bits)
    });
    let histogram_rows = samples
        .histograms
        .iter()
        .map(|sample| (sample.timestamp_ms, sample.start_ms, sample.histogram.canonical_bytes()));
    let mut rows: Vec<_> = float_rows.chain(histogram_rows).collect();
    rows.sort();
    assert!(rows.is_sorted_by(|a, b| a.0 < b.0), "a time occurs twice");
    rows
}

/// A chunk value of any bytes: it decodes to something in order, clipped to the range.
pub fn value(bytes: &[u8]) {
    let mut all = Samples::default();
    let damages = decode(bytes, TimeRange::ALL, &mut all);
    assert!(damages.iter().all(|damage| damage.offset < bytes.len()));
    let rows = content(&all);
    let (Some(from_ms), Some(to_ms)) = (all.first_ms(), all.last_ms()) else { return };
    let range = TimeRange { from_ms: from_ms / 2 + to_ms / 2, to_ms };
    let mut part = Samples::default();
    decode(bytes, range, &mut part);
    let expected: Vec<_> = rows.into_iter().filter(|row| range.contains(row.0)).collect();
    assert_eq!(content(&part), expected);
}

/// The body of a frame of any bytes, with a checksum that matches: what the codecs are given must
/// not panic.
pub fn body(bytes: &[u8]) {
    let Some(([kind, count @ .., span], body)) = bytes.split_first_chunk::<4>() else { return };
    let kind = FrameKind::of(1 + kind % 8).expect("1 to 8 are kinds");
    let count = 1 + usize::from(u16::from_le_bytes(*count)) % MAX_FRAME_SAMPLES;
    let mut input = VALUE_HEAD.to_vec();
    put_frame(&mut input, kind, count, (0, (count as i64 - 1) * i64::from(*span)), body);
    value(&input);
}

/// A sound chunk value made of any bytes: sealed and other frames of the same set.
pub fn chunk_value(bytes: &[u8]) -> Vec<u8> {
    let (sealed, other) = bytes.split_at(bytes.len() / 2);
    merge(Some(&seal(&samples(sealed))), [encode(&samples(other)).as_slice()])
}

/// Lets `change` alter the body of each frame of a value, gives it a checksum that matches, and
/// decodes it.
pub fn each_body(chunk_value: &[u8], mut change: impl FnMut(&mut Vec<u8>)) {
    for frame in Frames::new(chunk_value).flatten() {
        let mut body = frame.body.to_vec();
        change(&mut body);
        let mut input = VALUE_HEAD.to_vec();
        put_frame(&mut input, frame.kind, frame.count, (frame.min_ms, frame.max_ms), &body);
        value(&input);
    }
}

/// Samples made of any bytes: they come back from the open segment, from late frames and from
/// sealed ones, with the digest of the set.
pub fn round_trip(bytes: &[u8]) {
    let samples = samples(bytes);
    let expected = content(&samples);
    let mut open = OpenFloats::new();
    for (index, &time) in samples.floats.timestamps.iter().enumerate() {
        // Refused is only what a frame cannot span; the other ways hold it.
        let _ = open.append(time, samples.floats.start_ms(index), samples.floats.values[index]);
    }
    let (mut finished, mut opened) = (Samples::default(), Samples::default());
    assert_eq!(decode(&open.finish(), TimeRange::ALL, &mut finished), []);
    crate::Decoder::default().decode_open(&open, TimeRange::ALL, &mut opened);
    assert_eq!(finished.floats.len(), open.count());
    assert_eq!(content(&finished), content(&opened));
    let sealed = seal(&samples);
    for value in [encode(&samples), sealed.clone()] {
        let mut back = Samples::default();
        assert_eq!(decode(&value, TimeRange::ALL, &mut back), []);
        assert_eq!(content(&back), expected);
        assert_eq!(digest(&back), digest(&samples));
        if let Some(sealed) = sealed_digest(&value) {
            assert_eq!(sealed, digest(&samples));
        }
    }
    assert_eq!(sealed_digest(&sealed).is_some(), Frames::new(&sealed).count() == 1);
}

/// Operands of any bytes: merging them never fails, and neither order nor grouping changes what is
/// held.
pub fn merging(bytes: &[u8]) {
    let mut operands = Vec::new();
    let mut rest = bytes;
    while let Some((&length, after)) = rest.split_first() {
        let (operand, after) = after.split_at(after.len().min(usize::from(length)));
        // Some are sound, so that sound frames and garbage meet.
        let is_sound = length % 3 == 0;
        operands.push(if is_sound { encode(&samples(operand)) } else { operand.to_vec() });
        rest = after;
    }
    let refs: Vec<&[u8]> = operands.iter().map(Vec::as_slice).collect();
    let whole = merge(None, refs.iter().copied());
    let reversed = merge(None, refs.iter().rev().copied());
    let middle = merge(refs.first().copied(), refs.iter().skip(1).copied());
    let halves = refs.split_at(refs.len() / 2);
    let grouped = [
        merge(None, halves.1.iter().copied()),
        merge(halves.0.first().copied(), halves.0.iter().skip(1).copied()),
    ];
    let grouped = merge(Some(&grouped[0]), [grouped[1].as_slice(), &whole]);
    for other in [&reversed, &middle, &grouped, &merge(Some(&whole), [])] {
        assert_eq!(frames(other), frames(&whole));
    }
    let mut united = Samples::default();
    for operand in &operands {
        decode(operand, TimeRange::ALL, &mut united);
    }
    for value in [&whole, &reversed, &grouped] {
        let mut merged = Samples::default();
        decode(value, TimeRange::ALL, &mut merged);
        assert_eq!(content(&merged), content(&united));
    }
}

/// The set of frames of a value that a merge made, all of which are sound.
fn frames(value: &[u8]) -> BTreeSet<Vec<u8>> {
    Frames::new(value)
        .map(|frame| frame.expect("a merge leaves only sound frames").bytes.to_vec())
        .collect()
}

/// Samples of any bytes, of the sorts that codecs tell apart.
fn samples(bytes: &[u8]) -> Samples {
    let mut source = Source { rest: bytes };
    let mut out = Samples::default();
    let mut time = 1_700_000_000_000;
    let mut value = 0.0;
    let mut start_ms = 0;
    while let Some((&op, rest)) = source.rest.split_first() {
        source.rest = rest;
        time += match op & 3 {
            0 | 1 => 15_000,
            2 => 15_000 + source.next(1) - 128,
            _ => 1 + source.next(5),
        };
        start_ms = match op >> 2 & 7 {
            0 => source.next(6),
            1 => time - 15_000,
            2 => 0,
            _ => start_ms,
        };
        value = match op >> 5 {
            0 | 1 => value,
            2 => value + source.next(1) as f64,
            3 => source.next(2) as f64 / 100.0,
            4 => value + source.next(2) as f64 * 0.001,
            5 => f64::from_bits(source.next(8).cast_unsigned()),
            6 => f64::from_bits(STALE_NAN_BITS),
            _ => {
                let histogram = Arc::new(histogram(&mut source));
                out.histograms.push(HistogramSample { timestamp_ms: time, start_ms, histogram });
                continue;
            }
        };
        out.floats.push(time, start_ms, value);
    }
    out
}

fn histogram(source: &mut Source<'_>) -> Histogram {
    let op = source.next(1);
    let sizes = [(op & 3) as usize, (op >> 2 & 3) as usize];
    let [positive, negative] =
        sizes.map(|n| (0..n).map(|_| source.next(2) - 99).collect::<Vec<_>>());
    let (count, zero_count) = (source.next(2), source.next(1));
    let floats = |counts: &[i64]| counts.iter().map(|&n| n as f64 / 8.0).collect();
    let buckets = if op & 16 == 0 {
        let (count, zero_count) = (count.cast_unsigned(), zero_count.cast_unsigned());
        Buckets::Integer { count, zero_count, positive, negative }
    } else {
        let (positive, negative) = (floats(&positive), floats(&negative));
        Buckets::Float { count: count as f64, zero_count: zero_count as f64, positive, negative }
    };
    let span =
        |n: usize| vec![Span { offset: op as i32 - 9, length: n as u32 }; usize::from(n > 0)];
    Histogram {
        reset_hint: CounterResetHint::Unknown,
        schema: if op & 32 == 0 { 3 } else { Histogram::CUSTOM_SCHEMA },
        zero_threshold: 0.001,
        sum: if op & 64 == 0 { count as f64 } else { f64::from_bits(STALE_NAN_BITS) },
        buckets,
        positive_spans: span(sizes[0]),
        negative_spans: span(sizes[1]),
        custom_values: vec![0.5; if op & 32 == 0 { 0 } else { sizes[0] }],
    }
}

struct Source<'a> {
    rest: &'a [u8],
}

impl Source<'_> {
    /// The next `count` bytes as a number; where they end, zeros.
    fn next(&mut self, count: usize) -> i64 {
        let (taken, rest) = self.rest.split_at(self.rest.len().min(count));
        self.rest = rest;
        taken.iter().fold(0, |number, &byte| number << 8 | i64::from(byte))
    }
}
