//! `rate`, `increase` and `delta`: from the samples in a range to the change over the whole range.

use std::ops::Range;

use rangekeeper_model::Floats;

use super::column::ABSENT;
use super::windows::Window;

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

/// Computes the changes over one series' ranges. Remembers how the samples of the last range lay:
/// of a regular series all ranges look alike, and then a range costs a subtraction and a product.
pub(crate) struct Extrapolation {
    change: Change,
    layout: Layout,
    lengths: Lengths,
    factor: f64,
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
#[derive(Clone, Copy, Default)]
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

fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
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

impl Extrapolation {
    /// For the changes of one series.
    pub fn new(change: Change) -> Self {
        let (layout, lengths) = (Layout::default(), Lengths::default());
        Self { change, layout, lengths, factor: f64::NAN }
    }

    /// The change over the window's range. `resets` are the samples, by their index in the series,
    /// before which the counter fell; none if it is no counter.
    pub fn value(&mut self, window: &Window<'_>, resets: &[usize]) -> f64 {
        let Some(last) = window.values.len().checked_sub(1) else { return ABSENT };
        let knows_starts = self.change.starts && self.change.counter;
        let since_zero_ms = if knows_starts { since_zero(window) } else { None };
        if last == 0 && since_zero_ms.is_none() {
            return ABSENT;
        }
        let first_value = window.values[0];
        let mut change = window.values[last] - first_value;
        if since_zero_ms.is_some() {
            change += first_value;
        }
        for reset in resets {
            change += window.values[reset - 1 - window.offset];
        }
        let layout = Layout {
            to_start_ms: window.timestamps[0] - window.from_ms,
            sampled_ms: window.timestamps[last] - window.timestamps[0],
            to_end_ms: window.to_ms - window.timestamps[last],
            since_zero_ms,
            last,
        };
        self.stretched(change, first_value, layout, window.to_ms - window.from_ms)
    }

    /// The same for the floats at `place`, of which no start is known.
    #[inline]
    pub fn of_floats(
        &mut self,
        floats: &Floats,
        place: Range<usize>,
        (from_ms, to_ms): (i64, i64),
        resets: &[usize],
    ) -> f64 {
        let (timestamps, values) = (&floats.timestamps[place.clone()], &floats.values[place]);
        let ([first_ms, .., last_ms], [first_value, .., last_value]) = (timestamps, values) else {
            return ABSENT;
        };
        let mut change = last_value - first_value;
        for reset in resets {
            change += floats.values[reset - 1];
        }
        let layout = Layout {
            to_start_ms: first_ms - from_ms,
            sampled_ms: last_ms - first_ms,
            to_end_ms: to_ms - last_ms,
            since_zero_ms: None,
            last: values.len() - 1,
        };
        self.stretched(change, *first_value, layout, to_ms - from_ms)
    }

    /// A change between samples that lie so, stretched to the range.
    #[inline]
    fn stretched(&mut self, change: f64, first: f64, layout: Layout, range_ms: i64) -> f64 {
        if layout != self.layout {
            self.layout = layout;
            self.lengths = layout.lengths(range_ms);
            self.factor = self.factor_from(self.lengths.to_start);
        }
        let may_be_negative = self.change.counter && layout.since_zero_ms.is_none();
        if may_be_negative && change > 0.0 && first >= 0.0 {
            // A counter is never negative: it began where the slope meets zero, if that is inside
            // the range.
            let Lengths { to_start, sampled, .. } = self.lengths;
            // Most counters are far from zero, which a product tells sooner than a quotient.
            let is_far = first * sampled > to_start * change * FAR;
            let to_zero = if is_far { f64::INFINITY } else { sampled * (first / change) };
            if to_zero < to_start {
                return change * self.factor_from(to_zero);
            }
        }
        change * self.factor
    }

    fn factor_from(&self, to_start: f64) -> f64 {
        let Lengths { sampled, to_end, range, .. } = self.lengths;
        let factor = (sampled + to_start + to_end) / sampled;
        if self.change.per_second { factor / range } else { factor }
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
