//! Reading exemplars.

use rangekeeper_model::{Day, Labels, SeriesId, TimeRange};

use super::keys::{self, Family};
use super::{Db, DbError};

/// An exemplar as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredExemplar {
    /// Milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// Its value.
    pub value: f64,
    /// Its own labels.
    pub labels: Labels,
}

impl Db {
    /// Calls `each` with the exemplars of a series in `range` that lie in `day`, rising in time.
    /// Ends early when `each` returns `false`.
    pub fn read_exemplars(
        &self,
        day: Day,
        id: SeriesId,
        range: TimeRange,
        mut each: impl FnMut(StoredExemplar) -> bool,
    ) -> Result<(), DbError> {
        const OPERATION: &str = "read exemplars";
        if day < self.floor() || range.is_empty() {
            return Ok(());
        }
        let end = keys::after_prefix(&keys::day_id(day, id));
        let mut iterator = self.iterator(Family::Exemplars, end, false);
        iterator.seek(keys::exemplars_from(day, id, range.from_ms));
        while let Some((key, value)) = iterator.item() {
            let timestamp_ms = keys::exemplar_timestamp_ms(key)
                .ok_or_else(|| self.unreadable(OPERATION, day, "an exemplar key is cut"))?;
            if timestamp_ms > range.to_ms {
                break;
            }
            let parsed = value.split_first_chunk().and_then(|(bits, labels)| {
                let value = f64::from_bits(u64::from_le_bytes(*bits));
                Some(StoredExemplar {
                    timestamp_ms,
                    value,
                    labels: Labels::from_canonical(labels).ok()?,
                })
            });
            let exemplar =
                parsed.ok_or_else(|| self.unreadable(OPERATION, day, "an exemplar is cut"))?;
            if !each(exemplar) {
                break;
            }
            iterator.next();
        }
        iterator.status().map_err(|e| self.read_failed(OPERATION, Some(day), e))
    }
}
