//! Aggregations and lists of labels.

use super::{Context, NO_CONTEXT, Parsed, Parser, placeholder};
use crate::ast::{Aggregate, AggregateOp, Expr, Span};
use crate::lexer::{Keyword, Token, TokenKind, unquote};
use crate::printer::quote_bytes;

const PLACE: &str = "grouping opts";

/// `by (…)` or `without (…)`.
#[derive(Default)]
struct Grouping {
    labels: Vec<String>,
    without: bool,
}

impl<'a> Parser<'a> {
    /// An aggregation whose name is already taken.
    pub(super) fn aggregate(&mut self, op: AggregateOp, name: Token<'a>) -> Parsed<Expr> {
        if is_grouping(self.peek()?.kind) {
            let grouping = self.grouping()?.1;
            let (args, args_span) = self.arguments()?;
            let span = name.span().to(args_span);
            return Ok(self.assemble(op, grouping, args, span));
        }
        let (args, args_span) = self.arguments()?;
        let mut span = name.span().to(args_span);
        let mut grouping = Grouping::default();
        if is_grouping(self.peek()?.kind) {
            let (grouping_span, labels) = self.grouping()?;
            span = span.to(grouping_span);
            grouping = labels;
        }
        Ok(self.assemble(op, grouping, args, span))
    }

    fn assemble(
        &mut self,
        op: AggregateOp,
        grouping: Grouping,
        mut args: Vec<Expr>,
        span: Span,
    ) -> Expr {
        if args.is_empty() {
            self.error(span, "no arguments for aggregate expression provided");
            return placeholder(span);
        }
        if op.is_experimental() && !self.options.experimental_functions {
            let text = format!(
                "{op}() is experimental and must be enabled with \
                 --enable-feature=promql-experimental-functions"
            );
            self.error(span, text);
            return placeholder(span);
        }
        let expected = if op.has_param() { 2 } else { 1 };
        if args.len() != expected {
            let got = args.len();
            let text = format!(
                "wrong number of arguments for aggregate expression provided, \
                 expected {expected}, got {got}"
            );
            self.error(span, text);
            return placeholder(span);
        }
        let expr = args.pop().expect("there is at least one argument");
        let param = args.pop();
        let Grouping { labels, without } = grouping;
        Expr::Aggregate(Box::new(Aggregate { op, grouping: labels, without, param, expr, span }))
    }

    fn grouping(&mut self) -> Parsed<(Span, Grouping)> {
        let without = self.take().kind == TokenKind::Keyword(Keyword::Without);
        let open = self.peek()?.span();
        let labels = self.label_list()?;
        Ok((Span::new(open.start, self.end), Grouping { labels, without }))
    }

    /// Labels in parentheses, separated by commas, one of which may trail.
    pub(super) fn label_list(&mut self) -> Parsed<Vec<String>> {
        let expect_open = Context { place: PLACE, expected: "\"(\"" };
        let expect_label = Context { place: PLACE, expected: "label" };
        let expect_more = Context { place: PLACE, expected: "\",\" or \")\"" };
        self.expect(TokenKind::LeftParen, expect_open)?;
        let mut labels = Vec::new();
        loop {
            let token = self.peek()?;
            match token.kind {
                TokenKind::RightParen => break,
                TokenKind::String => {
                    self.take();
                    labels.push(self.quoted_label(token));
                }
                kind if kind.is_label_name() => {
                    self.take();
                    labels.push(token.text.to_owned());
                }
                _ => return Err(self.unexpected(expect_label)),
            }
            match self.peek()?.kind {
                TokenKind::Comma => self.take(),
                TokenKind::RightParen => break,
                _ => return Err(self.unexpected(expect_more)),
            };
        }
        self.expect(TokenKind::RightParen, NO_CONTEXT)?;
        Ok(labels)
    }

    fn quoted_label(&mut self, token: Token<'a>) -> String {
        let bytes = unquote(token.text);
        match String::from_utf8(bytes) {
            Ok(label) if !label.is_empty() => label,
            not_a_label => {
                let bytes = match not_a_label {
                    Ok(_) => Vec::new(),
                    Err(error) => error.into_bytes(),
                };
                let quoted = quote_bytes(&bytes);
                self.error(token.span(), format!("invalid label name for grouping: {quoted}"));
                String::new()
            }
        }
    }
}

/// Whether the name of an aggregation stands for one, seen from the token after it; else it is a
/// metric's.
pub(super) fn starts_aggregation(next: TokenKind) -> bool {
    next == TokenKind::LeftParen || is_grouping(next)
}

fn is_grouping(kind: TokenKind) -> bool {
    matches!(kind, TokenKind::Keyword(Keyword::By | Keyword::Without))
}
