//! What a query answers.

use std::sync::Arc;

use rangekeeper_model::{Histogram, Labels, Samples};

use crate::eval::Column;

/// The answer to a query.
#[derive(Clone, Debug)]
pub enum Value {
    /// One number.
    Scalar(ScalarPoint),
    /// A text, which may be any bytes.
    String(StringPoint),
    /// A sample a series, in the order of the labels unless a sorting function or `topk` said
    /// otherwise.
    Vector(Vec<InstantSample>),
    /// Samples of each series, sorted by labels, no label set twice.
    Matrix(Vec<Series>),
}

/// A number at a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScalarPoint {
    /// Milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// The number.
    pub value: f64,
}

/// A text at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StringPoint {
    /// Milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// The text's bytes.
    pub bytes: Vec<u8>,
}

/// A sample's value.
#[derive(Clone, Debug, PartialEq)]
pub enum SampleValue {
    /// A float.
    Float(f64),
    /// A histogram.
    Histogram(Arc<Histogram>),
}

/// One series of an instant vector.
#[derive(Clone, Debug, PartialEq)]
pub struct InstantSample {
    /// The labels.
    pub labels: Labels,
    /// Milliseconds since the epoch: the query's time.
    pub timestamp_ms: i64,
    /// The value.
    pub value: SampleValue,
}

/// One series of a matrix.
#[derive(Clone, Debug)]
pub struct Series {
    /// The labels.
    pub labels: Labels,
    points: Points,
}

/// Where the samples of a series are.
#[derive(Clone, Debug)]
enum Points {
    /// On the steps of the query.
    Steps(Column),
    /// At their own times, as a range selector gives them.
    Samples(Samples),
}

impl Series {
    pub(crate) fn on_steps(labels: Labels, column: Column) -> Self {
        Self { labels, points: Points::Steps(column) }
    }

    pub(crate) fn of_samples(labels: Labels, samples: Samples) -> Self {
        Self { labels, points: Points::Samples(samples) }
    }

    /// The floats: milliseconds since the epoch, rising, and values.
    pub fn floats(&self) -> impl Iterator<Item = (i64, f64)> + '_ {
        let (column, samples) = match &self.points {
            Points::Steps(column) => (Some(column.floats()), None),
            Points::Samples(samples) => {
                let floats = &samples.floats;
                let pairs = floats.timestamps.iter().copied().zip(floats.values.iter().copied());
                (None, Some(pairs))
            }
        };
        column.into_iter().flatten().chain(samples.into_iter().flatten())
    }

    /// The histograms: milliseconds since the epoch, rising, and values.
    pub fn histograms(&self) -> impl Iterator<Item = (i64, &Arc<Histogram>)> + '_ {
        let (column, samples) = match &self.points {
            Points::Steps(column) => (Some(column.histograms()), None),
            Points::Samples(samples) => {
                let pairs = samples.histograms.iter().map(|s| (s.timestamp_ms, &s.histogram));
                (None, Some(pairs))
            }
        };
        column.into_iter().flatten().chain(samples.into_iter().flatten())
    }
}

impl Value {
    /// The name of its type, as answers give it.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Scalar(_) => "scalar",
            Self::String(_) => "string",
            Self::Vector(_) => "vector",
            Self::Matrix(_) => "matrix",
        }
    }
}
