//! The database through its own surface, each test in a folder of its own.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::case_sensitive_file_extension_comparisons,
    reason = "small numbers, and names that RocksDB gives"
)]

mod damage;
mod index;
mod merging;
mod open;
mod retention;
mod sealing;
mod shards;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use rangekeeper_chunk::{decode, encode};
use rangekeeper_model::{
    Day, Labels, METRIC_NAME, RunId, Samples, SeriesHasher, SeriesId, ShardCount, ShardId,
    TenantId, TimeRange, Window, WindowInDay,
};
use tempfile::TempDir;

use super::{CreateWith, Db, DbOptions, OpenError, Registration, Windows, never};

const SEED: u64 = 11;
const DAY: Day = Day(20_000);

/// A folder, a clock, and how to open a database with both.
struct Fixture {
    folder: TempDir,
    now_ms: Arc<AtomicI64>,
    options: DbOptions,
    with: CreateWith,
}

impl Fixture {
    fn new() -> Self {
        let now_ms = Arc::new(AtomicI64::new(DAY.start_ms()));
        let clock = now_ms.clone();
        Self {
            folder: tempfile::tempdir().unwrap(),
            now_ms,
            options: DbOptions::new(Arc::new(move || clock.load(Ordering::Relaxed))),
            with: CreateWith {
                store_id: 5,
                seed: SEED,
                shards: ShardCount::new(4).unwrap(),
                expect_seed: None,
                expect_shards: None,
                cluster: None,
                run: RunId::of(1),
            },
        }
    }

    fn try_open(&self) -> Result<Db, OpenError> {
        Db::open(self.folder.path(), self.options.clone(), &self.with)
    }

    fn open(&self) -> Db {
        self.try_open().unwrap()
    }

    fn set_now_ms(&self, now_ms: i64) {
        self.now_ms.store(now_ms, Ordering::Relaxed);
    }
}

/// A series to write.
#[derive(Clone, Debug)]
struct Series {
    id: SeriesId,
    tenant: TenantId,
    labels: Labels,
}

impl Series {
    fn new(tenant: &str, pairs: &[(&str, &str)]) -> Self {
        let tenant = TenantId::new(tenant).unwrap();
        let labels = Labels::from_pairs(pairs.iter().copied()).unwrap();
        let hasher = SeriesHasher::new(SEED, &tenant);
        let hash = hasher.hash(labels.as_bytes());
        let name = labels.metric_name().unwrap_or_default();
        let id = hasher.id(hash, name, ShardCount::new(4).unwrap());
        Self { id, tenant, labels }
    }

    fn numbered(number: usize) -> Self {
        let (host, metric) = (format!("h{number}"), format!("m{}", number % 7));
        Self::new("anonymous", &[(METRIC_NAME, &metric), ("host", &host), ("job", "node")])
    }
}

fn numbered(count: usize) -> Vec<Series> {
    (0..count).map(Series::numbered).collect()
}

fn register(db: &Db, day: Day, series: &[Series]) {
    let mut batch = db.batch();
    let mut registrations: Vec<_> = series
        .iter()
        .map(|s| Registration {
            id: s.id,
            tenant: &s.tenant,
            labels: s.labels.as_bytes(),
            number: None,
        })
        .collect();
    db.register(&mut batch, day, &mut registrations).unwrap();
    db.write(batch).unwrap();
}

/// A sample every 15 s from `from_ms`; values depend on the series and the time.
fn samples(series: usize, from_ms: i64, count: usize) -> Samples {
    let mut samples = Samples::default();
    for step in 0..count {
        let timestamp_ms = from_ms + 15_000 * i64::try_from(step).unwrap();
        samples.floats.push(timestamp_ms, 0, (series * 1000 + step) as f64);
    }
    samples
}

fn merge(db: &Db, window: Window, series: &[(SeriesId, Samples)]) {
    let _guards = db.shard_guards(ShardId(0), ShardId(3));
    let mut batch = db.batch();
    for (id, samples) in series {
        batch.merge_chunk(window.day(), *id, window.in_day(), &encode(samples));
    }
    db.write(batch).unwrap();
}

/// All that `ids` hold under `day`.
fn contents(db: &Db, day: Day, ids: &[SeriesId]) -> BTreeMap<SeriesId, Samples> {
    let mut sorted = ids.to_vec();
    sorted.sort_unstable();
    let mut found: BTreeMap<SeriesId, Samples> = BTreeMap::new();
    db.read_chunks(day, &sorted, Windows::ALL, &never, |at, _, value| {
        let samples = found.entry(sorted[at]).or_default();
        assert_eq!(decode(value, TimeRange::ALL, samples), []);
        true
    })
    .unwrap();
    found
}

fn window(in_day: u8) -> Window {
    Window::new(DAY, WindowInDay(in_day))
}
