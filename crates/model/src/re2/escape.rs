//! Escapes: single characters, Perl's classes and Unicode's.

use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, HirKind};

use super::{RegexError, syntax};

/// The character that the escape at the start of `text` stands for, and the text behind it.
pub(super) fn escape(text: &str) -> Result<(u32, &str), RegexError> {
    let mut rest = &text[1..];
    let Some(c) = take(&mut rest) else {
        return Err(syntax("trailing backslash at end of expression", ""));
    };
    let found = match c {
        '1'..='7' if !rest.starts_with(|c: char| ('0'..='7').contains(&c)) => None,
        '0'..='7' => Some(octal(c, &mut rest)),
        'x' => hex(&mut rest),
        'a' => Some(0x07),
        'f' => Some(0x0c),
        'n' => Some(0x0a),
        'r' => Some(0x0d),
        't' => Some(0x09),
        'v' => Some(0x0b),
        c if c.is_ascii() && !c.is_ascii_alphanumeric() => Some(u32::from(c)),
        _ => None,
    };
    match found {
        Some(code_point) => Ok((code_point, rest)),
        None => Err(syntax("invalid escape sequence", &text[..text.len() - rest.len()])),
    }
}

fn octal(first: char, rest: &mut &str) -> u32 {
    let mut value = first.to_digit(8).expect("the caller saw an octal digit");
    for _ in 0..2 {
        let Some(digit) = rest.chars().next().and_then(|c| c.to_digit(8)) else { break };
        value = value * 8 + digit;
        *rest = &rest[1..];
    }
    value
}

/// `xAB` or `x{…}` behind its `x`; where it is illegal, `rest` ends up where that was seen.
fn hex(rest: &mut &str) -> Option<u32> {
    let first = take(rest)?;
    if first != '{' {
        let high = first.to_digit(16);
        let low = take(rest).and_then(|c| c.to_digit(16));
        return Some(high? * 16 + low?);
    }
    let mut value: u32 = 0;
    let mut digits = 0;
    loop {
        let c = take(rest)?;
        if c == '}' {
            return (digits > 0).then_some(value);
        }
        value = value * 16 + c.to_digit(16)?;
        digits += 1;
        if value > u32::from(char::MAX) {
            return None;
        }
    }
}

/// `\d`, `\s`, `\w` and their opposites.
pub(super) fn perl_class(text: &str) -> Option<(ClassUnicode, &str)> {
    let letter = text.strip_prefix('\\')?.chars().next()?;
    let mut class = match letter.to_ascii_lowercase() {
        'd' => ranges(&[('0', '9')]),
        's' => ranges(&[('\t', '\n'), ('\x0c', '\r'), (' ', ' ')]),
        'w' => ranges(&[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')]),
        _ => return None,
    };
    if letter.is_ascii_uppercase() {
        class.negate();
    }
    Some((class, &text[2..]))
}

/// `\pL`, `\p{Greek}`, `\p{^Greek}` and their opposites with `P`; `None` where the text is no such
/// escape.
pub(super) fn unicode_class(text: &str) -> Result<Option<(ClassUnicode, &str)>, RegexError> {
    const INVALID: &str = "invalid character class range";
    let Some(letter) = text.strip_prefix('\\').and_then(|rest| rest.chars().next()) else {
        return Ok(None);
    };
    if !matches!(letter, 'p' | 'P') {
        return Ok(None);
    }
    let (mut name, end) = match text[2..].chars().next() {
        Some('{') => {
            let end = text.find('}').ok_or_else(|| syntax(INVALID, text))?;
            (&text[3..end], end + 1)
        }
        Some(c) => (&text[2..2 + c.len_utf8()], 2 + c.len_utf8()),
        None => ("", 2),
    };
    let mut is_negated = letter == 'P';
    if let Some(rest) = name.strip_prefix('^') {
        is_negated = !is_negated;
        name = rest;
    }
    let mut class = unicode_table(name).ok_or_else(|| syntax(INVALID, &text[..end]))?;
    if is_negated {
        class.negate();
    }
    Ok(Some((class, &text[end..])))
}

/// The characters of a general category (`Lu`) or script (`Greek`), by the names that Go knows.
fn unicode_table(name: &str) -> Option<ClassUnicode> {
    if name == "Any" {
        return Some(ranges(&[('\0', char::MAX)]));
    }
    let is_name = name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.bytes().all(|b| b == b'_' || b.is_ascii_alphabetic());
    if !is_name {
        return None;
    }
    // The other crate knows more names and spellings, so the kind of property is part of the
    // question.
    let query =
        if name.len() <= 2 { format!(r"\p{{gc={name}}}") } else { format!(r"\p{{sc={name}}}") };
    let hir = regex_syntax::parse(&query).ok()?;
    match hir.into_kind() {
        HirKind::Class(Class::Unicode(class)) => Some(class),
        // A script of one character.
        HirKind::Literal(literal) => {
            let c = std::str::from_utf8(&literal.0).ok()?.chars().next()?;
            Some(ranges(&[(c, c)]))
        }
        _ => None,
    }
}

pub(super) fn ranges(ranges: &[(char, char)]) -> ClassUnicode {
    ClassUnicode::new(ranges.iter().map(|(from, to)| ClassUnicodeRange::new(*from, *to)))
}

pub(super) fn take(rest: &mut &str) -> Option<char> {
    let c = rest.chars().next()?;
    *rest = &rest[c.len_utf8()..];
    Some(c)
}
