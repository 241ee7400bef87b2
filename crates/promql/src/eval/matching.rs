//! Operators between two vectors whose series have to find each other.
//!
//! Series meet whose labels agree on what the matching compares. One side may have several of an
//! agreement (the *many* side), the other one (the *one* side): at each step, so a series may end
//! where another of the same labels begins.

use rangekeeper_model::{Labels, LabelsBuilder, METRIC_NAME};

use super::binary;
use super::column::{ABSENT, Row, Vector, is_absent, is_metadata, without_metadata};
use super::error::EvalError;
use super::evaluator::Evaluator;
use super::grouping::{GroupNumbers, Grouping};
use super::same_labels;
use super::steps::Steps;
use crate::annotations::{Annotation, Annotations};
use crate::ast::{Binary, BinaryOp, Cardinality, VectorMatching};

/// One operation between two vectors.
struct Match<'a> {
    binary: &'a Binary,
    matching: &'a VectorMatching,
    steps: Steps,
    many: &'a [Row],
    one: &'a [Row],
    /// Rows of each side by what they agree on.
    groups: Vec<Group>,
    delayed_name_removal: bool,
}

/// The rows that agree, by their index.
#[derive(Default)]
struct Group {
    many: Vec<usize>,
    one: Vec<usize>,
}

impl Evaluator<'_> {
    /// Evaluates an operator between two vectors that is no set operator.
    pub fn matched(
        &self,
        binary: &Binary,
        left: &Vector,
        right: &Vector,
        steps: Steps,
        notes: &mut Annotations,
    ) -> Result<Vector, EvalError> {
        let matching = binary.matching.as_ref().expect("both operands are vectors");
        let (many, one) = match matching.card {
            Cardinality::OneToMany => (&right.rows, &left.rows),
            _ => (&left.rows, &right.rows),
        };
        let operation = Match {
            binary,
            matching,
            steps,
            many,
            one,
            groups: agreements(matching, many, one),
            delayed_name_removal: self.options.delayed_name_removal,
        };
        operation.refuse_many_to_many()?;
        let mut rows = Vec::new();
        for group in &operation.groups {
            let mut results = Vec::new();
            operation.match_group(group, notes, |row| {
                self.check()?;
                let held = rows.len() + results.len() + 1;
                self.budget.pass(held as u64 * steps.count as u64)?;
                // What never met is nothing, however many pairs there are.
                if !row.is_empty() {
                    results.push(row);
                }
                Ok(())
            })?;
            if matching.card == Cardinality::OneToOne {
                refuse_many_to_one(&results, steps)?;
            } else if same_labels::merge(&mut results).is_err() {
                return Err(EvalError::GroupingNotUnique);
            }
            rows.append(&mut results);
        }
        same_labels::merge(&mut rows)?;
        self.hold(rows, steps)
    }
}

/// The rows of both sides by what they agree on.
fn agreements(matching: &VectorMatching, many: &[Row], one: &[Row]) -> Vec<Group> {
    let grouping = Grouping::of_matching(matching);
    let mut numbers = GroupNumbers::default();
    let mut groups: Vec<Group> = Vec::new();
    let mut number = |row: &Row, groups: &mut Vec<Group>| {
        let (number, is_new) = numbers.number(|key| grouping.key(&row.labels, false, key));
        if is_new {
            groups.push(Group::default());
        }
        number
    };
    for (index, row) in many.iter().enumerate() {
        let number = number(row, &mut groups);
        groups[number].many.push(index);
    }
    for (index, row) in one.iter().enumerate() {
        let number = number(row, &mut groups);
        groups[number].one.push(index);
    }
    groups
}

/// An error if at some step two of a group's results are left. Series of the many side that a
/// comparison has sorted out do not count.
fn refuse_many_to_one(results: &[Row], steps: Steps) -> Result<(), EvalError> {
    if results.len() < 2 {
        return Ok(());
    }
    for step in 0..steps.count {
        if results.iter().filter(|row| row.has_sample(step)).nth(1).is_some() {
            return Err(EvalError::ManyToOneNotExplicit);
        }
    }
    Ok(())
}

impl Match<'_> {
    /// An error if at some step two series of the one side agree.
    fn refuse_many_to_many(&self) -> Result<(), EvalError> {
        let fills = self.matching.fill_left.is_some() || self.matching.fill_right.is_some();
        for group in self.groups.iter().filter(|group| group.one.len() > 1) {
            for step in 0..self.steps.count {
                let mut present = group.one.iter().filter(|row| self.one[**row].has_sample(step));
                let (Some(first), Some(second)) = (present.next(), present.next()) else {
                    continue;
                };
                // With nothing on the other side there is nothing to match.
                if fills || self.many.iter().any(|row| row.has_sample(step)) {
                    return Err(self.many_to_many(*first, *second));
                }
            }
        }
        Ok(())
    }

    fn many_to_many(&self, first: usize, second: usize) -> EvalError {
        let labels = |row: usize| self.one[row].labels.to_string();
        let mut both = [labels(first), labels(second)];
        both.sort();
        let [first_labels, second_labels] = both;
        let side = match self.matching.card {
            Cardinality::OneToMany => "left",
            _ => "right",
        };
        EvalError::ManyToMany {
            group: self.agreement(&self.one[first].labels).to_string(),
            side,
            first: first_labels,
            second: second_labels,
        }
    }

    /// Gives the results of the rows that agree to `take`.
    fn match_group(
        &self,
        group: &Group,
        notes: &mut Annotations,
        mut take: impl FnMut(Row) -> Result<(), EvalError>,
    ) -> Result<(), EvalError> {
        for many in group.many.iter().map(|index| &self.many[*index]) {
            for one in group.one.iter().map(|index| &self.one[*index]) {
                let mut row = self.result_row(&many.labels, &one.labels, many.drop_name);
                for step in 0..self.steps.count {
                    row.values[step] = self.of_samples(many, one, step, notes);
                }
                take(row)?;
            }
            if let Some(fill) = self.matching.fill_right {
                let labels = self.agreement(&many.labels);
                let mut row = self.result_row(&many.labels, &labels, many.drop_name);
                for step in 0..self.steps.count {
                    let lacks = !group.one.iter().any(|one| self.one[*one].has_sample(step));
                    if lacks && many.has_float(step) {
                        row.values[step] = self.of_floats(many.values[step], fill, notes);
                    }
                }
                take(row)?;
            }
        }
        let Some(fill) = self.matching.fill_left else { return Ok(()) };
        for one in group.one.iter().map(|index| &self.one[*index]) {
            let labels = self.agreement(&one.labels);
            let mut row = self.result_row(&labels, &one.labels, false);
            for step in 0..self.steps.count {
                let lacks = !group.many.iter().any(|many| self.many[*many].has_sample(step));
                if lacks && one.has_float(step) {
                    row.values[step] = self.of_floats(fill, one.values[step], notes);
                }
            }
            take(row)?;
        }
        Ok(())
    }

    fn of_samples(&self, many: &Row, one: &Row, step: usize, notes: &mut Annotations) -> f64 {
        let (left, right) = (many.values[step], one.values[step]);
        if !is_absent(left) && !is_absent(right) {
            return self.of_floats(left, right, notes);
        }
        if many.has_sample(step) && one.has_sample(step) {
            self.note_kinds(is_absent(left), is_absent(right), notes);
        }
        ABSENT
    }

    /// The result for a value of the many side and one of the one side.
    fn of_floats(&self, many: f64, one: f64, notes: &mut Annotations) -> f64 {
        let (left, right) = match self.matching.card {
            Cardinality::OneToMany => (one, many),
            _ => (many, one),
        };
        let op = self.binary.op;
        if matches!(op, BinaryOp::TrimLower | BinaryOp::TrimUpper) {
            self.note_kinds(false, false, notes);
            return ABSENT;
        }
        if !op.is_comparison() || self.binary.return_bool {
            return binary::of_scalars(op, left, right);
        }
        if binary::compares(op, left, right) { left } else { ABSENT }
    }

    /// Says that the operator does not take samples of these kinds.
    fn note_kinds(&self, many_is_histogram: bool, one_is_histogram: bool, notes: &mut Annotations) {
        let kind = |is_histogram| if is_histogram { "histogram" } else { "float" };
        let (left, right) = match self.matching.card {
            Cardinality::OneToMany => (one_is_histogram, many_is_histogram),
            _ => (many_is_histogram, one_is_histogram),
        };
        let op = self.binary.op;
        let note = Annotation::IncompatibleSamples { op, left: kind(left), right: kind(right) };
        notes.add(&note, self.binary.span);
    }

    /// The labels that a series agrees with others on.
    fn agreement(&self, labels: &Labels) -> Labels {
        let compared = |name: &str| self.matching.labels.iter().any(|label| label == name);
        labels.retain(|name| {
            if self.matching.on { compared(name) } else { !compared(name) && name != METRIC_NAME }
        })
    }

    /// A result without samples, with the labels that it gets.
    fn result_row(&self, many: &Labels, one: &Labels, many_drops_name: bool) -> Row {
        let mut row = Row::absent(self.result_labels(many, one), self.steps);
        if self.binary.return_bool && !self.delayed_name_removal {
            row.labels = without_metadata(&row.labels);
        }
        row.drop_name = self.delayed_name_removal && (self.binary.return_bool || many_drops_name);
        row
    }

    fn result_labels(&self, many: &Labels, one: &Labels) -> Labels {
        let matching = self.matching;
        let one_to_one = matching.card == Cardinality::OneToOne;
        let drops_metadata = binary::changes_metric(self.binary.op);
        let kept = many.retain(|name| {
            let compared = || matching.labels.iter().any(|label| label == name);
            !(drops_metadata && is_metadata(name)) && (!one_to_one || compared() == matching.on)
        });
        if matching.include.is_empty() {
            return kept;
        }
        let mut labels = LabelsBuilder::from_labels(&kept);
        for name in &matching.include {
            labels.set(name, one.value(name).unwrap_or_default());
        }
        labels.build()
    }
}
