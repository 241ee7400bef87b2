//! What kind of failure an error is, for whoever has to answer a request with it.

/// The class of an error. One place (in `node`) maps classes to status codes, because status codes
/// decide whether a sender drops data or keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// The request can never succeed as it is. A sender drops it.
    Invalid,
    /// No or wrong credentials.
    Unauthenticated,
    /// The request is larger than a limit allows.
    TooLarge,
    /// The content type or encoding is not one we read.
    Unsupported,
    /// A well-formed query failed while it was evaluated.
    Execution,
    /// A query ran longer than it may.
    Timeout,
    /// The client went away, or the query was cancelled.
    Canceled,
    /// What was asked for does not exist.
    NotFound,
    /// It may succeed later: a sender keeps its data and tries again.
    Unavailable,
    /// A fault of ours. A sender tries again.
    Internal,
}

impl ErrorClass {
    /// Whether the same request may succeed later, so that its sender must keep it.
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::Unavailable | Self::Internal | Self::Timeout)
    }
}
