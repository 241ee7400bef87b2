//! Columns: what an expression gives over all steps.
//!
//! A vector is a list of rows, one a series; a row has one value a step. **A step without a value
//! holds the stale marker**, the one NaN that no answer ever contains: it says "no sample here" in
//! the data and says the same here, so a row is one plain array and needs no second one to say
//! where it is empty. No arithmetic makes these bits (it quiets the NaN), so a value that was
//! computed is never taken for none.

use std::sync::Arc;

use rangekeeper_model::{Histogram, Labels, METRIC_NAME, STALE_NAN_BITS};

use super::limits::Held;
use super::steps::Steps;

/// Stands where a row has no value.
pub(crate) const ABSENT: f64 = f64::from_bits(STALE_NAN_BITS);

/// Whether `value` stands for no value.
#[inline]
pub(crate) fn is_absent(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}

/// One series over all steps.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// Its labels.
    pub labels: Labels,
    /// The metric name goes when the query ends. Only with delayed name removal; otherwise it is
    /// gone already.
    pub drop_name: bool,
    /// One value a step, [`ABSENT`] where there is none or a histogram.
    pub values: Vec<f64>,
    /// One a step, if any step has one.
    pub histograms: Option<HistogramColumn>,
}

/// The histograms of a row, one place a step.
pub(crate) type HistogramColumn = Vec<Option<Arc<Histogram>>>;

/// An instant vector over all steps.
#[derive(Debug, Default)]
pub(crate) struct Vector {
    /// The series, in no order that means anything unless a sorting function or `topk` made it.
    pub rows: Vec<Row>,
    /// What the rows count against the query's limit, until they are gone.
    pub held: Held,
}

/// What an expression evaluates to.
#[derive(Debug)]
pub(crate) enum Evaluated {
    /// One number a step.
    Scalar(Vec<f64>),
    /// A text.
    Text(Vec<u8>),
    /// An instant vector.
    Vector(Vector),
}

impl Row {
    /// Whether step `index` has a float.
    #[inline]
    pub fn has_float(&self, index: usize) -> bool {
        !is_absent(self.values[index])
    }

    /// The histogram of step `index`.
    #[inline]
    pub fn histogram(&self, index: usize) -> Option<&Arc<Histogram>> {
        self.histograms.as_ref().and_then(|column| column[index].as_ref())
    }

    /// Whether step `index` has a sample of either kind.
    #[inline]
    pub fn has_sample(&self, index: usize) -> bool {
        self.has_float(index) || self.histogram(index).is_some()
    }

    /// Whether no step has a sample.
    pub fn is_empty(&self) -> bool {
        self.histograms.is_none() && self.values.iter().all(|v| is_absent(*v))
    }

    /// Removes the sample of step `index`.
    pub fn clear(&mut self, index: usize) {
        self.values[index] = ABSENT;
        if let Some(column) = &mut self.histograms {
            column[index] = None;
        }
    }

    /// Forgets the histogram column if it holds none.
    pub fn settle_histograms(&mut self) {
        if self.histograms.as_ref().is_some_and(|column| column.iter().all(Option::is_none)) {
            self.histograms = None;
        }
    }

    /// The row of the first step at every step of `steps`.
    pub fn repeat(&mut self, steps: Steps) {
        let first = self.values[0];
        self.values.resize(steps.count, first);
        if let Some(column) = &mut self.histograms {
            let first = column[0].clone();
            column.resize(steps.count, first);
        }
    }
}

/// Whether a label says what a metric is rather than where it comes from: it goes when a value no
/// longer is that metric.
pub(crate) fn is_metadata(name: &str) -> bool {
    name.starts_with("__") && matches!(name, METRIC_NAME | "__type__" | "__unit__")
}

/// The labels without name, type and unit.
pub(crate) fn without_metadata(labels: &Labels) -> Labels {
    labels.retain(|name| !is_metadata(name))
}

/// A row without its labels, with its steps: what an answer keeps of it.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    steps: Steps,
    values: Vec<f64>,
    histograms: Option<HistogramColumn>,
}

impl Column {
    /// The column of `row` over `steps`.
    pub fn of_row(row: Row, steps: Steps) -> (Labels, Self) {
        (row.labels, Self { steps, values: row.values, histograms: row.histograms })
    }

    /// Times and values of the floats.
    pub fn floats(&self) -> impl Iterator<Item = (i64, f64)> + '_ {
        let present = self.values.iter().enumerate().filter(|(_, value)| !is_absent(**value));
        present.map(|(index, value)| (self.steps.time(index), *value))
    }

    /// Times and values of the histograms.
    pub fn histograms(&self) -> impl Iterator<Item = (i64, &Arc<Histogram>)> + '_ {
        let places = self.histograms.as_deref().unwrap_or(&[]).iter().enumerate();
        places.filter_map(|(index, place)| Some((self.steps.time(index), place.as_ref()?)))
    }
}
