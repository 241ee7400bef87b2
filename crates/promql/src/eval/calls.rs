//! Calls of functions that are no pipeline.

use rangekeeper_model::Labels;

use super::column::{Evaluated, Row, Vector, is_absent};
use super::dates;
use super::error::EvalError;
use super::evaluator::Evaluator;
use super::math_functions;
use super::pipeline::is_map;
use super::same_labels;
use super::steps::Steps;
use crate::annotations::Annotations;
use crate::ast::Call;
use crate::functions::Function;

impl Evaluator<'_> {
    /// Evaluates a call.
    pub fn call(
        &self,
        call: &Call,
        steps: Steps,
        notes: &mut Annotations,
    ) -> Result<Evaluated, EvalError> {
        let scalar = |value: fn(i64) -> f64| -> Result<Evaluated, EvalError> {
            Ok(Evaluated::Scalar(steps.times().map(value).collect()))
        };
        let constant = |value: f64| Ok(Evaluated::Scalar(vec![value; steps.count]));
        match call.function {
            Function::Time => scalar(|time_ms| time_ms as f64 / 1000.0),
            Function::Pi => constant(std::f64::consts::PI),
            Function::Start => constant(self.start_ms as f64 / 1000.0),
            Function::End => constant(self.end_ms as f64 / 1000.0),
            Function::Step => constant(self.step_ms as f64 / 1000.0),
            Function::Range => constant((self.end_ms - self.start_ms) as f64 / 1000.0),
            Function::MinOf | Function::MaxOf => self.extreme_of(call, steps, notes),
            Function::Scalar => self.scalar_of(call, steps, notes),
            _ => self.vector_call(call, steps, notes).map(Evaluated::Vector),
        }
    }

    /// Evaluates a call that gives an instant vector.
    fn vector_call(
        &self,
        call: &Call,
        steps: Steps,
        notes: &mut Annotations,
    ) -> Result<Vector, EvalError> {
        match call.function {
            Function::Vector => {
                let values = self.scalar(&call.args[0], steps, notes)?;
                self.hold(vec![Row::of_values(Labels::empty(), values)], steps)
            }
            Function::Absent | Function::AbsentOverTime => self.absent(call, steps, notes),
            Function::Timestamp => self.timestamp(call, steps, notes),
            // Only a selector's samples have one.
            Function::StartTimestamp => {
                self.vector(&call.args[0], steps, notes).map(|_| Vector::default())
            }
            Function::Sort
            | Function::SortDesc
            | Function::SortByLabel
            | Function::SortByLabelDesc => self.sort(call, steps, notes),
            Function::LabelReplace => self.label_replace(call, steps, notes),
            Function::LabelJoin => self.label_join(call, steps, notes),
            Function::HistogramQuantile
            | Function::HistogramQuantiles
            | Function::HistogramFraction => self.classic_histogram(call, steps, notes),
            // Of native histograms alone, which have no arithmetic yet.
            Function::HistogramAvg
            | Function::HistogramCount
            | Function::HistogramStddev
            | Function::HistogramStdvar
            | Function::HistogramSum => {
                self.vector(&call.args[0], steps, notes).map(|_| Vector::default())
            }
            Function::Info => self.info(call, steps, notes),
            function if is_map(function) => self.map_call(call, steps, notes),
            other => unreachable!("{other} is a pipeline over a range"),
        }
    }

    fn map_call(
        &self,
        call: &Call,
        steps: Steps,
        notes: &mut Annotations,
    ) -> Result<Vector, EvalError> {
        let Some(arg) = call.args.first() else {
            // A date function without an argument is about the time of the step.
            let values = steps
                .times()
                .map(|time_ms| dates::part(call.function, time_ms.div_euclid(1000) as f64));
            let row = Row::of_values(Labels::empty(), values.collect());
            return self.hold(vec![row], steps);
        };
        let vector = self.vector(arg, steps, notes)?;
        let map = self.map_of(call, steps, notes)?;
        self.mapped(vector, &map, notes)
    }

    fn extreme_of(
        &self,
        call: &Call,
        steps: Steps,
        notes: &mut Annotations,
    ) -> Result<Evaluated, EvalError> {
        let mut left = self.scalar(&call.args[0], steps, notes)?;
        let right = self.scalar(&call.args[1], steps, notes)?;
        let extreme = match call.function {
            Function::MinOf => math_functions::min,
            _ => math_functions::max,
        };
        for (left, right) in left.iter_mut().zip(right) {
            *left = extreme(*left, right);
        }
        Ok(Evaluated::Scalar(left))
    }

    /// `scalar`: the value of the one series that has a float, NaN if it is not one.
    fn scalar_of(
        &self,
        call: &Call,
        steps: Steps,
        notes: &mut Annotations,
    ) -> Result<Evaluated, EvalError> {
        let vector = self.vector(&call.args[0], steps, notes)?;
        let mut values = vec![f64::NAN; steps.count];
        for (step, value) in values.iter_mut().enumerate() {
            let of_rows = vector.rows.iter().map(|row| row.values[step]);
            let mut floats = of_rows.filter(|value| !is_absent(*value));
            if let (Some(only), None) = (floats.next(), floats.next()) {
                *value = only;
            }
        }
        Ok(Evaluated::Scalar(values))
    }

    /// `timestamp` of what is no selector: the time of the step.
    fn timestamp(
        &self,
        call: &Call,
        steps: Steps,
        notes: &mut Annotations,
    ) -> Result<Vector, EvalError> {
        let mut vector = self.vector(&call.args[0], steps, notes)?;
        for row in &mut vector.rows {
            for step in 0..steps.count {
                if row.has_sample(step) {
                    row.values[step] = steps.time(step) as f64 / 1000.0;
                }
            }
            row.histograms = None;
            self.drop_name(row);
        }
        if !self.options.delayed_name_removal {
            same_labels::merge(&mut vector.rows)?;
        }
        Ok(vector)
    }
}
