//! `status/tsdb`: what there is in the store, by cardinality.
//!
//! Prometheus tells it of its head block, the last two or three hours of all it has. Here it is of
//! one tenant and the newest UTC day that has samples:
//!
//! | figure | what it is |
//! | --- | --- |
//! | `numSeries` | series of the day |
//! | `numLabelPairs` | distinct pairs of label name and value among them |
//! | `chunkCount` | chunks that are in memory, not yet written out |
//! | `minTime`, `maxTime` | beginning of the day, and newest sample of all tenants; 0 for none |
//! | `seriesCountByMetricName` | series by metric name |
//! | `labelValueCountByLabelName` | distinct values by label name |
//! | `memoryInBytesByLabelName` | bytes of the values, each once a series, as in Prometheus |
//! | `seriesCountByLabelValuePair` | series by `name=value` |
//!
//! In a cluster each shard is counted once, at one of its full copies.
//!
//! Each list has its `limit` (10, at most 10,000) greatest, by falling figure and then by name.

use std::io::Write as _;

use rangekeeper_model::Day;
use rangekeeper_storage::db::Cardinality;

use crate::api::Asked;
use crate::error::QueryError;
use crate::render::{Envelope, append_list, append_text};

/// Rows of each list where the request does not say, and the most that it may ask for.
const DEFAULT_ROWS: usize = 10;
const MAX_ROWS: usize = 10_000;

impl Asked<'_> {
    pub(crate) fn tsdb(&self) -> Result<Vec<u8>, QueryError> {
        let rows = match self.parameters.first("limit") {
            None => DEFAULT_ROWS,
            Some(text) => match text.parse() {
                Ok(rows @ 1..) => rows.min(MAX_ROWS),
                _ => {
                    return Err(QueryError::Invalid("limit must be a positive number".to_owned()));
                }
            },
        };
        let stop = || self.is_over();
        let (found, head) = self.look(&stop).cardinality(rows)?;
        Ok(Envelope::default().render(|out| {
            out.extend_from_slice(b"{\"headStats\":");
            let (series, pairs, chunks) = (found.series, found.label_pairs, head.chunks);
            let newest_ms = head.newest_ms;
            let day_ms = if newest_ms == 0 { 0 } else { Day::of(newest_ms).start_ms() };
            write!(
                out,
                "{{\"numSeries\":{series},\"numLabelPairs\":{pairs},\"chunkCount\":{chunks},\
                 \"minTime\":{day_ms},\"maxTime\":{newest_ms}}}"
            )
            .expect("a Vec takes all");
            append_rows(out, &found);
            out.push(b'}');
        }))
    }
}

fn append_rows(out: &mut Vec<u8>, found: &Cardinality) {
    for (name, rows) in [
        ("seriesCountByMetricName", &found.by_metric),
        ("labelValueCountByLabelName", &found.values_by_label),
        ("memoryInBytesByLabelName", &found.bytes_by_label),
        ("seriesCountByLabelValuePair", &found.by_pair),
    ] {
        out.push(b',');
        append_text(out, name);
        out.push(b':');
        append_list(out, rows, |out, (name, value)| {
            out.extend_from_slice(b"{\"name\":");
            append_text(out, name);
            write!(out, ",\"value\":{value}}}").expect("a Vec takes all");
        });
    }
}
