//! Making the index of a day whole again, after a damaged table of it was set aside.
//!
//! The index says everything twice. A row of `series` gives number and postings of its series. The
//! other way round, the labels of a number are the label values in whose postings it stands; that
//! none is missing shows in their hash, which is the series. So what one of `series`, `numbers` and
//! `postings` lost comes from the others. Heal notes the days in `meta`; they are worked through
//! before anybody sees the database, so that no series gets a second number.

use hashbrown::HashMap;
use rangekeeper_model::{Day, LabelPairs, Labels, SeriesHasher, SeriesId, TenantId};
use roaring::RoaringBitmap;

use super::keys::{self, Family};
use super::register::Postings;
use super::{Db, DbError, meta, synced, unsynced};

const OPERATION: &str = "rebuild the index";

/// Series whose rows are written at once.
const BATCH_SERIES: usize = 10_000;

/// A row of `series`, taken apart.
struct Row {
    id: SeriesId,
    number: u32,
    tenant: TenantId,
    /// Canonical.
    labels: Vec<u8>,
}

impl Db {
    /// Rebuilds the index of the days that were noted for it.
    pub(super) fn rebuild_noted(&self) -> Result<(), DbError> {
        for day in self.noted_days()? {
            if day >= self.floor() {
                self.rebuild(day)?;
            }
            let mut batch = rocksdb::WriteBatch::default();
            batch.delete(meta::rebuild(day));
            self.write_raw(OPERATION, batch, &synced())?;
        }
        Ok(())
    }

    fn noted_days(&self) -> Result<Vec<Day>, DbError> {
        let mut iterator = self.iterator(Family::Meta, keys::after_prefix(meta::REBUILD), false);
        iterator.seek(meta::REBUILD);
        let mut days = Vec::new();
        while let Some(key) = iterator.key() {
            days.extend(keys::day_of(&key[meta::REBUILD.len()..]));
            iterator.next();
        }
        iterator.status().map_err(|e| self.read_failed(OPERATION, None, e))?;
        Ok(days)
    }

    fn rebuild(&self, day: Day) -> Result<(), DbError> {
        let (known, mut next) = self.index_known(day)?;
        let mut nameless = HashMap::new();
        let mut iterator = self.day_iterator(Family::Numbers, day);
        iterator.seek(keys::day_prefix(day));
        while let Some((key, value)) = iterator.item() {
            if let (Some(number), Ok(id)) = (keys::number_of(key), value.try_into()) {
                next = next.max(number + 1);
                let id = SeriesId(id);
                if known.get(&id) != Some(&number) {
                    nameless.insert(number, id);
                }
            }
            iterator.next();
        }
        iterator.status().map_err(|e| self.read_failed(OPERATION, Some(day), e))?;
        let lost = nameless.len();
        let named = self.name(day, nameless)?;
        self.write_index(day, &named, next)?;
        let lost = lost - named.len();
        tracing::warn!(%day, series = known.len(), named = named.len(), lost, "rebuilt an index");
        Ok(())
    }

    /// Writes numbers and postings of all series of `day` that `series` has. Returns their numbers,
    /// and the first one that nobody has.
    fn index_known(&self, day: Day) -> Result<(HashMap<SeriesId, u32>, u32), DbError> {
        let mut known = HashMap::new();
        let mut next = self.read_meta(&meta::next_number(day))?.as_deref().and_then(meta::u32_of);
        let mut rows = Vec::new();
        let mut iterator = self.day_iterator(Family::Series, day);
        iterator.seek(keys::day_prefix(day));
        while let Some((key, value)) = iterator.item() {
            let id = keys::id_of(key)
                .ok_or_else(|| self.unreadable(OPERATION, day, "a series key is cut"))?;
            let (number, tenant, labels) = self.parse_series(day, value)?;
            let tenant = TenantId::new(tenant)
                .map_err(|e| self.unreadable(OPERATION, day, &e.to_string()))?;
            known.insert(id, number);
            next = next.max(Some(number + 1));
            rows.push(Row { id, number, tenant, labels: labels.as_bytes().to_vec() });
            if rows.len() == BATCH_SERIES {
                self.write_index(day, &rows, next.unwrap_or(0))?;
                rows.clear();
            }
            iterator.next();
        }
        iterator.status().map_err(|e| self.read_failed(OPERATION, Some(day), e))?;
        self.write_index(day, &rows, next.unwrap_or(0))?;
        Ok((known, next.unwrap_or(0)))
    }

    /// The rows of `series` that are gone, from the postings in which their numbers stand, or from
    /// another day. What is not found is left out.
    fn name(&self, day: Day, nameless: HashMap<u32, SeriesId>) -> Result<Vec<Row>, DbError> {
        if nameless.is_empty() {
            return Ok(Vec::new());
        }
        let mut pairs = self.pairs_of(day, &nameless.keys().copied().collect())?;
        let mut rows = Vec::with_capacity(nameless.len());
        for (number, id) in nameless {
            let found = pairs.remove(&number).and_then(|of| of.labels_of(self, id));
            let found = match found {
                Some(found) => Some(found),
                None => self.find_labels(id)?,
            };
            rows.extend(found.map(|(tenant, labels)| {
                let labels = labels.as_bytes().to_vec();
                Row { id, number, tenant, labels }
            }));
        }
        Ok(rows)
    }

    /// For each of `numbers` the tenant and label values in whose postings it stands.
    fn pairs_of(
        &self,
        day: Day,
        numbers: &RoaringBitmap,
    ) -> Result<HashMap<u32, PairsOfNumber>, DbError> {
        let mut found: HashMap<u32, PairsOfNumber> = HashMap::new();
        let mut iterator = self.day_iterator(Family::Postings, day);
        iterator.seek(keys::day_prefix(day));
        while let Some((key, value)) = iterator.item() {
            let parts = keys::posting_parts(key)
                .ok_or_else(|| self.unreadable(OPERATION, day, "a posting's key is no label"))?;
            for number in self.parse_posting(day, value)? & numbers {
                let of = found.entry(number).or_default();
                of.tenant.clone_from(&parts.tenant);
                if !parts.name.is_empty() {
                    of.pairs.push((parts.name.clone(), parts.value.clone()));
                }
            }
            iterator.next();
        }
        iterator.status().map_err(|e| self.read_failed(OPERATION, Some(day), e))?;
        Ok(found)
    }

    fn write_index(&self, day: Day, rows: &[Row], next: u32) -> Result<(), DbError> {
        let mut batch = self.batch();
        let (series, numbers) = (self.family(Family::Series), self.family(Family::Numbers));
        let mut tenants: HashMap<&TenantId, Postings<'_>> = HashMap::new();
        for row in rows {
            let value = keys::series_value(row.number, &row.tenant, &row.labels);
            batch.rocks.put_cf(series, keys::day_id(day, row.id), value);
            batch.rocks.put_cf(numbers, keys::number(day, row.number), row.id.0);
            let postings = tenants.entry(&row.tenant).or_default();
            postings.add(row.number, LabelPairs::of_canonical(&row.labels));
        }
        for (tenant, postings) in tenants {
            postings.append(self, &mut batch, day, tenant);
        }
        batch.rocks.put(meta::next_number(day), next.to_le_bytes());
        self.write_raw(OPERATION, std::mem::take(&mut batch.rocks), &unsynced())
    }
}

/// What the postings say of a number.
#[derive(Default)]
struct PairsOfNumber {
    tenant: String,
    pairs: Vec<(String, String)>,
}

impl PairsOfNumber {
    /// The labels, where they are those of series `id`.
    fn labels_of(self, db: &Db, id: SeriesId) -> Option<(TenantId, Labels)> {
        let tenant = TenantId::new(&self.tenant).ok()?;
        let pairs = self.pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let labels = Labels::from_pairs(pairs).ok()?;
        let hasher = SeriesHasher::new(db.seed(), &tenant);
        let hash = hasher.hash(labels.as_bytes());
        let found = hasher.id(hash, labels.metric_name().unwrap_or_default(), db.shards());
        (found == id).then_some((tenant, labels))
    }
}
