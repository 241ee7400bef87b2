//! From the head into the database: a checkpoint of 10,000 series, which is one merge a series,
//! with many samples a merge and with few; late samples, which merge one by one; and sealing what
//! four such checkpoints left. (What the codec's union of frames costs stands in `chunk`.)

#[path = "filled/store.rs"]
mod store;

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rangekeeper_model::Labels;
use rangekeeper_storage::Store;

const SERIES: usize = 10_000;

/// Puts `ticks` samples of each series into the head.
fn fill(kept: &Store, series: &[Labels], at_ms: i64, ticks: u16) {
    let runtime = store::runtime();
    for part in series.chunks(2_000) {
        store::put(&runtime, store::begin(kept, part, at_ms, ticks), part);
    }
}

/// Time of `work` on a new store, each time with the series registered.
fn timed(
    series: &[Labels],
    times: u64,
    prepare: impl Fn(&Store),
    work: impl Fn(&Store),
) -> Duration {
    let mut taken = Duration::ZERO;
    for _ in 0..times {
        let dir = tempfile::tempdir().expect("a folder for a store");
        let kept = store::open(dir.path());
        fill(&kept, series, store::T0, 1);
        kept.checkpoint().expect("a disk that works");
        prepare(&kept);
        let begun = Instant::now();
        work(&kept);
        taken += begun.elapsed();
        kept.abandon();
    }
    taken
}

fn merge(criterion: &mut Criterion) {
    let series = store::series(SERIES);
    let checkpoint = |kept: &Store| kept.checkpoint().expect("a disk that works");
    let second = store::T0 + store::STEP_MS;
    let mut group = criterion.benchmark_group("merge");
    group.sample_size(10);
    for ticks in [5, 60] {
        group.throughput(Throughput::Elements(u64::from(ticks) * SERIES as u64));
        group.bench_function(BenchmarkId::new("checkpoint", format!("{ticks} a series")), |b| {
            let prepare = |kept: &Store| fill(kept, &series, second, ticks);
            b.iter_custom(|times| timed(&series, times, prepare, checkpoint));
        });
    }
    group.throughput(Throughput::Elements(SERIES as u64));
    group.bench_function("checkpoint/late", |b| {
        let prepare = |kept: &Store| {
            fill(kept, &series, second + store::STEP_MS, 1);
            fill(kept, &series, second, 1);
        };
        b.iter_custom(|times| timed(&series, times, prepare, checkpoint));
    });
    group.throughput(Throughput::Elements(240 * SERIES as u64));
    group.bench_function("seal/240 a series", |b| {
        let prepare = |kept: &Store| {
            for quarter in 0..4 {
                fill(kept, &series, second + quarter * 60 * store::STEP_MS, 60);
                checkpoint(kept);
            }
        };
        let seal = |kept: &Store| kept.seal_all().expect("a disk that works");
        b.iter_custom(|times| timed(&series, times, prepare, seal));
    });
    group.finish();
}

criterion_group!(benches, merge);
criterion_main!(benches);
