//! Aggregations that are folded in parts give what they give in one piece, to the last bit and in
//! the same order, however the series are dealt out.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rangekeeper_model::Labels;
use rangekeeper_promql::ParserOptions;
use rangekeeper_promql::eval::{Answer, Engine, EngineOptions, Query};
use rangekeeper_promql::script::MemoryStorage;
use rangekeeper_promql::source::{Folded, Folding, Select, SeriesSet, Source, SourceError};

const MINUTE_MS: i64 = 60_000;

/// Series that lie in parts. The first part is the asker's own.
struct Dealt<'a> {
    whole: MemoryStorage,
    parts: Vec<MemoryStorage>,
    engine: &'a Engine,
    text: &'a str,
    folded: AtomicUsize,
}

impl Source for Dealt<'_> {
    fn select(&self, select: &Select<'_>) -> Result<Box<dyn SeriesSet>, SourceError> {
        self.whole.select(select)
    }

    fn fold_elsewhere(
        &self,
        folding: &Folding,
        here: &mut dyn FnMut(&dyn Source),
    ) -> Option<Vec<Folded>> {
        here(&self.parts[0]);
        let expr = rangekeeper_promql::parse(self.text, &ParserOptions::ALL).unwrap();
        let fold = |part: &MemoryStorage| self.engine.fold(part, &expr, folding, &|| None).ok();
        let folded = self.parts[1..].iter().map(fold).collect::<Option<Vec<_>>>()?;
        self.folded.fetch_add(1, Ordering::Relaxed);
        Some(folded)
    }
}

fn engine() -> Engine {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    Engine::new(EngineOptions::new(Arc::new(pool)))
}

/// Values that tie, gaps, numbers of both signs of nought, and what is no number.
fn value(random: &mut fastrand::Rng) -> Option<f64> {
    match random.u32(..12) {
        0 => None,
        1 => Some(f64::NAN),
        2 => Some(f64::NEG_INFINITY),
        3..=8 => Some(f64::from(random.i32(-2..4))),
        _ => Some(random.f64() * 100.0),
    }
}

/// 60 series of a gauge and a counter, dealt out to the parts.
fn deal<'a>(engine: &'a Engine, text: &'a str, parts: usize, seed: u64) -> Dealt<'a> {
    let mut random = fastrand::Rng::with_seed(seed);
    let new = |_| MemoryStorage::new();
    let mut dealt = Dealt {
        whole: MemoryStorage::new(),
        parts: (0..parts).map(new).collect(),
        engine,
        text,
        folded: AtomicUsize::new(0),
    };
    for number in 0..60 {
        let (job, host) = (format!("j{}", number % 4), format!("h{number}"));
        for name in ["load", "work_total"] {
            let mut labels = vec![("__name__", name), ("job", &job), ("host", &host)];
            // Sorts before the name, so that the order changes where the name is dropped.
            labels.extend((number % 3 == 0).then_some(("Zone", "z")));
            let labels = Labels::from_pairs(labels).unwrap();
            let part = random.usize(..parts);
            let mut count = 0.0;
            for minute in 0..30 {
                let Some(mut value) = value(&mut random) else { continue };
                if name == "work_total" {
                    count += f64::from(random.u32(..3));
                    value = count;
                }
                for storage in [&mut dealt.whole, &mut dealt.parts[part]] {
                    storage.push_float(&labels, minute * MINUTE_MS, 0, value);
                }
            }
        }
    }
    dealt
}

/// All that an answer says, values by their bits.
fn said(answer: &Answer) -> String {
    format!("{:?} {:?}", answer.value, answer.annotations)
}

fn ask(parts: &Dealt<'_>, source: &dyn Source, range: bool) -> String {
    let expr = rangekeeper_promql::parse(parts.text, &ParserOptions::ALL).unwrap();
    let query = if range {
        Query::range(&expr, 5 * MINUTE_MS, 28 * MINUTE_MS, MINUTE_MS)
    } else {
        Query::instant(&expr, 20 * MINUTE_MS)
    };
    said(&parts.engine.evaluate(source, &query).unwrap())
}

const FOLDED_APART: &[&str] = &[
    "count(load)",
    "count by (job) (load > 1)",
    "group without (host) (load)",
    "min(load)",
    "max by (job) (load)",
    "min by (job) (-load)",
    "max by (job, Zone) (rate(work_total[5m]))",
    "count_values(\"v\", load)",
    "count_values by (job) (\"v\", round(load, 2))",
    "topk(3, load)",
    "topk by (job) (2, rate(work_total[5m]))",
    "bottomk by (job) (3, clamp_min(load, 0))",
    "bottomk(0, load)",
    "100 * count(load == 1) / count(load)",
    "sum(max by (job) (load))",
    "max(max_over_time(load[10m] offset 2m))",
    "count(load @ end() + time())",
];

#[test]
fn aggregations_that_can_be_are_folded_in_parts_and_answer_as_in_one_piece() {
    let engine = engine();
    for text in FOLDED_APART {
        for (parts, seed) in [(2, 1), (3, 2), (7, 3), (7, 4)] {
            let dealt = deal(&engine, text, parts, seed);
            for range in [false, true] {
                let expected = ask(&dealt, &dealt.whole, range);
                assert_eq!(ask(&dealt, &dealt, range), expected, "{text}, range {range}");
            }
            assert!(dealt.folded.into_inner() > 0, "{text} is folded in one piece");
        }
    }
}

#[test]
fn what_would_not_join_exactly_is_folded_in_one_piece() {
    let engine = engine();
    for text in [
        "sum(load)",
        "avg by (job) (load)",
        "quantile(0.5, load)",
        "stddev(load)",
        "count({job=\"j1\"})",
        "max(load + on (host) load)",
        "max(clamp_max(load, scalar(max(work_total{host=\"h1\"}))))",
        "max(max_over_time(rate(work_total[5m])[10m:1m]))",
        "count(load @ 600)",
    ] {
        let dealt = deal(&engine, text, 3, 5);
        for range in [false, true] {
            let expected = ask(&dealt, &dealt.whole, range);
            assert_eq!(ask(&dealt, &dealt, range), expected, "{text}");
        }
        // What stands inside may well be folded in parts.
        let inner = usize::from(text.contains("scalar(max"));
        let folded = dealt.folded.into_inner();
        assert!(folded <= 2 * inner, "{text} is folded in parts {folded} times");
    }
}

#[test]
fn what_has_something_to_say_is_folded_in_one_piece() {
    let engine = engine();
    // A gauge's rate is doubted.
    let dealt = deal(&engine, "count(rate(load[5m]))", 3, 6);
    let expected = ask(&dealt, &dealt.whole, true);
    assert!(expected.contains("might not be a counter"), "{expected}");
    assert_eq!(ask(&dealt, &dealt, true), expected);
    assert_eq!(dealt.folded.into_inner(), 0);
}
