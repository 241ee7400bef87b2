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
mod serving;
mod world;

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
    let mut world = World::new(seed, replication, mutation);
    for step in 0..STEPS {
        world.step();
        if let Some(what) = world.violation.take() {
            return (Some(format!("step {step}: {what}")), world.reads_checked);
        }
    }
    (None, world.reads_checked)
}

fn keeps_its_promises(replication: Replication) {
    let one = std::env::var("RANGEKEEPER_SEED").ok().and_then(|seed| seed.parse().ok());
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
fn every_rule_left_out_breaks_a_promise() {
    let mut survivors = Vec::new();
    for &(mutation, replications) in MUTATIONS {
        for &replication in replications {
            let caught = (0..MOST_SCHEDULES)
                .find_map(|seed| Some((seed, run(seed, replication, Some(mutation)).0?)));
            match caught {
                Some((seed, what)) => println!("{mutation:?}, {replication:?}: {seed}: {what}"),
                None => survivors.push((mutation, replication)),
            }
        }
    }
    assert!(survivors.is_empty(), "nothing broke without {survivors:?}");
}
