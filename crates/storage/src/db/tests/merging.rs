//! Random operations against a model: whatever is merged, flushed, sealed, reopened or expired
//! between, the database holds the union of what was merged above the floor.

use fastrand::Rng;

use super::*;
use crate::seal::SealPolicy;

const SERIES: usize = 12;
const DAYS: u32 = 3;
const STEPS: usize = 60;

type Model = BTreeMap<(Day, SeriesId), Samples>;

fn random_samples(random: &mut Rng, window: Window) -> Samples {
    let mut samples = Samples::default();
    let mut at_ms = window.start_ms() + random.i64(0..40) * 1000;
    for _ in 0..random.usize(1..30) {
        // Few distinct values, so that merges often bring the same sample, and another at its time.
        let start_ms = if random.u8(0..4) == 0 { at_ms - 1 } else { 0 };
        samples.floats.push(at_ms, start_ms, f64::from(random.u8(0..4)));
        at_ms += random.i64(1..4) * 1000;
    }
    samples
}

fn merge_some(random: &mut Rng, db: &Db, series: &[Series], model: &mut Model) {
    let day = Day(DAY.0 + random.u32(0..DAYS));
    let window = Window::new(day, WindowInDay(random.u8(0..12)));
    let written: Vec<_> = (0..random.usize(1..SERIES))
        .map(|_| (series[random.usize(..SERIES)].id, random_samples(random, window)))
        .collect();
    merge(db, window, &written);
    if day >= db.floor() {
        for (id, samples) in &written {
            model.entry((day, *id)).or_default().unite(samples);
        }
    }
}

fn check(db: &Db, ids: &[SeriesId], model: &Model, what: &str) {
    for day in (0..DAYS).map(|n| Day(DAY.0 + n)) {
        let found: Model =
            contents(db, day, ids).into_iter().map(|(id, s)| ((day, id), s)).collect();
        let expected: Model = model
            .range((day, SeriesId([0; 16]))..=(day, SeriesId([255; 16])))
            .map(|(key, samples)| (*key, samples.clone()))
            .collect();
        assert_eq!(found, expected, "{what}, {day}");
    }
}

fn run(seed: u64) {
    let mut random = Rng::with_seed(seed);
    let fixture = Fixture::new();
    let series = numbered(SERIES);
    let ids: Vec<_> = series.iter().map(|s| s.id).collect();
    let mut model = Model::new();
    let mut db = fixture.open();
    for step in 0..STEPS {
        match random.u8(0..20) {
            0..=11 => merge_some(&mut random, &db, &series, &mut model),
            12..=13 => db.flush().unwrap(),
            14 => {
                drop(db);
                db = fixture.open();
            }
            15 => drop(db.seal_all_now(&never).unwrap()),
            16..=17 => {
                let hours = random.i64(0..24 * i64::from(DAYS + 1));
                let now_ms = (DAY.start_ms() + hours * 3_600_000).max(db.now_ms());
                fixture.set_now_ms(now_ms);
                while db.seal_due(&SealPolicy::default(), &never).unwrap().is_some() {}
            }
            18 if random.u8(0..3) == 0 => {
                let floor = Day(DAY.0 + random.u32(0..DAYS)).max(db.floor());
                db.raise_floor(floor).unwrap();
                model.retain(|(day, _), _| *day >= floor);
            }
            _ => check(&db, &ids, &model, &format!("seed {seed}, step {step}")),
        }
    }
    drop(db);
    check(&fixture.open(), &ids, &model, &format!("seed {seed}, at the end"));
}

#[test]
fn holds_the_union_of_what_was_merged_whatever_happens_between() {
    for seed in 0..12 {
        run(seed);
    }
}
