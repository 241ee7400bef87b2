//! Why an evaluation fails, in Prometheus' words.

use rangekeeper_model::ErrorClass;

use super::limits::Interrupt;
use crate::ast::DurationError;
use crate::source::SourceError;

/// An evaluation failed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EvalError {
    /// The deadline passed.
    #[error("query timed out in expression evaluation")]
    Timeout,
    /// Nobody waits for the answer.
    #[error("query was canceled in expression evaluation")]
    Canceled,
    /// More samples would be held than the limit allows.
    #[error("query processing would load too many samples into memory in query execution")]
    TooManySamples,
    /// A label would be longer than one can be.
    #[error("String too long to encode as label.")]
    LabelTooLong,
    /// The selectors match more series than the limit allows.
    #[error("query would touch {matched} series, more than the limit of {limit}")]
    TooManySeries {
        /// Series matched until then.
        matched: u64,
        /// The limit.
        limit: u64,
    },
    /// Two series of a result have the same labels.
    #[error("vector cannot contain metrics with the same labelset")]
    SameLabels,
    /// Both sides of a match have several series.
    #[error(
        "found duplicate series for the match group {group} on the {side} hand-side of the \
         operation: [{first}, {second}];many-to-many matching not allowed: \
         matching labels must be unique on one side"
    )]
    ManyToMany {
        /// The labels that were compared.
        group: String,
        /// `left` or `right`.
        side: &'static str,
        /// One of the two series.
        first: String,
        /// The other.
        second: String,
    },
    /// Several series meet one without `group_left` or `group_right`.
    #[error(
        "multiple matches for labels: many-to-one matching must be explicit \
         (group_left/group_right)"
    )]
    ManyToOneNotExplicit,
    /// Two results of a match have the same labels.
    #[error("multiple matches for labels: grouping labels must ensure unique matches")]
    GroupingNotUnique,
    /// The expression gives a range vector or a text where a range query cannot use one.
    #[error("invalid expression type {0:?} for range query, must be Scalar or instant Vector")]
    RangeType(&'static str),
    /// A function's or operator's argument cannot be used; the text is Prometheus'.
    #[error("{0}")]
    Argument(String),
    /// A duration expression has no usable value.
    #[error(transparent)]
    Duration(#[from] DurationError),
    /// The source could not give its series.
    #[error("expanding series: {0}")]
    Source(#[from] SourceError),
}

impl EvalError {
    /// What kind of failure it is.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Timeout => ErrorClass::Timeout,
            Self::Canceled => ErrorClass::Canceled,
            Self::RangeType(_) | Self::Duration(_) => ErrorClass::Invalid,
            Self::Source(error) => error.class,
            _ => ErrorClass::Execution,
        }
    }

    pub(crate) fn argument(text: impl Into<String>) -> Self {
        Self::Argument(text.into())
    }
}

impl From<Interrupt> for EvalError {
    fn from(interrupt: Interrupt) -> Self {
        match interrupt {
            Interrupt::Timeout => Self::Timeout,
            Interrupt::Canceled => Self::Canceled,
        }
    }
}
