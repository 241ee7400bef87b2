//! The evaluator's limits and what does not depend on the language: threads, interruption, names.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rangekeeper_model::{ErrorClass, Labels};
use rangekeeper_promql::eval::{Answer, Engine, EngineOptions, EvalError, Interrupt, Query};
use rangekeeper_promql::script::MemoryStorage;
use rangekeeper_promql::value::{SampleValue, Value};
use rangekeeper_promql::{ParserOptions, parse};

const MINUTE_MS: i64 = 60_000;

fn options(threads: usize) -> EngineOptions {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    EngineOptions::new(Arc::new(pool))
}

/// Series `name{host="0"}` to `name{host="…"}` with a sample a minute for ten minutes.
fn storage(names: &[&str], hosts: usize) -> MemoryStorage {
    let mut storage = MemoryStorage::new();
    // Values that no order of plain summation gives the same sum of.
    let mut state = 7_u64;
    for name in names {
        for host in 0..hosts {
            let labels = [("__name__", (*name).to_owned()), ("host", host.to_string())];
            let labels = Labels::from_pairs(labels).unwrap();
            for minute in 0..10 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let value = f64::from(u32::try_from(state >> 40).unwrap()) / 7.0;
                storage.push_float(
                    &labels,
                    minute * MINUTE_MS,
                    0,
                    value * [1.0, 1e10, 1e20][host % 3],
                );
            }
        }
    }
    storage
}

fn ask(options: EngineOptions, storage: &MemoryStorage, text: &str) -> Result<Answer, EvalError> {
    let expr = parse(text, &ParserOptions::ALL).unwrap();
    Engine::new(options).evaluate(storage, &Query::instant(&expr, 9 * MINUTE_MS))
}

fn floats(answer: &Answer) -> Vec<(String, f64)> {
    let Value::Vector(samples) = &answer.value else { panic!("no vector: {:?}", answer.value) };
    let float = |value: &SampleValue| match value {
        SampleValue::Float(value) => *value,
        SampleValue::Histogram(_) => panic!("no float"),
    };
    samples.iter().map(|s| (s.labels.to_string(), float(&s.value))).collect()
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let storage = storage(&["a_total"], 1_800);
    for text in ["sum(rate({host=~\".+\"}[5m]))", "avg({host!=\"\"})", "stddev({host!=\"\"})"] {
        let bits = |threads| floats(&ask(options(threads), &storage, text).unwrap())[0].1.to_bits();
        let one = bits(1);
        for threads in [2, 3, 8] {
            assert_eq!(bits(threads), one, "{text} on {threads} threads");
        }
    }
}

#[test]
fn a_query_that_has_to_stop_stops_and_says_why() {
    let storage = storage(&["a_total"], 200);
    let expr = parse("sum(rate(a_total[5m]))", &ParserOptions::ALL).unwrap();
    let engine = Engine::new(options(1));
    for (interrupt, class, text) in [
        (Interrupt::Timeout, ErrorClass::Timeout, "query timed out in expression evaluation"),
        (Interrupt::Canceled, ErrorClass::Canceled, "query was canceled in expression evaluation"),
    ] {
        let asked = AtomicU64::new(0);
        let after_a_while = || (asked.fetch_add(1, Ordering::Relaxed) > 3).then_some(interrupt);
        let query = Query { interrupt: &after_a_while, ..Query::instant(&expr, MINUTE_MS) };
        let error = engine.evaluate(&storage, &query).unwrap_err();
        assert_eq!((error.class(), error.to_string().as_str()), (class, text));
        assert!(asked.load(Ordering::Relaxed) < 10, "it went on after it had to stop");
    }
}

#[test]
fn matching_two_vectors_stops_in_the_middle() {
    let storage = storage(&["a_total", "b_total"], 400);
    let expr = parse("a_total * on (host) b_total", &ParserOptions::ALL).unwrap();
    let engine = Engine::new(options(1));
    let asks = |limit: u64| {
        let asked = AtomicU64::new(0);
        let interrupt = || {
            let is_over = asked.fetch_add(1, Ordering::Relaxed) >= limit;
            is_over.then_some(Interrupt::Canceled)
        };
        let query = Query { interrupt: &interrupt, ..Query::instant(&expr, MINUTE_MS) };
        let result = engine.evaluate(&storage, &query);
        (result, asked.load(Ordering::Relaxed))
    };
    let (result, all) = asks(u64::MAX);
    assert!(result.is_ok() && all > 400, "each pair is a chance to stop: {all}");
    let (result, asked) = asks(all - 200);
    assert_eq!(result.unwrap_err().class(), ErrorClass::Canceled);
    assert!(asked < all - 190, "it went on after it had to stop: {asked} of {all}");
}

#[test]
fn limits_refuse_what_is_over_them() {
    let storage = storage(&["a_total"], 50);
    let few_samples = EngineOptions { max_samples: 49, ..options(2) };
    let error = ask(few_samples.clone(), &storage, "a_total").unwrap_err();
    assert_eq!(error, EvalError::TooManySamples);
    // Folded away as they are read, they are never held.
    let answer = ask(few_samples, &storage, "sum(a_total)").unwrap();
    assert_eq!((answer.stats.series, answer.stats.samples_read), (50, 250));
    let few_series = EngineOptions { max_series: 49, ..options(2) };
    let error = ask(few_series, &storage, "sum(a_total)").unwrap_err();
    assert_eq!(error, EvalError::TooManySeries { matched: 50, limit: 49 });
    assert_eq!(error.class(), ErrorClass::Execution);
}

#[test]
fn names_go_at_once_or_when_the_query_ends() {
    let storage = storage(&["a_total", "b_total"], 1);
    let by_name =
        "label_replace(rate({host=\"0\"}[5m]), \"of\", \"$1\", \"__name__\", \"(.*)_total\")";
    for text in ["rate({host=\"0\"}[5m])", "-{host=\"0\"}", by_name] {
        assert_eq!(ask(options(1), &storage, text).unwrap_err(), EvalError::SameLabels, "{text}");
    }
    assert!(ask(options(1), &storage, "sum(rate({host=\"0\"}[5m]))").is_err());
    let delayed = EngineOptions { delayed_name_removal: true, ..options(1) };
    let names: Vec<_> = floats(&ask(delayed, &storage, by_name).unwrap())
        .into_iter()
        .map(|(labels, _)| labels)
        .collect();
    assert_eq!(names, [r#"{host="0", of="a"}"#, r#"{host="0", of="b"}"#]);
}

#[test]
fn a_chain_as_long_as_the_text_is_evaluated() {
    let storage = storage(&["a_total"], 1);
    let text = format!("1{}", " + 1".repeat(15_000));
    let answer = ask(options(1), &storage, &text).unwrap();
    assert!(matches!(answer.value, Value::Scalar(point) if point.value == 15_001.0));
    let text = format!("vector(1){}", " + vector(1)".repeat(5_000));
    assert_eq!(floats(&ask(options(1), &storage, &text).unwrap()), [("{}".to_owned(), 5_001.0)]);
}

#[test]
fn the_deepest_text_that_parses_fits_a_worker_s_stack() {
    let storage = storage(&["a_total"], 1);
    for (open, close) in [("abs(", ")"), ("sum(", ")"), ("last_over_time((", ")[9m:3m])")] {
        let nested = |depth| format!("{}a_total{}", open.repeat(depth), close.repeat(depth));
        let parses = |depth: &usize| parse(&nested(*depth), &ParserOptions::ALL).is_ok();
        let deepest = (1..=ParserOptions::ALL.max_depth).rev().find(parses).unwrap();
        assert!(deepest > 50, "{open} nests {deepest} deep only");
        let answer = ask(options(1), &storage, &nested(deepest)).unwrap();
        assert_eq!(floats(&answer).len(), 1, "{open}");
    }
}

#[test]
fn a_range_vector_answers_with_its_own_times() {
    let storage = storage(&["a_total"], 1);
    let answer = ask(options(1), &storage, "a_total[3m]").unwrap();
    let Value::Matrix(series) = answer.value else { panic!("no matrix") };
    let times: Vec<_> = series[0].floats().map(|(time_ms, _)| time_ms / MINUTE_MS).collect();
    assert_eq!(times, [7, 8, 9]);
    let expr = parse("a_total[3m]", &ParserOptions::ALL).unwrap();
    let engine = Engine::new(options(1));
    let error = engine.evaluate(&storage, &Query::range(&expr, 0, 1, 1)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "invalid expression type \"range vector\" for range query, must be Scalar or instant Vector"
    );
}
