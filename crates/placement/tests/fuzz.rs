//! The fuzz bodies over a corpus of random and of nearly sound inputs. `RANGEKEEPER_FUZZ_SECONDS`
//! makes it longer, `RANGEKEEPER_SEED` repeats a run.

use std::time::{Duration, Instant};

use rangekeeper_placement::fuzz;

fn seed() -> u64 {
    let seed = std::env::var("RANGEKEEPER_SEED").ok().and_then(|seed| seed.parse().ok());
    seed.unwrap_or_else(|| fastrand::u64(..))
}

fn bytes(random: &mut fastrand::Rng) -> Vec<u8> {
    (0..random.usize(0..600)).map(|_| random.u8(..)).collect()
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
fn any_bytes_are_refused_or_come_back_the_same() {
    run(|random| fuzz::assignment(&bytes(random)));
}

#[test]
fn sound_assignments_come_back_and_damage_is_noticed() {
    run(|random| fuzz::assignment_round_trip(&bytes(random)));
}

#[test]
fn bodies_with_a_few_changed_bytes_do_not_panic() {
    run(|random| {
        let Ok(encoded) = fuzz::sound(&bytes(random)).encode() else { return };
        let mut body = encoded[10..encoded.len() - 4].to_vec();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..body.len());
            body[at] = random.u8(..);
        }
        fuzz::assignment(&body);
    });
}
