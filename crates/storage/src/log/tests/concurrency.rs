//! Several senders, many files.

use std::collections::BTreeMap;

use super::*;

const SENDERS: u32 = 4;
const RECORDS: u32 = 150;
const SERIES: u32 = 40;

/// Sends records of the sender's own series; defines each once a file, as a head does.
fn send(log: &Log, sender: u32) {
    let tenant = TenantId::default();
    let mut encoder = RecordEncoder::new();
    let mut defined_in = FileSeq(0);
    for n in 0..RECORDS {
        let mine = || (0..SERIES).map(|i| sender * SERIES + i);
        encoder.clear();
        for id in mine() {
            let (reference, timestamp_ms) = (SeriesRef(id), i64::from(n));
            let sample = FloatSample { reference, timestamp_ms, start_ms: 0, value: f64::from(n) };
            encoder.float(series(id).shard(), &sample);
        }
        let mut file = log.current_file();
        let mut flight = loop {
            encoder.clear_definitions();
            if defined_in != file {
                let labels = Some(&b"labels of some length"[..]);
                mine().for_each(|id| encoder.define(SeriesRef(id), series(id), &tenant, labels));
            }
            match log.submit(encoder.finish().unwrap(), file) {
                Ok(flight) => break flight,
                Err(SubmitError::FileChanged { now, .. }) => file = now,
                Err(error) => panic!("{error}"),
            }
        };
        defined_in = flight.file();
        flight.wait_durable().unwrap();
        assert!(log.durable() >= flight.position());
        assert!(log.watermark() < flight.position());
    }
}

#[test]
fn every_record_of_every_sender_is_there_once_and_every_file_stands_alone() {
    let dir = scratch();
    let (log, _) = open(dir.path());
    std::thread::scope(|scope| {
        for sender in 0..SENDERS {
            let log = &log;
            scope.spawn(move || send(log, sender));
        }
    });
    assert_eq!(log.watermark(), Position(u64::from(SENDERS * RECORDS)));
    log.close().unwrap();
    let (held, recovery) = reopen(dir.path(), options()).unwrap();
    assert!(recovery.files.len() > 3, "{} files", recovery.files.len());
    assert!(recovery.cut.is_none());
    let expected: Vec<_> = (1..=u64::from(SENDERS * RECORDS)).collect();
    assert_eq!(positions(&held), expected);
    let mut samples = BTreeMap::new();
    for (series, timestamp_ms, bits) in held.into_iter().flat_map(|(_, samples)| samples) {
        let before = samples.insert((series, timestamp_ms), bits);
        assert_eq!(before, None, "{series:?} at {timestamp_ms} is there twice");
    }
    for (series, n) in (0..SENDERS * SERIES).flat_map(|s| (0..RECORDS).map(move |n| (series(s), n)))
    {
        assert_eq!(samples.remove(&(series, i64::from(n))), Some(f64::from(n).to_bits()));
    }
    assert!(samples.is_empty());
}
