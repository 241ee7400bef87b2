//! How the product tells about itself: metrics, logs and request ids.
//!
//! Nothing ambient: a [`Registry`] is made once per node and passed to whoever counts, so that
//! several nodes can run in one process. The metric types are those of the `prometheus` crate,
//! given out here under their own names, so that this crate alone names it as a dependency.

mod log;
mod registry;
mod request_id;
mod snapshot;

pub use log::{LogError, LogFormat, install, subscriber};
pub use registry::{Definition, Kind, Registry, latency_buckets};
pub use request_id::{RequestId, RequestIds};
pub use snapshot::{Distribution, Family, Readings};

pub use prometheus::{
    Counter, CounterVec, Gauge, GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec,
    IntGauge, IntGaugeVec,
};
