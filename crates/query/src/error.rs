//! Why a question has no answer.

use rangekeeper_cluster::ReadError;
use rangekeeper_model::ErrorClass;
use rangekeeper_promql::eval::EvalError;
use rangekeeper_storage::StoreError;

/// Why a question has no answer. Its text is what the HTTP API gives as `error`.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// A parameter is missing or makes no sense.
    #[error("invalid parameter {name:?}: {reason}")]
    Parameter {
        /// Its name.
        name: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The request makes no sense as a whole.
    #[error("{0}")]
    Invalid(String),
    /// The evaluation failed.
    #[error(transparent)]
    Evaluation(#[from] EvalError),
    /// The store could not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The nodes of the cluster could not answer together.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Too many queries run, and none ended in time.
    #[error("query timed out in query queue")]
    Queue,
    /// The thread that answered is gone.
    #[error("the query was aborted")]
    Aborted,
}

impl QueryError {
    pub(crate) fn parameter(name: &'static str, reason: &(impl ToString + ?Sized)) -> Self {
        Self::Parameter { name, reason: reason.to_string() }
    }

    /// What kind of failure it is.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Parameter { .. } | Self::Invalid(_) => ErrorClass::Invalid,
            Self::Evaluation(error) => error.class(),
            Self::Store(error) => error.class(),
            Self::Read(error) => error.class(),
            Self::Queue => ErrorClass::Timeout,
            Self::Aborted => ErrorClass::Internal,
        }
    }
}
