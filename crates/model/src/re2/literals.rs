//! What can be said of an expression without compiling it: which texts it matches, or how they
//! start.

use regex_syntax::hir::{Class, Hir, HirKind};

/// The most texts that an expression is taken apart into.
const MAX_SET: usize = 256;

/// What an expression that matches whole texts comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// It matches these texts and no other; sorted.
    Set(Vec<String>),
    /// It matches all texts that start so and go on with at least `min_more` characters, which is 0
    /// or 1.
    Prefix { prefix: String, min_more: u32 },
    /// It matches only texts that start so, which may be nothing; more takes compiling.
    Other { prefix: String },
}

/// The shape of `hir` between anchors.
pub(crate) fn shape_of(hir: &Hir) -> Shape {
    if let Some(mut set) = set_of(hir) {
        set.sort_unstable();
        set.dedup();
        return Shape::Set(set);
    }
    let parts: &[Hir] = match hir.kind() {
        HirKind::Concat(parts) => parts,
        _ => std::slice::from_ref(hir),
    };
    let mut prefix = String::new();
    let mut parts = parts.iter().peekable();
    while let Some(HirKind::Literal(literal)) = parts.peek().map(|part| part.kind()) {
        let Ok(text) = std::str::from_utf8(&literal.0) else { break };
        prefix.push_str(text);
        parts.next();
    }
    match (parts.next().and_then(any_text), parts.next()) {
        (Some(min_more), None) => Shape::Prefix { prefix, min_more },
        _ => Shape::Other { prefix },
    }
}

/// All texts that `hir` matches, if they are few.
fn set_of(hir: &Hir) -> Option<Vec<String>> {
    match hir.kind() {
        HirKind::Empty => Some(vec![String::new()]),
        HirKind::Literal(literal) => Some(vec![std::str::from_utf8(&literal.0).ok()?.to_owned()]),
        HirKind::Class(Class::Unicode(class)) => {
            let count: usize = class.iter().map(regex_syntax::hir::ClassUnicodeRange::len).sum();
            let chars = || class.iter().flat_map(|range| range.start()..=range.end());
            (count <= MAX_SET).then(|| chars().map(String::from).collect())
        }
        HirKind::Capture(capture) => set_of(&capture.sub),
        HirKind::Concat(parts) => {
            let mut set = vec![String::new()];
            for part in parts {
                let ends = set_of(part)?;
                if set.len() * ends.len() > MAX_SET {
                    return None;
                }
                let joined = set
                    .iter()
                    .flat_map(|start| ends.iter().map(move |end| format!("{start}{end}")));
                set = joined.collect();
            }
            Some(set)
        }
        HirKind::Alternation(parts) => {
            let mut set = Vec::new();
            for part in parts {
                set.extend(set_of(part)?);
                if set.len() > MAX_SET {
                    return None;
                }
            }
            Some(set)
        }
        HirKind::Repetition(repetition) if repetition.max == Some(1) && repetition.min == 0 => {
            let mut set = set_of(&repetition.sub)?;
            set.push(String::new());
            Some(set)
        }
        HirKind::Class(Class::Bytes(_)) | HirKind::Look(_) | HirKind::Repetition(_) => None,
    }
}

/// How many characters `hir` wants at least, if it takes any text of that length or longer.
fn any_text(hir: &Hir) -> Option<u32> {
    let hir = match hir.kind() {
        HirKind::Capture(capture) => &capture.sub,
        _ => hir,
    };
    let HirKind::Repetition(repetition) = hir.kind() else { return None };
    let HirKind::Class(Class::Unicode(class)) = repetition.sub.kind() else { return None };
    let takes_all = class.ranges() == [regex_syntax::hir::ClassUnicodeRange::new('\0', char::MAX)];
    (takes_all && repetition.max.is_none() && repetition.min <= 1).then_some(repetition.min)
}
