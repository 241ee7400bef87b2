//! Aggregations that choose among the series of a group: `topk`, `bottomk`, `limitk` and
//! `limit_ratio`.

use rangekeeper_model::Labels;

use super::aggregation::members_of_groups;
use super::column::{Row, Vector, is_absent};
use super::error::EvalError;
use super::evaluator::Evaluator;
use super::grouping::Grouping;
use super::quantile::nan_first;
use super::steps::Steps;
use crate::annotations::{Annotation, Annotations, go_float};
use crate::ast::{Aggregate, AggregateOp};

/// The greatest float below 2^63.
const MAX_INT: f64 = 9_223_372_036_854_774_784.0;
/// -2^63.
const MIN_INT: f64 = -9_223_372_036_854_775_808.0;

impl Evaluator<'_> {
    /// `topk` and `bottomk`: at each step the series of a group with the greatest or least values.
    /// At a single step the result is in the order of the values.
    pub fn ranked(
        &self,
        aggregate: &Aggregate,
        steps: Steps,
        notes: &mut Annotations,
    ) -> Result<Vector, EvalError> {
        let Some((counts, mut vector)) = self.counted(aggregate, steps, notes)? else {
            return Ok(Vector::default());
        };
        let order = rank(aggregate, &counts, &mut vector.rows, notes);
        vector.rows = in_order(vector.rows, order, steps);
        Ok(vector)
    }

    /// `limitk` and `limit_ratio`: some of the series of a group, whatever their values.
    pub fn limited(
        &self,
        aggregate: &Aggregate,
        steps: Steps,
        notes: &mut Annotations,
    ) -> Result<Vector, EvalError> {
        if aggregate.op == AggregateOp::LimitRatio {
            return self.limited_by_ratio(aggregate, steps, notes);
        }
        let Some((counts, mut vector)) = self.counted(aggregate, steps, notes)? else {
            return Ok(Vector::default());
        };
        let grouping = Grouping::of(aggregate, None);
        for members in members_of_groups(&vector.rows, &grouping) {
            for (step, count) in counts.iter().enumerate() {
                let mut room = *count;
                for row in &members {
                    let row = &mut vector.rows[*row];
                    if room == 0 {
                        row.clear(step);
                    } else if row.has_sample(step) {
                        room -= 1;
                    }
                }
            }
        }
        settle(&mut vector.rows);
        Ok(vector)
    }

    fn limited_by_ratio(
        &self,
        aggregate: &Aggregate,
        steps: Steps,
        notes: &mut Annotations,
    ) -> Result<Vector, EvalError> {
        let param = aggregate.param.as_ref().expect("the checker saw the parameter");
        let ratios = self.scalar(param, steps, notes)?;
        let mut vector = self.vector(&aggregate.expr, steps, notes)?;
        let (least, greatest) = bounds(&ratios);
        if least == 0.0 && greatest == 0.0 {
            return Ok(Vector::default());
        }
        if ratios.iter().any(|ratio| ratio.is_nan()) {
            return Err(EvalError::argument("Ratio value is NaN"));
        }
        let span = param.without_parens().span();
        for (given, taken) in [(greatest, 1.0), (least, -1.0)] {
            if given.abs() > 1.0 && given * taken > 0.0 {
                notes.add(&Annotation::InvalidRatio { given, taken }, span);
            }
        }
        for row in &mut vector.rows {
            let place = place_of(&row.labels);
            for (step, ratio) in ratios.iter().enumerate() {
                let ratio = ratio.clamp(-1.0, 1.0);
                let is_in = if ratio >= 0.0 { place < ratio } else { place >= 1.0 + ratio };
                if !is_in {
                    row.clear(step);
                }
            }
        }
        settle(&mut vector.rows);
        Ok(vector)
    }

    /// How many series of a group are asked for at each step, and the vector; `None` if never any.
    fn counted(
        &self,
        aggregate: &Aggregate,
        steps: Steps,
        notes: &mut Annotations,
    ) -> Result<Option<(Vec<usize>, Vector)>, EvalError> {
        let param = aggregate.param.as_ref().expect("the checker saw the parameter");
        let counts = self.scalar(param, steps, notes)?;
        let vector = self.vector(&aggregate.expr, steps, notes)?;
        let counts = ranks(&counts, vector.rows.len())?;
        Ok(counts.map(|counts| (counts, vector)))
    }
}

/// Leaves at each step only the samples of the rows with the greatest or least values of their
/// group. Gives the rows in the order of the values, if there is one step.
pub(super) fn rank(
    aggregate: &Aggregate,
    counts: &[usize],
    rows: &mut [Row],
    notes: &mut Annotations,
) -> Vec<usize> {
    let histograms = rows.iter_mut().filter_map(|row| row.histograms.take()).count();
    if histograms > 0 && counts.iter().any(|count| *count > 0) {
        let note = Annotation::HistogramIgnoredInAggregation(aggregate.op);
        notes.add(&note, aggregate.span);
    }
    let greatest_first = aggregate.op == AggregateOp::Topk;
    let grouping = Grouping::of(aggregate, None);
    let mut order = Vec::new();
    let mut chosen: Vec<(f64, usize)> = Vec::new();
    let mut keep = vec![false; rows.len()];
    for members in members_of_groups(rows, &grouping) {
        for (step, count) in counts.iter().enumerate() {
            chosen.clear();
            let of_step = members.iter().map(|row| (rows[*row].values[step], *row));
            chosen.extend(of_step.filter(|(value, _)| !is_absent(*value)));
            choose(&mut chosen, *count, greatest_first);
            for (_, row) in &chosen {
                keep[*row] = true;
            }
            for row in &members {
                if !std::mem::take(&mut keep[*row]) {
                    rows[*row].clear(step);
                }
            }
            if counts.len() == 1 {
                order.extend(chosen.iter().map(|(_, row)| *row));
            }
        }
    }
    order
}

/// The rows that are left: at a single step in the order of their values.
pub(super) fn in_order(mut rows: Vec<Row>, order: Vec<usize>, steps: Steps) -> Vec<Row> {
    if steps.count == 1 {
        let mut rows: Vec<Option<Row>> = rows.into_iter().map(Some).collect();
        return order.into_iter().filter_map(|row| rows[row].take()).collect();
    }
    rows.retain(|row| !row.is_empty());
    rows
}

/// How many series of a group are asked for at each step, of `rows` that there are; `None` if
/// never any.
pub(super) fn ranks(counts: &[f64], rows: usize) -> Result<Option<Vec<usize>>, EvalError> {
    let (least, greatest) = bounds(counts);
    if greatest < 1.0 {
        return Ok(None);
    }
    if counts.iter().any(|count| count.is_nan()) {
        return Err(EvalError::argument("Parameter value is NaN"));
    }
    if least <= MIN_INT {
        let text = format!("Scalar value {} underflows int64", go_float(least));
        return Err(EvalError::argument(text));
    }
    if greatest >= MAX_INT {
        let text = format!("Scalar value {} overflows int64", go_float(greatest));
        return Err(EvalError::argument(text));
    }
    Ok(Some(counts.iter().map(|count| (count.max(0.0) as usize).min(rows)).collect()))
}

/// The least and the greatest of the numbers among `values`; NaN if there is none.
fn bounds(values: &[f64]) -> (f64, f64) {
    (
        values.iter().copied().fold(f64::NAN, f64::min),
        values.iter().copied().fold(f64::NAN, f64::max),
    )
}

/// Leaves the `count` greatest or least, in that order; NaN last, and of equal ones the earlier
/// row.
fn choose(candidates: &mut Vec<(f64, usize)>, count: usize, greatest_first: bool) {
    let compare = |a: &(f64, usize), b: &(f64, usize)| {
        let by_value = match (a.0.is_nan(), b.0.is_nan()) {
            (false, false) if greatest_first => nan_first(b.0, a.0),
            (false, false) => nan_first(a.0, b.0),
            (a_is_nan, b_is_nan) => a_is_nan.cmp(&b_is_nan),
        };
        by_value.then(a.1.cmp(&b.1))
    };
    if count < candidates.len() {
        if count > 0 {
            candidates.select_nth_unstable_by(count - 1, compare);
        }
        candidates.truncate(count);
    }
    candidates.sort_unstable_by(compare);
}

/// Where in [0, 1) a label set stands. The same as in a Prometheus of the default build: xxHash64
/// over each name and value with its length before it, in one byte, or in three after 255.
fn place_of(labels: &Labels) -> f64 {
    let mut bytes = Vec::with_capacity(labels.as_bytes().len());
    for (name, value) in labels {
        for text in [name, value] {
            match u8::try_from(text.len()) {
                Ok(short) if short < 255 => bytes.push(short),
                _ => {
                    bytes.push(255);
                    bytes.extend_from_slice(&text.len().to_le_bytes()[..3]);
                }
            }
            bytes.extend_from_slice(text.as_bytes());
        }
    }
    xxhash_rust::xxh64::xxh64(&bytes, 0) as f64 / u64::MAX as f64
}

fn settle(rows: &mut Vec<Row>) {
    rows.iter_mut().for_each(Row::settle_histograms);
    rows.retain(|row| !row.is_empty());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chooses_numbers_before_nan_and_the_earlier_of_equals() {
        let mut all = vec![(1.0, 0), (f64::NAN, 1), (3.0, 2), (3.0, 3), (2.0, 4)];
        choose(&mut all, 2, true);
        assert_eq!(all, [(3.0, 2), (3.0, 3)]);
        let mut all = vec![(f64::NAN, 0), (5.0, 1), (4.0, 2)];
        choose(&mut all, 2, false);
        assert_eq!(all, [(4.0, 2), (5.0, 1)]);
    }
}
