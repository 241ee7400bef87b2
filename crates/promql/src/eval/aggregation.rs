//! Aggregations that fold the values of a group into one.
//!
//! Over a pipeline each column is folded as it is made, part by part of the series and in parallel;
//! the parts' groups are then joined in the parts' order. Over any other vector the rows are folded
//! in theirs.

use rangekeeper_model::Labels;

use super::accumulators::{
    Accumulator, Average, Count, Deviation, Greatest, Group, Least, Spread, Total,
};
use super::column::{Row, Vector, is_absent};
use super::error::EvalError;
use super::evaluator::Evaluator;
use super::grouping::{GroupNumbers, Grouping};
use super::pipeline::{Pipeline, Worker, is_pipeline};
use super::steps::Steps;
use crate::annotations::{Annotation, Annotations};
use crate::ast::{Aggregate, AggregateOp, Expr};

/// What an aggregation does with histograms.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum OnHistogram {
    /// A sample like any other.
    Counts,
    /// No result beside floats.
    Mixes,
    /// Not seen, but told.
    Ignored,
}

/// One group: its first series, and what it holds at each step.
struct Held<A> {
    /// Index of the first series or row of the group.
    first: usize,
    /// Whether the names of its series are to go.
    drop_name: bool,
    accumulator: A,
    /// Steps at which a histogram came, for those that do not mix.
    histograms: Vec<bool>,
}

/// The groups that one part of the series falls into.
struct Groups<A> {
    steps: Steps,
    on_histogram: OnHistogram,
    numbers: GroupNumbers,
    held: Vec<Held<A>>,
    ignored_histogram: bool,
}

impl<A: Accumulator> Groups<A> {
    fn new(steps: Steps, on_histogram: OnHistogram) -> Self {
        Self {
            steps,
            on_histogram,
            numbers: GroupNumbers::default(),
            held: Vec::new(),
            ignored_histogram: false,
        }
    }

    /// Folds a row in; `write_key` writes its group's key.
    fn fold(
        &mut self,
        index: usize,
        row: &Row,
        drop_name: bool,
        write_key: impl FnOnce(&mut Vec<u8>),
    ) {
        let (number, is_new) = self.numbers.number(write_key);
        if is_new {
            self.held.push(Held {
                first: index,
                drop_name: false,
                accumulator: A::new(self.steps.count),
                histograms: Vec::new(),
            });
        }
        let group = &mut self.held[number];
        group.drop_name |= drop_name;
        group.accumulator.add(&row.values);
        if let Some(column) = &row.histograms {
            let steps = column.iter().enumerate().filter(|(_, place)| place.is_some());
            match self.on_histogram {
                OnHistogram::Counts => {
                    steps.for_each(|(step, _)| group.accumulator.add_sample(step));
                }
                OnHistogram::Ignored => self.ignored_histogram = true,
                OnHistogram::Mixes => {
                    group.histograms.resize(self.steps.count, false);
                    steps.for_each(|(step, _)| group.histograms[step] = true);
                }
            }
        }
    }

    /// Takes in the groups of a later part.
    fn join(&mut self, other: Self) {
        self.ignored_histogram |= other.ignored_histogram;
        let mut keys: Vec<_> = other.numbers.into_keys().collect();
        keys.sort_unstable_by_key(|(_, number)| *number);
        for ((key, _), theirs) in keys.into_iter().zip(other.held) {
            let (number, is_new) = self.numbers.number(|buffer| {
                buffer.clear();
                buffer.extend_from_slice(&key);
            });
            if is_new {
                self.held.push(theirs);
                continue;
            }
            let ours = &mut self.held[number];
            ours.drop_name |= theirs.drop_name;
            ours.accumulator.join(theirs.accumulator);
            if !theirs.histograms.is_empty() {
                ours.histograms.resize(self.steps.count, false);
                let both = ours.histograms.iter_mut().zip(theirs.histograms);
                both.for_each(|(ours, theirs)| *ours |= theirs);
            }
        }
    }

    /// A row a group, with the index of its first series. `labels` gives the labels of the group
    /// of a series.
    fn into_rows(
        self,
        aggregate: &Aggregate,
        labels: impl Fn(usize) -> Labels,
        notes: &mut Annotations,
    ) -> Vec<(usize, Row)> {
        let span = aggregate.expr.without_parens().span();
        if self.ignored_histogram {
            notes.add(&Annotation::HistogramIgnoredInAggregation(aggregate.op), span);
        }
        let mut rows = Vec::with_capacity(self.held.len());
        for group in self.held {
            let mut row = Row::of_values(labels(group.first), group.accumulator.values());
            row.drop_name = group.drop_name;
            for (step, histogram) in group.histograms.iter().enumerate() {
                if *histogram {
                    if row.has_float(step) {
                        notes.add(&Annotation::MixedGroup, span);
                    }
                    row.clear(step);
                }
            }
            if !row.is_empty() {
                rows.push((group.first, row));
            }
        }
        rows
    }
}

impl Evaluator<'_> {
    /// Evaluates an aggregation.
    pub fn aggregate(
        &self,
        aggregate: &Aggregate,
        steps: Steps,
        notes: &mut Annotations,
    ) -> Result<Vector, EvalError> {
        use OnHistogram::{Counts, Ignored, Mixes};
        if let Some(vector) = self.folded_apart(aggregate, steps, notes)? {
            return Ok(vector);
        }
        match aggregate.op {
            AggregateOp::Sum => self.folded::<Total>(aggregate, Mixes, steps, notes),
            AggregateOp::Avg => self.folded::<Average>(aggregate, Mixes, steps, notes),
            AggregateOp::Count => self.folded::<Count>(aggregate, Counts, steps, notes),
            AggregateOp::Group => self.folded::<Group>(aggregate, Counts, steps, notes),
            AggregateOp::Min => self.folded::<Least>(aggregate, Ignored, steps, notes),
            AggregateOp::Max => self.folded::<Greatest>(aggregate, Ignored, steps, notes),
            AggregateOp::Stdvar => self.folded::<Spread>(aggregate, Ignored, steps, notes),
            AggregateOp::Stddev => self.folded::<Deviation>(aggregate, Ignored, steps, notes),
            AggregateOp::Quantile => self.quantile(aggregate, steps, notes),
            AggregateOp::CountValues => self.count_values(aggregate, steps, notes),
            AggregateOp::Topk | AggregateOp::Bottomk => self.ranked(aggregate, steps, notes),
            AggregateOp::Limitk | AggregateOp::LimitRatio => self.limited(aggregate, steps, notes),
        }
    }

    fn folded<A: Accumulator>(
        &self,
        aggregate: &Aggregate,
        on_histogram: OnHistogram,
        steps: Steps,
        notes: &mut Annotations,
    ) -> Result<Vector, EvalError> {
        if let Some(pipeline) = self.pipeline_to_fold(&aggregate.expr, steps, notes)? {
            if !pipeline.may_collide(self) {
                let groups = self.folded_groups::<A>(aggregate, &pipeline, on_histogram, notes)?;
                return self.hold(groups.into_iter().map(|(_, row)| row).collect(), steps);
            }
            let vector = pipeline.rows(self, notes)?;
            return self.fold_rows::<A>(aggregate, &vector, on_histogram, steps, notes);
        }
        let vector = self.vector(&aggregate.expr, steps, notes)?;
        self.fold_rows::<A>(aggregate, &vector, on_histogram, steps, notes)
    }

    /// The pipeline of an expression that is one and differs from step to step.
    fn pipeline_to_fold(
        &self,
        expr: &Expr,
        steps: Steps,
        notes: &mut Annotations,
    ) -> Result<Option<Pipeline>, EvalError> {
        let repeats = steps.count > 1 && super::evaluator::is_step_invariant(expr);
        if repeats || !is_pipeline(expr) {
            return Ok(None);
        }
        self.check()?;
        self.pipeline(expr, steps, notes).map(Some)
    }

    fn fold_pipeline<A: Accumulator>(
        &self,
        aggregate: &Aggregate,
        pipeline: &Pipeline,
        grouping: &Grouping,
        new: impl Fn() -> Groups<A> + Sync,
        notes: &mut Annotations,
    ) -> Result<Vec<(usize, Row)>, EvalError> {
        let dropped = pipeline.drops_now(self);
        let fold = |pipeline: &Pipeline, range: std::ops::Range<usize>, worker: &mut Worker| {
            let mut groups = new();
            for index in range {
                if pipeline.make(self, index, worker)? {
                    let pending = pipeline.is_name_pending(self, index);
                    groups.fold(index, &worker.row, pending, |key| {
                        grouping.key(pipeline.set.labels(index), dropped, key);
                    });
                }
            }
            Ok(groups)
        };
        let mut all: Option<Groups<A>> = None;
        for (groups, part_notes) in pipeline.fold(self, fold)? {
            notes.merge(part_notes);
            match &mut all {
                Some(all) => all.join(groups),
                None => all = Some(groups),
            }
        }
        let Some(groups) = all else { return Ok(Vec::new()) };
        let labels = |index: usize| grouping.labels(pipeline.set.labels(index), dropped);
        Ok(groups.into_rows(aggregate, labels, notes))
    }

    /// The groups of a pipeline's series, each with the index of its first series.
    pub(super) fn folded_groups<A: Accumulator>(
        &self,
        aggregate: &Aggregate,
        pipeline: &Pipeline,
        on_histogram: OnHistogram,
        notes: &mut Annotations,
    ) -> Result<Vec<(usize, Row)>, EvalError> {
        let new = || Groups::<A>::new(pipeline.steps, on_histogram);
        self.fold_pipeline(aggregate, pipeline, &Grouping::of(aggregate, None), new, notes)
    }

    fn fold_rows<A: Accumulator>(
        &self,
        aggregate: &Aggregate,
        vector: &Vector,
        on_histogram: OnHistogram,
        steps: Steps,
        notes: &mut Annotations,
    ) -> Result<Vector, EvalError> {
        let grouping = Grouping::of(aggregate, None);
        let mut groups = Groups::<A>::new(steps, on_histogram);
        for (index, row) in vector.rows.iter().enumerate() {
            groups.fold(index, row, row.drop_name, |key| grouping.key(&row.labels, false, key));
        }
        let labels = |index: usize| grouping.labels(&vector.rows[index].labels, false);
        let rows = groups.into_rows(aggregate, labels, notes);
        self.hold(rows.into_iter().map(|(_, row)| row).collect(), steps)
    }

    /// `quantile`: the one that needs all values of a group at once.
    fn quantile(
        &self,
        aggregate: &Aggregate,
        steps: Steps,
        notes: &mut Annotations,
    ) -> Result<Vector, EvalError> {
        let param = aggregate.param.as_ref().expect("the checker saw the parameter");
        let quantiles = self.scalar(param, steps, notes)?;
        let vector = self.vector(&aggregate.expr, steps, notes)?;
        note_quantiles(&quantiles, param, notes);
        let grouping = Grouping::of(aggregate, None);
        let members = members_of_groups(&vector.rows, &grouping);
        let span = aggregate.expr.without_parens().span();
        let mut rows = Vec::with_capacity(members.len());
        let mut values = Vec::new();
        for members in members {
            let labels = grouping.labels(&vector.rows[members[0]].labels, false);
            let mut row = Row::absent(labels, steps);
            for (step, q) in quantiles.iter().enumerate() {
                values.clear();
                let of_step = members.iter().map(|member| vector.rows[*member].values[step]);
                values.extend(of_step.filter(|value| !is_absent(*value)));
                if !values.is_empty() {
                    row.values[step] = super::quantile::of_values(*q, &mut values);
                }
            }
            row.drop_name = members.iter().any(|member| vector.rows[*member].drop_name);
            if members.iter().any(|member| vector.rows[*member].histograms.is_some()) {
                notes.add(&Annotation::HistogramIgnoredInAggregation(aggregate.op), span);
            }
            if !row.is_empty() {
                rows.push(row);
            }
        }
        self.hold(rows, steps)
    }
}

/// The indices of the rows of each group, groups in the order of their first row.
pub(super) fn members_of_groups(rows: &[Row], grouping: &Grouping) -> Vec<Vec<usize>> {
    let mut numbers = GroupNumbers::default();
    let mut members: Vec<Vec<usize>> = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        let (number, is_new) = numbers.number(|key| grouping.key(&row.labels, false, key));
        if is_new {
            members.push(Vec::new());
        }
        members[number].push(index);
    }
    members
}

/// Says which of the quantiles are none: of all steps the greatest, the least, and NaN.
fn note_quantiles(quantiles: &[f64], param: &Expr, notes: &mut Annotations) {
    let span = param.without_parens().span();
    let greatest = quantiles.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let least = quantiles.iter().copied().fold(f64::INFINITY, f64::min);
    if quantiles.iter().any(|q| q.is_nan()) {
        notes.add(&Annotation::InvalidQuantile(f64::NAN), span);
    }
    if greatest > 1.0 {
        notes.add(&Annotation::InvalidQuantile(greatest), span);
    }
    if least < 0.0 {
        notes.add(&Annotation::InvalidQuantile(least), span);
    }
}
