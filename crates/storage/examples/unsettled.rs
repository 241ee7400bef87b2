//! What keeping account of unsettled writes costs: CPU of the thread that writes, a sample, without
//! it and with it, where every write is settled at once.
//!
//! `cargo run --release -p rangekeeper-storage --example unsettled`

use std::error::Error;
use std::fs;

use rangekeeper_model::{Labels, SeriesHash, TenantId};
use rangekeeper_placement::Replication;
use rangekeeper_storage::log::Durability;
use rangekeeper_storage::{Clock, Store, StoreOptions};

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

const SERIES: usize = 100_000;
const SERIES_A_REQUEST: usize = 2_000;
const TICKS: u16 = 60;
const ROUNDS: usize = 5;
const T0: i64 = 1_760_000_000_000;

fn main() -> Result<()> {
    let mut alone = Vec::new();
    let mut replicated = Vec::new();
    // By turns, as the machine is not always as fast.
    for _ in 0..ROUNDS {
        alone.push(run(false)?);
        replicated.push(run(true)?);
    }
    let median = |figures: &mut Vec<f64>| {
        figures.sort_by(f64::total_cmp);
        figures[ROUNDS / 2]
    };
    let (alone, replicated) = (median(&mut alone), median(&mut replicated));
    println!("alone       {alone:6.1} ns a sample");
    println!("replicated  {replicated:6.1} ns a sample");
    Ok(())
}

/// Nanoseconds a sample.
fn run(is_replicated: bool) -> Result<f64> {
    let dir = tempfile::tempdir()?;
    let mut options = StoreOptions::new(dir.path());
    options.durability = Durability::Flush;
    options.replicated = is_replicated.then(|| Replication::Three.quorum());
    options.flush_samples = usize::MAX / 1000;
    let store = Store::open(options, Clock::system())?;
    let tenant = TenantId::default();
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let hasher = store.hasher(&tenant)?;
    let labels = (0..SERIES).map(|number| {
        let instance = format!("host-{number}");
        Labels::from_pairs([("__name__", "up"), ("instance", instance.as_str())])
    });
    let labels: Vec<Labels> = labels.collect::<Result<_, _>>()?;
    let hashes: Vec<SeriesHash> = labels.iter().map(|of| hasher.hash(of.as_bytes())).collect();
    let write = |tick: u16| -> Result<()> {
        for (hashes, labels) in hashes.chunks(SERIES_A_REQUEST).zip(labels.chunks(SERIES_A_REQUEST))
        {
            let mut write = store.write(&tenant)?;
            for hash in hashes {
                write.series(*hash);
                write.float(T0 + i64::from(tick) * 15_000, 0, 1.0);
            }
            for row in write.resolve() {
                write.define(row, labels[row.number()].clone())?;
            }
            let committed = runtime.block_on(write.commit())?;
            if let Some(position) = committed.position.filter(|_| is_replicated) {
                store.settle(position, None);
            }
        }
        Ok(())
    };
    // Series come into being only once.
    write(0)?;
    let before_ns = cpu_ns()?;
    for tick in 1..=TICKS {
        write(tick)?;
    }
    let spent_ns = cpu_ns()? - before_ns;
    store.abandon();
    let samples = f64::from(TICKS) * f64::from(u32::try_from(SERIES)?);
    Ok(spent_ns / samples)
}

/// CPU that this thread has used.
fn cpu_ns() -> Result<f64> {
    let text = fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(text.split_whitespace().next().unwrap_or_default().parse()?)
}
