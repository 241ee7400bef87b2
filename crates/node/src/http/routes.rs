//! The table of routes. What is served, and the list of paths that the project promises to keep,
//! are both made of it.

use std::fmt::Write;

use axum::routing::MethodFilter;
use rangekeeper_query::Question;

use super::PREFIX;

/// A path and what it does.
#[derive(Debug)]
pub(super) struct Route {
    /// The path, in axum's notation.
    pub(super) path: &'static str,
    /// How it may be asked.
    pub(super) methods: Methods,
    /// What it does.
    pub(super) action: Action,
}

/// How a path may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Methods {
    Get,
    Post,
    GetAndPost,
}

/// What a path does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Write,
    /// Asks this; a name that stands in the path is put in when it is asked.
    Read(Question),
    /// The page for people.
    Page,
    Cluster,
    BuildInfo,
    Rules,
    Alerts,
    Metrics,
    Healthy,
    Ready,
    Seal,
    Snapshot,
    ConfirmClock,
    Identity,
}

const fn route(path: &'static str, methods: Methods, action: Action) -> Route {
    Route { path, methods, action }
}

/// All routes.
pub(super) const ROUTES: &[Route] = &[
    route("/api/v1/write", Methods::Post, Action::Write),
    route("/api/v1/push", Methods::Post, Action::Write),
    route("/api/v1/receive", Methods::Post, Action::Write),
    route("/api/v1/query", Methods::GetAndPost, Action::Read(Question::Query)),
    route("/api/v1/query_range", Methods::GetAndPost, Action::Read(Question::QueryRange)),
    route("/api/v1/query_exemplars", Methods::GetAndPost, Action::Read(Question::QueryExemplars)),
    route("/api/v1/format_query", Methods::GetAndPost, Action::Read(Question::FormatQuery)),
    route("/api/v1/series", Methods::GetAndPost, Action::Read(Question::Series)),
    route("/api/v1/labels", Methods::GetAndPost, Action::Read(Question::Labels)),
    route(
        "/api/v1/label/{name}/values",
        Methods::Get,
        Action::Read(Question::LabelValues(String::new())),
    ),
    route("/api/v1/metadata", Methods::Get, Action::Read(Question::Metadata)),
    route("/api/v1/status/tsdb", Methods::Get, Action::Read(Question::Tsdb)),
    route("/api/v1/status/buildinfo", Methods::Get, Action::BuildInfo),
    route("/api/v1/rules", Methods::Get, Action::Rules),
    route("/api/v1/alerts", Methods::Get, Action::Alerts),
    route("/api/v1/admin/seal", Methods::Post, Action::Seal),
    route("/api/v1/admin/snapshot", Methods::Post, Action::Snapshot),
    route("/api/v1/admin/confirm-clock", Methods::Post, Action::ConfirmClock),
    route("/api/v1/admin/identity", Methods::Get, Action::Identity),
    route("/api/cluster/v1", Methods::Get, Action::Cluster),
    route("/", Methods::Get, Action::Page),
    route("/metrics", Methods::Get, Action::Metrics),
    route("/-/healthy", Methods::Get, Action::Healthy),
    route("/-/ready", Methods::Get, Action::Ready),
];

impl Route {
    /// Whether anybody may ask, as probes of an orchestrator have no credentials.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.action, Action::Healthy | Action::Ready)
    }

    /// Whether the answer may be long.
    pub(super) fn is_compressed(&self) -> bool {
        let long = [Action::Metrics, Action::Page, Action::Cluster];
        matches!(self.action, Action::Read(_)) || long.contains(&self.action)
    }
}

impl Methods {
    pub(super) fn filter(self) -> MethodFilter {
        match self {
            Self::Get => MethodFilter::GET,
            Self::Post => MethodFilter::POST,
            Self::GetAndPost => MethodFilter::GET.or(MethodFilter::POST),
        }
    }

    /// The value of the header `Allow`.
    pub(super) fn allow(self) -> &'static str {
        match self {
            Self::Get => "GET, HEAD",
            Self::Post => "POST",
            Self::GetAndPost => "GET, HEAD, POST",
        }
    }
}

/// The paths with their methods, one a line: a contract with everybody who has a URL configured.
pub fn contract() -> String {
    let mut out = format!("# Every path is also served under {PREFIX}.\n");
    for route in ROUTES {
        let methods = route.methods.allow();
        let open = if route.is_open() { "  (without credentials)" } else { "" };
        writeln!(out, "{:<32} {methods}{open}", route.path).expect("a string takes all");
    }
    out
}
