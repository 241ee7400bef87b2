//! A store with series in it, and requests to write to it.
#![allow(dead_code, reason = "each bench uses its part")]

use std::path::Path;

use rangekeeper_model::{Labels, TenantId};
use rangekeeper_storage::log::Durability;
use rangekeeper_storage::{Clock, Store, StoreOptions, Write};
use tokio::runtime::{Builder, Runtime};

/// The time of the first tick: the begin of a window.
pub const T0: i64 = 1_763_712_000_000;
/// Between two ticks.
pub const STEP_MS: i64 = 15_000;
/// Series of one host.
pub const METRICS: usize = 500;

/// A store that flushes and seals only when it is told to.
pub fn open(dir: &Path) -> Store {
    let mut options = StoreOptions::new(dir);
    options.durability = Durability::Flush;
    options.flush_samples = usize::MAX >> 8;
    options.flush_age_s = u32::MAX;
    options.seal = false;
    Store::open(options, Clock::new(|| T0 + 3_600_000)).expect("an empty folder opens")
}

/// Label sets of `count` series, host by host.
pub fn series(count: usize) -> Vec<Labels> {
    let set = |n| rangekeeper_benches::labels(n / METRICS, n % METRICS);
    (0..count).map(|n| Labels::from_pairs(set(n)).expect("a valid set")).collect()
}

/// A request with `ticks` samples of each of `series`, from `at_ms` on, not yet resolved.
pub fn begin(store: &Store, series: &[Labels], at_ms: i64, ticks: u16) -> Write {
    let mut write = store.write(&TenantId::default()).expect("an open store");
    for (number, labels) in (0u32..).zip(series) {
        write.series(write.tenant().hasher().hash(labels.as_bytes()));
        for tick in 0..ticks {
            let value = f64::from(number) + f64::from(tick) * 1.25;
            write.float(at_ms + i64::from(tick) * STEP_MS, 0, value);
        }
    }
    write
}

/// Writes such a request and waits for the answer.
pub fn put(runtime: &Runtime, mut write: Write, series: &[Labels]) {
    for row in write.resolve() {
        let labels = series[row.number()].clone();
        write.define(row, labels).expect("no collision");
    }
    runtime.block_on(write.commit()).expect("a disk that works");
}

/// Runs the commits.
pub fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).build().expect("a thread")
}

/// A store in `dir` where each of `series` has `ticks` samples, all in the head.
pub fn filled(dir: &Path, series: &[Labels], ticks: u16) -> Store {
    let (store, runtime) = (open(dir), runtime());
    for tick in 0..ticks {
        for part in series.chunks(2_000) {
            let write = begin(&store, part, T0 + i64::from(tick) * STEP_MS, 1);
            put(&runtime, write, part);
        }
    }
    store
}
