//! Names and values of labels.

use std::collections::BTreeSet;

use rangekeeper_model::{Day, Matcher, TenantId};
use roaring::RoaringBitmap;

use super::keys::{self, Family};
use super::read::Stop;
use super::{Db, DbError};

const OPERATION: &str = "list labels";
/// Up to so many series their labels are read; beyond, the postings are walked.
const FEW_SERIES: u64 = 4_000;
/// Rows between two looks at [`Stop`].
const ROWS_A_CHECK: u64 = 1024;

impl Db {
    /// Names of the labels of the series that pass `matchers` in any of `days`, sorted; at most the
    /// first `limit + 1`, so that the caller sees that there are more.
    pub fn label_names(
        &self,
        tenant: &TenantId,
        days: &[Day],
        matchers: &[Matcher],
        limit: usize,
        stop: Stop<'_>,
    ) -> Result<Vec<String>, DbError> {
        let mut names = BTreeSet::new();
        for &day in days.iter().filter(|day| **day >= self.floor()) {
            let Some(passing) = self.passing(tenant, day, matchers, stop)? else { continue };
            let listing = Listing { db: self, day, stop, limit };
            match passing {
                Passing::Few(numbers) => {
                    let ids = self.ids(day, &numbers)?;
                    self.read_numbered(day, &ids, stop, |_, labels| {
                        for (name, _) in &labels {
                            insert(&mut names, name);
                        }
                    })?;
                }
                Passing::Many(numbers) => listing.names(tenant, numbers.as_ref(), &mut names)?,
            }
        }
        Ok(first(names, limit))
    }

    /// Values of label `name` of the series that pass `matchers` in any of `days`, sorted; at most
    /// the first `limit + 1`.
    pub fn label_values(
        &self,
        tenant: &TenantId,
        days: &[Day],
        name: &str,
        matchers: &[Matcher],
        limit: usize,
        stop: Stop<'_>,
    ) -> Result<Vec<String>, DbError> {
        let mut values = BTreeSet::new();
        for &day in days.iter().filter(|day| **day >= self.floor()) {
            let Some(passing) = self.passing(tenant, day, matchers, stop)? else { continue };
            let listing = Listing { db: self, day, stop, limit };
            match passing {
                Passing::Few(numbers) => {
                    let ids = self.ids(day, &numbers)?;
                    self.read_numbered(day, &ids, stop, |_, labels| {
                        if let Some(value) = labels.value(name) {
                            insert(&mut values, value);
                        }
                    })?;
                }
                Passing::Many(numbers) => {
                    listing.values(tenant, name, numbers.as_ref(), &mut values)?;
                }
            }
        }
        Ok(first(values, limit))
    }

    fn passing(
        &self,
        tenant: &TenantId,
        day: Day,
        matchers: &[Matcher],
        stop: Stop<'_>,
    ) -> Result<Option<Passing>, DbError> {
        if matchers.is_empty() {
            return Ok(Some(Passing::Many(None)));
        }
        let numbers = self.find(tenant, day, matchers, stop)?;
        Ok(match numbers.len() {
            0 => None,
            few if few <= FEW_SERIES => Some(Passing::Few(numbers)),
            _ => Some(Passing::Many(Some(numbers))),
        })
    }
}

/// The series that a listing is about.
enum Passing {
    /// Few enough to read the labels of.
    Few(RoaringBitmap),
    /// Many, or (`None`) all.
    Many(Option<RoaringBitmap>),
}

pub(super) struct Listing<'l> {
    pub(super) db: &'l Db,
    pub(super) day: Day,
    pub(super) stop: Stop<'l>,
    pub(super) limit: usize,
}

impl Listing<'_> {
    /// Adds the names that some of `numbers` have.
    fn names(
        &self,
        tenant: &TenantId,
        numbers: Option<&RoaringBitmap>,
        names: &mut BTreeSet<String>,
    ) -> Result<(), DbError> {
        let prefix = keys::postings_tenant(self.day, tenant);
        let end = keys::after_prefix(&prefix);
        let mut iterator = self.db.iterator(Family::Postings, end, false);
        // Behind the series of the empty name.
        iterator.seek(keys::after_prefix(&keys::postings_label(&prefix, "")));
        let (mut rows, mut added) = (0_u64, 0);
        while let Some((key, value)) = iterator.item() {
            self.check(&mut rows)?;
            let (name, _) = self.parts(&prefix, key)?;
            let passes = match numbers {
                None => true,
                Some(numbers) => !self.db.parse_posting(self.day, value)?.is_disjoint(numbers),
            };
            if passes {
                let next = keys::after_prefix(&keys::postings_label(&prefix, &name));
                insert(names, &name);
                added += 1;
                if added > self.limit {
                    break;
                }
                iterator.seek(next);
            } else {
                iterator.next();
            }
        }
        iterator.status().map_err(|e| self.db.read_failed(OPERATION, Some(self.day), e))
    }

    /// Adds the values of `name` that some of `numbers` have.
    fn values(
        &self,
        tenant: &TenantId,
        name: &str,
        numbers: Option<&RoaringBitmap>,
        values: &mut BTreeSet<String>,
    ) -> Result<(), DbError> {
        if name.is_empty() {
            return Ok(());
        }
        let prefix = keys::postings_label(&keys::postings_tenant(self.day, tenant), name);
        let mut iterator = self.db.iterator(Family::Postings, keys::after_prefix(&prefix), false);
        iterator.seek(&prefix);
        let (mut rows, mut added) = (0_u64, 0);
        while let Some((key, value)) = iterator.item() {
            self.check(&mut rows)?;
            let passes = match numbers {
                None => true,
                Some(numbers) => !self.db.parse_posting(self.day, value)?.is_disjoint(numbers),
            };
            if passes {
                insert(values, self.text(&key[prefix.len()..])?);
                added += 1;
                if added > self.limit {
                    break;
                }
            }
            iterator.next();
        }
        iterator.status().map_err(|e| self.db.read_failed(OPERATION, Some(self.day), e))
    }

    /// Calls `each` with name, value and numbers of every posting below `prefix`.
    pub(super) fn rows(
        &self,
        prefix: &[u8],
        mut each: impl FnMut(&str, &str, &RoaringBitmap),
    ) -> Result<(), DbError> {
        let mut iterator = self.db.iterator(Family::Postings, keys::after_prefix(prefix), true);
        iterator.seek(prefix);
        let mut rows = 0_u64;
        while let Some((key, value)) = iterator.item() {
            self.check(&mut rows)?;
            let (name, text) = self.parts(prefix, key)?;
            each(&name, text, &self.db.parse_posting(self.day, value)?);
            iterator.next();
        }
        iterator.status().map_err(|e| self.db.read_failed(OPERATION, Some(self.day), e))
    }

    fn parts<'k>(&self, prefix: &[u8], key: &'k [u8]) -> Result<(String, &'k str), DbError> {
        let parts = keys::take_part(&key[prefix.len()..])
            .and_then(|(name, value)| Some((String::from_utf8(name).ok()?, value)));
        let (name, value) = parts.ok_or_else(|| {
            self.db.unreadable(OPERATION, self.day, "a posting's key is no label")
        })?;
        Ok((name, self.text(value)?))
    }

    fn text<'k>(&self, bytes: &'k [u8]) -> Result<&'k str, DbError> {
        std::str::from_utf8(bytes)
            .map_err(|_| self.db.unreadable(OPERATION, self.day, "a value is no UTF-8"))
    }

    fn check(&self, rows: &mut u64) -> Result<(), DbError> {
        *rows += 1;
        if rows.is_multiple_of(ROWS_A_CHECK) && (self.stop)() {
            return Err(DbError::Interrupted { operation: OPERATION });
        }
        Ok(())
    }
}

fn insert(set: &mut BTreeSet<String>, text: &str) {
    if !set.contains(text) {
        set.insert(text.to_owned());
    }
}

fn first(set: BTreeSet<String>, limit: usize) -> Vec<String> {
    set.into_iter().take(limit.saturating_add(1)).collect()
}
