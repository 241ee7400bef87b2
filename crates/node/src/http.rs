//! The HTTP surface: one table of routes, one function that every request goes through.
//!
//! **Invariant:** whatever is asked, the answer has a request id, is counted, and, but for the two
//! health paths, was given only to who may ask.

mod auth;
mod body;
mod observation;
mod operate;
mod page;
mod parameters;
mod read;
mod reply;
mod routes;
mod write;

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::MethodRouter;
use rangekeeper_model::{ErrorClass, TenantId};
use rangekeeper_telemetry::{Registry, RequestIds};
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;

use crate::admission::InFlight;
use crate::config::Config;
use crate::memory::Memory;
use crate::readiness::{Phase, Readiness};
use crate::services::{Failure, Services};

use observation::{Metrics, Observed};
use reply::failure;
use routes::{Action, Route};

pub use auth::{AuthError, Tokens};
pub use parameters::Parameters;
pub use routes::contract;

/// What the path of every route may also begin with, as users of peers have it configured.
const PREFIX: &str = "/prometheus";

/// What all requests share.
pub struct Surface {
    config: Arc<Config>,
    registry: Registry,
    tokens: Option<Tokens>,
    memory: Memory,
    in_flight: Arc<InFlight>,
    readiness: Arc<Readiness>,
    services: OnceLock<Services>,
    request_ids: RequestIds,
    metrics: Metrics,
    anonymous: TenantId,
}

impl Surface {
    /// A surface without services: until [`Surface::open`] it tells what the start is doing.
    ///
    /// `available_bytes` is the memory that the process may use; of it the limits take their
    /// shares.
    pub fn new(
        config: Arc<Config>,
        registry: Registry,
        tokens: Option<Tokens>,
        memory: Memory,
        available_bytes: u64,
        seed: u64,
    ) -> Self {
        let in_flight = InFlight::new(config.limits.in_flight.of(available_bytes));
        in_flight.register(&registry);
        memory.register(&registry);
        let metrics = Metrics::new(&registry);
        Self {
            config,
            registry,
            tokens,
            memory,
            in_flight,
            readiness: Arc::default(),
            services: OnceLock::new(),
            request_ids: RequestIds::new(seed),
            metrics,
            anonymous: TenantId::default(),
        }
    }

    /// Serves requests with `services` from now on.
    pub fn open(&self, services: Services) {
        assert!(self.services.set(services).is_ok(), "a node is opened once");
        self.readiness.serving();
    }

    /// How far the node's life has come.
    pub fn readiness(&self) -> &Arc<Readiness> {
        &self.readiness
    }

    /// The services, once they are there.
    fn services(&self) -> Result<&Services, Failure> {
        self.services.get().ok_or_else(|| {
            let reason = match self.readiness.phase() {
                Phase::Starting(what) => format!("the node is starting: {what}"),
                Phase::Serving | Phase::Stopping => "the node is stopping".to_owned(),
            };
            Failure::new(ErrorClass::Unavailable, reason)
        })
    }

    /// The tenant that a request is of.
    fn tenant(&self, request: &axum::http::HeaderMap) -> Result<TenantId, Failure> {
        let Some(name) = request.get("x-scope-orgid") else { return Ok(self.anonymous.clone()) };
        let name = String::from_utf8_lossy(name.as_bytes());
        TenantId::new(&name).map_err(|error| {
            Failure::new(ErrorClass::Invalid, format!("header X-Scope-OrgID: {error}"))
        })
    }
}

/// The router of all routes, with and without the prefix `/prometheus`.
pub fn router(surface: &Arc<Surface>) -> Router {
    let unknown = surface.metrics.unknown();
    let mut router = Router::new();
    for route in routes::ROUTES {
        let metrics = Arc::new(surface.metrics.of(route.path));
        let on = |surface: Arc<Surface>| {
            move |request: Request| handle(surface, Asked::Route(route), metrics, request)
        };
        let mut methods = MethodRouter::new().on(route.methods.filter(), on(Arc::clone(surface)));
        if route.is_compressed() {
            // The fastest level: answers are read once, mostly by a machine next door.
            let level = CompressionLevel::Fastest;
            methods = methods.layer(CompressionLayer::new().gzip(true).quality(level));
        }
        let wrong = Arc::clone(surface);
        let counted = Arc::clone(&unknown);
        let methods = methods.fallback(move |request: Request| {
            handle(wrong, Asked::OtherMethod(route), counted, request)
        });
        router = router
            .route(route.path, methods.clone())
            .route(&format!("{PREFIX}{}", route.path), methods);
    }
    let surface = Arc::clone(surface);
    router.fallback(move |request: Request| handle(surface, Asked::Unknown, unknown, request))
}

/// What the path and the method of a request make of it.
#[derive(Clone, Copy)]
enum Asked {
    /// A route.
    Route(&'static Route),
    /// A route, but not this way.
    OtherMethod(&'static Route),
    /// Nothing that there is.
    Unknown,
}

/// Answers one request.
async fn handle(
    surface: Arc<Surface>,
    asked: Asked,
    metrics: Arc<observation::RouteMetrics>,
    request: Request,
) -> Response {
    let observed = Observed::begin(&surface.metrics, metrics, surface.request_ids.next(), &request);
    let open = matches!(asked, Asked::Route(route) if route.is_open());
    let response = match &surface.tokens {
        Some(tokens) if !open && !tokens.admit(request.headers()) => auth::challenge(),
        _ => match asked {
            Asked::Route(route) => act(&surface, route, &observed, request).await,
            Asked::OtherMethod(route) => operate::wrong_method(request.method(), route.methods),
            Asked::Unknown => {
                let message = format!("no such path: {}", request.uri().path());
                failure(&Failure::new(ErrorClass::NotFound, message))
            }
        },
    };
    observed.end(response)
}

async fn act(
    surface: &Arc<Surface>,
    route: &'static Route,
    observed: &Observed,
    request: Request,
) -> Response {
    match &route.action {
        Action::Write => write::receive(surface, observed, request).await,
        Action::Read(question) => read::answer(surface, observed, question.clone(), request).await,
        Action::Page => page::page(surface, &request),
        Action::Cluster => operate::cluster(surface),
        Action::BuildInfo => operate::build_info(),
        Action::Rules => operate::no_rules(&request),
        Action::Alerts => operate::no_alerts(),
        Action::Metrics => operate::metrics(surface).await,
        Action::Healthy => operate::healthy(),
        Action::Ready => operate::ready(surface),
        Action::Seal => operate::seal(surface, observed).await,
        Action::Snapshot => operate::snapshot(surface, observed, request).await,
        Action::ConfirmClock => operate::confirm_clock(surface, observed).await,
        Action::Identity => operate::identity(surface).await,
    }
}
