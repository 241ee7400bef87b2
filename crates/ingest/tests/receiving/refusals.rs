//! What is refused: one reason at a time, told by name, counted, with the rest stored.

use rangekeeper_ingest::{Limits, Reason};
use rangekeeper_model::ErrorClass;
use rangekeeper_wire::Version;
use rangekeeper_wire::encode::{RequestV2, compress};
use rangekeeper_wire::proto::v2;

use crate::harness::{
    Harness, NOW_MS, Pairs, counts, histogram, invalid, sample_v2, samples_v1, series_v1, written,
};

const GOOD: Pairs<'_> = &[("__name__", "good")];
const BAD: Pairs<'_> = &[("__name__", "bad"), ("job", "node")];
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Sends a bad series between two samples of a good one, by remote write 2.0.
fn check(
    reason: Reason,
    samples: u64,
    told: &str,
    labels: Pairs<'_>,
    fill: impl FnOnce(&mut v2::TimeSeries),
) {
    let harness = Harness::new();
    let request = RequestV2::at(NOW_MS).series(GOOD).with(labels, |_, series| fill(series));
    let request = request.with(GOOD, |_, s| s.samples.push(sample_v2(NOW_MS - 1, 2.0)));
    let outcome = harness.v2(request);
    let first_line = invalid(&outcome).lines().next().expect("a line");
    assert!(first_line.contains(told), "{reason:?}: {first_line}");
    assert_eq!(outcome.written, written(2, 0, 0), "{reason:?}");
    assert_eq!(harness.refused(), counts([(reason.name(), samples)]), "{reason:?}");
    assert_eq!(harness.series(), [r#"{__name__="good"}"#], "{reason:?}");
}

fn one_sample(series: &mut v2::TimeSeries) {
    series.samples.push(sample_v2(NOW_MS, 1.0));
}

#[test]
fn labels_that_are_no_labels_of_a_series_are_refused() {
    let reason = Reason::InvalidLabels;
    let missing = r#"got {job="node"}: no metric name (1 samples refused, 2 stored)"#;
    check(reason, 1, missing, &[("job", "node")], one_sample);
    check(reason, 1, "no metric name", &[("__name__", ""), ("job", "node")], one_sample);
    check(reason, 1, "no metric name", &[], one_sample);
    check(reason, 1, "a label has no name", &[("", "a"), ("__name__", "bad")], one_sample);
    let twice: Pairs<'_> = &[("__name__", "bad"), ("job", "a"), ("job", "a")];
    let told = r#"labels {__name__="bad", job="a", job="a"}, duplicated label job"#;
    check(reason, 1, told, twice, one_sample);
    check(reason, 1, "invalid labelRefs length 5", BAD, |series| {
        series.labels_refs.push(1);
        one_sample(series);
    });
    check(reason, 2, "outside of symbols table", BAD, |series| {
        series.labels_refs[1] = 1000;
        series.samples = vec![sample_v2(NOW_MS, 1.0), sample_v2(NOW_MS + 1, 1.0)];
    });
}

#[test]
fn labels_over_the_limits_are_refused() {
    let names: Vec<_> = (0..65).map(|number| format!("label_{number:02}")).collect();
    let mut many = vec![("__name__", "bad")];
    many.extend(names.iter().map(|name| (name.as_str(), "x")));
    check(Reason::TooManyLabels, 1, "has 66 labels, allowed are 64", &many, one_sample);
    let long = "x".repeat(10_000);
    let told = "has a label name of over 1024 bytes";
    let labels: Pairs<'_> = &[("__name__", "bad"), (&long[..1025], "1")];
    check(Reason::LabelNameTooLong, 1, told, labels, one_sample);
    let told = "has a label value of over 8192 bytes";
    let labels: Pairs<'_> = &[("__name__", "bad"), ("job", &long[..8193])];
    check(Reason::LabelValueTooLong, 1, told, labels, one_sample);
    check(Reason::LabelValueTooLong, 1, told, &[("__name__", &long[..8193])], one_sample);
}

#[test]
fn labels_just_within_the_limits_are_stored() {
    let harness = Harness::new();
    let names: Vec<_> = (0..63).map(|number| format!("label_{number:02}")).collect();
    let mut many = vec![("__name__", "a")];
    many.extend(names.iter().map(|name| (name.as_str(), "x")));
    let long = "x".repeat(8 << 10);
    let longest = [("__name__", long.as_str()), (&long[..1 << 10], &long)];
    let outcome = harness.v1(vec![series_v1(&many), series_v1(&longest)]);
    assert_eq!((outcome.result, outcome.written), (Ok(()), written(2, 0, 0)));
}

#[test]
fn limits_are_the_configured_ones() {
    let limits = Limits { labels: 2, name_bytes: 10, value_bytes: 4, ..Limits::default() };
    let harness = Harness::with(limits);
    let outcome = harness.v1(vec![
        series_v1(&[("__name__", "a"), ("job", "b")]),
        series_v1(&[("__name__", "a"), ("job", "b"), ("zone", "c")]),
        series_v1(&[("__name__", "a"), ("job_of_them", "b")]),
        series_v1(&[("__name__", "abcde")]),
    ]);
    assert_eq!(outcome.written, written(1, 0, 0));
    let reasons = ["label_name_too_long", "label_value_too_long", "too_many_labels"];
    assert_eq!(harness.refused(), counts(reasons.map(|reason| (reason, 1))));
}

#[test]
fn histograms_that_contradict_themselves_are_refused() {
    check(Reason::InvalidHistogram, 1, "but the Count field is 99", BAD, |series| {
        let count = Some(v2::histogram::Count::CountInt(99));
        series.histograms = vec![v2::Histogram { count, ..histogram(NOW_MS, 2, 7) }];
    });
}

#[test]
fn histograms_of_more_buckets_than_a_chunk_holds_are_refused() {
    let told = r#"histogram of series {__name__="bad", job="node"} at "#;
    check(Reason::HistogramTooLarge, 1, told, BAD, |series| {
        series.histograms = vec![histogram(NOW_MS, 1 << 22, 7)];
    });
    let harness = Harness::new();
    let request = RequestV2::at(NOW_MS).with(GOOD, |_, series| {
        series.histograms = vec![histogram(NOW_MS, 1 << 22, 7), histogram(NOW_MS + 1, 1 << 16, 7)];
    });
    assert_eq!(harness.v2(request).written, written(0, 1, 0), "the one that fits is stored");
    assert_eq!(harness.samples()[r#"{__name__="good"}"#].histograms.len(), 1);
}

#[test]
fn a_series_of_2_0_has_samples_or_histograms() {
    let told = r#"at least one sample or histogram for series {__name__="bad", job="node"}"#;
    check(Reason::NoSamples, 1, told, BAD, |_| ());
    let exemplar = v2::Exemplar { labels_refs: vec![], value: 1.0, timestamp: NOW_MS };
    check(Reason::NoSamples, 1, told, BAD, |series| series.exemplars = vec![exemplar]);
    let told = r#"samples or histograms, not both, for series {__name__="bad", job="node"}"#;
    check(Reason::MixedSamples, 2, told, BAD, |series| {
        one_sample(series);
        series.histograms = vec![histogram(NOW_MS, 2, 7)];
    });
}

#[test]
fn metadata_that_refer_to_nothing_refuse_their_series() {
    for (help_ref, unit_ref) in [(1000, 0), (0, 1000)] {
        let told = r#"reference 1000 outside of symbols table (size 6), series {__name__="bad","#;
        check(Reason::InvalidMetadata, 1, told, BAD, |series| {
            one_sample(series);
            series.metadata = Some(v2::Metadata { r#type: 1, help_ref, unit_ref });
        });
    }
}

#[test]
fn samples_out_of_time_are_refused_one_by_one() {
    let harness = Harness::new();
    // What is too old is told by what is stored.
    assert_eq!(harness.v1(vec![series_v1(GOOD)]).result, Ok(()));
    let old = samples_v1(BAD, &[(NOW_MS - 31 * DAY_MS, 1.0), (NOW_MS - 29 * DAY_MS, 2.0)]);
    let outcome = harness.v1(vec![old, series_v1(GOOD)]);
    let oldest_ms = harness.store.horizon().oldest_ms;
    let expected = format!(
        "out of bounds: sample of series {{__name__=\"bad\", job=\"node\"}} at {} is beyond \
         retention, the oldest time taken is {oldest_ms} (1 samples refused, 2 stored)",
        NOW_MS - 31 * DAY_MS
    );
    assert_eq!((invalid(&outcome), outcome.written), (expected.as_str(), written(2, 0, 0)));
    let most_ms = NOW_MS + 10 * 60 * 1000;
    let ahead = samples_v1(BAD, &[(most_ms, 3.0), (most_ms + 1, 4.0)]);
    let outcome = harness.v1(vec![ahead]);
    assert!(invalid(&outcome).contains("is too far in the future"), "{outcome:?}");
    assert_eq!(outcome.written, written(1, 0, 0));
    assert_eq!(harness.refused(), counts([("too_far_ahead", 1), ("too_old", 1)]));
    let stored = &harness.samples()[r#"{__name__="bad", job="node"}"#].floats;
    assert_eq!(stored.timestamps, [NOW_MS - 29 * DAY_MS, most_ms]);
}

#[test]
fn histograms_out_of_time_are_refused_as_samples_are() {
    let harness = Harness::new();
    let outcome = harness.v2(RequestV2::at(NOW_MS).with(BAD, |_, series| {
        series.histograms = vec![histogram(NOW_MS + DAY_MS, 2, 7), histogram(NOW_MS, 2, 7)];
    }));
    assert!(invalid(&outcome).contains("too far in the future"), "{outcome:?}");
    assert_eq!(outcome.written, written(0, 1, 0));
    assert_eq!(harness.refused(), counts([("too_far_ahead", 1)]));
}

#[test]
fn the_first_line_is_short_and_ten_offenders_are_named() {
    let harness = Harness::new();
    let long = "\u{10348}\n".repeat(1000);
    let mut bad: Vec<_> = (0..50)
        .map(|number| {
            samples_v1(&[("__name__", "a"), ("n", &number.to_string())], &[(1 << 60, 1.0)])
        })
        .collect();
    bad.insert(0, samples_v1(&[("__name__", "a"), ("long", &long)], &[(1 << 60, 1.0)]));
    let outcome = harness.v1(bad);
    let message = invalid(&outcome);
    assert_eq!(message.lines().count(), 10);
    let first = message.lines().next().expect("a line");
    assert!(first.len() <= 1024, "{} bytes", first.len());
    assert!(first.ends_with("(51 samples refused, 0 stored)"), "{first}");
    assert_eq!(harness.refused(), counts([("too_far_ahead", 51)]));
}

#[test]
fn bodies_that_are_no_requests_are_lost_as_a_whole() {
    let harness = Harness::with(Limits { decoded_bytes: 1000, ..Limits::default() });
    let class = |version, body: &[u8]| {
        let outcome = harness.receive("anonymous", version, body);
        assert_eq!(outcome.written, written(0, 0, 0));
        outcome.result.map_err(|(class, _)| class)
    };
    for version in [Version::V1, Version::V2] {
        assert_eq!(class(version, b""), Err(ErrorClass::Invalid));
        assert_eq!(class(version, b"no snappy"), Err(ErrorClass::Invalid));
        assert_eq!(class(version, &compress(&[0xff; 100])), Err(ErrorClass::Invalid));
        assert_eq!(class(version, &compress(&[0; 1001])), Err(ErrorClass::TooLarge));
    }
    assert_eq!(class(Version::V1, &compress(b"")), Ok(()));
    assert_eq!(class(Version::V2, &compress(b"")), Err(ErrorClass::Invalid), "no symbols");
    assert!(harness.series().is_empty());
}

#[test]
fn a_store_that_cannot_take_a_write_has_all_of_it_sent_again() {
    let harness = Harness::new();
    harness.store.close();
    // A part of it could never be taken: as long as the rest can, a sender must not drop it.
    let outcome = harness.v1(vec![series_v1(GOOD), series_v1(&[("job", "node")])]);
    let Err((class, _)) = outcome.result else { panic!("it is closed") };
    assert_eq!((class, outcome.written), (ErrorClass::Unavailable, written(0, 0, 0)));
    assert!(harness.refused().is_empty());
}

#[test]
fn a_short_request_that_says_much_by_reference_is_refused_as_a_whole() {
    let limits = Limits { decoded_bytes: 1 << 20, ..Limits::default() };
    let long = "x".repeat(8_000);
    let names: Vec<_> = (0..10).map(|number| format!("label_{number}")).collect();
    let number = |at: usize| format!("{at}");
    let request = |series: usize, exemplars: usize| {
        let mut request = RequestV2::at(NOW_MS);
        for at in 0..series {
            let number = number(at);
            let mut labels = vec![("__name__", "much"), ("number", number.as_str())];
            labels.extend(names.iter().map(|name| (name.as_str(), long.as_str())));
            request = request.with(&labels, |symbols, series| {
                series.samples.push(sample_v2(NOW_MS, 1.0));
                let labels_refs = symbols.labels(&labels[2..]);
                let timestamp = NOW_MS;
                let exemplar = v2::Exemplar { labels_refs, value: 1.0, timestamp };
                series.exemplars = vec![exemplar; exemplars];
            });
        }
        request
    };
    for (series, exemplars) in [(14, 0), (1, 14)] {
        let harness = Harness::with(limits);
        assert!(request(series, exemplars).body().len() < 10_000, "it is short");
        let outcome = harness.v2(request(series, exemplars));
        let (class, message) = outcome.result.expect_err("it says more than a request may");
        assert_eq!(class, ErrorClass::TooLarge);
        assert!(message.starts_with("labels of over 1048576 bytes"), "{message}");
        assert_eq!(outcome.written, written(0, 0, 0));
        assert_eq!(harness.series(), [""; 0], "nothing of it is stored");
        assert_eq!(harness.refused_requests("too_large"), 1);
    }
    let harness = Harness::with(limits);
    assert_eq!(harness.v2(request(10, 0)).result, Ok(()));
}

#[test]
fn a_label_set_that_is_too_long_to_write_out_is_refused_alone() {
    let long = "x".repeat(3 << 20);
    let names: Vec<_> = (0..6).map(|number| format!("label_{number}")).collect();
    for sorted in [true, false] {
        let mut labels = vec![("__name__", "bad")];
        labels.extend(names.iter().map(|name| (name.as_str(), long.as_str())));
        if !sorted {
            labels.reverse();
        }
        check(Reason::InvalidLabels, 1, "longer than 16777216 bytes", &labels, one_sample);
    }
}
