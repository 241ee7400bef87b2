//! A batch: what is written at once, or not at all.

use std::collections::BTreeMap;

use rangekeeper_model::{Day, SeriesId, TenantId, WindowInDay};
use rocksdb::WriteBatch;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::keys::{self, Family};
use super::metadata::{self, MetadataEntry};
use super::{Db, meta};

/// An exemplar of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exemplar<'a> {
    /// Milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// Its value.
    pub value: f64,
    /// Its own labels, canonical.
    pub labels: &'a [u8],
}

impl Exemplar<'_> {
    /// Its key in `exemplars`.
    pub(super) fn key(&self, day: Day, id: SeriesId) -> Vec<u8> {
        let hash = xxh3_64_with_seed(self.labels, self.value.to_bits());
        keys::exemplar(day, id, self.timestamp_ms, hash)
    }

    /// Its value there.
    pub(super) fn stored(&self) -> Vec<u8> {
        let mut value = self.value.to_bits().to_le_bytes().to_vec();
        value.extend_from_slice(self.labels);
        value
    }
}

/// Collects what [`Db::write`] then writes at once. What lies below the floor is left out. Dropped
/// unwritten, it writes nothing and gives back what [`Db::register`] reserved.
pub struct Batch<'db> {
    pub(super) db: &'db Db,
    pub(super) rocks: WriteBatch,
    /// Windows merged into, as bits, by day.
    pub(super) merged: BTreeMap<Day, u16>,
    /// Numbers that this batch gives, by day.
    pub(super) given: Vec<(Day, Vec<(u32, SeriesId)>)>,
}

impl<'db> Batch<'db> {
    pub(super) fn new(db: &'db Db) -> Self {
        let rocks = WriteBatch::default();
        Self { db, rocks, merged: BTreeMap::new(), given: Vec::new() }
    }

    /// Unites `value`, a chunk value, with what is kept of the series in the window.
    pub fn merge_chunk(&mut self, day: Day, id: SeriesId, window: WindowInDay, value: &[u8]) {
        if day < self.db.floor() {
            return;
        }
        *self.merged.entry(day).or_default() |= 1 << window.0;
        let family = self.db.family(Family::Chunks);
        self.rocks.merge_cf(family, keys::chunk(day, id, window), value);
    }

    /// Notes that everything of `stripe` up to log position `position` is in the database once this
    /// batch is.
    pub fn checkpoint(&mut self, stripe: u16, position: u64) {
        let family = self.db.family(Family::Meta);
        self.rocks.put_cf(family, meta::checkpoint(stripe), position.to_le_bytes());
    }

    /// Notes the time of the newest sample stored so far, in milliseconds.
    pub fn newest_ms(&mut self, newest_ms: i64) {
        self.rocks.put_cf(self.db.family(Family::Meta), meta::NEWEST, newest_ms.to_le_bytes());
    }

    /// Notes `value` under `name`.
    pub(crate) fn note(&mut self, name: &str, value: &[u8]) {
        self.rocks.put_cf(self.db.family(Family::Meta), meta::note(name), value);
    }

    /// Adds an exemplar; the same exemplar twice is one.
    pub fn exemplar(&mut self, day: Day, id: SeriesId, exemplar: &Exemplar<'_>) {
        if day < self.db.floor() {
            return;
        }
        let family = self.db.family(Family::Exemplars);
        self.rocks.put_cf(family, exemplar.key(day, id), exemplar.stored());
    }

    /// Adds what is said of a metric family.
    pub fn metadata(&mut self, tenant: &TenantId, family: &str, entry: &MetadataEntry) {
        let value = metadata::encode(std::slice::from_ref(entry));
        let key = keys::metadata(tenant, family);
        self.rocks.merge_cf(self.db.family(Family::Metadata), key, value);
    }

    /// Bytes collected so far.
    pub fn size_bytes(&self) -> usize {
        self.rocks.size_in_bytes()
    }

    /// Whether nothing was collected.
    pub fn is_empty(&self) -> bool {
        self.rocks.is_empty()
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        for (day, given) in self.given.drain(..) {
            self.db.days.release(day, &given);
        }
    }
}
