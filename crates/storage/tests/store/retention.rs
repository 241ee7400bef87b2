//! Retention: whole days go, a jump of time waits for a confirmation, and what went does not come
//! back.

use std::path::Path;
use std::time::Duration;

use rangekeeper_model::{DAY_MS, Day, Labels, TenantId, TimeRange};
use rangekeeper_storage::oracle::{Batch, Row};
use rangekeeper_storage::{Store, StoreStats};

use crate::keeper::{Keeper, TestClock, options};

/// Midnight of some day.
const T0: i64 = 20_000 * DAY_MS;
const HOUR_MS: i64 = 60 * 60 * 1000;

fn open(dir: &Path, clock: &TestClock, days: i64) -> Store {
    let mut options = options(dir);
    options.retention_ms = days * DAY_MS;
    Store::open(options, clock.clock()).unwrap()
}

fn labels(host: &str) -> Labels {
    Labels::from_pairs([("__name__", "up"), ("instance", host)]).unwrap()
}

fn put(store: &mut Store, host: &str, at_ms: i64) {
    let row = Row { floats: vec![(at_ms, 0, 1.0)], ..Row::new(labels(host)) };
    store.put(&TenantId::default(), &Batch { rows: vec![row], metadata: vec![] });
}

/// Times of the samples of `host`.
fn times(store: &Store, host: &str) -> Vec<i64> {
    let rows = store.ask(&TenantId::default(), &[], TimeRange::ALL);
    let of_host = rows.into_iter().filter(|(found, _)| *found == labels(host));
    of_host.flat_map(|(_, points)| points).map(|(at_ms, ..)| at_ms).collect()
}

/// Waits until the store's figures are as `wanted`.
fn wait(store: &Store, what: &str, wanted: impl Fn(&StoreStats) -> bool) {
    let begun = std::time::Instant::now();
    while !wanted(&store.stats().unwrap()) {
        assert!(begun.elapsed() < Duration::from_mins(1), "in vain for {what}");
        store.wait_change(Duration::from_millis(20));
    }
}

fn floor_of(store: &Store) -> Day {
    Day::of(store.stats().unwrap().floor_ms)
}

fn reopen(store: Store, dir: &Path, clock: &TestClock, days: i64) -> Store {
    store.abandon();
    drop(store);
    open(dir, clock, days)
}

#[test]
fn the_floor_rises_by_whole_days() {
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::at(T0 + HOUR_MS);
    let mut store = open(dir.path(), &clock, 3);
    let first = T0 - 3 * DAY_MS;
    for hours in [0, 1, 12, 23, 24, 30, 72] {
        put(&mut store, "a", first + hours * HOUR_MS);
    }
    store.confirm_time().unwrap();
    // The newest sample says that it is midnight, and the first of these days is three days before.
    assert_eq!(floor_of(&store), Day::of(first));
    assert_eq!(times(&store, "a").len(), 7);
    clock.set(T0 + 13 * HOUR_MS);
    put(&mut store, "a", T0 + 12 * HOUR_MS + 1);
    store.confirm_time().unwrap();
    assert_eq!(floor_of(&store), Day::of(first), "half of the day is kept, so all of it is");
    let kept = [23, 24, 30, 72].map(|hours| first + hours * HOUR_MS);
    assert_eq!(times(&store, "a")[..4], kept, "an answer is exact nevertheless");
    clock.set(T0 + 25 * HOUR_MS);
    put(&mut store, "a", T0 + 25 * HOUR_MS);
    store.confirm_time().unwrap();
    assert_eq!(floor_of(&store), Day::of(first).next());
    assert_eq!(times(&store, "a")[0], first + 30 * HOUR_MS);
    store.close();
}

#[test]
fn now_is_the_smaller_of_the_clock_and_the_newest_sample() {
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::at(T0 + 100 * DAY_MS);
    let mut store = open(dir.path(), &clock, 3);
    put(&mut store, "a", T0 - 2 * DAY_MS);
    put(&mut store, "a", T0);
    store.confirm_time().unwrap();
    assert_eq!(floor_of(&store), Day::of(T0 - 3 * DAY_MS));
    assert_eq!(times(&store, "a"), [T0 - 2 * DAY_MS, T0]);
    clock.set(T0 + HOUR_MS);
    put(&mut store, "a", T0 + 50 * DAY_MS);
    store.confirm_time().unwrap();
    assert_eq!(times(&store, "a"), [T0 - 2 * DAY_MS, T0, T0 + 50 * DAY_MS]);
    store.close();
}

#[test]
fn a_clock_that_is_ahead_shuts_nobody_out_of_an_empty_store() {
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::at(T0 + 1000 * DAY_MS);
    let mut store = open(dir.path(), &clock, 3);
    // The store's thread looks at retention as soon as it runs, which it does not say: it has
    // several chances.
    for _ in 0..4 {
        store.checkpoint().unwrap();
        store = reopen(store, dir.path(), &clock, 3);
    }
    clock.set(T0);
    put(&mut store, "a", T0);
    assert_eq!(floor_of(&store), Day(0));
    assert_eq!(times(&store, "a"), [T0]);
    store.close();
}

#[test]
fn a_jump_of_more_than_a_day_deletes_nothing_until_it_is_confirmed() {
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::at(T0);
    let mut store = open(dir.path(), &clock, 2);
    put(&mut store, "a", T0);
    store.confirm_time().unwrap();
    let floor = floor_of(&store);
    let jumped = T0 + 10 * DAY_MS;
    clock.set(jumped);
    put(&mut store, "a", jumped);
    store.checkpoint().unwrap();
    let store = reopen(store, dir.path(), &clock, 2);
    wait(&store, "the hold", |stats| stats.retention_held);
    assert_eq!(floor_of(&store), floor);
    assert_eq!(times(&store, "a"), [jumped], "what is beyond retention is not answered");
    let store = reopen(store, dir.path(), &clock, 2);
    wait(&store, "the hold", |stats| stats.retention_held);
    clock.set(T0 + HOUR_MS);
    assert_eq!(times(&store, "a"), [T0, jumped], "the clock was wrong, and nothing is lost");
    clock.set(jumped);
    store.confirm_time().unwrap();
    assert!(!store.stats().unwrap().retention_held);
    assert_eq!(floor_of(&store), Day::of(jumped - 2 * DAY_MS));
    clock.set(T0 + HOUR_MS);
    assert_eq!(times(&store, "a"), [jumped], "a confirmation is for good");
    store.close();
}

#[test]
fn less_than_a_day_needs_no_confirmation() {
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::at(T0 + HOUR_MS);
    let mut store = open(dir.path(), &clock, 2);
    put(&mut store, "a", T0 - 2 * DAY_MS + HOUR_MS);
    put(&mut store, "a", T0 + HOUR_MS);
    store.confirm_time().unwrap();
    assert_eq!(floor_of(&store), Day::of(T0 - 2 * DAY_MS));
    clock.set(T0 + DAY_MS);
    put(&mut store, "a", T0 + DAY_MS);
    let store = reopen(store, dir.path(), &clock, 2);
    let next = T0 - DAY_MS;
    wait(&store, "the floor", |stats| stats.floor_ms == next);
    assert!(!store.stats().unwrap().retention_held);
    store.close();
}

#[test]
fn what_retention_dropped_does_not_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::at(T0);
    let mut store = open(dir.path(), &clock, 2);
    // In table files, sealed; in the database's memory; in the log alone.
    put(&mut store, "a", T0 - DAY_MS);
    put(&mut store, "sealed", T0 - DAY_MS);
    store.seal_all().unwrap();
    put(&mut store, "a", T0 - DAY_MS + 1);
    put(&mut store, "checkpointed", T0 - DAY_MS);
    store.checkpoint().unwrap();
    put(&mut store, "a", T0 - DAY_MS + 2);
    put(&mut store, "logged", T0 - DAY_MS);
    let now = T0 + 5 * DAY_MS;
    clock.set(now);
    put(&mut store, "a", now);
    store.confirm_time().unwrap();
    // Late, after the days are gone.
    put(&mut store, "a", T0);
    put(&mut store, "late", T0);
    let gone = |store: &Store, when: &str| {
        // A longer retention must not bring it back either, nor an older now.
        assert_eq!(times(store, "a"), [now], "{when}");
        let all = store.list(&TenantId::default(), &[vec![]], TimeRange::ALL);
        assert_eq!(all.into_iter().collect::<Vec<_>>(), [labels("a")], "{when}");
        let hosts = store.values(&TenantId::default(), "instance", &[], TimeRange::ALL);
        assert_eq!(hosts.into_iter().collect::<Vec<_>>(), ["a"], "{when}");
    };
    gone(&store, "at once");
    let store = reopen(store, dir.path(), &clock, 100);
    gone(&store, "after a crash, with a longer retention");
    store.checkpoint().unwrap();
    gone(&store, "after a checkpoint");
    store.seal_all().unwrap();
    clock.set(T0);
    gone(&store, "sealed, with a clock that went back");
    store.close();
    let store = open(dir.path(), &clock, 100);
    gone(&store, "after a restart");
    store.close();
}

#[test]
fn a_series_whose_only_day_went_opens_again_with_its_newer_samples() {
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::at(T0);
    let mut store = open(dir.path(), &clock, 2);
    put(&mut store, "old", T0 - DAY_MS);
    put(&mut store, "b", T0);
    store.checkpoint().unwrap();
    // The log names the series by its key from the next file on, and the day that has its labels
    // goes.
    store.seal_all().unwrap();
    put(&mut store, "old", T0 - DAY_MS + 1);
    let now = T0 + 5 * DAY_MS;
    clock.set(now);
    put(&mut store, "b", now);
    store.confirm_time().unwrap();
    let mut store = reopen(store, dir.path(), &clock, 2);
    assert_eq!(times(&store, "b"), [now]);
    put(&mut store, "old", T0);
    put(&mut store, "young", now - DAY_MS);
    store.checkpoint().unwrap();
    store.seal_all().unwrap();
    put(&mut store, "young", now - DAY_MS + 1);
    put(&mut store, "old", now);
    clock.set(now + 3 * DAY_MS);
    put(&mut store, "b", now + 3 * DAY_MS);
    put(&mut store, "young", now + 3 * DAY_MS);
    store.confirm_time().unwrap();
    store.seal_all().unwrap();
    put(&mut store, "young", now + 3 * DAY_MS + 1);
    let store = reopen(store, dir.path(), &clock, 2);
    assert_eq!(times(&store, "young"), [now + 3 * DAY_MS, now + 3 * DAY_MS + 1]);
    store.close();
}
