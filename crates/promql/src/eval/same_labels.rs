//! Series that came to have the same labels.

use hashbrown::HashMap;

use super::column::Row;
use super::error::EvalError;

/// Joins rows of the same labels into one; an error if two have a sample at the same step.
pub(crate) fn merge(rows: &mut Vec<Row>) -> Result<(), EvalError> {
    if rows.len() < 2 || !any_twice(rows) {
        return Ok(());
    }
    let mut merged: Vec<Row> = Vec::with_capacity(rows.len());
    let mut places = HashMap::with_capacity(rows.len());
    for row in rows.drain(..) {
        if let Some(at) = places.get(&row.labels) {
            join(&mut merged[*at], &row)?;
        } else {
            places.insert(row.labels.clone(), merged.len());
            merged.push(row);
        }
    }
    *rows = merged;
    Ok(())
}

/// An error if two rows have the same labels, whatever their steps.
pub(crate) fn refuse(rows: &[Row]) -> Result<(), EvalError> {
    if any_twice(rows) { Err(EvalError::SameLabels) } else { Ok(()) }
}

fn any_twice(rows: &[Row]) -> bool {
    let mut seen = hashbrown::HashSet::with_capacity(rows.len());
    !rows.iter().all(|row| seen.insert(row.labels.as_bytes()))
}

/// Takes the samples of `other` into `row`.
fn join(row: &mut Row, other: &Row) -> Result<(), EvalError> {
    for index in 0..row.values.len() {
        if !other.has_sample(index) {
            continue;
        }
        if row.has_sample(index) {
            return Err(EvalError::SameLabels);
        }
        row.values[index] = other.values[index];
        if let Some(histogram) = other.histogram(index) {
            let count = row.values.len();
            let column = row.histograms.get_or_insert_with(|| vec![None; count]);
            column[index] = Some(histogram.clone());
        }
    }
    Ok(())
}
