//! What there is in the store, by cardinality.

use std::io::Write as _;

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
                Ok(rows @ 1..=MAX_ROWS) => rows,
                Ok(rows) if rows > MAX_ROWS => {
                    return Err(QueryError::Invalid("limit must not exceed 10000".to_owned()));
                }
                _ => {
                    return Err(QueryError::Invalid("limit must be a positive number".to_owned()));
                }
            },
        };
        let stop = || self.is_over();
        let found = self.shared.store.cardinality(self.tenant, rows, &stop)?;
        let stats = self.shared.store.stats().unwrap_or_default();
        Ok(Envelope::default().render(|out| {
            out.extend_from_slice(b"{\"headStats\":");
            let (series, pairs, newest_ms) = (found.series, found.label_pairs, stats.newest_ms);
            let floor_ms = stats.floor_ms;
            write!(
                out,
                "{{\"numSeries\":{series},\"numLabelPairs\":{pairs},\"chunkCount\":{series},\
                 \"minTime\":{floor_ms},\"maxTime\":{newest_ms}}}"
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
