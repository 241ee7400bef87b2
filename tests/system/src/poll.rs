//! Waiting for a condition instead of for a time.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::stopwatch::Stopwatch;

/// Pause between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(20);

/// Asks `condition` until it says `Ok`, and returns that; after `limit` the last `Err` is what the
/// failure names.
pub fn until<T>(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> Result<T>,
) -> Result<T> {
    let started = Stopwatch::start();
    loop {
        match condition() {
            Ok(value) => return Ok(value),
            Err(error) if started.elapsed() >= limit => {
                bail!("failed to see {what} within {} s: {error:#}", limit.as_secs());
            }
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}
