//! Strings and label names as they stand in expressions.

use std::fmt::Write as _;

use rangekeeper_model::go_quote;

/// Bytes as Go quotes a string of them: what is no UTF-8 becomes `\xff`.
pub(crate) fn quote_bytes(bytes: &[u8]) -> String {
    let mut out = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        let quoted = go_quote(chunk.valid());
        out.push_str(&quoted[1..quoted.len() - 1]);
        for byte in chunk.invalid() {
            write!(out, "\\x{byte:02x}").expect("a String takes all");
        }
    }
    out.push('"');
    out
}

/// A label name in a list, quoted where it is not a legacy one or would read as a number.
pub(super) fn label_name(name: &str) -> String {
    let is_legacy = !name.is_empty()
        && name
            .bytes()
            .enumerate()
            .all(|(at, b)| b == b'_' || b.is_ascii_alphabetic() || (at > 0 && b.is_ascii_digit()));
    let is_number = name.eq_ignore_ascii_case("inf") || name.eq_ignore_ascii_case("nan");
    if is_legacy && !is_number { name.to_owned() } else { go_quote(name) }
}
