//! What senders say of metric families: a set of statements per family, with the day each was last
//! made.
//!
//! ```text
//! ┌──────────┬────────────┬──────────────────┬──────────────────┬──────────────────┐
//! │ mark  1  │ day u32    │ kind: u32, bytes │ help: u32, bytes │ unit: u32, bytes │ ... once or more, sorted
//! ├──────────┼────────────┼──────────────────┴──────────────────┴──────────────────┘
//! │ mark  2  │ length u32 │ bytes that a merge could not read, as they were
//! └──────────┴────────────┘
//! ```
//!
//! The union keeps each statement once, with its latest day.

use std::collections::{BTreeMap, BTreeSet};

use rangekeeper_model::{Day, TenantId};
use rocksdb::WriteBatch;

use super::keys::{self, Family};
use super::{Db, DbError, Stop, unsynced};

const STATEMENT: u8 = 1;
const DAMAGED: u8 = 2;

/// One statement about a metric family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataEntry {
    /// `counter`, `gauge`, … as the sender's protocol spells it.
    pub kind: String,
    /// The description.
    pub help: String,
    /// The unit, or nothing.
    pub unit: String,
    /// The last day on which somebody said so.
    pub last_day: Day,
}

type Statements<'a> = BTreeMap<[&'a [u8]; 3], u32>;

/// The value that holds `entries`.
pub(super) fn encode(entries: &[MetadataEntry]) -> Vec<u8> {
    let mut statements = Statements::new();
    for entry in entries {
        let texts = [entry.kind.as_bytes(), entry.help.as_bytes(), entry.unit.as_bytes()];
        let day = statements.entry(texts).or_default();
        *day = (*day).max(entry.last_day.0);
    }
    write(&statements, &BTreeSet::new())
}

/// The statements in a value, and whether all of it could be read.
pub(super) fn decode(value: &[u8]) -> (Vec<MetadataEntry>, bool) {
    let (mut statements, mut damaged) = (Statements::new(), BTreeSet::new());
    read(value, &mut statements, &mut damaged);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let entries = statements.into_iter().map(|([kind, help, unit], day)| MetadataEntry {
        kind: text(kind),
        help: text(help),
        unit: text(unit),
        last_day: Day(day),
    });
    (entries.collect(), damaged.is_empty())
}

/// The union of values. Never fails: what it cannot read it keeps.
pub(super) fn unite<'a>(values: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let (mut statements, mut damaged) = (Statements::new(), BTreeSet::new());
    for value in values {
        read(value, &mut statements, &mut damaged);
    }
    write(&statements, &damaged)
}

fn read<'a>(
    mut value: &'a [u8],
    statements: &mut Statements<'a>,
    damaged: &mut BTreeSet<&'a [u8]>,
) {
    while let Some((mark, mut rest)) = value.split_first() {
        let understood = match *mark {
            STATEMENT => take_statement(&mut rest).map(|(texts, day)| {
                let latest = statements.entry(texts).or_default();
                *latest = (*latest).max(day);
            }),
            DAMAGED => take_text(&mut rest).map(|bytes| {
                damaged.insert(bytes);
            }),
            _ => None,
        };
        if understood.is_none() {
            damaged.insert(value);
            return;
        }
        value = rest;
    }
}

fn take_statement<'a>(rest: &mut &'a [u8]) -> Option<([&'a [u8]; 3], u32)> {
    let (day, after) = rest.split_first_chunk()?;
    *rest = after;
    let texts = [take_text(rest)?, take_text(rest)?, take_text(rest)?];
    Some((texts, u32::from_le_bytes(*day)))
}

fn take_text<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk()?;
    let (text, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    *rest = after;
    Some(text)
}

fn write(statements: &Statements<'_>, damaged: &BTreeSet<&[u8]>) -> Vec<u8> {
    let mut value = Vec::new();
    for (texts, day) in statements {
        value.push(STATEMENT);
        value.extend_from_slice(&day.to_le_bytes());
        for text in texts {
            append_text(&mut value, text);
        }
    }
    for bytes in damaged {
        value.push(DAMAGED);
        append_text(&mut value, bytes);
    }
    value
}

/// Whose family a key in `metadata` is of, and its name.
fn family_of(key: &[u8]) -> Option<(TenantId, &str)> {
    let (tenant, family) = keys::take_part(key)?;
    let tenant = TenantId::new(std::str::from_utf8(&tenant).ok()?).ok()?;
    Some((tenant, std::str::from_utf8(family).ok()?))
}

fn append_text(value: &mut Vec<u8>, text: &[u8]) {
    let length = u32::try_from(text.len()).expect("a value of RocksDB is shorter than 4 GiB");
    value.extend_from_slice(&length.to_le_bytes());
    value.extend_from_slice(text);
}

impl Db {
    /// Calls `each` with the families of `tenant` and what was said of them since the floor, sorted
    /// by family; only with `family`, where it is given. Ends when `each` returns `false`.
    pub fn read_metadata(
        &self,
        tenant: &TenantId,
        family: Option<&str>,
        mut each: impl FnMut(&str, Vec<MetadataEntry>) -> bool,
    ) -> Result<(), DbError> {
        let prefix = keys::metadata_tenant(tenant);
        let floor = self.floor();
        let mut take = |name: &[u8], value: &[u8]| {
            let (mut entries, whole) = decode(value);
            if !whole {
                self.damages.count();
            }
            entries.retain(|entry| entry.last_day >= floor);
            entries.is_empty() || each(&String::from_utf8_lossy(name), entries)
        };
        if let Some(name) = family {
            let key = keys::metadata(tenant, name);
            let value = self.rocks.get_pinned_cf(self.family(Family::Metadata), key);
            if let Some(value) = value.map_err(|e| self.read_failed("read metadata", None, e))? {
                take(name.as_bytes(), &value);
            }
            return Ok(());
        }
        let end = keys::after_prefix(&prefix);
        let mut iterator = self.iterator(Family::Metadata, end, false);
        iterator.seek(&prefix);
        while let Some((key, value)) = iterator.item() {
            if !take(&key[prefix.len()..], value) {
                break;
            }
            iterator.next();
        }
        iterator.status().map_err(|e| self.read_failed("read metadata", None, e))
    }

    /// Calls `each` with the families of all tenants for which `wanted` holds, and what was said of
    /// them since the floor. Fails where that cannot be read whole.
    pub(crate) fn scan_metadata(
        &self,
        stop: Stop<'_>,
        wanted: impl Fn(&TenantId, &str) -> bool,
        mut each: impl FnMut(TenantId, &str, Vec<MetadataEntry>),
    ) -> Result<(), DbError> {
        const OPERATION: &str = "scan metadata";
        let floor = self.floor();
        let damaged = |detail| self.unreadable(OPERATION, floor, detail);
        let mut iterator = self.iterator(Family::Metadata, vec![0xff; 256], true);
        iterator.seek_to_first();
        while let Some((key, value)) = iterator.item() {
            let (tenant, family) =
                family_of(key).ok_or_else(|| damaged("a family's key is cut"))?;
            if wanted(&tenant, family) {
                let (mut entries, whole) = decode(value);
                if !whole {
                    return Err(damaged("what was said of a family is cut"));
                }
                entries.retain(|entry| entry.last_day >= floor);
                each(tenant, family, entries);
            }
            if stop() {
                return Err(DbError::Interrupted { operation: OPERATION });
            }
            iterator.next();
        }
        iterator.status().map_err(|e| self.read_failed(OPERATION, None, e))
    }

    /// Forgets statements that nobody made since the floor. The caller keeps writers out: a merge
    /// between the read and the put would be lost.
    pub(super) fn expire_metadata(&self) -> Result<(), DbError> {
        let floor = self.floor();
        let mut batch = WriteBatch::default();
        let family = self.family(Family::Metadata);
        let mut iterator = self.iterator(Family::Metadata, vec![0xff; 256], false);
        iterator.seek_to_first();
        while let Some((key, value)) = iterator.item() {
            let (mut entries, whole) = decode(value);
            let before = entries.len();
            entries.retain(|entry| entry.last_day >= floor);
            if whole && entries.is_empty() {
                batch.delete_cf(family, key);
            } else if whole && entries.len() < before {
                batch.put_cf(family, key, encode(&entries));
            }
            iterator.next();
        }
        iterator.status().map_err(|e| self.read_failed("read metadata", None, e))?;
        self.write_raw("expire metadata", batch, &unsynced())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(help: &str, day: u32) -> MetadataEntry {
        MetadataEntry {
            kind: "counter".into(),
            help: help.into(),
            unit: String::new(),
            last_day: Day(day),
        }
    }

    #[test]
    fn statements_unite_with_their_latest_day() {
        let (a, b) = (encode(&[entry("x", 3)]), encode(&[entry("y", 1), entry("x", 5)]));
        let both = unite([a.as_slice(), &b].into_iter());
        assert_eq!(decode(&both), (vec![entry("x", 5), entry("y", 1)], true));
        assert_eq!(unite([b.as_slice(), &a, &both].into_iter()), both);
    }

    #[test]
    fn what_cannot_be_read_is_kept_once() {
        let good = encode(&[entry("x", 3)]);
        let cut = &good[..good.len() - 1];
        let united = unite([cut, &good, cut].into_iter());
        assert_eq!(decode(&united), (vec![entry("x", 3)], false));
        assert_eq!(unite([united.as_slice(), cut].into_iter()), united);
    }
}
