//! Seeded schedules of a small cluster in which nothing goes right, against the promises of the
//! data plane; and the same with one rule left out at a time, which must break one.
//!
//! `RANGEKEEPER_SEED` runs one schedule, `RANGEKEEPER_SOAK` a million.

mod checks;
mod leaders;
mod messages;
mod mutation;
mod node;
mod routers;
mod scripted;
mod serving;
mod world;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rangekeeper_placement::Replication;

use crate::mutation::{MUTATIONS, Mutation};
use crate::world::World;

const STEPS: usize = 700;

/// Schedules of each replication factor in a normal run: 20,000 in all.
const SCHEDULES: u64 = 5_000;
const SOAK_SCHEDULES: u64 = 250_000;

/// How many schedules a mutation may survive.
const MOST_SCHEDULES: u64 = 30_000;

/// Runs a schedule; says what it broke, and how many reads it checked.
fn run(seed: u64, replication: Replication, mutation: Option<Mutation>) -> (Option<String>, u64) {
    go_on(World::new(seed, replication, mutation))
}

/// The same, after a beginning.
fn run_after(
    begin: fn(&mut World),
    seed: u64,
    replication: Replication,
    mutation: Option<Mutation>,
) -> (Option<String>, u64) {
    let mut world = World::new(seed, replication, mutation);
    begin(&mut world);
    go_on(world)
}

fn go_on(mut world: World) -> (Option<String>, u64) {
    for step in 0..STEPS {
        world.step();
        if let Some(what) = world.violation.take() {
            return (Some(format!("step {step}: {what}")), world.reads_checked);
        }
    }
    (None, world.reads_checked)
}

fn given_seed() -> Option<u64> {
    std::env::var("RANGEKEEPER_SEED").ok().and_then(|seed| seed.parse().ok())
}

fn keeps_its_promises(replication: Replication) {
    let one = given_seed();
    let first = one.unwrap_or_else(|| fastrand::u64(..));
    let is_soak = std::env::var_os("RANGEKEEPER_SOAK").is_some();
    let schedules = match one {
        Some(_) => 1,
        None if is_soak => SOAK_SCHEDULES,
        None => SCHEDULES,
    };
    println!("RANGEKEEPER_SEED={first}");
    let mut reads = 0;
    for seed in (0..schedules).map(|n| first.wrapping_add(n)) {
        let (violation, checked) = run(seed, replication, None);
        reads += checked;
        if let Some(what) = violation {
            panic!("{replication:?}, RANGEKEEPER_SEED={seed}: {what}");
        }
    }
    println!("{replication:?}: {schedules} schedules, {reads} reads");
    assert!(one.is_some() || reads > schedules, "schedules that read nothing prove nothing");
}

#[test]
fn one_copy_keeps_its_promises() {
    keeps_its_promises(Replication::One);
}

#[test]
fn two_copies_and_a_witness_keep_their_promises() {
    keeps_its_promises(Replication::Two);
}

#[test]
fn three_copies_keep_their_promises() {
    keeps_its_promises(Replication::Three);
}

#[test]
fn five_copies_keep_their_promises() {
    keeps_its_promises(Replication::Five);
}

#[test]
fn beginnings_that_chance_would_seldom_find_keep_the_promises() {
    for begin in [World::repair_under_a_write, World::give_back_to_a_node_that_is_behind] {
        for seed in 0..500 {
            let (violation, _) = run_after(begin, seed, Replication::Three, None);
            assert_eq!(violation, None, "RANGEKEEPER_SEED={seed}");
        }
    }
}

#[test]
fn when_nothing_goes_wrong_any_more_everything_becomes_steady_and_settled() {
    let one = given_seed();
    let first = one.unwrap_or_else(|| fastrand::u64(..));
    println!("RANGEKEEPER_SEED={first}");
    let schedules = if one.is_some() { 1 } else { 200 };
    for replication in [Replication::One, Replication::Two, Replication::Three, Replication::Five] {
        for seed in (0..schedules).map(|n| first.wrapping_add(n)) {
            let mut world = World::new(seed, replication, None);
            (0..STEPS).for_each(|_| world.step());
            let calmed = world.calm_down();
            assert_eq!(calmed, Ok(()), "{replication:?}, RANGEKEEPER_SEED={seed}");
        }
    }
}

/// The first schedule that breaks a promise under a mutation.
fn first_caught(mutation: Mutation, replication: Replication) -> Option<(u64, String)> {
    let begin: fn(&mut World) = match mutation {
        Mutation::RepairKeepsFences => World::repair_under_a_write,
        Mutation::GivenByRoutersMap => World::give_back_to_a_node_that_is_behind,
        _ => |_| {},
    };
    let broken = |seed| Some((seed, run_after(begin, seed, replication, Some(mutation)).0?));
    (0..MOST_SCHEDULES).find_map(broken)
}

#[test]
fn every_rule_left_out_breaks_a_promise() {
    let cases: Vec<_> =
        MUTATIONS.iter().flat_map(|(m, at)| at.iter().map(move |r| (*m, *r))).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut survivors = Vec::new();
        while let Some(&(mutation, replication)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            match first_caught(mutation, replication) {
                Some((seed, what)) => println!("{mutation:?}, {replication:?}: {seed}: {what}"),
                None => survivors.push((mutation, replication)),
            }
        }
        survivors
    };
    let survivors = thread::scope(|scope| {
        let other = scope.spawn(work);
        [work(), other.join().expect("it does not panic")].concat()
    });
    assert!(survivors.is_empty(), "nothing broke without {survivors:?}");
}
