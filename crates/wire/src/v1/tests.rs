//! What a walk over remote write 1.0 yields, and where it stops.

use prost::Message;
use rangekeeper_model::{Buckets, Labels, MetricType, STALE_NAN_BITS};

use super::*;
use crate::encode::labels_v1;
use crate::error::Fault;
use crate::proto::v1 as message;

const UP: [(&str, &str); 2] = [("__name__", "up"), ("job", "node")];

fn series(labels: &[(&str, &str)]) -> message::TimeSeries {
    let sample = message::Sample { value: 1.5, timestamp: 1_700_000_000_000 };
    message::TimeSeries {
        labels: labels_v1(labels),
        samples: vec![sample],
        ..message::TimeSeries::default()
    }
}

fn body(series: &[message::TimeSeries]) -> Vec<u8> {
    message::WriteRequest { timeseries: series.to_vec(), metadata: vec![] }.encode_to_vec()
}

fn only_series(body: &[u8]) -> Series<'_> {
    match entries(body).next() {
        Some(Ok(Entry::Series(series))) => series,
        other => panic!("no series but {other:?}"),
    }
}

#[test]
fn labels_of_a_well_behaved_sender_are_the_canonical_bytes() {
    let long = "x".repeat(300);
    for value in ["node", &long] {
        let pairs = [("__name__", "up"), ("job", value)];
        let body = body(&[series(&pairs)]);
        let series = only_series(&body);
        let labels = Labels::from_pairs(pairs).unwrap();
        assert_eq!(series.labels(), RawLabels::Run(labels.as_bytes()));
        assert_eq!(series.canonical(&mut Vec::new()).unwrap(), labels.as_bytes());
        assert!(series.has_only_samples());
    }
}

#[test]
fn labels_after_other_fields_are_scattered_and_still_read() {
    let pieces = [series(&UP[..1]).encode_to_vec(), series(&UP[1..]).encode_to_vec()].concat();
    let body = [&[0x0a, u8::try_from(pieces.len()).unwrap()], &pieces[..]].concat();
    let series = only_series(&body);
    assert_eq!(series.labels(), RawLabels::Scattered);
    let pairs: Vec<_> = series.pairs().map(Result::unwrap).collect();
    assert_eq!(pairs, UP);
    let labels = Labels::from_pairs(UP).unwrap();
    assert_eq!(series.canonical(&mut Vec::new()).unwrap(), labels.as_bytes());
    assert_eq!(series.samples().count(), 2);
}

#[test]
fn stale_markers_survive_bit_for_bit() {
    let mut series = series(&UP);
    series.samples[0].value = f64::from_bits(STALE_NAN_BITS);
    let body = body(&[series]);
    let sample = only_series(&body).samples().next().unwrap().unwrap();
    assert_eq!(sample.value.to_bits(), STALE_NAN_BITS);
}

#[test]
fn a_request_of_metadata_alone_is_one() {
    let metadata = message::MetricMetadata {
        r#type: 4,
        metric_family_name: "http_requests".into(),
        help: "Requests.".into(),
        unit: "seconds".into(),
    };
    let request = message::WriteRequest { timeseries: vec![], metadata: vec![metadata] };
    let body = request.encode_to_vec();
    let all: Vec<_> = entries(&body).map(Result::unwrap).collect();
    let [Entry::Metadata(entry)] = &all[..] else { panic!("{all:?}") };
    assert_eq!(entry.family, "http_requests");
    assert_eq!(entry.metadata.metric_type, MetricType::GaugeHistogram);
    assert_eq!((&*entry.metadata.help, &*entry.metadata.unit), ("Requests.", "seconds"));
}

#[test]
fn exemplars_and_histograms_come_with_their_series() {
    let exemplar = message::Exemplar {
        labels: labels_v1(&[("trace_id", "ab"), ("span", "")]),
        value: 0.5,
        timestamp: 7,
    };
    let histogram = message::Histogram {
        count: Some(message::histogram::Count::CountInt(3)),
        positive_spans: vec![message::BucketSpan { offset: -1, length: 2 }],
        positive_deltas: vec![2, -1],
        timestamp: 9,
        start_timestamp: 4,
        ..message::Histogram::default()
    };
    let full = message::TimeSeries {
        exemplars: vec![exemplar],
        histograms: vec![histogram],
        ..series(&UP)
    };
    let body = body(&[full]);
    let series = only_series(&body);
    assert!(!series.has_only_samples());
    let exemplar = series.exemplars().next().unwrap().unwrap();
    assert_eq!((exemplar.timestamp_ms, exemplar.value), (7, 0.5));
    assert_eq!(exemplar.labels().unwrap().to_string(), r#"{trace_id="ab"}"#);
    let sample = series.histograms().next().unwrap().unwrap();
    assert_eq!((sample.timestamp_ms, sample.start_ms), (9, 4));
    assert_eq!(sample.histogram.validate(), Ok(()));
    let Buckets::Integer { positive, .. } = &sample.histogram.buckets else { panic!("a float") };
    assert_eq!(positive, &[2, -1]);
}

#[test]
fn malformed_bytes_are_named_by_their_place_and_end_the_walk() {
    let whole = body(&[series(&UP), series(&UP)]);
    let second = whole.len() / 2;
    let mut walk = entries(&whole[..whole.len() - 1]);
    assert!(walk.next().unwrap().is_ok());
    let error = walk.next().unwrap().unwrap_err();
    assert_eq!(error, DecodeError { offset: second + 1, fault: Fault::Truncated });
    assert_eq!(
        error.to_string(),
        format!("malformed protobuf at byte {}: a field is cut off", second + 1)
    );
    assert!(walk.next().is_none());

    // A label that reaches beyond its series, and a series that is no message.
    let overlong = entries(&[0x0a, 2, 0x0a, 9]).next().unwrap().unwrap_err();
    assert_eq!(overlong, DecodeError { offset: 3, fault: Fault::Truncated });
    let number = entries(&[0x08, 1]).next().unwrap().unwrap_err();
    assert_eq!(number, DecodeError { offset: 1, fault: Fault::WireType(1) });
}

#[test]
fn a_series_that_breaks_a_rule_is_named_and_the_next_one_is_read() {
    let body = body(&[series(&[("job", "node")]), series(&UP)]);
    let outcomes: Vec<_> = entries(&body)
        .map(|entry| match entry.unwrap() {
            Entry::Series(series) => {
                series.canonical(&mut Vec::new()).map(drop).map_err(|e| e.to_string())
            }
            Entry::Metadata(_) => panic!("there is none"),
        })
        .collect();
    let text = r#"invalid metric name or labels, got {job="node"}: no metric name"#;
    assert_eq!(outcomes, [Err(text.to_owned()), Ok(())]);
}
