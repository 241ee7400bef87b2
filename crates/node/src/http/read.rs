//! Answering: from a request to a question, and from its answer to a response.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Path, Request};
use axum::response::Response;
use rangekeeper_model::ErrorClass;
use rangekeeper_query::Question;
use tracing::Instrument;

use super::observation::Observed;
use super::{Parameters, Surface, reply};
use crate::services::{Failure, ReadRequest};

/// What a form may have beside the text of a query: times, limits, and selectors by the dozen.
const FORM_ROOM_BYTES: u64 = 1 << 20;

/// Percent-encoding makes three bytes of one.
const PERCENT_ENCODING: u64 = 3;

/// Answers a question.
pub(super) async fn answer(
    surface: &Arc<Surface>,
    observed: &Observed,
    question: Question,
    request: Request,
) -> Response {
    let request_id = observed.id();
    let span = tracing::info_span!("request", %request_id);
    match ask(surface, question, request).instrument(span).await {
        Ok(body) => reply::json(body),
        Err(failure) => {
            if failure.class == ErrorClass::Internal {
                let reason = &failure.message;
                tracing::error!(%request_id, reason, "query failed");
            }
            reply::failure(&failure)
        }
    }
}

async fn ask(
    surface: &Arc<Surface>,
    question: Question,
    request: Request,
) -> Result<bytes::Bytes, Failure> {
    let services = surface.services()?;
    let tenant = surface.tenant(request.headers())?;
    let (question, request) = named(question, request).await?;
    let text_bytes = surface.config.query.text.as_u64();
    let limit_bytes = text_bytes.saturating_mul(PERCENT_ENCODING).saturating_add(FORM_ROOM_BYTES);
    let parameters = Parameters::of(request, limit_bytes).await?;
    services.read.answer(ReadRequest { tenant, question, parameters }).await
}

/// The question of a route, with the name that stands in the path where it has one: after
/// percent-decoding, `U__` escapes still in it.
async fn named(question: Question, request: Request) -> Result<(Question, Request), Failure> {
    if !matches!(question, Question::LabelValues(_)) {
        return Ok((question, request));
    }
    let (mut parts, body) = request.into_parts();
    let Path(name) = Path::<String>::from_request_parts(&mut parts, &())
        .await
        .map_err(|error| Failure::new(ErrorClass::Invalid, error.body_text()))?;
    Ok((Question::LabelValues(name), Request::from_parts(parts, body)))
}
