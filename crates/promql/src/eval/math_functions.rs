//! The functions that turn one number into another.

use crate::functions::Function;

/// `function` as a map over floats, given the values of its scalar arguments at the step. `None` if
/// it is none.
pub(crate) fn of_float(function: Function) -> Option<fn(f64) -> f64> {
    Some(match function {
        Function::Abs => f64::abs,
        Function::Acos => f64::acos,
        Function::Acosh => acosh,
        Function::Asin => f64::asin,
        Function::Asinh => asinh,
        Function::Atan => f64::atan,
        Function::Atanh => atanh,
        Function::Ceil => f64::ceil,
        Function::Cos => f64::cos,
        Function::Cosh => f64::cosh,
        Function::Deg => |v| v * 180.0 / std::f64::consts::PI,
        Function::Exp => f64::exp,
        Function::Floor => f64::floor,
        Function::Ln => f64::ln,
        Function::Log10 => f64::log10,
        Function::Log2 => f64::log2,
        Function::Rad => |v| v * std::f64::consts::PI / 180.0,
        Function::Sgn => sign,
        Function::Sin => f64::sin,
        Function::Sinh => f64::sinh,
        Function::Sqrt => f64::sqrt,
        Function::Tan => f64::tan,
        Function::Tanh => f64::tanh,
        _ => return None,
    })
}

fn sign(value: f64) -> f64 {
    if value < 0.0 {
        -1.0
    } else if value > 0.0 {
        1.0
    } else {
        value
    }
}

/// The multiple of `nearest` that is nearest to `value`; of two the greater.
pub(crate) fn round(value: f64, nearest: f64) -> f64 {
    // The inverse loses fewer digits than dividing by `nearest`.
    let inverse = 1.0 / nearest;
    (value * inverse + 0.5).floor() / inverse
}

/// The lesser number. Negative infinity is less than all, even than NaN; otherwise it is NaN if one
/// is. Of two zeros the negative.
pub(crate) fn min(a: f64, b: f64) -> f64 {
    if a == f64::NEG_INFINITY || b == f64::NEG_INFINITY {
        f64::NEG_INFINITY
    } else if a.is_nan() || b.is_nan() {
        f64::NAN
    } else if a == 0.0 && b == 0.0 {
        if a.is_sign_negative() { a } else { b }
    } else {
        a.min(b)
    }
}

/// The greater number. Infinity is greater than all, even than NaN; otherwise it is NaN if one is.
/// Of two zeros the positive.
pub(crate) fn max(a: f64, b: f64) -> f64 {
    if a == f64::INFINITY || b == f64::INFINITY {
        f64::INFINITY
    } else if a.is_nan() || b.is_nan() {
        f64::NAN
    } else if a == 0.0 && b == 0.0 {
        if a.is_sign_negative() { b } else { a }
    } else {
        a.max(b)
    }
}

/// From here on `x² ± 1` is `x²`, so that the logarithm of `2x` is all that is left.
const LARGE: f64 = 268_435_456.0;

/// The inverse of the hyperbolic sine, by the formulas of FreeBSD's mathematical library, as
/// upstream has it: they give the same last digit and do not overflow.
fn asinh(value: f64) -> f64 {
    let x = value.abs();
    let result = if x > LARGE {
        x.ln() + std::f64::consts::LN_2
    } else if x > 2.0 {
        (2.0 * x + 1.0 / ((x * x + 1.0).sqrt() + x)).ln()
    } else if x < 1.0 / LARGE {
        x
    } else {
        (x + x * x / (1.0 + (1.0 + x * x).sqrt())).ln_1p()
    };
    if value.is_nan() || value.is_infinite() { value } else { result.copysign(value) }
}

/// The inverse of the hyperbolic cosine, likewise.
fn acosh(x: f64) -> f64 {
    if x < 1.0 || x.is_nan() {
        f64::NAN
    } else if x >= LARGE {
        x.ln() + std::f64::consts::LN_2
    } else if x > 2.0 {
        (2.0 * x - 1.0 / (x + (x * x - 1.0).sqrt())).ln()
    } else {
        let above = x - 1.0;
        (above + (2.0 * above + above * above).sqrt()).ln_1p()
    }
}

/// The inverse of the hyperbolic tangent, likewise.
fn atanh(value: f64) -> f64 {
    let x = value.abs();
    let result = if x > 1.0 || x.is_nan() {
        return f64::NAN;
    } else if x < 1.0 / LARGE {
        x
    } else if x < 0.5 {
        let double = x + x;
        0.5 * (double + double * x / (1.0 - x)).ln_1p()
    } else {
        0.5 * ((x + x) / (1.0 - x)).ln_1p()
    };
    result.copysign(value)
}
