//! Binary and unary operators by precedence, and the matching modifiers.

use super::{Context, NO_CONTEXT, Parsed, Parser};
use crate::ast::{
    Binary, BinaryOp, Cardinality, Expr, NumberLiteral, Unary, UnaryOp, ValueType, VectorMatching,
};
use crate::lexer::{Keyword, TokenKind};

/// What stands between an operator and its right operand.
struct Modifiers {
    return_bool: bool,
    matching: VectorMatching,
}

impl Parser<'_> {
    /// An expression of operators that bind at least as strongly as `min_precedence`.
    pub(super) fn expr(&mut self, min_precedence: u8) -> Parsed<Expr> {
        self.deeper(|parser| parser.chain(min_precedence))
    }

    fn chain(&mut self, min_precedence: u8) -> Parsed<Expr> {
        let mut lhs = self.signed()?;
        while let TokenKind::Operator(op) = self.peek()?.kind {
            let precedence = op.precedence();
            if precedence < min_precedence {
                break;
            }
            self.take();
            let modifiers = self.modifiers()?;
            // `^` alone associates to the right.
            let right = if op == BinaryOp::Pow { precedence } else { precedence + 1 };
            let rhs = self.expr(right)?;
            lhs = self.binary(op, lhs, rhs, modifiers);
        }
        Ok(lhs)
    }

    /// An operand with the signs before it, which bind as multiplication does.
    fn signed(&mut self) -> Parsed<Expr> {
        let token = self.peek()?;
        let op = match token.kind {
            TokenKind::Operator(BinaryOp::Add) => UnaryOp::Plus,
            TokenKind::Operator(BinaryOp::Sub) => UnaryOp::Minus,
            _ => return self.operand(),
        };
        self.take();
        let expr = self.expr(BinaryOp::Pow.precedence())?;
        let span = token.span().to(expr.span());
        Ok(match expr {
            Expr::Number(number) => {
                let value = if op == UnaryOp::Minus { -number.value } else { number.value };
                Expr::Number(NumberLiteral { value, span, ..number })
            }
            expr => Expr::Unary(Box::new(Unary { op, expr, span })),
        })
    }

    fn binary(&mut self, op: BinaryOp, lhs: Expr, rhs: Expr, modifiers: Modifiers) -> Expr {
        let span = lhs.span().to(rhs.span());
        let Modifiers { return_bool, matching } = modifiers;
        let fills = matching.fill_left.is_some() || matching.fill_right.is_some();
        if fills && !self.options.fill_modifiers {
            self.error(span, "binop fill modifiers are experimental and not enabled");
        }
        let both = (lhs.value_type(), rhs.value_type());
        let returns = match both {
            (ValueType::Scalar, ValueType::Scalar) => ValueType::Scalar,
            _ => ValueType::Vector,
        };
        let matching = Some(matching);
        Expr::Binary(Box::new(Binary { op, lhs, rhs, return_bool, matching, returns, span }))
    }

    fn modifiers(&mut self) -> Parsed<Modifiers> {
        let mut matching = VectorMatching {
            card: Cardinality::OneToOne,
            labels: Vec::new(),
            on: false,
            include: Vec::new(),
            fill_left: None,
            fill_right: None,
        };
        let return_bool = self.keyword(Keyword::Bool)?;
        let on = self.keyword(Keyword::On)?;
        if on || self.keyword(Keyword::Ignoring)? {
            matching.on = on;
            matching.labels = self.label_list()?;
            let side = if self.keyword(Keyword::GroupLeft)? {
                Some(Cardinality::ManyToOne)
            } else if self.keyword(Keyword::GroupRight)? {
                Some(Cardinality::OneToMany)
            } else {
                None
            };
            if let Some(card) = side {
                matching.card = card;
                if self.peek()?.kind == TokenKind::LeftParen {
                    matching.include = self.label_list()?;
                }
            }
        }
        self.fills(&mut matching)?;
        Ok(Modifiers { return_bool, matching })
    }

    fn fills(&mut self, matching: &mut VectorMatching) -> Parsed<()> {
        if self.keyword(Keyword::Fill)? {
            let value = self.fill_value()?;
            matching.fill_left = Some(value);
            matching.fill_right = Some(value);
            return Ok(());
        }
        loop {
            let kind = self.peek()?.kind;
            let side = match kind {
                TokenKind::Keyword(Keyword::FillLeft) => &mut matching.fill_left,
                TokenKind::Keyword(Keyword::FillRight) => &mut matching.fill_right,
                _ => return Ok(()),
            };
            if side.is_some() {
                return Err(self.unexpected(NO_CONTEXT));
            }
            self.take();
            *side = Some(self.fill_value()?);
        }
    }

    fn fill_value(&mut self) -> Parsed<f64> {
        self.expect(TokenKind::LeftParen, NO_CONTEXT)?;
        let value = self.signed_number(NO_CONTEXT)?;
        self.expect(TokenKind::RightParen, NO_CONTEXT)?;
        Ok(value)
    }

    /// A number or duration with an optional sign.
    pub(super) fn signed_number(&mut self, context: Context) -> Parsed<f64> {
        let sign = match self.peek()?.kind {
            TokenKind::Operator(BinaryOp::Add) => Some(1.0),
            TokenKind::Operator(BinaryOp::Sub) => Some(-1.0),
            _ => None,
        };
        if sign.is_some() {
            self.take();
        }
        match self.peek()?.kind {
            TokenKind::Number | TokenKind::Duration => {
                let token = self.take();
                Ok(sign.unwrap_or(1.0) * self.number(token).value)
            }
            _ => Err(self.unexpected(context)),
        }
    }

    /// Takes the keyword if it is next.
    pub(super) fn keyword(&mut self, keyword: Keyword) -> Parsed<bool> {
        let is_next = self.peek()?.kind == TokenKind::Keyword(keyword);
        if is_next {
            self.take();
        }
        Ok(is_next)
    }
}
