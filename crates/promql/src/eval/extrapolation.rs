//! `rate`, `increase` and `delta`: from the samples in a range to the change over the whole range.

use super::column::ABSENT;
use super::windows::Window;

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
/// A start at the previous sample's time is a delta in OpenTelemetry, or a cumulative series of unknown start. It is
/// a delta only if the previous sample knew a start of its own, before itself.
#[inline]
pub(crate) fn is_start_reset(timestamps: &[i64], starts: &[i64], index: usize) -> bool {
    let (start, time) = (starts[index], timestamps[index]);
    let (start_before, time_before) = (starts[index - 1], timestamps[index - 1]);
    if start == 0 || start >= time || start < time_before {
        return false;
    }
    start > time_before || (start_before != 0 && start_before < time_before)
}

/// Whether a sample claims to have begun before the one before it, in a series that began at another time.
pub(crate) fn has_overlapping_start(window: &Window<'_>) -> bool {
    !window.starts.is_empty()
        && (1..window.starts.len()).any(|index| {
            let start = window.starts[index];
            start != 0 && start < window.timestamps[index - 1] && start != window.starts[index - 1]
        })
}

/// The change over the window's range. `resets` are the samples, by their index in the series, before which the
/// counter fell; none if it is no counter.
pub(crate) fn extrapolated(window: &Window<'_>, resets: &[usize], change: Change) -> f64 {
    let last = window.values.len().wrapping_sub(1);
    let since = if change.starts && change.counter { known_zero(window) } else { None };
    if window.values.is_empty() || (window.values.len() < 2 && since.is_none()) {
        return ABSENT;
    }
    let first_value = window.values[0];
    let mut result = window.values[last] - first_value;
    if since.is_some() {
        result += first_value;
    }
    for reset in resets {
        result += window.values[reset - 1 - window.offset];
    }
    let (first_ms, last_ms) = (window.timestamps[0], window.timestamps[last]);
    let seconds = |ms: i64| ms as f64 / 1000.0;
    let sampled = seconds(last_ms - since.unwrap_or(first_ms));
    let distance = seconds(last_ms - first_ms) / last as f64;
    let near = distance * BORDER_DISTANCE;

    let mut to_start = match since {
        Some(_) => 0.0,
        None => seconds(first_ms - window.from_ms),
    };
    if to_start >= near {
        to_start = distance / 2.0;
    }
    if change.counter && since.is_none() && result > 0.0 && first_value >= 0.0 {
        // A counter is never negative: it began where the slope meets zero, if that is inside the range.
        to_start = to_start.min(sampled * (first_value / result));
    }
    let mut to_end = seconds(window.to_ms - last_ms);
    if last == 0 {
        to_end = 0.0;
    } else if to_end >= near {
        to_end = distance / 2.0;
    }
    let mut factor = (sampled + to_start + to_end) / sampled;
    if change.per_second {
        factor /= seconds(window.to_ms - window.from_ms);
    }
    result * factor
}

/// The time inside the range at which the counter is known to have been zero: the first sample's start.
fn known_zero(window: &Window<'_>) -> Option<i64> {
    let start = window.starts.first().copied()?;
    (start > window.from_ms && start < window.timestamps[0]).then_some(start)
}

/// The change between the values at the two borders, for `anchored` and `smoothed`. The window also holds the samples
/// beyond the borders.
pub(crate) fn between_borders(window: &Window<'_>, change: Change, border: Border) -> f64 {
    let smoothed = border == Border::Smoothed;
    let Some((first, last)) = border_samples(window, smoothed) else { return ABSENT };
    let (left, right) = border_values(window, (first, last), smoothed, change.counter);
    let mut result = right - left;
    if change.counter {
        // The borders' own resets are in their values already: only what lies strictly inside counts.
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

/// The samples of a range with a value at each border, for a query that asks for an `anchored` or `smoothed` range
/// itself.
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

/// The samples at the borders: the last at or before the left one (or the first of all), and the last of all, which
/// for `smoothed` is the first at or after the right one. `None` if all samples lie before the range, or after it.
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

/// The samples of the window from the last at or before the left border on, for `anchored`. `None` if none lies in
/// the range itself.
pub(crate) fn anchored_from(window: &Window<'_>) -> Option<usize> {
    let last = window.timestamps.last()?;
    (*last > window.from_ms).then(|| first_anchored(window))
}

/// The value at `time_ms` on the line from sample `left` to the next one. A counter that fell begins at zero.
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
