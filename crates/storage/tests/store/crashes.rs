//! Random operations with crashes between them. After every step, and after every reopen, the store
//! answers what the oracle answers: no acknowledged sample is missing, and none is invented.
//!
//! `RANGEKEEPER_SEED` runs one seed, `RANGEKEEPER_SOAK=1` runs many.

use std::collections::BTreeSet;

use rangekeeper_model::{DAY_MS, Day, Labels, ShardCount, TenantId, TimeRange};
use rangekeeper_storage::log::Durability;
use rangekeeper_storage::oracle::{Batch, Oracle, OracleExemplar};
use rangekeeper_storage::{MetadataRow, Store};
use tempfile::TempDir;

use crate::keeper::{Keeper, Rows, TestClock, compare, options, try_put};
use crate::workload::{Workload, seeds};

const T0: i64 = 20_000 * DAY_MS + DAY_MS / 3;
const HOUR_MS: i64 = 60 * 60 * 1000;
const RETENTION_MS: i64 = 3 * DAY_MS;
/// Samples reach further back than what is kept.
const REACH_MS: i64 = RETENTION_MS + DAY_MS;
const STEPS: usize = 60;

/// A store, what it must answer, and the way its time goes.
struct Run {
    dir: TempDir,
    clock: TestClock,
    workload: Workload,
    oracle: Oracle,
    /// All that was ever written.
    ever: Oracle,
    /// `None` only between a crash and the reopen.
    store: Option<Store>,
    shards: ShardCount,
    durability: Durability,
    flush_samples: usize,
    loose_samples: usize,
    floor_ms: i64,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut workload = Workload::new(seed);
        let random = &mut workload.random;
        let clock = TestClock::at(T0);
        let mut run = Self {
            dir: tempfile::tempdir().unwrap(),
            oracle: Oracle::new(clock.clock(), RETENTION_MS),
            ever: Oracle::new(clock.clock(), i64::MAX),
            store: None,
            shards: ShardCount::new(1 << random.u32(..7)).unwrap(),
            durability: [Durability::Sync, Durability::Flush][random.usize(..2)],
            flush_samples: [3, 60][random.usize(..2)],
            loose_samples: [20, 50_000][random.usize(..2)],
            floor_ms: 0,
            clock,
            workload,
        };
        run.open();
        run
    }

    fn open(&mut self) {
        let mut options = options(self.dir.path());
        options.shards = self.shards;
        options.durability = self.durability;
        options.flush_samples = self.flush_samples;
        options.loose_samples = self.loose_samples;
        options.retention_ms = RETENTION_MS;
        options.idle_s = 20 * 60;
        self.store = Some(Store::open(options, self.clock.clock()).unwrap());
    }

    fn store(&mut self) -> &mut Store {
        self.store.as_mut().expect("only a crash takes it")
    }

    /// One operation; returns its name.
    fn step(&mut self) -> &'static str {
        match self.workload.random.u8(..100) {
            0..45 => self.write(),
            45..50 => self.begin_a_write(),
            50..57 => self.crash(),
            57..64 => self.crash_while_writing(),
            64..67 => self.close(),
            67..75 => {
                self.store().checkpoint().unwrap();
                "checkpoint"
            }
            75..80 => {
                self.store().seal_all().unwrap();
                "seal"
            }
            80..83 => self.snapshot(),
            83..92 => {
                let by_ms = self.workload.random.i64(1..4 * HOUR_MS);
                self.clock.set(self.clock.now_ms() + by_ms);
                "time goes on"
            }
            92..94 => {
                let by_ms = self.workload.random.i64(DAY_MS..2 * DAY_MS);
                self.clock.set(self.clock.now_ms() + by_ms);
                "time jumps"
            }
            94..97 => {
                self.store().confirm_time().unwrap();
                let due = self.oracle.due_floor().start_ms();
                assert_eq!(self.store().stats().unwrap().floor_ms, due, "the floor is raised");
                "confirm the time"
            }
            _ => self.go_idle(),
        }
    }

    fn batch(&mut self) -> (TenantId, Batch) {
        self.workload.batch(self.clock.now_ms(), REACH_MS)
    }

    fn write(&mut self) -> &'static str {
        for _ in 0..self.workload.random.usize(1..8) {
            let (tenant, batch) = self.batch();
            self.store().put(&tenant, &batch);
            self.oracle.put(&tenant, &batch);
            self.ever.put(&tenant, &batch);
            self.clock.set(self.clock.now_ms() + 5_000);
        }
        "write"
    }

    /// A request that goes away before it is committed.
    fn begin_a_write(&mut self) -> &'static str {
        let (tenant, batch) = self.batch();
        let mut write = self.store().write(&tenant).unwrap();
        for row in &batch.rows {
            write.series(write.tenant().hasher().hash(row.labels.as_bytes()));
            write.float(T0, 0, 404.0);
        }
        for row in write.resolve() {
            write.define(row, batch.rows[row.number()].labels.clone()).unwrap();
        }
        "begin a write"
    }

    fn crash(&mut self) -> &'static str {
        let store = self.store.take().expect("open");
        store.abandon();
        drop(store);
        self.open();
        "crash"
    }

    /// The write that is under way when the process dies is stored whole or not at all, and whole
    /// if it was answered.
    fn crash_while_writing(&mut self) -> &'static str {
        let (tenant, batch) = self.batch();
        let store = self.store.take().expect("open");
        let spin = self.workload.random.u32(..2000);
        let answer = std::thread::scope(|scope| {
            let writer = scope.spawn(|| try_put(&store, &tenant, &batch));
            (0..spin).for_each(|_| std::hint::spin_loop());
            store.abandon();
            writer.join().unwrap()
        });
        drop(store);
        self.open();
        // Opening may have raised the floor: what lies below it is in neither, whatever became of
        // the write.
        self.follow_floor();
        let mut with = self.oracle.clone();
        with.put(&tenant, &batch);
        let found = state(self.store(), &tenant);
        if found == state(&with, &tenant) {
            // It may be there, even where no answer shows it: of samples that have just expired
            // the series is still listed for their day.
            self.ever.put(&tenant, &batch);
            // Of a write that shows nowhere and was not answered, as one of metadata alone,
            // nothing is claimed.
            if answer.is_ok() || found != state(&self.oracle, &tenant) {
                self.oracle = with;
            }
        } else {
            assert!(answer.is_err(), "an acknowledged write is lost");
            compare(&state(&self.oracle, &tenant).0, &found.0, "of a write that is stored in part");
        }
        "crash while writing"
    }

    fn close(&mut self) -> &'static str {
        self.store.take().expect("open").close();
        self.open();
        "close"
    }

    fn snapshot(&mut self) -> &'static str {
        let copy = tempfile::tempdir().unwrap();
        let folder = copy.path().join("snapshot");
        self.store().snapshot(&folder).unwrap();
        let mut options = options(&folder);
        options.retention_ms = RETENTION_MS;
        let copied = Store::open(options, self.clock.clock()).unwrap();
        for tenant in self.workload.tenants() {
            let expected = self.oracle.ask(tenant, &[], TimeRange::ALL);
            let found = copied.ask(tenant, &[], TimeRange::ALL);
            compare(&expected, &found, "in the snapshot");
        }
        copied.close();
        "snapshot"
    }

    /// Nothing is written for so long that all series leave memory.
    fn go_idle(&mut self) -> &'static str {
        self.clock.set(self.clock.now_ms() + HOUR_MS);
        self.store().checkpoint().unwrap();
        let stats = self.store().stats().unwrap();
        assert_eq!((stats.series, stats.open_samples, stats.loose_samples), (0, 0, 0));
        "go idle"
    }

    fn follow_floor(&mut self) {
        let floor_ms = self.store().stats().unwrap().floor_ms;
        assert!(floor_ms >= self.floor_ms, "the floor never falls");
        assert!(floor_ms <= self.oracle.due_floor().start_ms(), "the floor is not ahead of time");
        self.floor_ms = floor_ms;
        self.oracle.raise_floor(Day::of(floor_ms));
    }

    fn check(&mut self) {
        self.follow_floor();
        for tenant in self.workload.tenants().to_vec() {
            self.check_answers(&tenant);
            self.check_listings(&tenant);
            self.check_metadata(&tenant);
        }
    }

    fn check_answers(&mut self, tenant: &TenantId) {
        let expected = self.oracle.ask(tenant, &[], TimeRange::ALL);
        compare(&expected, &self.store().ask(tenant, &[], TimeRange::ALL), "of all");
        for _ in 0..3 {
            let matchers = self.workload.matchers();
            let range = self.workload.range(self.clock.now_ms(), REACH_MS);
            let expected = self.oracle.ask(tenant, &matchers, range);
            let found = self.store().ask(tenant, &matchers, range);
            compare(&expected, &found, &format!("{matchers:?} in {range:?}"));
        }
        let exemplars = self.oracle.examples(tenant, &[], TimeRange::ALL);
        assert_eq!(self.store().examples(tenant, &[], TimeRange::ALL), exemplars);
    }

    /// Series are listed by day. In the last hour of a day they are registered for the next one
    /// beforehand, so the store may go on to list a series for one day more than it has samples.
    fn check_listings(&mut self, tenant: &TenantId) {
        let matchers = self.workload.matchers();
        let range = self.workload.range(self.clock.now_ms(), REACH_MS);
        let oldest_ms = self.oracle.horizon().oldest_ms;
        let from_ms = range.from_ms.max(oldest_ms) - DAY_MS;
        let wider = TimeRange { from_ms, to_ms: range.to_ms };
        let selectors = [matchers.clone()];
        let (must, may) = (
            self.oracle.list(tenant, &selectors, range),
            self.ever.list(tenant, &selectors, wider),
        );
        within(&must, &self.store().list(tenant, &selectors, range), &may);
        let (must, may) = (
            self.oracle.names(tenant, &matchers, range),
            self.ever.names(tenant, &matchers, wider),
        );
        within(&must, &self.store().names(tenant, &matchers, range), &may);
        let (must, may) = (
            self.oracle.values(tenant, "instance", &matchers, range),
            self.ever.values(tenant, "instance", &matchers, wider),
        );
        within(&must, &self.store().values(tenant, "instance", &matchers, range), &may);
    }

    /// Statements expire by the day on which they were written to the database, which may be later
    /// than the day on which they were made.
    fn check_metadata(&mut self, tenant: &TenantId) {
        let said = |rows: Vec<MetadataRow>| -> BTreeSet<_> {
            let pair = |row: MetadataRow| {
                let family = row.family;
                row.metadata.into_iter().map(move |metadata| (family.clone(), metadata))
            };
            rows.into_iter().flat_map(pair).collect()
        };
        let found = said(self.store().statements(tenant));
        // Only now: the floor may have risen since it was looked at.
        let floor_ms = self.store().stats().unwrap().floor_ms;
        self.oracle.raise_floor(Day::of(floor_ms));
        let must = said(self.oracle.statements(tenant));
        assert!(must.is_subset(&found), "missing: {:?}", must.difference(&found));
    }
}

/// Samples and exemplars of a tenant.
fn state(keeper: &dyn Keeper, tenant: &TenantId) -> (Rows, Vec<(Labels, Vec<OracleExemplar>)>) {
    let (all, none) = (TimeRange::ALL, &[]);
    (keeper.ask(tenant, none, all), keeper.examples(tenant, none, all))
}

fn within<T: Ord + std::fmt::Debug>(must: &BTreeSet<T>, found: &BTreeSet<T>, may: &BTreeSet<T>) {
    assert!(must.is_subset(found), "missing: {:?}", must.difference(found));
    assert!(found.is_subset(may), "invented: {:?}", found.difference(may));
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_invented() {
    for seed in seeds(6) {
        println!("RANGEKEEPER_SEED={seed}");
        let mut run = Run::new(seed);
        for number in 0..STEPS {
            let step = run.step();
            println!("{number}: {step}");
            run.check();
        }
        run.store().close();
    }
}
