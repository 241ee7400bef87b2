//! What follows an operand: ranges, subqueries, `offset`, `@`, `anchored` and `smoothed`.

use super::{Context, Parsed, Parser};
use crate::ast::{At, Duration, Expr, MatrixSelector, Span, Subquery};
use crate::lexer::{Keyword, Token, TokenKind};

const RANGES_ONLY: &str = "ranges only allowed for vector selectors";

/// The operand so far.
struct Operand {
    expr: Expr,
    /// Set after a range of something that has none, which is noted. The tree has no node for it;
    /// this is where it stands.
    broken: Option<Span>,
}

/// The parts of a selector or subquery that modifiers set.
struct Modifiable<'e> {
    offset: &'e mut Duration,
    at: &'e mut Option<At>,
    span: &'e mut Span,
}

impl<'a> Parser<'a> {
    /// Takes all that follows `expr` and belongs to it.
    pub(super) fn postfix(&mut self, expr: Expr) -> Parsed<Expr> {
        let mut operand = Operand { expr, broken: None };
        for height in 1.. {
            match self.peek()?.kind {
                TokenKind::LeftBracket => self.brackets(&mut operand)?,
                TokenKind::At => self.at_modifier(&mut operand)?,
                TokenKind::Keyword(Keyword::Offset) => self.offset(&mut operand)?,
                TokenKind::Keyword(Keyword::Anchored) => self.anchored(&mut operand),
                TokenKind::Keyword(Keyword::Smoothed) => self.smoothed(&mut operand),
                _ => break,
            }
            self.check_height(self.depth + height)?;
        }
        Ok(operand.expr)
    }

    fn brackets(&mut self, operand: &mut Operand) -> Parsed<()> {
        let open = self.take();
        let range = self.positive_duration(Context {
            place: "subquery or range selector",
            expected: "number, duration, step(), or range()",
        })?;
        match self.peek()?.kind {
            TokenKind::RightBracket => {
                let close = self.take();
                self.range(operand, range, open, close);
            }
            TokenKind::Colon => {
                self.take();
                self.subquery(operand, range)?;
            }
            _ => {
                let expected = "\":\" or \"]\"";
                return Err(self.unexpected(Context { place: "subquery or range", expected }));
            }
        }
        Ok(())
    }

    fn range(&mut self, operand: &mut Operand, range: Duration, open: Token<'a>, close: Token<'a>) {
        let span = operand.span().to(close.span());
        let brackets = open.span().to(close.span());
        let (Expr::Vector(selector), None) = (&operand.expr, operand.broken) else {
            self.error(brackets, RANGES_ONLY);
            operand.broken = Some(span);
            return;
        };
        let selector = selector.clone();
        if selector.offset.ms != 0 || selector.offset.expr.is_some() {
            self.error(brackets, "no offset modifiers allowed before range");
        } else if selector.at.is_some() {
            self.error(brackets, "no @ modifiers allowed before range");
        }
        operand.expr = Expr::Matrix(MatrixSelector { selector, range, span });
    }

    /// A subquery whose range and colon are already taken.
    fn subquery(&mut self, operand: &mut Operand, range: Duration) -> Parsed<()> {
        const PLACE: &str = "subquery selector";
        let mut step = None;
        if self.peek()?.kind != TokenKind::RightBracket {
            let expected = "number, duration, step(), range(), or \"]\"";
            step = Some(self.positive_duration(Context { place: PLACE, expected })?);
        }
        let expected = "\"]\"";
        let close = self.expect(TokenKind::RightBracket, Context { place: PLACE, expected })?;
        let span = operand.span().to(close.span());
        let expr = std::mem::replace(&mut operand.expr, super::placeholder(span));
        operand.broken = None;
        operand.expr = Expr::Subquery(Box::new(Subquery {
            expr,
            range,
            step,
            offset: Duration::default(),
            at: None,
            span,
        }));
        Ok(())
    }

    fn offset(&mut self, operand: &mut Operand) -> Parsed<()> {
        self.take();
        let duration = self.offset_duration()?;
        let end = self.end;
        let span = operand.span();
        let only = "offset modifier must be preceded by an instant vector selector or range vector \
                    selector or a subquery";
        let Some(parts) = self.modifiable(operand, only) else { return Ok(()) };
        let is_set = parts.offset.ms != 0 || parts.offset.expr.is_some();
        *parts.offset = duration;
        parts.span.end = end;
        if is_set {
            self.error(span, "offset may not be set multiple times");
        }
        Ok(())
    }

    fn at_modifier(&mut self, operand: &mut Operand) -> Parsed<()> {
        self.take();
        let span = operand.span();
        let at = self.at_time(span)?;
        let end = self.end;
        let only = "@ modifier must be preceded by an instant vector selector or range vector \
                    selector or a subquery";
        let Some(parts) = self.modifiable(operand, only) else { return Ok(()) };
        if parts.at.is_some() {
            self.error(span, "@ <timestamp> may not be set multiple times");
            return Ok(());
        }
        *parts.at = Some(at);
        parts.span.end = end;
        Ok(())
    }

    /// The time after an `@`; `span` is what the modifier belongs to.
    fn at_time(&mut self, span: Span) -> Parsed<At> {
        let context = Context { place: "@", expected: "timestamp" };
        let at = match self.peek()?.kind {
            TokenKind::Start => At::Start,
            TokenKind::EndWord => At::End,
            _ => {
                let seconds = self.signed_number(context)?;
                // The bounds are those of 64 bits, which the float nearest to them lies beyond.
                let bound = 2_f64.powi(63);
                if !(-bound < seconds && seconds < bound) {
                    let seconds = match seconds {
                        s if s.is_nan() => "NaN".to_owned(),
                        s if s.is_infinite() => if s > 0.0 { "+Inf" } else { "-Inf" }.to_owned(),
                        s => format!("{s:.6}"),
                    };
                    let text = format!("timestamp out of bounds for @ modifier: {seconds}");
                    self.error(span, text);
                }
                #[expect(clippy::cast_possible_truncation, reason = "what is too far saturates")]
                return Ok(At::Timestamp((seconds * 1000.0).round() as i64));
            }
        };
        self.take();
        self.expect(TokenKind::LeftParen, context)?;
        self.expect(TokenKind::RightParen, context)?;
        Ok(at)
    }

    /// What the modifiers of the operand are kept in; notes an error if it takes none.
    fn modifiable<'e>(&mut self, operand: &'e mut Operand, only: &str) -> Option<Modifiable<'e>> {
        if let Some(span) = operand.broken {
            self.error(span, RANGES_ONLY);
            return None;
        }
        match &mut operand.expr {
            Expr::Vector(v) => {
                Some(Modifiable { offset: &mut v.offset, at: &mut v.at, span: &mut v.span })
            }
            Expr::Matrix(m) => Some(Modifiable {
                offset: &mut m.selector.offset,
                at: &mut m.selector.at,
                span: &mut m.span,
            }),
            Expr::Subquery(s) => {
                Some(Modifiable { offset: &mut s.offset, at: &mut s.at, span: &mut s.span })
            }
            other => {
                let span = other.span();
                self.error(span, only);
                None
            }
        }
    }

    fn anchored(&mut self, operand: &mut Operand) {
        self.take();
        self.extended(operand, "anchored", |selector| {
            selector.anchored = true;
            selector.smoothed
        });
    }

    fn smoothed(&mut self, operand: &mut Operand) {
        self.take();
        self.extended(operand, "smoothed", |selector| {
            selector.smoothed = true;
            selector.anchored
        });
    }

    /// Sets one of the two flags; `set` says whether the other one is set too.
    fn extended(
        &mut self,
        operand: &mut Operand,
        modifier: &str,
        set: impl FnOnce(&mut crate::ast::VectorSelector) -> bool,
    ) {
        let span = operand.span();
        if !self.options.extended_range_selectors {
            self.error(span, format!("{modifier} modifier is experimental and not enabled"));
            return;
        }
        if operand.broken.is_some() {
            return;
        }
        let has_both = match &mut operand.expr {
            Expr::Vector(selector) => set(selector),
            Expr::Matrix(matrix) => set(&mut matrix.selector),
            Expr::Subquery(_) => {
                let text = format!("{modifier} modifier is not supported for subqueries");
                return self.error(span, text);
            }
            _ => return self.error(span, format!("{modifier} modifier not implemented")),
        };
        if has_both {
            self.error(span, "anchored and smoothed modifiers cannot be used together");
        }
    }
}

impl Operand {
    fn span(&self) -> Span {
        self.broken.unwrap_or_else(|| self.expr.span())
    }
}
