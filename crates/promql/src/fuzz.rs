//! What must hold for every text, for the fuzzer and for the tests that run its corpus.

use crate::ast::{DurationContext, Span};
use crate::series_description::parse_series_line;
use crate::{ParserOptions, parse, parse_metric_selector, pretty};

/// Parses `data` in every way. What parses must print to something that parses to what prints the
/// same.
///
/// # Panics
///
/// If that does not hold, or an error lies outside of the text.
pub fn parse_anything(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(line) = parse_series_line(text) {
        std::hint::black_box(line);
    }
    if let Ok(matchers) = parse_metric_selector(text, &ParserOptions::ALL) {
        assert!(matchers.iter().any(|matcher| !matcher.matches_empty()));
    }
    let mut expr = match parse(text, &ParserOptions::ALL) {
        Ok(expr) => expr,
        Err(errors) => {
            for error in errors.errors() {
                assert_within(error.span, text);
            }
            assert!(!errors.to_string().contains("invalid position"), "{text:?}: {errors}");
            return;
        }
    };
    expr.visit(|node| {
        assert_within(node.span(), text);
        std::hint::black_box(node.value_type());
    });
    let printed = expr.to_string();
    if !is_printed_faithfully(&printed) {
        return;
    }
    for again in [printed.clone(), pretty(&expr)] {
        assert_prints_as(&again, &printed, text);
    }
    let context = DurationContext { start_ms: -5, end_ms: 600_000, step_ms: 15_000 };
    if expr.resolve_durations(&context).is_ok() {
        assert_eq!(expr.clone().to_string(), printed, "resolved, {text:?} prints differently");
    }
}

fn assert_prints_as(again: &str, printed: &str, text: &str) {
    // Printed numbers have all their digits, so the text may become much longer.
    let options = ParserOptions { max_bytes: 1 << 30, ..ParserOptions::ALL };
    match parse(again, &options) {
        Ok(expr) => assert_eq!(expr.to_string(), printed, "{text:?} came from {again:?}"),
        Err(errors) => panic!("{text:?} became {again:?}, which does not parse: {errors}"),
    }
}

fn assert_within(span: Span, text: &str) {
    let length = u32::try_from(text.len()).expect("the parser refuses longer texts");
    assert!(span.start <= length && span.end <= length, "{span:?} lies outside of {text:?}");
}

/// Whether what was printed reads as it was. Upstream prints a sign before infinity, which binds
/// weaker than `^`; and it prints the replacement character, which it does not read.
fn is_printed_faithfully(printed: &str) -> bool {
    !printed.contains("+Inf ^") && !printed.contains('\u{fffd}')
}
