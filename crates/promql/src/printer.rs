//! Writes an expression as Prometheus does: one line, canonical spaces, matchers sorted.

mod number;
mod pretty;
mod quote;

use std::fmt::{self, Write};

use crate::annotations::go_float;
use crate::ast::{
    Aggregate, At, Binary, Cardinality, Duration, DurationExpr, DurationOp, Expr, MatrixSelector,
    Subquery, UnaryOp, VectorMatching, VectorSelector,
};

pub(crate) use number::duration_text;
pub use pretty::pretty;
pub(crate) use quote::quote_bytes;

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) if number.is_duration => {
                f.write_str(&number::signed_duration(number.value))
            }
            Self::Number(number) => f.write_str(&number::plain(number.value)),
            Self::String(string) => f.write_str(&quote_bytes(&string.bytes)),
            Self::Vector(selector) => {
                write_series(f, selector)?;
                write_at(f, selector.at)?;
                write_extended(f, selector)?;
                write_offset(f, &selector.offset)
            }
            Self::Matrix(matrix) => write_matrix(f, matrix),
            Self::Subquery(subquery) => {
                write!(f, "{}", subquery.expr)?;
                write_subquery_suffix(f, subquery)
            }
            Self::Call(call) => {
                write!(f, "{}(", call.function)?;
                for (index, arg) in call.args.iter().enumerate() {
                    write!(f, "{}{arg}", if index > 0 { ", " } else { "" })?;
                }
                f.write_char(')')
            }
            Self::Aggregate(aggregate) => {
                write_aggregate_head(f, aggregate)?;
                f.write_char('(')?;
                if let Some(param) = &aggregate.param {
                    write!(f, "{param}, ")?;
                }
                write!(f, "{})", aggregate.expr)
            }
            Self::Binary(binary) => {
                let (first, links) = binary.chain();
                write!(f, "{first}")?;
                for link in links {
                    f.write_char(' ')?;
                    write_operator(f, link)?;
                    write!(f, " {}", link.rhs)?;
                }
                Ok(())
            }
            Self::Unary(unary) => write!(f, "{}{}", unary.op, unary.expr),
            Self::Paren(paren) => write!(f, "({})", paren.expr),
        }
    }
}

impl fmt::Display for DurationExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{}", Expr::Number(*number)),
            Self::Step(_) => f.write_str("step()"),
            Self::Range(_) => f.write_str("range()"),
            Self::Unary { op: UnaryOp::Minus, expr, .. } => write!(f, "-{expr}"),
            Self::Unary { op: UnaryOp::Plus, expr, .. } => write!(f, "{expr}"),
            Self::Binary { op: DurationOp::MinOf, lhs, rhs, .. } => {
                write!(f, "min_of({lhs}, {rhs})")
            }
            Self::Binary { op: DurationOp::MaxOf, lhs, rhs, .. } => {
                write!(f, "max_of({lhs}, {rhs})")
            }
            Self::Binary { op, lhs, rhs, .. } => write!(f, "{lhs} {} {rhs}", op.symbol()),
            Self::Paren { expr, .. } => write!(f, "({expr})"),
        }
    }
}

impl DurationOp {
    fn symbol(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Pow => "^",
            Self::MinOf => "min_of",
            Self::MaxOf => "max_of",
        }
    }
}

/// The name and matchers, without modifiers.
fn write_series(f: &mut impl Write, selector: &VectorSelector) -> fmt::Result {
    let name = selector.name.as_deref();
    f.write_str(name.unwrap_or_default())?;
    // The matcher that stands for the name comes last.
    let count = selector.matchers.len() - usize::from(name.is_some());
    let mut matchers: Vec<String> =
        selector.matchers[..count].iter().map(ToString::to_string).collect();
    matchers.sort_unstable();
    match (matchers.is_empty(), name) {
        (false, _) => write!(f, "{{{}}}", matchers.join(",")),
        // The second argument of `info` may ask for nothing; upstream prints nothing, which does
        // not parse.
        (true, None) => f.write_str("{}"),
        (true, Some(_)) => Ok(()),
    }
}

fn write_matrix(f: &mut impl Write, matrix: &MatrixSelector) -> fmt::Result {
    write_series(f, &matrix.selector)?;
    write!(f, "[{}]", duration(&matrix.range))?;
    write_extended(f, &matrix.selector)?;
    write_at(f, matrix.selector.at)?;
    write_offset(f, &matrix.selector.offset)
}

fn write_subquery_suffix(f: &mut impl Write, subquery: &Subquery) -> fmt::Result {
    let step = subquery.step.as_ref().map(duration).unwrap_or_default();
    write!(f, "[{}:{step}]", duration(&subquery.range))?;
    write_at(f, subquery.at)?;
    write_offset(f, &subquery.offset)
}

fn write_extended(f: &mut impl Write, selector: &VectorSelector) -> fmt::Result {
    f.write_str(match (selector.anchored, selector.smoothed) {
        (true, _) => " anchored",
        (false, true) => " smoothed",
        (false, false) => "",
    })
}

fn write_at(f: &mut impl Write, at: Option<At>) -> fmt::Result {
    match at {
        None => Ok(()),
        Some(At::Start) => f.write_str(" @ start()"),
        Some(At::End) => f.write_str(" @ end()"),
        #[expect(clippy::cast_precision_loss, reason = "printed as upstream does, from a float")]
        Some(At::Timestamp(ms)) => write!(f, " @ {:.3}", ms as f64 / 1000.0),
    }
}

fn write_offset(f: &mut impl Write, offset: &Duration) -> fmt::Result {
    if offset.expr.is_none() && offset.ms == 0 {
        return Ok(());
    }
    let text = duration(offset);
    // An offset goes on behind its first operand only if that is in parentheses.
    let is_chain = matches!(
        offset.expr.as_deref(),
        Some(DurationExpr::Binary { op, .. })
            if !matches!(op, DurationOp::MinOf | DurationOp::MaxOf)
    );
    if is_chain && !text.starts_with('(') {
        write!(f, " offset ({text})")
    } else {
        write!(f, " offset {text}")
    }
}

fn duration(duration: &Duration) -> String {
    match &duration.expr {
        Some(expr) => expr.to_string(),
        None if duration.ms < 0 => format!("-{}", duration_text(duration.ms.unsigned_abs())),
        None => duration_text(duration.ms.unsigned_abs()),
    }
}

fn write_aggregate_head(f: &mut impl Write, aggregate: &Aggregate) -> fmt::Result {
    f.write_str(aggregate.op.as_str())?;
    if aggregate.without || !aggregate.grouping.is_empty() {
        let word = if aggregate.without { "without" } else { "by" };
        write!(f, " {word} ({}) ", labels(&aggregate.grouping))?;
    }
    Ok(())
}

/// The operator with its modifiers.
fn write_operator(f: &mut impl Write, binary: &Binary) -> fmt::Result {
    f.write_str(binary.op.as_str())?;
    if binary.return_bool {
        f.write_str(" bool")?;
    }
    match &binary.matching {
        Some(matching) => write_matching(f, matching),
        None => Ok(()),
    }
}

fn write_matching(f: &mut impl Write, matching: &VectorMatching) -> fmt::Result {
    let side = match matching.card {
        Cardinality::ManyToOne => Some("left"),
        Cardinality::OneToMany => Some("right"),
        Cardinality::OneToOne | Cardinality::ManyToMany => None,
    };
    if matching.on || !matching.labels.is_empty() || side.is_some() {
        let word = if matching.on { "on" } else { "ignoring" };
        write!(f, " {word} ({})", labels(&matching.labels))?;
    }
    if let Some(side) = side {
        write!(f, " group_{side} ({})", labels(&matching.include))?;
    }
    let same = |left: f64, right: f64| {
        left.to_bits() == right.to_bits() || (left.is_nan() && right.is_nan())
    };
    match (matching.fill_left, matching.fill_right) {
        (Some(left), Some(right)) if same(left, right) => write!(f, " fill ({})", go_float(left)),
        (left, right) => {
            if let Some(left) = left {
                write!(f, " fill_left ({})", go_float(left))?;
            }
            if let Some(right) = right {
                write!(f, " fill_right ({})", go_float(right))?;
            }
            Ok(())
        }
    }
}

fn labels(names: &[String]) -> String {
    let quoted = names.iter().map(|name| quote::label_name(name));
    quoted.collect::<Vec<_>>().join(", ")
}
