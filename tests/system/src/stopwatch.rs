//! Time as the tests' limits count it: without what the host took away from this machine. Where a
//! neighbour has the processors for nine seconds of ten, no program is decided within five.

use std::fs;
use std::time::{Duration, Instant};

/// Ticks of `/proc/stat` in a second, on every Linux.
const TICKS_PER_SECOND: u64 = 100;

/// The column of `/proc/stat` that says for how long a processor was wanted and not had.
const STOLEN_COLUMN: usize = 8;

/// A moment, and what was taken away until then.
#[derive(Debug, Clone)]
pub struct Stopwatch {
    started: Instant,
    stolen: Vec<u64>,
}

impl Stopwatch {
    /// Begins to count.
    pub fn start() -> Self {
        Self { started: Instant::now(), stolen: stolen() }
    }

    /// How long it is since the start, without the longest that a processor was taken away.
    pub fn elapsed(&self) -> Duration {
        let wall = self.started.elapsed();
        let taken = |(now, then): (u64, &u64)| now.saturating_sub(*then);
        let ticks = stolen().into_iter().zip(&self.stolen).map(taken).max().unwrap_or(0);
        wall.saturating_sub(Duration::from_millis(ticks * (1000 / TICKS_PER_SECOND)))
    }
}

/// The ticks that each processor was taken away; empty where the system does not say.
fn stolen() -> Vec<u64> {
    stolen_in(&fs::read_to_string("/proc/stat").unwrap_or_default())
}

fn stolen_in(stat: &str) -> Vec<u64> {
    let is_one = |line: &&str| {
        line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    let column = |line: &str| line.split_whitespace().nth(STOLEN_COLUMN)?.parse().ok();
    stat.lines().filter(is_one).filter_map(column).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_away_is_read_of_each_processor() {
        let stat = "cpu  9 0 9 9 9 0 9 44 0 0\ncpu0 4 0 4 4 4 0 4 41 0 0\n\
                    cpu1 5 0 5 5 5 0 5 3 0 0\nintr 1 2 3 4 5 6 7 8 9\n";
        assert_eq!(stolen_in(stat), [41, 3]);
        assert!(stolen_in("").is_empty());
    }

    #[test]
    fn time_goes_on_where_nothing_is_taken() {
        let watch = Stopwatch { started: Instant::now(), stolen: Vec::new() };
        std::thread::sleep(Duration::from_millis(20));
        assert!(watch.elapsed() >= Duration::from_millis(20));
        let robbed = Stopwatch { stolen: vec![0], ..watch };
        assert!(robbed.elapsed() <= robbed.started.elapsed());
    }
}
