//! `absent` and `absent_over_time`.

use rangekeeper_model::{Labels, LabelsBuilder, METRIC_NAME, MatchOp, Matcher};

use super::column::{ABSENT, Row, Vector};
use super::error::EvalError;
use super::evaluator::Evaluator;
use super::pipeline::is_pipeline;
use super::steps::Steps;
use crate::annotations::Annotations;
use crate::ast::{Call, Expr};
use crate::functions::Function;

impl Evaluator<'_> {
    /// One series where there is none: 1 at each step at which the argument has no sample.
    pub fn absent(
        &self,
        call: &Call,
        steps: Steps,
        notes: &mut Annotations,
    ) -> Result<Vector, EvalError> {
        let arg = call.args[0].without_parens();
        let mut present = vec![false; steps.count];
        let pipeline = if call.function == Function::AbsentOverTime {
            Some(self.range_pipeline(call, steps, notes)?)
        } else if is_pipeline(arg) {
            Some(self.pipeline(arg, steps, notes)?)
        } else {
            None
        };
        if let Some(pipeline) = pipeline {
            let parts = pipeline.fold(self, |pipeline, range, worker| {
                let mut present = vec![false; steps.count];
                for index in range {
                    if pipeline.make(self, index, worker)? {
                        mark(&mut present, &worker.row);
                    }
                }
                Ok(present)
            })?;
            for (part, part_notes) in parts {
                notes.merge(part_notes);
                present.iter_mut().zip(part).for_each(|(all, part)| *all |= part);
            }
        } else {
            let vector = self.vector(arg, steps, notes)?;
            vector.rows.iter().for_each(|row| mark(&mut present, row));
        }
        let values = present.iter().map(|present| if *present { ABSENT } else { 1.0 }).collect();
        let row = Row::of_values(labels_of_absence(arg), values);
        self.hold(if row.is_empty() { Vec::new() } else { vec![row] }, steps)
    }
}

fn mark(present: &mut [bool], row: &Row) {
    for (step, present) in present.iter_mut().enumerate() {
        *present |= row.has_sample(step);
    }
}

/// The labels that a selector's series would surely have: those that one matcher asks to be equal
/// to something.
fn labels_of_absence(expr: &Expr) -> Labels {
    let matchers: &[Matcher] = match expr {
        Expr::Vector(selector) => &selector.matchers,
        Expr::Matrix(matrix) => &matrix.selector.matchers,
        _ => &[],
    };
    let mut labels = LabelsBuilder::new();
    for matcher in matchers.iter().filter(|matcher| matcher.name() != METRIC_NAME) {
        let is_only = matchers.iter().filter(|other| other.name() == matcher.name()).count() == 1;
        if is_only && matcher.op() == MatchOp::Equal {
            labels.set(matcher.name(), matcher.value());
        }
    }
    labels.build()
}
