//! Aggregations in parts: each part of the series is folded where it lies, and the results are
//! joined.
//!
//! Done where it cannot change the answer. `count`, `group`, `min`, `max`, `count_values`, `topk`
//! and `bottomk` of parts make the same of the whole, whatever the parts are; sums do not, because
//! floats round. What is aggregated has to make one column of each series of one selector, and
//! nothing that it says of a series may depend on another one.
//!
//! **Invariant:** what does not come out as in one piece is folded in one piece. A part that has
//! anything to say beyond its rows, or that fails, is no part.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::{HashMap, HashSet};
use rangekeeper_model::Labels;

use super::accumulators::{Accumulator, Count, Greatest, Group, Least};
use super::aggregation::{OnHistogram, members_of_groups};
use super::column::{ABSENT, Row, Vector, is_absent};
use super::count_values::{count_values, value_label};
use super::error::EvalError;
use super::evaluator::{Evaluator, is_step_invariant};
use super::grouping::Grouping;
use super::pipeline::{Naming, Pipeline, is_pipeline};
use super::ranking::{in_order, rank, ranks};
use super::steps::Steps;
use crate::annotations::Annotations;
use crate::ast::{Aggregate, AggregateOp, Expr};
use crate::source::{Folded, FoldedRow, Folding, Source};

impl Evaluator<'_> {
    /// The aggregation, folded in parts; `None` if it has to be folded in one piece.
    pub fn folded_apart(
        &self,
        aggregate: &Aggregate,
        steps: Steps,
        notes: &mut Annotations,
    ) -> Result<Option<Vector>, EvalError> {
        if steps != self.steps() || !self.is_separable(aggregate) {
            return Ok(None);
        }
        let limit = self.options.max_series;
        let folding = Folding {
            span: aggregate.span,
            start_ms: self.start_ms,
            end_ms: self.end_ms,
            step_ms: (self.step_ms > 0).then_some(self.step_ms),
            lookback_ms: self.lookback_ms,
            max_series: limit.saturating_sub(self.series.load(Ordering::Relaxed)),
        };
        let (mut own, mut own_notes) = (Ok(Folded::default()), Annotations::default());
        let mut here = |source: &dyn Source| {
            own = self.over(source).part(aggregate, steps, &mut own_notes);
        };
        let Some(mut parts) = self.source.fold_elsewhere(&folding, &mut here) else {
            return Ok(None);
        };
        match own {
            Ok(own) => parts.push(own),
            Err(error @ (EvalError::Timeout | EvalError::Canceled)) => return Err(error),
            Err(_) => return Ok(None),
        }
        let fits = |row: &FoldedRow| row.values.len() == steps.count;
        if !parts.iter().flat_map(|part| &part.rows).all(fits) {
            return Ok(None);
        }
        let series: u64 = parts.iter().map(|part| part.series).sum();
        let matched = self.series.fetch_add(series, Ordering::Relaxed) + series;
        if matched > limit {
            return Err(EvalError::TooManySeries { matched, limit });
        }
        self.count_read(parts.iter().map(|part| part.samples_read).sum());
        notes.merge(own_notes);
        self.joined(aggregate, parts, steps, notes).map(Some)
    }

    /// A part of an aggregation, over all series that the source has.
    pub fn part(
        &self,
        aggregate: &Aggregate,
        steps: Steps,
        notes: &mut Annotations,
    ) -> Result<Folded, EvalError> {
        if steps != self.steps() || !self.is_separable(aggregate) {
            return Err(inseparable());
        }
        let pipeline = self.pipeline(&aggregate.expr, steps, notes)?;
        if pipeline.drops_now(self) && pipeline.has_type_labels() {
            return Err(inseparable());
        }
        let first = |place: usize| pipeline.set.labels(place).clone();
        let row = |(place, row): (usize, Row)| folded_row(row, first(place), 0);
        let rows = match aggregate.op {
            AggregateOp::CountValues => {
                let label = value_label(aggregate)?;
                let (vector, places) = pipeline.placed_rows(self, notes)?;
                let counted = count_values(aggregate, label, &vector.rows, steps).into_iter();
                counted.map(|of| folded_row(of.row, first(places[of.first]), of.at)).collect()
            }
            AggregateOp::Topk | AggregateOp::Bottomk => {
                let counts = self.counts(aggregate, steps, notes)?;
                let (vector, places) = pipeline.placed_rows(self, notes)?;
                let mut rows = vector.rows;
                match ranks(&counts, rows.len())? {
                    Some(counts) => {
                        rank(aggregate, &counts, &mut rows, notes);
                        // The first of a group stays without a sample too: it says where the
                        // group stands among the others.
                        let groups = members_of_groups(&rows, &Grouping::of(aggregate, None));
                        let firsts: HashSet<usize> = groups.iter().map(|of| of[0]).collect();
                        let rows = places.into_iter().zip(rows).enumerate();
                        let rows =
                            rows.filter(|(at, (_, row))| firsts.contains(at) || !row.is_empty());
                        rows.map(|(_, placed)| row(placed)).collect()
                    }
                    None => Vec::new(),
                }
            }
            _ => self.groups(aggregate, &pipeline, notes)?.into_iter().map(row).collect(),
        };
        let stats = self.stats();
        Ok(Folded { rows, series: stats.series, samples_read: stats.samples_read })
    }

    fn groups(
        &self,
        aggregate: &Aggregate,
        pipeline: &Pipeline,
        notes: &mut Annotations,
    ) -> Result<Vec<(usize, Row)>, EvalError> {
        use OnHistogram::{Counts, Ignored};
        match aggregate.op {
            AggregateOp::Count => self.folded_groups::<Count>(aggregate, pipeline, Counts, notes),
            AggregateOp::Group => self.folded_groups::<Group>(aggregate, pipeline, Counts, notes),
            AggregateOp::Min => self.folded_groups::<Least>(aggregate, pipeline, Ignored, notes),
            AggregateOp::Max => self.folded_groups::<Greatest>(aggregate, pipeline, Ignored, notes),
            _ => Err(inseparable()),
        }
    }

    /// What the parts make together, in the order that one piece would have.
    fn joined(
        &self,
        aggregate: &Aggregate,
        parts: Vec<Folded>,
        steps: Steps,
        notes: &mut Annotations,
    ) -> Result<Vector, EvalError> {
        let mut rows: Vec<FoldedRow> = parts.into_iter().flat_map(|part| part.rows).collect();
        rows.sort_by(|a, b| (&a.first, a.at).cmp(&(&b.first, b.at)));
        let row = |of: FoldedRow| Row::of_values(of.labels, of.values);
        let rows = match aggregate.op {
            AggregateOp::Topk | AggregateOp::Bottomk => {
                let mut rows: Vec<Row> = rows.into_iter().map(row).collect();
                let Some(counts) = ranks(&self.counts(aggregate, steps, notes)?, rows.len())?
                else {
                    return Ok(Vector::default());
                };
                let order = rank(aggregate, &counts, &mut rows, notes);
                return self.hold(in_order(rows, order, steps), steps);
            }
            AggregateOp::Min => joined_by::<Least>(rows, steps),
            AggregateOp::Max => joined_by::<Greatest>(rows, steps),
            AggregateOp::Group => joined_by::<Group>(rows, steps),
            _ => joined_by::<Tally>(rows, steps),
        };
        self.hold(rows, steps)
    }

    fn counts(
        &self,
        aggregate: &Aggregate,
        steps: Steps,
        notes: &mut Annotations,
    ) -> Result<Vec<f64>, EvalError> {
        let param = aggregate.param.as_ref().expect("the checker saw the parameter");
        self.scalar(param, steps, notes)
    }

    /// Whether the aggregation of parts, aggregated, is that of the whole.
    fn is_separable(&self, aggregate: &Aggregate) -> bool {
        let (op, expr) = (aggregate.op, &aggregate.expr);
        is_joinable(op)
            && !self.options.delayed_name_removal
            && is_pipeline(expr)
            && !is_step_invariant(expr)
            && selects_one_name(expr)
            && aggregate.param.as_ref().is_none_or(|param| selectors(param) == Some(0))
    }

    /// The query's own steps.
    pub fn steps(&self) -> Steps {
        Steps::between(self.start_ms, self.end_ms, self.step_ms.max(1))
    }

    /// The same query over another source, counted apart.
    fn over<'s>(&'s self, source: &'s dyn Source) -> Evaluator<'s> {
        Evaluator {
            options: self.options,
            source,
            start_ms: self.start_ms,
            end_ms: self.end_ms,
            step_ms: self.step_ms,
            lookback_ms: self.lookback_ms,
            interrupt: self.interrupt,
            budget: Arc::clone(&self.budget),
            series: AtomicU64::new(0),
            samples_read: AtomicU64::new(0),
        }
    }
}

/// Joins counts.
struct Tally(Vec<f64>);

impl Accumulator for Tally {
    fn new(steps: usize) -> Self {
        Self(vec![ABSENT; steps])
    }

    fn add(&mut self, values: &[f64]) {
        for (sum, value) in self.0.iter_mut().zip(values) {
            if is_absent(*sum) {
                *sum = *value;
            } else if !is_absent(*value) {
                *sum += *value;
            }
        }
    }

    fn join(&mut self, other: Self) {
        self.add(&other.0);
    }

    fn values(self) -> Vec<f64> {
        self.0
    }
}

/// Joins rows of the same labels, in the order of the first of each.
fn joined_by<A: Accumulator>(rows: Vec<FoldedRow>, steps: Steps) -> Vec<Row> {
    let mut places: HashMap<Labels, usize> = HashMap::new();
    let mut joined: Vec<(Labels, A)> = Vec::new();
    for FoldedRow { labels, values, .. } in rows {
        let place = *places.entry(labels).or_insert_with_key(|labels| {
            joined.push((labels.clone(), A::new(steps.count)));
            joined.len() - 1
        });
        joined[place].1.add(&values);
    }
    joined.into_iter().map(|(labels, joined)| Row::of_values(labels, joined.values())).collect()
}

fn folded_row(row: Row, first: Labels, at: usize) -> FoldedRow {
    let at = u32::try_from(at).expect("steps are far fewer than 2^32");
    FoldedRow { first, at, labels: row.labels, values: row.values }
}

/// Never shown to anybody: the whole is folded in one piece then.
fn inseparable() -> EvalError {
    EvalError::argument("the aggregation cannot be folded in parts")
}

fn is_joinable(op: AggregateOp) -> bool {
    match op {
        AggregateOp::Count
        | AggregateOp::CountValues
        | AggregateOp::Group
        | AggregateOp::Min
        | AggregateOp::Max
        | AggregateOp::Topk
        | AggregateOp::Bottomk => true,
        AggregateOp::Sum
        | AggregateOp::Avg
        | AggregateOp::Stddev
        | AggregateOp::Stdvar
        | AggregateOp::Quantile
        | AggregateOp::Limitk
        | AggregateOp::LimitRatio => false,
    }
}

/// Whether all that an expression selects is series of one metric, by one selector: dropping the
/// name cannot make two of them the same.
fn selects_one_name(expr: &Expr) -> bool {
    let mut has_one_name = false;
    expr.visit(|expr| {
        let matchers = match expr {
            Expr::Vector(selector) => &selector.matchers,
            Expr::Matrix(matrix) => &matrix.selector.matchers,
            _ => return,
        };
        has_one_name = Naming::of_selector(matchers).one_name;
    });
    has_one_name && selectors(expr) == Some(1)
}

/// How many selectors an expression has; `None` with subqueries.
fn selectors(expr: &Expr) -> Option<usize> {
    let (mut selectors, mut has_subquery) = (0, false);
    expr.visit(|expr| match expr {
        Expr::Vector(_) | Expr::Matrix(_) => selectors += 1,
        Expr::Subquery(_) => has_subquery = true,
        _ => {}
    });
    (!has_subquery).then_some(selectors)
}
