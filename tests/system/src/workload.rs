//! Senders that never stop: lanes that write steadily, create series, send late samples and send
//! the same request twice, and know afterwards what was acknowledged.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};

use crate::api::Api;
use crate::ledger::{Finding, Ledger, METRIC, Place, places_in};
use crate::poll;

/// Connections that send at the same time.
const LANES: u64 = 4;

/// Series of a lane that get a sample in every request.
const STEADY_SERIES: u32 = 60;

/// Numbers from here on belong to series that live for one request.
const FIRST_SHORT_LIVED: u32 = 1_000_000;

/// Time between two samples of a series.
const STEP_MS: i64 = 100;

/// How long before the start of the run the samples begin; the run may not last longer.
const HEAD_START_MS: i64 = 4 * 60 * 60 * 1000;

/// How much older late samples are. Another day, so that they lie in another part of the store.
const LATE_BY_MS: i64 = 2 * 24 * 60 * 60 * 1000;

/// Pause after a request that got no answer or 503.
const RETRY_PAUSE: Duration = Duration::from_millis(10);

/// Longest wait for the next acknowledged request.
const PROGRESS_LIMIT: Duration = Duration::from_mins(1);

/// Running senders. Dropped, they stop.
pub struct Workload {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Result<()>>>,
}

struct Shared {
    api: Api,
    start_ms: i64,
    stop: AtomicBool,
    acknowledged_requests: AtomicU64,
    refused_requests: AtomicU64,
    ledgers: Vec<Mutex<Ledger>>,
}

/// The seed of a random test: a new one each time, unless `RANGEKEEPER_SEED` repeats a run. It is
/// printed, so that it can be repeated.
pub fn seed() -> u64 {
    let given = std::env::var("RANGEKEEPER_SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(|| fastrand::u64(..));
    println!("RANGEKEEPER_SEED={seed}");
    seed
}

impl Workload {
    /// Starts the lanes against a node, which may be away for a while.
    pub fn start(api: &Api) -> Result<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let shared = Arc::new(Shared {
            api: api.clone(),
            start_ms: i64::try_from(now.as_millis())? - HEAD_START_MS,
            stop: AtomicBool::new(false),
            acknowledged_requests: AtomicU64::new(0),
            refused_requests: AtomicU64::new(0),
            ledgers: (0..LANES).map(|n| Mutex::new(Ledger::new(&n.to_string()))).collect(),
        });
        let threads = (0..shared.ledgers.len()).map(|lane| {
            let shared = Arc::clone(&shared);
            let thread = std::thread::Builder::new().name(format!("lane {lane}"));
            thread.spawn(move || shared.run(lane)).context("failed to start a lane")
        });
        let threads = threads.collect::<Result<_>>()?;
        Ok(Self { shared, threads })
    }

    /// Waits until this many more requests were acknowledged.
    pub fn wait_for_requests(&self, more: u64) -> Result<()> {
        let wanted = self.shared.acknowledged_requests.load(Ordering::Relaxed) + more;
        poll::until("acknowledged requests", PROGRESS_LIMIT, || {
            self.check_running()?;
            let now = self.shared.acknowledged_requests.load(Ordering::Relaxed);
            ensure!(now >= wanted, "{} are left", wanted - now);
            Ok(())
        })
    }

    /// Waits until a request was refused with 503.
    pub fn wait_for_refusal(&self, limit: Duration) -> Result<()> {
        let before = self.shared.refused_requests.load(Ordering::Relaxed);
        poll::until("a refused request", limit, || {
            self.check_running()?;
            let now = self.shared.refused_requests.load(Ordering::Relaxed);
            ensure!(now > before, "none so far");
            Ok(())
        })
    }

    /// Acknowledged samples so far.
    pub fn acknowledged(&self) -> u64 {
        self.shared.ledgers.iter().map(|ledger| lock(ledger).acknowledged()).sum()
    }

    /// Reads everything back and holds it against the ledgers; the lanes may go on meanwhile.
    pub fn inspect(&self) -> Result<Finding> {
        let mut total = Finding::default();
        for lane in 0..self.shared.ledgers.len() {
            total.add(self.shared.inspect(lane)?);
        }
        Ok(total)
    }

    /// Stops the lanes and returns what a last look finds.
    pub fn finish(mut self) -> Result<Finding> {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in std::mem::take(&mut self.threads) {
            thread.join().map_err(|_| anyhow::anyhow!("a lane panicked"))??;
        }
        self.inspect()
    }

    /// A lane ends by itself only with an error, which `finish` returns.
    fn check_running(&self) -> Result<()> {
        ensure!(!self.threads.iter().any(JoinHandle::is_finished), "a lane has ended");
        Ok(())
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // Only reached without `finish` when the test has already failed.
            if let Ok(Err(error)) = thread.join() {
                eprintln!("a lane ended: {error:#}");
            }
        }
    }
}

impl Shared {
    fn run(&self, lane: usize) -> Result<()> {
        let mut number = 0;
        while !self.stop.load(Ordering::Relaxed) {
            let places = self.places(number)?;
            let body = lock(&self.ledgers[lane]).attempt(&places);
            // Every second request is given up when the node dies under it: it may be there or not.
            // The others are sent again until they are acknowledged, as Prometheus does.
            while !self.send(lane, &places, &body)? && number % 2 == 0 {
                if self.stop.load(Ordering::Relaxed) {
                    break;
                }
            }
            // A retry of what was acknowledged: an exact duplicate is a success.
            if number % 32 == 7 {
                self.send(lane, &places, &body)?;
            }
            number += 1;
        }
        Ok(())
    }

    /// The samples of a lane's request.
    fn places(&self, number: u32) -> Result<Vec<Place>> {
        let time = self.start_ms + i64::from(number) * STEP_MS;
        ensure!(time < self.start_ms + HEAD_START_MS, "the run is longer than its samples reach");
        let mut places: Vec<Place> = (0..STEADY_SERIES).map(|series| (series, time)).collect();
        places.push((FIRST_SHORT_LIVED + number, time));
        if number % 16 == 3 {
            places.extend((0..STEADY_SERIES / 3).map(|series| (series, time - LATE_BY_MS)));
        }
        Ok(places)
    }

    /// Whether the request was acknowledged. A refusal for good is an error: all samples are valid.
    fn send(&self, lane: usize, places: &[Place], body: &[u8]) -> Result<bool> {
        match self.api.write(body) {
            Ok(answer) if answer.is_success() => {
                lock(&self.ledgers[lane]).acknowledge(places);
                self.acknowledged_requests.fetch_add(1, Ordering::Relaxed);
                Ok(true)
            }
            Ok(answer) if answer.status == 503 => {
                self.refused_requests.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(RETRY_PAUSE);
                Ok(false)
            }
            Ok(answer) => bail!("a valid write got {}: {}", answer.status, answer.body),
            // The node is down, or went down before it answered.
            Err(_) => {
                std::thread::sleep(RETRY_PAUSE);
                Ok(false)
            }
        }
    }

    fn inspect(&self, lane: usize) -> Result<Finding> {
        let promised = lock(&self.ledgers[lane]).promised();
        let mut found = std::collections::HashMap::new();
        // A range is open on the left: it begins a millisecond early.
        let range_ms = HEAD_START_MS + 1;
        let query = format!("{METRIC}{{lane=\"{lane}\"}}[{range_ms}ms]");
        for end_ms in [self.start_ms, self.start_ms - LATE_BY_MS].map(|ms| ms + HEAD_START_MS) {
            let seconds = std::time::Duration::from_millis(end_ms.unsigned_abs()).as_secs_f64();
            found.extend(places_in(&self.api.query(&query, seconds)?)?);
        }
        Ok(lock(&self.ledgers[lane]).compare(&promised, &found))
    }
}

fn lock(ledger: &Mutex<Ledger>) -> std::sync::MutexGuard<'_, Ledger> {
    ledger.lock().expect("nothing panics while it holds a ledger")
}
