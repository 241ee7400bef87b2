//! The sort functions. They matter to instant queries only: a range query's answer is in the order
//! of the labels.

use std::cmp::Ordering;

use super::column::{Row, Vector, is_absent};
use super::error::EvalError;
use super::evaluator::Evaluator;
use super::label_functions::text_of;
use super::quantile::nan_first;
use super::steps::Steps;
use crate::annotations::{Annotation, Annotations};
use crate::ast::{Call, Expr};
use crate::functions::Function;

impl Evaluator<'_> {
    /// Evaluates a sort function.
    pub fn sort(
        &self,
        call: &Call,
        steps: Steps,
        notes: &mut Annotations,
    ) -> Result<Vector, EvalError> {
        let mut vector = self.vector(&call.args[0], steps, notes)?;
        if steps.count > 1 {
            notes.add(&Annotation::SortIneffective, call.span);
        }
        match call.function {
            Function::Sort | Function::SortDesc => {
                for row in &mut vector.rows {
                    row.histograms = None;
                }
                vector.rows.retain(|row| !row.is_empty());
                if steps.count == 1 {
                    let descends = call.function == Function::SortDesc;
                    vector.rows.sort_by(|a, b| by_value(a.values[0], b.values[0], descends));
                }
            }
            _ => {
                let names = label_names(&call.args[1..]);
                vector.rows.sort_by(|a, b| by_labels(a, b, &names));
                if call.function == Function::SortByLabelDesc {
                    vector.rows.reverse();
                }
            }
        }
        Ok(vector)
    }
}

/// NaN last, whichever way.
fn by_value(a: f64, b: f64, descends: bool) -> Ordering {
    debug_assert!(!is_absent(a) && !is_absent(b), "rows without a value are gone");
    match (a.is_nan(), b.is_nan()) {
        (false, false) if descends => nan_first(b, a),
        (false, false) => nan_first(a, b),
        (a_is_nan, b_is_nan) => a_is_nan.cmp(&b_is_nan),
    }
}

/// The labels to sort by; what is no text names none.
fn label_names(args: &[Expr]) -> Vec<&str> {
    args.iter().filter_map(text_of).collect()
}

fn by_labels(a: &Row, b: &Row, names: &[&str]) -> Ordering {
    for name in names {
        let value = |row: &Row| row.labels.value(name).unwrap_or_default().to_owned();
        match natural(&value(a), &value(b)) {
            Ordering::Equal => {}
            unequal => return unequal,
        }
    }
    a.labels.cmp(&b.labels)
}

/// The order in which runs of digits count as numbers: `a9` before `a10`.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        match (a.is_empty(), b.is_empty()) {
            (true, true) => return Ordering::Equal,
            (a_is_empty, b_is_empty) if a_is_empty || b_is_empty => {
                return b_is_empty.cmp(&a_is_empty);
            }
            _ => {}
        }
        let (run_a, rest_a) = a.split_at(run_len(a));
        let (run_b, rest_b) = b.split_at(run_len(b));
        let order = match (run_a.parse::<i64>(), run_b.parse::<i64>()) {
            (Ok(number_a), Ok(number_b)) => number_a.cmp(&number_b),
            _ => run_a.cmp(run_b),
        };
        if order != Ordering::Equal {
            return order;
        }
        (a, b) = (rest_a, rest_b);
    }
}

/// Length of the run of digits, or of anything else, that a text starts with.
fn run_len(text: &str) -> usize {
    let is_digits = text.as_bytes()[0].is_ascii_digit();
    text.bytes().position(|b| b.is_ascii_digit() != is_digits).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_numbers() {
        let mut names = ["4m1000", "4m5", "4m600", "a", "", "10", "9"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["", "4m5", "4m600", "4m1000", "9", "10", "a"]);
    }
}
