//! Durations: constants, or expressions that only a query's own times turn into milliseconds.

use super::{Expr, Span, UnaryOp};

/// The most seconds, either way: 64 bits of nanoseconds, as upstream keeps durations.
const MAX_SECONDS: f64 = 9_223_372_036.854_776;

/// Which values a duration may have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum AllowedSign {
    /// Offsets go both ways.
    Any,
    /// Ranges and steps must have a length.
    Positive,
}

/// A length of time of a selector or subquery: its range, step or offset.
#[derive(Clone, Debug, Default)]
pub struct Duration {
    /// Milliseconds, negative for an offset into the future. Where `expr` is set it holds only
    /// after [`Expr::resolve_durations`](super::Expr::resolve_durations).
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
        op: UnaryOp,
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

impl DurationError {
    /// As the parser would have said it, had it known: with the place in `query`, its text.
    pub fn in_query(&self, query: &str) -> String {
        format!("{}: parse error: {}", self.span.line_and_column(query), self.text)
    }
}

impl Duration {
    /// Whole milliseconds of `seconds`, by way of whole nanoseconds as upstream; what is too long
    /// saturates.
    pub(crate) fn ms_from_seconds(seconds: f64) -> i64 {
        #[expect(clippy::cast_possible_truncation, reason = "what is too long saturates")]
        let ns = (seconds * 1e9).round() as i64;
        ns / 1_000_000
    }

    /// Sets `ms` from the expression, if there is one.
    fn resolve(
        &mut self,
        context: &DurationContext,
        sign: AllowedSign,
    ) -> Result<(), DurationError> {
        let Some(expr) = &self.expr else { return Ok(()) };
        let error = |text: &str| Err(DurationError { span: expr.span(), text: text.to_owned() });
        let seconds = expr.seconds(context)?;
        if sign == AllowedSign::Positive && (seconds.is_nan() || seconds <= 0.0) {
            return error("duration must be greater than 0");
        }
        if !(-MAX_SECONDS..=MAX_SECONDS).contains(&seconds) {
            return error("duration is out of range");
        }
        #[expect(clippy::cast_possible_truncation, reason = "checked to be in range")]
        let ms = (seconds * 1000.0) as i64;
        if sign == AllowedSign::Positive && ms <= 0 {
            return error("duration must be greater than 0");
        }
        self.ms = ms;
        Ok(())
    }
}

impl Expr {
    /// Computes the duration expressions of all selectors and subqueries for a query: afterwards
    /// the `ms` of every [`Duration`] holds. May be called again for another query.
    pub fn resolve_durations(&mut self, context: &DurationContext) -> Result<(), DurationError> {
        let mut open = vec![self];
        while let Some(expr) = open.pop() {
            match expr {
                Self::Vector(selector) => {
                    selector.offset.resolve(context, AllowedSign::Any)?;
                }
                Self::Matrix(matrix) => {
                    matrix.selector.offset.resolve(context, AllowedSign::Any)?;
                    matrix.range.resolve(context, AllowedSign::Positive)?;
                }
                Self::Subquery(subquery) => {
                    subquery.offset.resolve(context, AllowedSign::Any)?;
                    if let Some(step) = &mut subquery.step {
                        step.resolve(context, AllowedSign::Positive)?;
                    }
                    subquery.range.resolve(context, AllowedSign::Positive)?;
                    open.push(&mut subquery.expr);
                }
                other => open.extend(other.children_mut().into_iter().rev()),
            }
        }
        Ok(())
    }
}

impl DurationExpr {
    fn seconds(&self, context: &DurationContext) -> Result<f64, DurationError> {
        Ok(match self {
            Self::Number(number) => number.value,
            Self::Step(_) => ms_to_seconds(context.step_ms),
            Self::Range(_) => ms_to_seconds(context.end_ms.saturating_sub(context.start_ms)),
            Self::Paren { expr, .. } | Self::Unary { op: UnaryOp::Plus, expr, .. } => {
                expr.seconds(context)?
            }
            Self::Unary { op: UnaryOp::Minus, expr, .. } => -expr.seconds(context)?,
            Self::Binary { op, lhs, rhs, span } => {
                let (lhs, rhs) = (lhs.seconds(context)?, rhs.seconds(context)?);
                let error = |text: &str| Err(DurationError { span: *span, text: text.to_owned() });
                match op {
                    DurationOp::Add => lhs + rhs,
                    DurationOp::Sub => lhs - rhs,
                    DurationOp::Mul => lhs * rhs,
                    DurationOp::Div if rhs == 0.0 => return error("division by zero"),
                    DurationOp::Div => lhs / rhs,
                    DurationOp::Mod if rhs == 0.0 => return error("modulo by zero"),
                    DurationOp::Mod => lhs % rhs,
                    DurationOp::Pow => lhs.powf(rhs),
                    // Neither operand is NaN without the result being out of range.
                    DurationOp::MinOf => lhs.min(rhs),
                    DurationOp::MaxOf => lhs.max(rhs),
                }
            }
        })
    }

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

#[expect(clippy::cast_precision_loss, reason = "times of queries are far below 2^53")]
fn ms_to_seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}
