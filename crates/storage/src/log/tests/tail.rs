//! A shard's mutations from a position on.

use std::sync::Arc;

use rangekeeper_model::{Day, WindowInDay};

use super::*;

/// A record's position, and the shard's samples in it.
type Seen = (u64, Vec<(SeriesId, f64)>);

/// Reads to the end of what is there.
fn follow(tail: &mut Tail) -> Result<Vec<Seen>, LogError> {
    let mut seen = Vec::new();
    while let Some(record) = tail.next_record()? {
        let samples = record.floats()?.map(|s| s.map(|(id, s)| (id, s.value)));
        seen.push((record.position().0, samples.collect::<Result<_, _>>()?));
    }
    Ok(seen)
}

/// What shard 1 gets from `write(log, 6, value)`.
fn of_shard_one(position: u64, value: f64) -> Seen {
    (position, vec![(series(1), value), (series(5), value)])
}

#[test]
fn shows_one_shard_over_files_and_goes_on_where_it_was() {
    let dir = scratch();
    let (log, _) = open(dir.path());
    write(&log, 6, 1.0);
    log.rotate().unwrap().wait().unwrap();
    write(&log, 6, 2.0);
    let mut tail = log.tail(ShardId(1), Position(1)).unwrap();
    assert_eq!(follow(&mut tail).unwrap(), [of_shard_one(1, 1.0), of_shard_one(2, 2.0)]);
    // Series 0 lies in shard 0: nothing of that is shown.
    write(&log, 1, 3.0);
    assert!(follow(&mut tail).unwrap().is_empty());
    write(&log, 6, 4.0);
    assert_eq!(follow(&mut tail).unwrap(), [of_shard_one(4, 4.0)]);
    log.rotate().unwrap().wait().unwrap();
    assert!(follow(&mut tail).unwrap().is_empty());
    write(&log, 6, 5.0);
    assert_eq!(follow(&mut tail).unwrap(), [of_shard_one(5, 5.0)]);
    assert_eq!(tail.cursor(), Position(6));
}

#[test]
fn knows_series_that_were_defined_before_its_position() {
    let dir = scratch();
    let (log, _) = open(dir.path());
    write(&log, 6, 1.0);
    let mut encoder = RecordEncoder::new();
    let reference = SeriesRef(5);
    let sample = FloatSample { reference, timestamp_ms: 9, start_ms: 3, value: 2.0 };
    encoder.float(ShardId(1), &sample);
    encoder.import(Import { series: series(1), day: Day(9), window: WindowInDay(2) });
    encoder.import(Import { series: series(2), day: Day(9), window: WindowInDay(2) });
    let record = encoder.finish().unwrap();
    log.submit(record, log.current_file()).unwrap().wait_durable().unwrap();
    let mut tail = log.tail(ShardId(1), Position(2)).unwrap();
    let record = tail.next_record().unwrap().unwrap();
    let (id, sample) = record.floats().unwrap().next().unwrap().unwrap();
    assert_eq!((id, sample.timestamp_ms, sample.start_ms), (series(5), 9, 3));
    let imports: Vec<_> = record.imports().unwrap().map(|import| import.series).collect();
    assert_eq!(imports, [series(1)]);
    assert!(tail.next_record().unwrap().is_none());
}

#[test]
fn says_when_its_position_is_gone() {
    let dir = scratch();
    let (log, _) = open(dir.path());
    for value in [1.0, 2.0, 3.0] {
        write(&log, 6, value);
        log.rotate().unwrap().wait().unwrap();
    }
    let mut held = log.tail(ShardId(1), Position(2)).unwrap();
    log.delete_below(Position(2)).unwrap();
    let refused = log.tail(ShardId(1), Position(2)).err();
    assert!(matches!(refused, Some(LogError::CursorTooOld { oldest: Position(3) })), "{refused:?}");
    let mut tail = log.tail(ShardId(1), Position(3)).unwrap();
    assert_eq!(follow(&mut tail).unwrap(), [of_shard_one(3, 3.0)]);
    // One that had opened its file keeps it.
    assert_eq!(follow(&mut held).unwrap(), [of_shard_one(2, 2.0), of_shard_one(3, 3.0)]);
    log.delete_below(Position(3)).unwrap();
    let refused = log.tail(ShardId(1), Position(3)).err();
    assert!(matches!(refused, Some(LogError::CursorTooOld { oldest: Position(4) })), "{refused:?}");
    let mut tail = log.tail(ShardId(1), Position(4)).unwrap();
    assert!(follow(&mut tail).unwrap().is_empty());
    write(&log, 6, 4.0);
    assert_eq!(follow(&mut tail).unwrap(), [of_shard_one(4, 4.0)]);
}

#[test]
fn follows_a_log_that_is_written_meanwhile() {
    const RECORDS: u64 = 400;
    let dir = scratch();
    let options = LogOptions { durability: Durability::Flush, ..options() };
    let (log, _) = open_with(dir.path(), Checkpoints::default(), options).unwrap();
    let log = Arc::new(log);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..RECORDS {
                let value = f64::from(u32::try_from(n).unwrap());
                while log.submit(record(60, value), log.current_file()).is_err() {}
            }
        });
        let mut tail = log.tail(ShardId(2), Position(1)).unwrap();
        let mut next = 1;
        while next <= RECORDS {
            for (position, samples) in follow(&mut tail).unwrap() {
                assert_eq!((position, samples.len()), (next, 15));
                next += 1;
            }
            std::thread::yield_now();
        }
    });
    assert!(log.files().len() > 5);
}
