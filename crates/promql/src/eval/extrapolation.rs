//! `rate`, `increase` and `delta`: from the samples in a range to the change over the whole range.

mod table;

use std::ops::Range;

use super::column::ABSENT;
use super::windows::Window;

pub(crate) use table::StretchTable;

/// So much more than enough that rounding does not matter.
const FAR: f64 = 1.000_001;

/// What is asked of the change over a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// A counter: a fall is a reset to zero.
    pub counter: bool,
    /// Per second instead of over the range.
    pub per_second: bool,
    /// Whether start timestamps tell of resets.
    pub starts: bool,
}

/// The resets of a series, of which each range takes those inside it.
pub(crate) struct Resets<'a> {
    /// Indices of the samples before which the counter fell.
    of_series: &'a [usize],
    first: usize,
    end: usize,
}

impl<'a> Resets<'a> {
    /// Of indices that rise.
    pub fn new(of_series: &'a [usize]) -> Self {
        Self { of_series, first: 0, end: 0 }
    }

    /// Those between two samples of `place`; places only ever move forward.
    #[inline]
    pub fn inside(&mut self, place: Range<usize>) -> &'a [usize] {
        while self.end < self.of_series.len() && self.of_series[self.end] < place.end {
            self.end += 1;
        }
        while self.first < self.end && self.of_series[self.first] <= place.start {
            self.first += 1;
        }
        &self.of_series[self.first..self.end]
    }
}

/// How the borders of a range get their values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Border {
    /// The samples inside are continued to the borders.
    Extrapolated,
    /// The last samples at or before the borders are used.
    Anchored,
    /// Values are interpolated between the samples around the borders.
    Smoothed,
}

/// Extrapolation goes to a border that is at most this many average sample distances away.
const BORDER_DISTANCE: f64 = 1.1;

/// Whether the counter began anew between two samples, going by their start timestamps.
///
/// A start at the previous sample's time is a delta in OpenTelemetry, or a cumulative series of
/// unknown start. It is a delta only if the previous sample knew a start of its own, before itself.
#[inline]
pub(crate) fn is_start_reset(timestamps: &[i64], starts: &[i64], index: usize) -> bool {
    let (start, time) = (starts[index], timestamps[index]);
    let (start_before, time_before) = (starts[index - 1], timestamps[index - 1]);
    if start == 0 || start >= time || start < time_before {
        return false;
    }
    start > time_before || (start_before != 0 && start_before < time_before)
}

/// Whether a sample claims to have begun before the one before it, in a series that began at
/// another time.
pub(crate) fn has_overlapping_start(window: &Window<'_>) -> bool {
    !window.starts.is_empty()
        && (1..window.starts.len()).any(|index| {
            let start = window.starts[index];
            start != 0 && start < window.timestamps[index - 1] && start != window.starts[index - 1]
        })
}

/// How the samples of a range lie, in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Layout {
    /// From the range's left border to the first sample.
    to_start_ms: i64,
    /// From the first sample to the last.
    sampled_ms: i64,
    /// From the last sample to the right border.
    to_end_ms: i64,
    /// How long before the first sample the counter is known to have been zero, if that is known.
    since_zero_ms: Option<i64>,
    /// Number of samples but one.
    last: usize,
}

/// What a change is stretched over, in seconds.
#[derive(Clone, Copy, Debug, Default)]
struct Lengths {
    /// Before the first sample.
    to_start: f64,
    /// Between the samples.
    sampled: f64,
    /// After the last sample.
    to_end: f64,
    /// Of the range.
    range: f64,
}

/// What stretches a change between the first and the last sample of a range to the whole range.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    lengths: Lengths,
    /// Whether the counter may have begun inside the range.
    meets_zero: bool,
    factor: f64,
}

fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

impl Lengths {
    fn factor(self, change: Change, to_start: f64) -> f64 {
        let factor = (self.sampled + to_start + self.to_end) / self.sampled;
        if change.per_second { factor / self.range } else { factor }
    }
}

impl Layout {
    /// A series that covers the border is continued up to it; one that seems to begin or end
    /// inside is continued by half a distance of its samples.
    fn lengths(self, range_ms: i64) -> Lengths {
        let distance = seconds(self.sampled_ms) / self.last as f64;
        let near = distance * BORDER_DISTANCE;
        let continued = |length: f64| if length >= near { distance / 2.0 } else { length };
        Lengths {
            to_start: match self.since_zero_ms {
                Some(_) => 0.0,
                None => continued(seconds(self.to_start_ms)),
            },
            sampled: seconds(self.sampled_ms + self.since_zero_ms.unwrap_or(0)),
            to_end: if self.last == 0 { 0.0 } else { continued(seconds(self.to_end_ms)) },
            range: seconds(range_ms),
        }
    }
}

/// The change over the window's range. `resets` are the samples, by their index in the series,
/// before which the counter fell; none if it is no counter.
pub(crate) fn of_window(window: &Window<'_>, change: Change, resets: &[usize]) -> f64 {
    let Some(last) = window.values.len().checked_sub(1) else { return ABSENT };
    let knows_starts = change.starts && change.counter;
    let since_zero_ms = if knows_starts { since_zero(window) } else { None };
    if last == 0 && since_zero_ms.is_none() {
        return ABSENT;
    }
    let first_value = window.values[0];
    let mut difference = window.values[last] - first_value;
    if since_zero_ms.is_some() {
        difference += first_value;
    }
    for reset in resets {
        difference += window.values[reset - 1 - window.offset];
    }
    let layout = Layout {
        to_start_ms: window.timestamps[0] - window.from_ms,
        sampled_ms: window.timestamps[last] - window.timestamps[0],
        to_end_ms: window.to_ms - window.timestamps[last],
        since_zero_ms,
        last,
    };
    let stretch = Stretch::new(change, layout, window.to_ms - window.from_ms);
    stretch.apply(change, difference, first_value)
}

impl Stretch {
    /// What stretches changes between samples that lie so to the range.
    fn new(change: Change, layout: Layout, range_ms: i64) -> Self {
        let lengths = layout.lengths(range_ms);
        Self {
            lengths,
            // Where it is known when the counter was zero, nothing is continued to the left.
            meets_zero: change.counter && layout.since_zero_ms.is_none(),
            factor: lengths.factor(change, lengths.to_start),
        }
    }

    /// Stretches the difference between the last sample of a range and its `first` one.
    #[inline]
    fn apply(&self, change: Change, difference: f64, first: f64) -> f64 {
        let Lengths { to_start, sampled, .. } = self.lengths;
        if self.meets_zero && difference > 0.0 && first >= 0.0 {
            // A counter is never negative: it began where the slope meets zero, if that is inside
            // the range. Most counters are far from zero, which a product tells sooner than a
            // quotient.
            let is_far = first * sampled > to_start * difference * FAR;
            let to_zero = if is_far { f64::INFINITY } else { sampled * (first / difference) };
            if to_zero < to_start {
                return difference * self.lengths.factor(change, to_zero);
            }
        }
        difference * self.factor
    }
}

/// How long before the first sample the counter is known to have been zero: since that sample's
/// start, if it lies in the range.
fn since_zero(window: &Window<'_>) -> Option<i64> {
    let start = window.starts.first().copied()?;
    let first = window.timestamps[0];
    (start > window.from_ms && start < first).then_some(first - start)
}

/// The change between the values at the two borders, for `anchored` and `smoothed`. The window also
/// holds the samples beyond the borders.
pub(crate) fn between_borders(window: &Window<'_>, change: Change, border: Border) -> f64 {
    let smoothed = border == Border::Smoothed;
    let Some((first, last)) = border_samples(window, smoothed) else { return ABSENT };
    let (left, right) = border_values(window, (first, last), smoothed, change.counter);
    let mut result = right - left;
    if change.counter {
        // The borders' own resets are in their values already: only what lies strictly inside
        // counts.
        let begin = first + usize::from(window.timestamps[first] <= window.from_ms);
        let end = last + usize::from(window.timestamps[last] < window.to_ms);
        let inside = window.values.get(begin..end).unwrap_or(&[]);
        result += fallen(left, right, inside);
    }
    if change.per_second {
        result /= (window.to_ms - window.from_ms) as f64 / 1000.0;
    }
    result
}

/// The samples of a range with a value at each border, for a query that asks for an `anchored` or
/// `smoothed` range itself.
pub(crate) fn with_borders(window: &Window<'_>, smoothed: bool) -> Vec<(i64, f64)> {
    let Some((first, last)) = border_samples(window, smoothed) else { return Vec::new() };
    let (left, right) = border_values(window, (first, last), smoothed, false);
    let mut points = vec![(window.from_ms, left)];
    let inside = (first..=last).map(|at| (window.timestamps[at], window.values[at]));
    points.extend(inside.filter(|(time, _)| (window.from_ms + 1..window.to_ms).contains(time)));
    points.push((window.to_ms, right));
    points
}

/// The values at the borders, given the samples there.
fn border_values(
    window: &Window<'_>,
    (first, last): (usize, usize),
    smoothed: bool,
    counter: bool,
) -> (f64, f64) {
    let left = if smoothed && window.timestamps[first] < window.from_ms {
        interpolate(window, first, window.from_ms, counter)
    } else {
        window.values[first]
    };
    let right = if smoothed && last > 0 && window.timestamps[last] > window.to_ms {
        interpolate(window, last - 1, window.to_ms, counter)
    } else {
        window.values[last]
    };
    (left, right)
}

/// The samples at the borders: the last at or before the left one (or the first of all), and the
/// last of all, which for `smoothed` is the first at or after the right one. `None` if all samples
/// lie before the range, or after it.
fn border_samples(window: &Window<'_>, smoothed: bool) -> Option<(usize, usize)> {
    let mut last = window.timestamps.len().checked_sub(1)?;
    let first = first_anchored(window);
    if smoothed {
        last = window.timestamps[..last].partition_point(|t| *t < window.to_ms);
    }
    let touches = window.timestamps[last] > window.from_ms
        && (!smoothed || window.timestamps[first] <= window.to_ms);
    touches.then_some((first, last))
}

/// The last sample at or before the left border, or the first of all.
fn first_anchored(window: &Window<'_>) -> usize {
    let before_last = window.timestamps.len().saturating_sub(1);
    window.timestamps[..before_last].partition_point(|t| *t <= window.from_ms).saturating_sub(1)
}

/// The samples of the window from the last at or before the left border on, for `anchored`. `None`
/// if none lies in the range itself.
pub(crate) fn anchored_from(window: &Window<'_>) -> Option<usize> {
    let last = window.timestamps.last()?;
    (*last > window.from_ms).then(|| first_anchored(window))
}

/// The value at `time_ms` on the line from sample `left` to the next one. A counter that fell
/// begins at zero.
fn interpolate(window: &Window<'_>, left: usize, time_ms: i64, counter: bool) -> f64 {
    let from = (window.timestamps[left], window.values[left]);
    let to = (window.timestamps[left + 1], window.values[left + 1]);
    let from = if counter && to.1 < from.1 { (from.0, 0.0) } else { from };
    on_line(from, to, time_ms)
}

/// The value at `time_ms` on the line through two points.
pub(crate) fn on_line(from: (i64, f64), to: (i64, f64), time_ms: i64) -> f64 {
    from.1 + (to.1 - from.1) * (time_ms - from.0) as f64 / (to.0 - from.0) as f64
}

/// What a counter lost in its resets on the way from `left` over `values` to `right`.
fn fallen(left: f64, right: f64, values: &[f64]) -> f64 {
    let mut lost = 0.0;
    let mut before = left;
    for value in values.iter().chain([&right]) {
        if *value < before {
            lost += before;
        }
        before = *value;
    }
    lost
}
