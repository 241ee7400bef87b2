//! What a query costs over 20,000 series of one hour at 15 s, decoded in memory: the evaluator
//! without a store.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rangekeeper_benches::labels;
use rangekeeper_model::Labels;
use rangekeeper_promql::eval::{Engine, EngineOptions, Query};
use rangekeeper_promql::script::MemoryStorage;
use rangekeeper_promql::{ParserOptions, parse};

const HOSTS: usize = 20;
const METRICS: usize = 1_000;
const SAMPLES: i64 = 240;
const SCRAPE_MS: i64 = 15_000;

/// Whether the query asks for one time or for 240 steps.
enum Form {
    Instant,
    Range,
}

fn storage() -> MemoryStorage {
    let mut storage = MemoryStorage::new();
    for host in 0..HOSTS {
        for metric in 0..METRICS {
            let mut pairs = labels(host, metric);
            // What tells the metrics of a host apart when their names are gone.
            pairs.push(("series".to_owned(), metric.to_string()));
            let labels = Labels::from_pairs(pairs).expect("names occur once");
            let rate = f64::from(u32::try_from(1 + metric % 17).expect("a small number")) * 0.25;
            let mut value = 1_000.0;
            for index in 0..SAMPLES {
                // A reset now and then.
                value = if index % 200 == 199 { 0.0 } else { value + rate };
                storage.push_float(&labels, index * SCRAPE_MS, 0, value);
            }
        }
    }
    storage
}

fn evaluate(criterion: &mut Criterion) {
    let storage = storage();
    let pool = rayon::ThreadPoolBuilder::new().build().expect("threads can be started");
    let engine = Engine::new(EngineOptions::new(Arc::new(pool)));
    let end_ms = (SAMPLES - 1) * SCRAPE_MS;
    let queries = [
        ("count, instant", "count({job=\"node\"})", Form::Instant),
        ("selector, instant", "{job=\"node\"}", Form::Instant),
        ("rate and sum, instant", "sum by (mode) (rate({job=\"node\"}[5m]))", Form::Instant),
        ("count, range", "count({job=\"node\"})", Form::Range),
        ("selector, range", "{instance=\"host-00003.example.com:9100\"}", Form::Range),
        ("rate and sum, range", "sum by (mode) (rate({job=\"node\"}[5m]))", Form::Range),
        ("average, range", "avg by (instance) (avg_over_time({job=\"node\"}[5m]))", Form::Range),
        ("matching, range", "{mode=\"idle\"} / on (series, instance) {mode=\"idle\"}", Form::Range),
    ];
    let mut group = criterion.benchmark_group("evaluate");
    group.sample_size(10);
    group.throughput(Throughput::Elements((HOSTS * METRICS) as u64));
    for (name, text, form) in queries {
        let expr = parse(text, &ParserOptions::ALL).expect("the query is legal");
        let query = match form {
            Form::Instant => Query::instant(&expr, end_ms),
            Form::Range => Query::range(&expr, 0, end_ms, SCRAPE_MS),
        };
        group.bench_function(name, |bencher| {
            bencher.iter(|| black_box(engine.evaluate(&storage, &query).expect("it succeeds")));
        });
    }
    group.finish();
}

criterion_group!(benches, evaluate);
criterion_main!(benches);
