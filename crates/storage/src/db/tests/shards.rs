//! Scans, imports and reads of parts.

use super::*;
use crate::db::Entry;

#[test]
fn what_is_scanned_of_every_shard_can_be_imported_elsewhere() {
    let (from, to) = (Fixture::new(), Fixture::new());
    let (source, target) = (from.open(), to.open());
    let series = numbered(300);
    register(&source, DAY, &series);
    for in_day in [0, 5] {
        let written: Vec<_> =
            (0..300).map(|n| (series[n].id, samples(n, window(in_day).start_ms(), 30))).collect();
        merge(&source, window(in_day), &written);
    }
    let mut rows = 0;
    for shard in 0..4 {
        let entries: Vec<Entry> =
            source.scan(ShardId(shard), DAY, None).map(Result::unwrap).collect();
        assert!(entries.iter().all(|e| e.id.shard() == ShardId(shard)));
        assert!(entries.is_sorted_by_key(|e| (e.id, e.window)));
        rows += entries.len();
        for part in entries.chunks(70) {
            target.import(DAY, part).unwrap();
            target.import(DAY, part).unwrap();
        }
        let again: Vec<Entry> =
            target.scan(ShardId(shard), DAY, None).map(Result::unwrap).collect();
        assert_eq!(again, entries);
        let digest = source.digest(DAY, ShardId(shard), &never).unwrap();
        assert_eq!(target.digest(DAY, ShardId(shard), &never).unwrap(), digest);
    }
    assert_eq!(rows, 600);
    let numbers = target.find(&TenantId::default(), DAY, &[], &never).unwrap();
    assert_eq!(numbers.len(), 300);
}

#[test]
fn a_scan_goes_on_where_it_is_told() {
    let fixture = Fixture::new();
    let db = fixture.open();
    let series = numbered(40);
    register(&db, DAY, &series);
    let written: Vec<_> =
        series.iter().map(|s| (s.id, samples(1, window(0).start_ms(), 2))).collect();
    merge(&db, window(0), &written);
    let all: Vec<Entry> = db.scan(ShardId(2), DAY, None).map(Result::unwrap).collect();
    let middle = &all[all.len() / 2];
    let from = Some((middle.id, middle.window));
    let rest: Vec<Entry> = db.scan(ShardId(2), DAY, from).map(Result::unwrap).collect();
    assert_eq!(rest, all[all.len() / 2..]);
}

#[test]
fn reading_some_windows_of_some_series_skips_the_rest() {
    let fixture = Fixture::new();
    let db = fixture.open();
    let series = numbered(200);
    for in_day in 0..12 {
        let written: Vec<_> =
            series.iter().map(|s| (s.id, samples(1, window(in_day).start_ms(), 2))).collect();
        merge(&db, window(in_day), &written);
    }
    let mut ids: Vec<_> = series.iter().step_by(9).map(|s| s.id).collect();
    ids.sort_unstable();
    let mut rows = Vec::new();
    let some = Windows::of_day(DAY, window(3), Window(u32::MAX)).unwrap();
    let some = Windows { last: WindowInDay(4), ..some };
    db.read_chunks(DAY, &ids, some, &never, |at, window, _| {
        rows.push((at, window.0));
        true
    })
    .unwrap();
    let expected: Vec<_> = (0..ids.len()).flat_map(|at| [(at, 3), (at, 4)]).collect();
    assert_eq!(rows, expected);
    assert_eq!(Windows::of_day(DAY, window(0), Window(3)), None);
    let stopped = db.read_chunks(DAY, &vec![ids[0]; 300], some, &|| true, |_, _, _| true);
    assert!(matches!(stopped, Err(crate::db::DbError::Interrupted { .. })));
}
