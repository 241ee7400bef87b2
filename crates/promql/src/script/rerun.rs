//! The other forms in which a query of one time must give the same answer.

use crate::ast::{At, Expr};

/// The query with everything that it selects pinned to `time_ms`, printed; `None` if a function in
/// it asks for the time, so that it may answer differently at another.
pub(super) fn pinned(expr: &Expr, time_ms: i64) -> Option<String> {
    let mut is_safe = true;
    expr.visit(|expr| {
        if let Expr::Call(call) = expr {
            is_safe &= call.function.is_at_safe();
        }
    });
    if !is_safe {
        return None;
    }
    let mut pinned = expr.clone();
    let mut open = vec![&mut pinned];
    while let Some(expr) = open.pop() {
        match expr {
            Expr::Vector(selector) => pin(&mut selector.at, time_ms),
            Expr::Matrix(matrix) => pin(&mut matrix.selector.at, time_ms),
            // What is inside has its times from the subquery.
            Expr::Subquery(subquery) => pin(&mut subquery.at, time_ms),
            _ => open.extend(expr.children_mut()),
        }
    }
    Some(pinned.to_string())
}

fn pin(at: &mut Option<At>, time_ms: i64) {
    if !matches!(at, Some(At::Timestamp(_))) {
        *at = Some(At::Timestamp(time_ms));
    }
}

/// The times at which a pinned query is asked.
pub(super) fn times(time_ms: i64) -> Vec<i64> {
    if time_ms == 0 {
        return vec![-1000, 0, 1000];
    }
    vec![-10 * time_ms, 0, time_ms / 5, time_ms, 10 * time_ms]
}
