//! `label_replace` and `label_join`: they look at labels alone.

use rangekeeper_model::{LabelsBuilder, METRIC_NAME, anchored_regex};

use super::column::{Row, Vector};
use super::error::EvalError;
use super::evaluator::Evaluator;
use super::same_labels;
use super::steps::Steps;
use crate::annotations::Annotations;
use crate::ast::{Call, Expr};

/// The longest value that a label can get, as in Prometheus: its labels keep lengths in 24 bits. A
/// replacement can name a group many times, so a short query could make texts of any length.
const MAX_VALUE_BYTES: usize = (1 << 24) - 1;
/// Bytes of labels that count as one sample against the limit of samples.
const BYTES_A_SAMPLE: u64 = 16;

/// A text as a label's name, if it can be one: any UTF-8 but the empty text.
pub(crate) fn label_name(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().filter(|name| !name.is_empty())
}

/// The text of an argument that is one, if it is UTF-8.
pub(crate) fn text_of(arg: &Expr) -> Option<&str> {
    std::str::from_utf8(bytes_of(arg)).ok()
}

/// The bytes of an argument that is a text.
fn bytes_of(arg: &Expr) -> &[u8] {
    match arg.without_parens() {
        Expr::String(text) => &text.bytes,
        _ => &[],
    }
}

/// The name in an argument, or the error that says whose it is.
fn name_in<'a>(arg: &'a Expr, role: &str, call: &Call) -> Result<&'a str, EvalError> {
    let bytes = bytes_of(arg);
    label_name(bytes).ok_or_else(|| {
        let (function, text) = (call.function, String::from_utf8_lossy(bytes));
        EvalError::argument(format!("invalid {role} label name in {function}(): {text}"))
    })
}

/// Bytes of labels that one call has made.
#[derive(Default)]
struct Made {
    bytes: u64,
}

impl Made {
    /// Checks that a value of at most `bytes` may be made.
    fn add(&mut self, evaluator: &Evaluator<'_>, bytes: usize) -> Result<(), EvalError> {
        evaluator.check()?;
        if bytes > MAX_VALUE_BYTES {
            return Err(EvalError::LabelTooLong);
        }
        self.bytes += bytes as u64;
        evaluator.budget.pass(self.bytes / BYTES_A_SAMPLE)
    }
}

impl Evaluator<'_> {
    /// `label_replace`
    pub fn label_replace(
        &self,
        call: &Call,
        steps: Steps,
        notes: &mut Annotations,
    ) -> Result<Vector, EvalError> {
        let pattern = String::from_utf8_lossy(bytes_of(&call.args[4]));
        let Ok(regex) = anchored_regex(&pattern) else {
            let text = format!("invalid regular expression in label_replace(): {pattern}");
            return Err(EvalError::argument(text));
        };
        let target = name_in(&call.args[1], "destination", call)?;
        let replacement = String::from_utf8_lossy(bytes_of(&call.args[2]));
        let source = text_of(&call.args[3]).unwrap_or_default();
        let groups = replacement.matches('$').count();
        let mut vector = self.vector(&call.args[0], steps, notes)?;
        let mut made = Made::default();
        for row in &mut vector.rows {
            let value = row.labels.value(source).unwrap_or_default();
            if let Some(captures) = regex.captures(value) {
                made.add(
                    self,
                    replacement.len().saturating_add(groups.saturating_mul(value.len())),
                )?;
                let mut replaced = String::new();
                captures.expand(&replacement, &mut replaced);
                set_label(row, target, &replaced);
            }
        }
        same_labels::merge(&mut vector.rows)?;
        Ok(vector)
    }

    /// `label_join`
    pub fn label_join(
        &self,
        call: &Call,
        steps: Steps,
        notes: &mut Annotations,
    ) -> Result<Vector, EvalError> {
        let sources = call.args[3..].iter().map(|arg| name_in(arg, "source", call));
        let sources = sources.collect::<Result<Vec<_>, _>>()?;
        let target = name_in(&call.args[1], "destination", call)?;
        let separator = String::from_utf8_lossy(bytes_of(&call.args[2]));
        let mut vector = self.vector(&call.args[0], steps, notes)?;
        let mut made = Made::default();
        for row in &mut vector.rows {
            let values = sources.iter().map(|name| row.labels.value(name).unwrap_or_default());
            let values: Vec<_> = values.collect();
            let lengths = values.iter().map(|value| value.len() + separator.len());
            made.add(self, lengths.sum())?;
            let joined = values.join(&separator);
            set_label(row, target, &joined);
        }
        same_labels::merge(&mut vector.rows)?;
        Ok(vector)
    }
}

/// Sets a label of a row. A name that is set stays, whatever was to become of the old one.
fn set_label(row: &mut Row, name: &str, value: &str) {
    let mut labels = LabelsBuilder::from_labels(&row.labels);
    labels.set(name, value);
    row.labels = labels.build();
    if name == METRIC_NAME {
        row.drop_name = false;
    }
}
