//! What a sender is told, by which it keeps its data or drops them.

use rangekeeper_node::memory::Usage;
use rangekeeper_wire::Version;

use super::{Pairs, Real, V2_TYPE, assert_all, now_ms, series_v1, written};
use crate::harness::{Answer, Harness};
use rangekeeper_wire::encode::RequestV2;

const UP: Pairs<'_> = &[("__name__", "up")];

/// A refusal that a sender has to try again, with nothing of it written.
#[track_caller]
fn assert_retried(answer: &Answer, told: &str, version: Version) {
    assert_eq!(answer.status, 503, "{}", answer.text());
    let seconds: u32 =
        answer.header("retry-after").expect("it says when").parse().expect("seconds");
    assert!((1..=60).contains(&seconds), "{seconds}");
    assert!(answer.text().contains(told), "{}", answer.text());
    assert_eq!(written(answer), (version == Version::V2).then_some([0, 0, 0]));
}

#[test]
fn what_is_written_is_a_204_without_a_body() {
    let node = Real::new(&[]);
    let answer = node.v1(vec![series_v1(UP)]);
    assert_eq!((answer.status, answer.text(), written(&answer)), (204, "", None));
    assert_all(&node.v2(RequestV2::at(now_ms()).series(UP)), [1, 0, 0]);
    assert_all(&node.v2(RequestV2::at(now_ms())), [0, 0, 0]);
}

#[test]
fn a_partial_write_says_how_many_and_why_on_its_first_line() {
    let node = Real::new(&["limits.value=8B"]);
    let long = "x".repeat(5000);
    let bad: Pairs<'_> = &[("__name__", "up"), ("job", &long)];
    let nameless: Pairs<'_> = &[("job", "a")];
    for version in [Version::V1, Version::V2] {
        let answer = match version {
            Version::V1 => node.v1([UP, bad, nameless].map(series_v1).into()),
            Version::V2 => node.v2(RequestV2::at(now_ms()).series(UP).series(bad).series(nameless)),
        };
        assert_eq!(answer.status, 400);
        assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
        let lines: Vec<_> = answer.text().lines().collect();
        assert_eq!(lines.len(), 2, "{}", answer.text());
        assert!(lines[0].ends_with("(2 samples refused, 1 stored)"), "{}", lines[0]);
        assert!(lines[0].len() <= 1024, "{} bytes", lines[0].len());
        assert_eq!(written(&answer), (version == Version::V2).then_some([1, 0, 0]));
        assert_eq!(answer.header("retry-after"), None);
    }
}

#[test]
fn a_node_that_cannot_write_now_has_the_request_sent_again() {
    let starting = Harness::starting(&[], Usage::default);
    let body = RequestV2::at(now_ms()).series(UP).body();
    let answer = starting.post("/api/v1/write", &[("Content-Type", V2_TYPE)], &body);
    assert_retried(&answer, "the node is starting", Version::V2);

    let mut node = Real::new(&[]);
    node.close();
    // Some of it could never be written: the sender must keep the rest all the same.
    let answer = node.v1(vec![series_v1(UP), series_v1(&[("job", "a")])]);
    assert_retried(&answer, "the store is closed", Version::V1);
    let answer = node.v2(RequestV2::at(now_ms()).series(UP).series(&[("job", "a")]));
    assert_retried(&answer, "the store is closed", Version::V2);
}
