//! A place in a line and what can be read from it on.

use super::SeriesLineError;
use crate::parser::number_value;

pub(super) struct Cursor<'a> {
    line: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(line: &'a str, at: usize) -> Self {
        Self { line, at }
    }

    pub(super) fn rest(&self) -> &'a str {
        &self.line[self.at..]
    }

    pub(super) fn skip(&mut self, bytes: usize) {
        self.at += bytes;
    }

    /// Goes past the spaces before an item; says whether there is one. Items must be apart from
    /// each other.
    pub(super) fn next_item(&mut self) -> Result<bool, SeriesLineError> {
        let spaces = self.skip_spaces();
        if self.rest().is_empty() {
            return Ok(false);
        }
        if spaces == 0 {
            let c = self.rest().chars().next().unwrap_or_default();
            return Err(self.error(format!("unexpected character in series sequence: {c:?}")));
        }
        Ok(true)
    }

    pub(super) fn skip_spaces(&mut self) -> usize {
        self.take_while(char::is_whitespace).len()
    }

    pub(super) fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c| !wanted(c)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    /// Takes `text` if it is next.
    pub(super) fn take(&mut self, text: &str) -> bool {
        let is_next = self.rest().starts_with(text);
        self.at += if is_next { text.len() } else { 0 };
        is_next
    }

    /// Takes `word` if it is next and a word of its own.
    pub(super) fn take_word(&mut self, word: &str) -> bool {
        let is_word = |c: char| c == '_' || c.is_ascii_alphanumeric();
        let is_next =
            self.rest().strip_prefix(word).is_some_and(|after| !after.starts_with(is_word));
        self.at += if is_next { word.len() } else { 0 };
        is_next
    }

    pub(super) fn at_sign(&self) -> bool {
        self.rest().starts_with(['+', '-'])
    }

    /// A decimal number, `Inf` or `NaN`, with an optional sign. Never hexadecimal: `0x3` is three
    /// more zeros.
    pub(super) fn signed_number(&mut self) -> Result<f64, SeriesLineError> {
        let sign = if self.rest().starts_with('-') { -1.0 } else { 1.0 };
        if self.at_sign() {
            self.at += 1;
        }
        let rest = self.rest();
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        if letters > 0 {
            let value = match rest[..letters].to_ascii_lowercase().as_str() {
                "inf" => f64::INFINITY,
                "nan" => f64::NAN,
                word => {
                    let text = format!("unexpected {word:?}, expected number or \"stale\"");
                    return Err(self.error(text));
                }
            };
            self.at += letters;
            return Ok(sign * value);
        }
        let length = number_length(rest);
        if length == 0 {
            return Err(self.error("expected number or \"stale\""));
        }
        let value = number_value(&rest[..length]).map_err(|text| self.error(text))?;
        self.at += length;
        Ok(sign * value)
    }

    pub(super) fn error(&self, text: impl Into<String>) -> SeriesLineError {
        SeriesLineError { at: self.at, text: text.into() }
    }
}

/// How far a decimal number goes at the start of `text`.
fn number_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = 0;
    let digits = |mut at: usize| {
        while bytes.get(at).is_some_and(|b| b.is_ascii_digit() || *b == b'_') {
            at += 1;
        }
        at
    };
    if bytes.first() != Some(&b'_') {
        at = digits(at);
    }
    if bytes.get(at) == Some(&b'.') {
        at = digits(at + 1);
    }
    if at > 0 && matches!(bytes.get(at), Some(b'e' | b'E')) {
        let signed = at + 1 + usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
        let end = digits(signed);
        if end > signed {
            at = end;
        }
    }
    at
}
