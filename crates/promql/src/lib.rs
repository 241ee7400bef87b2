//! PromQL: parser, checker, printer and evaluator.
//!
//! Pure: series come through the [`source::Source`] trait, time and limits are passed in.

pub mod ast;
pub mod functions;
pub mod source;
