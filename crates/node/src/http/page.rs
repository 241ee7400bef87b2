//! The page for people: what the node is, and in a cluster where the shards are. Made here whole,
//! without a script, so that every browser shows it, one in a terminal too.

mod cluster;
mod ring;

use axum::extract::Request;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use rangekeeper_model::ErrorClass;

use super::operate::refusal;
use super::{Surface, reply};
use crate::overview::Overview;
use crate::services::Failure;
use crate::version;

const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");

/// Nothing is loaded from anywhere, and nothing runs.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action \
     'none'; frame-ancestors 'none'",
);

/// The looks of both pages. Ours, so it needs no escaping.
const STYLE: PreEscaped<&str> = PreEscaped(include_str!("page/page.css"));

/// Answers with the page.
pub(super) fn page(surface: &Surface, request: &Request) -> Response {
    let refusal = refusal(surface);
    let services = surface.services().ok();
    let cluster = services.and_then(|services| services.cluster.as_ref());
    let page = match cluster.map(|cluster| Overview::read(&cluster.status())) {
        None => lone(surface, request.headers(), services.is_some(), refusal.as_deref()),
        Some(Ok(overview)) => cluster::page(&overview, refusal.as_deref()),
        Some(Err(error)) => {
            let message = format!("failed to read the cluster's status: {error}");
            return reply::failure(&Failure::new(ErrorClass::Internal, message));
        }
    };
    let mut response = reply::with(StatusCode::OK, HTML, page.into_string().into());
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// A page around `content`. Links are relative: a proxy may have put a path in front.
#[expect(clippy::needless_pass_by_value, reason = "the shape that html! gives")]
fn framed(title: &str, content: Markup, links: Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="refresh" content="30";
                title { (title) }
                link rel="icon" href="data:,";
                style { (STYLE) }
            }
            body {
                (content)
                footer.soft {
                    "rangekeeper " (version::line()) " · " a href="metrics" { "metrics" }
                    " · " a href="-/ready" { "ready" } (links)
                }
            }
        }
    }
}

/// The page of a node that is alone, or not open yet.
fn lone(surface: &Surface, headers: &HeaderMap, is_open: bool, refusal: Option<&str>) -> Markup {
    let storage = &surface.config.storage;
    // As whoever asks reaches it.
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("HOST:PORT");
    let url = format!("http://{host}");
    let kept = humantime::format_duration(storage.retention);
    let content = html! {
        h1 { "rangekeeper" }
        p {
            "A store for Prometheus metrics."
            @if is_open { " This node is alone: it is no part of a cluster." }
        }
        dl {
            dt { "State" }
            dd {
                @match refusal {
                    None => { span.good { "ready" } }
                    Some(reason) => { span.bad { "not ready: " (reason) } }
                }
            }
            dt { "Data" }
            dd { code { (storage.data_dir.display()) } ", kept for " (kept) }
        }
        h2 { "To write to it" }
        pre {
            "remote_write:\n  - url: " (url) "/api/v1/write\n    send_exemplars: true\n"
            "    send_native_histograms: true"
        }
        h2 { "To read from it" }
        p {
            "In Grafana add a " em { "Prometheus" } " data source with the URL " code { (url) }
            "."
        }
        h2 { "Its paths" }
        dl {
            dt { code { "/api/v1/write" } }
            dd { "takes remote write 1.0 and 2.0" }
            dt { code { "/api/v1/query" } ", " code { "/api/v1/query_range" } }
            dd {
                "answer PromQL, as the rest of the Prometheus API does: "
                a href="api/v1/labels" { "labels" } ", "
                a href="api/v1/status/tsdb" { "what it holds" }
            }
            dt { a href="metrics" { code { "/metrics" } } }
            dd { "what the node says of itself to a Prometheus" }
            dt { a href="-/ready" { code { "/-/ready" } } }
            dd {
                "whether it takes writes now; " a href="-/healthy" { code { "/-/healthy" } }
                ": whether it lives"
            }
        }
    };
    framed("rangekeeper", content, html! {})
}
