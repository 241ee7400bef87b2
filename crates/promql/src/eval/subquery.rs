//! Range vectors: those that range functions take, and those that a query asks for itself.

use std::sync::Arc;

use rangekeeper_model::{HistogramSample, Labels, Samples, TimeRange};

use super::column::{Vector, is_absent};
use super::error::EvalError;
use super::evaluator::Evaluator;
use super::extrapolation::Border;
use super::pipeline::Naming;
use super::steps::Steps;
use super::windows::{Ranges, drop_stale};
use crate::annotations::Annotations;
use crate::ast::{Expr, MatrixSelector, Subquery};
use crate::source::{SeriesSet, SourceError};
use crate::value::Series;

/// A range vector before a function sees it.
pub(crate) struct RangeVector {
    /// Its series.
    pub set: Box<dyn SeriesSet>,
    /// The ranges of each step.
    pub ranges: Ranges,
    /// How values at the borders are found.
    pub border: Border,
    /// What is known of its series' names.
    pub naming: Naming,
    /// Whether its samples can have start timestamps: those of a subquery cannot.
    pub is_selector: bool,
}

/// The rows of a subquery, read as series.
struct RowsAsSeries {
    vector: Vector,
    steps: Steps,
}

impl SeriesSet for RowsAsSeries {
    fn len(&self) -> usize {
        self.vector.rows.len()
    }

    fn labels(&self, index: usize) -> &Labels {
        &self.vector.rows[index].labels
    }

    fn read(&self, index: usize, samples: &mut Samples) -> Result<(), SourceError> {
        samples.clear();
        let row = &self.vector.rows[index];
        for (step, value) in row.values.iter().enumerate() {
            if !is_absent(*value) {
                samples.floats.push(self.steps.time(step), 0, *value);
            }
        }
        for (step, place) in row.histograms.as_deref().unwrap_or(&[]).iter().enumerate() {
            if let Some(histogram) = place {
                samples.histograms.push(HistogramSample {
                    timestamp_ms: self.steps.time(step),
                    start_ms: 0,
                    histogram: Arc::clone(histogram),
                });
            }
        }
        Ok(())
    }
}

impl Evaluator<'_> {
    /// The range vector that an argument of a range function gives at each step.
    pub fn range_vector(
        &self,
        expr: &Expr,
        steps: Steps,
        notes: &mut Annotations,
    ) -> Result<RangeVector, EvalError> {
        match expr.without_parens() {
            Expr::Matrix(matrix) => self.range_selector(matrix, steps),
            Expr::Subquery(subquery) => self.subquery(subquery, steps, notes),
            _ => unreachable!("the checker lets only range vectors in here"),
        }
    }

    fn range_selector(
        &self,
        matrix: &MatrixSelector,
        steps: Steps,
    ) -> Result<RangeVector, EvalError> {
        let selector = &matrix.selector;
        let (border, before_ms, after_ms) = match (selector.anchored, selector.smoothed) {
            (true, _) => (Border::Anchored, self.lookback_ms, 0),
            (_, true) => (Border::Smoothed, self.lookback_ms, self.lookback_ms),
            (false, false) => (Border::Extrapolated, 0, 0),
        };
        let reference = self.reference(selector.at, selector.offset.ms);
        let ranges = Ranges { reference, range_ms: matrix.range.ms, before_ms, after_ms };
        let set = self.select(&selector.matchers, ranges.time_range(steps))?;
        let naming = Naming::of_selector(&selector.matchers);
        Ok(RangeVector { set, ranges, border, naming, is_selector: true })
    }

    fn subquery(
        &self,
        subquery: &Subquery,
        steps: Steps,
        notes: &mut Annotations,
    ) -> Result<RangeVector, EvalError> {
        let reference = self.reference(subquery.at, subquery.offset.ms);
        let ranges = Ranges { reference, range_ms: subquery.range.ms, before_ms: 0, after_ms: 0 };
        let step_ms = match &subquery.step {
            Some(step) if step.ms > 0 => step.ms,
            _ => self.options.default_subquery_step_ms,
        };
        let after_ms = reference.time(steps.start_ms) - subquery.range.ms;
        let inner = Steps::of_subquery(after_ms, reference.time(steps.end_ms()), step_ms);
        let vector = self.vector(&subquery.expr, inner, notes)?;
        let pending = vector.rows.iter().map(|row| row.drop_name).collect();
        let naming = Naming { pending, ..Naming::default() };
        let set = Box::new(RowsAsSeries { vector, steps: inner });
        Ok(RangeVector { set, ranges, border: Border::Extrapolated, naming, is_selector: false })
    }

    /// The answer to an instant query for a range vector: the samples of its one range.
    pub fn matrix(
        &self,
        expr: &Expr,
        steps: Steps,
        notes: &mut Annotations,
    ) -> Result<Vec<Series>, EvalError> {
        let vector = self.range_vector(expr, steps, notes)?;
        let mut series = Vec::with_capacity(vector.set.len());
        let mut read = 0;
        for index in 0..vector.set.len() {
            self.check()?;
            let mut samples = Samples::default();
            vector.set.read(index, &mut samples)?;
            drop_stale(&mut samples);
            read += samples.len() as u64;
            self.budget.pass(read)?;
            let samples = vector.bordered(&samples, steps);
            if !samples.is_empty() {
                let mut labels = vector.set.labels(index).clone();
                if vector.naming.pending.get(index) == Some(&true) {
                    labels = super::column::without_metadata(&labels);
                }
                series.push(Series::of_samples(labels, samples));
            }
        }
        self.count_read(read);
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(series)
    }
}

impl RangeVector {
    /// The samples of the range, with values at its borders if it is `anchored` or `smoothed`.
    fn bordered(&self, samples: &Samples, steps: Steps) -> Samples {
        let mut bordered = Samples::default();
        self.ranges.each(samples, steps, |_, window| match self.border {
            Border::Extrapolated => {
                for (index, time_ms) in window.timestamps.iter().enumerate() {
                    let start_ms = window.start_ms(index);
                    bordered.floats.push(*time_ms, start_ms, window.values[index]);
                }
                bordered.histograms = window.histograms.to_vec();
            }
            Border::Anchored | Border::Smoothed => {
                let smoothed = self.border == Border::Smoothed;
                for (time_ms, value) in super::extrapolation::with_borders(window, smoothed) {
                    bordered.floats.push(time_ms, 0, value);
                }
            }
        });
        bordered
    }
}

impl Ranges {
    /// The times of the samples that can matter.
    pub fn time_range(&self, steps: Steps) -> TimeRange {
        let before_ms = self.range_ms + self.before_ms;
        TimeRange {
            from_ms: self.reference.time(steps.start_ms) - before_ms + 1,
            to_ms: self.reference.time(steps.end_ms()) + self.after_ms,
        }
    }
}
