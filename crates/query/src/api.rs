//! One question: admitted, answered where blocking is allowed, given up when nobody waits any more.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rangekeeper_model::{ErrorClass, TenantId};
use rangekeeper_promql::ParserOptions;
use rangekeeper_promql::eval::{Engine, EngineOptions, Interrupt};
use rangekeeper_telemetry::Registry;
use tokio::sync::Semaphore;

use crate::data::{Data, Look};
use crate::error::QueryError;
use crate::feature::Feature;
use crate::metrics::QueryMetrics;
use crate::parameters::Parameters;

/// What a query may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Samples that it may hold at a time.
    pub samples: u64,
    /// Series that its selectors may match together.
    pub series: u64,
    /// How long it may take. A request may ask for less.
    pub timeout: Duration,
    /// Queries that run at once; others wait within their time.
    pub concurrent: usize,
    /// Bytes of its text.
    pub text_bytes: usize,
    /// How deep its text may be nested.
    pub depth: usize,
    /// How long a sample stands for its series, in milliseconds.
    pub lookback_ms: i64,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// `query`
    Query,
    /// `query_range`
    QueryRange,
    /// `query_exemplars`
    QueryExemplars,
    /// `format_query`
    FormatQuery,
    /// `series`
    Series,
    /// `labels`
    Labels,
    /// `label/{name}/values`, the name as it stands in the path
    LabelValues(String),
    /// `metadata`
    Metadata,
    /// `status/tsdb`
    Tsdb,
}

impl Question {
    fn kind(&self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::QueryRange => "query_range",
            Self::QueryExemplars => "query_exemplars",
            Self::FormatQuery => "format_query",
            Self::Series => "series",
            Self::Labels => "labels",
            Self::LabelValues(_) => "label_values",
            Self::Metadata => "metadata",
            Self::Tsdb => "tsdb",
        }
    }
}

/// Answers the questions of the Prometheus HTTP API. Cloning is cheap.
#[derive(Clone)]
pub struct Api {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) data: Data,
    pub(crate) engine: Engine,
    pub(crate) parser: ParserOptions,
    pub(crate) limits: Limits,
    pub(crate) metrics: QueryMetrics,
    /// The names of the features that are on, in order: nodes that evaluate parts of each other's
    /// queries have to agree.
    pub(crate) features: String,
    turns: Semaphore,
}

/// A question on its way to an answer.
pub(crate) struct Asked<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) tenant: &'a TenantId,
    pub(crate) parameters: Parameters<'a>,
    canceled: &'a AtomicBool,
    /// When it came, and when its turn did.
    pub(crate) started: Instant,
    pub(crate) admitted: Instant,
    deadline: Instant,
}

impl Api {
    /// Answers from `data`, evaluating on the threads of `pool`, with `features` on.
    pub fn new(
        data: impl Into<Data>,
        limits: Limits,
        features: &[Feature],
        pool: Arc<rayon::ThreadPool>,
        registry: &Registry,
    ) -> Self {
        let mut options = EngineOptions::new(pool);
        options.lookback_ms = limits.lookback_ms;
        options.max_samples = limits.samples;
        options.max_series = limits.series;
        let mut parser = ParserOptions::ALL;
        parser.experimental_functions = false;
        parser.extended_range_selectors = false;
        parser.fill_modifiers = false;
        parser.max_bytes = limits.text_bytes;
        parser.max_depth = limits.depth;
        for feature in features {
            feature.enable(&mut parser, &mut options);
        }
        let engine = Engine::new(options);
        let (metrics, turns) = (QueryMetrics::new(registry), Semaphore::new(limits.concurrent));
        let mut features: Vec<String> = features.iter().map(ToString::to_string).collect();
        features.sort_unstable();
        let features = features.join(",");
        let data = data.into();
        let shared = Shared { data, engine, parser, limits, metrics, features, turns };
        let shared = Arc::new(shared);
        if let Data::Cluster(router, _) = &shared.data {
            let folder: Weak<Shared> = Arc::downgrade(&shared);
            router.fold_by(folder);
        }
        Self { shared }
    }

    /// The whole answer, its envelope included, as JSON. Dropping the future gives the query up.
    pub async fn answer(
        &self,
        tenant: TenantId,
        question: Question,
        parameters: Vec<(String, String)>,
    ) -> Result<Vec<u8>, QueryError> {
        let started = Instant::now();
        let kind = question.kind();
        let answer = self.take_turn(tenant, question, parameters, started).await;
        let outcome = match &answer {
            Ok(_) => "success",
            Err(error) => match error.class() {
                ErrorClass::Invalid => "invalid",
                ErrorClass::Timeout => "timeout",
                ErrorClass::Canceled => "canceled",
                _ => "failed",
            },
        };
        let seconds = &self.shared.metrics.seconds;
        seconds.with_label_values(&[kind, outcome]).observe(started.elapsed().as_secs_f64());
        answer
    }

    async fn take_turn(
        &self,
        tenant: TenantId,
        question: Question,
        parameters: Vec<(String, String)>,
        started: Instant,
    ) -> Result<Vec<u8>, QueryError> {
        let shared = Arc::clone(&self.shared);
        // What is no duration is refused by the questions that take one.
        let asked_for = Parameters(&parameters).timeout().ok().flatten();
        let timeout = asked_for.map_or(shared.limits.timeout, |t| t.min(shared.limits.timeout));
        let turn = tokio::time::timeout(timeout, shared.turns.acquire()).await;
        let _turn = turn.map_err(|_| QueryError::Queue)?.expect("turns are never closed");
        let canceled = CancelOnDrop(Arc::new(AtomicBool::new(false)));
        let of_thread = Arc::clone(&canceled.0);
        let work = {
            let shared = Arc::clone(&shared);
            move || {
                let asked = Asked {
                    shared: &shared,
                    tenant: &tenant,
                    parameters: Parameters(&parameters),
                    canceled: &of_thread,
                    started,
                    admitted: Instant::now(),
                    deadline: started + timeout,
                };
                shared.metrics.running.inc();
                let answer = asked.answer(&question);
                shared.metrics.running.dec();
                answer
            }
        };
        let answer = tokio::task::spawn_blocking(work).await.map_err(|_| QueryError::Aborted)?;
        drop(canceled);
        answer
    }
}

/// Tells the thread that answers that nobody waits any more.
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Asked<'_> {
    /// Why the answer has to be given up, if it has to.
    pub(crate) fn interrupt(&self) -> Option<Interrupt> {
        if self.canceled.load(Ordering::Relaxed) {
            return Some(Interrupt::Canceled);
        }
        (Instant::now() > self.deadline).then_some(Interrupt::Timeout)
    }

    /// The data, looked at for this question.
    pub(crate) fn look<'a>(&'a self, stop: &'a (dyn Fn() -> bool + Sync)) -> Look<'a> {
        let (data, tenant, deadline) = (&self.shared.data, self.tenant, self.deadline);
        Look { data, tenant, stop, deadline, within: None, told: None }
    }

    /// Whether the answer has to be given up.
    pub(crate) fn is_over(&self) -> bool {
        self.interrupt().is_some()
    }

    fn answer(&self, question: &Question) -> Result<Vec<u8>, QueryError> {
        match question {
            Question::Query => self.query(),
            Question::QueryRange => self.query_range(),
            Question::QueryExemplars => self.query_exemplars(),
            Question::FormatQuery => self.format_query(),
            Question::Series => self.series(),
            Question::Labels => self.label_names(),
            Question::LabelValues(name) => self.label_values(name),
            Question::Metadata => self.metadata(),
            Question::Tsdb => self.tsdb(),
        }
    }
}
