//! Label matchers, with the meaning that RE2 and Prometheus give them.

use std::fmt;

use regex::Regex;

use crate::labels::is_legacy_label_name;
use crate::quote::go_quote;
use crate::re2::{self, RegexError, Shape};

/// How a matcher compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Regex,
    /// `!~`
    NotRegex,
}

/// A condition on one label's value; a label that is absent has the empty value.
#[derive(Clone, Debug)]
pub struct Matcher {
    name: String,
    op: MatchOp,
    value: String,
    /// What `value` says as a pattern; only for the two regex operators.
    pattern: Option<Pattern>,
}

/// A pattern in its cheapest form.
#[derive(Clone, Debug)]
enum Pattern {
    /// These texts; sorted.
    Set(Vec<String>),
    /// A start and at least so many more characters, 0 or 1.
    Prefix { prefix: String, min_more: u32 },
    /// All that this matches; it starts with `prefix`.
    Regex { prefix: String, regex: Regex },
}

/// A pattern that RE2 does not take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct MatcherError(#[from] pub RegexError);

impl Matcher {
    /// Makes a matcher; compiles the pattern of the regex operators.
    pub fn new(op: MatchOp, name: &str, value: &str) -> Result<Self, MatcherError> {
        let pattern = match op {
            MatchOp::Equal | MatchOp::NotEqual => None,
            MatchOp::Regex | MatchOp::NotRegex => Some(Pattern::new(value)?),
        };
        Ok(Self { name: name.to_owned(), op, value: value.to_owned(), pattern })
    }

    /// The label's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it compares.
    pub fn op(&self) -> MatchOp {
        self.op
    }

    /// The value or pattern, as written.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Whether a label with this value passes; an absent label has the empty value.
    pub fn matches(&self, value: &str) -> bool {
        let is_match = match &self.pattern {
            Some(pattern) => pattern.matches(value),
            None => value == self.value,
        };
        is_match != self.is_negative()
    }

    /// Whether a series without the label passes.
    pub fn matches_empty(&self) -> bool {
        self.matches("")
    }

    /// Whether it asks for what its value or pattern does *not* match.
    pub fn is_negative(&self) -> bool {
        matches!(self.op, MatchOp::NotEqual | MatchOp::NotRegex)
    }

    /// All values that the value or pattern matches, sorted, if they are known: an index can look
    /// them up instead of trying every value. A negative matcher refuses just these.
    pub fn set_matches(&self) -> Option<&[String]> {
        match &self.pattern {
            None => Some(std::slice::from_ref(&self.value)),
            Some(Pattern::Set(set)) => Some(set),
            Some(Pattern::Prefix { .. } | Pattern::Regex { .. }) => None,
        }
    }

    /// What every value that the pattern matches starts with, if that is known and not the whole
    /// value: an index can seek to it.
    pub fn prefix(&self) -> Option<&str> {
        match &self.pattern {
            Some(Pattern::Prefix { prefix, .. } | Pattern::Regex { prefix, .. }) => {
                Some(prefix.as_str()).filter(|prefix| !prefix.is_empty())
            }
            Some(Pattern::Set(_)) | None => None,
        }
    }

    /// Whether the pattern matches every value (`.*`).
    pub fn pattern_matches_all(&self) -> bool {
        matches!(&self.pattern, Some(Pattern::Prefix { prefix, min_more: 0 }) if prefix.is_empty())
    }

    /// Whether the pattern matches every value but the empty one (`.+`).
    pub fn pattern_matches_nonempty(&self) -> bool {
        matches!(&self.pattern, Some(Pattern::Prefix { prefix, min_more: 1 }) if prefix.is_empty())
    }
}

impl Pattern {
    fn new(pattern: &str) -> Result<Self, RegexError> {
        let hir = re2::parse_pattern(pattern)?;
        Ok(match re2::shape_of(&hir) {
            Shape::Set(set) => Self::Set(set),
            Shape::Prefix { prefix, min_more } => Self::Prefix { prefix, min_more },
            Shape::Other { prefix } => {
                let regex = re2::compile_anchored(hir)?;
                Self::Regex { prefix, regex }
            }
        })
    }

    fn matches(&self, value: &str) -> bool {
        match self {
            Self::Set(set) => set.binary_search_by(|text| text.as_str().cmp(value)).is_ok(),
            Self::Prefix { prefix, min_more } => value
                .strip_prefix(prefix.as_str())
                .is_some_and(|rest| *min_more == 0 || !rest.is_empty()),
            Self::Regex { prefix, regex } => {
                value.starts_with(prefix.as_str()) && regex.is_match(value)
            }
        }
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (self.op, &self.name, &self.value) == (other.op, &other.name, &other.value)
    }
}

impl Eq for Matcher {}

impl fmt::Display for MatchOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Regex => "=~",
            Self::NotRegex => "!~",
        })
    }
}

/// The value is quoted, and so is a name that is no legacy name.
impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.name.is_empty() && is_legacy_label_name(&self.name) {
            f.write_str(&self.name)?;
        } else {
            f.write_str(&go_quote(&self.name))?;
        }
        write!(f, "{}{}", self.op, go_quote(&self.value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matcher(op: MatchOp, value: &str) -> Matcher {
        Matcher::new(op, "l", value).unwrap()
    }

    #[test]
    fn patterns_match_whole_values_and_their_shape_does_not_change_what_they_match() {
        let values = ["", "a", "b", "ab", "abc", "a\nb", "node_x", "node_", "node", "A", "é"];
        let patterns = [
            "",
            ".*",
            ".+",
            "a|b",
            "a|",
            "ab?",
            "(a|b)c?",
            "node_.*",
            "node_.+",
            "node_?",
            "n.*",
            "(?i:a)",
            "[ab]",
            "[ab]b?c?",
            "a.b",
            ".*b",
            "(?-s:a.b)",
            "é|a",
            "(?:)",
            "a{0}",
            "[^a]",
        ];
        for pattern in patterns {
            let reference = Regex::new(&format!("^(?s:{pattern})$")).unwrap();
            for value in values {
                let expected = reference.is_match(value);
                assert_eq!(matcher(MatchOp::Regex, pattern).matches(value), expected, "{pattern}");
                let negative = matcher(MatchOp::NotRegex, pattern);
                assert_eq!(negative.matches(value), !expected, "{pattern}");
            }
        }
    }

    #[test]
    fn an_index_is_told_the_values_or_their_start() {
        let set = |pattern| matcher(MatchOp::Regex, pattern).set_matches().map(<[String]>::to_vec);
        assert_eq!(set("b|a|a").unwrap(), ["a", "b"]);
        assert_eq!(set("node-(1|2)").unwrap(), ["node-1", "node-2"]);
        assert_eq!(set("(?i:ab)").unwrap(), ["AB", "Ab", "aB", "ab"]);
        assert_eq!(set("a.*"), None);
        assert_eq!(matcher(MatchOp::Equal, "a.*").set_matches().unwrap(), ["a.*"]);
        assert_eq!(matcher(MatchOp::Regex, "node_.*x").prefix(), Some("node_"));
        assert_eq!(matcher(MatchOp::Regex, "node_.*").prefix(), Some("node_"));
        assert_eq!(matcher(MatchOp::Regex, ".*x").prefix(), None);
        assert!(matcher(MatchOp::Regex, ".*").pattern_matches_all());
        assert!(matcher(MatchOp::NotRegex, "(.+)").pattern_matches_nonempty());
    }

    #[test]
    fn displays_quoted_names_where_they_need_it() {
        let text = |name| Matcher::new(MatchOp::NotRegex, name, "a\"b").unwrap().to_string();
        assert_eq!(text("job"), r#"job!~"a\"b""#);
        assert_eq!(text("a.b"), r#""a.b"!~"a\"b""#);
        assert_eq!(text(""), r#"""!~"a\"b""#);
    }
}
