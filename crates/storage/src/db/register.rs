//! Giving series their numbers and postings of a day.

use hashbrown::HashMap;
use parking_lot::RwLockWriteGuard;
use rangekeeper_model::{Day, LabelPairs, SeriesId, TenantId};
use roaring::RoaringBitmap;

use super::days::DayIndex;
use super::keys::{self, Family};
use super::{Batch, Db, DbError, meta, postings};

/// A series to be found under a day.
#[derive(Clone, Copy, Debug)]
pub struct Registration<'a> {
    /// The series.
    pub id: SeriesId,
    /// Whose it is.
    pub tenant: &'a TenantId,
    /// Its canonical labels.
    pub labels: &'a [u8],
    /// Comes back with the series' number of the day; `None` where the day is below the floor.
    pub number: Option<u32>,
}

impl Db {
    /// Registers series under `day` in `batch`: they are found there once the batch is written. A
    /// series that is registered already costs a lookup and keeps its number. Sorts `registrations`
    /// by series: neighbours in `chunks` get neighbouring numbers, which makes bitmaps small and
    /// reads sequential.
    ///
    /// Safe with others that register the same series at the same time: both batches carry the same
    /// number.
    pub fn register(
        &self,
        batch: &mut Batch<'_>,
        day: Day,
        registrations: &mut [Registration<'_>],
    ) -> Result<(), DbError> {
        if day < self.floor() || registrations.is_empty() {
            return Ok(());
        }
        registrations.sort_by_key(|r| r.id);
        let index = self.days.index(day);
        let mut index = index.write();
        let known = self.known_numbers(day, registrations)?;
        let mut next = self.next_number(day, &mut index)?;
        let first_new = next;
        let mut fresh = Vec::new();
        let mut previous: Option<(SeriesId, u32)> = None;
        for (registration, known) in registrations.iter_mut().zip(known) {
            let twice = previous.filter(|(id, _)| *id == registration.id).map(|(_, number)| number);
            let number = twice.or(known).unwrap_or_else(|| {
                let number = reserve(&mut index, registration.id, &mut next);
                fresh.push((number, registration.id));
                number
            });
            registration.number = Some(number);
            previous = Some((registration.id, number));
        }
        index.next = Some(next);
        if fresh.is_empty() {
            return Ok(());
        }
        if next != first_new {
            let family = self.family(Family::Meta);
            batch.rocks.put_cf(family, meta::next_number(day), next.to_le_bytes());
        }
        drop(index);
        self.append_index(batch, day, registrations, &fresh);
        batch.given.push((day, fresh));
        Ok(())
    }

    /// The numbers that series have on disk. Sorted like `registrations`.
    fn known_numbers(
        &self,
        day: Day,
        registrations: &[Registration<'_>],
    ) -> Result<Vec<Option<u32>>, DbError> {
        let keys: Vec<_> = registrations.iter().map(|r| keys::day_id(day, r.id)).collect();
        let mut numbers = Vec::with_capacity(keys.len());
        for some in keys.chunks(1024) {
            let values = self.rocks.batched_multi_get_cf(self.family(Family::Series), some, true);
            for value in values {
                let value = value.map_err(|e| self.read_failed("look up series", Some(day), e))?;
                let number = value.map(|value| {
                    keys::series_parts(&value).map(|(number, ..)| number).ok_or_else(|| {
                        self.unreadable("look up series", day, "a series without number")
                    })
                });
                numbers.push(number.transpose()?);
            }
        }
        Ok(numbers)
    }

    fn next_number(
        &self,
        day: Day,
        index: &mut RwLockWriteGuard<'_, DayIndex>,
    ) -> Result<u32, DbError> {
        if let Some(next) = index.next {
            return Ok(next);
        }
        // Batches that gave numbers at the same time may have been written in either order, so the
        // record can lag behind the last number; the last number can lag where its block was lost.
        // The greater of the two is right.
        let recorded = self.read_meta(&meta::next_number(day))?.as_deref().and_then(meta::u32_of);
        let mut iterator = self.day_iterator(Family::Numbers, day);
        iterator.seek_for_prev(keys::number(day, u32::MAX));
        let last = iterator.key().filter(|key| keys::day_of(key) == Some(day));
        let after_last = last.and_then(keys::number_of).map_or(0, |number| number + 1);
        iterator.status().map_err(|e| self.read_failed("look up numbers", Some(day), e))?;
        Ok(recorded.unwrap_or(0).max(after_last))
    }

    /// Adds the rows of newly numbered series and one postings merge a label value.
    fn append_index(
        &self,
        batch: &mut Batch<'_>,
        day: Day,
        registrations: &[Registration<'_>],
        fresh: &[(u32, SeriesId)],
    ) {
        let (series, numbers) = (self.family(Family::Series), self.family(Family::Numbers));
        let mut tenants: HashMap<&TenantId, Postings<'_>> = HashMap::new();
        let mut fresh = fresh.iter().peekable();
        for registration in registrations {
            // Both are sorted by series; a series that occurs twice is new only the first time.
            let Some(&&(number, id)) = fresh.peek().filter(|(_, id)| *id == registration.id) else {
                continue;
            };
            fresh.next();
            let value = keys::series_value(number, registration.tenant, registration.labels);
            batch.rocks.put_cf(series, keys::day_id(day, id), value);
            batch.rocks.put_cf(numbers, keys::number(day, number), id.0);
            let postings = tenants.entry(registration.tenant).or_default();
            postings.add(number, LabelPairs::of_canonical(registration.labels));
        }
        for (tenant, postings) in tenants {
            postings.append(self, batch, day, tenant);
        }
    }
}

fn reserve(index: &mut DayIndex, id: SeriesId, next: &mut u32) -> u32 {
    let (number, holders) = index.pending.entry(id).or_insert_with(|| {
        let number = *next;
        *next += 1;
        (number, 0)
    });
    *holders += 1;
    *number
}

/// The numbers of a batch by label.
#[derive(Default)]
pub(super) struct Postings<'a> {
    all: Vec<u32>,
    by_pair: HashMap<(&'a str, &'a str), Vec<u32>>,
}

impl<'a> Postings<'a> {
    /// Adds a series with all its labels.
    pub(super) fn add(&mut self, number: u32, labels: LabelPairs<'a>) {
        self.all.push(number);
        for pair in labels {
            self.by_pair.entry(pair).or_default().push(number);
        }
    }

    /// Adds one merge a label value to `batch`.
    pub(super) fn append(mut self, db: &Db, batch: &mut Batch<'_>, day: Day, tenant: &TenantId) {
        let family = db.family(Family::Postings);
        let prefix = keys::postings_tenant(day, tenant);
        let mut value = Vec::new();
        batch.rocks.merge_cf(
            family,
            keys::postings_label(&prefix, ""),
            encode(&mut self.all, &mut value),
        );
        // In the order of keys, which spares the memtable its searching.
        let mut pairs: Vec<_> = self.by_pair.into_iter().collect();
        pairs.sort_unstable_by_key(|(pair, _)| *pair);
        for ((name, text), mut numbers) in pairs {
            let mut key = keys::postings_label(&prefix, name);
            key.extend_from_slice(text.as_bytes());
            batch.rocks.merge_cf(family, key, encode(&mut numbers, &mut value));
        }
    }
}

fn encode<'v>(numbers: &mut [u32], value: &'v mut Vec<u8>) -> &'v [u8] {
    // Rising nearly always; a number that another batch reserved first may stand among younger
    // ones.
    numbers.sort_unstable();
    let mut bitmap = RoaringBitmap::new();
    bitmap.extend(numbers.iter().copied());
    bitmap.optimize();
    value.clear();
    postings::append(value, &bitmap);
    value
}
