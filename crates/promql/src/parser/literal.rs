//! Numbers, durations and strings.

use rangekeeper_model::go_quote;

use super::Parser;
use crate::ast::{NumberLiteral, StringLiteral};
use crate::lexer::{Token, TokenKind, unquote};

impl<'a> Parser<'a> {
    /// The number that a token of a number or duration stands for.
    pub(super) fn number(&mut self, token: Token<'a>) -> NumberLiteral {
        let is_duration = token.kind == TokenKind::Duration;
        let read =
            if is_duration { duration_text_seconds(token.text) } else { number_value(token.text) };
        let value = read.unwrap_or_else(|text| {
            self.error(token.span(), text);
            0.0
        });
        NumberLiteral { value, is_duration, span: token.span() }
    }
}

pub(super) fn string(token: Token<'_>) -> StringLiteral {
    StringLiteral { bytes: unquote(token.text), span: token.span() }
}

/// Reads a number as Go does: an integer with its prefixes, or else a float.
pub(crate) fn number_value(text: &str) -> Result<f64, String> {
    if let Some(integer) = integer_value(text) {
        // Bits beyond 53 are lost as they are upstream.
        #[expect(clippy::cast_precision_loss, reason = "numbers are floats")]
        return Ok(integer as f64);
    }
    let error = |what: &str| {
        let text = go_quote(text);
        Err(format!("error parsing number: strconv.ParseFloat: parsing {text}: {what}"))
    };
    if !underscores_are_legal(text) {
        return error("invalid syntax");
    }
    let plain: String = text.chars().filter(|c| *c != '_').collect();
    // Rust reads the long names of infinity, which tokens cannot be, and no hexadecimal floats,
    // which they cannot be either as there is no token with a `p`.
    match plain.parse::<f64>() {
        Ok(value) if value.is_infinite() && plain.bytes().any(|b| b.is_ascii_digit()) => {
            error("value out of range")
        }
        Ok(value) => Ok(value),
        Err(_) => error("invalid syntax"),
    }
}

/// An integer with an optional prefix for its base, where a bare `0` means octal.
fn integer_value(text: &str) -> Option<i64> {
    if !underscores_are_legal(text) {
        return None;
    }
    let plain: String = text.chars().filter(|c| *c != '_').collect();
    let lower = plain.to_ascii_lowercase();
    if let Some(digits) = lower.strip_prefix("0x") {
        return i64::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with(['+', '-']));
    }
    if lower.len() > 1 && lower.starts_with('0') {
        return i64::from_str_radix(&lower[1..], 8).ok();
    }
    lower.parse().ok()
}

/// Underscores may stand between digits and after the prefix of a base.
fn underscores_are_legal(text: &str) -> bool {
    let is_hex = text.len() > 1 && matches!(&text[..2], "0x" | "0X");
    let mut before = if is_hex { '0' } else { '.' };
    let is_digit = |c: char| c.is_ascii_digit() || (is_hex && c.is_ascii_hexdigit());
    for c in text.chars().skip(if is_hex { 2 } else { 0 }) {
        if (c == '_' && !is_digit(before)) || (before == '_' && !is_digit(c)) {
            return false;
        }
        before = c;
    }
    before != '_'
}

/// The units of durations, longest first, as each may follow only a longer one; in milliseconds.
const UNITS: [(&str, u64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// The seconds of a duration such as `1h30m`.
pub(crate) fn duration_text_seconds(text: &str) -> Result<f64, String> {
    const MAX_NS: u64 = i64::MAX as u64;
    let invalid = || format!("not a valid duration string: {}", go_quote(text));
    let out_of_range = || "duration out of range".to_owned();
    if text == "0" {
        return Ok(0.0);
    }
    let mut units = UNITS.iter();
    let mut rest = text;
    let mut total_ns: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, after) = rest.split_at(digits);
        let unit_len = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_len);
        if number.is_empty() {
            return Err(invalid());
        }
        let (_, unit_ms) = units.find(|(name, _)| *name == unit).ok_or_else(invalid)?;
        let number: u64 = number.parse().map_err(|_| out_of_range())?;
        let ns = number.checked_mul(unit_ms * 1_000_000).ok_or_else(out_of_range)?;
        total_ns = total_ns.checked_add(ns).filter(|ns| *ns <= MAX_NS).ok_or_else(out_of_range)?;
        rest = after;
    }
    // As Go computes seconds: whole ones and the rest apart, so that both are exact.
    #[expect(clippy::cast_precision_loss, reason = "both parts are below 2^53")]
    let seconds = (total_ns / 1_000_000_000) as f64 + (total_ns % 1_000_000_000) as f64 / 1e9;
    Ok(seconds)
}
