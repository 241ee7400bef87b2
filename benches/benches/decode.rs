//! From the body of a request to the hash of each series: what remote write costs before a sample
//! is looked at. 2,000 samples a request, each of its own series, as Prometheus sends them; times
//! are for one request.

use std::hint::black_box;

use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use prost::Message;
use rangekeeper_benches::labels;
use rangekeeper_model::{SeriesHasher, TenantId};
use rangekeeper_wire::encode::{SymbolTable, compress, labels_v1};
use rangekeeper_wire::proto::{v1 as message_v1, v2 as message_v2};
use rangekeeper_wire::{RawLabels, decompress, v1, v2};

const SAMPLES: usize = 2000;
const LIMIT_BYTES: usize = 128 << 20;
const TIMESTAMP_MS: i64 = 1_763_800_000_137;

type Group<'a> = BenchmarkGroup<'a, criterion::measurement::WallTime>;

/// A request of each version that says the same, not compressed.
struct Bodies {
    v1: Vec<u8>,
    v2: Vec<u8>,
}

fn bodies() -> Bodies {
    let mut symbols = SymbolTable::new();
    let (mut all_v1, mut all_v2) = (Vec::new(), Vec::new());
    for metric in 0..SAMPLES {
        let pairs = labels(7, metric);
        let pairs: Vec<_> = pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let value = f64::from(u32::try_from(metric).expect("a small number")) * 1.25 + 1.0;
        let sample = message_v1::Sample { value, timestamp: TIMESTAMP_MS };
        all_v1.push(message_v1::TimeSeries {
            labels: labels_v1(&pairs),
            samples: vec![sample],
            ..Default::default()
        });
        let sample = message_v2::Sample { value, timestamp: TIMESTAMP_MS, start_timestamp: 0 };
        all_v2.push(message_v2::TimeSeries {
            labels_refs: symbols.labels(&pairs),
            samples: vec![sample],
            metadata: Some(message_v2::Metadata { r#type: 1, help_ref: 1, unit_ref: 0 }),
            ..Default::default()
        });
    }
    let request_v1 = message_v1::WriteRequest { timeseries: all_v1, metadata: Vec::new() };
    let request_v2 = message_v2::Request { timeseries: all_v2, symbols: symbols.into_symbols() };
    Bodies { v1: request_v1.encode_to_vec(), v2: request_v2.encode_to_vec() }
}

/// Walks a request and hands each series' labels to `each`.
fn walk_v1(body: &[u8], mut each: impl FnMut(&[u8])) -> f64 {
    let mut sum = 0.0;
    for entry in v1::entries(body) {
        let Ok(v1::Entry::Series(series)) = entry else { panic!("a body of series") };
        let RawLabels::Run(run) = series.labels() else { panic!("labels come first") };
        each(run);
        for sample in series.samples() {
            let sample = sample.expect("a whole sample");
            assert!(sample.timestamp_ms == TIMESTAMP_MS);
            sum += sample.value;
        }
    }
    sum
}

fn walk_v2(body: &[u8], scratch: &mut v2::Scratch, mut each: impl FnMut(&v2::Series<'_>)) -> f64 {
    let mut sum = 0.0;
    for series in scratch.read(body).expect("a whole request").series() {
        let series = series.expect("a whole series");
        each(&series);
        for sample in series.samples() {
            let sample = sample.expect("a whole sample");
            assert!(sample.timestamp_ms == TIMESTAMP_MS);
            sum += sample.value;
        }
    }
    sum
}

fn first_version(group: &mut Group<'_>, body: &[u8]) {
    let compressed = compress(body);
    let hasher = SeriesHasher::new(1, &TenantId::default());
    let mut buffer = Vec::new();
    group.bench_function("v1 snappy", |b| {
        b.iter(|| decompress(black_box(&compressed), LIMIT_BYTES, &mut buffer).unwrap().len());
    });
    group.bench_function("v1 walk", |b| {
        b.iter(|| walk_v1(black_box(body), |run| _ = black_box(run)));
    });
    group.bench_function("v1 snappy, walk", |b| {
        b.iter(|| {
            let body = decompress(black_box(&compressed), LIMIT_BYTES, &mut buffer).unwrap();
            walk_v1(body, |run| _ = black_box(run))
        });
    });
    group.bench_function("v1 snappy, walk, hash", |b| {
        b.iter(|| {
            let body = decompress(black_box(&compressed), LIMIT_BYTES, &mut buffer).unwrap();
            walk_v1(body, |run| _ = black_box(hasher.hash(run)))
        });
    });
    group.bench_function("v1 snappy, prost", |b| {
        b.iter(|| {
            let body = decompress(black_box(&compressed), LIMIT_BYTES, &mut buffer).unwrap();
            message_v1::WriteRequest::decode(body).unwrap()
        });
    });
}

fn second_version(group: &mut Group<'_>, body: &[u8]) {
    let compressed = compress(body);
    let hasher = SeriesHasher::new(1, &TenantId::default());
    let (mut buffer, mut scratch, mut canonical) = (Vec::new(), v2::Scratch::new(), Vec::new());
    group.bench_function("v2 snappy", |b| {
        b.iter(|| decompress(black_box(&compressed), LIMIT_BYTES, &mut buffer).unwrap().len());
    });
    group.bench_function("v2 walk", |b| {
        b.iter(|| walk_v2(black_box(body), &mut scratch, |series| _ = black_box(*series)));
    });
    group.bench_function("v2 walk, render", |b| {
        b.iter(|| {
            walk_v2(black_box(body), &mut scratch, |series| {
                black_box(series.canonical(&mut canonical).unwrap());
            })
        });
    });
    group.bench_function("v2 snappy, walk, render, hash", |b| {
        b.iter(|| {
            let body = decompress(black_box(&compressed), LIMIT_BYTES, &mut buffer).unwrap();
            walk_v2(body, &mut scratch, |series| {
                black_box(hasher.hash(series.canonical(&mut canonical).unwrap()));
            })
        });
    });
    group.bench_function("v2 snappy, prost", |b| {
        b.iter(|| {
            let body = decompress(black_box(&compressed), LIMIT_BYTES, &mut buffer).unwrap();
            message_v2::Request::decode(body).unwrap()
        });
    });
}

fn decode(criterion: &mut Criterion) {
    let bodies = bodies();
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(SAMPLES as u64));
    first_version(&mut group, &bodies.v1);
    second_version(&mut group, &bodies.v2);
    group.finish();
}

criterion_group!(benches, decode);
criterion_main!(benches);
