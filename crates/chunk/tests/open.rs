//! Open segments: what they take, what they refuse, what they weigh.
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_wrap,
    reason = "small numbers of a test"
)]

use rangekeeper_chunk::{Decoder, MAX_FRAME_SAMPLES, OpenFloats, Refused};
use rangekeeper_model::{Samples, TimeRange};

const STEP_MS: i64 = 15_000;

#[test]
fn refuses_what_is_not_newer_and_stays_as_it_was() {
    let mut open = OpenFloats::new();
    assert_eq!((open.min_ms(), open.max_ms()), (None, None));
    open.append(1000, 0, 1.0).unwrap();
    open.append(2000, 0, 2.0).unwrap();
    let before = open.finish();
    for time in [i64::MIN, 0, 1000, 1999, 2000] {
        assert_eq!(open.append(time, 5, 3.0), Err(Refused::NotNewer));
    }
    for time in [1000 + (1 << 32), i64::MAX] {
        assert_eq!(open.append(time, 5, 3.0), Err(Refused::Full));
    }
    assert_eq!(open.finish(), before);
    assert_eq!((open.count(), open.min_ms(), open.max_ms()), (2, Some(1000), Some(2000)));
    open.append(1000 + (1 << 32) - 1, 0, 3.0).unwrap();
}

#[test]
fn refuses_more_than_a_frame_holds() {
    let mut open = OpenFloats::new();
    for index in 0..MAX_FRAME_SAMPLES as i64 {
        open.append(index, 0, 1.0).unwrap();
    }
    assert_eq!(open.append(1 << 20, 0, 1.0), Err(Refused::Full));
    let mut out = Samples::default();
    Decoder::default().decode_open(&open, TimeRange::ALL, &mut out);
    assert_eq!(out.len(), MAX_FRAME_SAMPLES);
}

#[test]
fn is_readable_after_every_sample() {
    let mut open = OpenFloats::new();
    let mut decoder = Decoder::default();
    let mut expected = Samples::default();
    for index in 0..200i64 {
        let (time, start_ms) = (index * STEP_MS + index % 7, i64::from(index > 90) * 77);
        let value = (index * index) as f64 / 3.0;
        open.append(time, start_ms, value).unwrap();
        expected.floats.push(time, start_ms, value);
        let mut out = Samples::default();
        decoder.decode_open(&open, TimeRange::ALL, &mut out);
        assert_eq!(out, expected);
        out.clear();
        decoder.decode_open(&open, TimeRange { from_ms: time, to_ms: i64::MAX }, &mut out);
        assert_eq!(out.floats.timestamps, [time]);
    }
}

#[test]
fn costs_a_bit_a_sample_where_nothing_changes() {
    assert_eq!(size_of::<OpenFloats>(), 64);
    assert_eq!(OpenFloats::new().heap_bytes(), 0);
    let mut open = OpenFloats::new();
    for index in 0..60 {
        open.append(index * STEP_MS, 0, 1.0).unwrap();
    }
    assert!(open.heap_bytes() <= 32, "{}", open.heap_bytes());
    assert!(open.finish().len() <= 48, "{}", open.finish().len());
}
