//! Expressions that make one column of each series of a selector, all series in parallel.
//!
//! `clamp_min(rate(x[5m]), 0) * 60` is such an expression: a selector or a range function over one,
//! and maps above it. Each worker reads a series into its own memory and makes its column there.
//! What happens to the column is the caller's: it becomes a row of a vector, or it is folded into
//! an aggregation and never stored.
//!
//! **Invariant:** the cut of the series into parts depends on their number alone, and parts are
//! joined in their order, so the same query over the same data gives the same bits, however many
//! threads there are.

mod plan;

use rangekeeper_model::{Labels, MatchOp, Matcher, Samples};
use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_64;

use super::column::{Row, Vector, is_absent, is_metadata, without_metadata};
use super::error::EvalError;
use super::evaluator::Evaluator;
use super::maps::Map;
use super::range_functions::{Findings, RangeCall, Scratch};
use super::same_labels;
use super::selector::{self, Lookback};
use super::steps::Steps;
use super::windows::{Ranges, drop_stale};
use crate::annotations::{Annotation, Annotations};
use crate::ast::Span;
use crate::functions::Function;
use crate::source::SeriesSet;

pub(crate) use plan::{is_map, is_pipeline};

/// Series between two looks at whether the query has to stop.
const SERIES_A_CHECK: usize = 16;
/// Series that a worker makes rows of in one go.
const ROWS_A_PART: usize = 64;
/// Parts that a fold is cut into at most: each has accumulators of its own.
const FOLD_PARTS: usize = 64;
/// Series below which a fold is not cut further.
const FOLD_PART_MIN: usize = 32;

/// Makes one column of each series.
pub(crate) struct Pipeline {
    /// The series.
    pub set: Box<dyn SeriesSet>,
    /// What is made of a series' samples.
    pub leaf: Leaf,
    /// What is made of that, in order.
    pub maps: Vec<Map>,
    /// When.
    pub steps: Steps,
    /// What becomes of the metric's name.
    pub naming: Naming,
}

/// What is made of a series' samples.
pub(crate) enum Leaf {
    /// The newest sample at each step.
    Newest(Lookback),
    /// A value between the samples around each step.
    Smoothed(Ranges),
    /// The value of a range function.
    Range(RangeLeaf),
}

/// A range function over a selector or subquery.
pub(crate) struct RangeLeaf {
    /// The function.
    pub call: RangeCall,
    /// The ranges that it sees.
    pub ranges: Ranges,
    /// Where its range vector stands.
    pub span: Span,
    /// Where its first argument stands.
    pub first_arg_span: Span,
}

/// What becomes of the names of a pipeline's series.
#[derive(Clone, Debug, Default)]
pub(crate) struct Naming {
    /// The values no longer are the metric.
    pub drops: bool,
    /// All series have the same name.
    pub one_name: bool,
    /// Of the rows of a subquery: whose names are to go already.
    pub pending: Vec<bool>,
}

/// One worker's memory.
pub(crate) struct Worker {
    samples: Samples,
    scratch: Scratch,
    /// The column last made; its labels are not set.
    pub row: Row,
    /// What there was to say.
    pub notes: Annotations,
    /// The last name that was found to look like a counter's.
    counter_name: String,
    samples_read: u64,
}

impl Default for Worker {
    fn default() -> Self {
        Self {
            samples: Samples::default(),
            scratch: Scratch::default(),
            row: Row::of_values(Labels::empty(), Vec::new()),
            notes: Annotations::default(),
            counter_name: String::new(),
            samples_read: 0,
        }
    }
}

impl Naming {
    /// The naming of a selector with these matchers.
    pub fn of_selector(matchers: &[Matcher]) -> Self {
        let one_name = matchers.iter().any(|matcher| {
            matcher.op() == MatchOp::Equal
                && matcher.name() == rangekeeper_model::METRIC_NAME
                && !matcher.value().is_empty()
        });
        Self { one_name, ..Self::default() }
    }
}

impl Pipeline {
    /// Whether dropping names at once makes two series the same, or nearly surely does.
    pub fn may_collide(&self, evaluator: &Evaluator<'_>) -> bool {
        if !self.drops_now(evaluator) || (self.naming.one_name && !self.has_type_labels()) {
            return false;
        }
        let series = (0..self.set.len()).into_par_iter();
        let hash = |key: &mut Vec<u8>, index| {
            key.clear();
            self.set.labels(index).append_retained(key, |name| !is_metadata(name));
            xxh3_64(key)
        };
        let mut hashes: Vec<u64> = series.map_init(Vec::new, hash).collect();
        hashes.sort_unstable();
        hashes.windows(2).any(|pair| pair[0] == pair[1])
    }

    /// Whether the name of series `index` is to go when the query ends.
    pub fn is_name_pending(&self, evaluator: &Evaluator<'_>, index: usize) -> bool {
        evaluator.options.delayed_name_removal
            && (self.naming.drops || self.naming.pending.get(index).copied().unwrap_or(false))
    }

    /// Whether names are gone from the labels already.
    pub fn drops_now(&self, evaluator: &Evaluator<'_>) -> bool {
        self.naming.drops && !evaluator.options.delayed_name_removal
    }

    /// Whether series tell of their type or unit by labels that go with the name.
    pub fn has_type_labels(&self) -> bool {
        (0..self.set.len()).any(|index| {
            let labels = self.set.labels(index);
            labels.value("__type__").is_some() || labels.value("__unit__").is_some()
        })
    }

    /// The rows of all series that have a sample.
    pub fn rows(
        self,
        evaluator: &Evaluator<'_>,
        notes: &mut Annotations,
    ) -> Result<Vector, EvalError> {
        let (mut vector, _) = self.placed_rows(evaluator, notes)?;
        if self.may_collide(evaluator) {
            if self.maps.is_empty() {
                same_labels::refuse(&vector.rows)?;
            } else {
                same_labels::merge(&mut vector.rows)?;
            }
        }
        Ok(vector)
    }

    /// The rows of all series that have a sample, as they come, and the indices of these series.
    pub fn placed_rows(
        &self,
        evaluator: &Evaluator<'_>,
        notes: &mut Annotations,
    ) -> Result<(Vector, Vec<usize>), EvalError> {
        let parts = self.parts(evaluator, ROWS_A_PART, |pipeline, range, worker| {
            let (mut rows, mut places) = (Vec::with_capacity(range.len()), Vec::new());
            for index in range {
                if !pipeline.make(evaluator, index, worker)? {
                    continue;
                }
                let values = std::mem::take(&mut worker.row.values);
                let histograms = worker.row.histograms.take();
                let labels = pipeline.set.labels(index);
                let labels = if pipeline.drops_now(evaluator) {
                    without_metadata(labels)
                } else {
                    labels.clone()
                };
                let drop_name = pipeline.is_name_pending(evaluator, index);
                rows.push(Row { labels, drop_name, values, histograms });
                places.push(index);
            }
            let held = rows.len() as u64 * pipeline.steps.count as u64;
            Ok((rows, places, evaluator.budget.hold(held)?))
        })?;
        let (mut rows, mut places) = (Vec::with_capacity(self.set.len()), Vec::new());
        let mut holds = Vec::with_capacity(parts.len());
        for ((part, part_places, held), part_notes) in parts {
            rows.extend(part);
            places.extend(part_places);
            holds.push(held);
            notes.merge(part_notes);
        }
        drop(holds);
        Ok((evaluator.hold(rows, self.steps)?, places))
    }

    /// Folds all columns into accumulators, of which each part of the series makes its own: `fold`
    /// takes the indices of a part. Gives the parts in order.
    pub fn fold<A: Send>(
        &self,
        evaluator: &Evaluator<'_>,
        fold: impl Fn(&Self, std::ops::Range<usize>, &mut Worker) -> Result<A, EvalError> + Sync,
    ) -> Result<Vec<(A, Annotations)>, EvalError> {
        let size = self.set.len().div_ceil(FOLD_PARTS).max(FOLD_PART_MIN);
        self.parts(evaluator, size, fold)
    }

    fn parts<A: Send>(
        &self,
        evaluator: &Evaluator<'_>,
        size: usize,
        work: impl Fn(&Self, std::ops::Range<usize>, &mut Worker) -> Result<A, EvalError> + Sync,
    ) -> Result<Vec<(A, Annotations)>, EvalError> {
        let count = self.set.len();
        let one = |part: usize| {
            let range = part * size..((part + 1) * size).min(count);
            let mut worker = Worker::default();
            let result = work(self, range, &mut worker)?;
            evaluator.count_read(worker.samples_read);
            Ok((result, worker.notes))
        };
        let parts = count.div_ceil(size);
        if parts < 2 {
            return (0..parts).map(one).collect();
        }
        (0..parts).into_par_iter().map(one).collect()
    }

    /// Makes the column of series `index` in the worker's row, and says whether it has any sample.
    pub fn make(
        &self,
        evaluator: &Evaluator<'_>,
        index: usize,
        worker: &mut Worker,
    ) -> Result<bool, EvalError> {
        if index.is_multiple_of(SERIES_A_CHECK) {
            evaluator.check()?;
        }
        self.set.read(index, &mut worker.samples)?;
        let read = worker.samples.len() as u64;
        worker.samples_read += read;
        if read == 0 {
            return Ok(false);
        }
        evaluator.budget.pass(read)?;
        match &self.leaf {
            Leaf::Newest(lookback) => {
                lookback.fill(&worker.samples, self.steps, &mut worker.row);
            }
            Leaf::Smoothed(around) => {
                drop_stale(&mut worker.samples);
                selector::fill_smoothed(&worker.samples, around, self.steps, &mut worker.row);
            }
            Leaf::Range(leaf) => {
                drop_stale(&mut worker.samples);
                let Worker { samples, scratch, row, .. } = worker;
                let findings = leaf.call.fill(samples, &leaf.ranges, self.steps, scratch, row);
                leaf.annotate(&findings, self.set.labels(index), worker);
            }
        }
        for map in &self.maps {
            map.apply(&mut worker.row, &mut worker.notes);
        }
        Ok(!worker.row.is_empty())
    }
}

impl RangeLeaf {
    /// Says what the samples of a series gave reason to say.
    fn annotate(&self, findings: &Findings, labels: &Labels, worker: &mut Worker) {
        let function = self.call.function;
        if matches!(function, Function::Rate | Function::Increase) {
            self.doubt_counter(labels, worker);
        }
        if *findings == Findings::default() {
            return;
        }
        let metric = || labels.metric_name().unwrap_or_default().to_owned();
        let notes = &mut worker.notes;
        if findings.mixed {
            notes.add(&Annotation::MixedRange { metric: metric() }, self.span);
        }
        if findings.ignored {
            let note = Annotation::HistogramIgnoredInRange { metric: metric() };
            notes.add(&note, self.first_arg_span);
        }
        for q in &findings.quantiles {
            notes.add(&Annotation::InvalidQuantile(*q), self.first_arg_span);
        }
        for _ in 0..findings.overlaps {
            notes.add(&Annotation::OverlappingStart { metric: metric() }, self.span);
        }
    }

    /// Says that a metric may be no counter, going by its name.
    fn doubt_counter(&self, labels: &Labels, worker: &mut Worker) {
        let Some(name) = labels.metric_name() else { return };
        if name == worker.counter_name || worker.row.values.iter().all(|v| is_absent(*v)) {
            return;
        }
        if ["_total", "_sum", "_count", "_bucket"].iter().any(|suffix| name.ends_with(suffix)) {
            name.clone_into(&mut worker.counter_name);
            return;
        }
        let note = Annotation::PossibleNonCounter { metric: name.to_owned() };
        worker.notes.add(&note, self.span);
    }
}

/// A label of a pipeline's series as what is above the pipeline sees it.
pub(crate) fn label<'a>(labels: &'a Labels, name: &str, dropped: bool) -> &'a str {
    if dropped && is_metadata(name) {
        return "";
    }
    labels.value(name).unwrap_or_default()
}
