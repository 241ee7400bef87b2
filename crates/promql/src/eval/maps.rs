//! What maps one series to one series, value by value.

use super::binary::{self, ScalarSide};
use super::column::{ABSENT, Row, Vector, is_absent};
use super::dates;
use super::error::EvalError;
use super::evaluator::Evaluator;
use super::math_functions;
use super::same_labels;
use crate::annotations::{Annotation, Annotations};
use crate::ast::{BinaryOp, Span};
use crate::functions::Function;

/// A map over the values of a row. Its scalar operands have one value a step.
#[derive(Debug)]
pub(crate) enum Map {
    /// `-x`
    Negate,
    /// `abs` and its kin.
    Float(fn(f64) -> f64),
    /// `round`
    Round(Vec<f64>),
    /// `clamp` and its kin.
    Clamp {
        /// Lower bounds.
        min: Vec<f64>,
        /// Upper bounds; where one is below its lower bound there is no result.
        max: Vec<f64>,
    },
    /// A date function.
    Date(Function),
    /// An operator with a scalar on one side.
    Scalar(ScalarOperand),
}

/// An operator and its scalar operand.
#[derive(Debug)]
pub(crate) struct ScalarOperand {
    /// The operator.
    pub op: BinaryOp,
    /// The scalar.
    pub scalar: Vec<f64>,
    /// Which side the scalar is on.
    pub side: ScalarSide,
    /// Whether a comparison gives 0 or 1.
    pub return_bool: bool,
    /// Where the operation stands.
    pub span: Span,
}

impl Map {
    /// Whether the value no longer is the metric.
    pub fn drops_name(&self) -> bool {
        match self {
            Self::Scalar(operand) => binary::changes_metric(operand.op) || operand.return_bool,
            _ => true,
        }
    }

    /// Maps a row in place.
    pub fn apply(&self, row: &mut Row, notes: &mut Annotations) {
        match self {
            Self::Negate => each(row, |_, value| -value),
            Self::Float(function) => each(row, |_, value| function(value)),
            Self::Round(nearest) => {
                each(row, |step, value| math_functions::round(value, nearest[step]));
            }
            Self::Clamp { min, max } => each(row, |step, value| {
                if max[step] < min[step] {
                    return ABSENT;
                }
                math_functions::max(min[step], math_functions::min(max[step], value))
            }),
            Self::Date(function) => each(row, |_, value| dates::part(*function, value)),
            Self::Scalar(operand) => operand.apply(row, notes),
        }
    }
}

impl ScalarOperand {
    fn apply(&self, row: &mut Row, notes: &mut Annotations) {
        if row.histograms.take().is_some() {
            let (left, right) = match self.side {
                ScalarSide::Left => ("float", "histogram"),
                ScalarSide::Right => ("histogram", "float"),
            };
            let note = Annotation::IncompatibleSamples { op: self.op, left, right };
            notes.add(&note, self.span);
        }
        if matches!(self.op, BinaryOp::TrimLower | BinaryOp::TrimUpper) {
            let (left, right) = ("float", "float");
            let note = Annotation::IncompatibleSamples { op: self.op, left, right };
            notes.add(&note, self.span);
            row.values.fill(ABSENT);
            return;
        }
        let filters = self.op.is_comparison() && !self.return_bool;
        each(row, |step, value| {
            let scalar = self.scalar[step];
            let (left, right) = match self.side {
                ScalarSide::Left => (scalar, value),
                ScalarSide::Right => (value, scalar),
            };
            if !filters {
                return binary::of_scalars(self.op, left, right);
            }
            if binary::compares(self.op, left, right) { value } else { ABSENT }
        });
    }
}

/// Maps the floats of a row and removes its histograms.
fn each(row: &mut Row, map: impl Fn(usize, f64) -> f64) {
    row.histograms = None;
    for (step, value) in row.values.iter_mut().enumerate() {
        if !is_absent(*value) {
            *value = map(step, *value);
        }
    }
}

impl Evaluator<'_> {
    /// Maps all rows of a vector.
    pub fn mapped(
        &self,
        mut vector: Vector,
        map: &Map,
        notes: &mut Annotations,
    ) -> Result<Vector, EvalError> {
        for row in &mut vector.rows {
            map.apply(row, notes);
            if map.drops_name() {
                self.drop_name(row);
            }
        }
        vector.rows.retain(|row| !row.is_empty());
        if map.drops_name() && !self.options.delayed_name_removal {
            same_labels::merge(&mut vector.rows)?;
        }
        Ok(vector)
    }
}
