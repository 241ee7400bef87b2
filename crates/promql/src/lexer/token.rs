//! The tokens of a query and how error texts call them.

use rangekeeper_model::go_quote;

use crate::ast::{AggregateOp, BinaryOp, Span};

/// The bytes of `count_values`.
const LONGEST_KEYWORD: usize = 12;

/// A token and where it stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Token<'a> {
    pub(crate) kind: TokenKind,
    pub(crate) start: u32,
    pub(crate) text: &'a str,
}

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenKind {
    End,
    Comma,
    Colon,
    Equal,
    EqualRegex,
    NotEqualRegex,
    At,
    LeftParen,
    RightParen,
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
    Identifier,
    /// A name with a colon in it, which no label or function can have.
    MetricIdentifier,
    Number,
    Duration,
    String,
    Operator(BinaryOp),
    Aggregate(AggregateOp),
    Keyword(Keyword),
    Start,
    EndWord,
    Step,
    Range,
    MinOf,
    MaxOf,
}

/// A word with a meaning in some places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keyword {
    Anchored,
    Bool,
    By,
    Fill,
    FillLeft,
    FillRight,
    GroupLeft,
    GroupRight,
    Ignoring,
    Offset,
    On,
    Smoothed,
    Without,
}

impl TokenKind {
    /// The keyword that `word` is, in whatever case.
    pub(super) fn keyword(word: &str) -> Option<Self> {
        let mut lower = [0; LONGEST_KEYWORD];
        let lower = lower.get_mut(..word.len())?;
        lower.copy_from_slice(word.as_bytes());
        lower.make_ascii_lowercase();
        let lower = std::str::from_utf8(lower).ok()?;
        if let Some(op) = AggregateOp::ALL.into_iter().find(|op| op.as_str() == lower) {
            return Some(Self::Aggregate(op));
        }
        Some(match lower {
            "and" => Self::Operator(BinaryOp::And),
            "or" => Self::Operator(BinaryOp::Or),
            "unless" => Self::Operator(BinaryOp::Unless),
            "atan2" => Self::Operator(BinaryOp::Atan2),
            "anchored" => Self::Keyword(Keyword::Anchored),
            "bool" => Self::Keyword(Keyword::Bool),
            "by" => Self::Keyword(Keyword::By),
            "fill" => Self::Keyword(Keyword::Fill),
            "fill_left" => Self::Keyword(Keyword::FillLeft),
            "fill_right" => Self::Keyword(Keyword::FillRight),
            "group_left" => Self::Keyword(Keyword::GroupLeft),
            "group_right" => Self::Keyword(Keyword::GroupRight),
            "ignoring" => Self::Keyword(Keyword::Ignoring),
            "offset" => Self::Keyword(Keyword::Offset),
            "on" => Self::Keyword(Keyword::On),
            "smoothed" => Self::Keyword(Keyword::Smoothed),
            "without" => Self::Keyword(Keyword::Without),
            "start" => Self::Start,
            "end" => Self::EndWord,
            "inf" | "nan" => Self::Number,
            word => return Self::duration_word(word),
        })
    }

    /// The word that `word` is inside of a duration, in whatever case.
    pub(super) fn duration_word(word: &str) -> Option<Self> {
        Some(match word.to_ascii_lowercase().as_str() {
            "step" => Self::Step,
            "range" => Self::Range,
            "min_of" => Self::MinOf,
            "max_of" => Self::MaxOf,
            _ => return None,
        })
    }

    /// Whether the word may name a metric.
    pub(crate) fn is_metric_name(self) -> bool {
        match self {
            Self::Identifier
            | Self::MetricIdentifier
            | Self::Aggregate(_)
            | Self::Start
            | Self::EndWord
            | Self::Step
            | Self::Range
            | Self::MinOf
            | Self::MaxOf => true,
            Self::Operator(op) => op.is_set(),
            Self::Keyword(keyword) => matches!(
                keyword,
                Keyword::Anchored
                    | Keyword::By
                    | Keyword::Offset
                    | Keyword::Smoothed
                    | Keyword::Without
            ),
            _ => false,
        }
    }

    /// Whether the word may name a label in a list of labels.
    pub(crate) fn is_label_name(self) -> bool {
        self.is_metric_name() || matches!(self, Self::Keyword(_) | Self::Operator(BinaryOp::Atan2))
    }
}

impl Token<'_> {
    pub(crate) fn span(&self) -> Span {
        Span::new(self.start, self.start + u32::try_from(self.text.len()).unwrap_or(u32::MAX))
    }

    /// The token as `unexpected …` names it.
    pub(crate) fn description(&self) -> String {
        let text = self.text;
        match self.kind {
            TokenKind::End => "end of input".to_owned(),
            TokenKind::Identifier | TokenKind::MinOf | TokenKind::MaxOf => {
                format!("identifier {}", go_quote(text))
            }
            TokenKind::MetricIdentifier => format!("metric identifier {}", go_quote(text)),
            TokenKind::Number => format!("number {}", shortened(text)),
            TokenKind::Duration => format!("duration {}", shortened(text)),
            TokenKind::String => format!("string {}", shortened(text)),
            TokenKind::Operator(_)
            | TokenKind::EqualRegex
            | TokenKind::NotEqualRegex
            | TokenKind::At => format!("<op:{text}>"),
            TokenKind::Aggregate(_) => format!("<aggr:{text}>"),
            TokenKind::Keyword(_) => format!("<{text}>"),
            _ => go_quote(text),
        }
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(10) {
        Some((at, _)) if text.len() > 10 => format!("{}...", go_quote(&text[..at])),
        _ if text.len() > 10 => format!("{}...", go_quote(text)),
        _ => go_quote(text),
    }
}
