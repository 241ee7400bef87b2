//! What is damaged is named and not served; everything else stays readable, also behind a merge.
#![expect(clippy::cast_precision_loss, reason = "small numbers of a test")]

use rangekeeper_chunk::{Damage, DamageKind, Frames, OpenFloats, decode, encode, merge, seal};
use rangekeeper_model::{Samples, TimeRange};

const FRAMES: i64 = 4;

/// Four frames of ten samples each.
fn value() -> Vec<u8> {
    let frames: Vec<Vec<u8>> = (0..FRAMES)
        .map(|frame| {
            let mut samples = Samples::default();
            for index in 0..10 {
                samples.floats.push(frame * 1000 + index * 15, 0, (frame * index) as f64 / 8.0);
            }
            if frame % 2 == 0 { encode(&samples) } else { seal(&samples) }
        })
        .collect();
    merge(None, frames.iter().map(Vec::as_slice))
}

fn decoded(value: &[u8]) -> (Samples, Vec<Damage>) {
    let mut samples = Samples::default();
    let damages = decode(value, TimeRange::ALL, &mut samples);
    (samples, damages)
}

/// The frames of which all ten samples are there; panics where some are there or a sample was never
/// written.
fn whole_frames(samples: &Samples, original: &Samples) -> Vec<i64> {
    let frames: Vec<i64> = (0..FRAMES)
        .filter(|frame| {
            let mine = |time: &&i64| **time / 1000 == *frame;
            let count = samples.floats.timestamps.iter().filter(mine).count();
            assert!(count == 0 || count == 10, "part of a frame is served");
            count == 10
        })
        .collect();
    for (time, value) in samples.floats.timestamps.iter().zip(&samples.floats.values) {
        let at = original.floats.timestamps.binary_search(time).expect("an invented sample");
        assert_eq!(value.to_bits(), original.floats.values[at].to_bits());
    }
    frames
}

#[test]
fn any_flipped_bit_costs_no_more_than_its_frame() {
    let value = value();
    let (original, damages) = decoded(&value);
    assert_eq!((original.len(), damages.len()), (40, 0));
    for at in 2..value.len() {
        for bit in 0..8 {
            let mut flipped = value.clone();
            flipped[at] ^= 1 << bit;
            let (samples, damages) = decoded(&flipped);
            assert_eq!(whole_frames(&samples, &original).len(), 3, "byte {at}, bit {bit}");
            assert!(!damages.is_empty() && damages.iter().all(|damage| damage.offset <= at));
            // A merge keeps the damage and the rest.
            let merged = merge(Some(&flipped), []);
            let (samples, damages) = decoded(&merged);
            assert_eq!(whole_frames(&samples, &original).len(), 3, "merged: byte {at}, bit {bit}");
            assert!(!damages.is_empty());
            assert!(damages.iter().all(|damage| damage.what == DamageKind::Kept));
            // And another copy of the value heals it.
            let (samples, damages) = decoded(&merge(Some(&merged), [value.as_slice()]));
            assert_eq!(whole_frames(&samples, &original), [0, 1, 2, 3]);
            assert!(!damages.is_empty(), "what was damaged is still reported");
        }
    }
}

#[test]
fn a_truncated_value_keeps_the_frames_before() {
    let value = value();
    let (original, _) = decoded(&value);
    let ends: Vec<usize> = (0..=value.len())
        .filter(|&end| end >= 2 && Frames::new(&value[..end]).all(|frame| frame.is_ok()))
        .collect();
    assert_eq!(ends.len(), 5, "no frame, or one to four");
    for end in 2..value.len() {
        let (samples, damages) = decoded(&value[..end]);
        let whole = ends.iter().filter(|&&frame_end| frame_end <= end).count() - 1;
        assert_eq!(whole_frames(&samples, &original).len(), whole);
        assert_eq!(damages.len(), usize::from(!ends.contains(&end)), "cut at {end}");
    }
}

#[test]
fn another_version_is_reported_and_survives_merges_verbatim() {
    let mut newer = value();
    newer[0] = 2;
    let (samples, damages) = decoded(&newer);
    assert!(samples.is_empty());
    assert_eq!(damages, [Damage { offset: 0, what: DamageKind::UnknownVersion }]);
    let merged = merge(Some(&newer), [value().as_slice()]);
    let (samples, damages) = decoded(&merged);
    assert_eq!((samples.len(), damages.len()), (40, 1));
    assert!(merged.windows(newer.len()).any(|bytes| bytes == newer), "kept as it was");
}

#[test]
fn empty_values_hold_nothing_and_are_not_damaged() {
    for value in [&[][..], &[1, 0], &merge(None, []), &OpenFloats::new().finish()] {
        assert_eq!(decoded(value), (Samples::default(), vec![]));
    }
}
