//! Copies that miss writes: one of them in full with what is unsettled at another is all that was
//! written to either, at every moment; and deliveries bring all of them to the same.
//!
//! `RANGEKEEPER_SEED` runs one seed, `RANGEKEEPER_SOAK=1` runs many.

use std::collections::BTreeSet;

use rangekeeper_model::{DAY_MS, TenantId, TimeRange, WINDOW_MS};
use rangekeeper_placement::Place;
use rangekeeper_storage::oracle::Oracle;
use rangekeeper_storage::{FamilyMetadata, MetadataRow, Scope, UnsettledStats};

use crate::copies::{Copy, all_in, deliver, unite};
use crate::keeper::{Keeper, TestClock};
use crate::workload::{Workload, seeds};

const T0: i64 = 20_000 * DAY_MS + DAY_MS / 3;
const REACH_MS: i64 = 2 * DAY_MS;
const STEPS: usize = 60;

/// Several copies that miss writes, and all that was written to any.
struct Several {
    copies: Vec<Copy>,
    clock: TestClock,
    workload: Workload,
    oracle: Oracle,
}

impl Several {
    fn new(seed: u64, copies: usize) -> Self {
        let mut workload = Workload::new(seed);
        let clock = TestClock::at(T0);
        let shards = 1 << workload.random.u32(..6);
        let copies = (0..copies)
            .map(|_| {
                let random = &mut workload.random;
                let most_chunks = [2, 4096][random.usize(..2)];
                let flush_samples = [3, 60][random.usize(..2)];
                Copy::new(&clock, shards, |options| {
                    options.retention_ms = 3 * DAY_MS;
                    options.unsettled_chunks = most_chunks;
                    options.flush_samples = flush_samples;
                })
            })
            .collect();
        let oracle = Oracle::new(clock.clock(), i64::MAX);
        Self { copies, clock, workload, oracle }
    }

    fn step(&mut self) -> &'static str {
        let at = self.workload.random.usize(..self.copies.len());
        match self.workload.random.u8(..100) {
            0..55 => self.write(),
            55..63 => {
                self.copies[at].crash();
                "crash"
            }
            63..66 => {
                self.copies[at].restart();
                "restart"
            }
            66..76 => {
                self.copies[at].store().checkpoint().unwrap();
                "checkpoint"
            }
            76..80 => {
                self.copies[at].store().seal_all().unwrap();
                "seal"
            }
            80..90 => {
                let by_ms = self.workload.random.i64(1..2 * WINDOW_MS);
                self.clock.set(self.clock.now_ms() + by_ms);
                "time goes on"
            }
            90..93 => self.raise_floor(),
            _ => self.deliver_some(at),
        }
    }

    /// A write that some copy may miss, of which the router then speaks or not.
    fn write(&mut self) -> &'static str {
        let (tenant, batch) = self.workload.batch(self.clock.now_ms(), REACH_MS);
        let missed = match self.workload.random.u8(..10) {
            0..5 => None,
            _ => Some(self.workload.random.usize(..self.copies.len())),
        };
        let mut positions = Vec::new();
        for (at, copy) in self.copies.iter().enumerate().filter(|(at, _)| Some(*at) != missed) {
            positions.extend(copy.put(&tenant, &batch).map(|position| (at, position)));
        }
        self.oracle.put(&tenant, &batch);
        if missed.is_none() {
            let shards = self.copies[0].options.cluster.unwrap().shards;
            let some: Vec<_> = shards.iter().filter(|_| self.workload.random.bool()).collect();
            for (at, position) in positions {
                // Each word can be lost.
                match self.workload.random.u8(..10) {
                    0..6 => self.copies[at].store().settle(position, None),
                    6..8 => self.copies[at].store().settle(position, Some(&some)),
                    _ => {}
                }
            }
        }
        self.clock.set(self.clock.now_ms() + 3_000);
        "write"
    }

    fn raise_floor(&mut self) -> &'static str {
        let due = self.copies.iter().map(|copy| copy.store().due_floor()).min().unwrap();
        for copy in &self.copies {
            copy.store().raise_floor(due).unwrap();
        }
        self.oracle.raise_floor(due);
        "raise the floor"
    }

    fn deliver_some(&mut self, from: usize) -> &'static str {
        for (shard, count) in self.copies[from].store().unsettled_shards() {
            if self.copies.len() == 3 && self.workload.random.bool() {
                deliver(&self.copies, from, shard, self.workload.random.usize(1..=count));
            }
        }
        "deliver some"
    }

    /// Every copy, read in full with the unsettled of each other one.
    fn check(&mut self) {
        let shards = self.copies[0].options.cluster.unwrap().shards;
        for tenant in self.workload.tenants().to_vec() {
            let is_all = self.workload.random.bool();
            let matchers = if is_all { vec![] } else { self.workload.matchers() };
            let range = if self.workload.random.bool() {
                TimeRange::ALL
            } else {
                self.workload.range(self.clock.now_ms(), REACH_MS)
            };
            let expected = self.oracle.ask(&tenant, &matchers, range);
            for copy in &self.copies {
                let has_nothing = copy.has_nothing_unsettled(&tenant, &matchers, range);
                let scope = all_in(&copy.options, false);
                let found = copy.select_in(&tenant, &matchers, range, &scope);
                assert!(!has_nothing || unite(&[found], range).is_empty(), "{matchers:?}");
            }
            let first = self.workload.random.usize(..self.copies.len());
            let second = (first + 1) % self.copies.len();
            // Of some shards the one is read in full, of the rest the other.
            let (ours, theirs) = shards
                .iter()
                .map(|shard| u32::from(shard.0))
                .partition(|_| self.workload.random.bool());
            let one = Scope { full: ours, unsettled: theirs };
            let other = Scope { full: one.unsettled.clone(), unsettled: one.full.clone() };
            let found = [(first, one), (second, other)]
                .map(|(at, scope)| self.copies[at].select_in(&tenant, &matchers, range, &scope));
            crate::keeper::compare(
                &expected,
                &unite(&found, range),
                &format!("copies {first} and {second}, {matchers:?} in {range:?}"),
            );
        }
    }
}

fn statements(keeper: &impl Keeper, tenant: &TenantId) -> BTreeSet<(String, FamilyMetadata)> {
    let rows = keeper.statements(tenant).into_iter();
    let row = |row: MetadataRow| {
        let family = row.family;
        row.metadata.into_iter().map(move |said| (family.clone(), said))
    };
    rows.flat_map(row).collect()
}

#[test]
fn one_full_copy_and_the_unsettled_of_another_are_all_that_was_written() {
    for seed in seeds(4) {
        for copies in [2, 3] {
            println!("RANGEKEEPER_SEED={seed}, {copies} copies");
            let mut run = Several::new(seed, copies);
            for number in 0..STEPS {
                let step = run.step();
                println!("{number}: {step}");
                run.check();
            }
        }
    }
}

#[test]
fn holders_that_deliver_bring_all_copies_to_the_same_and_then_nothing_is_unsettled() {
    for seed in seeds(2) {
        println!("RANGEKEEPER_SEED={seed}");
        let mut run = Several::new(seed, 3);
        for _ in 0..STEPS {
            run.step();
        }
        run.clock.set(run.clock.now_ms() + 11_000);
        for copy in &run.copies {
            copy.store().checkpoint().unwrap();
        }
        let mut rounds = 0;
        while run.copies.iter().any(|copy| !copy.store().unsettled_shards().is_empty()) {
            for from in 0..run.copies.len() {
                for (shard, _) in run.copies[from].store().unsettled_shards() {
                    deliver(&run.copies, from, shard, usize::MAX);
                }
            }
            rounds += 1;
            assert!(rounds < 10, "what is delivered does not travel back for ever");
        }
        for copy in &mut run.copies {
            assert_eq!(copy.store().unsettled_stats(), UnsettledStats::default());
            let shards = copy.options.cluster.unwrap().shards;
            assert!(shards.iter().all(|shard| copy.store().is_settled_for(shard, Place(1))));
            copy.store().checkpoint().unwrap();
            copy.crash();
            assert_eq!(copy.store().unsettled_stats(), UnsettledStats::default(), "after a crash");
        }
        for tenant in run.workload.tenants() {
            let expected = run.oracle.ask(tenant, &[], TimeRange::ALL);
            for (at, copy) in run.copies.iter().enumerate() {
                let found = Keeper::ask(copy.store(), tenant, &[], TimeRange::ALL);
                crate::keeper::compare(&expected, &found, &format!("of copy {at}"));
            }
            let examples = run.oracle.examples(tenant, &[], TimeRange::ALL);
            let told: BTreeSet<_> = statements(&run.oracle, tenant);
            let of_first = statements(run.copies[0].store(), tenant);
            for (at, copy) in run.copies.iter().enumerate() {
                let found = Keeper::examples(copy.store(), tenant, &[], TimeRange::ALL);
                assert_eq!(found, examples, "exemplars of copy {at}");
                // What was said at the end of a day may be kept for a day more.
                let found = statements(copy.store(), tenant);
                assert!(told.is_subset(&found), "{told:?} {found:?}");
                assert_eq!(found, of_first, "metadata of copy {at}");
            }
        }
    }
}
