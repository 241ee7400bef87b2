//! The way of a request of known series into the head: looking 2,000 series up among 20,000, and
//! the whole write with its record in the log. The log is not synced, because the disk is not what
//! is measured.

#[path = "filled/store.rs"]
mod store;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const SERIES: usize = 20_000;
const A_REQUEST: usize = 2_000;

fn head(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a folder for a store");
    let series = store::series(SERIES);
    let (kept, runtime) = (store::filled(dir.path(), &series, 1), store::runtime());
    let mut parts = series.chunks(A_REQUEST).cycle();
    let mut next = || parts.next().expect("it goes round");
    let mut at_ms = store::T0;
    let mut group = criterion.benchmark_group("head");
    group.throughput(Throughput::Elements(A_REQUEST as u64));
    group.bench_function("resolve", |b| {
        b.iter(|| {
            let mut write = store::begin(&kept, next(), at_ms, 1);
            assert!(black_box(write.resolve()).is_empty(), "all are known");
        });
    });
    for ticks in [1, 4] {
        group.throughput(Throughput::Elements(u64::from(ticks) * A_REQUEST as u64));
        group.bench_function(BenchmarkId::new("write", format!("{ticks} a series")), |b| {
            b.iter(|| {
                at_ms += i64::from(ticks) * store::STEP_MS;
                let part = next();
                store::put(&runtime, store::begin(&kept, part, at_ms, ticks), part);
            });
        });
    }
    group.finish();
    kept.abandon();
}

criterion_group!(benches, head);
criterion_main!(benches);
