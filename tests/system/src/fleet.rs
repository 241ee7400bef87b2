//! Senders and askers of a whole cluster, which never stop: every lane writes to any node that
//! runs, sends again what was refused as Prometheus does, and knows what was acknowledged; askers
//! hold every node's answers against that, during the faults and after them.
//!
//! A test says which nodes it is about to take [`Fleet::away`]. What such a node leaves unanswered
//! is no fault; whatever the others refuse, and for how long, is in the [`Report`].

mod asking;
mod report;

pub use report::{Refusal, Report};

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};

use crate::api::{Answer, Api};
use crate::ledger::{Finding, Ledger, Place};
use crate::poll;
use crate::stopwatch::Stopwatch;
use crate::trio::Trio;
use report::{Kind, Records};

/// Connections that send at the same time, spread over the nodes.
const LANES: usize = 6;

/// Series of a lane that get a sample in every request.
const STEADY_SERIES: u32 = 30;

/// Numbers from here on belong to series that live for one request.
const FIRST_SHORT_LIVED: u32 = 1_000_000;

/// Time between two samples of a series.
const STEP_MS: i64 = 100;

/// How long before the start of the run the samples begin; the run may not last longer.
const HEAD_START_MS: i64 = 4 * 60 * 60 * 1000;

/// How much older late samples are.
const LATE_BY_MS: i64 = 2 * 24 * 60 * 60 * 1000;

/// Pause between two requests of a lane where a fault is to be watched, not a machine filled.
const REQUEST_PAUSE: Duration = Duration::from_millis(75);

/// Pause after a request that got no answer or a refusal; a twelfth of what Prometheus begins with.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// Longest wait for one answer: longer than any refusal may last, so that a hang is seen as one.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// Longest wait for the next acknowledged request.
const PROGRESS_LIMIT: Duration = Duration::from_mins(1);

/// How fast lanes send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// With a pause after each request.
    Steady,
    /// As fast as they are answered.
    Full,
}

/// Running senders and askers. Dropped, they stop.
pub struct Fleet {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Result<()>>>,
}

struct Shared {
    nodes: Vec<Target>,
    pace: Pace,
    started: Instant,
    start_ms: i64,
    stop: AtomicBool,
    acknowledged_requests: AtomicU64,
    ledgers: Vec<Mutex<Ledger>>,
    records: Records,
}

/// A node as the test means it to be.
struct Target {
    base: String,
    /// Even while the node is there, odd while it is away: who compares it before and after knows
    /// whether the node was there all the time.
    turns: AtomicU32,
}

impl Target {
    fn turns(&self) -> u32 {
        self.turns.load(Ordering::SeqCst)
    }

    fn api(&self) -> Api {
        Api::with_limit(&self.base, ANSWER_LIMIT)
    }
}

/// A client of one node, with connections that are younger than the node's last start.
struct Client {
    api: Api,
    turns: u32,
}

impl Fleet {
    /// Starts the lanes and one asker a node against the nodes with these URLs.
    pub fn start(bases: &[String]) -> Result<Self> {
        Self::start_at(bases, Pace::Steady)
    }

    /// As [`Self::start`], at a pace.
    pub fn start_at(bases: &[String], pace: Pace) -> Result<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let target = |base: &String| Target { base: base.clone(), turns: AtomicU32::new(0) };
        let shared = Arc::new(Shared {
            nodes: bases.iter().map(target).collect(),
            pace,
            started: Instant::now(),
            start_ms: i64::try_from(now.as_millis())? - HEAD_START_MS,
            stop: AtomicBool::new(false),
            acknowledged_requests: AtomicU64::new(0),
            ledgers: (0..LANES).map(|n| Mutex::new(Ledger::new(&n.to_string()))).collect(),
            records: Records::default(),
        });
        let mut threads = Vec::new();
        for lane in 0..LANES {
            let shared = Arc::clone(&shared);
            let thread = std::thread::Builder::new().name(format!("lane {lane}"));
            threads.push(thread.spawn(move || shared.send_steadily(lane))?);
        }
        for node in 0..bases.len() {
            let shared = Arc::clone(&shared);
            let thread = std::thread::Builder::new().name(format!("asker {node}"));
            threads.push(thread.spawn(move || shared.ask_steadily(node))?);
        }
        Ok(Self { shared, threads })
    }

    /// Starts them around all nodes of a cluster, which all run.
    pub fn around(trio: &Trio) -> Result<Self> {
        Self::around_at(trio, Pace::Steady)
    }

    /// As [`Self::around`], at a pace.
    pub fn around_at(trio: &Trio, pace: Pace) -> Result<Self> {
        let bases = (0..trio.names().len()).map(|at| trio.node(at).api.base().to_owned());
        Self::start_at(&bases.collect::<Vec<_>>(), pace)
    }

    /// When the first samples lie, late ones aside, in seconds since the epoch.
    pub fn first_sample(&self) -> f64 {
        Duration::from_millis(self.shared.start_ms.unsigned_abs()).as_secs_f64()
    }

    /// From now on the node may leave requests unanswered, and gets no new ones.
    pub fn away(&self, node: usize) {
        let before = self.shared.nodes[node].turns.fetch_add(1, Ordering::SeqCst);
        assert!(before.is_multiple_of(2), "the node was away already");
    }

    /// The node is ready again: from now on it has to answer.
    pub fn back(&self, node: usize) {
        let before = self.shared.nodes[node].turns.fetch_add(1, Ordering::SeqCst);
        assert!(!before.is_multiple_of(2), "the node was there already");
    }

    /// Waits until this many more requests were acknowledged.
    pub fn wait_for_requests(&self, more: u64) -> Result<()> {
        let wanted = self.shared.acknowledged_requests.load(Ordering::Relaxed) + more;
        poll::until("acknowledged requests", PROGRESS_LIMIT, || {
            ensure!(!self.threads.iter().any(JoinHandle::is_finished), "a thread has ended");
            let now = self.shared.acknowledged_requests.load(Ordering::Relaxed);
            ensure!(now >= wanted, "{} are left; {}", wanted - now, self.shared.records.last());
            Ok(())
        })
    }

    /// Lets senders and askers run for a while: the length of a fault.
    pub fn run_for(&self, time: Duration) {
        std::thread::sleep(time);
    }

    /// Reads everything back from one node and holds it against the ledgers, while all goes on.
    pub fn inspect(&self, node: usize) -> Result<Finding> {
        self.shared.inspect(self.shared.nodes[node].api())
    }

    /// What was seen so far.
    pub fn report(&self) -> Report {
        self.shared.records.report(self.shared.acknowledged())
    }

    /// Stops the senders, waits for the last answers, and keeps the ledgers for [`Self::inspect`].
    pub fn stop_sending(&mut self) -> Result<()> {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in std::mem::take(&mut self.threads) {
            thread.join().map_err(|_| anyhow::anyhow!("a sender or asker panicked"))??;
        }
        Ok(())
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        // Only reached without `stop_sending` when the test has already failed.
        if let Err(error) = self.stop_sending() {
            eprintln!("a sender or asker ended: {error:#}");
        }
    }
}

impl Shared {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn acknowledged(&self) -> u64 {
        self.ledgers.iter().map(|ledger| lock(ledger).acknowledged()).sum()
    }

    fn send_steadily(&self, lane: usize) -> Result<()> {
        let mut clients: Vec<Client> =
            self.nodes.iter().map(|node| Client { api: node.api(), turns: 0 }).collect();
        let mut number = 0;
        while !self.stopped() {
            let places = self.places(number)?;
            self.deliver(lane, lane, &places, &mut clients);
            // A retry of what was acknowledged, elsewhere: an exact duplicate is a success.
            if number % 32 == 7 {
                self.deliver(lane, lane + 1, &places, &mut clients);
            }
            number += 1;
            if self.pace == Pace::Steady {
                std::thread::sleep(REQUEST_PAUSE);
            }
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

    /// Sends a request until it is acknowledged, to the node that the lane prefers and to the next
    /// that is there where that one is not.
    fn deliver(&self, lane: usize, preferred: usize, places: &[Place], clients: &mut [Client]) {
        let body = lock(&self.ledgers[lane]).attempt(places);
        // Since when nodes that are there leave this request without a success.
        let mut refused_since = None;
        let mut node = preferred % self.nodes.len();
        while !self.stopped() {
            let turns = self.nodes[node].turns();
            if !turns.is_multiple_of(2) {
                node = (node + 1) % self.nodes.len();
                if self.nodes.iter().all(|node| !node.turns().is_multiple_of(2)) {
                    refused_since = None;
                    std::thread::sleep(RETRY_PAUSE);
                }
                continue;
            }
            if clients[node].turns != turns {
                clients[node] = Client { api: self.nodes[node].api(), turns };
            }
            let sent = Instant::now();
            let since = &*refused_since.get_or_insert_with(Stopwatch::start);
            let answer = clients[node].api.write(&body);
            let there = self.nodes[node].turns() == turns;
            if answer.as_ref().is_ok_and(Answer::is_success) {
                lock(&self.ledgers[lane]).acknowledge(places);
                self.acknowledged_requests.fetch_add(1, Ordering::Relaxed);
                // An answer that came over a time away says nothing of how long a sender waits.
                let after = if there { since.elapsed() } else { Duration::ZERO };
                self.records.succeeded(Kind::Write, node, self.started.elapsed(), after);
                return;
            }
            self.refused(Kind::Write, node, there, sent, &answer);
            if !there {
                refused_since = None;
            }
            std::thread::sleep(RETRY_PAUSE);
        }
    }

    fn refused(&self, kind: Kind, node: usize, there: bool, sent: Instant, got: &Result<Answer>) {
        let (status, said) = match got {
            Ok(answer) => (Some(answer.status), answer.body.clone()),
            Err(error) => (None, format!("{error:#}")),
        };
        self.records.refused(Refusal {
            kind,
            node,
            there,
            at: sent.duration_since(self.started),
            took: sent.elapsed(),
            status,
            said: said.chars().take(300).collect(),
        });
    }
}

fn lock(ledger: &Mutex<Ledger>) -> std::sync::MutexGuard<'_, Ledger> {
    ledger.lock().expect("nothing panics while it holds a ledger")
}
