//! Durations of ranges, steps and offsets, which may be expressions.

use super::{Context, Parsed, Parser};
use crate::ast::{BinaryOp, Duration, DurationExpr, DurationOp, NumberLiteral, Span, UnaryOp};
use crate::lexer::{Token, TokenKind};

/// The most seconds, either way, that fit what upstream keeps durations in: 64 bits of nanoseconds.
const MAX_SECONDS: f64 = 9_223_372_036.854_776;

/// A duration expression and how many levels it has.
struct Parsing {
    expr: DurationExpr,
    height: usize,
}

impl<'a> Parser<'a> {
    /// A range or step: what is constant must be above zero.
    pub(super) fn positive_duration(&mut self, context: Context) -> Parsed<Duration> {
        let expr = self.duration_expr(0, context)?.expr;
        let span = expr.span();
        let duration = to_duration(expr);
        // Less than a millisecond is as good as nothing to an evaluator that counts in them.
        if duration.expr.is_none() && duration.ms <= 0 {
            self.error(span, "duration must be greater than 0");
        }
        Ok(duration)
    }

    /// What follows `offset`. A number or call ends it there, so that `x offset 5m + 1` adds to the
    /// samples; only what is in parentheses may go on.
    pub(super) fn offset_duration(&mut self) -> Parsed<Duration> {
        let context = Context { place: "offset", expected: "number, duration, step(), or range()" };
        let token = self.peek()?;
        let Some(sign) = sign_of(token) else {
            let parsed = self.duration_operand(context)?;
            let parsed = if token.kind == TokenKind::LeftParen {
                self.duration_chain(parsed, 0, context)?
            } else {
                parsed
            };
            return Ok(to_duration(parsed.expr));
        };
        self.take();
        let is_signed_again = sign_of(self.peek()?).is_some();
        let inner = if is_signed_again {
            self.duration_expr(BinaryOp::Pow.precedence(), context)?
        } else {
            self.duration_operand(context)?
        };
        let mut parsed = with_sign(sign, token, inner);
        if is_signed_again {
            parsed = self.duration_chain(parsed, 0, context)?;
        }
        Ok(to_duration(parsed.expr))
    }

    fn duration_expr(&mut self, min_precedence: u8, context: Context) -> Parsed<Parsing> {
        self.deeper(|parser| {
            let token = parser.peek()?;
            let first = match sign_of(token) {
                Some(sign) => {
                    parser.take();
                    let inner = parser.duration_expr(BinaryOp::Pow.precedence(), context)?;
                    with_sign(sign, token, inner)
                }
                None => parser.duration_operand(context)?,
            };
            parser.duration_chain(first, min_precedence, context)
        })
    }

    /// The operators after `lhs` that bind at least as strongly as `min_precedence`.
    fn duration_chain(
        &mut self,
        mut lhs: Parsing,
        min_precedence: u8,
        context: Context,
    ) -> Parsed<Parsing> {
        while let Some((op, precedence)) = operator(self.peek()?.kind) {
            if precedence < min_precedence {
                break;
            }
            let token = self.take();
            let right = if op == DurationOp::Pow { precedence } else { precedence + 1 };
            let rhs = self.duration_expr(right, context)?;
            self.gate(lhs.expr.span());
            self.check_divisor(op, token, &rhs.expr);
            lhs = self.join(op, lhs, rhs, None)?;
        }
        Ok(lhs)
    }

    fn duration_operand(&mut self, context: Context) -> Parsed<Parsing> {
        let token = self.peek()?;
        let expr = match token.kind {
            TokenKind::Number | TokenKind::Duration => {
                self.take();
                let number = self.number(token);
                DurationExpr::Number(self.in_range(number, token.span()))
            }
            TokenKind::Step => DurationExpr::Step(self.empty_call(context)?),
            TokenKind::Range => DurationExpr::Range(self.empty_call(context)?),
            TokenKind::MinOf => return self.duration_call(DurationOp::MinOf, context),
            TokenKind::MaxOf => return self.duration_call(DurationOp::MaxOf, context),
            TokenKind::LeftParen => {
                self.take();
                let inner = self.duration_expr(0, context)?;
                let close = self.expect(TokenKind::RightParen, context)?;
                self.gate(inner.expr.span());
                return Ok(in_parens(inner, token.span().to(close.span())));
            }
            _ => return Err(self.unexpected(context)),
        };
        Ok(Parsing { expr, height: 1 })
    }

    /// `step()` or `range()`, whose word was looked at.
    fn empty_call(&mut self, context: Context) -> Parsed<Span> {
        let word = self.take();
        self.expect(TokenKind::LeftParen, context)?;
        let close = self.expect(TokenKind::RightParen, context)?;
        let span = word.span().to(close.span());
        self.gate(span);
        Ok(span)
    }

    /// `min_of(a, b)` or `max_of(a, b)`, whose word was looked at.
    fn duration_call(&mut self, op: DurationOp, context: Context) -> Parsed<Parsing> {
        let word = self.take();
        self.expect(TokenKind::LeftParen, context)?;
        let lhs = self.duration_expr(0, context)?;
        self.expect(TokenKind::Comma, context)?;
        let rhs = self.duration_expr(0, context)?;
        let close = self.expect(TokenKind::RightParen, context)?;
        let span = word.span().to(close.span());
        self.gate(span);
        self.join(op, lhs, rhs, Some(span))
    }

    fn join(
        &mut self,
        op: DurationOp,
        lhs: Parsing,
        rhs: Parsing,
        span: Option<Span>,
    ) -> Parsed<Parsing> {
        let height = lhs.height.max(rhs.height) + 1;
        self.check_height(self.depth + height)?;
        let span = span.unwrap_or_else(|| lhs.expr.span().to(rhs.expr.span()));
        let (lhs, rhs) = (Box::new(lhs.expr), Box::new(rhs.expr));
        Ok(Parsing { expr: DurationExpr::Binary { op, lhs, rhs, span }, height })
    }

    /// The number, unless it is too long a time: that is noted, and a second goes on in its place.
    fn in_range(&mut self, number: NumberLiteral, span: Span) -> NumberLiteral {
        if (-MAX_SECONDS..=MAX_SECONDS).contains(&number.value) {
            return number;
        }
        self.error(span, "duration out of range");
        NumberLiteral { value: 1.0, ..number }
    }

    fn check_divisor(&mut self, op: DurationOp, token: Token<'a>, divisor: &DurationExpr) {
        if !matches!(divisor, DurationExpr::Number(number) if number.value == 0.0) {
            return;
        }
        match op {
            DurationOp::Div => self.error(token.span(), "division by zero"),
            DurationOp::Mod => self.error(token.span(), "modulo by zero"),
            _ => {}
        }
    }

    fn gate(&mut self, span: Span) {
        if !self.options.duration_expressions {
            self.error(span, "experimental duration expression is not enabled");
        }
    }
}

fn with_sign(sign: UnaryOp, token: Token<'_>, inner: Parsing) -> Parsing {
    let Parsing { expr, height } = inner;
    let span = token.span().to(expr.span());
    let expr = match (expr, sign) {
        (DurationExpr::Number(number), sign) => {
            let value = if sign == UnaryOp::Minus { -number.value } else { number.value };
            DurationExpr::Number(NumberLiteral { value, span, ..number })
        }
        (expr, UnaryOp::Plus) => expr,
        (expr, UnaryOp::Minus) => {
            let expr = Box::new(expr);
            DurationExpr::Unary { op: sign, expr, span }
        }
    };
    Parsing { expr, height: height + 1 }
}

/// Parentheses in parentheses say nothing more.
fn in_parens(inner: Parsing, span: Span) -> Parsing {
    match inner.expr {
        DurationExpr::Paren { expr, .. } => {
            Parsing { expr: DurationExpr::Paren { expr, span }, height: inner.height }
        }
        expr => {
            let expr = DurationExpr::Paren { expr: Box::new(expr), span };
            Parsing { expr, height: inner.height + 1 }
        }
    }
}

fn to_duration(expr: DurationExpr) -> Duration {
    match expr {
        DurationExpr::Number(number) => {
            Duration { ms: Duration::ms_from_seconds(number.value), expr: None }
        }
        expr => Duration { ms: 0, expr: Some(Box::new(expr)) },
    }
}

fn sign_of(token: Token<'_>) -> Option<UnaryOp> {
    match token.kind {
        TokenKind::Operator(BinaryOp::Add) => Some(UnaryOp::Plus),
        TokenKind::Operator(BinaryOp::Sub) => Some(UnaryOp::Minus),
        _ => None,
    }
}

fn operator(kind: TokenKind) -> Option<(DurationOp, u8)> {
    let TokenKind::Operator(op) = kind else { return None };
    let duration_op = match op {
        BinaryOp::Add => DurationOp::Add,
        BinaryOp::Sub => DurationOp::Sub,
        BinaryOp::Mul => DurationOp::Mul,
        BinaryOp::Div => DurationOp::Div,
        BinaryOp::Mod => DurationOp::Mod,
        BinaryOp::Pow => DurationOp::Pow,
        _ => return None,
    };
    Some((duration_op, op.precedence()))
}
