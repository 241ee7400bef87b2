//! Sealed values: smaller than they were, the same set, and a digest that says so.
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_wrap,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "small numbers of a test"
)]

use rangekeeper_chunk::{
    FrameKind, Frames, MAX_FRAME_SAMPLES, decode, digest, encode, merge, seal, sealed_digest,
};
use rangekeeper_model::{STALE_NAN_BITS, Samples, TimeRange};

const START_MS: i64 = 1_763_712_000_137;
const STEP_MS: i64 = 15_000;

fn series(count: i64, value: impl Fn(i64) -> f64) -> Samples {
    let mut samples = Samples::default();
    for index in 0..count {
        samples.floats.push(START_MS + index * STEP_MS, 0, value(index));
    }
    samples
}

/// Decodes a sealed value and compares; returns its length and the codec of its first frame.
fn sealed(samples: &Samples) -> (usize, &'static str) {
    let value = seal(samples);
    let mut out = Samples::default();
    assert_eq!(decode(&value, TimeRange::ALL, &mut out), []);
    assert_eq!(out.floats.timestamps, samples.floats.timestamps);
    assert_eq!(out.floats.starts, samples.floats.starts);
    let bits = |samples: &Samples| -> Vec<u64> {
        samples.floats.values.iter().map(|value| value.to_bits()).collect()
    };
    assert_eq!(bits(&out), bits(samples));
    let frame = Frames::new(&value).next().unwrap().unwrap();
    (value.len(), frame.codec().unwrap())
}

/// Value by index.
type Value<'a> = &'a dyn Fn(i64) -> f64;

#[test]
fn each_sort_of_series_finds_its_codec() {
    let mut random = fastrand::Rng::with_seed(1);
    let noise: Vec<f64> = (0..240).map(|_| random.f64() * 1e300).collect();
    let mut sum = 0.1;
    let sums: Vec<f64> = (0..240)
        .map(|index| {
            sum += f64::from(index % 7) / 1e3;
            sum
        })
        .collect();
    let cases: [(&str, Value<'_>, usize); 9] = [
        ("constant", &|_| 0.0, 45),
        ("constant", &|_| 1.0 / 3.0, 50),
        ("whole numbers", &|index| (1_000_000 + index * index) as f64, 320),
        ("whole numbers", &|index| (index / 100) as f64, 50),
        ("decimals", &|index| (92_418 + index * 7) as f64 / 100.0, 300),
        ("drifting decimals", &|index| sums[index as usize], 300),
        ("bits", &|index| if index < 120 { 1e300 } else { 2e300 }, 70),
        ("bits", &|index| noise[index as usize], 1800),
        ("pco", &|index| noise[(index * index % 7) as usize], 250),
    ];
    for (expected, value, most_bytes) in cases {
        let (bytes, codec) = sealed(&series(240, value));
        assert_eq!(codec, expected);
        assert!(bytes <= most_bytes, "{codec}: {bytes} bytes");
    }
}

#[test]
fn special_values_among_whole_numbers_are_exceptions() {
    for special in [f64::from_bits(STALE_NAN_BITS), f64::NAN, f64::INFINITY, -0.0, 1e300] {
        for place in [0, 100, 239] {
            let with = series(240, |index| if index == place { special } else { index as f64 });
            let (bytes, codec) = sealed(&with);
            assert_eq!(codec, "drifting decimals", "{special} at {place}");
            let plain = sealed(&series(240, |index| index as f64)).0;
            assert!(bytes <= plain + 60, "{special} at {place}: {bytes} bytes");
        }
    }
}

#[test]
fn missed_scrapes_and_shifted_grids_cost_a_few_bytes() {
    let even = sealed(&series(240, |_| 1.0)).0;
    let mut gap = series(240, |_| 1.0);
    gap.floats.timestamps[150..].iter_mut().for_each(|time| *time += 2 * STEP_MS);
    assert!(sealed(&gap).0 <= even + 10);
    let mut late = series(240, |_| 1.0);
    late.floats.timestamps[70] += 9;
    assert!(sealed(&late).0 <= even + 10);
}

#[test]
fn start_timestamps_are_runs_or_follow_the_samples() {
    let mut counter = series(240, |index| index as f64);
    let plain = sealed(&counter).0;
    counter.floats.starts = vec![START_MS - 7; 240];
    counter.floats.starts[100..].fill(START_MS + 98 * STEP_MS);
    assert!(sealed(&counter).0 <= plain + 20);
    let mut delta = series(240, |index| index as f64);
    delta.floats.starts = delta.floats.timestamps.iter().map(|time| time - STEP_MS).collect();
    assert!(sealed(&delta).0 <= plain + 20);
}

#[test]
fn the_digest_is_of_the_set_whatever_frames_hold_it() {
    let samples = series(100, |index| index as f64 / 7.0);
    let value = seal(&samples);
    assert_eq!(sealed_digest(&value), Some(digest(&samples)));
    let (mut first, mut rest) = (Samples::default(), Samples::default());
    first.floats.extend(&samples.floats, 0..30);
    rest.floats.extend(&samples.floats, 30..100);
    assert_eq!(digest(&first).wrapping_add(digest(&rest)), digest(&samples));
    let (first, rest) = (seal(&first), seal(&rest));
    let merged = merge(Some(&rest), [first.as_slice()]);
    let mut out = Samples::default();
    assert_eq!(decode(&merged, TimeRange::ALL, &mut out), []);
    assert_eq!(digest(&out), digest(&samples));
    // Late samples beside the sealed ones, an overlap or damage: only decoding tells.
    let late = merge(Some(&value), [encode(&series(101, |_| 1.0)).as_slice()]);
    assert_eq!(sealed_digest(&late), None);
    assert_eq!(sealed_digest(&merge(Some(&value), [first.as_slice()])), None);
    assert_eq!(sealed_digest(&value[..value.len() - 1]), None);
    assert_eq!(sealed_digest(&seal(&Samples::default())), None);
}

#[test]
fn more_than_a_frame_holds_becomes_several() {
    let count = MAX_FRAME_SAMPLES as i64 + 10;
    let samples = series(count, |index| (index % 50) as f64);
    let value = seal(&samples);
    let kinds: Vec<_> = Frames::new(&value).map(|frame| frame.unwrap().kind).collect();
    assert_eq!(kinds, [FrameKind::SealedFloats; 2]);
    let mut out = Samples::default();
    assert_eq!(decode(&value, TimeRange::ALL, &mut out), []);
    assert_eq!(out, samples);
    assert_eq!(sealed_digest(&value), Some(digest(&samples)));
}
