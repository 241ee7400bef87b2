//! What is wrong with a query.

use std::fmt;

use crate::ast::Span;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// Which bytes it is about.
    pub span: Span,
    /// What is wrong, in Prometheus' words.
    pub text: String,
}

/// All that was found to be wrong with a query; at least one thing. Displays the first as
/// `line:column: parse error: text`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseErrors {
    errors: Vec<ParseError>,
    /// Line and column of the first.
    place: String,
}

/// Why a text is no selector that `match[]` takes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// It does not parse.
    #[error(transparent)]
    Parse(#[from] ParseErrors),
    /// Every matcher also matches the empty value, so all series would be selected.
    #[error("match[] must contain at least one non-empty matcher")]
    MatchesEverything,
}

impl ParseErrors {
    pub(super) fn new(text: &str, errors: Vec<ParseError>) -> Self {
        let first = errors.first().expect("parsing stops only after an error was noted");
        let place = first.span.line_and_column(text);
        Self { errors, place }
    }

    /// The errors in the order in which they were found.
    pub fn errors(&self) -> &[ParseError] {
        &self.errors
    }
}

impl fmt::Display for ParseErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: parse error: {}", self.place, self.errors[0].text)
    }
}

impl std::error::Error for ParseErrors {}

impl Span {
    /// Where the span starts in `text`, as errors and annotations name it: line and column, both
    /// from 1, the column in bytes.
    pub fn line_and_column(self, text: &str) -> String {
        let start = self.start as usize;
        if text.is_empty() {
            return "unknown position".to_owned();
        }
        let Some(before) = text.as_bytes().get(..start) else {
            return "invalid position".to_owned();
        };
        let line = before.split(|b| *b == b'\n').count();
        let column = match before.iter().rposition(|b| *b == b'\n') {
            Some(line_break) => start - line_break,
            None => start + 1,
        };
        format!("{line}:{column}")
    }
}
