//! Frames come back as they were written, and what nobody wrote is refused by place and fault.

use proptest::prelude::*;
use prost::Message;
use rangekeeper_model::{Labels, SeriesHash, TenantId};

use super::*;
use crate::proto::v1 as message;
use crate::{Fault, Sample, v1};

/// A row as it is written and as it is read.
#[derive(Clone, Debug, PartialEq)]
struct PlainRow {
    hash: u128,
    labels: Option<Labels>,
    samples: Vec<(i64, i64, u64)>,
    exemplars: Option<usize>,
}

#[derive(Clone, Debug, PartialEq)]
struct PlainRequest {
    tenant: TenantId,
    families: Vec<String>,
    rows: Vec<PlainRow>,
}

fn write(requests: &[PlainRequest]) -> Vec<u8> {
    let mut writer = FrameWriter::new();
    for request in requests {
        let family = |family: &String| message::MetricMetadata {
            metric_family_name: family.clone(),
            ..message::MetricMetadata::default()
        };
        let metadata: Vec<_> = request.families.iter().map(family).collect();
        writer.request(&request.tenant, &metadata, 1_700_000_000_000);
        for row in &request.rows {
            let sample = |&(timestamp_ms, start_ms, bits): &(i64, i64, u64)| Sample {
                timestamp_ms,
                start_ms,
                value: f64::from_bits(bits),
            };
            let samples: Vec<_> = row.samples.iter().map(sample).collect();
            let rest = row.exemplars.map(|count| message::TimeSeries {
                exemplars: vec![message::Exemplar::default(); count],
                ..message::TimeSeries::default()
            });
            let labels = row.labels.as_ref().map(Labels::as_bytes);
            writer.row(SeriesHash(row.hash), labels, &samples, rest.as_ref());
        }
    }
    let length = writer.len();
    let frame = writer.finish();
    assert!(frame.len() >= length && writer.is_empty());
    frame
}

fn read(bytes: &[u8]) -> Result<Vec<PlainRequest>, crate::DecodeError> {
    let mut requests: Vec<PlainRequest> = Vec::new();
    for part in frame(bytes) {
        match part? {
            Part::Request(request) => {
                let family = |entry| match entry {
                    Ok(v1::Entry::Metadata(metadata)) => Ok(metadata.family.into_owned()),
                    Ok(v1::Entry::Series(_)) => panic!("no series was written there"),
                    Err(error) => Err(error),
                };
                let families = request.metadata().map(family).collect::<Result<_, _>>()?;
                let rows = Vec::new();
                requests.push(PlainRequest { tenant: request.tenant, families, rows });
            }
            Part::Row(row) => {
                let sample = |s: Sample| (s.timestamp_ms, s.start_ms, s.value.to_bits());
                let labels = row.labels.map(|bytes| Labels::from_canonical(bytes).unwrap());
                let rows = &mut requests.last_mut().expect("a request comes first").rows;
                rows.push(PlainRow {
                    hash: row.hash.0,
                    labels,
                    samples: row.samples().map(sample).collect(),
                    exemplars: row.rest().map(|rest| rest.exemplars().count()),
                });
            }
        }
    }
    Ok(requests)
}

fn any_row() -> impl Strategy<Value = PlainRow> {
    let labels = prop::option::of(prop::collection::btree_map("[a-c]", "[x-z]{1,3}", 0..3));
    let near = 1_700_000_000_000_i64..1_700_000_060_000;
    let time = prop_oneof![4 => near, 1 => any::<i64>()];
    let start = prop_oneof![4 => Just(0), 1 => any::<i64>()];
    let samples = prop::collection::vec((time, start, any::<u64>()), 0..4);
    (any::<u128>(), labels, samples, prop::option::of(0_usize..3)).prop_map(
        |(hash, labels, samples, exemplars)| {
            let labels = labels.map(|mut labels| {
                labels.insert("__name__".to_owned(), "up".to_owned());
                Labels::from_pairs(labels).unwrap()
            });
            PlainRow { hash, labels, samples, exemplars }
        },
    )
}

fn any_request() -> impl Strategy<Value = PlainRequest> {
    let families = prop::collection::vec("[a-z]{1,5}", 0..3);
    let rows = prop::collection::vec(any_row(), 0..6);
    ("[a-z]{1,4}", families, rows).prop_map(|(tenant, families, rows)| {
        let tenant = TenantId::new(&tenant).unwrap();
        PlainRequest { tenant, families, rows }
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read(requests in prop::collection::vec(any_request(), 0..4)) {
        prop_assert_eq!(read(&write(&requests)).unwrap(), requests);
    }

    #[test]
    fn a_frame_that_was_cut_is_an_error_or_has_fewer_requests(
        requests in prop::collection::vec(any_request(), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let whole = write(&requests);
        let cut = &whole[..cut.index(whole.len())];
        if let Ok(read) = read(cut) {
            prop_assert!(read.len() < requests.len());
            prop_assert_eq!(&read[..], &requests[..read.len()]);
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        crate::fuzz::peer_frame(&bytes);
    }

    #[test]
    fn a_changed_byte_is_no_panic(
        requests in prop::collection::vec(any_request(), 1..4),
        (at, byte) in (any::<prop::sample::Index>(), any::<u8>()),
    ) {
        let mut bytes = write(&requests);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        crate::fuzz::peer_frame(&bytes);
    }
}

#[test]
fn a_usual_row_takes_two_dozen_bytes() {
    let row = PlainRow {
        hash: u128::MAX,
        labels: None,
        samples: vec![(1_700_000_000_000, 0, 0)],
        exemplars: None,
    };
    let tenant = TenantId::default();
    let request = |rows: usize| {
        let rows = vec![row.clone(); rows];
        write(&[PlainRequest { tenant: tenant.clone(), families: Vec::new(), rows }]).len()
    };
    assert_eq!(request(101) - request(100), 16 + 1 + 9);
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let fault = |bytes: &[u8]| {
        let error = frame(bytes).find_map(Result::err).expect("an error");
        (error.offset, error.fault)
    };
    assert_eq!(fault(b"\x01!"), (0, Fault::Tenant));
    let mut head = b"\x01t\x00".to_vec();
    head.extend_from_slice(&0_i64.to_le_bytes());
    assert_eq!(fault(&head[..8]), (3, Fault::Truncated));
    head.push(1);
    assert_eq!(fault(&head), (12, Fault::Truncated));
    head.extend_from_slice(&[0; 16]);
    let with = |tail: &[u8]| [&head[..], tail].concat();
    assert_eq!(fault(&with(&[1, 2, b'x', b'y'])), (29, Fault::Labels));
    assert_eq!(fault(&with(&[2 << 3, 0, 0, 0, 0, 0, 0, 0, 0, 0])), (29, Fault::Truncated));
    let rest = message::TimeSeries::default().encode_length_delimited_to_vec();
    assert!(read(&with(&[&[4][..], &rest].concat())).is_ok());
    assert_eq!(fault(&with(&[4, 2, 0x12, 5])).1, Fault::Truncated);
}
