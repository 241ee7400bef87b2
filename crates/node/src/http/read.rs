//! Answering: from a request to a question, and from its answer to a response.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Path, Request};
use axum::response::Response;
use rangekeeper_model::ErrorClass;
use tracing::Instrument;

use super::observation::Observed;
use super::routes::Asks;
use super::{Parameters, Surface, reply};
use crate::services::{Failure, Question, ReadRequest};

/// What a form may have beside the text of a query: times, limits, and selectors by the dozen.
const FORM_ROOM_BYTES: u64 = 1 << 20;

/// Percent-encoding makes three bytes of one.
const PERCENT_ENCODING: u64 = 3;

/// Answers a question.
pub(super) async fn answer(
    surface: &Arc<Surface>,
    observed: &Observed,
    asks: Asks,
    request: Request,
) -> Response {
    let request_id = observed.id();
    let span = tracing::info_span!("request", %request_id);
    match ask(surface, asks, request).instrument(span).await {
        Ok(body) => reply::json(body),
        Err(failure) => {
            if failure.class == ErrorClass::Internal {
                let message = &failure.message;
                tracing::error!(%request_id, message, "query failed");
            }
            reply::failure(&failure)
        }
    }
}

async fn ask(
    surface: &Arc<Surface>,
    asks: Asks,
    request: Request,
) -> Result<bytes::Bytes, Failure> {
    let services = surface.services()?;
    let tenant = surface.tenant(request.headers())?;
    let (question, request) = question(asks, request).await?;
    let text_bytes = surface.config.query.text.as_u64();
    let limit_bytes = text_bytes.saturating_mul(PERCENT_ENCODING).saturating_add(FORM_ROOM_BYTES);
    let parameters = Parameters::of(request, limit_bytes).await?;
    services.read.answer(ReadRequest { tenant, question, parameters }).await
}

async fn question(asks: Asks, request: Request) -> Result<(Question, Request), Failure> {
    let question = match asks {
        Asks::Query => Question::Query,
        Asks::QueryRange => Question::QueryRange,
        Asks::QueryExemplars => Question::QueryExemplars,
        Asks::FormatQuery => Question::FormatQuery,
        Asks::Series => Question::Series,
        Asks::Labels => Question::Labels,
        Asks::Metadata => Question::Metadata,
        Asks::Tsdb => Question::Tsdb,
        Asks::LabelValues => {
            let (mut parts, body) = request.into_parts();
            let Path(name) = Path::<String>::from_request_parts(&mut parts, &())
                .await
                .map_err(|error| Failure::new(ErrorClass::Invalid, error.body_text()))?;
            return Ok((Question::LabelValues { name }, Request::from_parts(parts, body)));
        }
    };
    Ok((question, request))
}
