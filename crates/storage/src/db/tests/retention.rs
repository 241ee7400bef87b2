//! What is below the floor is gone, whatever comes after.

use super::*;
use crate::db::Family;

fn fill(db: &Db, day: Day, series: &[Series]) {
    register(db, day, series);
    let written: Vec<_> =
        series.iter().enumerate().map(|(n, s)| (s.id, samples(n, day.start_ms(), 9))).collect();
    merge(db, Window::new(day, WindowInDay(0)), &written);
}

fn rows_below(db: &Db, day: Day) -> usize {
    let count = |family| {
        let mut iterator = db.iterator(family, super::super::keys::day_prefix(day), false);
        iterator.seek_to_first();
        let mut rows = 0;
        while iterator.valid() {
            rows += 1;
            iterator.next();
        }
        iterator.status().unwrap();
        rows
    };
    Family::OF_DAYS.into_iter().map(count).sum()
}

#[test]
fn what_is_below_the_floor_is_gone_for_good() {
    let fixture = Fixture::new();
    let series = numbered(60);
    let ids: Vec<_> = series.iter().map(|s| s.id).collect();
    let db = fixture.open();
    for day in [Day(100), Day(101), Day(102)] {
        fill(&db, day, &series);
    }
    db.flush().unwrap();
    db.raise_floor(Day(102)).unwrap();
    db.raise_floor(Day(3)).unwrap();
    let check = |db: &Db| {
        assert_eq!((db.floor(), db.days()), (Day(102), vec![Day(102)]));
        assert_eq!(rows_below(db, Day(102)), 0);
        assert_eq!(contents(db, Day(101), &ids).len(), 0);
        assert_eq!(contents(db, Day(102), &ids).len(), 60);
        let tenant = TenantId::default();
        assert!(db.find(&tenant, Day(101), &[], &never).unwrap().is_empty());
        assert_eq!(db.find(&tenant, Day(102), &[], &never).unwrap().len(), 60);
        assert_eq!(db.label_names(&tenant, &[Day(101)], &[], 9, &never).unwrap().len(), 0);
    };
    check(&db);
    // A late writer, and one whose batch was made before the floor rose.
    fill(&db, Day(101), &series);
    check(&db);
    drop(db);
    check(&fixture.open());
}

#[test]
fn a_batch_from_before_is_never_seen_and_gone_after_the_next_open() {
    let fixture = Fixture::new();
    let series = numbered(10);
    let db = fixture.open();
    let mut batch = db.batch();
    batch.merge_chunk(Day(50), series[0].id, WindowInDay(0), &encode(&samples(0, 0, 3)));
    db.raise_floor(Day(51)).unwrap();
    db.write(batch).unwrap();
    assert_eq!(contents(&db, Day(50), &[series[0].id]).len(), 0);
    drop(db);
    assert_eq!(rows_below(&fixture.open(), Day(51)), 0);
}

#[test]
fn metadata_that_nobody_repeats_expires() {
    let fixture = Fixture::new();
    let db = fixture.open();
    let tenant = TenantId::default();
    let mut batch = db.batch();
    for (family, day) in [("old", 7), ("new", 9)] {
        let entry = super::super::MetadataEntry {
            kind: "gauge".into(),
            help: String::new(),
            unit: String::new(),
            last_day: Day(day),
        };
        batch.metadata(&tenant, family, &entry);
    }
    db.write(batch).unwrap();
    db.raise_floor(Day(8)).unwrap();
    let mut families = Vec::new();
    db.read_metadata(&tenant, None, |family, _| {
        families.push(family.to_owned());
        true
    })
    .unwrap();
    assert_eq!(families, ["new"]);
}
