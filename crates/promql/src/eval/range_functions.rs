//! The functions of a range of samples: one series in, one column out.
//!
//! What can be told from a range's borders (`rate`, `count_over_time`, `changes`, …) costs as much
//! as the samples and the steps together; what has to look at every sample of every range costs
//! that.

use std::sync::Arc;

use rangekeeper_model::Samples;

use super::column::{ABSENT, HistogramColumn, Row};
use super::extrapolation::{self, Border, Change, Resets, StretchTable, is_start_reset};
use super::float_sums;
use super::quantile;
use super::regression;
use super::steps::Steps;
use super::windows::{Ranges, Window};
use crate::functions::Function;

/// A call of a range function, its scalar arguments evaluated.
#[derive(Debug)]
pub(crate) struct RangeCall {
    /// Which function.
    pub function: Function,
    /// How the borders of the ranges get their values.
    pub border: Border,
    /// Whether start timestamps tell of resets.
    pub starts: bool,
    /// The scalar arguments in their order, each with one value a step.
    pub args: Vec<Vec<f64>>,
}

/// What a series' samples gave reason to annotate.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Findings {
    /// A range held floats and histograms, so there is no result.
    pub mixed: bool,
    /// A range held histograms beside the floats, which the function does not use.
    pub ignored: bool,
    /// Ranges with a sample that began before the one before it.
    pub overlaps: u64,
    /// Quantiles that are none.
    pub quantiles: Vec<f64>,
}

/// Memory that is reused from series to series.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    values: Vec<f64>,
    events: Vec<usize>,
    stretches: StretchTable,
}

/// Where a call writes one series' column.
struct Output<'a> {
    values: &'a mut [f64],
    histograms: &'a mut Option<HistogramColumn>,
    findings: &'a mut Findings,
}

impl RangeCall {
    /// Fills `row` with the function's values for the samples, which must hold no stale markers.
    pub fn fill(
        &self,
        samples: &Samples,
        ranges: &Ranges,
        steps: Steps,
        scratch: &mut Scratch,
        row: &mut Row,
    ) -> Findings {
        let mut findings = Findings::default();
        row.values.clear();
        row.values.resize(steps.count, ABSENT);
        row.histograms = None;
        let mut output = Output {
            values: &mut row.values,
            histograms: &mut row.histograms,
            findings: &mut findings,
        };
        let series = Series { call: self, samples, ranges, steps };
        series.fill(scratch, &mut output);
        findings
    }

    /// Argument `index` at step `step`.
    fn arg(&self, index: usize, step: usize) -> f64 {
        self.args[index][step]
    }
}

/// One series under one call.
struct Series<'a> {
    call: &'a RangeCall,
    samples: &'a Samples,
    ranges: &'a Ranges,
    steps: Steps,
}

impl Series<'_> {
    fn fill(&self, scratch: &mut Scratch, out: &mut Output<'_>) {
        let call = self.call;
        match call.function {
            Function::Rate | Function::Increase | Function::Delta => {
                self.changes_over(scratch, out);
            }
            Function::Changes | Function::Resets => self.count_events(scratch, out),
            Function::Irate | Function::Idelta => self.last_changes(out),
            Function::SumOverTime => self.of_floats(out, |w, _| float_sums::sum_of(w.values)),
            Function::AvgOverTime => self.of_floats(out, |w, _| float_sums::mean_of(w.values)),
            Function::FirstOverTime => self.border_samples(out, Side::First),
            Function::LastOverTime => self.border_samples(out, Side::Last),
            Function::CountOverTime => {
                self.of_all(out, |w| (w.values.len() + w.histograms.len()) as f64);
            }
            Function::PresentOverTime | Function::AbsentOverTime => self.of_all(out, |_| 1.0),
            Function::TsOfFirstOverTime => self.of_all(out, |w| seconds(first_time(w))),
            Function::TsOfLastOverTime => self.of_all(out, |w| seconds(last_time(w))),
            _ => self.fill_floats_only(scratch, out),
        }
    }

    /// The functions that take no notice of histograms but to say so.
    fn fill_floats_only(&self, scratch: &mut Scratch, out: &mut Output<'_>) {
        let call = self.call;
        let mut sorted = std::mem::take(&mut scratch.values);
        match call.function {
            Function::MaxOverTime => self.ignoring(out, |w, _| w.values[greatest(w, false)]),
            Function::MinOverTime => self.ignoring(out, |w, _| w.values[least(w, false)]),
            Function::TsOfMaxOverTime => {
                self.ignoring(out, |w, _| seconds(w.timestamps[greatest(w, true)]));
            }
            Function::TsOfMinOverTime => {
                self.ignoring(out, |w, _| seconds(w.timestamps[least(w, true)]));
            }
            Function::StddevOverTime => {
                self.ignoring(out, |w, _| float_sums::variance_of(w.values).sqrt());
            }
            Function::StdvarOverTime => {
                self.ignoring(out, |w, _| float_sums::variance_of(w.values));
            }
            Function::MadOverTime => {
                self.ignoring(out, |w, _| median_deviation(w.values, &mut sorted));
            }
            Function::QuantileOverTime => self.quantiles(&mut sorted, out),
            Function::Deriv => self.ignoring(out, |w, _| regression::deriv(w)),
            Function::PredictLinear => {
                self.ignoring(out, |w, step| regression::predict_linear(w, call.arg(0, step)));
            }
            Function::DoubleExponentialSmoothing => self.ignoring(out, |w, step| {
                let (smoothing, trend) = (call.arg(0, step), call.arg(1, step));
                regression::double_exponential_smoothing(w, smoothing, trend)
            }),
            other => unreachable!("{other} is no function of a range of floats"),
        }
        scratch.values = sorted;
    }

    /// A value for each range that has samples.
    fn of_all(&self, out: &mut Output<'_>, value: impl Fn(&Window<'_>) -> f64) {
        self.ranges.each(self.samples, self.steps, |step, window| out.values[step] = value(window));
    }

    /// A value for each range that has floats and nothing else.
    fn of_floats(&self, out: &mut Output<'_>, value: impl Fn(&Window<'_>, usize) -> f64) {
        self.ranges.each(self.samples, self.steps, |step, window| {
            if window.is_mixed() {
                out.findings.mixed = true;
            } else if !window.values.is_empty() {
                out.values[step] = value(window, step);
            }
        });
    }

    /// `irate` and `idelta`: the last two samples of each range are all that matters.
    fn last_changes(&self, out: &mut Output<'_>) {
        let is_rate = self.call.function == Function::Irate;
        self.ranges.each(self.samples, self.steps, |step, window| {
            let newest_histogram = window.histograms.last().map(|sample| sample.timestamp_ms);
            let before_last = window.values.len().checked_sub(2).map(|at| window.timestamps[at]);
            match newest_histogram {
                Some(newest) if before_last.is_none_or(|before| newest > before) => {
                    // A histogram is among the last two, and a float may be the other.
                    let older = window.histograms.len().checked_sub(2);
                    let older = older.map(|at| window.histograms[at].timestamp_ms);
                    let last_float = window.timestamps.last().copied();
                    out.findings.mixed |= last_float > older;
                }
                _ => out.values[step] = instant_change(window, is_rate, self.call.starts),
            }
        });
    }

    /// A value for each range that has floats, whatever else it has.
    fn ignoring(&self, out: &mut Output<'_>, mut value: impl FnMut(&Window<'_>, usize) -> f64) {
        self.ranges.each(self.samples, self.steps, |step, window| {
            if window.values.is_empty() {
                return;
            }
            out.findings.ignored |= !window.histograms.is_empty();
            out.values[step] = value(window, step);
        });
    }

    fn quantiles(&self, sorted: &mut Vec<f64>, out: &mut Output<'_>) {
        let mut bad = Vec::new();
        self.ignoring(out, |window, step| {
            let q = self.call.arg(0, step);
            let same = |other: &f64| other.to_bits() == q.to_bits();
            if !(0.0..=1.0).contains(&q) && !bad.last().is_some_and(same) {
                bad.push(q);
            }
            sorted.clear();
            sorted.extend_from_slice(window.values);
            quantile::of_values(q, sorted)
        });
        out.findings.quantiles = bad;
    }

    fn border_samples(&self, out: &mut Output<'_>, side: Side) {
        self.ranges.each(self.samples, self.steps, |step, window| {
            let (float, histogram) = match side {
                Side::First => (window.timestamps.first(), window.histograms.first()),
                Side::Last => (window.timestamps.last(), window.histograms.last()),
            };
            let histogram = histogram.filter(|sample| {
                float.is_none_or(|float| match side {
                    Side::First => sample.timestamp_ms <= *float,
                    Side::Last => sample.timestamp_ms >= *float,
                })
            });
            match (histogram, side) {
                (Some(sample), _) => {
                    let column = out.histograms.get_or_insert_with(|| vec![None; self.steps.count]);
                    column[step] = Some(Arc::clone(&sample.histogram));
                }
                (None, Side::First) => out.values[step] = window.values[0],
                (None, Side::Last) => out.values[step] = window.values[window.values.len() - 1],
            }
        });
    }

    /// `rate`, `increase` and `delta`.
    fn changes_over(&self, scratch: &mut Scratch, out: &mut Output<'_>) {
        let call = self.call;
        let change = Change {
            counter: call.function != Function::Delta,
            per_second: call.function == Function::Rate,
            starts: call.starts,
        };
        if call.border != Border::Extrapolated {
            self.of_floats(out, |w, _| extrapolation::between_borders(w, change, call.border));
            return;
        }
        let resets = &mut scratch.events;
        resets.clear();
        if change.counter {
            let values = &self.samples.floats.values;
            self.each_pair(|index, started_anew| {
                if values[index] < values[index - 1] || started_anew {
                    resets.push(index);
                }
            });
        }
        let mut resets = Resets::new(resets);
        let floats = &self.samples.floats;
        let knows_starts = change.starts && change.counter && !floats.starts.is_empty();
        if self.samples.histograms.is_empty() && !knows_starts {
            // The common case, without all that windows carry for the others.
            let asked = (change, self.ranges, self.steps);
            scratch.stretches.fill(asked, floats, resets, out.values);
            return;
        }
        self.ranges.each(self.samples, self.steps, |step, window| {
            if window.is_mixed() {
                out.findings.mixed = true;
                return;
            }
            if knows_starts && extrapolation::has_overlapping_start(window) {
                out.findings.overlaps += 1;
            }
            let resets = resets.inside(window.offset..window.offset + window.values.len());
            out.values[step] = extrapolation::of_window(window, change, resets);
        });
    }

    /// Calls `visit` with the index of each float but the first, and whether its start timestamp
    /// tells of a reset.
    fn each_pair(&self, mut visit: impl FnMut(usize, bool)) {
        let floats = &self.samples.floats;
        let starts = self.call.starts && !floats.starts.is_empty();
        for index in 1..floats.values.len() {
            visit(index, starts && is_start_reset(&floats.timestamps, &floats.starts, index));
        }
    }

    /// `changes` and `resets`.
    fn count_events(&self, scratch: &mut Scratch, out: &mut Output<'_>) {
        if !self.samples.histograms.is_empty() {
            self.count_mixed_events(out);
            return;
        }
        let (values, function) = (&self.samples.floats.values, self.call.function);
        let events = &mut scratch.events;
        events.clear();
        self.each_pair(|index, started_anew| {
            if is_event(function, values[index - 1], values[index])
                || (function == Function::Resets && started_anew)
            {
                events.push(index);
            }
        });
        let (mut first, mut end) = (0, 0);
        self.ranges.each(self.samples, self.steps, |step, window| {
            let Some(from) = self.first_counted(window) else { return };
            let begin = window.offset + from;
            let last = window.offset + window.values.len();
            while end < events.len() && events[end] < last {
                end += 1;
            }
            while first < end && events[first] <= begin {
                first += 1;
            }
            out.values[step] = (end - first) as f64;
        });
    }

    /// The first float of a window that counts, if any lies in the range.
    fn first_counted(&self, window: &Window<'_>) -> Option<usize> {
        match self.call.border {
            Border::Anchored => extrapolation::anchored_from(window),
            Border::Extrapolated | Border::Smoothed => Some(0),
        }
    }

    /// `changes` and `resets` of ranges that hold histograms too: another kind of sample is one.
    fn count_mixed_events(&self, out: &mut Output<'_>) {
        let function = self.call.function;
        let mut samples: Vec<(i64, Kind<'_>)> = Vec::new();
        self.ranges.each(self.samples, self.steps, |step, window| {
            samples.clear();
            let floats = window.timestamps.iter().zip(window.values);
            samples.extend(floats.map(|(time_ms, value)| (*time_ms, Kind::Float(*value))));
            let first = window.offset_of_histograms;
            let histograms = &self.samples.histograms[first..first + window.histograms.len()];
            samples
                .extend(histograms.iter().map(|s| (s.timestamp_ms, Kind::Histogram(&s.histogram))));
            samples.sort_by_key(|(time_ms, _)| *time_ms);
            let in_range = samples.partition_point(|(time_ms, _)| *time_ms <= window.from_ms);
            if in_range == samples.len() {
                return;
            }
            let pairs = samples[in_range.saturating_sub(1)..].windows(2);
            let events = pairs.filter(|pair| pair[0].1.is_event_to(pair[1].1, function));
            out.values[step] = events.count() as f64;
        });
    }
}

/// A sample of either kind.
#[derive(Clone, Copy)]
enum Kind<'a> {
    Float(f64),
    Histogram(&'a rangekeeper_model::Histogram),
}

impl Kind<'_> {
    fn is_event_to(self, next: Self, function: Function) -> bool {
        match (self, next) {
            (Self::Float(a), Self::Float(b)) => is_event(function, a, b),
            (Self::Histogram(a), Self::Histogram(b)) => match function {
                Function::Changes => a != b,
                _ => b.reset_hint == rangekeeper_model::CounterResetHint::Reset,
            },
            _ => true,
        }
    }
}

/// Which end of a range.
#[derive(Clone, Copy)]
enum Side {
    First,
    Last,
}

fn is_event(function: Function, before: f64, value: f64) -> bool {
    match function {
        Function::Changes => value != before && !(value.is_nan() && before.is_nan()),
        _ => value < before,
    }
}

/// `irate` and `idelta`: the change between the last two samples.
fn instant_change(window: &Window<'_>, is_rate: bool, starts: bool) -> f64 {
    let Some(last) = window.values.len().checked_sub(1).filter(|last| *last > 0) else {
        return ABSENT;
    };
    let (before, value) = (window.values[last - 1], window.values[last]);
    if !is_rate {
        return value - before;
    }
    let knows_starts = starts && !window.starts.is_empty();
    let is_reset =
        value < before || (knows_starts && is_start_reset(window.timestamps, window.starts, last));
    let change = if is_reset { value } else { value - before };
    change / seconds(window.timestamps[last] - window.timestamps[last - 1])
}

fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

fn first_time(window: &Window<'_>) -> i64 {
    let histogram = window.histograms.first().map_or(i64::MAX, |sample| sample.timestamp_ms);
    window.timestamps.first().copied().unwrap_or(i64::MAX).min(histogram)
}

fn last_time(window: &Window<'_>) -> i64 {
    let histogram = window.histograms.last().map_or(i64::MIN, |sample| sample.timestamp_ms);
    window.timestamps.last().copied().unwrap_or(i64::MIN).max(histogram)
}

/// Index of the greatest value, of equal ones the `later` or the first. NaN only if there is
/// nothing else.
fn greatest(window: &Window<'_>, later: bool) -> usize {
    extreme(window.values, |value, best| value > best || (later && value == best))
}

/// Index of the least value, likewise.
fn least(window: &Window<'_>, later: bool) -> usize {
    extreme(window.values, |value, best| value < best || (later && value == best))
}

fn extreme(values: &[f64], beats: impl Fn(f64, f64) -> bool) -> usize {
    let mut best = 0;
    for index in 1..values.len() {
        if beats(values[index], values[best]) || values[best].is_nan() {
            best = index;
        }
    }
    best
}

/// The median of the distances from the median; NaN if any value is.
fn median_deviation(values: &[f64], sorted: &mut Vec<f64>) -> f64 {
    if values.iter().any(|value| value.is_nan()) {
        return f64::NAN;
    }
    sorted.clear();
    sorted.extend_from_slice(values);
    let median = quantile::of_values(0.5, sorted);
    for value in sorted.iter_mut() {
        *value = (*value - median).abs();
    }
    quantile::of_values(0.5, sorted)
}
