//! What is counted and logged of each request.
//!
//! A write of 2,000 samples has 14 µs for everything about HTTP, so the counters of a route are
//! looked up once, when the router is made, and nothing is formatted unless it is logged.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::response::Response;
use hyper::body::Body;
use rangekeeper_telemetry::{
    Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, Registry, RequestId,
    latency_buckets,
};
use tracing::Level;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The path under which requests are counted that no route serves: senders of nonsense must not
/// make time series.
const OTHER_PATH: &str = "other";

/// The metrics of the surface.
pub(super) struct Metrics {
    requests: IntCounterVec,
    durations: HistogramVec,
    request_bytes: IntCounterVec,
    response_bytes: IntCounterVec,
    refused: IntCounterVec,
    in_flight: IntGauge,
}

/// The metrics of one route.
pub(super) struct RouteMetrics {
    /// By hundreds of the status code, 1xx to 5xx; requests whose client went away count as 4xx.
    by_class: [IntCounter; 5],
    duration: Histogram,
    request_bytes: IntCounter,
    response_bytes: IntCounter,
}

impl Metrics {
    pub(super) fn new(registry: &Registry) -> Self {
        Self {
            requests: registry.counters(
                "rangekeeper_http_requests_total",
                &["path", "code"],
                "Requests by path and class of the status code; 4xx where the client went away.",
            ),
            durations: registry.histograms(
                "rangekeeper_http_request_duration_seconds",
                &["path"],
                "Time from the head of a request to the head of its answer.",
                latency_buckets(),
            ),
            request_bytes: registry.counters(
                "rangekeeper_http_request_bytes_total",
                &["path"],
                "Bytes of the bodies of requests, as their senders declare them.",
            ),
            response_bytes: registry.counters(
                "rangekeeper_http_response_bytes_total",
                &["path"],
                "Bytes of the bodies of answers, before compression.",
            ),
            refused: registry.counters(
                "rangekeeper_write_refused_total",
                &["reason"],
                "Writes that were refused before they were decoded, by reason.",
            ),
            in_flight: registry.gauge(
                "rangekeeper_http_requests_in_flight",
                "Requests that have begun and are not answered.",
            ),
        }
    }

    /// The metrics of the route with this path.
    pub(super) fn of(&self, path: &str) -> RouteMetrics {
        let class = |code| self.requests.with_label_values(&[path, code]);
        RouteMetrics {
            by_class: ["1xx", "2xx", "3xx", "4xx", "5xx"].map(class),
            duration: self.durations.with_label_values(&[path]),
            request_bytes: self.request_bytes.with_label_values(&[path]),
            response_bytes: self.response_bytes.with_label_values(&[path]),
        }
    }

    /// The metrics of requests that no route serves.
    pub(super) fn unknown(&self) -> Arc<RouteMetrics> {
        Arc::new(self.of(OTHER_PATH))
    }

    /// Counts a write that was refused before it was decoded.
    pub(super) fn refused(&self, reason: &str) {
        self.refused.with_label_values(&[reason]).inc();
    }
}

/// A request that is being answered. Dropped without [`Observed::end`] it counts as one whose
/// client went away.
pub(super) struct Observed {
    id: RequestId,
    started: Instant,
    route: Arc<RouteMetrics>,
    in_flight: IntGauge,
    /// Only kept where it will be logged.
    asked: Option<(Method, Uri)>,
    ended: bool,
}

impl Observed {
    pub(super) fn begin(
        metrics: &Metrics,
        route: Arc<RouteMetrics>,
        id: RequestId,
        request: &Request,
    ) -> Self {
        let declared = request.body().size_hint().exact().unwrap_or(0);
        route.request_bytes.inc_by(declared);
        metrics.in_flight.inc();
        let logged = tracing::enabled!(Level::DEBUG);
        Self {
            id,
            started: Instant::now(),
            route,
            in_flight: metrics.in_flight.clone(),
            asked: logged.then(|| (request.method().clone(), request.uri().clone())),
            ended: false,
        }
    }

    /// The id of the request.
    pub(super) fn id(&self) -> RequestId {
        self.id
    }

    /// Counts the answer and puts the id of the request on it.
    pub(super) fn end(mut self, mut response: Response) -> Response {
        self.ended = true;
        let id = HeaderValue::from_str(self.id.as_str()).expect("hexadecimal digits");
        response.headers_mut().insert(REQUEST_ID, id);
        let length = response.body().size_hint().exact().unwrap_or(0);
        self.route.response_bytes.inc_by(length);
        self.count(response.status());
        response
    }

    fn count(&self, status: StatusCode) {
        let elapsed = self.started.elapsed();
        let class = usize::from(status.as_u16() / 100).clamp(1, 5) - 1;
        self.route.by_class[class].inc();
        self.route.duration.observe(elapsed.as_secs_f64());
        if let Some((method, uri)) = &self.asked {
            tracing::debug!(
                request_id = self.id.as_str(),
                %method,
                path = uri.path(),
                status = status.as_u16(),
                seconds = elapsed.as_secs_f64(),
                "request"
            );
        }
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        self.in_flight.dec();
        if !self.ended {
            self.count(super::reply::CLIENT_CLOSED);
        }
    }
}
