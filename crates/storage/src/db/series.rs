//! From numbers to series, and from series to labels.

use std::sync::atomic::Ordering;

use rangekeeper_model::{Day, Labels, SeriesId, TenantId};
use roaring::RoaringBitmap;

use super::days::NOBODY;
use super::keys::{self, Family};
use super::read::{Stop, Walk};
use super::{Db, DbError};

const OPERATION: &str = "read labels";

/// Keys of one lookup of many.
const KEYS_A_LOOKUP: usize = 1024;
/// A lookup costs about as much as loading so many numbers. Numbers are looked up until that has
/// cost what loading the day's vector costs, and then it is loaded: so neither a query for a few
/// series of many days nor many queries of one day cost more than twice what they have to.
const LOOKUP_COST: u64 = 16;
/// Series are scanned rather than looked up one by one when they are this many at least; the walk
/// itself seeks where they lie far apart.
const MANY: usize = 64;

impl Db {
    /// The series that have `numbers` under `day`, sorted by series. A number that nobody has is
    /// passed over.
    pub fn ids(&self, day: Day, numbers: &RoaringBitmap) -> Result<Vec<SeriesId>, DbError> {
        if numbers.is_empty() || day < self.floor() {
            return Ok(Vec::new());
        }
        let index = self.days.index(day);
        let from_memory = |ids: &[SeriesId]| {
            let of = |number: u32| ids.get(number as usize).copied().filter(|id| *id != NOBODY);
            numbers.iter().filter_map(of).collect::<Vec<_>>()
        };
        let (loaded, looked_up) = {
            let index = index.read();
            let count = numbers.len();
            match index.ids.as_deref() {
                Some(ids) => (Some(from_memory(ids)), 0),
                None => (None, index.looked_up.fetch_add(count, Ordering::Relaxed) + count),
            }
        };
        let mut ids = match loaded {
            Some(ids) => ids,
            None if looked_up * LOOKUP_COST < u64::from(numbers.max().unwrap_or(0)) => {
                self.look_up_ids(day, numbers)?
            }
            None => {
                let mut index = index.write();
                if index.ids.is_none() {
                    index.ids = Some(self.load_ids(day)?);
                }
                let ids = from_memory(index.ids.as_deref().unwrap_or_default());
                drop(index);
                self.days.shrink();
                ids
            }
        };
        // In the order of series already, where one checkpoint numbered them all.
        if !ids.is_sorted() {
            ids.sort_unstable();
        }
        Ok(ids)
    }

    fn look_up_ids(&self, day: Day, numbers: &RoaringBitmap) -> Result<Vec<SeriesId>, DbError> {
        let keys: Vec<_> = numbers.iter().map(|number| keys::number(day, number)).collect();
        let mut ids = Vec::with_capacity(keys.len());
        for some in keys.chunks(KEYS_A_LOOKUP) {
            let values =
                self.rocks().batched_multi_get_cf(self.family(Family::Numbers), some, true);
            for value in values {
                let value = value.map_err(|e| self.read_failed("look up numbers", Some(day), e))?;
                ids.extend(value.as_deref().and_then(|v| v.try_into().ok()).map(SeriesId));
            }
        }
        Ok(ids)
    }

    fn load_ids(&self, day: Day) -> Result<Vec<SeriesId>, DbError> {
        let mut iterator = self.iterator(Family::Numbers, keys::day_end(day), true);
        iterator.seek(keys::day_prefix(day));
        let mut ids = Vec::new();
        while let Some((key, value)) = iterator.item() {
            if let (Some(number), Ok(id)) = (keys::number_of(key), value.try_into()) {
                ids.resize(number as usize, NOBODY);
                ids.push(SeriesId(id));
            }
            iterator.next();
        }
        iterator.status().map_err(|e| self.read_failed("load numbers", Some(day), e))?;
        Ok(ids)
    }

    /// The tenant and labels of a series as registered under `day`.
    pub fn labels(&self, day: Day, id: SeriesId) -> Result<Option<(TenantId, Labels)>, DbError> {
        let mut found = None;
        self.read_labels(day, &[id], &super::never, |_, tenant, labels| {
            found = Some((tenant.clone(), labels));
            true
        })?;
        Ok(found)
    }

    /// The tenant and labels of a series, from the newest day that has it.
    pub fn find_labels(&self, id: SeriesId) -> Result<Option<(TenantId, Labels)>, DbError> {
        for day in self.days().into_iter().rev() {
            if let Some(found) = self.labels(day, id)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Calls `each` with tenant and labels of every one of `ids` (sorted) that is registered under
    /// `day`, and with its place in `ids`. Ends early when `each` returns `false`.
    pub fn read_labels(
        &self,
        day: Day,
        ids: &[SeriesId],
        stop: Stop<'_>,
        mut each: impl FnMut(usize, &TenantId, Labels) -> bool,
    ) -> Result<(), DbError> {
        let mut tenant = TenantId::default();
        self.read_series(day, ids, stop, |at, value| {
            let (_, name, labels) = self.parse_series(day, value)?;
            if name != tenant.as_str() {
                tenant = TenantId::new(name)
                    .map_err(|e| self.unreadable(OPERATION, day, &e.to_string()))?;
            }
            Ok(each(at, &tenant, labels))
        })
    }

    /// Calls `each` with number and labels of every one of `ids` (sorted) that is registered under
    /// `day`.
    pub(super) fn read_numbered(
        &self,
        day: Day,
        ids: &[SeriesId],
        stop: Stop<'_>,
        mut each: impl FnMut(u32, Labels),
    ) -> Result<(), DbError> {
        self.read_series(day, ids, stop, |_, value| {
            let (number, _, labels) = self.parse_series(day, value)?;
            each(number, labels);
            Ok(true)
        })
    }

    /// Calls `each` with the value in `series` of every one of `ids`: by lookups where they are
    /// few, by a walk else.
    fn read_series(
        &self,
        day: Day,
        ids: &[SeriesId],
        stop: Stop<'_>,
        mut each: impl FnMut(usize, &[u8]) -> Result<bool, DbError>,
    ) -> Result<(), DbError> {
        debug_assert!(ids.is_sorted());
        if day < self.floor() {
            return Ok(());
        }
        if ids.len() < MANY {
            for (at, &id) in ids.iter().enumerate() {
                let key = keys::day_id(day, id);
                let value = self.rocks().get_pinned_cf(self.family(Family::Series), key);
                let value = value.map_err(|e| self.read_failed(OPERATION, Some(day), e))?;
                if let Some(value) = value
                    && !each(at, &value)?
                {
                    break;
                }
            }
            return Ok(());
        }
        let mut walk = Walk::new(self.day_iterator(Family::Series, day));
        for (at, &id) in ids.iter().enumerate() {
            if at % KEYS_A_LOOKUP == KEYS_A_LOOKUP - 1 && stop() {
                return Err(DbError::Interrupted { operation: OPERATION });
            }
            let key = keys::day_id(day, id);
            walk.to(&key);
            match walk.iterator.item() {
                None => break,
                Some((found, value)) if found == key => {
                    if !each(at, value)? {
                        return Ok(());
                    }
                }
                Some(_) => {}
            }
        }
        walk.iterator.status().map_err(|e| self.read_failed(OPERATION, Some(day), e))
    }

    pub(super) fn parse_series<'v>(
        &self,
        day: Day,
        value: &'v [u8],
    ) -> Result<(u32, &'v str, Labels), DbError> {
        let (number, tenant, labels) = keys::series_parts(value)
            .ok_or_else(|| self.unreadable(OPERATION, day, "a series value is cut"))?;
        let labels = Labels::from_canonical(labels)
            .map_err(|e| self.unreadable(OPERATION, day, &e.to_string()))?;
        Ok((number, tenant, labels))
    }
}
