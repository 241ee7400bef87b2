//! `deriv`, `predict_linear` and double exponential smoothing.

use super::column::ABSENT;
use super::float_sums::Sum;
use super::windows::Window;

/// Slope and value at `time_ms` of the line nearest to the samples by least squares.
fn nearest_line(window: &Window<'_>, time_ms: i64) -> (f64, f64) {
    let first = window.values[0];
    if window.values.iter().all(|value| *value == first) {
        return if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) };
    }
    let [mut sum_x, mut sum_y, mut sum_xy, mut sum_xx] = [Sum::default(); 4];
    for (timestamp, y) in window.timestamps.iter().zip(window.values) {
        let x = (timestamp - time_ms) as f64 / 1000.0;
        sum_x.add(x);
        sum_y.add(*y);
        sum_xy.add(x * y);
        sum_xx.add(x * x);
    }
    let n = window.values.len() as f64;
    let [sum_x, sum_y, sum_xy, sum_xx] = [sum_x, sum_y, sum_xy, sum_xx].map(Sum::total);
    let slope = (sum_xy - sum_x * sum_y / n) / (sum_xx - sum_x * sum_x / n);
    (slope, sum_y / n - slope * sum_x / n)
}

/// The slope per second.
pub(crate) fn deriv(window: &Window<'_>) -> f64 {
    if window.values.len() < 2 {
        return ABSENT;
    }
    // Times near the samples keep the digits.
    nearest_line(window, window.timestamps[0]).0
}

/// The value that the line has `seconds` after the step.
pub(crate) fn predict_linear(window: &Window<'_>, seconds: f64) -> f64 {
    if window.values.len() < 2 {
        return ABSENT;
    }
    let (slope, value) = nearest_line(window, window.step_ms);
    slope * seconds + value
}

/// The last value smoothed by Holt's method: `smoothing` weighs a sample against the trend, `trend`
/// the last change against the changes before; both above 0 and below 1.
pub(crate) fn double_exponential_smoothing(window: &Window<'_>, smoothing: f64, trend: f64) -> f64 {
    if window.values.len() < 2 {
        return ABSENT;
    }
    let mut before = 0.0;
    let mut smoothed = window.values[0];
    let mut slope = window.values[1] - window.values[0];
    for (index, value) in window.values.iter().enumerate().skip(1) {
        if index > 1 {
            slope = trend * (smoothed - before) + (1.0 - trend) * slope;
        }
        let next = smoothing * value + (1.0 - smoothing) * (smoothed + slope);
        before = smoothed;
        smoothed = next;
    }
    smoothed
}
