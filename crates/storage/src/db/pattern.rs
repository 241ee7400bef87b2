//! What a regular expression says about the texts that match it, so that few values have to be
//! tried.

use regex_syntax::hir::literal::{ExtractKind, Extractor};

/// Where the values that match a pattern can be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Candidates {
    /// Only among these, sorted; each has still to be tried.
    Among(Vec<String>),
    /// Only among values that begin so; each has still to be tried.
    Prefixed(String),
}

/// More alternatives than this are scanned for instead: each is a lookup of its own.
const MAX_ALTERNATIVES: usize = 512;

/// Where the values can be that match `pattern` as a whole.
pub(super) fn candidates(pattern: &str) -> Candidates {
    let anywhere = Candidates::Prefixed(String::new());
    let parsed = regex_syntax::ParserBuilder::new().dot_matches_new_line(true).build();
    let Ok(hir) = { parsed }.parse(pattern) else { return anywhere };
    let mut extractor = Extractor::new();
    extractor.kind(ExtractKind::Prefix).limit_total(MAX_ALTERNATIVES).limit_class(16);
    extractor.limit_literal_len(1024).limit_repeat(64);
    let literals = extractor.extract(&hir);
    if literals.is_exact()
        && let Some(literals) = literals.literals()
    {
        let texts = literals.iter().map(|l| String::from_utf8(l.as_bytes().to_vec()).ok());
        if let Some(mut texts) = texts.collect::<Option<Vec<_>>>() {
            texts.sort();
            texts.dedup();
            return Candidates::Among(texts);
        }
    }
    let common = literals.longest_common_prefix().unwrap_or_default();
    let valid = match std::str::from_utf8(common) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&common[..error.valid_up_to()]).unwrap_or_default(),
    };
    Candidates::Prefixed(valid.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn among(texts: &[&str]) -> Candidates {
        Candidates::Among(texts.iter().map(|&t| t.to_owned()).collect())
    }

    #[test]
    fn alternatives_and_prefixes_are_seen() {
        assert_eq!(candidates("b|a"), among(&["a", "b"]));
        assert_eq!(candidates("(?:x|y)z"), among(&["xz", "yz"]));
        assert_eq!(candidates("^up$"), among(&["up"]));
        assert_eq!(candidates("10\\.0\\.0\\.[12]"), among(&["10.0.0.1", "10.0.0.2"]));
        assert_eq!(candidates("node_.*"), Candidates::Prefixed("node_".into()));
        assert_eq!(candidates("node_(cpu|mem)_.+"), Candidates::Prefixed("node_".into()));
        assert_eq!(candidates("ä[^x]"), Candidates::Prefixed("ä".into()));
        for anywhere in ["", ".*foo", "(?i)node_.*", "("] {
            let Candidates::Prefixed(prefix) = candidates(anywhere) else {
                assert_eq!((anywhere, candidates(anywhere)), ("", among(&[""])));
                continue;
            };
            assert_eq!(prefix, "", "{anywhere}");
        }
    }
}
