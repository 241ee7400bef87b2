//! What the product talks about: labels, series, samples, matchers, shards and time.
//!
//! Pure: no I/O, no clock, no global state. Every other crate may use this one; it uses none of
//! them.

mod cluster;
mod error;
mod histogram;
mod labels;
mod lineage;
mod matcher;
mod metric_type;
mod quote;
mod re2;
mod sample;
mod series;
mod tenant;
mod time;

pub use cluster::{
    BootCount, ClusterId, Epoch, FormatLevel, Generation, Incarnation, NameError, NodeId, RunId,
    StoreId, Term, Zone,
};
pub use error::ErrorClass;
pub use histogram::{Buckets, CounterResetHint, Histogram, HistogramError, Span};
pub use labels::{
    LabelError, LabelPairs, Labels, LabelsBuilder, METRIC_NAME, append_label, metric_name_in,
};
pub use lineage::Lineage;
pub use matcher::{MatchOp, Matcher, MatcherError};
pub use metric_type::MetricType;
pub use quote::go_quote;
pub use re2::{RegexError, anchored_regex};
pub use sample::{
    Floats, HistogramSample, STALE_NAN_BITS, Samples, histogram_replaces, is_stale, replaces,
};
pub use series::{SeriesHash, SeriesHasher, SeriesId, ShardCount, ShardCountError, ShardId};
pub use tenant::{TenantError, TenantId};
pub use time::{DAY_MS, Day, TimeRange, WINDOW_MS, WINDOWS_A_DAY, Window, WindowInDay};
