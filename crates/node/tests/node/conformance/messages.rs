//! What the messages hold: every field of both versions, and what is wrong with one.

use rangekeeper_wire::encode::{RequestV2, compress, labels_v1, request_v1, request_v2};
use rangekeeper_wire::proto::{v1, v2};

use super::{Pairs, Real, V1_TYPE, V2_TYPE, assert_all, assert_part, now_ms, sample_v2, series_v1};

const UP: Pairs<'_> = &[("__name__", "up"), ("job", "node")];

fn histogram(count: u64) -> v2::Histogram {
    v2::Histogram {
        count: Some(v2::histogram::Count::CountInt(count)),
        sum: 1.5,
        schema: 3,
        zero_threshold: 0.001,
        positive_spans: vec![v2::BucketSpan { offset: -2, length: 2 }],
        positive_deltas: vec![3, 1],
        timestamp: now_ms(),
        ..Default::default()
    }
}

#[test]
fn a_request_of_1_0_may_hold_metadata_alone() {
    let node = Real::new(&[]);
    let metadata = v1::MetricMetadata {
        r#type: 1,
        metric_family_name: "requests_total".to_owned(),
        help: "How many.".to_owned(),
        unit: String::new(),
    };
    let request = v1::WriteRequest { timeseries: Vec::new(), metadata: vec![metadata] };
    assert_eq!(node.post(&[("Content-Type", V1_TYPE)], &request_v1(&request)).status, 204);
    let stored = node.harness.get("/api/v1/metadata").json();
    let expected = serde_json::json!([{"type": "counter", "help": "How many.", "unit": ""}]);
    assert_eq!(stored["data"]["requests_total"], expected);
}

#[test]
fn fields_that_others_use_are_passed_over() {
    let node = Real::new(&[]);
    // Field 2 of 1.0 is Cortex' source, fields 1 to 3 of 2.0 are reserved.
    let first = compress(&[0x10, 1]);
    assert_eq!(node.post(&[("Content-Type", V1_TYPE)], &first).status, 204);
    let second = compress(&[0x0a, 1, b'x', 0x12, 1, b'y', 0x1a, 1, b'z', 0x22, 0]);
    assert_all(&node.post(&[("Content-Type", V2_TYPE)], &second), [0, 0, 0]);
}

#[test]
fn histograms_and_exemplars_come_with_1_0_too() {
    let node = Real::new(&[]);
    let labels = labels_v1(&[("trace_id", "abc")]);
    let exemplar = v1::Exemplar { labels, value: 0.5, timestamp: now_ms() };
    let histogram = v1::Histogram {
        count: Some(v1::histogram::Count::CountInt(7)),
        schema: 3,
        positive_spans: vec![v1::BucketSpan { offset: 0, length: 2 }],
        positive_deltas: vec![3, 1],
        timestamp: now_ms(),
        ..Default::default()
    };
    let exemplars = vec![exemplar];
    let histograms = vec![histogram.clone()];
    let good = [
        v1::TimeSeries { exemplars, ..series_v1(UP) },
        v1::TimeSeries { labels: labels_v1(UP), histograms, ..Default::default() },
    ];
    assert_eq!(node.v1(good.into()).status, 204);
    let query = "/api/v1/query_exemplars?query=up&start=0&end=9999999999";
    assert!(node.harness.get(query).text().contains(r#""trace_id":"abc""#));
    let count = Some(v1::histogram::Count::CountInt(99));
    let histograms = vec![v1::Histogram { count, ..histogram }];
    let bad = v1::TimeSeries { labels: labels_v1(UP), histograms, ..Default::default() };
    let answer = node.v1(vec![bad]);
    assert_eq!(answer.status, 400);
    assert!(answer.text().starts_with("invalid histogram for series {__name__=\"up\", "));
}

#[test]
fn a_request_of_2_0_has_a_table_of_symbols_that_begins_with_the_empty_one() {
    let node = Real::new(&[]);
    let send = |symbols: &[&str], labels_refs: &[u32]| {
        let symbols = symbols.iter().map(|&symbol| symbol.to_owned()).collect();
        let (labels_refs, samples) = (labels_refs.to_vec(), vec![sample_v2(1.0)]);
        let series = v2::TimeSeries { labels_refs, samples, ..Default::default() };
        let body = request_v2(&v2::Request { symbols, timeseries: vec![series] });
        node.post(&[("Content-Type", V2_TYPE)], &body)
    };
    assert_part(&send(&[], &[]), [0, 0, 0], "no symbols table");
    let told = "first entry of the symbols table is not the empty string";
    assert_part(&send(&["__name__", "up"], &[0, 1]), [0, 0, 0], told);
    let odd = "parsing labels for series [1]: invalid labelRefs length 1";
    assert_part(&send(&["", "__name__", "up"], &[1]), [0, 0, 0], odd);
    for out in [3, 1000, u32::MAX] {
        let told = format!("labelRefs 1 (name) = {out} (value) outside of symbols table (size 3)");
        assert_part(&send(&["", "__name__", "up"], &[1, out]), [0, 0, 0], &told);
    }
    // A table with repetitions means the same labels, and repeats a name only where it does.
    let table = ["", "__name__", "up", "__name__", "job", "job"];
    assert_all(&send(&table, &[3, 2, 5, 2]), [1, 0, 0]);
    assert_part(&send(&table, &[3, 2, 4, 2, 5, 2]), [0, 0, 0], "duplicated label job");
    assert_all(&send(&["", "__name__", "up", "job"], &[1, 2, 3, 2]), [1, 0, 0]);
    assert_eq!(node.values("count({job='up'})"), ["1"]);
}

#[test]
fn a_bad_series_among_good_ones_is_refused_alone() {
    let node = Real::new(&[]);
    let request = RequestV2::at(now_ms())
        .series(&[("__name__", "a")])
        .with(&[("__name__", "b")], |_, series| {
            series.labels_refs.push(1000);
            series.samples.push(sample_v2(1.0));
        })
        .series(&[("__name__", "c")])
        .series(&[("__name__", "d")]);
    assert_part(&node.v2(request), [3, 0, 0], "(1 samples refused, 3 stored)");
    assert_eq!(node.values("count({__name__=~'a|b|c|d'})"), ["3"]);
}

#[test]
fn start_timestamps_are_taken_in_every_place_that_versions_of_2_0_gave_them() {
    let node = Real::new(&[]);
    let request = RequestV2::at(now_ms())
        .with(UP, |_, series| {
            let start_timestamp = now_ms() - 1000;
            series.samples.push(v2::Sample { start_timestamp, ..sample_v2(1.0) });
        })
        .with(&[("__name__", "older")], |_, series| {
            series.created_timestamp = now_ms() - 1000;
            series.samples.push(sample_v2(1.0));
        })
        .with(&[("__name__", "duration")], |_, series| {
            let start_timestamp = now_ms() - 1000;
            series.histograms.push(v2::Histogram { start_timestamp, ..histogram(7) });
        });
    assert_all(&node.v2(request), [2, 1, 0]);
}

#[test]
fn a_series_of_2_0_has_samples_or_histograms_and_may_come_in_parts() {
    let node = Real::new(&[]);
    let parts = RequestV2::at(now_ms()).series(UP).with(UP, |_, series| {
        let sample = v2::Sample { timestamp: now_ms() - 5000, ..sample_v2(2.0) };
        series.samples.push(sample);
    });
    assert_all(&node.v2(parts), [2, 0, 0]);
    assert_eq!(node.values("count_over_time(up[1m])"), ["2"]);
    let nothing = RequestV2::at(now_ms()).with(UP, |_, _| ());
    let told = "TimeSeries must contain at least one sample or histogram for series {__name__=";
    assert_part(&node.v2(nothing), [0, 0, 0], told);
    let metadata = v2::Metadata { r#type: 1, help_ref: 0, unit_ref: 0 };
    let only_metadata =
        RequestV2::at(now_ms()).with(UP, |_, series| series.metadata = Some(metadata));
    assert_part(&node.v2(only_metadata), [0, 0, 0], told);
    let both = RequestV2::at(now_ms()).with(UP, |_, series| {
        series.samples.push(sample_v2(1.0));
        series.histograms.push(histogram(7));
    });
    assert_part(&node.v2(both), [0, 0, 0], "samples or histograms, not both");
}

#[test]
fn metadata_of_every_type_are_taken_with_2_0() {
    let node = Real::new(&[]);
    let types = ["unknown", "counter", "gauge", "histogram", "gaugehistogram", "summary", "info"];
    let types: Vec<_> = types.into_iter().chain(["stateset"]).collect();
    let names: Vec<_> = types.iter().map(|name| format!("family_{name}")).collect();
    let mut request = RequestV2::at(now_ms());
    for (r#type, name) in (0..).zip(&names) {
        request = request.with(&[("__name__", name)], |symbols, series| {
            let (help_ref, unit_ref) = (symbols.symbol("Söme \"help\"\n"), symbols.symbol("s"));
            series.metadata = Some(v2::Metadata { r#type, help_ref, unit_ref });
            series.samples.push(sample_v2(1.0));
        });
    }
    assert_all(&node.v2(request), [8, 0, 0]);
    let stored = node.harness.get("/api/v1/metadata").json();
    for (kind, name) in types.iter().zip(&names) {
        let expected = serde_json::json!([{"type": kind, "help": "Söme \"help\"\n", "unit": "s"}]);
        assert_eq!(stored["data"][name], expected, "{name}");
    }
    let out = RequestV2::at(now_ms()).with(UP, |_, series| {
        series.metadata = Some(v2::Metadata { r#type: 1, help_ref: 99, unit_ref: 0 });
        series.samples.push(sample_v2(1.0));
    });
    assert_part(&node.v2(out), [0, 0, 0], "parsing metadata for series: reference 99 outside of");
}

#[test]
fn histograms_of_every_kind_are_taken_with_2_0() {
    let node = Real::new(&[]);
    let float = v2::Histogram {
        count: Some(v2::histogram::Count::CountFloat(3.5)),
        zero_count: Some(v2::histogram::ZeroCount::ZeroCountFloat(1.0)),
        negative_spans: vec![v2::BucketSpan { offset: 0, length: 1 }],
        negative_counts: vec![2.5],
        positive_deltas: vec![],
        positive_spans: vec![],
        ..histogram(0)
    };
    let custom = v2::Histogram {
        schema: -53,
        zero_threshold: 0.0,
        custom_values: vec![1.0, 2.0],
        ..histogram(7)
    };
    let custom =
        v2::Histogram { positive_spans: vec![v2::BucketSpan { offset: 0, length: 2 }], ..custom };
    let empty = v2::Histogram {
        count: Some(v2::histogram::Count::CountInt(0)),
        timestamp: now_ms(),
        ..Default::default()
    };
    let fine = v2::Histogram { schema: 12, ..histogram(7) };
    let all = [histogram(7), float, custom, empty, fine];
    for (number, histogram) in all.into_iter().enumerate() {
        let job = number.to_string();
        let labels: Pairs<'_> = &[("__name__", "duration"), ("job", &job)];
        let request =
            RequestV2::at(now_ms()).with(labels, |_, series| series.histograms.push(histogram));
        assert_all(&node.v2(request), [0, 1, 0]);
    }
    let wrong =
        RequestV2::at(now_ms()).series(UP).with(&[("__name__", "duration")], |_, series| {
            series.histograms.push(histogram(99));
        });
    let told = "invalid histogram for series {__name__=\"duration\"}: ";
    assert_part(&node.v2(wrong), [1, 0, 0], told);
}

#[test]
fn exemplars_are_taken_with_and_without_labels() {
    let node = Real::new(&[]);
    let request = RequestV2::at(now_ms()).with(UP, |symbols, series| {
        series.samples.push(sample_v2(1.0));
        let timestamp = now_ms() - 60 * 60 * 1000;
        for (pairs, value) in
            [(&[("trace_id", "ünï")][..], 0.5), (&[], f64::NAN), (&[("a", "b")], f64::INFINITY)]
        {
            let labels_refs = symbols.labels(pairs);
            series.exemplars.push(v2::Exemplar { labels_refs, value, timestamp });
        }
    });
    assert_all(&node.v2(request), [1, 0, 3]);
    let ahead = RequestV2::at(now_ms()).with(UP, |_, series| {
        series.samples.push(sample_v2(1.0));
        let timestamp = now_ms() + 60 * 60 * 1000;
        series.exemplars.push(v2::Exemplar { labels_refs: vec![], value: 1.0, timestamp });
    });
    assert_part(&node.v2(ahead), [1, 0, 0], "1 exemplars refused");
}
