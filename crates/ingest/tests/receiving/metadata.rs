//! What senders say of metric families.

use rangekeeper_model::{MetricType, TenantId};
use rangekeeper_storage::FamilyMetadata;
use rangekeeper_wire::Version;
use rangekeeper_wire::encode::{RequestV2, request_v1};
use rangekeeper_wire::proto::{v1, v2};

use crate::harness::{Harness, NOW_MS, Pairs, invalid, sample_v2, series_v1, written};

fn stored(harness: &Harness, family: &str) -> Vec<FamilyMetadata> {
    let rows = harness.store.metadata(&TenantId::default(), Some(family));
    rows.expect("the store answers").into_iter().flat_map(|row| row.metadata).collect()
}

fn said(metric_type: MetricType, help: &str, unit: &str) -> FamilyMetadata {
    FamilyMetadata { metric_type, help: help.to_owned(), unit: unit.to_owned() }
}

/// A request of series that each say something of their metric.
fn request(series: &[(Pairs<'_>, &FamilyMetadata)]) -> RequestV2 {
    series.iter().fold(RequestV2::at(NOW_MS), |request, (labels, said)| {
        request.with(labels, |symbols, series| {
            let (help_ref, unit_ref) = (symbols.symbol(&said.help), symbols.symbol(&said.unit));
            let r#type = said.metric_type.number().into();
            series.metadata = Some(v2::Metadata { r#type, help_ref, unit_ref });
            series.samples.push(sample_v2(NOW_MS, 1.0));
        })
    })
}

#[test]
fn a_request_of_1_0_may_hold_metadata_alone() {
    let harness = Harness::new();
    let metadata = |family: &str, help: &str| v1::MetricMetadata {
        r#type: 1,
        metric_family_name: family.to_owned(),
        help: help.to_owned(),
        unit: "s".to_owned(),
    };
    let metadata = vec![metadata("a", "first"), metadata("b", "second"), metadata("", "nothing")];
    let body = request_v1(&v1::WriteRequest { timeseries: Vec::new(), metadata });
    let outcome = harness.receive("anonymous", Version::V1, &body);
    assert_eq!((outcome.result, outcome.written), (Ok(()), written(0, 0, 0)));
    assert_eq!(stored(&harness, "a"), [said(MetricType::Counter, "first", "s")]);
    assert_eq!(stored(&harness, "b"), [said(MetricType::Counter, "second", "s")]);
    assert!(stored(&harness, "").is_empty());
}

#[test]
fn every_type_is_stored() {
    let harness = Harness::new();
    let names = ["a0", "a1", "a2", "a3", "a4", "a5", "a6", "a7"];
    for (number, name) in (0..).zip(names) {
        let said = said(MetricType::from_number(number), "the help", "");
        let outcome = harness.v2(request(&[(&[("__name__", name)], &said)]));
        assert_eq!((outcome.result, outcome.written), (Ok(()), written(1, 0, 0)));
        assert_eq!(stored(&harness, name), [said]);
    }
}

#[test]
fn a_change_in_any_request_is_stored() {
    let harness = Harness::new();
    let labels: Pairs<'_> = &[("__name__", "a")];
    let mut expected = vec![
        said(MetricType::Counter, "the help", ""),
        said(MetricType::Counter, "another help", ""),
        said(MetricType::Counter, "another help", "s"),
        said(MetricType::Gauge, "another help", "s"),
        // Parts that are exchanged.
        said(MetricType::Gauge, "s", "another help"),
    ];
    for said in &expected {
        for _ in 0..3 {
            assert_eq!(harness.v2(request(&[(labels, said)])).result, Ok(()));
        }
    }
    expected.sort();
    assert_eq!(stored(&harness, "a"), expected);
}

#[test]
fn neighbours_that_differ_in_name_or_in_metadata_alone_are_told_apart() {
    let harness = Harness::new();
    let [one, other] = ["one", "other"].map(|help| said(MetricType::Gauge, help, ""));
    let a = |job| [("__name__", "a"), ("job", job)];
    let outcome = harness.v2(request(&[
        (&a("1"), &one),
        (&a("2"), &one),
        (&a("3"), &other),
        (&[("__name__", "ab"), ("job", "3")], &other),
        // The name is not the first of its labels.
        (&[("A", "1"), ("__name__", "c")], &other),
        (&[("A", "1"), ("__name__", "d")], &other),
    ]));
    assert_eq!((outcome.result, outcome.written), (Ok(()), written(6, 0, 0)));
    assert_eq!(stored(&harness, "a"), [one, other.clone()]);
    for family in ["ab", "c", "d"] {
        assert_eq!(stored(&harness, family), std::slice::from_ref(&other), "{family}");
    }
}

#[test]
fn classic_histograms_and_summaries_speak_for_their_family() {
    let harness = Harness::new();
    let histogram = said(MetricType::Histogram, "how long", "");
    let outcome = harness.v2(request(&[
        (&[("__name__", "duration_bucket"), ("le", "1")], &histogram),
        (&[("__name__", "duration_count")], &histogram),
        (&[("__name__", "duration_sum")], &histogram),
    ]));
    assert_eq!(outcome.result, Ok(()));
    assert_eq!(stored(&harness, "duration"), [histogram]);
    assert!(stored(&harness, "duration_bucket").is_empty());
}

#[test]
fn metadata_that_say_nothing_are_not_stored() {
    let harness = Harness::new();
    let labels: Pairs<'_> = &[("__name__", "a")];
    assert_eq!(harness.v2(request(&[(labels, &said(MetricType::Unknown, "", ""))])).result, Ok(()));
    assert!(stored(&harness, "a").is_empty());
}

#[test]
fn what_a_refused_series_says_of_its_family_is_kept() {
    let harness = Harness::new();
    let long = "x".repeat(8193);
    let help = said(MetricType::Counter, "the help", "");
    let outcome = harness.v2(request(&[
        (&[("__name__", "a"), ("job", &long)], &help),
        (&[("__name__", "a"), ("job", "b")], &help),
    ]));
    assert!(invalid(&outcome).contains("label value"), "{outcome:?}");
    assert_eq!(stored(&harness, "a"), [help]);
}

#[test]
fn long_texts_are_cut_where_a_label_would_be_refused() {
    let harness = Harness::new();
    let long = "ü".repeat(5000);
    let metadata = |family: &str| v1::MetricMetadata {
        r#type: 2,
        metric_family_name: family.to_owned(),
        help: format!("x{long}"),
        unit: String::new(),
    };
    let metadata = vec![metadata("a"), metadata(&long)];
    let body = request_v1(&v1::WriteRequest {
        timeseries: vec![series_v1(&[("__name__", "a")])],
        metadata,
    });
    assert_eq!(harness.receive("anonymous", Version::V1, &body).result, Ok(()));
    // The last letter has two bytes and does not fit.
    let help = format!("x{}", "ü".repeat(4095));
    assert_eq!(stored(&harness, "a"), [said(MetricType::Gauge, &help, "")]);
    assert!(stored(&harness, &long).is_empty());
}
