//! Answers: the envelope of the Prometheus API, and the one place where classes of errors become
//! status codes.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use rangekeeper_model::ErrorClass;
use serde_json::json;

use crate::services::Failure;

/// What nginx made the field call the status of a request whose client did not wait.
pub(super) const CLIENT_CLOSED: StatusCode = match StatusCode::from_u16(499) {
    Ok(status) => status,
    Err(_) => unreachable!(),
};

/// A `Retry-After` is a whole number of seconds up to this one, drawn anew each time: senders that
/// were refused together must not come back together.
const RETRY_AFTER_MAX_SECONDS: u32 = 5;

pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");
pub(super) const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// The status code of a class of errors and the `errorType` that Prometheus gives it.
///
/// This decides whether a sender keeps its data: it tries again after a 5xx, and drops what got a
/// 4xx.
pub(super) fn status(class: ErrorClass) -> (StatusCode, &'static str) {
    match class {
        ErrorClass::Invalid => (StatusCode::BAD_REQUEST, "bad_data"),
        ErrorClass::Unauthenticated => (StatusCode::UNAUTHORIZED, "unauthorized"),
        ErrorClass::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "bad_data"),
        ErrorClass::Unsupported => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "bad_data"),
        ErrorClass::Execution => (StatusCode::UNPROCESSABLE_ENTITY, "execution"),
        ErrorClass::Timeout => (StatusCode::SERVICE_UNAVAILABLE, "timeout"),
        ErrorClass::Canceled => (CLIENT_CLOSED, "canceled"),
        ErrorClass::NotFound => (StatusCode::NOT_FOUND, "not_found"),
        ErrorClass::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        ErrorClass::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
    }
}

/// A failure in the envelope of the Prometheus API.
pub(super) fn failure(failure: &Failure) -> Response {
    let (status, kind) = status(failure.class);
    let envelope = json!({"status": "error", "errorType": kind, "error": failure.message});
    with(status, JSON, envelope.to_string().into())
}

/// A failure as plain text, the message first: a sender logs the first line.
pub(super) fn plain_failure(failure: &Failure) -> Response {
    let (status, _) = status(failure.class);
    with(status, TEXT, format!("{}\n", failure.message).into())
}

/// A success in the envelope of the Prometheus API.
pub(super) fn success(data: &serde_json::Value) -> Response {
    json(json!({"status": "success", "data": data}).to_string().into())
}

/// A success whose envelope is made.
pub(super) fn json(body: Bytes) -> Response {
    with(StatusCode::OK, JSON, body)
}

/// A text.
pub(super) fn text(status: StatusCode, body: impl Into<Bytes>) -> Response {
    with(status, TEXT, body.into())
}

/// An answer without a body.
pub(super) fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// An answer with a body; a 503 says when to come back.
pub(super) fn with(status: StatusCode, content_type: HeaderValue, body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        let seconds = fastrand::u32(1..=RETRY_AFTER_MAX_SECONDS);
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_succeed_later_is_a_5xx_and_nothing_else_is() {
        for (class, code) in [
            (ErrorClass::Invalid, 400),
            (ErrorClass::Unauthenticated, 401),
            (ErrorClass::NotFound, 404),
            (ErrorClass::TooLarge, 413),
            (ErrorClass::Unsupported, 415),
            (ErrorClass::Execution, 422),
            (ErrorClass::Canceled, 499),
            (ErrorClass::Internal, 500),
            (ErrorClass::Timeout, 503),
            (ErrorClass::Unavailable, 503),
        ] {
            let (status, _) = status(class);
            assert_eq!(status.as_u16(), code, "{class:?}");
            assert_eq!(status.is_server_error(), class.is_retryable(), "{class:?}");
            let response = failure(&Failure::new(class, "x"));
            let retry_after = response.headers().get(RETRY_AFTER);
            assert_eq!(retry_after.is_some(), code == 503, "{class:?}");
        }
    }
}
