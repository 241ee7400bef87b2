//! The evaluator: series by series over all steps.
//!
//! An expression gives a column a series, not a vector a step. Selectors, range functions and what
//! maps one series to one series (`eval/pipeline.rs`) run in parallel over the series, on the
//! caller's threads, and an aggregation above them folds each column as it comes: its inputs never
//! exist at once. Everything else works on whole vectors (`eval/column.rs`).

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    reason = "arithmetic over times and values, as the language defines it"
)]

mod absence;
mod accumulators;
mod aggregation;
mod apart;
mod binary;
mod calls;
mod classic_histograms;
mod column;
mod count_values;
mod dates;
mod error;
mod evaluator;
mod extrapolation;
mod float_sums;
mod grouping;
mod info;
mod label_functions;
mod limits;
mod maps;
mod matching;
mod math_functions;
mod pipeline;
mod quantile;
mod range_functions;
mod ranking;
mod regression;
mod same_labels;
mod selector;
mod set_operators;
mod sorting;
mod steps;
mod subquery;
mod windows;

use std::sync::Arc;

use rayon::ThreadPool;

use crate::annotations::Annotations;
use crate::ast::{DurationContext, Expr, ValueType};
use crate::source::{Folded, Folding, Source};
use crate::value::{InstantSample, SampleValue, ScalarPoint, Series, StringPoint, Value};
use column::{Evaluated, Vector};
use evaluator::Evaluator;
use steps::Steps;

pub(crate) use column::Column;
pub use error::EvalError;
pub use limits::Interrupt;

/// How queries are evaluated.
#[derive(Clone)]
pub struct EngineOptions {
    /// How long a sample stands for its series, in milliseconds, where the query does not say.
    pub lookback_ms: i64,
    /// Distance of the steps of a subquery that does not say, in milliseconds.
    pub default_subquery_step_ms: i64,
    /// Samples that a query may hold at a time.
    pub max_samples: u64,
    /// Series that a query's selectors may match together.
    pub max_series: u64,
    /// Whether metric names go when the query ends instead of where a value stops being that
    /// metric.
    pub delayed_name_removal: bool,
    /// Whether start timestamps tell of counter resets.
    pub use_start_timestamps: bool,
    /// The threads that series are evaluated on.
    pub pool: Arc<ThreadPool>,
}

impl EngineOptions {
    /// What a server does by default, on `pool`.
    pub fn new(pool: Arc<ThreadPool>) -> Self {
        Self {
            lookback_ms: 5 * 60 * 1000,
            default_subquery_step_ms: 60 * 1000,
            max_samples: 50_000_000,
            max_series: 10_000_000,
            delayed_name_removal: false,
            use_start_timestamps: false,
            pool,
        }
    }
}

/// Evaluates queries. Holds no state between them.
#[derive(Clone)]
pub struct Engine {
    options: EngineOptions,
}

/// A query to be evaluated.
#[derive(Clone, Copy)]
pub struct Query<'a> {
    /// What is asked.
    pub expr: &'a Expr,
    /// The first step, in milliseconds since the epoch; of an instant query its only one.
    pub start_ms: i64,
    /// No step is after this.
    pub end_ms: i64,
    /// Distance of the steps; `None` makes it an instant query.
    pub step_ms: Option<i64>,
    /// How long a sample stands for its series, if not as the engine has it.
    pub lookback_ms: Option<i64>,
    /// Asked every few series whether the query has to stop.
    pub interrupt: &'a (dyn Fn() -> Option<Interrupt> + Sync),
}

/// What a query cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Series that selectors matched.
    pub series: u64,
    /// Samples that were read.
    pub samples_read: u64,
    /// The most samples that were held at once.
    pub peak_samples: u64,
}

/// The answer to a query, and what there is to say about it.
#[derive(Debug)]
pub struct Answer {
    /// The answer.
    pub value: Value,
    /// Warnings and infos.
    pub annotations: Annotations,
    /// What it cost.
    pub stats: Stats,
}

impl<'a> Query<'a> {
    /// A query at one time, that nothing stops.
    pub fn instant(expr: &'a Expr, time_ms: i64) -> Self {
        Self {
            expr,
            start_ms: time_ms,
            end_ms: time_ms,
            step_ms: None,
            lookback_ms: None,
            interrupt: &|| None,
        }
    }

    /// A query over steps, that nothing stops.
    pub fn range(expr: &'a Expr, start_ms: i64, end_ms: i64, step_ms: i64) -> Self {
        Self { end_ms, step_ms: Some(step_ms), ..Self::instant(expr, start_ms) }
    }

    fn durations(&self) -> DurationContext {
        DurationContext {
            start_ms: self.start_ms,
            end_ms: self.end_ms,
            step_ms: self.step_ms.unwrap_or(0),
        }
    }
}

impl Engine {
    /// An engine with these options.
    pub fn new(options: EngineOptions) -> Self {
        Self { options }
    }

    /// Answers a query. Blocks; the work on series runs on the engine's threads.
    pub fn evaluate(&self, source: &dyn Source, query: &Query<'_>) -> Result<Answer, EvalError> {
        let mut expr = query.expr.clone();
        if query.step_ms.is_some()
            && !matches!(expr.value_type(), ValueType::Scalar | ValueType::Vector)
        {
            return Err(EvalError::RangeType(range_type_name(expr.value_type())));
        }
        expr.resolve_durations(&query.durations())?;
        let evaluator = Evaluator::new(&self.options, source, query);
        let mut notes = Annotations::default();
        let value = self.options.pool.install(|| answer(&evaluator, query, &expr, &mut notes))?;
        Ok(Answer { value, annotations: notes, stats: evaluator.stats() })
    }
}

impl Engine {
    /// Folds the part of an aggregation that a source has: of the one that `folding` names in the
    /// query `expr`. Fails as well where the parts' results would not make the whole's. Blocks.
    ///
    /// See [`Source::fold_elsewhere`], which asks others for this.
    pub fn fold(
        &self,
        source: &dyn Source,
        expr: &Expr,
        folding: &Folding,
        interrupt: &(dyn Fn() -> Option<Interrupt> + Sync),
    ) -> Result<Folded, EvalError> {
        let Folding { span, start_ms, end_ms, step_ms, lookback_ms, max_series } = *folding;
        let lookback_ms = Some(lookback_ms);
        let query = Query { expr, start_ms, end_ms, step_ms, lookback_ms, interrupt };
        let mut expr = expr.clone();
        expr.resolve_durations(&query.durations())?;
        let mut found = None;
        expr.visit(|expr| {
            if let Expr::Aggregate(aggregate) = expr
                && aggregate.span == span
            {
                found = Some(aggregate);
            }
        });
        let nothing = || EvalError::argument("no aggregation stands there");
        let aggregate = found.ok_or_else(nothing)?;
        let mut options = self.options.clone();
        options.max_series = options.max_series.min(max_series);
        let evaluator = Evaluator::new(&options, source, &query);
        let mut notes = Annotations::default();
        let part = || evaluator.part(aggregate, evaluator.steps(), &mut notes);
        let folded = self.options.pool.install(part)?;
        if notes.is_empty() {
            Ok(folded)
        } else {
            Err(EvalError::argument("there is something to say of the series of a part"))
        }
    }
}

/// What the error of a range query calls a type.
fn range_type_name(value_type: ValueType) -> &'static str {
    match value_type {
        ValueType::Scalar => "scalar",
        ValueType::String => "string",
        ValueType::Vector => "instant vector",
        ValueType::Matrix => "range vector",
    }
}

fn answer(
    evaluator: &Evaluator<'_>,
    query: &Query<'_>,
    expr: &Expr,
    notes: &mut Annotations,
) -> Result<Value, EvalError> {
    let steps = Steps::between(query.start_ms, query.end_ms, query.step_ms.unwrap_or(1));
    if expr.value_type() == ValueType::Matrix {
        return Ok(Value::Matrix(evaluator.matrix(expr, steps, notes)?));
    }
    let timestamp_ms = query.start_ms;
    match evaluator.eval(expr, steps, notes)? {
        Evaluated::Text(bytes) => Ok(Value::String(StringPoint { timestamp_ms, bytes })),
        Evaluated::Scalar(values) if query.step_ms.is_none() => {
            Ok(Value::Scalar(ScalarPoint { timestamp_ms, value: values[0] }))
        }
        Evaluated::Scalar(values) => Ok(Value::Matrix(scalar_series(values, steps))),
        Evaluated::Vector(vector) => {
            let vector = evaluator.without_pending_names(vector)?;
            Ok(match query.step_ms {
                None => Value::Vector(instant_samples(vector, timestamp_ms)),
                Some(_) => Value::Matrix(sorted_series(vector, steps)),
            })
        }
    }
}

fn scalar_series(values: Vec<f64>, steps: Steps) -> Vec<Series> {
    let row = column::Row::of_values(rangekeeper_model::Labels::empty(), values);
    let (labels, column) = Column::of_row(row, steps);
    if steps.count == 0 { Vec::new() } else { vec![Series::on_steps(labels, column)] }
}

fn instant_samples(vector: Vector, timestamp_ms: i64) -> Vec<InstantSample> {
    let samples = vector.rows.into_iter().filter_map(|row| {
        let value = match row.histogram(0) {
            Some(histogram) => SampleValue::Histogram(Arc::clone(histogram)),
            None if row.has_float(0) => SampleValue::Float(row.values[0]),
            None => return None,
        };
        Some(InstantSample { labels: row.labels, timestamp_ms, value })
    });
    samples.collect()
}

fn sorted_series(vector: Vector, steps: Steps) -> Vec<Series> {
    let rows = vector.rows.into_iter().filter(|row| !row.is_empty());
    let mut series: Vec<Series> = rows
        .map(|row| {
            let (labels, column) = Column::of_row(row, steps);
            Series::on_steps(labels, column)
        })
        .collect();
    series.sort_by(|a, b| a.labels.cmp(&b.labels));
    series
}
