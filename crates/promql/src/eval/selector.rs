//! Selectors: the sample that stands for a series at a step.

use std::sync::Arc;

use rangekeeper_model::{Floats, HistogramSample, Samples, TimeRange, is_stale};

use super::column::{ABSENT, Row};
use super::extrapolation::on_line;
use super::steps::Steps;
use super::windows::{Ranges, Reference};

/// What is told of the sample that stands for a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// Its value.
    Value,
    /// Its time in seconds.
    Time,
    /// Its start timestamp in seconds.
    Start,
}

/// Looks back from each step for the newest sample.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lookback {
    /// Where each step looks.
    pub reference: Reference,
    /// How old the sample may be: younger than this.
    pub max_age_ms: i64,
    /// What is told of it.
    pub told: Told,
}

impl Lookback {
    /// The times of the samples that can matter.
    pub fn time_range(&self, steps: Steps) -> TimeRange {
        TimeRange {
            from_ms: self.reference.time(steps.start_ms) - self.max_age_ms + 1,
            to_ms: self.reference.time(steps.end_ms()),
        }
    }

    /// Fills `row` from a series' samples, stale markers included.
    pub fn fill(&self, samples: &Samples, steps: Steps, row: &mut Row) {
        row.values.clear();
        row.histograms = None;
        if samples.histograms.is_empty() {
            self.fill_floats(&samples.floats, steps, &mut row.values);
        } else {
            self.fill_mixed(samples, steps, row);
        }
    }

    fn fill_floats(&self, floats: &Floats, steps: Steps, values: &mut Vec<f64>) {
        let timestamps = floats.timestamps.as_slice();
        let told = &floats.values[..timestamps.len()];
        let mut end = 0;
        values.extend(steps.times().map(|step_ms| {
            let time_ms = self.reference.time(step_ms);
            while end < timestamps.len() && timestamps[end] <= time_ms {
                end += 1;
            }
            // Of a stale marker nothing is told: it is what stands for no value.
            match end.checked_sub(1) {
                Some(at) if timestamps[at] > time_ms - self.max_age_ms => match self.told {
                    Told::Value => told[at],
                    _ if is_stale(told[at]) => ABSENT,
                    Told::Time => timestamps[at] as f64 / 1000.0,
                    Told::Start => floats.start_ms(at) as f64 / 1000.0,
                },
                _ => ABSENT,
            }
        }));
    }

    fn fill_mixed(&self, samples: &Samples, steps: Steps, row: &mut Row) {
        let (floats, histograms) = (&samples.floats, &samples.histograms);
        self.fill_floats(floats, steps, &mut row.values);
        let (mut float_end, mut end) = (0, 0);
        for (step, step_ms) in steps.times().enumerate() {
            let time_ms = self.reference.time(step_ms);
            while float_end < floats.len() && floats.timestamps[float_end] <= time_ms {
                float_end += 1;
            }
            while end < histograms.len() && histograms[end].timestamp_ms <= time_ms {
                end += 1;
            }
            let Some(newest) = end.checked_sub(1).map(|at| &histograms[at]) else { continue };
            let float_ms = float_end.checked_sub(1).map(|at| floats.timestamps[at]);
            let is_newest = float_ms.is_none_or(|float_ms| newest.timestamp_ms > float_ms);
            if !is_newest {
                continue;
            }
            row.values[step] = ABSENT;
            if newest.timestamp_ms > time_ms - self.max_age_ms && !newest.histogram.is_stale() {
                self.place(newest, step, steps, row);
            }
        }
    }

    fn place(&self, sample: &HistogramSample, step: usize, steps: Steps, row: &mut Row) {
        match self.told {
            Told::Value => {
                let column = row.histograms.get_or_insert_with(|| vec![None; steps.count]);
                column[step] = Some(Arc::clone(&sample.histogram));
            }
            Told::Time => row.values[step] = sample.timestamp_ms as f64 / 1000.0,
            Told::Start => row.values[step] = sample.start_ms as f64 / 1000.0,
        }
    }
}

/// The ranges in which a `smoothed` selector finds the samples around each step.
pub(crate) fn around(reference: Reference, lookback_ms: i64) -> Ranges {
    Ranges { reference, range_ms: lookback_ms, before_ms: 0, after_ms: lookback_ms }
}

/// Fills `row` with values interpolated between the samples around each step. After the last sample
/// its value stands; before the first there is none. The samples must hold no stale markers.
pub(crate) fn fill_smoothed(samples: &Samples, around: &Ranges, steps: Steps, row: &mut Row) {
    row.values.clear();
    row.values.resize(steps.count, ABSENT);
    row.histograms = None;
    around.each(samples, steps, |step, window| {
        let (times, values) = (window.timestamps, window.values);
        let next = times.partition_point(|time| *time < window.to_ms);
        let exact = times.get(next).is_some_and(|time| *time == window.to_ms);
        row.values[step] = match (exact, next) {
            (true, _) => values[next],
            (false, 0) => ABSENT,
            (false, next) if next < times.len() => {
                let (from, to) = ((times[next - 1], values[next - 1]), (times[next], values[next]));
                on_line(from, to, window.to_ms)
            }
            (false, next) => values[next - 1],
        };
    });
}
