//! What goes in comes out, bit for bit.

use proptest::prelude::*;
use rangekeeper_chunk::{OpenFloats, decode, encode, merge};
use rangekeeper_model::{STALE_NAN_BITS, Samples, TimeRange};

/// Floats with what codecs stumble over: special values, repeats, whole numbers, regular and wild
/// times, starts.
fn samples() -> impl Strategy<Value = Samples> {
    let value = prop_oneof![
        Just(f64::from_bits(STALE_NAN_BITS)),
        Just(-0.0),
        Just(1.5),
        any::<u64>().prop_map(f64::from_bits),
        (0..1000i32).prop_map(f64::from),
        (0..1000i32).prop_map(|n| f64::from(n) / 100.0),
    ];
    let delta =
        prop_oneof![5 => Just(15_000i64), 2 => 14_990..15_010i64, 1 => 1..10_000_000_000i64];
    let start = prop_oneof![3 => Just(0i64), 1 => Just(5), 1 => any::<i64>()];
    let first =
        prop_oneof![Just(1_700_000_000_000i64), Just(i64::MIN), any::<i32>().prop_map(i64::from)];
    let elements = prop::collection::vec((delta, value, start, 1..5usize), 0..100);
    (first, elements).prop_map(|(mut time, elements)| {
        let mut samples = Samples::default();
        for (delta, value, start_ms, times) in elements {
            for _ in 0..times {
                samples.floats.push(time, start_ms, value);
                time += delta;
            }
        }
        samples
    })
}

fn bits(samples: &Samples) -> Vec<(i64, i64, u64)> {
    let floats = &samples.floats;
    (0..floats.len())
        .map(|i| (floats.timestamps[i], floats.start_ms(i), floats.values[i].to_bits()))
        .collect()
}

fn decoded(value: &[u8], range: TimeRange) -> Samples {
    let mut out = Samples::default();
    assert_eq!(decode(value, range, &mut out), []);
    out
}

proptest! {
    #[test]
    fn encoded_floats_come_back(samples in samples(), from in 0..500usize, to in 0..500usize) {
        let value = encode(&samples);
        prop_assert_eq!(bits(&decoded(&value, TimeRange::ALL)), bits(&samples));
        let times = &samples.floats.timestamps;
        if let (Some(&from_ms), Some(&to_ms)) = (times.get(from), times.get(to)) {
            let range = TimeRange { from_ms, to_ms };
            let expected: Vec<_> =
                bits(&samples).into_iter().filter(|row| range.contains(row.0)).collect();
            prop_assert_eq!(bits(&decoded(&value, range)), expected);
        }
    }

    #[test]
    fn merged_halves_are_the_whole(samples in samples(), cut in any::<u64>()) {
        let mut halves = [OpenFloats::new(), OpenFloats::new()];
        let (mut refused, mut all) = (Samples::default(), Samples::default());
        for (index, (time, start_ms, value)) in bits(&samples).into_iter().enumerate() {
            let value = f64::from_bits(value);
            all.floats.push(time, start_ms, value);
            let half = usize::from(cut >> (index % 64) & 1 == 1);
            if halves[half].append(time, start_ms, value).is_err() {
                refused.floats.push(time, start_ms, value);
            }
        }
        let parts = [halves[1].finish(), encode(&refused), halves[0].finish()];
        let value = merge(None, parts.iter().map(Vec::as_slice));
        prop_assert_eq!(bits(&decoded(&value, TimeRange::ALL)), bits(&all));
    }
}
