//! Changes over the ranges of series that have the same timestamps.
//!
//! One scrape gives all series of a target the same time, and sorted by labels many of them follow
//! each other. Where the ranges begin and end among the samples, and what a change is stretched by,
//! follows from the times alone: it is kept from one series to the next.

use rangekeeper_model::Floats;

use super::super::steps::Steps;
use super::super::windows::Ranges;
use super::{Change, Layout, Resets, Stretch};

/// The stretches of one series' ranges, for the series that follow.
#[derive(Debug, Default)]
pub(crate) struct StretchTable {
    /// What the rows were made for.
    made_for: Option<(Change, Ranges, Steps)>,
    timestamps: Vec<i64>,
    rows: Vec<Row>,
}

/// A step whose range has two samples or more.
#[derive(Clone, Copy, Debug)]
struct Row {
    step: usize,
    first: usize,
    last: usize,
    stretch: Stretch,
}

impl StretchTable {
    /// Fills `column` with the changes over ranges that are given nothing beyond them, of a series
    /// whose samples have no start timestamps.
    pub fn fill(
        &mut self,
        (change, ranges, steps): (Change, &Ranges, Steps),
        floats: &Floats,
        mut resets: Resets<'_>,
        column: &mut [f64],
    ) {
        let made_for = Some((change, *ranges, steps));
        if self.timestamps != floats.timestamps || self.made_for != made_for {
            self.make(change, ranges, steps, &floats.timestamps);
            self.made_for = made_for;
        }
        let values = floats.values.as_slice();
        for Row { step, first, last, stretch } in &self.rows {
            let first_value = values[*first];
            let mut difference = values[*last] - first_value;
            for reset in resets.inside(*first..last + 1) {
                difference += values[reset - 1];
            }
            column[*step] = stretch.apply(change, difference, first_value);
        }
    }

    fn make(&mut self, change: Change, ranges: &Ranges, steps: Steps, timestamps: &[i64]) {
        self.rows.clear();
        self.timestamps.clear();
        self.timestamps.extend_from_slice(timestamps);
        let (mut first, mut end) = (0, 0);
        for step in 0..steps.count {
            let to_ms = ranges.reference.time(steps.time(step));
            let from_ms = to_ms - ranges.range_ms;
            while end < timestamps.len() && timestamps[end] <= to_ms {
                end += 1;
            }
            while first < end && timestamps[first] <= from_ms {
                first += 1;
            }
            if end - first < 2 {
                continue;
            }
            let last = end - 1;
            let layout = Layout {
                to_start_ms: timestamps[first] - from_ms,
                sampled_ms: timestamps[last] - timestamps[first],
                to_end_ms: to_ms - timestamps[last],
                since_zero_ms: None,
                last: last - first,
            };
            let stretch = Stretch::new(change, layout, ranges.range_ms);
            self.rows.push(Row { step, first, last, stretch });
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rangekeeper_model::Samples;

    use super::super::super::column::ABSENT;
    use super::super::super::windows::Reference;
    use super::super::of_window;
    use super::*;

    /// The same by windows, series by series.
    fn expected(change: Change, ranges: &Ranges, steps: Steps, floats: &Floats) -> Vec<f64> {
        let samples = Samples { floats: floats.clone(), ..Samples::default() };
        let resets = resets(change, floats);
        let mut column = vec![ABSENT; steps.count];
        ranges.each(&samples, steps, |step, window| {
            let inside = window.offset + 1..window.offset + window.values.len();
            let inside: Vec<usize> =
                resets.iter().copied().filter(|reset| inside.contains(reset)).collect();
            column[step] = of_window(window, change, &inside);
        });
        column
    }

    fn resets(change: Change, floats: &Floats) -> Vec<usize> {
        let falls = |index: &usize| floats.values[*index] < floats.values[index - 1];
        (1..floats.len()).filter(|_| change.counter).filter(falls).collect()
    }

    fn series() -> impl Strategy<Value = Vec<(i64, f64)>> {
        let steps = prop_oneof![4 => Just(15_000_i64), 1 => 1_i64..60_000];
        let values = prop_oneof![8 => 0.0..50.0, 1 => Just(0.0), 1 => Just(f64::NAN)];
        prop::collection::vec((steps, values), 0..40)
    }

    proptest! {
        #[test]
        fn a_table_gives_what_each_window_gives(
            all in prop::collection::vec((series(), any::<bool>()), 1..5),
            (range_ms, step_ms) in (1_i64..200_000, 1_i64..90_000),
            (counter, per_second) in any::<(bool, bool)>(),
        ) {
            let change = Change { counter, per_second, starts: false };
            let reference = Reference { at_ms: None, offset_ms: 0 };
            let ranges = Ranges { reference, range_ms, before_ms: 0, after_ms: 0 };
            let steps = Steps::between(-10_000, 700_000, step_ms);
            let mut table = StretchTable::default();
            for (series, again) in &all {
                let mut floats = Floats::default();
                let mut time_ms = 0;
                for (distance_ms, value) in series {
                    time_ms += distance_ms;
                    floats.push(time_ms, 0, *value);
                }
                for round in 0..=usize::from(*again) {
                    // The same times with other values, which must not stem from the table.
                    floats.values.iter_mut().for_each(|value| *value += round as f64 * 100.0);
                    let resets = resets(change, &floats);
                    let mut column = vec![ABSENT; steps.count];
                    let asked = (change, &ranges, steps);
                    table.fill(asked, &floats, Resets::new(&resets), &mut column);
                    let expected = expected(change, &ranges, steps, &floats);
                    let same = |(a, b): (&f64, &f64)| a.to_bits() == b.to_bits();
                    prop_assert!(
                        column.len() == expected.len() && column.iter().zip(&expected).all(same),
                        "{:?} is not {:?}", column, expected
                    );
                }
            }
        }
    }
}
