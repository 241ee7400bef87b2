//! Answers the Prometheus HTTP API from the store: parameters in, the JSON envelope out.

mod api;
mod data;
mod error;
mod feature;
mod folding;
mod labels;
mod metrics;
mod parameters;
mod queries;
mod render;
mod status;

pub use api::{Api, Limits, Question};
pub use data::Data;
pub use error::QueryError;
pub use feature::{Feature, UnknownFeature};
