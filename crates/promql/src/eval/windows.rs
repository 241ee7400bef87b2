//! The samples that each step of a range function sees.

use rangekeeper_model::{Floats, HistogramSample, Samples, is_stale};

use super::steps::Steps;

/// Where a selector or subquery looks, given a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    /// The time of the `@` modifier, which stands for every step.
    pub at_ms: Option<i64>,
    /// How far back.
    pub offset_ms: i64,
}

impl Reference {
    /// The time that the step at `step_ms` looks at.
    #[inline]
    pub fn time(self, step_ms: i64) -> i64 {
        self.at_ms.unwrap_or(step_ms) - self.offset_ms
    }
}

/// Ranges of time, left-open, one a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ranges {
    /// Where the ranges end.
    pub reference: Reference,
    /// Length of each.
    pub range_ms: i64,
    /// How much earlier samples are also given: `anchored` and `smoothed` look for what lies
    /// beyond a border.
    pub before_ms: i64,
    /// How much later samples are also given.
    pub after_ms: i64,
}

/// One step's range and the samples that are given for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window<'a> {
    /// Times of the floats.
    pub timestamps: &'a [i64],
    /// Values of the floats.
    pub values: &'a [f64],
    /// Start timestamps of the floats, or empty.
    pub starts: &'a [i64],
    /// The histograms.
    pub histograms: &'a [HistogramSample],
    /// Index of the first float among those of the series.
    pub offset: usize,
    /// Index of the first histogram among those of the series.
    pub offset_of_histograms: usize,
    /// The range begins after this time, whatever earlier samples are given.
    pub from_ms: i64,
    /// The last time of the range.
    pub to_ms: i64,
    /// The time of the step.
    pub step_ms: i64,
}

impl Ranges {
    /// Calls `visit` with each step that has samples. The samples must hold no stale markers.
    ///
    /// The borders only ever move forward: all steps together cost as much as the samples and the
    /// steps.
    pub fn each<'a>(
        &self,
        samples: &'a Samples,
        steps: Steps,
        mut visit: impl FnMut(usize, &Window<'a>),
    ) {
        let floats = &samples.floats;
        let mut floats_at = Borders::default();
        let mut histograms_at = Borders::default();
        for index in 0..steps.count {
            let step_ms = steps.time(index);
            let to_ms = self.reference.time(step_ms);
            let from_ms = to_ms - self.range_ms;
            let (after, until) = (from_ms - self.before_ms, to_ms + self.after_ms);
            floats_at.advance(floats.timestamps.len(), after, until, |i| floats.timestamps[i]);
            histograms_at.advance(samples.histograms.len(), after, until, |i| {
                samples.histograms[i].timestamp_ms
            });
            if floats_at.is_empty() && histograms_at.is_empty() {
                continue;
            }
            let window = Window::new(samples, floats_at, histograms_at, (from_ms, to_ms, step_ms));
            visit(index, &window);
        }
    }
}

/// The part of a column that lies in a range.
#[derive(Clone, Copy, Debug, Default)]
struct Borders {
    first: usize,
    end: usize,
}

impl Borders {
    #[inline]
    fn advance(&mut self, len: usize, after: i64, until: i64, time: impl Fn(usize) -> i64) {
        while self.end < len && time(self.end) <= until {
            self.end += 1;
        }
        while self.first < self.end && time(self.first) <= after {
            self.first += 1;
        }
    }

    fn is_empty(self) -> bool {
        self.first == self.end
    }
}

impl<'a> Window<'a> {
    #[inline]
    fn new(
        samples: &'a Samples,
        floats: Borders,
        histograms: Borders,
        (from_ms, to_ms, step_ms): (i64, i64, i64),
    ) -> Self {
        let Floats { timestamps, values, starts } = &samples.floats;
        let range = floats.first..floats.end;
        Self {
            timestamps: &timestamps[range.clone()],
            values: &values[range.clone()],
            starts: if starts.is_empty() { &[] } else { &starts[range] },
            histograms: &samples.histograms[histograms.first..histograms.end],
            offset: floats.first,
            offset_of_histograms: histograms.first,
            from_ms,
            to_ms,
            step_ms,
        }
    }

    /// The start timestamp of float `index`, 0 where unset.
    #[inline]
    pub fn start_ms(&self, index: usize) -> i64 {
        self.starts.get(index).copied().unwrap_or(0)
    }

    /// Whether it holds samples of both kinds.
    pub fn is_mixed(&self) -> bool {
        !self.values.is_empty() && !self.histograms.is_empty()
    }
}

/// Takes the stale markers out: a range of samples does not have them.
pub(crate) fn drop_stale(samples: &mut Samples) {
    let floats = &mut samples.floats;
    if floats.values.iter().any(|v| is_stale(*v)) {
        let keep: Vec<bool> = floats.values.iter().map(|v| !is_stale(*v)).collect();
        retain_by(&mut floats.timestamps, &keep);
        retain_by(&mut floats.starts, &keep);
        retain_by(&mut floats.values, &keep);
    }
    samples.histograms.retain(|sample| !sample.histogram.is_stale());
}

fn retain_by<T>(items: &mut Vec<T>, keep: &[bool]) {
    let mut flags = keep.iter();
    items.retain(|_| flags.next().copied().unwrap_or(true));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(times: &[i64]) -> Samples {
        let mut samples = Samples::default();
        for time in times {
            samples.floats.push(*time, 0, *time as f64);
        }
        samples
    }

    #[test]
    fn ranges_are_open_on_the_left() {
        let ranges = Ranges {
            reference: Reference { at_ms: None, offset_ms: 0 },
            range_ms: 20,
            before_ms: 0,
            after_ms: 0,
        };
        let mut seen = Vec::new();
        let series = samples(&[0, 10, 20, 30, 50]);
        ranges.each(&series, Steps::between(20, 80, 20), |index, window| {
            seen.push((index, window.timestamps.to_vec(), window.offset));
        });
        assert_eq!(seen, [(0, vec![10, 20], 1), (1, vec![30], 3), (2, vec![50], 4)]);
    }

    #[test]
    fn an_at_modifier_gives_every_step_the_same_range() {
        let ranges = Ranges {
            reference: Reference { at_ms: Some(30), offset_ms: 10 },
            range_ms: 10,
            before_ms: 10,
            after_ms: 10,
        };
        let mut seen = Vec::new();
        let series = samples(&[0, 10, 20, 30, 40]);
        ranges.each(&series, Steps::between(100, 200, 100), |_, window| {
            seen.push((window.timestamps.to_vec(), window.from_ms, window.to_ms));
        });
        assert_eq!(seen, [(vec![10, 20, 30], 10, 20), (vec![10, 20, 30], 10, 20)]);
    }

    #[test]
    fn stale_markers_are_no_samples_of_a_range() {
        let mut series = samples(&[1, 2]);
        series.floats.push(3, 7, f64::from_bits(rangekeeper_model::STALE_NAN_BITS));
        series.floats.push(4, 8, 4.0);
        drop_stale(&mut series);
        assert_eq!(series.floats.timestamps, [1, 2, 4]);
        assert_eq!(series.floats.starts, [0, 0, 8]);
    }
}
