//! What is counted of the calls to peers and of those that peers make.

use std::time::Instant;

use rangekeeper_telemetry::{
    Gauge, GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Registry, latency_buckets,
};

use crate::error::{PeerError, Refusal};
use crate::link::Kind;

/// The metrics of all peers that are asked. Clones share them.
#[derive(Clone)]
pub(crate) struct ClientMetrics {
    requests: IntCounterVec,
    durations: HistogramVec,
    sent: IntCounterVec,
    received: IntCounterVec,
    frames: IntCounterVec,
    strays: IntCounter,
    queue_bytes: IntGaugeVec,
    connections: IntGaugeVec,
    breaker: IntGaugeVec,
    clock: GaugeVec,
}

/// The metrics of one peer.
pub(crate) struct PeerMetrics {
    all: ClientMetrics,
    node: String,
    pub(crate) frames: IntCounter,
    /// Answers to frames that nobody waits for any more.
    pub(crate) strays: IntCounter,
    pub(crate) queue_bytes: IntGauge,
    pub(crate) breaker: IntGauge,
    pub(crate) clock: Gauge,
}

/// The metrics of one connection to a peer.
pub(crate) struct LinkMetrics {
    pub(crate) sent: IntCounter,
    pub(crate) received: IntCounter,
    pub(crate) open: IntGauge,
}

impl ClientMetrics {
    pub(crate) fn new(registry: &Registry) -> Self {
        Self {
            requests: registry.counters(
                "rangekeeper_peer_requests_total",
                &["peer", "kind", "outcome"],
                "Calls to a peer, by what was asked and how it ended.",
            ),
            durations: registry.histograms(
                "rangekeeper_peer_request_duration_seconds",
                &["peer", "kind"],
                "Time from a call to its answer, or to the last part of it.",
                latency_buckets(),
            ),
            sent: registry.counters(
                "rangekeeper_peer_sent_bytes_total",
                &["peer", "connection"],
                "Bytes that were sent to a peer on the connections that this node made.",
            ),
            received: registry.counters(
                "rangekeeper_peer_received_bytes_total",
                &["peer", "connection"],
                "Bytes that came from a peer on the connections that this node made.",
            ),
            frames: registry.counters(
                "rangekeeper_peer_frames_total",
                &["peer"],
                "Frames of rows that were sent to a peer.",
            ),
            strays: registry.counter(
                "rangekeeper_peer_stray_answers_total",
                "Answers to frames that were not waited for.",
            ),
            queue_bytes: registry.gauges(
                "rangekeeper_peer_queue_bytes",
                &["peer"],
                "Bytes that writes to a peer hold until they are answered.",
            ),
            connections: registry.gauges(
                "rangekeeper_peer_connections",
                &["peer", "connection"],
                "Connections to a peer that are open.",
            ),
            breaker: registry.gauges(
                "rangekeeper_peer_breaker_open",
                &["peer"],
                "1 while a peer is asked only if it must be.",
            ),
            clock: registry.float_gauges(
                "rangekeeper_peer_clock_offset_seconds",
                &["peer"],
                "How far a peer's clock is ahead of this node's, the way of its message included.",
            ),
        }
    }

    pub(crate) fn of_peer(&self, node: &str) -> PeerMetrics {
        PeerMetrics {
            all: self.clone(),
            node: node.to_owned(),
            frames: self.frames.with_label_values(&[node]),
            strays: self.strays.clone(),
            queue_bytes: self.queue_bytes.with_label_values(&[node]),
            breaker: self.breaker.with_label_values(&[node]),
            clock: self.clock.with_label_values(&[node]),
        }
    }

    pub(crate) fn of_link(&self, node: &str, kind: Kind) -> LinkMetrics {
        let labels = [node, kind.name()];
        LinkMetrics {
            sent: self.sent.with_label_values(&labels),
            received: self.received.with_label_values(&labels),
            open: self.connections.with_label_values(&labels),
        }
    }

    /// Takes the gauges of a peer out that is no longer asked; what was counted stays.
    pub(crate) fn forget(&self, node: &str) {
        // A gauge that is not there is what is wanted.
        let _ = self.queue_bytes.remove_label_values(&[node]);
        let _ = self.breaker.remove_label_values(&[node]);
        let _ = self.clock.remove_label_values(&[node]);
        for kind in Kind::ALL {
            let _ = self.connections.remove_label_values(&[node, kind.name()]);
        }
    }
}

impl PeerMetrics {
    /// A call of `kind` begins.
    pub(crate) fn begin(&self, kind: &'static str) -> Asked {
        Asked {
            requests: self.all.requests.clone(),
            duration: self.all.durations.with_label_values(&[&self.node, kind]),
            node: self.node.clone(),
            kind,
            began: Instant::now(),
            ended: false,
        }
    }
}

/// A call that was begun. Dropped without [`Asked::end`] it counts as cancelled.
pub(crate) struct Asked {
    requests: IntCounterVec,
    duration: Histogram,
    node: String,
    kind: &'static str,
    began: Instant,
    ended: bool,
}

impl Asked {
    /// Counts how it ended; what comes after the first end is not counted.
    pub(crate) fn end<T>(&mut self, result: &Result<T, PeerError>) {
        self.count(result.as_ref().err().map_or("ok", PeerError::outcome));
    }

    fn count(&mut self, outcome: &str) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        self.requests.with_label_values(&[&self.node, self.kind, outcome]).inc();
        self.duration.observe(self.began.elapsed().as_secs_f64());
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.count("canceled");
    }
}

/// The metrics of the calls that peers make. Clones share them.
#[derive(Clone)]
pub(crate) struct ServerMetrics {
    served: IntCounterVec,
    durations: HistogramVec,
    pub(crate) connections: IntGauge,
    pub(crate) sent: IntCounter,
    pub(crate) received: IntCounter,
}

impl ServerMetrics {
    pub(crate) fn new(registry: &Registry) -> Self {
        Self {
            served: registry.counters(
                "rangekeeper_peer_served_total",
                &["kind", "outcome"],
                "Messages of peers, by what they asked and how it ended; a frame is one.",
            ),
            durations: registry.histograms(
                "rangekeeper_peer_served_duration_seconds",
                &["kind"],
                "Time in which messages of peers were handled, to the last part of the answer.",
                latency_buckets(),
            ),
            connections: registry.gauge(
                "rangekeeper_peer_served_connections",
                "Connections of peers that are open.",
            ),
            sent: registry.counter(
                "rangekeeper_peer_served_sent_bytes_total",
                "Bytes that were sent on connections that peers made.",
            ),
            received: registry.counter(
                "rangekeeper_peer_served_received_bytes_total",
                "Bytes that came on connections that peers made.",
            ),
        }
    }

    /// A call is refused before it is known what it asks, or before it is handled.
    pub(crate) fn refused(&self, kind: &'static str, refusal: &Refusal) {
        self.begin(kind).end(&Err::<(), _>(refusal.clone()));
    }

    /// Handling a message of `kind` begins.
    pub(crate) fn begin(&self, kind: &'static str) -> Served {
        Served { all: self.clone(), kind, began: Instant::now(), ended: false }
    }
}

/// A message that is being handled. Dropped without [`Served::end`] it counts as cancelled.
pub(crate) struct Served {
    all: ServerMetrics,
    kind: &'static str,
    began: Instant,
    ended: bool,
}

impl Served {
    /// Counts how it ended.
    pub(crate) fn end<T>(mut self, result: &Result<T, Refusal>) {
        self.count(result.as_ref().err().map_or("ok", |refusal| refusal.reason.as_str_name()));
    }

    fn count(&mut self, outcome: &str) {
        self.ended = true;
        let outcome = outcome.strip_prefix("REASON_").unwrap_or(outcome).to_ascii_lowercase();
        self.all.served.with_label_values(&[self.kind, &outcome]).inc();
        let duration = self.all.durations.with_label_values(&[self.kind]);
        duration.observe(self.began.elapsed().as_secs_f64());
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if !self.ended {
            self.count("canceled");
        }
    }
}
