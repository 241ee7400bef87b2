//! Floats as whole numbers over a power of ten.

/// Powers of ten that a double holds exactly, and that one division by rounds correctly.
const POWERS: [f64; 15] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14];
/// Whole numbers below this are exact as doubles.
const EXACT_BELOW: f64 = 9_007_199_254_740_992.0;
/// A quotient may be off by a few units in the last place only where it has so few digits that this
/// is no coincidence.
const NEAR_BELOW: f64 = 70_368_744_177_664.0;
/// Units in the last place that a sum of decimals drifts off.
const NEAR_UNITS: u64 = 64;

/// The decimals of a series.
#[derive(Debug, Default)]
pub(crate) struct Decimals {
    pub(crate) scale: u8,
    /// Value × 10^scale, rounded.
    pub(crate) ints: Vec<i64>,
    /// What is to be added to the bits of int / 10^scale.
    pub(crate) adjustments: Vec<i64>,
    /// Whether one of these is not 0.
    pub(crate) is_adjusted: bool,
}

/// The quotient; nothing for a scale that does not exist.
pub(crate) fn value(n: i64, scale: u8) -> Option<f64> {
    Some(n as f64 / POWERS.get(usize::from(scale))?)
}

/// The quotients.
pub(crate) fn values(ints: &[i64], scale: u8, out: &mut [f64]) -> Option<()> {
    let power = *POWERS.get(usize::from(scale))?;
    if scale == 0 {
        out.iter_mut().zip(ints).for_each(|(value, &n)| *value = n as f64);
    } else {
        out.iter_mut().zip(ints).for_each(|(value, &n)| *value = n as f64 / power);
    }
    Some(())
}

/// `value` with `adjustment` added to its bits.
pub(crate) fn adjusted(value: f64, adjustment: i64) -> f64 {
    f64::from_bits(value.to_bits().wrapping_add_signed(adjustment))
}

/// Scale and whole number whose quotient is `value` to the bit.
pub(crate) fn exact(value: f64) -> Option<(u8, i64)> {
    (0..POWERS.len()).find_map(|scale| {
        let (n, off) = nearest(value, scale);
        (off == 0 && (n as f64).abs() < EXACT_BELOW).then_some((scale as u8, n))
    })
}

/// The whole number whose quotient comes nearest, and the difference of their bits.
#[inline]
fn nearest(value: f64, scale: usize) -> (i64, i64) {
    let power = POWERS[scale];
    let n = (value * power + 0.5f64.copysign(value)) as i64;
    let quotient = n as f64 / power;
    (n, value.to_bits().wrapping_sub(quotient.to_bits()).cast_signed())
}

/// Whether `value` is a decimal of this scale, but for the last units.
#[inline]
fn is_near(n: i64, off: i64) -> bool {
    let size = (n as f64).abs();
    (off == 0 && size < EXACT_BELOW) || (off.unsigned_abs() <= NEAR_UNITS && size < NEAR_BELOW)
}

/// Finds the smallest scale with which the values are decimals, and leaves them in `out`. Values
/// that are none at any scale are exceptions; with more than a few of those it gives up and says
/// no.
pub(crate) fn find(values: &[f64], out: &mut Decimals) -> bool {
    let Some(scale) = find_scale(values) else { return false };
    out.scale = scale as u8;
    out.is_adjusted = false;
    out.ints.clear();
    out.adjustments.clear();
    // The first n of a series that begins with exceptions is that of the first that is none.
    let decimal = |value: &f64| Some(nearest(*value, scale)).filter(|&(n, off)| is_near(n, off));
    let mut last = values.iter().find_map(decimal).map_or(0, |(n, _)| n);
    for value in values {
        let (n, off) = decimal(value).unwrap_or_else(|| {
            let stand_in = last as f64 / POWERS[scale];
            (last, value.to_bits().wrapping_sub(stand_in.to_bits()).cast_signed())
        });
        out.ints.push(n);
        out.adjustments.push(off);
        out.is_adjusted |= off != 0;
        last = n;
    }
    true
}

fn find_scale(values: &[f64]) -> Option<usize> {
    let most = values.len() / 16 + 1;
    let (mut scale, mut exceptions) = (0, 0);
    let mut last = f64::NAN.to_bits();
    for value in values {
        // What repeats was a decimal of a scale no greater, or is counted.
        if std::mem::replace(&mut last, value.to_bits()) == value.to_bits() && exceptions == 0 {
            continue;
        }
        let fitting = (scale..POWERS.len()).find(|&scale| {
            let (n, off) = nearest(*value, scale);
            is_near(n, off)
        });
        match fitting {
            Some(fitting) => scale = fitting,
            None => exceptions += 1,
        }
        if exceptions > most {
            return None;
        }
    }
    Some(scale)
}
