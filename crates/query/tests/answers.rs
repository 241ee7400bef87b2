//! What the API answers and refuses, in Prometheus' words.

use std::sync::Arc;

use rangekeeper_model::{ErrorClass, Labels, MetricType, ShardCount, TenantId};
use rangekeeper_query::{Api, Feature, Limits, QueryError, Question};
use rangekeeper_storage::{Clock, FamilyKey, FamilyMetadata, Store, StoreOptions};
use rangekeeper_telemetry::Registry;
use serde_json::Value;

const NOW_MS: i64 = 1_760_000_000_000;
/// When the samples are, in Unix seconds.
const AT: &str = "1759999990";

/// An API over a store with two series `up` and some metadata.
struct Answering {
    api: Api,
    runtime: tokio::runtime::Runtime,
    _folder: tempfile::TempDir,
}

fn answering(features: &[Feature]) -> Answering {
    let folder = tempfile::tempdir().unwrap();
    let mut options = StoreOptions::new(folder.path());
    options.shards = ShardCount::new(16).unwrap();
    options.reserve_bytes = 0;
    let store = Store::open(options, Clock::new(|| NOW_MS)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    fill(&store, &runtime);
    let limits = Limits {
        samples: 1_000,
        series: 1_000,
        timeout: std::time::Duration::from_mins(1),
        concurrent: 1,
        text_bytes: 1_000,
        depth: 100,
        lookback_ms: 300_000,
    };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let api = Api::new(store, limits, features, Arc::new(pool), &Registry::new());
    Answering { api, runtime, _folder: folder }
}

fn fill(store: &Store, runtime: &tokio::runtime::Runtime) {
    let mut write = store.write(&TenantId::default()).unwrap();
    let labels = |host: &str| Labels::from_pairs([("__name__", "up"), ("host", host)]).unwrap();
    for host in ["a", "b"] {
        write.series(write.tenant().hasher().hash(labels(host).as_bytes()));
        write.float(NOW_MS - 10_000, 0, 1.0);
    }
    for row in write.resolve() {
        write.define(row, labels(["a", "b"][row.number()])).unwrap();
    }
    for (family, help) in [("up", "one"), ("up", "two"), ("down", "three")] {
        let key = FamilyKey { tenant: TenantId::default(), family: family.to_owned() };
        let metric_type = MetricType::Gauge;
        let (help, unit) = (help.to_owned(), String::new());
        write.metadata(key, FamilyMetadata { metric_type, help, unit });
    }
    runtime.block_on(write.commit()).unwrap();
}

impl Answering {
    fn ask(&self, question: &Question, parameters: &[(&str, &str)]) -> Result<Value, QueryError> {
        let parameters = parameters.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
        let answer = self.api.answer(TenantId::default(), question.clone(), parameters.collect());
        let body = self.runtime.block_on(answer)?;
        Ok(serde_json::from_slice(&body).expect("an answer is JSON"))
    }

    fn data(&self, question: &Question, parameters: &[(&str, &str)]) -> Value {
        self.ask(question, parameters).unwrap()["data"].clone()
    }

    fn refusal(&self, question: &Question, parameters: &[(&str, &str)]) -> (ErrorClass, String) {
        let error = self.ask(question, parameters).expect_err("it is refused");
        (error.class(), error.to_string())
    }
}

#[test]
fn a_step_is_cut_off_to_milliseconds() {
    let node = answering(&[]);
    for (step, times) in [
        ("0.0166667", &[10.0, 10.016, 10.032, 10.048][..]),
        ("0.0499", &[10.0, 10.049]),
        ("25ms", &[10.0, 10.025, 10.05]),
    ] {
        let range = [("query", "1"), ("start", "10"), ("end", "10.05"), ("step", step)];
        let data = node.data(&Question::QueryRange, &range);
        let points = data["result"][0]["values"].as_array().unwrap();
        assert_eq!(points.iter().map(|point| &point[0]).collect::<Vec<_>>(), times, "{step}");
    }
}

#[test]
fn nothing_lies_between_an_end_and_a_later_start() {
    let node = answering(&[]);
    for question in [Question::Series, Question::Labels, host_values()] {
        for (start, end, finds) in [("0", AT, true), (AT, "0", false)] {
            let range = [("match[]", "up"), ("start", start), ("end", end)];
            let found = node.data(&question, &range);
            assert_eq!(!found.as_array().unwrap().is_empty(), finds, "{question:?} {start}");
        }
    }
}

#[test]
fn metadata_is_limited_as_a_whole_and_by_metric() {
    let node = answering(&[]);
    for (name, limit, metrics, entries) in [
        ("limit", "0", 0, 0),
        ("limit", "1", 1, 1),
        ("limit", "-1", 2, 3),
        ("limit_per_metric", "0", 2, 3),
        ("limit_per_metric", "1", 2, 2),
        ("limit_per_metric", "-1", 2, 3),
    ] {
        let data = node.data(&Question::Metadata, &[(name, limit)]);
        let lists = data.as_object().unwrap().values().map(|list| list.as_array().unwrap().len());
        let (count, sum) = (lists.len(), lists.sum::<usize>());
        assert_eq!((count, sum), (metrics, entries), "{name}={limit}");
    }
}

#[test]
fn a_lookback_that_is_not_positive_is_the_default() {
    let node = answering(&[]);
    for (lookback, found) in [("", 2), ("0", 2), ("-1", 2), ("0s", 2), ("0.0001", 0), ("1s", 0)] {
        let parameters = [("query", "up"), ("time", "1759999995"), ("lookback_delta", lookback)];
        let data = node.data(&Question::Query, &parameters);
        assert_eq!(data["result"].as_array().unwrap().len(), found, "{lookback:?}");
    }
}

#[test]
fn a_query_without_time_left_times_out() {
    let node = answering(&[]);
    for timeout in ["0", "-1", "1e-10"] {
        let (class, text) = node.refusal(&Question::Query, &[("query", "1"), ("timeout", timeout)]);
        assert_eq!(class, ErrorClass::Timeout, "{text}");
    }
    assert!(node.ask(&Question::Query, &[("query", "1"), ("timeout", "100y")]).is_ok());
    assert!(node.ask(&Question::Labels, &[("timeout", "x")]).is_ok());
}

#[test]
fn many_rows_may_be_asked_of_the_statistics() {
    let node = answering(&[]);
    let few = node.data(&Question::Tsdb, &[("limit", "10000")]);
    assert_eq!(node.data(&Question::Tsdb, &[("limit", "10001")]), few);
}

#[test]
fn statistics_come_under_the_names_that_prometheus_has() {
    let node = answering(&[]);
    let asked = [("query", "sum(up)"), ("time", AT)];
    assert_eq!(node.data(&Question::Query, &asked).get("stats"), None);
    let stats = &node.data(&Question::Query, &[asked[0], asked[1], ("stats", "all")])["stats"];
    assert_eq!(stats["samples"]["totalQueryableSamples"], 2);
    let seconds = |name: &str| stats["timings"][name].as_f64().unwrap();
    let parts = seconds("evalTotalTime") + seconds("execQueueTime");
    assert!(seconds("evalTotalTime") > 0.0 && parts <= seconds("execTotalTime"), "{stats}");
}

#[test]
fn features_are_off_unless_asked_for() {
    let (plain, all) = (answering(&[]), answering(&Feature::ALL));
    for text in ["limitk(1, up)", "rate(up[1m] anchored)", "up + fill(0) up"] {
        let (class, refusal) = plain.refusal(&Question::Query, &[("query", text), ("time", AT)]);
        assert_eq!(class, ErrorClass::Invalid, "{text}: {refusal}");
        all.data(&Question::Query, &[("query", text), ("time", AT)]);
    }
}

/// Asks questions that make no sense: each with its parameters as in a URL, and what is to be said
/// of it.
fn refuses(cases: &[(Question, &str, &str)]) {
    let node = answering(&[]);
    for (question, parameters, expected) in cases {
        let parameters: Vec<_> =
            parameters.split('&').map(|parameter| parameter.split_once('=').unwrap()).collect();
        let (class, text) = node.refusal(question, &parameters);
        assert_eq!((class, text.as_str()), (ErrorClass::Invalid, *expected), "{parameters:?}");
    }
}

fn host_values() -> Question {
    Question::LabelValues("host".to_owned())
}

#[test]
fn queries_that_make_no_sense_are_refused_in_the_words_of_prometheus() {
    refuses(&[
        (
            Question::Query,
            "query=1&time=x",
            "invalid parameter \"time\": invalid time value for 'time': cannot parse \
             \"x\" to a valid timestamp",
        ),
        (
            Question::Query,
            "query=(&time=x&limit=99999999999999999999",
            "invalid parameter \"limit\": strconv.Atoi: parsing \
             \"99999999999999999999\": value out of range",
        ),
        (
            Question::Query,
            "query=1&limit=1.5",
            "invalid parameter \"limit\": strconv.Atoi: parsing \"1.5\": invalid syntax",
        ),
        (
            Question::Query,
            "query=1&limit=-1",
            "invalid parameter \"limit\": limit must be non-negative",
        ),
        (
            Question::Query,
            "query=(&timeout=x&lookback_delta=x",
            "invalid parameter \"timeout\": cannot parse \"x\" to a valid duration",
        ),
        (
            Question::Query,
            "query=(&lookback_delta=-5m",
            "error parsing lookback delta duration: cannot parse \"-5m\" to a valid \
             duration",
        ),
        (
            Question::Query,
            "query=1&lookback_delta=1e300",
            "error parsing lookback delta duration: cannot parse \"1e300\" to a valid \
             duration. It overflows int64",
        ),
        (
            Question::Query,
            "query=up[step()]",
            "invalid parameter \"query\": 1:4: parse error: duration must be greater \
             than 0",
        ),
        (
            Question::Query,
            "query= \n up[5m-5m]",
            "invalid parameter \"query\": 2:5: parse error: duration must be greater \
             than 0",
        ),
    ]);
}

#[test]
fn ranges_that_make_no_sense_are_refused_in_the_words_of_prometheus() {
    refuses(&[
        (
            Question::QueryRange,
            "query=1&end=x",
            "invalid parameter \"start\": cannot parse \"\" to a valid timestamp",
        ),
        (
            Question::QueryRange,
            "query=1&start=1&end=x",
            "invalid parameter \"end\": cannot parse \"x\" to a valid timestamp",
        ),
        (
            Question::QueryRange,
            "query=1&start=1&end=0",
            "invalid parameter \"end\": end timestamp must not be before start time",
        ),
        (
            Question::QueryRange,
            "query=1&start=1&end=1&step=9223372037",
            "invalid parameter \"step\": cannot parse \"9223372037\" to a valid \
             duration. It overflows int64",
        ),
        (
            Question::QueryRange,
            "query=1&start=1&end=1&step=0.0009",
            "invalid parameter \"step\": zero or negative query resolution step widths \
             are not accepted. Try a positive integer",
        ),
        (
            Question::QueryRange,
            "query=\"a\"&start=1&end=1&step=1",
            "invalid parameter \"query\": invalid expression type \"string\" for range \
             query, must be Scalar or instant Vector",
        ),
        (
            Question::QueryRange,
            "query=up[5m-5m]&start=1&end=1&step=1",
            "invalid parameter \"query\": invalid expression type \"range vector\" for \
             range query, must be Scalar or instant Vector",
        ),
    ]);
}

#[test]
fn other_questions_that_make_no_sense_are_refused_in_the_words_of_prometheus() {
    refuses(&[
        (Question::Series, "start=x", "no match[] parameter provided"),
        (
            Question::Series,
            "match[]=(&start=x",
            "invalid parameter \"start\": invalid time value for 'start': cannot parse \
             \"x\" to a valid timestamp",
        ),
        (
            Question::Series,
            "match[]=up[5m]",
            "invalid parameter \"match[]\": 1:3: parse error: unexpected \"[\"",
        ),
        (
            Question::Labels,
            "match[]=up[5m]&end=x",
            "invalid parameter \"end\": invalid time value for 'end': cannot parse \"x\" \
             to a valid timestamp",
        ),
        (Question::Labels, "match[]=up[5m]", "1:3: parse error: unexpected \"[\""),
        (host_values(), "match[]={}", "match[] must contain at least one non-empty matcher"),
        (
            host_values(),
            "match[]={}&limit=x",
            "invalid parameter \"limit\": strconv.Atoi: parsing \"x\": invalid syntax",
        ),
        (Question::Metadata, "limit=1.5", "limit must be a number"),
        (Question::Metadata, "limit_per_metric=x", "limit_per_metric must be a number"),
        (
            Question::QueryExemplars,
            "query=(&start=6&end=5",
            "end timestamp must not be before start timestamp",
        ),
        (
            Question::QueryExemplars,
            "query=up[0s]",
            "1:4: parse error: duration must be greater than 0",
        ),
        (
            Question::FormatQuery,
            "query=up[0s]",
            "invalid parameter \"query\": 1:4: parse error: duration must be greater \
             than 0",
        ),
        (Question::Tsdb, "limit=0", "limit must be a positive number"),
    ]);
}
