//! What coordination counts.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rangekeeper_telemetry::{
    Family, HistogramVec, IntCounter, IntCounterVec, Readings, Registry, latency_buckets,
};
use tokio::time::Instant;

use crate::session::SessionState;
use crate::znodes::Failure;

const STATE: &str = "rangekeeper_coordination_session_state";
const SESSION: &str = "rangekeeper_coordination_session_info";
const AGE: &str = "rangekeeper_coordination_session_age_seconds";
const ASSIGNMENT: &str = "rangekeeper_coordination_assignment_age_seconds";

const FAMILIES: &[Family] = &[
    Family::gauge(STATE, &["state"], "1 at the state that the session is in, else 0."),
    Family::gauge(SESSION, &["session"], "1, labelled with the id of the session."),
    Family::gauge(AGE, &[], "Time since the session was opened."),
    Family::gauge(
        ASSIGNMENT,
        &[],
        "Time since the assignment at hand was surely the newest; 0 while ZooKeeper would tell.",
    ),
];

/// The outcomes that requests are counted under.
const OUTCOMES: &[&str] = &["ok", "refused", "ended", "unsent", "unknown"];

/// Metrics of coordination.
#[derive(Clone)]
pub struct CoordinationMetrics {
    requests: IntCounterVec,
    seconds: HistogramVec,
    pub(crate) sessions: IntCounter,
    pub(crate) failed_connects: IntCounter,
    pub(crate) oversize: IntCounter,
    readings: Arc<Mutex<Reading>>,
}

/// What the gauges are made of.
#[derive(Default)]
struct Reading {
    state: &'static str,
    session: Option<(i64, Instant)>,
    is_connected: bool,
    /// Whether a watch is set on the assignment at hand.
    is_watched: bool,
    /// When it was last known to be the newest.
    known: Option<Instant>,
}

impl CoordinationMetrics {
    /// Makes the metrics in `registry`, once for each node.
    pub fn new(registry: &Registry) -> Self {
        let readings = Arc::new(Mutex::new(Reading::default()));
        let shared = Arc::clone(&readings);
        registry.snapshot(FAMILIES, move |out| shared.lock().read(out));
        Self {
            requests: registry.counters(
                "rangekeeper_coordination_requests_total",
                &["operation", "outcome"],
                "Requests to ZooKeeper; the outcome is ok, refused, ended, unsent or unknown.",
            ),
            seconds: registry.histograms(
                "rangekeeper_coordination_request_duration_seconds",
                &["operation"],
                "Time from a request to ZooKeeper to its answer.",
                latency_buckets(),
            ),
            sessions: registry.counter(
                "rangekeeper_coordination_sessions_total",
                "Sessions that were opened; all but the first replace one that ended.",
            ),
            failed_connects: registry.counter(
                "rangekeeper_coordination_failed_connects_total",
                "Sessions that could not be opened.",
            ),
            oversize: registry.counter(
                "rangekeeper_coordination_oversize_writes_total",
                "Writes that were too large and not sent.",
            ),
            readings,
        }
    }

    pub(crate) fn request(&self, operation: &str, elapsed: Duration, failure: Option<&Failure>) {
        let outcome = match failure {
            None => 0,
            Some(Failure::Refused { .. }) => 1,
            Some(Failure::Ended(_)) => 2,
            Some(Failure::Unsent) => 3,
            Some(Failure::Unknown(_)) => 4,
        };
        self.requests.with_label_values(&[operation, OUTCOMES[outcome]]).inc();
        if outcome < 2 {
            self.seconds.with_label_values(&[operation]).observe(elapsed.as_secs_f64());
        }
    }

    pub(crate) fn state(&self, state: &SessionState) {
        let mut reading = self.readings.lock();
        let was_connected = reading.is_connected;
        reading.state = state.name();
        reading.is_connected = *state == SessionState::Connected;
        if was_connected && !reading.is_connected && reading.is_watched {
            reading.known = Some(Instant::now());
        }
    }

    pub(crate) fn session(&self, session: Option<i64>) {
        self.readings.lock().session = session.map(|id| (id, Instant::now()));
    }

    /// The assignment was read, and a watch is set on it.
    pub(crate) fn assignment_watched(&self) {
        let mut reading = self.readings.lock();
        reading.is_watched = true;
        reading.known = Some(Instant::now());
    }

    /// The watch on the assignment is gone: with its session, or because it fired.
    pub(crate) fn assignment_unwatched(&self) {
        let mut reading = self.readings.lock();
        if reading.is_watched && reading.is_connected {
            reading.known = Some(Instant::now());
        }
        reading.is_watched = false;
    }
}

impl Reading {
    fn read(&self, out: &mut Readings) {
        for state in SessionState::NAMES {
            out.set(STATE, &[state], if self.state == *state { 1.0 } else { 0.0 });
        }
        if let Some((id, opened)) = self.session {
            out.set(SESSION, &[&format!("{id:#x}")], 1.0);
            out.set(AGE, &[], opened.elapsed().as_secs_f64());
        }
        if let Some(known) = self.known {
            let fresh = self.is_connected && self.is_watched;
            let age = if fresh { Duration::ZERO } else { known.elapsed() };
            out.set(ASSIGNMENT, &[], age.as_secs_f64());
        }
    }
}
