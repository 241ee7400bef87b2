//! Flipped bytes: what is damaged is named and counted, and all else stays readable and writable.

use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::db::{DbError, OnDamage};

const SERIES: usize = 900;

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x40;
    fs::write(path, bytes).unwrap();
}

fn files(folder: &Path, is: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| is(path.file_name().unwrap().to_str().unwrap()))
        .collect();
    files.sort();
    files
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

/// A closed database in which two days are in table files, compacted where `compacted`.
fn written(fixture: &Fixture, compacted: bool) -> Vec<Series> {
    let db = fixture.open();
    let series = numbered(SERIES);
    for day in [DAY, DAY.next()] {
        register(&db, day, &series);
        let window = Window::new(day, WindowInDay(0));
        let written: Vec<_> =
            (0..SERIES).map(|n| (series[n].id, samples(n, window.start_ms(), 40))).collect();
        merge(&db, window, &written);
        db.flush().unwrap();
    }
    if compacted {
        db.seal_all_now(&never).unwrap();
    }
    series
}

/// The table file of `family` with the most entries.
fn table_of(fixture: &Fixture, family: &str) -> PathBuf {
    let db = fixture.open();
    let files = db.rocks.live_files().unwrap();
    let of_family = files.iter().filter(|f| f.column_family_name == family);
    let file = of_family.max_by_key(|f| f.num_entries).unwrap();
    fixture.folder.path().join(file.name.trim_start_matches('/'))
}

/// Reads all there is: what comes was written, and what does not is an error that names a file.
/// Says whether all came.
fn read_all(db: &Db, series: &[Series]) -> bool {
    let mut whole = true;
    let mut note = |result: Result<(), DbError>| {
        if let Err(error) = result {
            assert!(matches!(error, DbError::Damaged { .. }), "{error}");
            assert!(error.to_string().contains(".sst"), "{error}");
            whole = false;
        }
    };
    let mut ids: Vec<_> = series.iter().enumerate().map(|(n, s)| (s.id, n)).collect();
    ids.sort_unstable();
    for day in [DAY, DAY.next()] {
        for part in ids.chunks(90) {
            let sorted: Vec<_> = part.iter().map(|(id, _)| *id).collect();
            note(db.read_chunks(day, &sorted, Windows::ALL, &never, |at, _, value| {
                let mut read = Samples::default();
                assert_eq!(decode(value, TimeRange::ALL, &mut read), []);
                assert_eq!(read, samples(part[at].1, day.start_ms(), 40));
                true
            }));
            note(db.read_labels(day, &sorted, &never, |at, _, labels| {
                assert_eq!(labels, series[part[at].1].labels);
                true
            }));
        }
        let numbers = db.find(&TenantId::default(), day, &[], &never);
        let ids = numbers.and_then(|numbers| db.ids(day, &numbers));
        note(ids.map(|ids| assert!(ids.len() <= SERIES)));
        let values = db.label_values(&TenantId::default(), &[day], "host", &[], 9999, &never);
        note(values.map(|values| assert!(values.len() <= SERIES)));
    }
    whole
}

fn writes_and_compacts(db: &Db) {
    let series = numbered(3);
    let later = Window::new(Day(DAY.0 + 2), WindowInDay(0));
    register(db, later.day(), &series);
    let written = [(series[0].id, samples(0, later.start_ms(), 4))];
    merge(db, later, &written);
    db.seal_all_now(&never).unwrap();
    db.sync_wal().unwrap();
    assert_eq!(contents(db, later.day(), &[series[0].id]).len(), 1);
}

#[test]
fn a_damaged_block_is_named_and_all_else_stays() {
    let fixture = Fixture::new();
    let series = written(&fixture, true);
    let table = table_of(&fixture, "chunks");
    flip(&table, fs::metadata(&table).unwrap().len() as usize / 2);
    let db = fixture.open();
    let mut ids: Vec<_> = series.iter().map(|s| s.id).collect();
    ids.sort_unstable();
    let failed = [DAY, DAY.next()]
        .into_iter()
        .find_map(|day| db.read_chunks(day, &ids, Windows::ALL, &never, |_, _, _| true).err());
    let error = failed.unwrap().to_string();
    assert!(error.contains(&name(&table)) && error.contains("of day 20"), "{error}");
    assert!(db.damage_found() > 0);
    assert!(!read_all(&db, &series));
    register(&db, DAY.next().next(), &series[..9]);
    drop(db);
    let db = fixture.open();
    let ranges = db.damaged_ranges().unwrap();
    assert_eq!((ranges.len(), ranges[0].family), (1, "chunks"));
    assert!(ranges[0].detail.contains(&name(&table)), "{ranges:?}");
    assert!(db.damage_found() > 0);
    assert!(read_all(&db, &series), "what is left reads without an error");
    let left = contents(&db, DAY, &ids).len() + contents(&db, DAY.next(), &ids).len();
    assert!(left < 2 * SERIES, "something is lost");
    assert!(left > SERIES, "the blocks around the damaged one are kept: {left}");
    writes_and_compacts(&db);
    drop(db);
    assert_eq!(fixture.open().damaged_ranges().unwrap().len(), 1);
}

#[test]
fn a_compaction_that_meets_damage_ends_writing_until_the_next_open() {
    let fixture = Fixture::new();
    let series = written(&fixture, false);
    let table = table_of(&fixture, "chunks");
    flip(&table, fs::metadata(&table).unwrap().len() as usize / 2);
    let db = fixture.open();
    let error = db.seal_all_now(&never).unwrap_err();
    assert!(error.to_string().contains(&name(&table)), "{error}");
    drop(db);
    let db = fixture.open();
    assert_eq!(db.damaged_ranges().unwrap().len(), 1);
    assert!(read_all(&db, &series));
    writes_and_compacts(&db);
}

#[test]
fn a_poisoned_database_says_why_and_is_still_read() {
    let fixture = Fixture::new();
    written(&fixture, false);
    let table = table_of(&fixture, "numbers");
    flip(&table, 100);
    let db = fixture.open();
    let all: (Option<&[u8]>, Option<&[u8]>) = (None, None);
    let family = db.family(crate::db::Family::Numbers);
    let mut options = rocksdb::CompactOptions::default();
    options.set_bottommost_level_compaction(rocksdb::BottommostLevelCompaction::Force);
    db.rocks.compact_range_cf_opt(family, all.0, all.1, &options);
    let mut batch = db.batch();
    batch.checkpoint(0, 1);
    let refused = db.write(batch).unwrap_err();
    assert!(matches!(&refused, DbError::Poisoned { .. }), "{refused}");
    assert_eq!(refused.class(), rangekeeper_model::ErrorClass::Unavailable);
    assert!(db.poisoned().unwrap().contains(&name(&table)));
    assert!(db.find(&TenantId::default(), DAY, &[], &never).unwrap().len() == SERIES as u64);
    drop(db);
    let db = fixture.open();
    assert_eq!(db.damaged_ranges().unwrap()[0].family, "numbers");
    writes_and_compacts(&db);
}

#[test]
fn a_byte_flipped_anywhere_in_a_table_is_never_served() {
    let fixture = Fixture::new();
    let series = written(&fixture, true);
    let mut random = fastrand::Rng::with_seed(7);
    for table in files(fixture.folder.path(), |name| name.ends_with(".sst")) {
        let length = fs::metadata(&table).unwrap().len() as usize;
        let ends = [0, length - 1, length - 200, length.saturating_sub(900)];
        let places = ends.into_iter().chain((0..2).map(|_| random.usize(..length)));
        for at in places {
            let damaged = tempfile::tempdir().unwrap();
            copy(fixture.folder.path(), damaged.path());
            flip(&damaged.path().join(name(&table)), at);
            let open = || Db::open(damaged.path(), fixture.options.clone(), &fixture.with);
            let what = format!("{} at {at} of {length}", name(&table));
            let db = open()
                .unwrap_or_else(|e| panic!("{what}: {e} {:?}", std::error::Error::source(&e)));
            let whole = read_all(&db, &series);
            drop(db);
            let db = open().unwrap_or_else(|e| panic!("{what}, again: {e}"));
            assert!(read_all(&db, &series), "{what}");
            if !whole {
                assert_eq!(db.damaged_ranges().unwrap().len(), 1, "{what}");
            }
            writes_and_compacts(&db);
        }
    }
}

#[test]
fn damage_in_rocksdbs_log_refuses_by_name_unless_loss_is_accepted() {
    let mut fixture = Fixture::new();
    let series = numbered(50);
    let crashed = tempfile::tempdir().unwrap();
    {
        let db = fixture.open();
        for some in series.chunks(5) {
            register(&db, DAY, some);
        }
        db.sync_wal().unwrap();
        // As after a crash: a close would flush.
        copy(fixture.folder.path(), crashed.path());
    }
    let logs = files(crashed.path(), |name| name.ends_with(".log"));
    let log = logs.iter().max_by_key(|log| fs::metadata(log).unwrap().len()).unwrap();
    flip(log, fs::metadata(log).unwrap().len() as usize / 2);
    let open = |fixture: &Fixture| Db::open(crashed.path(), fixture.options.clone(), &fixture.with);
    let refused = open(&fixture).unwrap_err();
    assert!(matches!(&refused, OpenError::Damaged { offset: Some(_), .. }), "{refused}");
    assert!(refused.to_string().contains(&name(log)), "{refused}");
    fixture.options.on_damage = OnDamage::AcceptLoss;
    let db = open(&fixture).unwrap();
    let left = db.find(&TenantId::default(), DAY, &[], &never).unwrap().len();
    assert!((1..50).contains(&left), "{left}");
    writes_and_compacts(&db);
}

#[test]
fn damage_in_the_manifest_refuses_by_name() {
    let fixture = Fixture::new();
    written(&fixture, true);
    let manifest = files(fixture.folder.path(), |name| name.starts_with("MANIFEST-")).remove(0);
    let length = fs::metadata(&manifest).unwrap().len() as usize;
    for at in [8, length / 3, length / 2] {
        flip(&manifest, at);
        let refused = fixture.try_open().unwrap_err();
        assert!(refused.to_string().contains(&name(&manifest)), "{at}: {refused}");
        flip(&manifest, at);
    }
    fixture.open();
}

#[test]
fn a_torn_end_of_rocksdbs_log_is_cut() {
    let fixture = Fixture::new();
    let crashed = tempfile::tempdir().unwrap();
    {
        let db = fixture.open();
        for some in numbered(50).chunks(5) {
            register(&db, DAY, some);
        }
        copy(fixture.folder.path(), crashed.path());
    }
    let logs = files(crashed.path(), |name| name.ends_with(".log"));
    let log = logs.iter().max_by_key(|log| fs::metadata(log).unwrap().len()).unwrap();
    let bytes = fs::read(log).unwrap();
    fs::write(log, &bytes[..bytes.len() - 9]).unwrap();
    let db = Db::open(crashed.path(), fixture.options.clone(), &fixture.with).unwrap();
    assert_eq!(db.find(&TenantId::default(), DAY, &[], &never).unwrap().len(), 45);
}
