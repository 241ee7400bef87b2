//! The fuzz bodies over a corpus of random and of nearly sound inputs. `RANGEKEEPER_FUZZ_SECONDS`
//! makes it longer, `RANGEKEEPER_SEED` repeats a run.

use std::time::{Duration, Instant};

use rangekeeper_chunk::fuzz;

fn seed() -> u64 {
    let seed = std::env::var("RANGEKEEPER_SEED").ok().and_then(|seed| seed.parse().ok());
    seed.unwrap_or_else(|| fastrand::u64(..))
}

/// Bytes with runs, small numbers and noise.
fn bytes(random: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..random.usize(0..40) {
        let repeats = if random.u8(..) < 40 { random.usize(1..300) } else { 1 };
        let byte = if random.bool() { random.u8(..) } else { random.u8(..16) };
        let noise = random.bool();
        bytes.extend((0..repeats).map(|_| if noise { random.u8(..) } else { byte }));
    }
    bytes
}

/// Runs `body` on input after input, naming the seed of one that panics.
fn run(body: impl Fn(&mut fastrand::Rng)) {
    let seconds = std::env::var("RANGEKEEPER_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    let end = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let first = seed();
    println!("RANGEKEEPER_SEED={first}");
    for round in 0.. {
        if end.map_or(round == 3000, |end| Instant::now() >= end) {
            break;
        }
        let seed = first.wrapping_add(round);
        let random = &mut fastrand::Rng::with_seed(seed);
        let outcome =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| body(&mut random.clone())));
        assert!(outcome.is_ok(), "fails with RANGEKEEPER_SEED={seed}");
    }
}

#[test]
fn samples_come_back_from_every_form() {
    run(|random| fuzz::round_trip(&bytes(random)));
}

#[test]
fn merging_anything_in_any_order_holds_the_same() {
    run(|random| fuzz::merging(&bytes(random)));
}

#[test]
fn bodies_of_any_bytes_do_not_panic() {
    run(|random| fuzz::body(&bytes(random)));
}

#[test]
fn values_with_a_few_changed_bytes_do_not_panic() {
    run(|random| {
        let mut value = fuzz::chunk_value(&bytes(random));
        for _ in 0..random.usize(0..4) {
            if !value.is_empty() {
                let at = random.usize(..value.len());
                value[at] = random.u8(..);
            }
        }
        value.truncate(random.usize(..=value.len()));
        fuzz::value(&value);
    });
}

#[test]
fn sound_bodies_with_changed_bytes_do_not_panic() {
    run(|random| {
        let value = fuzz::chunk_value(&bytes(random));
        fuzz::each_body(&value, |body| {
            for _ in 0..random.usize(1..4) {
                let at = random.usize(..body.len());
                body[at] = random.u8(..);
            }
        });
    });
}
