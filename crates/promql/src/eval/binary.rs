//! Binary operators.

use super::column::{Evaluated, Vector};
use super::error::EvalError;
use super::evaluator::Evaluator;
use super::maps::{Map, ScalarOperand};
use super::pipeline::is_pipeline;
use super::steps::Steps;
use crate::annotations::Annotations;
use crate::ast::{Binary, BinaryOp, Expr};

/// Which operand is the scalar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScalarSide {
    Left,
    Right,
}

/// Whether the result of an operator no longer is the metric of its operands.
pub(crate) fn changes_metric(op: BinaryOp) -> bool {
    matches!(
        op,
        BinaryOp::Add
            | BinaryOp::Sub
            | BinaryOp::Mul
            | BinaryOp::Div
            | BinaryOp::Mod
            | BinaryOp::Pow
            | BinaryOp::Atan2
    )
}

/// Whether a comparison holds.
pub(crate) fn compares(op: BinaryOp, left: f64, right: f64) -> bool {
    match op {
        BinaryOp::Eq => left == right,
        BinaryOp::Ne => left != right,
        BinaryOp::Gt => left > right,
        BinaryOp::Lt => left < right,
        BinaryOp::Ge => left >= right,
        BinaryOp::Le => left <= right,
        other => unreachable!("{other} is no comparison"),
    }
}

/// The result for two numbers; of a comparison 0 or 1.
pub(crate) fn of_scalars(op: BinaryOp, left: f64, right: f64) -> f64 {
    match op {
        BinaryOp::Add => left + right,
        BinaryOp::Sub => left - right,
        BinaryOp::Mul => left * right,
        BinaryOp::Div => left / right,
        BinaryOp::Mod => left % right,
        BinaryOp::Pow => left.powf(right),
        BinaryOp::Atan2 => left.atan2(right),
        comparison => f64::from(u8::from(compares(comparison, left, right))),
    }
}

impl Evaluator<'_> {
    /// Evaluates an operator, and the operators on its left in a loop: a chain may be as long as
    /// the text.
    pub fn binary(
        &self,
        binary: &Binary,
        steps: Steps,
        notes: &mut Annotations,
    ) -> Result<Evaluated, EvalError> {
        let mut links = vec![binary];
        let mut first = &binary.lhs;
        while let Expr::Binary(next) = first {
            if is_pipeline(first) {
                break;
            }
            links.push(next);
            first = &next.lhs;
        }
        let mut value = self.eval(first, steps, notes)?;
        for link in links.into_iter().rev() {
            let right = self.eval(&link.rhs, steps, notes)?;
            value = self.combine(link, value, right, steps, notes)?;
        }
        Ok(value)
    }

    fn combine(
        &self,
        binary: &Binary,
        left: Evaluated,
        right: Evaluated,
        steps: Steps,
        notes: &mut Annotations,
    ) -> Result<Evaluated, EvalError> {
        match (left, right) {
            (Evaluated::Scalar(mut left), Evaluated::Scalar(right)) => {
                for (left, right) in left.iter_mut().zip(right) {
                    *left = of_scalars(binary.op, *left, right);
                }
                Ok(Evaluated::Scalar(left))
            }
            (Evaluated::Vector(vector), Evaluated::Scalar(scalar)) => {
                self.with_scalar(binary, vector, scalar, ScalarSide::Right, notes)
            }
            (Evaluated::Scalar(scalar), Evaluated::Vector(vector)) => {
                self.with_scalar(binary, vector, scalar, ScalarSide::Left, notes)
            }
            (Evaluated::Vector(left), Evaluated::Vector(right)) if binary.op.is_set() => {
                self.set_operation(binary, left, right, steps).map(Evaluated::Vector)
            }
            (Evaluated::Vector(left), Evaluated::Vector(right)) => {
                self.matched(binary, &left, &right, steps, notes).map(Evaluated::Vector)
            }
            (Evaluated::Text(_), _) | (_, Evaluated::Text(_)) => {
                unreachable!("the checker refuses texts as operands")
            }
        }
    }

    fn with_scalar(
        &self,
        binary: &Binary,
        vector: Vector,
        scalar: Vec<f64>,
        side: ScalarSide,
        notes: &mut Annotations,
    ) -> Result<Evaluated, EvalError> {
        let map = Map::Scalar(ScalarOperand {
            op: binary.op,
            scalar,
            side,
            return_bool: binary.return_bool,
            span: binary.span,
        });
        self.mapped(vector, &map, notes).map(Evaluated::Vector)
    }
}
