//! Writes an expression over several lines where one would be too long, as `format_query` of
//! Prometheus' API does.

use std::fmt::{self, Write};

use super::{write_aggregate_head, write_operator, write_subquery_suffix};
use crate::ast::Expr;

/// Longer expressions are split.
const MAX_LINE: usize = 100;

/// What lies deeper is not split. A chain of operators is as deep as it is long and each level is
/// indented further, so without an end to it 60 KiB of `a + a + …` would become a gigabyte of
/// spaces.
const MAX_LEVEL: usize = 200;

/// The expression, split into lines of at most 100 bytes where that is possible. Each level of what
/// is split is indented by two spaces.
pub fn pretty(expr: &Expr) -> String {
    let mut out = String::new();
    write_pretty(&mut out, expr, 0);
    out
}

fn write_pretty(out: &mut String, expr: &Expr, level: usize) {
    if !is_split(expr) || level >= MAX_LEVEL {
        return write_line(out, expr, &expr.to_string(), level);
    }
    if let Some(line) = short_line(expr) {
        return write_line(out, expr, &line, level);
    }
    match expr {
        Expr::Aggregate(aggregate) => {
            indent(out, level);
            write_aggregate_head(out, aggregate).expect("a String takes all");
            out.push_str("(\n");
            if let Some(param) = &aggregate.param {
                write_pretty(out, param, level + 1);
                out.push_str(",\n");
            }
            write_pretty(out, &aggregate.expr, level + 1);
            close(out, level);
        }
        Expr::Binary(binary) => {
            write_pretty(out, &binary.lhs, level + 1);
            out.push('\n');
            indent(out, level);
            write_operator(out, binary).expect("a String takes all");
            out.push('\n');
            write_pretty(out, &binary.rhs, level + 1);
        }
        Expr::Call(call) => {
            indent(out, level);
            out.push_str(call.function.name());
            out.push_str("(\n");
            for (index, arg) in call.args.iter().enumerate() {
                out.push_str(if index > 0 { ",\n" } else { "" });
                write_pretty(out, arg, level + 1);
            }
            close(out, level);
        }
        Expr::Paren(paren) => {
            indent(out, level);
            out.push_str("(\n");
            write_pretty(out, &paren.expr, level + 1);
            close(out, level);
        }
        Expr::Subquery(subquery) => {
            write_pretty(out, &subquery.expr, level);
            write_subquery_suffix(out, subquery).expect("a String takes all");
        }
        Expr::Unary(unary) => {
            let mut operand = String::new();
            write_pretty(&mut operand, &unary.expr, level);
            indent(out, level);
            out.push_str(&unary.op.to_string());
            out.push_str(operand.trim());
        }
        Expr::Number(_) | Expr::String(_) | Expr::Vector(_) | Expr::Matrix(_) => {
            unreachable!("these are not split")
        }
    }
}

fn write_line(out: &mut String, expr: &Expr, line: &str, level: usize) {
    // Upstream forgets the indentation of a subquery that needs no split.
    if !matches!(expr, Expr::Subquery(_)) {
        indent(out, level);
    }
    out.push_str(line);
}

/// The expression on one line, if that is not too long.
fn short_line(expr: &Expr) -> Option<String> {
    // Each link of a chain is at least four bytes, so a long one need not be walked to its start.
    let mut first = expr;
    for _ in 0..MAX_LINE / 4 {
        let Expr::Binary(binary) = first else { break };
        first = &binary.lhs;
    }
    if matches!(first, Expr::Binary(_)) {
        return None;
    }
    let mut line = Line(String::new());
    write!(line, "{expr}").is_ok().then_some(line.0)
}

/// Takes what fits a line. Printing stops where it is full, so that asking costs no more than a
/// line does.
struct Line(String);

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.push_str(text);
        if self.0.len() > MAX_LINE { Err(fmt::Error) } else { Ok(()) }
    }
}

fn is_split(expr: &Expr) -> bool {
    !matches!(expr, Expr::Number(_) | Expr::String(_) | Expr::Vector(_) | Expr::Matrix(_))
}

fn close(out: &mut String, level: usize) {
    out.push('\n');
    indent(out, level);
    out.push(')');
}

fn indent(out: &mut String, level: usize) {
    for _ in 0..level {
        out.push_str("  ");
    }
}
