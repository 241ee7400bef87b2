//! What lines come to.

use super::*;

fn values(line: &str) -> Vec<SeriesValue> {
    match parse_series_line(line).unwrap_or_else(|error| panic!("{line}: {error}")) {
        SeriesLine::Samples { values, .. } => values,
        SeriesLine::Starts { .. } => panic!("{line}: start timestamps"),
    }
}

fn floats(line: &str) -> Vec<f64> {
    let float = |value| match value {
        SeriesValue::Float(value) => value,
        other => panic!("{other:?}"),
    };
    values(line).into_iter().map(float).collect()
}

fn histograms(line: &str) -> Vec<(Histogram, bool)> {
    let histogram = |value| match value {
        SeriesValue::Histogram { histogram, has_hint } => (*histogram, has_hint),
        other => panic!("{other:?}"),
    };
    values(line).into_iter().map(histogram).collect()
}

fn positive(histogram: &Histogram) -> (Vec<Span>, Vec<f64>) {
    let Buckets::Float { positive, .. } = &histogram.buckets else { panic!("counts are floats") };
    (histogram.positive_spans.clone(), positive.clone())
}

use rangekeeper_model::{Buckets, CounterResetHint, Span};

#[test]
fn numbers_repeat_and_step() {
    assert_eq!(floats("m 1 -2.5 3e2 +4"), [1.0, -2.5, 300.0, 4.0]);
    assert_eq!(floats("m 7x2 0x1"), [7.0, 7.0, 7.0, 0.0, 0.0]);
    assert_eq!(floats("m 1+2x3"), [1.0, 3.0, 5.0, 7.0]);
    assert_eq!(floats("m -1-.5x1 1e1+1e-1x1"), [-1.0, -1.5, 10.0, 10.1]);
    assert_eq!(floats("m Inf -inf"), [f64::INFINITY, f64::NEG_INFINITY]);
    assert!(floats("m NaN")[0].is_nan());
    assert_eq!(floats("m stale")[0].to_bits(), STALE_NAN_BITS);
    assert_eq!(values("m _ _x2 1").len(), 4);
    assert_eq!(values("m  ").len(), 0);
}

#[test]
fn labels_may_be_quoted_and_named_like_keywords() {
    let labels = |line| match parse_series_line(line).unwrap() {
        SeriesLine::Samples { labels, .. } | SeriesLine::Starts { labels, .. } => {
            labels.to_string()
        }
    };
    assert_eq!(labels(r#"sum{by="x", } 1"#), r#"{__name__="sum", by="x"}"#);
    assert_eq!(labels(r#"{"a.b", 'c d'=`e`} 1"#), r#"{__name__="a.b", "c d"="e"}"#);
    assert_eq!(labels("{} 1"), "{}");
    assert_eq!(labels("a:b\t1"), r#"{__name__="a:b"}"#);
}

#[test]
fn start_timestamps_are_offsets() {
    let line = r#"m{a="b"}@st _ _x2 -30s-1mx2 0-1mx1 -0ms 1h"#;
    let SeriesLine::Starts { offsets_ms, .. } = parse_series_line(line).unwrap() else {
        panic!("start timestamps")
    };
    let some = [-30_000, -90_000, -150_000, 0, -60_000, 0, 3_600_000].map(Some);
    assert_eq!(offsets_ms, [vec![None; 3], some.to_vec()].concat());
}

#[test]
fn histograms_have_all_their_fields() {
    let line = "m {{schema:2 sum:-3 count:14 z_bucket:1 z_bucket_w:0.5 buckets:[1 2 -3] offset:-2 \
                n_buckets:[4 NaN] n_offset:1 counter_reset_hint:gauge}}";
    let (histogram, has_hint) = histograms(line).remove(0);
    assert!(has_hint);
    assert_eq!(histogram.reset_hint, CounterResetHint::Gauge);
    assert_eq!((histogram.schema, histogram.sum, histogram.zero_threshold), (2, -3.0, 0.5));
    let (spans, counts) = positive(&histogram);
    assert_eq!((spans, counts), (vec![Span { offset: -2, length: 3 }], vec![1.0, 2.0, -3.0]));
    assert_eq!(histogram.negative_spans, [Span { offset: 1, length: 2 }]);
    let (empty, has_hint) = histograms("m {{}}").remove(0);
    assert!(!has_hint && empty.positive_spans.is_empty());
    let custom = histograms("m {{schema:-53 custom_values:[5 10] buckets:[1]}}").remove(0).0;
    assert_eq!(custom.custom_values, [5.0, 10.0]);
}

#[test]
fn histograms_add_up_also_from_a_finer_schema() {
    let sums = histograms("m {{count:1 buckets:[1]}}+{{schema:1 count:4 buckets:[1 2 1]}}x2");
    let counts: Vec<_> = sums.iter().map(|(histogram, _)| positive(histogram).1).collect();
    // Of the finer schema bucket 0 falls into 0, buckets 1 and 2 into 1.
    assert_eq!(counts, [vec![1.0], vec![2.0, 3.0], vec![3.0, 6.0]]);
    let less = histograms("m {{sum:5}}-{{sum:2}}x1");
    assert_eq!(less.iter().map(|(histogram, _)| histogram.sum).collect::<Vec<_>>(), [5.0, 3.0]);
    assert_eq!(less[1].0.reset_hint, CounterResetHint::Gauge);
    let error = parse_series_line("m {{schema:2}}+{{schema:1}}x1").unwrap_err().text;
    assert_eq!(error, "error combining histograms: cannot merge from schema 1 to 2");
}

#[test]
fn what_is_no_description_is_refused_at_its_place() {
    for (line, at) in [
        ("m foo", 2),
        ("m 1+2", 5),
        ("m 1x", 4),
        ("m 1x9999999", 11),
        ("m 1{{}}", 3),
        ("m {{sum:1 sum:2}}", 14),
        ("m {{sum}}", 7),
        ("m {{max:1}}", 8),
        ("m {{buckets:[1 x]}}", 15),
        ("m {{", 4),
        ("m stalex3", 2),
        ("m @st 1m", 2),
        ("m@st 1", 6),
        ("m@st 5x", 6),
        ("m{a=1} 1", 4),
        ("1 2", 0),
    ] {
        let error = parse_series_line(line).expect_err(line);
        assert_eq!(error.at, at, "{line}: {error}");
    }
}
