//! What is taken is kept as it was sent.

use rangekeeper_model::{STALE_NAN_BITS, TimeRange};
use rangekeeper_storage::db::never;
use rangekeeper_wire::Version;
use rangekeeper_wire::encode::{RequestV2, labels_v1, request_v1};
use rangekeeper_wire::proto::{v1, v2};

use crate::harness::{
    Harness, NOW_MS, Pairs, counts, histogram, invalid, sample_v2, samples_v1, series_v1, written,
};

const UP: Pairs<'_> = &[("__name__", "up"), ("job", "node")];
const UP_TEXT: &str = r#"{__name__="up", job="node"}"#;

#[test]
fn both_versions_mean_the_same_series_in_whatever_order_its_labels_come() {
    let harness = Harness::new();
    let orders: [Pairs<'_>; 3] = [
        UP,
        &[("job", "node"), ("__name__", "up")],
        &[("job", "node"), ("zone", ""), ("__name__", "up")],
    ];
    // Twice, because an order that was met before goes another way.
    for at_ms in [NOW_MS, NOW_MS + 1] {
        for (number, labels) in (0..).zip(orders) {
            let outcome = harness.v1(vec![samples_v1(labels, &[(at_ms + 10 * number, 1.0)])]);
            assert_eq!((outcome.result, outcome.written), (Ok(()), written(1, 0, 0)));
            let sample = sample_v2(at_ms + 10 * number + 100, 1.0);
            let outcome =
                harness.v2(RequestV2::at(NOW_MS).with(labels, |_, s| s.samples.push(sample)));
            assert_eq!((outcome.result, outcome.written), (Ok(()), written(1, 0, 0)));
        }
    }
    assert_eq!(harness.series(), [UP_TEXT]);
    assert_eq!(harness.samples()[UP_TEXT].floats.len(), 12);
}

#[test]
fn names_and_values_may_be_any_text() {
    let harness = Harness::new();
    let labels: Pairs<'_> =
        &[("__name__", "http.requests total"), ("ünï code", "a\nb\"c\\"), ("Z", "日本")];
    assert_eq!(harness.v1(vec![series_v1(labels)]).result, Ok(()));
    assert_eq!(harness.v2(RequestV2::at(NOW_MS).series(labels)).result, Ok(()));
    let text = r#"{Z="日本", __name__="http.requests total", "ünï code"="a\nb\"c\\"}"#;
    assert_eq!(harness.series(), [text]);
}

#[test]
fn values_are_kept_bit_for_bit() {
    let harness = Harness::new();
    let bits = [
        STALE_NAN_BITS,
        0x7ff8_0000_0000_0001,
        0x7ff0_0000_0000_0001,
        f64::INFINITY.to_bits(),
        f64::NEG_INFINITY.to_bits(),
        (-0.0f64).to_bits(),
        1,
    ];
    let samples: Vec<_> = (NOW_MS..).zip(bits.map(f64::from_bits)).collect();
    assert_eq!(harness.v1(vec![samples_v1(UP, &samples)]).result, Ok(()));
    let other: Pairs<'_> = &[("__name__", "up"), ("job", "other")];
    let request = RequestV2::at(NOW_MS).with(other, |_, series| {
        series.samples = samples.iter().map(|&(at, value)| sample_v2(at, value)).collect();
    });
    assert_eq!(harness.v2(request).result, Ok(()));
    let stored = harness.samples();
    assert_eq!(stored.len(), 2);
    // Protobuf leaves out a zero of either sign.
    let expected = bits.map(|bits| if bits == 1 << 63 { 0 } else { bits });
    for (labels, samples) in stored {
        let stored: Vec<_> = samples.floats.values.iter().map(|value| value.to_bits()).collect();
        assert_eq!(stored, expected, "{labels}");
    }
}

#[test]
fn start_timestamps_come_with_the_sample_or_with_the_series() {
    let harness = Harness::new();
    let request = RequestV2::at(NOW_MS)
        .with(UP, |_, series| {
            series.created_timestamp = 500;
            let own = v2::Sample { start_timestamp: 700, ..sample_v2(NOW_MS + 1, 2.0) };
            series.samples = vec![sample_v2(NOW_MS, 1.0), own];
        })
        .with(&[("__name__", "duration")], |_, series| {
            series.created_timestamp = 500;
            let own = v2::Histogram { start_timestamp: 700, ..histogram(NOW_MS + 1, 2, 7) };
            series.histograms = vec![histogram(NOW_MS, 2, 7), own];
        });
    let outcome = harness.v2(request);
    assert_eq!((outcome.result, outcome.written), (Ok(()), written(2, 2, 0)));
    let stored = harness.samples();
    assert_eq!(stored[UP_TEXT].floats.starts, [500, 700]);
    let histograms = &stored[r#"{__name__="duration"}"#].histograms;
    let starts: Vec<_> = histograms.iter().map(|sample| sample.start_ms).collect();
    assert_eq!(starts, [500, 700]);
}

#[test]
fn what_was_written_is_counted_exactly() {
    let harness = Harness::new();
    let request = RequestV2::at(NOW_MS)
        .with(UP, |symbols, series| {
            series.samples = (0..5).map(|at| sample_v2(NOW_MS + at, 1.0)).collect();
            let labels_refs = symbols.labels(&[("trace_id", "abc")]);
            series.exemplars = vec![v2::Exemplar { labels_refs, value: 1.0, timestamp: NOW_MS }];
        })
        .with(&[("__name__", "duration")], |_, series| {
            series.histograms = (0..3).map(|at| histogram(NOW_MS + at, 2, 7)).collect();
            let exemplar = |timestamp| v2::Exemplar { timestamp, ..Default::default() };
            series.exemplars = vec![exemplar(NOW_MS), exemplar(NOW_MS + 1)];
        })
        .series(&[("job", "nameless")]);
    let outcome = harness.v2(request);
    assert!(invalid(&outcome).contains("(1 samples refused, 8 stored)"), "{outcome:?}");
    assert_eq!(outcome.written, written(5, 3, 3));
    let stored = counts([("exemplar", 3), ("histogram", 3), ("sample", 5)]);
    assert_eq!(harness.counts("rangekeeper_ingest_stored_total"), stored);
}

#[test]
fn what_comes_again_is_a_success_and_is_counted_as_written() {
    let harness = Harness::new();
    for _ in 0..2 {
        let outcome = harness.v2(RequestV2::at(NOW_MS).series(UP).series(UP));
        assert_eq!((outcome.result, outcome.written), (Ok(()), written(2, 0, 0)));
    }
    assert_eq!(harness.samples()[UP_TEXT].floats.len(), 1);
}

#[test]
fn tenants_are_apart() {
    let harness = Harness::new();
    for (tenant, value) in [("one", 1.0), ("other", 2.0)] {
        let timeseries = vec![samples_v1(UP, &[(NOW_MS, value)])];
        let body = request_v1(&v1::WriteRequest { timeseries, metadata: Vec::new() });
        assert_eq!(harness.receive(tenant, Version::V1, &body).result, Ok(()));
    }
    assert!(harness.series().is_empty(), "nothing is the anonymous tenant's");
    assert_eq!(harness.samples_of("one")[UP_TEXT].floats.values, [1.0]);
    assert_eq!(harness.samples_of("other")[UP_TEXT].floats.values, [2.0]);
}

/// A series of remote write 1.0 with exemplars.
fn with_exemplars(exemplars: Vec<v1::Exemplar>) -> v1::TimeSeries {
    v1::TimeSeries { exemplars, ..series_v1(UP) }
}

#[test]
fn exemplars_are_kept_with_their_labels() {
    let harness = Harness::new();
    let labels = labels_v1(&[("trace_id", "abc")]);
    let exemplar = v1::Exemplar { labels, value: 0.5, timestamp: NOW_MS - 5 };
    let outcome = harness.v1(vec![with_exemplars(vec![exemplar])]);
    assert_eq!((outcome.result, outcome.written), (Ok(()), written(1, 0, 1)));
    let tenant = rangekeeper_model::TenantId::default();
    let all = [Vec::new()];
    let found = harness.store.exemplars(&tenant, &all, TimeRange::ALL, &never).expect("they are");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].labels.to_string(), UP_TEXT);
    let exemplar = &found[0].exemplars[0];
    assert_eq!(exemplar.labels.to_string(), r#"{trace_id="abc"}"#);
    assert_eq!((exemplar.timestamp_ms, exemplar.value), (NOW_MS - 5, 0.5));
}

#[test]
fn an_exemplar_that_cannot_be_kept_is_counted_and_only_a_sender_of_2_0_is_told() {
    let harness = Harness::new();
    let ahead_ms = NOW_MS + 11 * 60 * 1000;
    let long = "x".repeat(8193);
    let exemplar = |pairs: Pairs<'_>, timestamp| {
        let labels = labels_v1(pairs);
        v1::Exemplar { labels, value: 0.5, timestamp }
    };
    let outcome = harness.v1(vec![with_exemplars(vec![
        exemplar(&[], ahead_ms),
        exemplar(&[("a", "1"), ("a", "2")], NOW_MS),
        exemplar(&[("a", &long)], NOW_MS),
        exemplar(&[], NOW_MS),
    ])]);
    assert_eq!((outcome.result, outcome.written), (Ok(()), written(1, 0, 1)));
    let expected =
        counts([("invalid_labels", 1), ("label_value_too_long", 1), ("too_far_ahead", 1)]);
    assert_eq!(harness.refused_exemplars(), expected);

    let outcome = harness.v2(RequestV2::at(NOW_MS).with(UP, |_, series| {
        series.samples.push(sample_v2(NOW_MS, 1.0));
        let exemplar = |timestamp, labels_refs| v2::Exemplar { labels_refs, value: 1.0, timestamp };
        series.exemplars = vec![
            exemplar(ahead_ms, vec![]),
            exemplar(NOW_MS, vec![77, 78]),
            exemplar(NOW_MS, vec![]),
        ];
    }));
    let message = invalid(&outcome);
    let told = format!("exemplar of series {UP_TEXT}: {ahead_ms} is too far in the future");
    assert!(message.starts_with(&told), "{message}");
    assert!(message.contains("(0 samples refused, 2 exemplars refused, 1 stored)"), "{message}");
    assert_eq!(outcome.written, written(1, 0, 1));
    let expected =
        counts([("invalid_labels", 2), ("label_value_too_long", 1), ("too_far_ahead", 2)]);
    assert_eq!(harness.refused_exemplars(), expected);
    assert!(harness.refused().is_empty());
}
