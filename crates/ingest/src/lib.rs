//! Receives remote write: decodes a body, judges each series and sample, hands what is good to the
//! store, and says what a sender has to know.
//!
//! Status codes decide whether a sender keeps its data: what can succeed later is an error of a
//! retryable class; what never will is [`ErrorClass::Invalid`](rangekeeper_model::ErrorClass), with
//! the valid rest stored.

mod metrics;
mod receiver;
mod reject;
mod request;
mod sink;
mod statements;

pub use metrics::IngestMetrics;
pub use receiver::{Limits, Outcome, Receiver, Written};
pub use reject::Reason;
pub use sink::Sink;
