//! Labels, values and times: what is valid, and that it comes back as it was sent.

use rangekeeper_wire::encode::{RequestV2, labels_v1};
use rangekeeper_wire::proto::{v1, v2};

use super::{Pairs, Real, assert_all, assert_part, now_ms, sample_v2, series_v1};

const MINUTE_MS: i64 = 60 * 1000;
const STALE_NAN: u64 = 0x7ff0_0000_0000_0002;

#[test]
fn labels_that_break_a_rule_refuse_their_series_in_both_versions() {
    let node = Real::new(&[]);
    let cases: [(Pairs<'_>, &str); 5] = [
        (&[("job", "node")], "invalid metric name or labels, got {job=\"node\"}: no metric name"),
        (&[("__name__", ""), ("job", "node")], "no metric name"),
        (&[], "no metric name"),
        (&[("", "a"), ("__name__", "up")], "a label has no name"),
        (&[("__name__", "up"), ("a", "1"), ("a", "2")], "duplicated label a"),
    ];
    for (labels, told) in cases {
        let answer = node.v1(vec![series_v1(labels)]);
        assert_eq!(answer.status, 400, "{labels:?}");
        assert!(answer.text().contains(told), "{}", answer.text());
        assert_part(&node.v2(RequestV2::at(now_ms()).series(labels)), [0, 0, 0], told);
    }
    for query in ["{__name__=~'.+'}", "{job=~'.+'}", "{a=~'.+'}"] {
        assert!(node.values(query).is_empty(), "{query}");
    }
}

#[test]
fn labels_in_any_order_and_without_values_are_the_same_series() {
    let node = Real::new(&[]);
    let orders: [Pairs<'_>; 2] = [
        &[("__name__", "up"), ("job", "node"), ("zone", "a")],
        &[("zone", "a"), ("job", "node"), ("empty", ""), ("__name__", "up")],
    ];
    for labels in orders {
        assert_eq!(node.v1(vec![series_v1(labels)]).status, 204);
        assert_all(&node.v2(RequestV2::at(now_ms()).series(labels)), [1, 0, 0]);
    }
    assert_eq!(node.values("count({__name__='up'})"), ["1"]);
}

#[test]
fn names_of_any_text_are_taken_in_both_versions() {
    let node = Real::new(&[]);
    let labels: Pairs<'_> = &[("__name__", "http.requests total"), ("sérvice.name", "a\nb \"c\"")];
    assert_eq!(node.v1(vec![series_v1(labels)]).status, 204);
    assert_all(&node.v2(RequestV2::at(now_ms()).series(labels)), [1, 0, 0]);
    let query = r#"count({"http.requests total", "sérvice.name"="a\nb \"c\""})"#;
    assert_eq!(node.values(query), ["1"]);
}

#[test]
fn special_values_come_back_and_a_stale_marker_ends_a_series() {
    let node = Real::new(&[]);
    let values = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::from_bits(STALE_NAN)];
    let names = ["not_a_number", "infinite", "minus_infinite", "stale"];
    for version in ["1", "2"] {
        let mut request = RequestV2::at(now_ms());
        let mut all = Vec::new();
        for (name, value) in names.into_iter().zip(values) {
            let labels: Pairs<'_> = &[("__name__", name), ("version", version)];
            let samples = vec![v1::Sample { value, timestamp: now_ms() }];
            all.push(v1::TimeSeries { labels: labels_v1(labels), samples, ..Default::default() });
            request = request.with(labels, |_, series| series.samples.push(sample_v2(value)));
        }
        if version == "1" {
            assert_eq!(node.v1(all).status, 204);
        } else {
            assert_all(&node.v2(request), [4, 0, 0]);
        }
    }
    for (name, text) in [("not_a_number", "NaN"), ("infinite", "+Inf"), ("minus_infinite", "-Inf")]
    {
        assert_eq!(node.values(name), [text, text], "{name}");
    }
    assert!(node.values("stale").is_empty());
}

#[test]
fn times_may_be_late_but_not_ahead_by_more_than_ten_minutes() {
    let node = Real::new(&[]);
    let labels: Pairs<'_> = &[("__name__", "up")];
    let at = |ahead_ms: i64| {
        RequestV2::at(now_ms()).series(&[("__name__", "good")]).with(labels, |_, series| {
            let timestamp = now_ms() + ahead_ms;
            series.samples.push(v2::Sample { timestamp, ..sample_v2(1.0) });
        })
    };
    for ahead_ms in [9 * MINUTE_MS, -MINUTE_MS, -29 * 24 * 60 * MINUTE_MS] {
        assert_all(&node.v2(at(ahead_ms)), [2, 0, 0]);
    }
    let told = "out of bounds: sample of series {__name__=\"up\"} at ";
    assert_part(&node.v2(at(11 * MINUTE_MS)), [1, 0, 0], told);
    assert_part(&node.v2(at(-31 * 24 * 60 * MINUTE_MS)), [1, 0, 0], "is beyond retention");
}

#[test]
fn what_is_sent_again_is_a_success() {
    let node = Real::new(&[]);
    let labels: Pairs<'_> = &[("__name__", "up")];
    let body = RequestV2::at(now_ms()).series(labels).body();
    for _ in 0..3 {
        let answer = node.post(&[("Content-Type", super::V2_TYPE)], &body);
        assert_all(&answer, [1, 0, 0]);
    }
    assert_eq!(node.values("count_over_time(up[1m])"), ["1"]);
}
