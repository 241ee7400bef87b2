//! The date functions: parts of a UTC date, given seconds since the epoch.

use crate::functions::Function;

const DAY_SECONDS: i64 = 86_400;

/// A UTC date and time.
struct Moment {
    year: i64,
    /// 1 to 12.
    month: i64,
    /// 1 to 31.
    day: i64,
    /// Days since the epoch.
    days: i64,
    /// Seconds since midnight.
    seconds: i64,
}

impl Moment {
    /// The moment `seconds` after the epoch, by the Gregorian calendar.
    fn of(seconds: i64) -> Self {
        let days = seconds.div_euclid(DAY_SECONDS);
        // Eras of 400 years that begin on the first of March: the leap day is the last day of its
        // year.
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        Self { year, month, day, days, seconds: seconds.rem_euclid(DAY_SECONDS) }
    }

    fn is_leap_year(&self) -> bool {
        self.year % 4 == 0 && (self.year % 100 != 0 || self.year % 400 == 0)
    }

    fn days_in_month(&self) -> i64 {
        match self.month {
            2 => 28 + i64::from(self.is_leap_year()),
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        }
    }

    fn day_of_year(&self) -> i64 {
        const BEFORE: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
        let month = usize::try_from(self.month - 1).expect("months are 1 to 12");
        BEFORE[month] + i64::from(self.month > 2 && self.is_leap_year()) + self.day
    }
}

/// What `function`, one of the date functions, says of the moment `seconds` after the epoch.
pub(crate) fn part(function: Function, seconds: f64) -> f64 {
    // A conversion of what fits no integer gives the lowest one, as on the processors that
    // Prometheus runs on.
    let fits = (-9.2e18..9.2e18).contains(&seconds);
    let moment = Moment::of(if fits { seconds as i64 } else { i64::MIN });
    let part = match function {
        Function::Year => moment.year,
        Function::Month => moment.month,
        Function::DayOfMonth => moment.day,
        Function::DayOfYear => moment.day_of_year(),
        // The epoch was a Thursday.
        Function::DayOfWeek => (moment.days + 4).rem_euclid(7),
        Function::DaysInMonth => moment.days_in_month(),
        Function::Hour => moment.seconds / 3600,
        Function::Minute => moment.seconds % 3600 / 60,
        other => unreachable!("{other} is no date function"),
    };
    part as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_dates_follow_the_calendar() {
        let leap_day = 951_782_400.0 + 13.0 * 3600.0 + 37.0 * 60.0;
        let expected = [
            (Function::Year, 2000.0),
            (Function::Month, 2.0),
            (Function::DayOfMonth, 29.0),
            (Function::DayOfYear, 60.0),
            (Function::DayOfWeek, 2.0),
            (Function::DaysInMonth, 29.0),
            (Function::Hour, 13.0),
            (Function::Minute, 37.0),
        ];
        for (function, value) in expected {
            assert_eq!(part(function, leap_day), value, "{function}");
        }
        assert_eq!(part(Function::Year, -1.0), 1969.0);
        assert_eq!(part(Function::DayOfYear, 978_220_800.0), 366.0);
    }
}
