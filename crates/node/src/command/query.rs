//! `rangekeeper query`: an expression's value as a table, and over a range as a small plot.

mod show;

use std::time::{SystemTime, UNIX_EPOCH};

use super::client::Client;
use super::say;
use crate::cli::Query;

/// Points of a range whose step is not given.
const DEFAULT_POINTS: f64 = 100.0;

/// The shortest step that is chosen: samples lie no closer.
const SHORTEST_STEP_SECONDS: f64 = 1.0;

/// Asks and shows the answer.
pub(super) fn run(query: &Query) -> anyhow::Result<()> {
    let client = Client::new(&query.target)?.of_tenant(query.tenant.as_deref());
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
    let end = query.time.unwrap_or(now);
    let text = query.expression.as_str();
    let (data, notes) = match query.range {
        None => {
            let time = end.to_string();
            client.ask("/api/v1/query", &[("query", text), ("time", &time)], query.timeout)?
        }
        Some(range) => {
            let length = range.as_secs_f64();
            let step = query.step.map(|step| step.as_secs_f64());
            let step = step.unwrap_or_else(|| (length / DEFAULT_POINTS).max(SHORTEST_STEP_SECONDS));
            let (start, end, step) =
                ((end - length).to_string(), end.to_string(), step.to_string());
            let form = [("query", text), ("start", &*start), ("end", &*end), ("step", &*step)];
            client.ask("/api/v1/query_range", &form, query.timeout)?
        }
    };
    for note in notes {
        say(&format!("note: {note}"))?;
    }
    say(&show::answer(&data, query.range.is_some())?)
}
