//! Durations: constants, or expressions that only a query's own times turn into milliseconds.

use super::Span;

/// A length of time of a selector or subquery: its range, step or offset.
#[derive(Clone, Debug, Default)]
pub struct Duration {
    /// Milliseconds, negative for an offset into the future. Where `expr` is set it holds only after
    /// [`Expr::resolve_durations`](super::Expr::resolve_durations).
    pub ms: i64,
    /// The expression that it is written as, if it is not a constant.
    pub expr: Option<Box<DurationExpr>>,
}

/// An expression whose value is a duration in seconds.
#[derive(Clone, Debug)]
pub enum DurationExpr {
    /// `5m`, `300`
    Number(super::NumberLiteral),
    /// `step()`: the query's step.
    Step(Span),
    /// `range()`: from the query's start to its end.
    Range(Span),
    /// `-x`, `+x`
    Unary {
        /// Which sign.
        op: super::UnaryOp,
        /// What it stands before.
        expr: Box<DurationExpr>,
        /// Where it stands.
        span: Span,
    },
    /// `a + b`, `min_of(a, b)`
    Binary {
        /// How.
        op: DurationOp,
        /// The left operand.
        lhs: Box<DurationExpr>,
        /// The right operand.
        rhs: Box<DurationExpr>,
        /// Where it stands.
        span: Span,
    },
    /// `(x)`
    Paren {
        /// What they hold.
        expr: Box<DurationExpr>,
        /// Where they stand.
        span: Span,
    },
}

/// An operator or function of two durations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DurationOp {
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `%`
    Mod,
    /// `^`
    Pow,
    /// `min_of(a, b)`
    MinOf,
    /// `max_of(a, b)`
    MaxOf,
}

/// The times of a query, which `step()` and `range()` stand for.
#[derive(Clone, Copy, Debug)]
pub struct DurationContext {
    /// Start of the query; an instant query's start and end are its time.
    pub start_ms: i64,
    /// End of the query.
    pub end_ms: i64,
    /// Step of the query; for an instant query what the engine takes for it.
    pub step_ms: i64,
}

/// A duration expression has no usable value for a query.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct DurationError {
    /// The expression or operand.
    pub span: Span,
    /// In Prometheus' words.
    pub text: String,
}

impl DurationExpr {
    /// Where it stands in the text.
    pub fn span(&self) -> Span {
        match self {
            Self::Number(number) => number.span,
            Self::Step(span)
            | Self::Range(span)
            | Self::Unary { span, .. }
            | Self::Binary { span, .. }
            | Self::Paren { span, .. } => *span,
        }
    }
}
