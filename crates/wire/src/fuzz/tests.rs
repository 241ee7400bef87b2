//! Runs the fuzz bodies over messages made here: whole, cut at every byte, with bytes changed, and
//! in pieces.

use fastrand::Rng;
use prost::Message;

use super::{remote_write_v1, remote_write_v2};
use crate::proto::{v1, v2};

/// Rounds of random messages; each makes some thousand bodies.
const ROUNDS: u64 = 60;

fn seeds() -> impl Iterator<Item = u64> {
    let first = std::env::var("RANGEKEEPER_SEED").ok().and_then(|text| text.parse().ok());
    let first = first.unwrap_or(1);
    println!("RANGEKEEPER_SEED={first}");
    (first..).take(usize::try_from(ROUNDS).expect("a small number"))
}

#[test]
fn walks_requests_of_the_first_version_as_prost_decodes_them() {
    for seed in seeds() {
        let rng = &mut Rng::with_seed(seed);
        let body = request_v1(rng).encode_to_vec();
        spoil(rng, &body, remote_write_v1);
        // Messages one after the other are one message, so that fields come in any order.
        let pieces = [series_v1(rng).encode_to_vec(), series_v1(rng).encode_to_vec()].concat();
        let body = [body, delimited(1, &pieces), delimited(2, b"cortex")].concat();
        spoil(rng, &body, remote_write_v1);
    }
}

#[test]
fn walks_requests_of_the_second_version_as_prost_decodes_them() {
    for seed in seeds() {
        let rng = &mut Rng::with_seed(seed);
        let body = request_v2(rng).encode_to_vec();
        spoil(rng, &body, remote_write_v2);
        let pieces = [series_v2(rng, 9).encode_to_vec(), series_v2(rng, 9).encode_to_vec()];
        let unpacked = [&[0x08, 1, 0x08, 2][..], &pieces.concat()].concat();
        let body = [delimited(5, &unpacked), body, delimited(1, b"reserved")].concat();
        spoil(rng, &body, remote_write_v2);
    }
}

#[test]
fn any_bytes_are_taken_without_a_panic() {
    for seed in seeds() {
        let mut rng = Rng::with_seed(seed);
        for _ in 0..200 {
            let bytes: Vec<u8> = (0..rng.usize(..64)).map(|_| rng.u8(..)).collect();
            remote_write_v1(&bytes);
            remote_write_v2(&bytes);
        }
    }
}

fn spoil(rng: &mut Rng, body: &[u8], target: fn(&[u8])) {
    target(body);
    for length in 0..body.len() {
        target(&body[..length]);
    }
    let mut spoilt = body.to_vec();
    for _ in 0..body.len() {
        let at = rng.usize(..body.len());
        spoilt[at] = if rng.bool() { rng.u8(..) } else { spoilt[at] ^ (1 << rng.u8(..8)) };
        target(&spoilt);
        spoilt[at] = body[at];
    }
}

fn delimited(tag: u32, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    prost::encoding::bytes::encode(tag, &bytes.to_vec(), &mut out);
    out
}

fn several<T>(rng: &mut Rng, most: usize, mut make: impl FnMut(&mut Rng) -> T) -> Vec<T> {
    (0..rng.usize(..=most)).map(|_| make(rng)).collect()
}

fn text(rng: &mut Rng) -> String {
    let texts = ["", "__name__", "up", "job", "a b.c", "ü\n☺", "instance", "x", "node-1:9100"];
    texts[rng.usize(..texts.len())].to_owned()
}

fn float(rng: &mut Rng) -> f64 {
    match rng.u8(..4) {
        0 => f64::from(rng.i8(..)),
        1 => f64::from_bits(rangekeeper_model::STALE_NAN_BITS),
        2 => 0.0,
        _ => f64::from_bits(rng.u64(..)),
    }
}

fn timestamp(rng: &mut Rng) -> i64 {
    match rng.u8(..3) {
        0 => 0,
        1 => 1_700_000_000_000 + rng.i64(..1_000_000),
        _ => rng.i64(..),
    }
}

fn label(rng: &mut Rng) -> v1::Label {
    v1::Label { name: text(rng), value: text(rng) }
}

fn request_v1(rng: &mut Rng) -> v1::WriteRequest {
    let metadata = |rng: &mut Rng| v1::MetricMetadata {
        r#type: rng.i32(-1..9),
        metric_family_name: text(rng),
        help: text(rng),
        unit: text(rng),
    };
    v1::WriteRequest { timeseries: several(rng, 4, series_v1), metadata: several(rng, 2, metadata) }
}

fn series_v1(rng: &mut Rng) -> v1::TimeSeries {
    let sample = |rng: &mut Rng| v1::Sample { value: float(rng), timestamp: timestamp(rng) };
    let exemplar = |rng: &mut Rng| v1::Exemplar {
        labels: several(rng, 2, label),
        value: float(rng),
        timestamp: timestamp(rng),
    };
    v1::TimeSeries {
        labels: several(rng, 4, label),
        samples: several(rng, 3, sample),
        exemplars: several(rng, 1, exemplar),
        histograms: several(rng, 1, histogram_v1),
    }
}

fn histogram_v1(rng: &mut Rng) -> v1::Histogram {
    let bytes = histogram_v2(rng).encode_to_vec();
    v1::Histogram::decode(&bytes[..]).expect("the two messages are one")
}

fn request_v2(rng: &mut Rng) -> v2::Request {
    let mut symbols = vec![if rng.u8(..8) == 0 { text(rng) } else { String::new() }];
    symbols.extend(several(rng, 9, text));
    let count = u32::try_from(symbols.len()).expect("a small number");
    v2::Request { timeseries: several(rng, 4, |rng| series_v2(rng, count)), symbols }
}

fn series_v2(rng: &mut Rng, symbols: u32) -> v2::TimeSeries {
    let sample = |rng: &mut Rng| v2::Sample {
        value: float(rng),
        timestamp: timestamp(rng),
        start_timestamp: timestamp(rng),
    };
    let exemplar = |rng: &mut Rng| v2::Exemplar {
        labels_refs: several(rng, 4, |rng| rng.u32(..=symbols)),
        value: float(rng),
        timestamp: timestamp(rng),
    };
    let metadata = v2::Metadata {
        r#type: rng.i32(-1..9),
        help_ref: rng.u32(..=symbols),
        unit_ref: rng.u32(..symbols),
    };
    let labels = rng.usize(..4);
    v2::TimeSeries {
        labels_refs: (0..2 * labels).map(|_| rng.u32(..symbols)).collect(),
        samples: several(rng, 3, sample),
        exemplars: several(rng, 1, exemplar),
        histograms: several(rng, 1, histogram_v2),
        metadata: rng.bool().then_some(metadata),
        created_timestamp: timestamp(rng),
    }
}

fn histogram_v2(rng: &mut Rng) -> v2::Histogram {
    use v2::histogram::{Count, ZeroCount};
    let span = |rng: &mut Rng| v2::BucketSpan { offset: rng.i32(-9..9), length: rng.u32(..300) };
    v2::Histogram {
        sum: float(rng),
        schema: rng.i32(-53..9),
        zero_threshold: float(rng),
        negative_spans: several(rng, 2, span),
        negative_deltas: several(rng, 3, |rng| rng.i64(..)),
        negative_counts: several(rng, 3, float),
        positive_spans: several(rng, 2, span),
        positive_deltas: several(rng, 3, |rng| rng.i64(-9..9)),
        positive_counts: several(rng, 3, float),
        reset_hint: rng.i32(-1..6),
        timestamp: timestamp(rng),
        custom_values: several(rng, 3, float),
        start_timestamp: timestamp(rng),
        count: match rng.u8(..3) {
            0 => None,
            1 => Some(Count::CountInt(rng.u64(..))),
            _ => Some(Count::CountFloat(float(rng))),
        },
        zero_count: match rng.u8(..3) {
            0 => None,
            1 => Some(ZeroCount::ZeroCountInt(rng.u64(..))),
            _ => Some(ZeroCount::ZeroCountFloat(float(rng))),
        },
    }
}
