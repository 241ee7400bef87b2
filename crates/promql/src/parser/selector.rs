//! Vector selectors, and the labels of series descriptions.

use rangekeeper_model::{Labels, METRIC_NAME, MatchOp, Matcher};

use super::{Context, NO_CONTEXT, Parsed, Parser};
use crate::ast::{BinaryOp, Duration, Span, VectorSelector};
use crate::lexer::{Token, TokenKind, unquote};

const MATCHING: &str = "label matching";
const LABELS: &str = "label set";

impl<'a> Parser<'a> {
    /// A selector without modifiers, as `match[]` has it.
    pub(super) fn bare_selector(&mut self) -> Parsed<VectorSelector> {
        match self.peek()?.kind {
            kind if kind.is_metric_name() => {
                let name = self.take();
                self.selector(Some(name))
            }
            TokenKind::LeftBrace => self.selector(None),
            _ => Err(self.unexpected(NO_CONTEXT)),
        }
    }

    /// A selector whose name, if it has one, is already taken.
    pub(super) fn selector(&mut self, name: Option<Token<'a>>) -> Parsed<VectorSelector> {
        // Most selectors of long queries are names alone; a vector that grows starts with room for
        // four.
        let mut matchers = Vec::with_capacity(1);
        let mut span = name.map(|name| name.span());
        if name.is_none() || self.peek()?.kind == TokenKind::LeftBrace {
            let braces = self.matchers(&mut matchers)?;
            span = Some(span.map_or(braces, |span| span.to(braces)));
        }
        if let Some(name) = name {
            let matcher = Matcher::new(MatchOp::Equal, METRIC_NAME, name.text);
            matchers.push(matcher.expect("only patterns can be refused"));
        }
        Ok(VectorSelector {
            name: name.map(|name| name.text.to_owned()),
            matchers,
            offset: Duration::default(),
            at: None,
            anchored: false,
            smoothed: false,
            span: span.expect("a selector has a name or braces"),
        })
    }

    /// The matchers in braces; returns where the braces stand.
    fn matchers(&mut self, matchers: &mut Vec<Matcher>) -> Parsed<Span> {
        let open = self.take();
        loop {
            if self.peek()?.kind == TokenKind::RightBrace {
                break;
            }
            matchers.extend(self.matcher()?);
            match self.peek()?.kind {
                TokenKind::Comma => self.take(),
                TokenKind::RightBrace => break,
                _ => {
                    let expected = "\",\" or \"}\"";
                    return Err(self.unexpected(Context { place: MATCHING, expected }));
                }
            };
        }
        Ok(open.span().to(self.take().span()))
    }

    /// One matcher; `None` where its pattern is refused, which is noted.
    fn matcher(&mut self) -> Parsed<Option<Matcher>> {
        let label = self.peek()?;
        let is_quoted = label.kind == TokenKind::String;
        if !is_quoted && label.kind != TokenKind::Identifier {
            let expected = "identifier or \"}\"";
            return Err(self.unexpected(Context { place: MATCHING, expected }));
        }
        self.take();
        let name = if is_quoted { text_of(label) } else { label.text.to_owned() };
        let op = match self.peek()?.kind {
            TokenKind::Equal => MatchOp::Equal,
            TokenKind::Operator(BinaryOp::Ne) => MatchOp::NotEqual,
            TokenKind::EqualRegex => MatchOp::Regex,
            TokenKind::NotEqualRegex => MatchOp::NotRegex,
            _ if is_quoted => {
                return Ok(self.checked(MatchOp::Equal, METRIC_NAME, &name, label.span()));
            }
            _ => {
                let expected = "label matching operator";
                return Err(self.unexpected(Context { place: MATCHING, expected }));
            }
        };
        self.take();
        let value =
            self.expect(TokenKind::String, Context { place: MATCHING, expected: "string" })?;
        Ok(self.checked(op, &name, &text_of(value), label.span().to(value.span())))
    }

    fn checked(&mut self, op: MatchOp, name: &str, value: &str, span: Span) -> Option<Matcher> {
        match Matcher::new(op, name, value) {
            Ok(matcher) => Some(matcher),
            Err(error) => {
                self.error(span, error.to_string());
                None
            }
        }
    }

    /// The labels of a series, as `name{label="value"}`; returns them and where they end.
    pub(super) fn metric(&mut self) -> Parsed<(Labels, usize)> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        let first = self.peek()?;
        let mut end = self.lexer.position();
        let mut open = first;
        if first.kind.is_metric_name() {
            self.take();
            pairs.push((METRIC_NAME.to_owned(), first.text.to_owned()));
            // What follows a name without labels are values, which are no tokens of queries.
            if !self.text[end..].starts_with('{') || self.text[end..].starts_with("{{") {
                return self.labels_of(pairs, first.span()).map(|labels| (labels, end));
            }
            open = self.peek()?;
        }
        if open.kind != TokenKind::LeftBrace {
            return Err(self.unexpected(NO_CONTEXT));
        }
        self.take();
        while self.peek()?.kind != TokenKind::RightBrace {
            let pair = self.label()?;
            pairs.push(pair);
            match self.peek()?.kind {
                TokenKind::Comma => self.take(),
                TokenKind::RightBrace => break,
                _ => {
                    let expected = "\",\" or \"}\"";
                    return Err(self.unexpected(Context { place: LABELS, expected }));
                }
            };
        }
        end = self.lexer.position();
        let span = open.span().to(self.take().span());
        Ok((self.labels_of(pairs, span)?, end))
    }

    fn label(&mut self) -> Parsed<(String, String)> {
        let label = self.peek()?;
        let is_quoted = label.kind == TokenKind::String;
        if !is_quoted && label.kind != TokenKind::Identifier {
            let expected = "identifier or \"}\"";
            return Err(self.unexpected(Context { place: LABELS, expected }));
        }
        self.take();
        let name = if is_quoted { text_of(label) } else { label.text.to_owned() };
        if self.peek()?.kind != TokenKind::Equal {
            if is_quoted {
                return Ok((METRIC_NAME.to_owned(), name));
            }
            return Err(self.unexpected(Context { place: LABELS, expected: "\"=\"" }));
        }
        self.take();
        let value =
            self.expect(TokenKind::String, Context { place: LABELS, expected: "string" })?;
        Ok((name, text_of(value)))
    }

    fn labels_of(&mut self, pairs: Vec<(String, String)>, span: Span) -> Parsed<Labels> {
        Labels::from_pairs(pairs).map_err(|error| {
            self.error(span, error.to_string());
            super::Stop
        })
    }
}

/// What a string token stands for. Labels are UTF-8, so bytes that are not can match none; they
/// become replacement characters.
fn text_of(token: Token<'_>) -> String {
    String::from_utf8_lossy(&unquote(token.text)).into_owned()
}
