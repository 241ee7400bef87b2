//! What a walk over remote write 2.0 yields, and which requests and series it refuses.

use prost::Message;
use rangekeeper_model::Labels;

use super::*;
use crate::encode::SymbolTable;
use crate::proto::v2 as message;

const UP: [(&str, &str); 2] = [("__name__", "up"), ("job", "node")];

fn sample(start_timestamp: i64) -> message::Sample {
    message::Sample { value: 1.5, timestamp: 1_700_000_000_000, start_timestamp }
}

fn request(series: message::TimeSeries, symbols: &[&str]) -> Vec<u8> {
    let symbols = symbols.iter().map(|&text| text.to_owned()).collect();
    message::Request { symbols, timeseries: vec![series] }.encode_to_vec()
}

fn with_refs(labels_refs: &[u32]) -> message::TimeSeries {
    message::TimeSeries {
        labels_refs: labels_refs.to_vec(),
        samples: vec![sample(0)],
        ..message::TimeSeries::default()
    }
}

/// The labels of a request's only series.
fn labels_of(body: &[u8]) -> Result<Labels, String> {
    let mut scratch = Scratch::new();
    let request = scratch.read(body).map_err(|e| e.to_string())?;
    let series = request.series().next().expect("a series").map_err(|e| e.to_string())?;
    // A buffer that was used before, so that what is left in it must not show.
    let mut buffer = vec![b'x'; 40];
    let canonical = series.canonical(&mut buffer).map_err(|e| e.to_string())?;
    Ok(Labels::from_canonical(canonical).expect("canonical bytes"))
}

fn labels_from(pairs: &[(&str, &str)]) -> Result<Labels, String> {
    let mut table = SymbolTable::new();
    let series = with_refs(&table.labels(pairs));
    let timeseries = vec![series];
    labels_of(&message::Request { timeseries, symbols: table.into_symbols() }.encode_to_vec())
}

#[test]
fn labels_are_rendered_whatever_their_order_and_length() {
    for (part, times) in [("x", 31), ("y", 32), ("z", 33), ("ü☺", 20), ("w", 5000)] {
        let text = &part.repeat(times);
        let pairs = [
            ("__name__", "up"),
            ("a", text),
            ("container_a", "1"),
            ("container_b", ""),
            (text, "b"),
        ];
        let mut sorted = pairs;
        sorted.sort_unstable();
        let expected = Labels::from_pairs(pairs).unwrap();
        assert_eq!(labels_from(&sorted), Ok(expected.clone()));
        sorted.reverse();
        assert_eq!(labels_from(&sorted), Ok(expected));
    }
}

#[test]
fn references_come_packed_or_one_by_one_and_before_or_after_the_symbols() {
    let (symbols, expected) = (["", "__name__", "up", "job", "node"], Labels::from_pairs(UP));
    let packed = request(with_refs(&[1, 2, 3, 4]), &symbols);
    assert_eq!(labels_of(&packed).ok(), expected.clone().ok());

    let table = message::Request {
        symbols: symbols.iter().map(|&text| text.to_owned()).collect(),
        timeseries: vec![],
    };
    let mixed = [0x2a, 8, 0x0a, 2, 1, 2, 0x08, 3, 0x08, 4];
    let series_first = [&mixed[..], &table.encode_to_vec()].concat();
    assert_eq!(labels_of(&series_first).ok(), expected.ok());
}

#[test]
fn a_table_that_is_missing_or_does_not_begin_empty_spoils_the_request() {
    let text = |symbols: &[&str]| labels_of(&request(with_refs(&[1, 2]), symbols)).unwrap_err();
    assert_eq!(text(&[]), "request has no symbols table");
    assert_eq!(
        text(&["__name__", "up"]),
        "first entry of the symbols table is not the empty string"
    );
    assert_eq!(Scratch::new().read(&[]).unwrap_err(), RequestError::NoSymbols);
}

#[test]
fn references_that_lead_nowhere_spoil_their_series_only() {
    let symbols = ["", "__name__", "up"];
    let text = |refs: &[u32]| labels_of(&request(with_refs(refs), &symbols)).unwrap_err();
    assert_eq!(text(&[1, 2, 3]), "parsing labels for series [1 2 3]: invalid labelRefs length 3");
    assert_eq!(
        text(&[1, 999]),
        "parsing labels for series [1 999]: labelRefs 1 (name) = 999 (value) outside of symbols \
         table (size 3)"
    );
    assert_eq!(
        text(&[1, 2, 1, 2]),
        "invalid labels for series, labels {__name__=\"up\", __name__=\"up\"}, duplicated label \
         __name__"
    );
    assert!(text(&[0, 2, 1, 2]).ends_with("a label has no name"));
    assert!(text(&[]).ends_with("no metric name"));
    assert!(text(&[1, 0]).ends_with("no metric name"));
    assert!(text(&[1, u32::MAX].repeat(500)).len() < 1024);
}

#[test]
fn symbols_that_are_no_text_spoil_the_series_that_use_them() {
    let mut body = request(with_refs(&[1, 2]), &["", "__name__", "up", "zz"]);
    let at = body.windows(2).position(|pair| pair == b"zz").unwrap();
    body[at] = 0xff;
    assert_eq!(labels_of(&body), Ok(Labels::from_pairs([("__name__", "up")]).unwrap()));
    let at = body.windows(2).position(|pair| pair == b"up").unwrap();
    body[at] = 0xff;
    assert!(labels_of(&body).unwrap_err().ends_with("a name or value is not UTF-8"));
}

#[test]
fn start_timestamps_are_read_in_both_places() {
    let histogram = |start_timestamp| message::Histogram { start_timestamp, ..Default::default() };
    let series = message::TimeSeries {
        created_timestamp: 7,
        samples: vec![sample(0), sample(9)],
        histograms: vec![histogram(0), histogram(8)],
        ..with_refs(&[1, 2])
    };
    let body = request(series, &["", "__name__", "up"]);
    let mut scratch = Scratch::new();
    let series = scratch.read(&body).unwrap().series().next().unwrap().unwrap();
    let starts: Vec<_> = series.samples().map(|s| s.unwrap().start_ms).collect();
    assert_eq!(starts, [7, 9]);
    let starts: Vec<_> = series.histograms().map(|h| h.unwrap().start_ms).collect();
    assert_eq!(starts, [7, 8]);
}

#[test]
fn metadata_and_exemplars_refer_to_the_symbols_too() {
    let metadata = |help_ref| message::Metadata { r#type: 1, help_ref, unit_ref: 0 };
    let exemplar = message::Exemplar { labels_refs: vec![3, 2], value: 0.5, timestamp: 7 };
    let series = |help_ref| message::TimeSeries {
        metadata: Some(metadata(help_ref)),
        exemplars: vec![exemplar.clone()],
        ..with_refs(&[1, 2])
    };
    let symbols = ["", "__name__", "up", "trace_id"];
    let mut scratch = Scratch::new();

    let body = request(series(3), &symbols);
    let first = scratch.read(&body).unwrap().series().next().unwrap().unwrap();
    let metadata = first.metadata().unwrap().unwrap().text();
    assert_eq!(metadata.metric_type, MetricType::Counter);
    assert_eq!((&*metadata.help, &*metadata.unit), ("trace_id", ""));
    let exemplar = first.exemplars().next().unwrap().unwrap();
    assert_eq!(exemplar.labels().unwrap().to_string(), r#"{trace_id="up"}"#);

    let body = request(series(4), &symbols);
    let second = scratch.read(&body).unwrap().series().next().unwrap().unwrap();
    let error = second.metadata().unwrap_err();
    assert_eq!(error, SeriesError::MetadataRef { reference: 4, symbols: 4 });
    assert!(second.canonical(&mut Vec::new()).is_ok());
}

#[test]
fn metadata_read_alike_in_every_shape_that_says_the_same() {
    // More symbols than a reference of one byte tells apart.
    let symbols: Vec<_> = (0..300).map(|number| format!("symbol {number}")).collect();
    let symbols: Vec<_> =
        ["", "__name__", "up"].into_iter().chain(symbols.iter().map(String::as_str)).collect();
    let read = |fields: &[&[u8]]| -> Result<_, SeriesError> {
        let mut series = with_refs(&[1, 2]).encode_to_vec();
        for field in fields {
            series.extend([METADATA_BYTE, u8::try_from(field.len()).unwrap()]);
            series.extend(*field);
        }
        let table = symbols.iter().map(|symbol| (*symbol).to_owned()).collect();
        let mut body = message::Request { symbols: table, timeseries: vec![] }.encode_to_vec();
        prost::encoding::encode_key(5, prost::encoding::WireType::LengthDelimited, &mut body);
        prost::encoding::encode_varint(series.len() as u64, &mut body);
        body.extend(series);
        let mut scratch = Scratch::new();
        let series = scratch.read(&body).unwrap().series().next().unwrap().unwrap();
        let metadata = series.metadata()?.map(|raw| raw.text());
        Ok(metadata.map(|m| (m.metric_type, m.help.into_owned(), m.unit.into_owned())))
    };
    let said =
        |help: &str, unit: &str| Ok(Some((MetricType::Gauge, help.to_owned(), unit.to_owned())));
    assert_eq!(read(&[]), Ok(None));
    // Type 2, help 5, unit 203: as senders write it, in another order, in pieces, with repetitions
    // and fields unknown, with a reference that is longer than it need be.
    for fields in [
        &[&[8, 2, 24, 5, 32, 0xcb, 1][..]][..],
        &[&[32, 0xcb, 1, 24, 5, 8, 2]],
        &[&[8, 2], &[24, 5, 32, 0xcb, 1]],
        &[&[8, 1, 8, 2, 24, 5, 32, 0xcb, 1]],
        &[&[8, 2, 24, 5, 32, 0xcb, 1, 72, 1]],
        &[&[8, 0x82, 0, 24, 0x85, 0x80, 0x80, 0, 32, 0xcb, 1]],
    ] {
        assert_eq!(read(fields), said("symbol 2", "symbol 200"), "{fields:?}");
    }
    assert_eq!(read(&[&[8, 2]]), said("", ""));
    assert_eq!(read(&[&[8, 2, 32, 5]]), said("", "symbol 2"));
    let error = SeriesError::MetadataRef { reference: 303, symbols: 303 };
    assert_eq!(read(&[&[8, 2, 24, 0xaf, 2]]), Err(error));
    assert!(matches!(read(&[&[8, 2, 24]]), Err(SeriesError::Malformed(_))));
    let type_of = |number| read(&[&[8, number]]).unwrap().unwrap().0;
    assert!((0..20).all(|number| type_of(number) == MetricType::from_number(number)));
}
