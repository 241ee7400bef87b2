//! What chunks cost: appending, flushing, sealing, decoding, merging. Times are for 240 samples, an
//! hour at 15 s.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rangekeeper_chunk::{Decoder, OpenFloats, Sealer, digest, encode, merge};
use rangekeeper_model::{Samples, TimeRange};

const SAMPLES: u16 = 240;
const STEP_MS: i64 = 15_000;

/// Series of the sorts that sealing tells apart; times are a grid with one sample in twenty late.
fn series() -> Vec<(&'static str, Samples)> {
    let mut random = fastrand::Rng::with_seed(1);
    let times: Vec<i64> = (0..i64::from(SAMPLES))
        .map(|tick| {
            let late = if random.u8(..20) == 0 { random.i64(0..20) } else { 0 };
            1_763_712_000_137 + tick * STEP_MS + late
        })
        .collect();
    let mut of = |next: &mut dyn FnMut(&mut fastrand::Rng) -> f64| {
        let mut samples = Samples::default();
        for &time in &times {
            samples.floats.push(time, 0, next(&mut random));
        }
        samples
    };
    let (mut counter, mut slow, mut seconds, mut sum) = (1e6, 7.0, 92_418i32, 27.879_143_306);
    vec![
        ("constant", of(&mut |_| 1.0)),
        (
            "slow counter",
            of(&mut |random| {
                slow += f64::from(random.u8(..) / 250);
                slow
            }),
        ),
        (
            "counter",
            of(&mut |random| {
                counter += f64::from(random.u16(..1500));
                counter
            }),
        ),
        (
            "decimals",
            of(&mut |random| {
                seconds += random.i32(0..80);
                f64::from(seconds) / 100.0
            }),
        ),
        (
            "drifting sum",
            of(&mut |random| {
                sum += f64::from(random.i32(0..1_000_000)) / 1e9;
                sum
            }),
        ),
        ("noise", of(&mut |random| random.f64())),
    ]
}

fn open_with(samples: &Samples) -> OpenFloats {
    let mut open = OpenFloats::new();
    for (&time, &value) in samples.floats.timestamps.iter().zip(&samples.floats.values) {
        open.append(time, 0, value).expect("times rise");
    }
    open
}

fn open_segments(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("chunk/open");
    group.throughput(Throughput::Elements(u64::from(SAMPLES)));
    for (name, samples) in series() {
        group.bench_function(format!("append/{name}"), |b| b.iter(|| open_with(&samples)));
        let open = open_with(&samples);
        group.bench_function(format!("finish/{name}"), |b| b.iter(|| black_box(&open).finish()));
        let (value, mut out) = (open.finish(), Samples::default());
        let mut decoder = Decoder::default();
        group.bench_function(format!("decode/{name}"), |b| {
            b.iter(|| {
                out.clear();
                decoder.decode(black_box(&value), TimeRange::ALL, &mut out)
            });
        });
    }
}

fn sealing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("chunk/sealed");
    group.throughput(Throughput::Elements(u64::from(SAMPLES)));
    let mut sealer = Sealer::default();
    let mut decoder = Decoder::default();
    for (name, samples) in series() {
        group.bench_function(format!("seal/{name}"), |b| {
            b.iter(|| sealer.seal(black_box(&samples)));
        });
        let (value, mut out) = (sealer.seal(&samples), Samples::default());
        group.bench_function(format!("decode/{name}"), |b| {
            b.iter(|| {
                out.clear();
                decoder.decode(black_box(&value), TimeRange::ALL, &mut out)
            });
        });
    }
    let (_, samples) = series().swap_remove(2);
    group.bench_function("digest", |b| b.iter(|| digest(black_box(&samples))));
}

fn merging(criterion: &mut Criterion) {
    let (_, samples) = series().swap_remove(2);
    let parts: Vec<Vec<u8>> = (0..usize::from(SAMPLES))
        .step_by(60)
        .map(|from| {
            let mut part = Samples::default();
            part.floats.extend(&samples.floats, from..from + 60);
            encode(&part)
        })
        .collect();
    let mut group = criterion.benchmark_group("chunk/merge");
    group.throughput(Throughput::Elements(u64::from(SAMPLES)));
    group.bench_function("four flushes", |b| {
        b.iter(|| merge(None, black_box(&parts).iter().map(Vec::as_slice)));
    });
    let (merged, mut out) = (merge(None, parts.iter().map(Vec::as_slice)), Samples::default());
    let mut decoder = Decoder::default();
    group.bench_function("decode four flushes", |b| {
        b.iter(|| {
            out.clear();
            decoder.decode(black_box(&merged), TimeRange::ALL, &mut out)
        });
    });
    let mut late = Samples::default();
    late.floats.extend(&samples.floats, 100..101);
    let late = encode(&late);
    let merged = merge(Some(&merged), [late.as_slice()]);
    group.bench_function("decode four flushes and a late sample", |b| {
        b.iter(|| {
            out.clear();
            decoder.decode(black_box(&merged), TimeRange::ALL, &mut out)
        });
    });
}

criterion_group!(benches, open_segments, sealing, merging);
criterion_main!(benches);
