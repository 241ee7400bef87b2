//! Where the evaluator's series come from.
//!
//! One trait stands between PromQL and everything that stores: a node's own shards, other nodes'
//! shards, the scripts' in-memory storage. What lies behind it keeps samples encoded until they are
//! read, series by series, into the caller's columns.

use rangekeeper_model::{ErrorClass, Labels, Matcher, Samples, TimeRange};

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
