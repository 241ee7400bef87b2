//! Receiving: what is checked before a body is read, and what a sender is told.
//!
//! In this order, so that the cheapest refusal comes first and nothing is half taken: content type,
//! tenant, readiness, length, memory, bytes in flight; then the body, then what it says it holds
//! when decompressed.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use rangekeeper_model::ErrorClass;
use rangekeeper_wire::{NegotiationError, Version};

use super::Surface;
use super::body::{self, BodyError};
use super::observation::Observed;
use super::reply;
use crate::admission::Permit;
use crate::services::{Failure, Services, WriteOutcome, WriteRequest, Written};

const SAMPLES: HeaderName = HeaderName::from_static("x-prometheus-remote-write-samples-written");
const HISTOGRAMS: HeaderName =
    HeaderName::from_static("x-prometheus-remote-write-histograms-written");
const EXEMPLARS: HeaderName =
    HeaderName::from_static("x-prometheus-remote-write-exemplars-written");

/// How much of a refused body is read and forgotten, in bodies of the allowed length.
const DISCARDED_BODIES: u64 = 2;

/// Why a write is not handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    ContentType,
    Tenant,
    NotReady,
    Store,
    Memory,
    InFlight,
    BodySize,
    BodyTimeout,
    BrokenBody,
    DecodedSize,
}

impl Reason {
    /// The name under which it is counted.
    fn name(self) -> &'static str {
        match self {
            Self::ContentType => "content_type",
            Self::Tenant => "tenant",
            Self::NotReady => "not_ready",
            Self::Store => "store",
            Self::Memory => "memory",
            Self::InFlight => "in_flight",
            Self::BodySize => "body_size",
            Self::BodyTimeout => "body_timeout",
            Self::BrokenBody => "broken_body",
            Self::DecodedSize => "decoded_size",
        }
    }
}

/// A write that is not handed on.
struct Refusal {
    reason: Reason,
    failure: Failure,
}

impl Refusal {
    fn new(reason: Reason, class: ErrorClass, message: impl Into<String>) -> Self {
        Self { reason, failure: Failure::new(class, message) }
    }
}

/// Answers a write.
pub(super) async fn receive(
    surface: &Arc<Surface>,
    observed: &Observed,
    request: Request,
) -> Response {
    let (parts, mut body) = request.into_parts();
    let version = version(&parts.headers);
    let taken = match &version {
        Ok(version) => take(surface, *version, &parts.headers, &mut body).await,
        Err(error) => Err(Refusal::new(Reason::ContentType, error.class(), error.to_string())),
    };
    let outcome = match taken {
        Ok(outcome) => outcome,
        Err(refusal) => {
            surface.metrics.refused(refusal.reason.name());
            discard(surface, &refusal, &mut body).await;
            WriteOutcome { result: Err(refusal.failure), written: Written::default() }
        }
    };
    if let Err(failure) = &outcome.result {
        log(observed, failure);
    }
    let version = version.unwrap_or_else(|error| error.version().unwrap_or(Version::V1));
    respond(version, &outcome)
}

/// Reads on after a refusal, so that the sender gets to see the answer, unless it stopped sending.
async fn discard(surface: &Surface, refusal: &Refusal, body: &mut Body) {
    if matches!(refusal.reason, Reason::BodyTimeout | Reason::BrokenBody) {
        return;
    }
    let limit_bytes = surface.config.limits.body.as_u64() * DISCARDED_BODIES;
    let rest = body::discard(body, limit_bytes);
    // Whether the rest came in time changes nothing.
    let _ = tokio::time::timeout(surface.config.server.body_timeout, rest).await;
}

fn version(headers: &HeaderMap) -> Result<Version, NegotiationError> {
    // What is no text is no name that is known either.
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or("unreadable"));
    rangekeeper_wire::negotiate(text(&CONTENT_TYPE), text(&CONTENT_ENCODING))
}

/// Admits a write, reads it and hands it on.
async fn take(
    surface: &Arc<Surface>,
    version: Version,
    headers: &HeaderMap,
    body: &mut Body,
) -> Result<WriteOutcome, Refusal> {
    let limits = &surface.config.limits;
    let tenant =
        surface.tenant(headers).map_err(|failure| Refusal { reason: Reason::Tenant, failure })?;
    let declared = headers.get(CONTENT_LENGTH);
    let declared = declared.and_then(|value| value.to_str().ok()?.parse().ok());
    let (services, mut permit) = admit(surface, declared)?;
    let timeout = surface.config.server.body_timeout;
    let reading = body::read(body, declared, limits.body.as_u64(), Some(&mut permit));
    let Ok(read) = tokio::time::timeout(timeout, reading).await else {
        let time = humantime::format_duration(timeout);
        let message = format!("the body did not arrive within {time}");
        return Err(Refusal::new(Reason::BodyTimeout, ErrorClass::Unavailable, message));
    };
    let body = read.map_err(|error| refused_body(&error))?;
    let decoded_bytes = services.write.decoded_bytes(&body);
    if decoded_bytes > limits.decoded.as_u64() {
        let message = format!(
            "body of {decoded_bytes} bytes uncompressed is larger than the limit of {}",
            limits.decoded.as_u64()
        );
        return Err(Refusal::new(Reason::DecodedSize, ErrorClass::TooLarge, message));
    }
    if !permit.grow(decoded_bytes) {
        return Err(no_room(surface));
    }
    Ok(services.write.receive(WriteRequest { tenant, version, body }).await)
}

/// Whether a write of the declared length may come in now.
fn admit(
    surface: &Arc<Surface>,
    declared_bytes: Option<u64>,
) -> Result<(&Services, Permit), Refusal> {
    let unavailable = |reason, message| Refusal::new(reason, ErrorClass::Unavailable, message);
    let services =
        surface.services().map_err(|failure| Refusal { reason: Reason::NotReady, failure })?;
    let limit_bytes = surface.config.limits.body.as_u64();
    if declared_bytes.is_some_and(|bytes| bytes > limit_bytes) {
        return Err(refused_body(&BodyError::TooLarge { limit_bytes }));
    }
    if let Some(cluster) = &services.cluster {
        // What a clock that is off finds too new or too old would be given up for good.
        cluster.clock().map_err(|reason| unavailable(Reason::NotReady, reason))?;
    }
    services.operations.may_write().map_err(|reason| unavailable(Reason::Store, reason))?;
    surface.memory.admits_writes().map_err(|reason| unavailable(Reason::Memory, reason))?;
    let permit = surface.in_flight.admit(declared_bytes.unwrap_or(0));
    Ok((services, permit.ok_or_else(|| no_room(surface))?))
}

fn no_room(surface: &Surface) -> Refusal {
    let message = format!(
        "{} bytes of writes in flight, limit {}",
        surface.in_flight.held_bytes(),
        surface.in_flight.bound_bytes()
    );
    Refusal::new(Reason::InFlight, ErrorClass::Unavailable, message)
}

fn refused_body(error: &BodyError) -> Refusal {
    let (reason, class) = match error {
        BodyError::TooLarge { .. } => (Reason::BodySize, ErrorClass::TooLarge),
        BodyError::NoRoom => (Reason::InFlight, ErrorClass::Unavailable),
        BodyError::Broken(_) => (Reason::BrokenBody, ErrorClass::Invalid),
    };
    Refusal::new(reason, class, error.to_string())
}

/// A sender logs what it is told, so what it did wrong is told here only to who looks for it.
fn log(observed: &Observed, failure: &Failure) {
    let (status, _) = reply::status(failure.class);
    let (request_id, status, reason) = (observed.id(), status.as_u16(), &failure.message);
    if failure.class.is_retryable() {
        tracing::warn!(%request_id, status, reason, "write refused");
    } else {
        tracing::info!(%request_id, status, reason, "write refused");
    }
}

/// 204 for what is stored, else the reason. A sender of 2.0 is told what was stored in either case:
/// to it, no headers mean that it talks to a receiver of 1.0 that stored nothing.
fn respond(version: Version, outcome: &WriteOutcome) -> Response {
    let mut response = match &outcome.result {
        Ok(()) => reply::empty(StatusCode::NO_CONTENT),
        Err(failure) => reply::plain_failure(failure),
    };
    if version == Version::V2 {
        let headers = response.headers_mut();
        headers.insert(SAMPLES, HeaderValue::from(outcome.written.samples));
        headers.insert(HISTOGRAMS, HeaderValue::from(outcome.written.histograms));
        headers.insert(EXEMPLARS, HeaderValue::from(outcome.written.exemplars));
    }
    response
}
