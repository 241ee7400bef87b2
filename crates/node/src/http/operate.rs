//! Paths for operators and their tools: health, metrics, what the node is, and what it is told to
//! do.

use std::path::PathBuf;
use std::sync::Arc;

use axum::extract::Request;
use axum::http::header::ALLOW;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::Response;
use rangekeeper_model::{ErrorClass, go_quote};
use serde_json::json;

use super::observation::Observed;
use super::routes::Methods;
use super::{Parameters, Surface, reply};
use crate::readiness::Phase;
use crate::services::{Failure, Operations, Services};
use crate::version;

/// A form of an operator holds a path.
const FORM_BYTES: u64 = 64 << 10;

/// The text format of Prometheus.
const EXPOSITION: HeaderValue =
    HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// The process lives and answers.
pub(super) fn healthy() -> Response {
    reply::text(StatusCode::OK, "rangekeeper is healthy\n")
}

/// Whether writes may be taken now, and why not otherwise.
pub(super) fn ready(surface: &Surface) -> Response {
    match refusal(surface) {
        None => reply::text(StatusCode::OK, "rangekeeper is ready\n"),
        Some(reason) => {
            reply::text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n"))
        }
    }
}

/// Why the node does not take writes now.
pub(super) fn refusal(surface: &Surface) -> Option<String> {
    match surface.readiness.phase() {
        Phase::Starting(what) => Some(format!("starting: {what}")),
        Phase::Stopping => Some("stopping".to_owned()),
        Phase::Serving => {
            let may = surface.memory.admits_writes().and_then(|()| match surface.services() {
                Ok(services) => may_serve(services),
                Err(failure) => Err(failure.message),
            });
            may.err()
        }
    }
}

/// Whether the store takes writes, and the cluster has the node take them.
fn may_serve(services: &Services) -> Result<(), String> {
    services.operations.may_write()?;
    services.cluster.as_ref().map_or(Ok(()), |cluster| cluster.readiness())
}

/// What the node knows of its cluster, without the envelope of the Prometheus API.
pub(super) fn cluster(surface: &Surface) -> Response {
    match surface.services() {
        Ok(Services { cluster: Some(cluster), .. }) => {
            reply::json(cluster.status().to_string().into())
        }
        Ok(_) => {
            let message = "this node is alone: it was started without cluster.zookeeper";
            reply::failure(&Failure::new(ErrorClass::NotFound, message))
        }
        Err(failure) => reply::failure(&failure),
    }
}

/// What the store is, for whoever makes a cluster around it.
pub(super) async fn identity(surface: &Surface) -> Response {
    let operations = match surface.services() {
        Ok(services) => Arc::clone(&services.operations),
        Err(failure) => return reply::failure(&failure),
    };
    match tokio::task::spawn_blocking(move || operations.identity()).await {
        Ok(Ok(identity)) => reply::success(&json!(identity)),
        Ok(Err(failure)) => reply::failure(&failure),
        Err(error) => reply::failure(&Failure::new(ErrorClass::Internal, error.to_string())),
    }
}

/// All metrics of the node.
pub(super) async fn metrics(surface: &Surface) -> Response {
    let registry = surface.registry.clone();
    match tokio::task::spawn_blocking(move || registry.encode()).await {
        Ok(text) => reply::with(StatusCode::OK, EXPOSITION, text.into()),
        Err(error) => reply::failure(&Failure::new(ErrorClass::Internal, error.to_string())),
    }
}

/// What Grafana and others look at to know whom they talk to. The version is of the Prometheus
/// whose PromQL is spoken; `features` would make Grafana take the node for a Mimir.
pub(super) fn build_info() -> Response {
    reply::success(&json!({
        "version": version::PROMETHEUS,
        "revision": format!("rangekeeper {} {}", version::OURS, version::REVISION),
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
    }))
}

/// The node evaluates no rules, of either type.
pub(super) fn no_rules(request: &Request) -> Response {
    let parameters = Parameters::decode(request.uri().query().unwrap_or_default().as_bytes());
    let asked_for = parameters.first("type").unwrap_or_default();
    if !["", "alert", "record"].contains(&asked_for.to_lowercase().as_str()) {
        let message =
            format!("invalid parameter \"type\": not supported value {}", go_quote(asked_for));
        return reply::failure(&Failure::new(ErrorClass::Invalid, message));
    }
    reply::success(&json!({"groups": []}))
}

/// The node raises no alerts.
pub(super) fn no_alerts() -> Response {
    reply::success(&json!({"alerts": []}))
}

/// The path is there, but not for this method.
pub(super) fn wrong_method(method: &Method, allowed: Methods) -> Response {
    let message = format!("method {method} is not allowed here, use {}", allowed.allow());
    let envelope = json!({"status": "error", "errorType": "bad_data", "error": message});
    let body = envelope.to_string().into();
    let mut response = reply::with(StatusCode::METHOD_NOT_ALLOWED, reply::JSON, body);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed.allow()));
    response
}

/// Flushes and seals everything; answers when it is done.
pub(super) async fn seal(surface: &Surface, observed: &Observed) -> Response {
    operate(surface, observed, "seal", |operations| operations.seal()).await
}

/// Copies the store into the folder that the parameter `dir` names.
pub(super) async fn snapshot(surface: &Surface, observed: &Observed, request: Request) -> Response {
    let folder = match Parameters::of(request, FORM_BYTES).await {
        Ok(parameters) => PathBuf::from(parameters.first("dir").unwrap_or_default()),
        Err(failure) => return reply::failure(&failure),
    };
    if !folder.is_absolute() {
        let message = "parameter dir: expected the absolute path of a folder on the node's machine \
                       that does not exist yet";
        return reply::failure(&Failure::new(ErrorClass::Invalid, message));
    }
    operate(surface, observed, "snapshot", move |operations| operations.snapshot(&folder)).await
}

/// Accepts that the clock has jumped ahead.
pub(super) async fn confirm_clock(surface: &Surface, observed: &Observed) -> Response {
    operate(surface, observed, "confirm-clock", |operations| operations.confirm_clock()).await
}

/// Does what an operator asks, where blocking is allowed. It goes on to its end even if the
/// operator does not wait.
async fn operate(
    surface: &Surface,
    observed: &Observed,
    what: &'static str,
    operation: impl FnOnce(&dyn Operations) -> Result<(), Failure> + Send + 'static,
) -> Response {
    let operations = match surface.services() {
        Ok(services) => Arc::clone(&services.operations),
        Err(failure) => return reply::failure(&failure),
    };
    let request_id = observed.id();
    let done = tokio::task::spawn_blocking(move || {
        let result = operation(operations.as_ref());
        match &result {
            Ok(()) => tracing::info!(%request_id, operation = what, "operation done"),
            Err(failure) => {
                let reason = &failure.message;
                tracing::warn!(%request_id, operation = what, reason, "operation failed");
            }
        }
        result
    });
    match done.await {
        Ok(Ok(())) => reply::success(&json!({})),
        Ok(Err(failure)) => reply::failure(&failure),
        Err(error) => reply::failure(&Failure::new(ErrorClass::Internal, error.to_string())),
    }
}
