//! Reading exemplars: of a series, of a shard, and whether one is there.

use rangekeeper_model::{Day, Labels, SeriesId, ShardId, TimeRange};

use super::keys::{self, Family};
use super::{Db, DbError, Exemplar, Stop};

const OPERATION: &str = "read exemplars";

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
            if !each(self.parse_exemplar(day, timestamp_ms, value)?) {
                break;
            }
            iterator.next();
        }
        iterator.status().map_err(|e| self.read_failed(OPERATION, Some(day), e))
    }

    /// Calls `each` with all exemplars of `shard` that lie in `day`, by series and rising in time.
    pub(crate) fn scan_exemplars(
        &self,
        shard: ShardId,
        day: Day,
        stop: Stop<'_>,
        mut each: impl FnMut(SeriesId, StoredExemplar),
    ) -> Result<(), DbError> {
        if day < self.floor() {
            return Ok(());
        }
        let (start, end) = keys::shard_bounds(day, shard);
        let mut iterator = self.iterator(Family::Exemplars, end, true);
        iterator.seek(start);
        while let Some((key, value)) = iterator.item() {
            let parts = keys::id_of(key).zip(keys::exemplar_timestamp_ms(key));
            let (id, timestamp_ms) =
                parts.ok_or_else(|| self.unreadable(OPERATION, day, "an exemplar key is cut"))?;
            each(id, self.parse_exemplar(day, timestamp_ms, value)?);
            if stop() {
                return Err(DbError::Interrupted { operation: OPERATION });
            }
            iterator.next();
        }
        iterator.status().map_err(|e| self.read_failed(OPERATION, Some(day), e))
    }

    /// Whether the exemplar is there.
    pub(crate) fn has_exemplar(
        &self,
        day: Day,
        id: SeriesId,
        exemplar: &Exemplar<'_>,
    ) -> Result<bool, DbError> {
        let found = self.rocks.get_pinned_cf(self.family(Family::Exemplars), exemplar.key(day, id));
        let found = found.map_err(|e| self.read_failed(OPERATION, Some(day), e))?;
        Ok(found.is_some_and(|found| *found == *exemplar.stored()))
    }

    fn parse_exemplar(
        &self,
        day: Day,
        timestamp_ms: i64,
        value: &[u8],
    ) -> Result<StoredExemplar, DbError> {
        let parsed = value.split_first_chunk().and_then(|(bits, labels)| {
            let value = f64::from_bits(u64::from_le_bytes(*bits));
            Some(StoredExemplar {
                timestamp_ms,
                value,
                labels: Labels::from_canonical(labels).ok()?,
            })
        });
        parsed.ok_or_else(|| self.unreadable(OPERATION, day, "an exemplar is cut"))
    }
}
