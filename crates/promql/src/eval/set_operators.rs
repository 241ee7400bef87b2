//! `and`, `or` and `unless`.

use super::column::{Row, Vector};
use super::error::EvalError;
use super::evaluator::Evaluator;
use super::grouping::{GroupNumbers, Grouping};
use super::same_labels;
use super::steps::Steps;
use crate::ast::{Binary, BinaryOp};

impl Evaluator<'_> {
    /// Evaluates a set operator.
    pub fn set_operation(
        &self,
        binary: &Binary,
        mut left: Vector,
        mut right: Vector,
        steps: Steps,
    ) -> Result<Vector, EvalError> {
        let matching = binary.matching.as_ref().expect("both operands are vectors");
        let grouping = Grouping::of_matching(matching);
        let mut numbers = GroupNumbers::default();
        let mut groups_of = |rows: &[Row]| -> Vec<usize> {
            let number = |row: &Row| numbers.number(|key| grouping.key(&row.labels, false, key)).0;
            rows.iter().map(number).collect()
        };
        let (left_groups, right_groups) = (groups_of(&left.rows), groups_of(&right.rows));
        let groups = numbers.len();
        if binary.op == BinaryOp::Or {
            let on_left = presence(&left.rows, &left_groups, groups, steps);
            keep(&mut right.rows, &right_groups, |group, step| !on_left[group][step]);
            left.rows.append(&mut right.rows);
            same_labels::merge(&mut left.rows)?;
            return self.hold(left.rows, steps);
        }
        let on_right = presence(&right.rows, &right_groups, groups, steps);
        let wanted = binary.op == BinaryOp::And;
        keep(&mut left.rows, &left_groups, |group, step| on_right[group][step] == wanted);
        Ok(left)
    }
}

/// At which steps each group has a sample.
fn presence(rows: &[Row], groups_of: &[usize], groups: usize, steps: Steps) -> Vec<Vec<bool>> {
    let mut present = vec![vec![false; steps.count]; groups];
    for (row, group) in rows.iter().zip(groups_of) {
        for (step, present) in present[*group].iter_mut().enumerate() {
            *present |= row.has_sample(step);
        }
    }
    present
}

/// Removes the samples that `is_kept` does not want, and the rows that then have none.
fn keep(rows: &mut Vec<Row>, groups_of: &[usize], is_kept: impl Fn(usize, usize) -> bool) {
    for (row, group) in rows.iter_mut().zip(groups_of) {
        for step in 0..row.values.len() {
            if !is_kept(*group, step) {
                row.clear(step);
            }
        }
        row.settle_histograms();
    }
    rows.retain(|row| !row.is_empty());
}
