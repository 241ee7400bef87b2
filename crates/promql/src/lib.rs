//! PromQL: parser, checker, printer and evaluator.
//!
//! Pure: series come through the [`source::Source`] trait, time and limits are passed in.

pub mod annotations;
pub mod ast;
mod checker;
pub mod eval;
pub mod functions;
#[doc(hidden)]
pub mod fuzz;
mod lexer;
mod parser;
mod printer;
pub mod script;
pub mod series_description;
pub mod source;
pub mod value;

pub use parser::{
    ParseError, ParseErrors, ParserOptions, SelectorError, parse, parse_duration_ms,
    parse_metric_selector,
};
pub use printer::pretty;
