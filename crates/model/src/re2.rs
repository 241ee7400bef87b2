//! Regular expressions as RE2, and so Prometheus, understands them, on top of the `regex` crate.
//!
//! The two languages look alike and differ in what they mean: here `.` matches a newline, `\d`,
//! `\w`, `\s` and `\b` are ASCII, `\Q…\E` quotes, `\<` is a plain character, `[a&&b]` is a set of
//! three, `x**` and `x{1001}` are errors. So the text is parsed by the rules of Go's
//! `regexp/syntax`, error texts included, into the syntax tree of `regex-syntax`; it is then
//! printed in the language of `regex` and compiled.

mod class;
mod escape;
mod literals;
mod parser;
mod printer;

use regex::{Regex, RegexBuilder};
use regex_syntax::hir::{Hir, Look};

pub(crate) use literals::{Shape, shape_of};

/// The most memory that one compiled expression may take, in bytes.
const MAX_COMPILED_BYTES: usize = 10 << 20;

/// The deepest nesting. RE2 allows 1,000; compilation recurses, and nobody writes more than this.
const MAX_NESTING: u32 = 250;

/// Why a text is no regular expression, in Go's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegexError {
    /// It does not parse.
    #[error("error parsing regexp: {code}: `{fragment}`")]
    Syntax {
        /// What is wrong.
        code: &'static str,
        /// Where.
        fragment: String,
    },
    /// It would take too much memory.
    #[error("error parsing regexp: expression too large")]
    TooLarge,
}

/// Compiles `pattern` so that it matches whole texts only, with `.` matching newlines and with its
/// capture groups, as `label_replace` needs it.
///
/// A name that two groups have belongs to the first; a name that starts with a digit is dropped.
pub fn anchored_regex(pattern: &str) -> Result<Regex, RegexError> {
    // Upstream parses the pattern inside of its anchors, so errors name the whole.
    let hir = parser::parse(&format!("^(?s:{pattern})$"), parser::Groups::Capture)?;
    compile(&hir)
}

/// Parses a matcher's pattern. Its groups capture nothing.
pub(crate) fn parse_pattern(pattern: &str) -> Result<Hir, RegexError> {
    parser::parse(pattern, parser::Groups::Ignore)
}

/// Compiles what [`parse_pattern`] gave, so that it matches whole texts only.
pub(crate) fn compile_anchored(hir: Hir) -> Result<Regex, RegexError> {
    compile(&Hir::concat(vec![Hir::look(Look::Start), hir, Hir::look(Look::End)]))
}

fn compile(hir: &Hir) -> Result<Regex, RegexError> {
    let mut printed = String::new();
    printer::print(&mut printed, hir);
    RegexBuilder::new(&printed)
        .size_limit(MAX_COMPILED_BYTES)
        // Printing puts groups around what was none.
        .nest_limit(4 * MAX_NESTING)
        .build()
        .map_err(|_| RegexError::TooLarge)
}

fn syntax(code: &'static str, fragment: &str) -> RegexError {
    RegexError::Syntax { code, fragment: fragment.to_owned() }
}

#[cfg(test)]
mod tests;
