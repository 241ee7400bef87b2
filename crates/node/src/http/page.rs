//! The page for people: what the node is, and in a cluster where the shards are. Made here whole,
//! without a script, so that every browser shows it, one in a terminal too.

mod ring;

use askama::Template;
use axum::extract::Request;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use rangekeeper_model::ErrorClass;

use super::operate::refusal;
use super::{Surface, reply};
use crate::overview::{Health, Node, Overview, Proposal, Unsettled, text_of};
use crate::services::Failure;
use crate::version;

use ring::Ring;

const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");

/// Nothing is loaded from anywhere, and nothing runs.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action \
     'none'; frame-ancestors 'none'",
);

/// Rows of proposals; the JSON has all.
const MAX_PROPOSALS: usize = 50;

/// The page of a node without a cluster, or of one that has none to show yet.
#[derive(Template)]
#[template(path = "lone.html")]
struct LonePage<'a> {
    version: &'static str,
    is_alone: bool,
    refusal: Option<String>,
    data: String,
    retention: String,
    url: &'a str,
}

/// The page of a cluster.
#[derive(Template)]
#[template(path = "cluster.html")]
struct ClusterPage<'a> {
    version: &'static str,
    name: &'a str,
    refusal: Option<String>,
    o: &'a Overview,
    ring: Ring,
    nodes: Vec<NodeRow<'a>>,
    proposals: &'a [Proposal],
    runs: Vec<Run>,
    is_short: bool,
}

struct NodeRow<'a> {
    node: &'a Node,
    color: String,
    serves: bool,
    leads: bool,
    clock: String,
    unsettled: String,
}

/// Shards one after the other with the same nodes.
struct Run {
    numbers: String,
    places: String,
    is_short: bool,
}

/// Answers with the page.
pub(super) fn page(surface: &Surface, request: &Request) -> Response {
    let services = surface.services().ok();
    let cluster = services.and_then(|services| services.cluster.as_ref());
    let refusal = refusal(surface);
    let page = match cluster {
        Some(cluster) => match Overview::read(&cluster.status()) {
            Ok(overview) => render_cluster(&overview, refusal),
            Err(error) => {
                let message = format!("failed to read the cluster's status: {error}");
                return reply::failure(&Failure::new(ErrorClass::Internal, message));
            }
        },
        None => LonePage {
            version: version::line(),
            is_alone: services.is_some(),
            refusal,
            data: surface.config.storage.data_dir.display().to_string(),
            retention: humantime::format_duration(surface.config.storage.retention).to_string(),
            url: &format!("http://{}", host(request.headers())),
        }
        .render(),
    };
    match page {
        Ok(page) => html(page),
        Err(error) => {
            let message = format!("failed to make the page: {error}");
            reply::failure(&Failure::new(ErrorClass::Internal, message))
        }
    }
}

/// The node as whoever asks reaches it.
fn host(headers: &HeaderMap) -> &str {
    headers.get(HOST).and_then(|value| value.to_str().ok()).unwrap_or("HOST:PORT")
}

fn html(page: String) -> Response {
    let mut response = reply::with(StatusCode::OK, HTML, page.into());
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    response
}

fn render_cluster(o: &Overview, refusal: Option<String>) -> askama::Result<String> {
    let path = o.path.as_deref().unwrap_or(&o.cluster);
    let names = o.names();
    let nodes = o.nodes.iter().map(|node| NodeRow {
        node,
        color: ring::color(&names, &node.id),
        serves: o.serves(&node.id) && node.status != "lost",
        leads: o.leader.as_ref() == Some(&node.id) && node.status != "lost",
        clock: node.clock_ahead_s.map_or("-".to_owned(), |ahead| format!("{ahead:+.2} s")),
        unsettled: node.unsettled.as_ref().map_or("-".to_owned(), Unsettled::text),
    });
    let page = ClusterPage {
        version: version::line(),
        name: path.rsplit('/').next().unwrap_or(path),
        refusal,
        o,
        ring: Ring::new(o),
        nodes: nodes.collect(),
        proposals: &o.proposals[..o.proposals.len().min(MAX_PROPOSALS)],
        runs: runs(o),
        is_short: o.shards.iter().any(|shard| o.health(shard) == Health::Short),
    };
    page.render()
}

fn runs(o: &Overview) -> Vec<Run> {
    let mut runs: Vec<(u32, u32, Run)> = Vec::new();
    for shard in &o.shards {
        let texts: Vec<_> = shard.slots.iter().map(|slot| o.slot_text(slot)).collect();
        let places = texts.join(", ");
        match runs.last_mut() {
            Some((_, end, run)) if run.places == places && *end + 1 == shard.shard => {
                *end = shard.shard;
            }
            _ => {
                let is_short = o.health(shard) == Health::Short;
                let run = Run { numbers: String::new(), places, is_short };
                runs.push((shard.shard, shard.shard, run));
            }
        }
    }
    let named = runs.into_iter().map(|(start, end, run)| {
        let numbers = if start == end { start.to_string() } else { format!("{start} – {end}") };
        Run { numbers, ..run }
    });
    named.collect()
}

fn or_dash(text: &Option<String>) -> &str {
    text.as_deref().filter(|text| !text.is_empty()).unwrap_or("-")
}

fn number_or_dash(number: &Option<u64>) -> String {
    number.map_or("-".to_owned(), |number| number.to_string())
}

/// Ours, not the cluster's, so that it needs no escaping.
fn yes_or_no(is: &Option<bool>) -> &'static str {
    match is {
        None => "-",
        Some(true) => "yes",
        Some(false) => "<span class=\"bad\">no</span>",
    }
}
