//! `count_values`: how often each value occurs.

use hashbrown::HashMap;
use rangekeeper_model::{Labels, LabelsBuilder};

use super::column::{Row, Vector, is_absent};
use super::error::EvalError;
use super::evaluator::Evaluator;
use super::grouping::Grouping;
use super::label_functions::label_name;
use super::steps::Steps;
use crate::annotations::Annotations;
use crate::ast::{Aggregate, Expr};
use crate::printer::quote_bytes;

impl Evaluator<'_> {
    /// `count_values`: of each group a series a value, which counts the members that have it.
    pub fn count_values(
        &self,
        aggregate: &Aggregate,
        steps: Steps,
        notes: &mut Annotations,
    ) -> Result<Vector, EvalError> {
        let value_label = value_label(aggregate)?;
        let vector = self.vector(&aggregate.expr, steps, notes)?;
        let counted = count_values(aggregate, value_label, &vector.rows, steps);
        self.hold(counted.into_iter().map(|counted| counted.row).collect(), steps)
    }
}

/// How often one value occurs in a group.
pub(super) struct Counted {
    pub row: Row,
    /// The row that had it first, and when.
    pub first: usize,
    pub at: usize,
}

/// The label that is to tell the value.
pub(super) fn value_label(aggregate: &Aggregate) -> Result<&str, EvalError> {
    let Some(Expr::String(text)) = aggregate.param.as_ref().map(Expr::without_parens) else {
        unreachable!("the checker lets only texts in here");
    };
    label_name(&text.bytes).ok_or_else(|| {
        let quoted = quote_bytes(&text.bytes);
        EvalError::argument(format!("invalid label name {quoted}"))
    })
}

/// Counts the values of rows: a row a group and value, in the order in which they occur.
pub(super) fn count_values(
    aggregate: &Aggregate,
    value_label: &str,
    rows: &[Row],
    steps: Steps,
) -> Vec<Counted> {
    let also = (!aggregate.without).then_some(value_label);
    let grouping = Grouping::of(aggregate, also);
    let mut places: HashMap<Labels, usize> = HashMap::new();
    let mut counted: Vec<Counted> = Vec::new();
    for (first, row) in rows.iter().enumerate() {
        // A series often keeps its value: its group is looked up once a change.
        let mut last: Option<(u64, usize)> = None;
        for (at, value) in row.values.iter().enumerate().filter(|(_, v)| !is_absent(**v)) {
            let place = match last {
                Some((bits, place)) if bits == value.to_bits() => place,
                _ => {
                    let mut labels = LabelsBuilder::from_labels(&row.labels);
                    labels.set(value_label, &value_text(*value));
                    let labels = grouping.labels(&labels.build(), false);
                    *places.entry(labels).or_insert_with_key(|labels| {
                        let row = Row::absent(labels.clone(), steps);
                        counted.push(Counted { row, first, at });
                        counted.len() - 1
                    })
                }
            };
            last = Some((value.to_bits(), place));
            let count = &mut counted[place].row.values[at];
            *count = if is_absent(*count) { 1.0 } else { *count + 1.0 };
        }
    }
    counted
}

/// A value as the label says it: all digits, no exponent.
fn value_text(value: f64) -> String {
    if value.is_nan() {
        "NaN".into()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf".into() } else { "-Inf".into() }
    } else {
        format!("{value}")
    }
}
