//! Positions, files, flights.

use super::*;

#[test]
fn positions_go_on_over_files_and_restarts() {
    let dir = scratch();
    let (log, recovery) = open(dir.path());
    assert_eq!((recovery.last, log.watermark()), (Position(0), Position(0)));
    assert_eq!(write(&log, 3, 1.0), Position(1));
    assert_eq!(write(&log, 3, 2.0), Position(2));
    log.rotate().unwrap().wait().unwrap();
    assert_eq!(write(&log, 3, 3.0), Position(3));
    drop(log);
    let (log, recovery) = open(dir.path());
    assert_eq!(recovery.last, Position(3));
    assert_eq!(positions(&read(&recovery.files).unwrap()), [1, 2, 3]);
    assert_eq!(write(&log, 3, 4.0), Position(4));
    log.close().unwrap();
    let held = reopen(dir.path(), options()).unwrap().0;
    assert_eq!(positions(&held), [1, 2, 3, 4]);
    assert_eq!(held[3].1[2], (series(2), 1002, 4.0f64.to_bits()));
    assert_eq!(log_files(dir.path()).len(), 3);
}

#[test]
fn an_idle_log_holds_no_file_and_a_closed_one_no_unused_room() {
    let dir = scratch();
    let (log, _) = open(dir.path());
    assert!(log_files(dir.path()).is_empty());
    write(&log, 3, 1.0);
    let path = log_files(dir.path()).remove(0);
    assert_eq!(fs::metadata(&path).unwrap().len(), 64 << 10);
    log.rotate().unwrap().wait().unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), log.bytes());
    assert!(log.bytes() < 1024, "{}", log.bytes());
    assert_eq!(log_files(dir.path()).len(), 1);
}

#[test]
fn a_rotation_of_nothing_is_answered() {
    let dir = scratch();
    let (log, _) = open(dir.path());
    let file = log.current_file();
    log.rotate().unwrap().wait().unwrap();
    assert_eq!(log.current_file(), file);
}

#[test]
fn a_record_for_another_file_comes_back() {
    let dir = scratch();
    let (log, _) = open(dir.path());
    let before = log.current_file();
    write(&log, 3, 1.0);
    drop(log.rotate().unwrap());
    let refused = log.submit(record(3, 2.0), before);
    let Err(SubmitError::FileChanged { record, now }) = refused else { panic!("it was taken") };
    assert_eq!((now, log.current_file()), (FileSeq(before.0 + 1), now));
    let mut flight = log.submit(record, now).unwrap();
    flight.wait_durable().unwrap();
    assert_eq!((flight.position(), flight.file()), (Position(2), now));
}

#[test]
fn a_full_file_makes_room_for_the_next() {
    let dir = scratch();
    let (log, _) = open(dir.path());
    let mut written = 0;
    while log.current_file() == FileSeq(1) {
        match log.submit(record(100, 1.0), FileSeq(1)) {
            Ok(mut flight) => {
                flight.wait_durable().unwrap();
                written += 1;
            }
            Err(SubmitError::FileChanged { now, .. }) => assert_eq!(now, FileSeq(2)),
            Err(error) => panic!("{error}"),
        }
    }
    assert!(written > 5);
    write(&log, 100, 2.0);
    log.close().unwrap();
    for path in log_files(dir.path()) {
        assert!(fs::metadata(path).unwrap().len() <= 64 << 10);
    }
    assert_eq!(reopen(dir.path(), options()).unwrap().0.len(), written + 1);
}

#[test]
fn a_record_larger_than_a_file_gets_one_of_its_own() {
    let dir = scratch();
    let (log, _) = open(dir.path());
    write(&log, 3, 1.0);
    let large = || record(20_000, 2.0);
    let now = match log.submit(large(), FileSeq(1)) {
        Err(SubmitError::FileChanged { now, .. }) => now,
        other => panic!("{:?}", other.map(|flight| flight.position())),
    };
    log.submit(large(), now).unwrap().wait_durable().unwrap();
    assert!(matches!(log.submit(record(3, 3.0), now), Err(SubmitError::FileChanged { .. })));
    write(&log, 3, 3.0);
    let held = read(&log.files()).unwrap();
    assert_eq!(positions(&held), [1, 2, 3]);
    assert_eq!(held[1].1.len(), 20_000);
    assert_eq!(log.files().len(), 3);
    log.abandon();
    assert_eq!(positions(&reopen(dir.path(), options()).unwrap().0), [1, 2, 3]);
}

#[test]
fn the_watermark_stays_below_what_is_in_flight() {
    let dir = scratch();
    let (log, _) = open(dir.path());
    let mut flights: Vec<_> = (0..4)
        .map(|_| {
            let mut flight = log.submit(record(3, 1.0), log.current_file()).unwrap();
            flight.wait_durable().unwrap();
            flight
        })
        .collect();
    assert_eq!((log.watermark(), log.durable()), (Position(0), Position(4)));
    drop(flights.remove(1));
    assert_eq!(log.watermark(), Position(0));
    drop(flights.remove(0));
    assert_eq!(log.watermark(), Position(2));
    drop(flights.remove(1));
    assert_eq!(log.watermark(), Position(2));
    drop(flights);
    assert_eq!(log.watermark(), Position(4));
}

#[tokio::test]
async fn async_callers_are_answered() {
    let dir = scratch();
    let (log, _) = open(dir.path());
    let mut flight = log.submit(record(3, 1.0), log.current_file()).unwrap();
    flight.durable().await.unwrap();
    assert_eq!(log.durable(), Position(1));
    log.rotate().unwrap().done().await.unwrap();
    assert!(log.files()[0].closed);
}

#[test]
fn closed_files_below_a_checkpoint_are_deleted() {
    let dir = scratch();
    let (log, _) = open(dir.path());
    for value in [1.0, 2.0, 3.0] {
        write(&log, 3, value);
        write(&log, 3, value);
        log.rotate().unwrap().wait().unwrap();
    }
    write(&log, 3, 4.0);
    assert_eq!(log.delete_below(Position(1)).unwrap(), 0);
    assert_eq!(log.delete_below(Position(5)).unwrap(), 2);
    assert_eq!((log.oldest(), log.files().len()), (Position(5), 2));
    // The current one stays, whatever the checkpoint.
    assert_eq!(log.delete_below(Position(7)).unwrap(), 1);
    assert_eq!((log.oldest(), log_files(dir.path()).len()), (Position(7), 1));
    log.rotate().unwrap().wait().unwrap();
    assert_eq!(log.delete_below(Position(7)).unwrap(), 1);
    assert_eq!((log.oldest(), log.bytes()), (Position(8), 0));
    drop(log);
    assert!(log_files(dir.path()).is_empty());
    let (log, recovery) = open_with(dir.path(), up_to(7), options()).unwrap();
    assert!(recovery.files.is_empty());
    assert_eq!(log.watermark(), Position(7));
    assert_eq!(write(&log, 3, 5.0), Position(8));
}

#[test]
fn unsynced_writing_syncs_when_asked_and_when_a_file_ends() {
    let dir = scratch();
    let options = LogOptions { durability: Durability::Flush, ..options() };
    let (log, _) = open_with(dir.path(), Checkpoints::default(), options.clone()).unwrap();
    write(&log, 3, 1.0);
    assert_eq!(log.stats().syncs, 0);
    log.sync().unwrap().wait().unwrap();
    assert_eq!(log.stats().syncs, 1);
    write(&log, 3, 2.0);
    log.abandon();
    assert_eq!(positions(&reopen(dir.path(), options).unwrap().0), [1, 2]);
}

#[test]
fn figures_add_up() {
    let dir = scratch();
    let (log, _) = open(dir.path());
    for value in [1.0, 2.0, 3.0] {
        write(&log, 3, value);
    }
    let stats = log.stats();
    assert_eq!((stats.records, stats.groups, stats.syncs), (3, 3, 3));
    assert_eq!(stats.sync_buckets.iter().sum::<u64>(), 3);
    assert_eq!(stats.bytes, 3 * record(3, 1.0).file_bytes() as u64);
    assert_eq!(log.bytes(), stats.bytes + 64);
}
