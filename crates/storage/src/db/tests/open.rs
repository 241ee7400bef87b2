//! What a store is, what it refuses, and what survives a reopen or a snapshot.

use super::super::{MetadataEntry, StoredExemplar, keys, meta};
use super::*;
use crate::db::Exemplar;

#[test]
fn identity_is_fixed_and_boots_are_counted() {
    let mut fixture = Fixture::new();
    let first = *fixture.open().identity();
    fixture.with = CreateWith { store_id: 9, seed: 99, ..fixture.with };
    let second = *fixture.open().identity();
    assert_eq!((second.store_id, second.seed, second.shards), (5, SEED, first.shards));
    assert_eq!((first.boot, second.boot), (1, 2));
}

#[test]
fn a_run_is_noted_once_however_often_it_opens_the_store() {
    let mut fixture = Fixture::new();
    let mut runs = Vec::new();
    for run in [1, 1, 2, 2, 3].map(RunId::of) {
        fixture.with.run = run;
        runs.push(run);
        runs.dedup();
        let db = fixture.open();
        assert_eq!(db.lineage().runs(), runs);
    }
    let db = fixture.open();
    db.rocks.put(meta::RUNS, [7; 15]).unwrap();
    drop(db);
    let refused = fixture.try_open().unwrap_err();
    assert!(matches!(refused, OpenError::Identity { record: "runs" }), "{refused}");
}

#[test]
fn another_seed_or_number_of_shards_is_refused_by_name() {
    let mut fixture = Fixture::new();
    drop(fixture.open());
    fixture.with.expect_shards = Some(ShardCount::new(8).unwrap());
    let refused = fixture.try_open().unwrap_err().to_string();
    assert!(refused.contains("with 4 shards, not 8"), "{refused}");
    fixture.with.expect_shards = Some(ShardCount::new(4).unwrap());
    fixture.with.expect_seed = Some(12);
    let refused = fixture.try_open().unwrap_err().to_string();
    assert!(refused.contains("0x000000000000000b"), "{refused}");
    fixture.with.expect_seed = Some(SEED);
    fixture.open();
}

#[test]
fn a_newer_format_is_refused_and_says_why() {
    let fixture = Fixture::new();
    let db = fixture.open();
    db.rocks.put(meta::FORMAT, (keys::FORMAT_VERSION + 1).to_le_bytes()).unwrap();
    drop(db);
    let refused = fixture.try_open().unwrap_err();
    let text = refused.to_string();
    assert!(matches!(refused, OpenError::NewerFormat { found: 2, supported: 1 }), "{text}");
    assert!(text.contains("newer"), "{text}");
}

#[test]
fn a_store_whose_meta_is_lost_is_still_itself() {
    let mut fixture = Fixture::new();
    {
        let db = fixture.open();
        register(&db, DAY, &numbered(30));
        db.raise_floor(Day(7)).unwrap();
        let all = [keys::Family::Meta].map(|family| db.family(family));
        let mut batch = rocksdb::WriteBatch::default();
        batch.delete_range_cf(all[0], b"".as_slice(), &[0xff]);
        db.rocks.write(batch).unwrap();
        db.flush().unwrap();
    }
    fixture.with = CreateWith { store_id: 9, seed: 99, ..fixture.with };
    let db = fixture.open();
    assert_eq!((db.identity().store_id, db.seed(), db.floor()), (5, SEED, Day(7)));
    drop(db);
    std::fs::remove_file(fixture.folder.path().join("STORE")).unwrap();
    let db = fixture.open();
    db.rocks.delete(meta::IDENTITY).unwrap();
    drop(db);
    std::fs::remove_file(fixture.folder.path().join("STORE")).unwrap();
    let refused = fixture.try_open().unwrap_err();
    assert!(matches!(refused, OpenError::Identity { record: "identity" }), "{refused}");
}

#[test]
fn records_survive_a_reopen() {
    let fixture = Fixture::new();
    let tenant = TenantId::default();
    let series = Series::numbered(3);
    let labels = Labels::from_pairs([("trace_id", "abc")]).unwrap();
    let entry = |help: &str| MetadataEntry {
        kind: "counter".into(),
        help: help.into(),
        unit: String::new(),
        last_day: DAY,
    };
    {
        let db = fixture.open();
        let mut batch = db.batch();
        batch.checkpoint(3, 77);
        batch.newest_ms(-5);
        for timestamp_ms in [DAY.start_ms() + 9, DAY.start_ms() + 1] {
            let exemplar = Exemplar { timestamp_ms, value: 0.5, labels: labels.as_bytes() };
            batch.exemplar(DAY, series.id, &exemplar);
        }
        batch.metadata(&tenant, "up", &entry("a"));
        db.write(batch).unwrap();
        let mut batch = db.batch();
        batch.metadata(&tenant, "up", &entry("b"));
        db.write(batch).unwrap();
        db.put_note("clock", b"x").unwrap();
    }
    let db = fixture.open();
    assert_eq!((db.checkpoint(3).unwrap(), db.checkpoint(4).unwrap()), (Some(77), None));
    assert_eq!(db.newest_ms().unwrap(), Some(-5));
    assert_eq!(db.note("clock").unwrap().as_deref(), Some(b"x".as_slice()));
    let mut found = Vec::new();
    let range = TimeRange { from_ms: DAY.start_ms() + 1, to_ms: DAY.start_ms() + 8 };
    db.read_exemplars(DAY, series.id, range, |exemplar| {
        found.push(exemplar);
        true
    })
    .unwrap();
    let timestamp_ms = DAY.start_ms() + 1;
    assert_eq!(found, [StoredExemplar { timestamp_ms, value: 0.5, labels }]);
    let mut said = Vec::new();
    db.read_metadata(&tenant, None, |family, entries| {
        said.push((family.to_owned(), entries));
        true
    })
    .unwrap();
    assert_eq!(said, [("up".to_owned(), vec![entry("a"), entry("b")])]);
}

#[test]
fn a_snapshot_opens_as_a_database() {
    let fixture = Fixture::new();
    let db = fixture.open();
    let series = numbered(20);
    register(&db, DAY, &series);
    let written: Vec<_> = (0..20).map(|n| (series[n].id, samples(n, DAY.start_ms(), 5))).collect();
    merge(&db, window(0), &written);
    let target = tempfile::tempdir().unwrap();
    let copy = target.path().join("copy");
    db.snapshot(&copy).unwrap();
    let opened = Db::open(&copy, fixture.options.clone(), &fixture.with).unwrap();
    let ids: Vec<_> = series.iter().map(|s| s.id).collect();
    assert_eq!(contents(&opened, DAY, &ids), contents(&db, DAY, &ids));
    assert_eq!(opened.identity().store_id, db.identity().store_id);
}

#[test]
fn statistics_count_what_was_written() {
    let fixture = Fixture::new();
    let db = fixture.open();
    register(&db, DAY, &numbered(100));
    let statistics = db.statistics();
    let written = statistics.iter().find(|s| s.name == "rocksdb.number.keys.written").unwrap();
    assert!(written.value > 200, "{written:?}");
    assert!(db.memory().memtable_bytes > 0);
    db.flush().unwrap();
    assert!(db.table_bytes().unwrap() > 0);
}
