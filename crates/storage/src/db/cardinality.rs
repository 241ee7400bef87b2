//! How many series a day has, and of what.

use hashbrown::HashMap;
use rangekeeper_model::{Day, METRIC_NAME, SeriesId, TenantId};
use roaring::RoaringBitmap;

use super::keys::{self, Family};
use super::names::Listing;
use super::read::Stop;
use super::{Db, DbError};

const OPERATION: &str = "count series";

/// How many series there are, and of what. Lists are sorted by falling figure, then name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cardinality {
    /// Series of the tenant in the day.
    pub series: u64,
    /// Distinct pairs of label name and value.
    pub label_pairs: u64,
    /// Distinct label names.
    pub label_names: u64,
    /// Series by metric name.
    pub by_metric: Vec<(String, u64)>,
    /// Values by label name.
    pub values_by_label: Vec<(String, u64)>,
    /// Bytes of values, each once a series, by label name.
    pub bytes_by_label: Vec<(String, u64)>,
    /// Series by `name=value`.
    pub by_pair: Vec<(String, u64)>,
}

/// Counts pairs of label name and value, each of which comes once.
#[derive(Debug)]
pub struct CardinalityTally {
    found: Cardinality,
    /// Values, and their bytes once a series, by name.
    by_name: HashMap<String, (u64, u64)>,
    limit: usize,
}

impl CardinalityTally {
    /// A tally whose lists have `limit` rows at most.
    pub fn new(limit: usize) -> Self {
        Self { found: Cardinality::default(), by_name: HashMap::new(), limit }
    }

    /// Takes a pair in that so many series have; of the empty name, how many there are at all.
    pub fn add(&mut self, name: &str, value: &str, series: u64) {
        let found = &mut self.found;
        if name.is_empty() {
            found.series += series;
            return;
        }
        found.label_pairs += 1;
        if name == METRIC_NAME {
            found.by_metric.push((value.to_owned(), series));
        }
        let (values, bytes) = self.by_name.entry_ref(name).or_default();
        *values += 1;
        *bytes += series * value.len() as u64;
        found.by_pair.push((format!("{name}={value}"), series));
        if found.by_pair.len() > 16 * self.limit + 1024 {
            greatest(&mut found.by_pair, self.limit);
        }
    }

    /// What there is.
    pub fn finish(self) -> Cardinality {
        let Self { mut found, by_name, limit } = self;
        found.label_names = by_name.len() as u64;
        found.values_by_label = by_name.iter().map(|(name, (n, _))| (name.clone(), *n)).collect();
        found.bytes_by_label = by_name.into_iter().map(|(name, (_, n))| (name, n)).collect();
        for list in [
            &mut found.by_metric,
            &mut found.values_by_label,
            &mut found.bytes_by_label,
            &mut found.by_pair,
        ] {
            greatest(list, limit);
        }
        found
    }
}

impl Db {
    /// Pairs of label name and value that series of `tenant` have under `day`, and how many; the
    /// pair of empty texts for how many series there are. Of `shards` alone, if they are named.
    /// Walks all postings of the tenant in the day.
    pub fn label_pairs(
        &self,
        tenant: &TenantId,
        day: Day,
        shards: Option<&RoaringBitmap>,
        stop: Stop<'_>,
        each: &mut dyn FnMut(&str, &str, u64),
    ) -> Result<(), DbError> {
        if day < self.floor() {
            return Ok(());
        }
        let within = shards.map(|shards| self.numbers_in(day, shards, stop)).transpose()?;
        let prefix = keys::postings_tenant(day, tenant);
        let listing = Listing { db: self, day, stop, limit: usize::MAX };
        listing.rows(&prefix, |name, value, numbers| {
            let series = match &within {
                None => numbers.len(),
                Some(within) => numbers.intersection_len(within),
            };
            if series > 0 {
                each(name, value, series);
            }
        })
    }

    /// The numbers that series of some shards have in a day.
    fn numbers_in(
        &self,
        day: Day,
        shards: &RoaringBitmap,
        stop: Stop<'_>,
    ) -> Result<RoaringBitmap, DbError> {
        let mut numbers = RoaringBitmap::new();
        let mut iterator = self.day_iterator(Family::Numbers, day);
        iterator.seek(keys::day_prefix(day));
        while let Some((key, value)) = iterator.item() {
            if let (Some(number), Ok(id)) = (keys::number_of(key), value.try_into())
                && shards.contains(SeriesId(id).shard().0.into())
            {
                numbers.insert(number);
                if numbers.len().is_multiple_of(1 << 16) && stop() {
                    return Err(DbError::Interrupted { operation: OPERATION });
                }
            }
            iterator.next();
        }
        iterator.status().map_err(|e| self.read_failed(OPERATION, Some(day), e))?;
        Ok(numbers)
    }

    /// How many series `tenant` has under `day`, and of what; each list cut to its `limit`
    /// greatest.
    pub fn cardinality(
        &self,
        tenant: &TenantId,
        day: Day,
        limit: usize,
        stop: Stop<'_>,
    ) -> Result<Cardinality, DbError> {
        let mut tally = CardinalityTally::new(limit);
        self.label_pairs(tenant, day, None, stop, &mut |name, value, series| {
            tally.add(name, value, series);
        })?;
        Ok(tally.finish())
    }
}

fn greatest(list: &mut Vec<(String, u64)>, limit: usize) {
    list.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    list.truncate(limit);
}
