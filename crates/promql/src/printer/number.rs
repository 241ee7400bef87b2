//! Numbers and durations as Go prints them.

use std::fmt::Write as _;

/// All digits, no exponent: `strconv.FormatFloat(value, 'f', -1, 64)`.
pub(super) fn plain(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    format!("{value}")
}

/// A duration with its sign, from seconds.
pub(super) fn signed_duration(seconds: f64) -> String {
    // As upstream: by way of nanoseconds, of which only whole milliseconds show.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
    let text = duration_text((seconds.abs() * 1e9) as u64 / 1_000_000);
    if seconds < 0.0 { format!("-{text}") } else { text }
}

/// A duration as Prometheus prints it: `1h30m`. Years, weeks and days only where nothing smaller
/// remains.
pub(crate) fn duration_text(ms: u64) -> String {
    const UNITS: [(&str, u64, bool); 7] = [
        ("y", 365 * 86_400_000, true),
        ("w", 7 * 86_400_000, true),
        ("d", 86_400_000, false),
        ("h", 3_600_000, false),
        ("m", 60_000, false),
        ("s", 1_000, false),
        ("ms", 1, false),
    ];
    if ms == 0 {
        return "0s".to_owned();
    }
    let mut rest = ms;
    let mut text = String::new();
    for (name, unit, only_exact) in UNITS {
        if only_exact && !rest.is_multiple_of(unit) {
            continue;
        }
        let count = rest / unit;
        if count > 0 {
            write!(text, "{count}{name}").expect("a String takes all");
            rest -= count * unit;
        }
    }
    text
}
