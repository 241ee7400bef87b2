//! What is common to the evaluation of all expressions of one query.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rangekeeper_model::{Labels, Matcher, TimeRange};

use super::column::{ABSENT, Evaluated, Row, Vector, without_metadata};
use super::error::EvalError;
use super::limits::{Budget, Interrupt};
use super::maps::Map;
use super::pipeline::is_pipeline;
use super::same_labels;
use super::steps::Steps;
use super::windows::Reference;
use super::{EngineOptions, Query, Stats};
use crate::annotations::Annotations;
use crate::ast::{At, Expr, UnaryOp, ValueType};
use crate::source::{Select, SeriesSet, Source};

/// Evaluates the expressions of one query.
pub(crate) struct Evaluator<'q> {
    pub(super) options: &'q EngineOptions,
    pub(super) source: &'q dyn Source,
    /// The query's own times, which `start()` and `end()` stand for, in subqueries too.
    pub(super) start_ms: i64,
    pub(super) end_ms: i64,
    pub(super) step_ms: i64,
    pub(super) lookback_ms: i64,
    pub(super) interrupt: &'q (dyn Fn() -> Option<Interrupt> + Sync),
    pub(super) budget: Arc<Budget>,
    pub(super) series: AtomicU64,
    pub(super) samples_read: AtomicU64,
}

impl<'q> Evaluator<'q> {
    pub fn new(options: &'q EngineOptions, source: &'q dyn Source, query: &Query<'q>) -> Self {
        Self {
            options,
            source,
            start_ms: query.start_ms,
            end_ms: query.end_ms,
            step_ms: query.step_ms.unwrap_or(0),
            lookback_ms: query.lookback_ms.unwrap_or(options.lookback_ms),
            interrupt: query.interrupt,
            budget: Budget::new(options.max_samples),
            series: AtomicU64::new(0),
            samples_read: AtomicU64::new(0),
        }
    }

    /// What the query has cost so far.
    pub fn stats(&self) -> Stats {
        Stats {
            series: self.series.load(Ordering::Relaxed),
            samples_read: self.samples_read.load(Ordering::Relaxed),
            peak_samples: self.budget.peak(),
        }
    }

    /// Stops the query if it has to stop.
    pub fn check(&self) -> Result<(), EvalError> {
        (self.interrupt)().map_or(Ok(()), |interrupt| Err(interrupt.into()))
    }

    /// Evaluates an expression that is no range vector. What does not depend on the step is
    /// evaluated once.
    pub fn eval(
        &self,
        expr: &Expr,
        steps: Steps,
        notes: &mut Annotations,
    ) -> Result<Evaluated, EvalError> {
        self.check()?;
        if steps.count == 0 {
            return Ok(match expr.value_type() {
                ValueType::Scalar => Evaluated::Scalar(Vec::new()),
                _ => Evaluated::Vector(Vector::default()),
            });
        }
        if steps.count > 1 && is_step_invariant(expr) {
            let once = self.eval_each(expr, steps.first_only(), notes)?;
            return self.repeated(once, steps);
        }
        self.eval_each(expr, steps, notes)
    }

    fn eval_each(
        &self,
        expr: &Expr,
        steps: Steps,
        notes: &mut Annotations,
    ) -> Result<Evaluated, EvalError> {
        let expr = expr.without_parens();
        if is_pipeline(expr) {
            return self.pipeline(expr, steps, notes)?.rows(self, notes).map(Evaluated::Vector);
        }
        match expr {
            Expr::Number(number) => Ok(Evaluated::Scalar(vec![number.value; steps.count])),
            Expr::String(text) => Ok(Evaluated::Text(text.bytes.clone())),
            Expr::Call(call) => self.call(call, steps, notes),
            Expr::Aggregate(aggregate) => {
                self.aggregate(aggregate, steps, notes).map(Evaluated::Vector)
            }
            Expr::Binary(binary) => self.binary(binary, steps, notes),
            Expr::Unary(unary) => {
                let value = self.eval(&unary.expr, steps, notes)?;
                match unary.op {
                    UnaryOp::Plus => Ok(value),
                    UnaryOp::Minus => self.negated(value, notes),
                }
            }
            Expr::Vector(_) | Expr::Paren(_) => unreachable!("a selector is a pipeline"),
            Expr::Matrix(_) | Expr::Subquery(_) => {
                Err(EvalError::argument("a range vector is no operand"))
            }
        }
    }

    /// Evaluates an instant vector.
    pub fn vector(
        &self,
        expr: &Expr,
        steps: Steps,
        notes: &mut Annotations,
    ) -> Result<Vector, EvalError> {
        match self.eval(expr, steps, notes)? {
            Evaluated::Vector(vector) => Ok(vector),
            Evaluated::Scalar(_) | Evaluated::Text(_) => {
                unreachable!("the checker lets only instant vectors in here")
            }
        }
    }

    /// Evaluates a scalar.
    pub fn scalar(
        &self,
        expr: &Expr,
        steps: Steps,
        notes: &mut Annotations,
    ) -> Result<Vec<f64>, EvalError> {
        match self.eval(expr, steps, notes)? {
            Evaluated::Scalar(values) => Ok(values),
            Evaluated::Vector(_) | Evaluated::Text(_) => {
                unreachable!("the checker lets only scalars in here")
            }
        }
    }

    /// The series that match, counted against the limits.
    pub fn select(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Box<dyn SeriesSet>, EvalError> {
        let limit = self.options.max_series;
        let max_series = limit.saturating_sub(self.series.load(Ordering::Relaxed));
        let set = self.source.select(&Select { matchers, range, max_series })?;
        let found = set.len() as u64;
        let matched = self.series.fetch_add(found, Ordering::Relaxed) + found;
        if matched > limit {
            return Err(EvalError::TooManySeries { matched, limit });
        }
        Ok(set)
    }

    /// Counts samples that were read.
    pub fn count_read(&self, samples: u64) {
        self.samples_read.fetch_add(samples, Ordering::Relaxed);
    }

    /// A vector of `rows` over `steps`, counted as held.
    pub fn hold(&self, rows: Vec<Row>, steps: Steps) -> Result<Vector, EvalError> {
        let held = self.budget.hold(rows.len() as u64 * steps.count as u64)?;
        Ok(Vector { rows, held })
    }

    /// Where something with these modifiers looks.
    pub fn reference(&self, at: Option<At>, offset_ms: i64) -> Reference {
        let at_ms = at.map(|at| match at {
            At::Timestamp(time_ms) => time_ms,
            At::Start => self.start_ms,
            At::End => self.end_ms,
        });
        Reference { at_ms, offset_ms }
    }

    /// Takes the name off a row whose value no longer is that metric: now, or when the query ends.
    pub fn drop_name(&self, row: &mut Row) {
        if self.options.delayed_name_removal {
            row.drop_name = true;
        } else {
            row.labels = without_metadata(&row.labels);
        }
    }

    /// The vector with the names gone that are to go, which must not make two series the same.
    pub fn without_pending_names(&self, mut vector: Vector) -> Result<Vector, EvalError> {
        if !self.options.delayed_name_removal {
            return Ok(vector);
        }
        for row in vector.rows.iter_mut().filter(|row| row.drop_name) {
            row.labels = without_metadata(&row.labels);
            row.drop_name = false;
        }
        same_labels::merge(&mut vector.rows)?;
        Ok(vector)
    }

    fn repeated(&self, value: Evaluated, steps: Steps) -> Result<Evaluated, EvalError> {
        Ok(match value {
            Evaluated::Scalar(values) => Evaluated::Scalar(vec![values[0]; steps.count]),
            Evaluated::Text(bytes) => Evaluated::Text(bytes),
            Evaluated::Vector(mut vector) => {
                vector.held = self.budget.hold(vector.rows.len() as u64 * steps.count as u64)?;
                vector.rows.iter_mut().for_each(|row| row.repeat(steps));
                Evaluated::Vector(vector)
            }
        })
    }

    fn negated(&self, value: Evaluated, notes: &mut Annotations) -> Result<Evaluated, EvalError> {
        match value {
            Evaluated::Scalar(mut values) => {
                for value in &mut values {
                    *value = -*value;
                }
                Ok(Evaluated::Scalar(values))
            }
            Evaluated::Vector(vector) => {
                self.mapped(vector, &Map::Negate, notes).map(Evaluated::Vector)
            }
            Evaluated::Text(_) => unreachable!("the checker refuses the sign of a text"),
        }
    }
}

impl Row {
    /// A row that has a value at every step, without a pending name.
    pub fn of_values(labels: Labels, values: Vec<f64>) -> Self {
        Self { labels, drop_name: false, values, histograms: None }
    }

    /// A row without any sample.
    pub fn absent(labels: Labels, steps: Steps) -> Self {
        Self::of_values(labels, vec![ABSENT; steps.count])
    }
}

/// Whether an expression gives the same at every step: all that it selects has an `@`, and no
/// function in it asks for the time.
pub(super) fn is_step_invariant(expr: &Expr) -> bool {
    let mut open = vec![expr];
    while let Some(expr) = open.pop() {
        let same = match expr {
            Expr::Vector(selector) => selector.at.is_some(),
            Expr::Matrix(matrix) => matrix.selector.at.is_some(),
            Expr::Subquery(subquery) => {
                if subquery.at.is_some() {
                    continue;
                }
                false
            }
            Expr::Call(call) => call.function.is_at_safe(),
            _ => true,
        };
        if !same {
            return false;
        }
        open.extend(expr.children());
    }
    true
}
