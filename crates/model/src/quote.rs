//! Strings quoted as Go's `strconv.Quote` does: error texts of PromQL and printed expressions carry
//! such strings.

use std::fmt::Write as _;

/// `text` in double quotes, with Go's escapes: what is not printable becomes `\n`, `\x07`, `\u200b`
/// or `\U000e0001`.
pub fn go_quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            ' '..='~' => out.push(c),
            c if c < ' ' || c == '\x7f' => {
                write!(out, "\\x{:02x}", u32::from(c)).expect("a String takes all");
            }
            c if is_printable(c) => out.push(c),
            c if u32::from(c) < 0x1_0000 => {
                write!(out, "\\u{:04x}", u32::from(c)).expect("a String takes all");
            }
            c => write!(out, "\\U{:08x}", u32::from(c)).expect("a String takes all"),
        }
    }
    out.push('"');
    out
}

/// Go's `IsPrint` beyond ASCII: letters, marks, numbers, punctuation and symbols, but no space
/// other than ASCII's, no control, format, surrogate or private-use character. Rust's
/// `escape_debug` draws nearly the same line.
fn is_printable(c: char) -> bool {
    c.is_alphanumeric() || (!c.is_whitespace() && c.escape_debug().len() == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_as_go_does() {
        assert_eq!(go_quote("a\"b\\c\n\x01ä☺\u{200b}"), r#""a\"b\\c\n\x01ä☺\u200b""#);
        assert_eq!(go_quote("\u{a0}\u{e0001}"), r#""\u00a0\U000e0001""#);
    }
}
