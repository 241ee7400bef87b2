//! Writes a syntax tree in the language of the `regex` crate.
//!
//! `regex-syntax` has a printer of its own, but that prints a repeated repetition, `(?:b+)?`, as
//! `b+?`, which is something else.

use std::fmt::Write as _;

use regex_syntax::hir::{Class, ClassUnicode, Hir, HirKind, Look, Repetition};

/// Appends `hir` to `out`. Recurses as deep as groups nest, which the parser limits.
pub(super) fn print(out: &mut String, hir: &Hir) {
    match hir.kind() {
        HirKind::Empty => out.push_str("(?:)"),
        HirKind::Literal(literal) => {
            let text = std::str::from_utf8(&literal.0).expect("the parser makes literals of text");
            out.push_str(&regex_syntax::escape(text));
        }
        HirKind::Class(Class::Unicode(class)) => print_class(out, class),
        HirKind::Class(Class::Bytes(_)) => unreachable!("the parser makes classes of characters"),
        HirKind::Look(look) => out.push_str(match look {
            Look::Start => r"\A",
            Look::End => r"\z",
            Look::StartLF => "(?m:^)",
            Look::EndLF => "(?m:$)",
            Look::WordAscii => r"(?-u:\b)",
            Look::WordAsciiNegate => r"(?-u:\B)",
            _ => unreachable!("the parser knows no other assertion"),
        }),
        HirKind::Repetition(repetition) => print_repetition(out, repetition),
        HirKind::Capture(capture) => {
            match &capture.name {
                Some(name) => write!(out, "(?P<{name}>").expect("a String takes all"),
                None => out.push('('),
            }
            print(out, &capture.sub);
            out.push(')');
        }
        HirKind::Concat(parts) => {
            for part in parts {
                let is_wider = matches!(part.kind(), HirKind::Alternation(_));
                out.push_str(if is_wider { "(?:" } else { "" });
                print(out, part);
                out.push_str(if is_wider { ")" } else { "" });
            }
        }
        HirKind::Alternation(parts) => {
            for (index, part) in parts.iter().enumerate() {
                out.push_str(if index > 0 { "|" } else { "" });
                print(out, part);
            }
        }
    }
}

fn print_repetition(out: &mut String, repetition: &Repetition) {
    out.push_str("(?:");
    print(out, &repetition.sub);
    out.push(')');
    match (repetition.min, repetition.max) {
        (0, None) => out.push('*'),
        (1, None) => out.push('+'),
        (0, Some(1)) => out.push('?'),
        (min, None) => write!(out, "{{{min},}}").expect("a String takes all"),
        (min, Some(max)) => write!(out, "{{{min},{max}}}").expect("a String takes all"),
    }
    if !repetition.greedy {
        out.push('?');
    }
}

fn print_class(out: &mut String, class: &ClassUnicode) {
    if class.ranges().is_empty() {
        // Nothing is in both.
        return out.push_str("[a&&b]");
    }
    out.push('[');
    for range in class.ranges() {
        let (start, end) = (u32::from(range.start()), u32::from(range.end()));
        write!(out, r"\x{{{start:x}}}-\x{{{end:x}}}").expect("a String takes all");
    }
    out.push(']');
}
