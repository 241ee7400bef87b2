//! Histograms: every field comes back, and what seldom changes is stored once.
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_wrap,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "small numbers of a test"
)]

use std::sync::Arc;

use rangekeeper_chunk::{decode, digest, encode, histograms, merge, seal};
use rangekeeper_model::{
    Buckets, CounterResetHint, Histogram, HistogramSample, STALE_NAN_BITS, Samples, Span, TimeRange,
};

const STEP_MS: i64 = 15_000;
const BUCKETS: u64 = 20;

/// A latency histogram after `index` scrapes.
fn integer(index: u64) -> Histogram {
    let counts: Vec<i64> =
        (0..BUCKETS).map(|bucket| (index * (BUCKETS - bucket) / 3) as i64).collect();
    let mut before = 0;
    let deltas = counts.iter().map(|count| count - std::mem::replace(&mut before, *count));
    Histogram {
        reset_hint: CounterResetHint::Unknown,
        schema: 3,
        zero_threshold: 2f64.powi(-128),
        sum: index as f64 * 1.25,
        buckets: Buckets::Integer {
            count: counts.iter().sum::<i64>() as u64 + index,
            zero_count: index,
            positive: deltas.collect(),
            negative: vec![],
        },
        positive_spans: vec![Span { offset: -3, length: 12 }, Span { offset: 4, length: 8 }],
        negative_spans: vec![],
        custom_values: vec![],
    }
}

/// The same counts as a float histogram with custom bounds.
fn float(index: u64) -> Histogram {
    let bounds: Vec<f64> = (1..BUCKETS).map(|bound| bound as f64 / 10.0).collect();
    let positive: Vec<f64> = (0..BUCKETS).map(|bucket| (index * bucket) as f64 / 2.0).collect();
    Histogram {
        reset_hint: CounterResetHint::Gauge,
        schema: Histogram::CUSTOM_SCHEMA,
        zero_threshold: 0.0,
        sum: index as f64 / 8.0,
        buckets: Buckets::Float {
            count: positive.iter().sum(),
            zero_count: 0.0,
            positive,
            negative: vec![],
        },
        positive_spans: vec![Span { offset: 0, length: BUCKETS as u32 }],
        negative_spans: vec![],
        custom_values: bounds,
    }
}

fn samples(count: u64, histogram: impl Fn(u64) -> Histogram) -> Samples {
    let histograms = (0..count)
        .map(|index| HistogramSample {
            timestamp_ms: 1_763_712_000_000 + index as i64 * STEP_MS,
            start_ms: 0,
            histogram: Arc::new(histogram(index)),
        })
        .collect();
    Samples { histograms, ..Samples::default() }
}

/// Both forms give back the same; returns their lengths, sealed first.
fn round_trip(samples: &Samples) -> [usize; 2] {
    [seal(samples), encode(samples)].map(|value| {
        let mut out = Samples::default();
        assert_eq!(decode(&value, TimeRange::ALL, &mut out), []);
        assert_eq!(digest(&out), digest(samples));
        assert_eq!(out.histograms.len(), samples.histograms.len());
        assert_eq!(out.floats, samples.floats);
        for (a, b) in out.histograms.iter().zip(&samples.histograms) {
            assert_eq!((a.timestamp_ms, a.start_ms), (b.timestamp_ms, b.start_ms));
            assert_eq!(a.histogram.canonical_bytes(), b.histogram.canonical_bytes());
        }
        value.len()
    })
}

#[test]
fn a_histogram_of_twenty_buckets_takes_less_than_a_byte_a_bucket() {
    for histogram in [integer, float] {
        let [sealed, flushed] = round_trip(&samples(240, histogram));
        assert!(sealed < 240 * 20 && flushed <= sealed, "{sealed} and {flushed} bytes");
    }
    // Alone, it is about as long as its fields.
    assert!(round_trip(&samples(1, |_| integer(1000)))[1] < 120);
}

#[test]
fn layouts_hints_and_kinds_may_change_from_sample_to_sample() {
    let changing = |index: u64| {
        let mut histogram = if index.is_multiple_of(5) { float(index) } else { integer(index) };
        if index.is_multiple_of(3) {
            histogram.reset_hint = CounterResetHint::Reset;
        }
        if index.is_multiple_of(7) {
            histogram.custom_values.push(index as f64);
        }
        if index == 20 {
            histogram.sum = f64::from_bits(STALE_NAN_BITS);
            let (positive, negative) = (vec![], vec![]);
            histogram.buckets = Buckets::Integer { count: 0, zero_count: 0, positive, negative };
        }
        histogram
    };
    let mut samples = samples(60, changing);
    for (index, sample) in samples.histograms.iter_mut().enumerate() {
        sample.start_ms = 5 * (index as i64 / 20);
    }
    for index in 0..60 {
        samples.floats.push(1_763_712_000_001 + index * STEP_MS, 0, index as f64);
    }
    round_trip(&samples);
}

#[test]
fn what_no_valid_histogram_has_comes_back_too() {
    let odd = Histogram {
        buckets: Buckets::Integer {
            count: u64::MAX,
            zero_count: u64::MAX,
            positive: vec![i64::MIN, i64::MAX, -1],
            negative: vec![i64::MIN; 3],
        },
        negative_spans: vec![Span { offset: i32::MIN, length: u32::MAX }],
        schema: i32::MIN,
        sum: f64::NAN,
        zero_threshold: -0.0,
        ..integer(1)
    };
    round_trip(&samples(3, |_| odd.clone()));
}

#[test]
fn a_range_is_clipped_and_overlaps_are_united() {
    let all = samples(60, integer);
    let (mut even, mut late) = (Samples::default(), Samples::default());
    for (index, sample) in all.histograms.iter().enumerate() {
        let part = if index % 2 == 0 { &mut even } else { &mut late };
        part.histograms.push(sample.clone());
    }
    let parts = [encode(&late), seal(&even)];
    let value = merge(None, parts.iter().map(Vec::as_slice));
    let mut out = Samples::default();
    assert_eq!(decode(&value, TimeRange::ALL, &mut out), []);
    assert_eq!(out, all);
    let range = TimeRange {
        from_ms: all.histograms[7].timestamp_ms,
        to_ms: all.histograms[12].timestamp_ms,
    };
    out.clear();
    assert_eq!(decode(&value, range, &mut out), []);
    assert_eq!(out.histograms, all.histograms[7..=12]);
}

#[test]
fn only_monstrous_histograms_do_not_fit() {
    let with = |buckets: usize| Histogram {
        buckets: Buckets::Integer {
            count: 0,
            zero_count: 0,
            positive: vec![0; buckets],
            negative: vec![],
        },
        ..integer(0)
    };
    assert!(histograms::fits(&with(1_000_000)));
    round_trip(&samples(1, |_| with(1_000_000)));
    assert!(!histograms::fits(&with(1 << 22)));
}
