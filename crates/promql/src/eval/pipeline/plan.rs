//! Which expressions are pipelines, and how an expression becomes one.

use super::{Leaf, Naming, Pipeline, RangeLeaf};
use crate::annotations::Annotations;
use crate::ast::{Binary, Call, Expr, UnaryOp, ValueType, VectorSelector};
use crate::eval::binary::ScalarSide;
use crate::eval::error::EvalError;
use crate::eval::evaluator::Evaluator;
use crate::eval::maps::{Map, ScalarOperand};
use crate::eval::math_functions;
use crate::eval::range_functions::RangeCall;
use crate::eval::selector::{self, Lookback, Told};
use crate::eval::steps::Steps;
use crate::functions::Function;

/// Maps above each other before an expression is no longer taken for one pipeline: the plan
/// recurses.
const MAX_MAPS: usize = 16;

/// Whether an expression makes one column of each series of a selector or subquery.
pub(crate) fn is_pipeline(expr: &Expr) -> bool {
    let mut expr = expr.without_parens();
    for _ in 0..MAX_MAPS {
        let operand = match expr {
            Expr::Vector(_) => return true,
            Expr::Call(call) if is_leaf(call) => return true,
            Expr::Call(call) if is_map(call.function) => call.args.first(),
            Expr::Unary(unary) if unary.expr.value_type() == ValueType::Vector => Some(&unary.expr),
            Expr::Binary(binary) => vector_operand(binary).map(|(operand, _, _)| operand),
            _ => None,
        };
        let Some(operand) = operand else { return false };
        expr = operand.without_parens();
    }
    false
}

impl Evaluator<'_> {
    /// The pipeline of an expression that is one.
    pub fn pipeline(
        &self,
        expr: &Expr,
        steps: Steps,
        notes: &mut Annotations,
    ) -> Result<Pipeline, EvalError> {
        match expr.without_parens() {
            Expr::Vector(selector) => self.selector_pipeline(selector, Told::Value, steps),
            Expr::Call(call) if is_leaf(call) => self.leaf_pipeline(call, steps, notes),
            Expr::Call(call) => {
                let mut pipeline = self.pipeline(&call.args[0], steps, notes)?;
                pipeline.push(self.map_of(call, steps, notes)?);
                Ok(pipeline)
            }
            Expr::Unary(unary) => {
                let mut pipeline = self.pipeline(&unary.expr, steps, notes)?;
                if unary.op == UnaryOp::Minus {
                    pipeline.push(Map::Negate);
                }
                Ok(pipeline)
            }
            Expr::Binary(binary) => {
                let (vector, scalar, side) =
                    vector_operand(binary).expect("a pipeline's operator has one vector");
                let mut pipeline = self.pipeline(vector, steps, notes)?;
                let scalar = self.scalar(scalar, steps, notes)?;
                pipeline.push(Map::Scalar(ScalarOperand {
                    op: binary.op,
                    scalar,
                    side,
                    return_bool: binary.return_bool,
                    span: binary.span,
                }));
                Ok(pipeline)
            }
            _ => unreachable!("asked only for what is a pipeline"),
        }
    }

    /// The map that a function is above its first argument.
    pub fn map_of(
        &self,
        call: &Call,
        steps: Steps,
        notes: &mut Annotations,
    ) -> Result<Map, EvalError> {
        let mut scalar = |index: usize| self.scalar(&call.args[index], steps, notes);
        let endless = |value: f64| vec![value; steps.count];
        Ok(match call.function {
            Function::Round if call.args.len() > 1 => Map::Round(scalar(1)?),
            Function::Round => Map::Round(endless(1.0)),
            Function::Clamp => Map::Clamp { min: scalar(1)?, max: scalar(2)? },
            Function::ClampMin => Map::Clamp { min: scalar(1)?, max: endless(f64::INFINITY) },
            Function::ClampMax => Map::Clamp { min: endless(f64::NEG_INFINITY), max: scalar(1)? },
            function => math_functions::of_float(function).map_or(Map::Date(function), Map::Float),
        })
    }

    fn selector_pipeline(
        &self,
        selector: &VectorSelector,
        told: Told,
        steps: Steps,
    ) -> Result<Pipeline, EvalError> {
        let reference = self.reference(selector.at, selector.offset.ms);
        let lookback_ms = self.lookback_ms;
        let (leaf, range) = if selector.smoothed && told == Told::Value {
            let around = selector::around(reference, lookback_ms);
            (Leaf::Smoothed(around), around.time_range(steps))
        } else {
            let lookback = Lookback { reference, max_age_ms: lookback_ms, told };
            (Leaf::Newest(lookback), lookback.time_range(steps))
        };
        let set = self.select(&selector.matchers, range)?;
        let naming =
            Naming { drops: told != Told::Value, ..Naming::of_selector(&selector.matchers) };
        Ok(Pipeline { set, leaf, maps: Vec::new(), steps, naming })
    }

    fn leaf_pipeline(
        &self,
        call: &Call,
        steps: Steps,
        notes: &mut Annotations,
    ) -> Result<Pipeline, EvalError> {
        let told = match call.function {
            Function::Timestamp => Told::Time,
            Function::StartTimestamp => Told::Start,
            _ => return self.range_pipeline(call, steps, notes),
        };
        let selector = call.args[0].as_vector_selector().expect("is_leaf() looked");
        self.selector_pipeline(selector, told, steps)
    }

    /// The pipeline of a range function.
    pub fn range_pipeline(
        &self,
        call: &Call,
        steps: Steps,
        notes: &mut Annotations,
    ) -> Result<Pipeline, EvalError> {
        let mut args = Vec::new();
        let mut range_arg = None;
        for arg in &call.args {
            if arg.value_type() == ValueType::Matrix {
                range_arg = Some(arg);
            } else {
                args.push(self.scalar(arg, steps, notes)?);
            }
        }
        let range_arg = range_arg.expect("a range function has a range vector");
        refuse_border(call.function, range_arg)?;
        let vector = self.range_vector(range_arg, steps, notes)?;
        if !vector.set.is_empty() && call.function == Function::DoubleExponentialSmoothing {
            check_factors(&args)?;
        }
        let keeps = matches!(call.function, Function::FirstOverTime | Function::LastOverTime);
        let starts = self.options.use_start_timestamps && vector.is_selector;
        let leaf = RangeLeaf {
            call: RangeCall { function: call.function, border: vector.border, starts, args },
            ranges: vector.ranges,
            span: range_arg.without_parens().span(),
            first_arg_span: call.args[0].without_parens().span(),
        };
        let naming = Naming { drops: !keeps, ..vector.naming };
        let (set, leaf) = (vector.set, Leaf::Range(leaf));
        Ok(Pipeline { set, leaf, maps: Vec::new(), steps, naming })
    }
}

impl Pipeline {
    fn push(&mut self, map: Map) {
        self.naming.drops |= map.drops_name();
        self.maps.push(map);
    }
}

/// Whether a call makes a column of each series of its argument's selector.
fn is_leaf(call: &Call) -> bool {
    match call.function {
        Function::AbsentOverTime => false,
        Function::Timestamp | Function::StartTimestamp => {
            call.args[0].as_vector_selector().is_some()
        }
        function => function.signature().arguments.contains(&ValueType::Matrix),
    }
}

/// Whether a function maps the values of its first argument.
pub(crate) fn is_map(function: Function) -> bool {
    math_functions::of_float(function).is_some()
        || matches!(
            function,
            Function::Round
                | Function::Clamp
                | Function::ClampMin
                | Function::ClampMax
                | Function::Year
                | Function::Month
                | Function::DayOfMonth
                | Function::DayOfWeek
                | Function::DayOfYear
                | Function::DaysInMonth
                | Function::Hour
                | Function::Minute
        )
}

/// The vector and the scalar of an operator that has one of each, and the scalar's side.
fn vector_operand(binary: &Binary) -> Option<(&Expr, &Expr, ScalarSide)> {
    match (binary.lhs.value_type(), binary.rhs.value_type()) {
        (ValueType::Vector, ValueType::Scalar) => {
            Some((&binary.lhs, &binary.rhs, ScalarSide::Right))
        }
        (ValueType::Scalar, ValueType::Vector) => {
            Some((&binary.rhs, &binary.lhs, ScalarSide::Left))
        }
        _ => None,
    }
}

/// An error if the function cannot use the range's way to find values at its borders.
fn refuse_border(function: Function, range: &Expr) -> Result<(), EvalError> {
    let Expr::Matrix(matrix) = range.without_parens() else { return Ok(()) };
    let smoothed_safe = [Function::Delta, Function::Increase, Function::Rate];
    let anchored_safe = [&[Function::Changes][..], &smoothed_safe, &[Function::Resets]].concat();
    let refused = |modifier: &str, safe: &[Function]| {
        let names: Vec<_> = safe.iter().map(|function| function.name()).collect();
        let names = names.join(", ");
        let text =
            format!("{modifier} modifier can only be used with: {names} - not with {function}");
        Err(EvalError::argument(text))
    };
    if matrix.selector.anchored && !anchored_safe.contains(&function) {
        return refused("anchored", &anchored_safe);
    }
    if matrix.selector.smoothed && !smoothed_safe.contains(&function) {
        return refused("smoothed", &smoothed_safe);
    }
    Ok(())
}

fn check_factors(args: &[Vec<f64>]) -> Result<(), EvalError> {
    for (values, (name, short)) in args.iter().zip([("smoothing", "sf"), ("trend", "tf")]) {
        if let Some(bad) = values.iter().find(|value| **value <= 0.0 || **value >= 1.0) {
            let text = format!("invalid {name} factor. Expected: 0 < {short} < 1, got: {bad:.6}");
            return Err(EvalError::argument(text));
        }
    }
    Ok(())
}
