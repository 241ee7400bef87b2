//! Classes in brackets.

use regex_syntax::hir::{ClassUnicode, ClassUnicodeRange};

use super::escape::{escape, perl_class, ranges, take, unicode_class};
use super::parser::{Flags, fold};
use super::{RegexError, syntax};

/// The class at the start of `text` and the text behind it.
pub(super) fn parse(text: &str, flags: Flags) -> Result<(ClassUnicode, &str), RegexError> {
    let mut rest = &text[1..];
    let is_negated = rest.starts_with('^');
    if is_negated {
        rest = &rest[1..];
    }
    let mut found: Vec<ClassUnicodeRange> = Vec::new();
    let mut is_first = true;
    // A bracket that comes first is just a bracket.
    while is_first || !rest.starts_with(']') {
        is_first = false;
        if let Some((class, after)) = named_class(rest)? {
            found.extend(class.iter());
            rest = after;
            continue;
        }
        let start = rest;
        let low = class_char(&mut rest, text)?;
        let mut high = low;
        if rest.len() >= 2 && rest.starts_with('-') && !rest.starts_with("-]") {
            rest = &rest[1..];
            high = class_char(&mut rest, text)?;
            if high < low {
                let fragment = &start[..start.len() - rest.len()];
                return Err(syntax("invalid character class range", fragment));
            }
        }
        found.extend(without_surrogates(low, high));
    }
    let mut class = ClassUnicode::new(found);
    if flags.fold_case {
        fold(&mut class);
    }
    if is_negated {
        class.negate();
    }
    Ok((class, &rest[1..]))
}

/// `[:alpha:]`, `\pL` or `\d`.
fn named_class(rest: &str) -> Result<Option<(ClassUnicode, &str)>, RegexError> {
    if let Some(inner) = rest.strip_prefix("[:") {
        if let Some(length) = inner.find(":]") {
            let (fragment, after) = rest.split_at(length + 4);
            let class = posix_class(&inner[..length])
                .ok_or_else(|| syntax("invalid character class range", fragment))?;
            return Ok(Some((class, after)));
        }
        return Ok(None);
    }
    match unicode_class(rest)? {
        Some(found) => Ok(Some(found)),
        None => Ok(perl_class(rest)),
    }
}

fn class_char(rest: &mut &str, whole: &str) -> Result<u32, RegexError> {
    if rest.is_empty() {
        return Err(syntax("missing closing ]", whole));
    }
    if rest.starts_with('\\') {
        let (code_point, after) = escape(rest)?;
        *rest = after;
        return Ok(code_point);
    }
    Ok(take(rest).map_or(0, u32::from))
}

/// The characters of a range of code points, of which surrogates are none.
fn without_surrogates(low: u32, high: u32) -> impl Iterator<Item = ClassUnicodeRange> {
    let parts = [(low, high.min(0xd7ff)), (low.max(0xe000), high)];
    parts.into_iter().filter(|(low, high)| low <= high).map(|(low, high)| {
        let c = |code_point| char::from_u32(code_point).expect("surrogates were cut out");
        ClassUnicodeRange::new(c(low), c(high))
    })
}

fn posix_class(name: &str) -> Option<ClassUnicode> {
    let (name, is_negated) = match name.strip_prefix('^') {
        Some(name) => (name, true),
        None => (name, false),
    };
    let mut class = ranges(match name {
        "alnum" => &[('0', '9'), ('A', 'Z'), ('a', 'z')],
        "alpha" => &[('A', 'Z'), ('a', 'z')],
        "ascii" => &[('\0', '\x7f')],
        "blank" => &[('\t', '\t'), (' ', ' ')],
        "cntrl" => &[('\0', '\x1f'), ('\x7f', '\x7f')],
        "digit" => &[('0', '9')],
        "graph" => &[('!', '~')],
        "lower" => &[('a', 'z')],
        "print" => &[(' ', '~')],
        "punct" => &[('!', '/'), (':', '@'), ('[', '`'), ('{', '~')],
        "space" => &[('\t', '\r'), (' ', ' ')],
        "upper" => &[('A', 'Z')],
        "word" => &[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')],
        "xdigit" => &[('0', '9'), ('A', 'F'), ('a', 'f')],
        _ => return None,
    });
    if is_negated {
        class.negate();
    }
    Some(class)
}
