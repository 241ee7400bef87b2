//! Where the evaluator's series come from.
//!
//! One trait stands between PromQL and everything that stores: a node's own shards, other nodes'
//! shards, the scripts' in-memory storage. What lies behind it keeps samples encoded until they are
//! read, series by series, into the caller's columns.

use rangekeeper_model::{ErrorClass, Labels, Matcher, Samples, TimeRange};

use crate::ast::Span;

/// What one selector of a query asks for.
#[derive(Clone, Copy, Debug)]
pub struct Select<'a> {
    /// All of them must match; at least one does not match the empty value.
    pub matchers: &'a [Matcher],
    /// The samples that can matter to the query, both ends included.
    pub range: TimeRange,
    /// A source refuses to give more series than this before it reads them. It may leave that to
    /// the evaluator, which counts what it gets.
    pub max_series: u64,
}

/// Gives the series of one tenant.
pub trait Source: Send + Sync {
    /// The series that match and may have samples in the range, **sorted by labels**, no label set
    /// twice.
    ///
    /// Blocks while it reads; the evaluator runs where blocking is allowed.
    fn select(&self, select: &Select<'_>) -> Result<Box<dyn SeriesSet>, SourceError>;

    /// Has an aggregation folded where its series lie, as far as that is elsewhere.
    ///
    /// Calls `here` at most once, with a source of the series that the caller is to fold itself,
    /// and gives what the others folded: each series is in one of these parts. `None` if nothing
    /// lies elsewhere or somebody could not fold; the caller then folds everything.
    fn fold_elsewhere(
        &self,
        _folding: &Folding,
        _here: &mut dyn FnMut(&dyn Source),
    ) -> Option<Vec<Folded>> {
        None
    }
}

/// An aggregation that may be folded in parts, each of some of the series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Folding {
    /// Where the aggregation stands in the text of the query.
    pub span: Span,
    /// The query's first step, in milliseconds since the epoch.
    pub start_ms: i64,
    /// No step is after this.
    pub end_ms: i64,
    /// Distance of the steps; `None` for an instant query.
    pub step_ms: Option<i64>,
    /// How long a sample stands for its series, in milliseconds.
    pub lookback_ms: i64,
    /// Series that each part may touch.
    pub max_series: u64,
}

/// What a part of the series was folded to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Folded {
    /// The result over this part alone.
    pub rows: Vec<FoldedRow>,
    /// Series that were touched.
    pub series: u64,
    /// Samples that were read.
    pub samples_read: u64,
}

/// A series of a result over a part of the series.
#[derive(Clone, Debug, PartialEq)]
pub struct FoldedRow {
    /// Labels of the first series that it was made of. With `at` they order the rows of all parts
    /// as if there were one.
    pub first: Labels,
    /// The step at which that series first gave it.
    pub at: u32,
    /// Its labels.
    pub labels: Labels,
    /// A value a step; the stale marker where there is none.
    pub values: Vec<f64>,
}

/// The series that a selector found, their samples still encoded.
pub trait SeriesSet: Send + Sync {
    /// Number of series.
    fn len(&self) -> usize;

    /// Whether there is no series.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Labels of series `index`.
    fn labels(&self, index: usize) -> &Labels;

    /// Replaces the content of `samples` by those samples of series `index` that lie in the range
    /// of the [`Select`]: rising in time, no time twice, stale markers included.
    ///
    /// May be called from several threads at once.
    fn read(&self, index: usize, samples: &mut Samples) -> Result<(), SourceError>;
}

/// A source could not give its series.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SourceError {
    /// What kind of failure it is.
    pub class: ErrorClass,
    /// What failed, for the person who asked.
    pub message: String,
}
