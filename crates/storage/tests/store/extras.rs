//! Exemplars and metadata that a copy missed: the account keeps them, through checkpoints, crashes
//! and restarts, until they were delivered; and whoever gets them takes them as a set.

use std::collections::BTreeSet;

use rangekeeper_model::{DAY_MS, Day, Labels, MetricType, ShardId, TenantId, TimeRange};
use rangekeeper_placement::{Place, UnsettledKey};
use rangekeeper_storage::db::{EXEMPLARS, METADATA, never};
use rangekeeper_storage::log::{Import, Position};
use rangekeeper_storage::oracle::{Batch, Row};
use rangekeeper_storage::{Bundle, FamilyMetadata, StoreOptions, UnsettledStats};

use crate::copies::{Copy, deliver, take};
use crate::keeper::{Keeper, TestClock};

const T0: i64 = 20_000 * DAY_MS + DAY_MS / 3;
/// Longer than a record waits to be settled.
const AGE_MS: i64 = 11_000;

fn tenant() -> TenantId {
    TenantId::default()
}

fn labels(host: u32) -> Labels {
    let host = format!("h{host}");
    Labels::from_pairs([("__name__", "up"), ("instance", host.as_str())]).unwrap()
}

/// Exemplars of some series, a sample beside each.
fn exemplars(hosts: std::ops::Range<u32>, at_ms: i64) -> Batch {
    let row = |host: u32| {
        let trace = Labels::from_pairs([("trace", host.to_string())]).unwrap();
        let exemplars = vec![(at_ms, f64::from(host), trace)];
        Row { floats: vec![(at_ms, 0, 1.0)], exemplars, ..Row::new(labels(host)) }
    };
    Batch { rows: hosts.map(row).collect(), metadata: vec![] }
}

fn said(help: &str) -> FamilyMetadata {
    let unit = "seconds".to_owned();
    FamilyMetadata { metric_type: MetricType::Gauge, help: help.to_owned(), unit }
}

fn statement(family: &str, help: &str) -> Batch {
    Batch { rows: vec![], metadata: vec![(family.to_owned(), said(help))] }
}

fn shard_of_family(copy: &Copy, family: &str) -> ShardId {
    copy.store().family_shard(&tenant(), family).unwrap()
}

/// All that the copy would deliver, by shard.
fn undelivered(copy: &Copy) -> Vec<(ShardId, Vec<UnsettledKey>, Bundle)> {
    let store = copy.store();
    let of_shard = |(shard, _)| {
        let entries = store.undelivered(shard, usize::MAX);
        let keys: Vec<_> = entries.into_iter().map(|(key, ..)| key).collect();
        let bundle = store.read_unsettled(shard, &keys, &never).unwrap();
        (shard, keys, bundle)
    };
    store.unsettled_shards().into_iter().map(of_shard).collect()
}

/// Families, and values of exemplars, that the copy would deliver.
fn would_deliver(copy: &Copy) -> (BTreeSet<String>, BTreeSet<u64>) {
    let (mut families, mut values) = (BTreeSet::new(), BTreeSet::new());
    for (_, _, bundle) in undelivered(copy) {
        families.extend(bundle.metadata.into_iter().map(|statement| statement.family.family));
        values.extend(bundle.exemplars.iter().map(|exemplar| exemplar.value.to_bits()));
    }
    (families, values)
}

#[test]
fn what_is_not_settled_survives_checkpoints_crashes_and_restarts() {
    for most_chunks in [1, 4096] {
        let clock = TestClock::at(T0);
        let change = |options: &mut StoreOptions| options.unsettled_chunks = most_chunks;
        let mut copy = Copy::new(&clock, 4, change);
        let expected = (
            BTreeSet::from(["up".to_owned(), "down".to_owned()]),
            (0..20u32).map(|host| f64::from(host).to_bits()).collect(),
        );
        copy.put(&tenant(), &exemplars(0..20, T0)).unwrap();
        for family in ["up", "down"] {
            copy.put(&tenant(), &statement(family, "help")).unwrap();
        }
        assert_eq!(copy.store().unsettled_stats().records, 3);
        copy.store().checkpoint().unwrap();
        assert_eq!(copy.store().unsettled_stats().records, 3, "they are not old");
        assert!(!copy.store().is_settled_for(shard_of_family(&copy, "down"), Place(1)));

        copy.crash();
        assert_eq!(would_deliver(&copy), expected, "from the log");
        copy.store().checkpoint().unwrap();
        assert_eq!(would_deliver(&copy), expected, "from the database");
        copy.crash();
        assert_eq!(would_deliver(&copy), expected, "from the account in the database");
        copy.restart();
        assert_eq!(would_deliver(&copy), expected, "after an end in order");
        let keys: Vec<_> = undelivered(&copy).into_iter().flat_map(|(_, keys, _)| keys).collect();
        let is_exemplars = |key: &UnsettledKey| matches!(key, UnsettledKey::Exemplars(..));
        let is_day = |key: &UnsettledKey| *key == UnsettledKey::Day(Day::of(T0));
        assert!(keys.contains(&UnsettledKey::Metadata));
        assert_eq!(
            (keys.iter().any(is_exemplars), keys.iter().any(is_day)),
            match most_chunks {
                // One shard may have one series.
                1 => (keys.iter().any(is_exemplars), true),
                _ => (true, false),
            }
        );
    }
}

#[test]
fn records_of_exemplars_or_metadata_alone_become_entries_unless_they_are_settled() {
    let clock = TestClock::at(T0);
    let copy = Copy::new(&clock, 4, |_| ());
    let shards: Vec<ShardId> = copy.options.cluster.unwrap().shards.iter().collect();
    let mut lone = exemplars(0..8, T0);
    let write = |batch: &Batch| copy.put(&tenant(), batch).expect("it is something");
    let first = write(&lone);
    copy.store().settle(first, None);
    assert_eq!(copy.store().unsettled_stats(), UnsettledStats::default());
    for row in &mut lone.rows {
        row.floats.clear();
        row.exemplars[0].0 += 1;
    }
    let positions = [write(&lone), write(&statement("up", "a")), write(&statement("up", "b"))];
    assert_eq!(copy.store().unsettled_stats().records, 3);
    copy.store().settle(positions[1], None);
    let of_family = shard_of_family(&copy, "up");
    let others: Vec<_> = shards.iter().copied().filter(|shard| *shard != of_family).collect();
    copy.store().settle(positions[2], Some(&others));
    assert_eq!(copy.store().unsettled_stats().records, 2);
    copy.store().settle(positions[0], Some(&others));
    clock.set(T0 + AGE_MS);
    copy.store().checkpoint().unwrap();
    let stats = copy.store().unsettled_stats();
    assert_eq!((stats.records, stats.days), (0, 1), "one entry for metadata");
    let left = undelivered(&copy);
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].0, of_family);
    assert!(left[0].2.chunks.is_empty(), "no samples are unsettled");
    let helps: BTreeSet<_> = left[0].2.metadata.iter().map(|s| s.said.help.as_str()).collect();
    assert_eq!(helps, BTreeSet::from(["a", "b"]));
    let late = left[0].2.exemplars.iter().filter(|exemplar| exemplar.timestamp_ms == T0 + 1);
    assert_eq!(late.count(), stats.chunks, "one exemplar a series");
}

#[test]
fn holders_deliver_them_and_whoever_gets_them_takes_them_once() {
    let clock = TestClock::at(T0);
    let mut copies: Vec<Copy> = (0..3).map(|_| Copy::new(&clock, 4, |_| ())).collect();
    let begin = Position(copies[2].store().cursor().unwrap().0 + 1);
    for copy in &copies[..2] {
        copy.put(&tenant(), &exemplars(0..20, T0)).unwrap();
        copy.put(&tenant(), &statement("up", "help")).unwrap();
    }
    clock.set(T0 + AGE_MS);
    for copy in &copies {
        copy.store().checkpoint().unwrap();
    }
    let bundles = undelivered(&copies[0]);
    for (shard, _, bundle) in &bundles {
        let mut half = bundle.clone();
        half.exemplars.truncate(half.exemplars.len() / 2);
        half.metadata.clear();
        take(copies[2].store(), *shard, &half);
        take(copies[2].store(), *shard, bundle);
        assert_eq!(take(copies[2].store(), *shard, bundle), [], "nothing of it is new");
        assert_eq!(take(copies[1].store(), *shard, bundle), [], "nor here");
    }
    let of_family = shard_of_family(&copies[2], "up");
    let mut parts = BTreeSet::new();
    for shard in copies[2].options.cluster.unwrap().shards.iter() {
        let mut tail = copies[2].store().tail(shard, begin).unwrap();
        while let Some(record) = tail.next_record().unwrap() {
            for Import { series, window, .. } in record.imports().unwrap() {
                assert!(window != METADATA || series.shard() == of_family);
                parts.insert(window);
            }
        }
    }
    assert!(parts.contains(&EXEMPLARS) && parts.contains(&METADATA), "the tail shows {parts:?}");

    copies[2].crash();
    let expected = Keeper::examples(copies[0].store(), &tenant(), &[], TimeRange::ALL);
    assert_eq!(expected.len(), 20);
    assert_eq!(Keeper::examples(copies[2].store(), &tenant(), &[], TimeRange::ALL), expected);
    let told = Keeper::statements(copies[0].store(), &tenant());
    assert_eq!(Keeper::statements(copies[2].store(), &tenant()), told);
    assert_eq!(told[0].metadata, [said("help")]);

    for _ in 0..2 {
        for from in 0..copies.len() {
            for (shard, _) in copies[from].store().unsettled_shards() {
                deliver(&copies, from, shard, usize::MAX);
            }
        }
    }
    for copy in &mut copies {
        assert_eq!(copy.store().unsettled_stats(), UnsettledStats::default());
        copy.store().checkpoint().unwrap();
        copy.crash();
        assert_eq!(copy.store().unsettled_stats(), UnsettledStats::default(), "after a crash");
    }
}

#[test]
fn a_statement_that_was_made_later_is_new_and_an_earlier_one_is_not() {
    let clock = TestClock::at(T0);
    let copies = [0, 1].map(|_| Copy::new(&clock, 4, |_| ()));
    let shard = shard_of_family(&copies[0], "up");
    let made = |copy: &Copy| {
        copy.put(&tenant(), &statement("up", "help")).unwrap();
        copy.store().checkpoint().unwrap();
        copy.store().read_unsettled(shard, &[UnsettledKey::Metadata], &never).unwrap()
    };
    let early = made(&copies[0]);
    clock.set(T0 + DAY_MS);
    let late = made(&copies[1]);
    let days = [&early, &late].map(|bundle| bundle.metadata[0].said.last_day);
    assert_eq!(days, [Day::of(T0), Day::of(T0).next()]);
    assert_eq!(take(copies[1].store(), shard, &early), []);
    clock.set(T0 + DAY_MS + AGE_MS);
    take(copies[0].store(), shard, &late);
    let now = copies[0].store().read_unsettled(shard, &[UnsettledKey::Metadata], &never).unwrap();
    assert_eq!(now, late, "one statement, with its later day");
}
