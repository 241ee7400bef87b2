//! Windows and days: how time is cut.
//!
//! Timestamps are milliseconds since the Unix epoch, `i64`, in names that end in `_ms`.

use std::fmt;

/// Length of a window.
pub const WINDOW_MS: i64 = 2 * 60 * 60 * 1000;
/// Length of a day.
pub const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// Windows in a day.
pub const WINDOWS_A_DAY: u8 = 12;

/// A UTC day, counted from the epoch: the unit of retention, and the first part of every key that
/// grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub u32);

impl Day {
    /// The day that holds `timestamp_ms`; times before the epoch count to the first day.
    pub fn of(timestamp_ms: i64) -> Self {
        Self(u32::try_from(timestamp_ms.max(0) / DAY_MS).unwrap_or(u32::MAX))
    }

    /// The first millisecond of the day.
    pub fn start_ms(self) -> i64 {
        i64::from(self.0) * DAY_MS
    }

    /// The first millisecond after the day.
    pub fn end_ms(self) -> i64 {
        self.start_ms() + DAY_MS
    }

    /// The day after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// Prints the civil date, `2026-11-22`, as operators read it in logs and errors.
impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Days to civil date over 400-year eras that begin on the first of March.
        let z = i64::from(self.0) + 719_468;
        let era = z.div_euclid(146_097);
        let day_of_era = z.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

/// A window's number within its day, 0 to 11.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WindowInDay(pub u8);

/// A window of two hours, aligned to the epoch, counted from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Window(pub u32);

impl Window {
    /// The window that holds `timestamp_ms`; times before the epoch count to the first window.
    pub fn of(timestamp_ms: i64) -> Self {
        Self(u32::try_from(timestamp_ms.max(0) / WINDOW_MS).unwrap_or(u32::MAX))
    }

    /// The window numbered `in_day` of `day`.
    pub fn new(day: Day, in_day: WindowInDay) -> Self {
        Self(day.0 * u32::from(WINDOWS_A_DAY) + u32::from(in_day.0))
    }

    /// The first millisecond of the window.
    pub fn start_ms(self) -> i64 {
        i64::from(self.0) * WINDOW_MS
    }

    /// The first millisecond after the window.
    pub fn end_ms(self) -> i64 {
        self.start_ms() + WINDOW_MS
    }

    /// The day that the window lies in.
    pub fn day(self) -> Day {
        Day(self.0 / u32::from(WINDOWS_A_DAY))
    }

    /// The window's number within its day.
    pub fn in_day(self) -> WindowInDay {
        WindowInDay(u8::try_from(self.0 % u32::from(WINDOWS_A_DAY)).expect("less than twelve"))
    }
}

/// A closed range of time: both ends belong to it. Empty when `from_ms > to_ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeRange {
    /// The first millisecond.
    pub from_ms: i64,
    /// The last millisecond.
    pub to_ms: i64,
}

impl TimeRange {
    /// All of time.
    pub const ALL: Self = Self { from_ms: i64::MIN, to_ms: i64::MAX };

    /// Whether `timestamp_ms` lies in the range.
    pub fn contains(self, timestamp_ms: i64) -> bool {
        self.from_ms <= timestamp_ms && timestamp_ms <= self.to_ms
    }

    /// Whether the closed range `[from_ms, to_ms]` shares a millisecond with this one.
    pub fn overlaps(self, from_ms: i64, to_ms: i64) -> bool {
        self.from_ms <= to_ms && from_ms <= self.to_ms
    }

    /// Whether nothing lies in the range.
    pub fn is_empty(self) -> bool {
        self.from_ms > self.to_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_print_as_civil_dates() {
        for (day, text) in
            [(0, "1970-01-01"), (59, "1970-03-01"), (11_016, "2000-02-29"), (20_779, "2026-11-22")]
        {
            assert_eq!(Day(day).to_string(), text);
        }
    }

    #[test]
    fn windows_cut_days_into_twelve() {
        let last = Window::of(DAY_MS * 3 - 1);
        assert_eq!((last.day(), last.in_day()), (Day(2), WindowInDay(11)));
        assert_eq!(Window::new(Day(2), WindowInDay(11)), last);
        assert_eq!(Window::of(DAY_MS * 3).start_ms(), DAY_MS * 3);
        assert_eq!(Window::of(-5), Window(0));
    }
}
