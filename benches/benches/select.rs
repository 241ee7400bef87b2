//! Finding series and reading their samples, wherever they lie: in the head, in four flushes, and
//! sealed. 10,000 series of 20 hosts, an hour at 15 s.

#[path = "filled/store.rs"]
mod store;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rangekeeper_chunk::Decoder;
use rangekeeper_model::{MatchOp, Matcher, Samples, TenantId, TimeRange};
use rangekeeper_storage::{ReadLimits, Store};

const SERIES: usize = 10_000;
const TICKS: u16 = 240;

/// Selects and reads everything; returns the number of samples.
fn read(store: &Store, matchers: &[Matcher]) -> usize {
    let tenant = TenantId::default();
    let selection =
        store.select(&tenant, matchers, TimeRange::ALL, ReadLimits::NONE).expect("whole files");
    let (mut decoder, mut samples) = (Decoder::default(), Samples::default());
    (0..selection.len())
        .map(|series| {
            selection.read(series, &mut decoder, &mut samples).expect("a whole chunk");
            samples.len()
        })
        .sum()
}

fn rows(criterion: &mut Criterion, store: &Store, place: &str) {
    let matcher = |op, name, value| Matcher::new(op, name, value).expect("a valid matcher");
    let instance = matcher(MatchOp::Equal, "instance", "host-00007.example.com:9100");
    let metric = matcher(MatchOp::Equal, "__name__", "node_cpu_seconds_003_total");
    let device = matcher(MatchOp::Equal, "device", "nvme0n1p0");
    let selectors = [
        ("one series", vec![metric.clone(), instance.clone(), device]),
        ("a metric", vec![metric]),
        ("a host", vec![instance]),
        ("by regex", vec![matcher(MatchOp::Regex, "__name__", "node_cpu_.*")]),
    ];
    let mut group = criterion.benchmark_group(format!("select/{place}"));
    group.sample_size(20);
    for (name, matchers) in selectors {
        let samples = read(store, &matchers);
        assert!(samples > 0, "{name} finds something");
        group.throughput(Throughput::Elements(samples as u64));
        group.bench_function(BenchmarkId::new(name, samples / usize::from(TICKS)), |b| {
            b.iter(|| read(store, &matchers));
        });
    }
    group.finish();
}

fn select(criterion: &mut Criterion) {
    let series = store::series(SERIES);
    let dir = tempfile::tempdir().expect("a folder for a store");
    let kept = store::filled(dir.path(), &series, TICKS);
    rows(criterion, &kept, "head");
    kept.abandon();

    let dir = tempfile::tempdir().expect("a folder for a store");
    let (kept, runtime) = (store::open(dir.path()), store::runtime());
    for tick in 0..TICKS {
        let at_ms = store::T0 + i64::from(tick) * store::STEP_MS;
        for part in series.chunks(2_000) {
            store::put(&runtime, store::begin(&kept, part, at_ms, 1), part);
        }
        if tick % 60 == 59 {
            kept.checkpoint().expect("a disk that works");
        }
    }
    rows(criterion, &kept, "flushed");
    kept.seal_all().expect("a disk that works");
    rows(criterion, &kept, "sealed");
    kept.abandon();
}

criterion_group!(benches, select);
criterion_main!(benches);
