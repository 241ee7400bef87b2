//! Sealing changes bytes, never samples.

use std::collections::HashSet;
use std::sync::Mutex;

use rangekeeper_chunk::sealed_digest;

use super::*;
use crate::db::WHOLE_DAY;
use crate::seal::SealPolicy;

const SERIES: usize = 700;

/// Series with samples in three windows, each merged in three parts.
fn filled(fixture: &Fixture) -> (Db, Vec<SeriesId>) {
    let db = fixture.open();
    let series = numbered(SERIES);
    register(&db, DAY, &series);
    for in_day in 0..3 {
        for part in 0..3 {
            let from_ms = window(in_day).start_ms() + part * 20 * 60 * 1000;
            let written: Vec<_> =
                (0..SERIES).map(|n| (series[n].id, samples(n, from_ms, 80))).collect();
            merge(&db, window(in_day), &written);
        }
    }
    let mut ids: Vec<_> = series.iter().map(|s| s.id).collect();
    ids.sort_unstable();
    (db, ids)
}

fn windows_of(db: &Db, ids: &[SeriesId]) -> Vec<(u8, bool)> {
    let mut rows = Vec::new();
    db.read_chunks(DAY, ids, Windows::ALL, &never, |_, window, value| {
        rows.push((window.0, sealed_digest(value).is_some()));
        true
    })
    .unwrap();
    rows
}

#[test]
fn sealing_windows_keeps_what_they_hold_and_their_digest() {
    let fixture = Fixture::new();
    let (db, ids) = filled(&fixture);
    let (before, digest) = (contents(&db, DAY, &ids), db.digest(DAY, ShardId(1), &never).unwrap());
    assert_eq!(db.seal_due(&SealPolicy::default(), &never).unwrap(), None);
    fixture.set_now_ms(window(1).end_ms() + 70 * 60 * 1000);
    let sealed = db.seal_due(&SealPolicy::default(), &never).unwrap().unwrap();
    assert_eq!((sealed.chunks, sealed.samples), (2 * SERIES as u64, 480 * SERIES as u64));
    assert!(sealed.bytes_after < sealed.bytes_before, "{sealed:?}");
    assert_eq!(contents(&db, DAY, &ids), before);
    assert_eq!(db.digest(DAY, ShardId(1), &never).unwrap(), digest);
    assert_eq!(windows_of(&db, &ids[..1]), [(0, true), (1, true), (2, false)]);
    assert_eq!(db.seal_due(&SealPolicy::default(), &never).unwrap(), None);
    drop(db);
    assert_eq!(contents(&fixture.open(), DAY, &ids), before);
}

#[test]
fn the_days_last_sealing_takes_in_what_came_late() {
    let fixture = Fixture::new();
    let (db, ids) = filled(&fixture);
    fixture.set_now_ms(window(2).end_ms() + 70 * 60 * 1000);
    db.seal_due(&SealPolicy::default(), &never).unwrap().unwrap();
    let late = [(ids[3], samples(9, window(0).start_ms() + 7, 5))];
    merge(&db, window(0), &late);
    let digest = db.digest(DAY, ids[3].shard(), &never).unwrap();
    let before = contents(&db, DAY, &ids);
    assert_eq!(windows_of(&db, &ids[3..4])[0], (0, false));
    fixture.set_now_ms(DAY.end_ms() + 70 * 60 * 1000);
    db.seal_due(&SealPolicy::default(), &never).unwrap().unwrap();
    assert_eq!(windows_of(&db, &ids[3..4]), [(WHOLE_DAY.0, true)]);
    assert_eq!(contents(&db, DAY, &ids), before);
    assert_eq!(db.digest(DAY, ids[3].shard(), &never).unwrap(), digest);
    // And what comes after that lies beside the day's chunk until it is quiet again.
    merge(&db, window(1), &[(ids[3], samples(9, window(1).start_ms() + 11, 5))]);
    let before = contents(&db, DAY, &ids);
    let digest = db.digest(DAY, ids[3].shard(), &never).unwrap();
    assert_eq!(windows_of(&db, &ids[3..4]), [(1, false), (WHOLE_DAY.0, true)]);
    fixture.set_now_ms(DAY.end_ms() + 4 * 60 * 60 * 1000);
    assert_eq!(db.seal_due(&SealPolicy::default(), &never).unwrap().unwrap().chunks, 1);
    assert_eq!(windows_of(&db, &ids[3..4]), [(WHOLE_DAY.0, true)]);
    assert_eq!(contents(&db, DAY, &ids), before);
    assert_eq!(db.digest(DAY, ids[3].shard(), &never).unwrap(), digest);
}

#[test]
fn a_reopen_knows_what_is_left_to_seal() {
    let fixture = Fixture::new();
    let (db, ids) = filled(&fixture);
    drop(db);
    let db = fixture.open();
    fixture.set_now_ms(window(2).end_ms() + 70 * 60 * 1000);
    assert_eq!(
        db.seal_due(&SealPolicy::default(), &never).unwrap().unwrap().chunks,
        3 * SERIES as u64
    );
    drop(db);
    let db = fixture.open();
    assert_eq!(db.seal_due(&SealPolicy::default(), &never).unwrap(), None);
    assert!(windows_of(&db, &ids).iter().all(|(_, sealed)| *sealed));
}

#[test]
fn as_many_threads_seal_as_the_policy_says() {
    for threads in [1, 2, 4] {
        let fixture = Fixture::new();
        let (db, ids) = filled(&fixture);
        let before = contents(&db, DAY, &ids);
        fixture.set_now_ms(window(2).end_ms() + 70 * 60 * 1000);
        let seen = Mutex::new(HashSet::new());
        let watch = || {
            seen.lock().unwrap().insert(std::thread::current().id());
            false
        };
        let policy = SealPolicy { threads, ..SealPolicy::default() };
        let sealed = db.seal_due(&policy, &watch).unwrap().unwrap();
        assert_eq!(sealed.chunks, 3 * SERIES as u64);
        assert_eq!(seen.lock().unwrap().len(), usize::from(threads));
        assert_eq!(contents(&db, DAY, &ids), before);
    }
}

#[test]
fn no_merge_is_lost_while_everything_is_sealed() {
    let fixture = Fixture::new();
    let (db, ids) = filled(&fixture);
    let mut expected = contents(&db, DAY, &ids);
    std::thread::scope(|scope| {
        let sealer = scope.spawn(|| {
            for _ in 0..4 {
                db.seal_all_now(&never).unwrap();
            }
        });
        let mut round = 0;
        while !sealer.is_finished() || round < 3 {
            round += 1;
            let from_ms = window(2).start_ms() + 3_600_000 + round * 10;
            let written: Vec<_> =
                ids.iter().enumerate().map(|(n, id)| (*id, samples(n, from_ms, 3))).collect();
            merge(&db, window(2), &written);
            for (id, samples) in &written {
                expected.get_mut(id).unwrap().unite(samples);
            }
        }
    });
    assert_eq!(contents(&db, DAY, &ids), expected);
    db.seal_all_now(&never).unwrap();
    assert!(windows_of(&db, &ids).iter().all(|(_, sealed)| *sealed));
    assert_eq!(contents(&db, DAY, &ids), expected);
}

#[test]
fn a_chunk_that_cannot_be_read_is_left_as_it_is() {
    let fixture = Fixture::new();
    let db = fixture.open();
    let id = Series::numbered(0).id;
    let mut broken = encode(&samples(0, DAY.start_ms(), 50));
    let last = broken.len() - 1;
    broken[last] ^= 0x10;
    let mut batch = db.batch();
    batch.merge_chunk(DAY, id, WindowInDay(0), &broken);
    batch.merge_chunk(DAY, id, WindowInDay(0), &encode(&samples(1, DAY.start_ms() + 5, 2)));
    db.write(batch).unwrap();
    let sealed = db.seal_all_now(&never).unwrap();
    assert_eq!((sealed.chunks, sealed.damaged), (0, 1));
    let mut read = Samples::default();
    let mut damages = 0;
    db.read_chunks(DAY, &[id], Windows::ALL, &never, |_, _, value| {
        damages += decode(value, TimeRange::ALL, &mut read).len();
        true
    })
    .unwrap();
    assert_eq!((damages, read.len()), (1, 2));
}
