//! Numbers as the API writes them: the shortest digits that give the same float back, in quotes.

use std::io::Write as _;

/// Floats up to this are whole numbers that an integer holds exactly.
const WHOLE: f64 = 9_007_199_254_740_992.0;

/// Appends milliseconds as seconds: a fraction, where there is one, has three digits.
pub(crate) fn append_seconds(out: &mut Vec<u8>, at_ms: i64) {
    if at_ms < 0 {
        out.push(b'-');
    }
    let at_ms = at_ms.unsigned_abs();
    append_whole(out, at_ms / 1000);
    let fraction = at_ms % 1000;
    if fraction != 0 {
        let digit = |d: u64| b'0' + u8::try_from(d % 10).expect("a digit");
        out.extend_from_slice(&[
            b'.',
            digit(fraction / 100),
            digit(fraction / 10),
            digit(fraction),
        ]);
    }
}

/// Appends a value in quotes: `"1.5"`, `"NaN"`, `"+Inf"`, `"1e-07"`.
pub(crate) fn append_value_text(out: &mut Vec<u8>, value: f64) {
    out.push(b'"');
    append_float(out, value);
    out.push(b'"');
}

/// Appends a float with the shortest digits; with an exponent below 1e-6 and from 1e21 on.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "whole and small enough, as the branch has checked"
)]
pub(crate) fn append_float(out: &mut Vec<u8>, value: f64) {
    let magnitude = value.abs();
    if value.is_nan() {
        out.extend_from_slice(b"NaN");
    } else if value.is_infinite() {
        out.extend_from_slice(if value > 0.0 { b"+Inf" } else { b"-Inf" });
    } else if magnitude < WHOLE && magnitude.trunc() == magnitude {
        if value.is_sign_negative() {
            out.push(b'-');
        }
        append_whole(out, magnitude as u64);
    } else if (1e-5..1e15).contains(&magnitude) {
        // Here the fast printer uses no exponent.
        out.extend_from_slice(ryu::Buffer::new().format_finite(value).as_bytes());
    } else if (1e-6..1e21).contains(&magnitude) {
        write!(out, "{value}").expect("a Vec takes all");
    } else {
        append_exponent(out, &format!("{value:e}"));
    }
}

/// `1e-7` as Go writes it: `1e-07`.
fn append_exponent(out: &mut Vec<u8>, text: &str) {
    let (digits, exponent) = text.split_once('e').expect("printed with an exponent");
    let (sign, exponent) = match exponent.strip_prefix('-') {
        Some(exponent) => ('-', exponent),
        None => ('+', exponent),
    };
    write!(out, "{digits}e{sign}{exponent:0>2}").expect("a Vec takes all");
}

fn append_whole(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(value % 10).expect("a digit");
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_read_as_prometheus_writes_them() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.5, "1.5"),
            (-3.0, "-3"),
            (0.1 + 0.2, "0.30000000000000004"),
            (1e-6, "0.000001"),
            (1.25e-5, "0.0000125"),
            (1e-7, "1e-07"),
            (123_456_789_012_345_680.0, "123456789012345680"),
            (1e21, "1e+21"),
            (2.5e-300, "2.5e-300"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            let mut out = Vec::new();
            append_float(&mut out, value);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }

    #[test]
    fn seconds_have_three_digits_or_none() {
        for (at_ms, text) in
            [(1_600_096_945_479, "1600096945.479"), (4_000, "4"), (5, "0.005"), (-1_050, "-1.050")]
        {
            let mut out = Vec::new();
            append_seconds(&mut out, at_ms);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }
}
