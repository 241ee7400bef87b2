//! Keys of what is not known to be at all places of its shard (see `unsettled`), so that a store
//! that is opened again still knows it.
//!
//! ```text
//! metadata   ┌───────────┐
//!            │ shard u16 │ → nothing
//!            └───────────┘
//! a day      ┌───────────┬─────────┐
//!            │ shard u16 │ day u32 │ → nothing
//!            └───────────┴─────────┘
//! a part     ┌───────────┬─────────┬────────────────────────┬─────────┐   part: 0 to 11, the chunk of
//! of a day   │ shard u16 │ day u32 │ SeriesId, bytes 2 to 15│ part u8 │ → that window; 13, the series'
//!            └───────────┴─────────┴────────────────────────┴─────────┘   exemplars of the day
//! ```
//!
//! All numbers are big-endian; the shard comes first, because a shard is settled, handed over and
//! dropped by itself. The first two bytes of a SeriesId are the shard.

use rangekeeper_model::{Day, SeriesId, ShardId, WINDOWS_A_DAY, Window, WindowInDay};
use rangekeeper_placement::UnsettledKey;

use super::keys::{EXEMPLARS, Family};
use super::{Batch, Db, DbError};

const OPERATION: &str = "read what is unsettled";
const DAY_KEY_BYTES: usize = 2 + 4;
const PART_KEY_BYTES: usize = DAY_KEY_BYTES + SeriesId::BYTES - 2 + 1;

/// What is to be changed of a shard's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UnsettledChange {
    /// A day has taken the place of its parts: all keys of these go. To come before the others.
    DeleteParts(Day),
    /// The key is there from now on.
    Put(UnsettledKey),
    /// It is not.
    Delete(UnsettledKey),
}

impl Batch<'_> {
    /// Changes the keys of a shard. Keys of records are passed over: the log has those.
    pub(crate) fn unsettled(&mut self, shard: ShardId, change: UnsettledChange) {
        let family = self.db.family(Family::Unsettled);
        match change {
            UnsettledChange::Put(key) => {
                if let Some(key) = encode(shard, key) {
                    self.rocks.put_cf(family, key, []);
                }
            }
            UnsettledChange::Delete(key) => {
                if let Some(key) = encode(shard, key) {
                    self.rocks.delete_cf(family, key);
                }
            }
            UnsettledChange::DeleteParts(day) => {
                let from = [day_key(shard, day).as_slice(), &[0]].concat();
                self.rocks.delete_range_cf(family, from, day_key(shard, day.next()).to_vec());
            }
        }
    }
}

impl Db {
    /// All keys, by shard.
    pub(crate) fn unsettled(&self) -> Result<Vec<(ShardId, UnsettledKey)>, DbError> {
        let mut iterator = self.iterator(Family::Unsettled, vec![0xff; PART_KEY_BYTES + 1], true);
        iterator.seek_to_first();
        let mut keys = Vec::new();
        while let Some(key) = iterator.key() {
            keys.push(decode(key).ok_or_else(|| {
                self.unreadable(OPERATION, Day(0), "a key of what is unsettled makes no sense")
            })?);
            iterator.next();
        }
        iterator.status().map_err(|e| self.read_failed(OPERATION, None, e))?;
        Ok(keys)
    }
}

fn day_key(shard: ShardId, day: Day) -> [u8; DAY_KEY_BYTES] {
    let mut key = [0; DAY_KEY_BYTES];
    key[..2].copy_from_slice(&shard.0.to_be_bytes());
    key[2..].copy_from_slice(&day.0.to_be_bytes());
    key
}

fn encode(shard: ShardId, key: UnsettledKey) -> Option<Vec<u8>> {
    match key {
        UnsettledKey::Record(_) => None,
        UnsettledKey::Metadata => Some(shard.0.to_be_bytes().to_vec()),
        UnsettledKey::Day(day) => Some(day_key(shard, day).to_vec()),
        UnsettledKey::Chunk(window, id) => {
            Some(part_key(shard, window.day(), id, window.in_day()).to_vec())
        }
        UnsettledKey::Exemplars(day, id) => Some(part_key(shard, day, id, EXEMPLARS).to_vec()),
    }
}

fn part_key(shard: ShardId, day: Day, id: SeriesId, part: WindowInDay) -> [u8; PART_KEY_BYTES] {
    let mut key = [part.0; PART_KEY_BYTES];
    key[..DAY_KEY_BYTES].copy_from_slice(&day_key(shard, day));
    key[DAY_KEY_BYTES..PART_KEY_BYTES - 1].copy_from_slice(&id.0[2..]);
    key
}

fn decode(key: &[u8]) -> Option<(ShardId, UnsettledKey)> {
    let (shard, rest) = key.split_first_chunk()?;
    let of_shard = |key| Some((ShardId(u16::from_be_bytes(*shard)), key));
    if rest.is_empty() {
        return of_shard(UnsettledKey::Metadata);
    }
    let (day, rest) = rest.split_first_chunk()?;
    let day = Day(u32::from_be_bytes(*day));
    let Some((part, series)) = rest.split_last() else { return of_shard(UnsettledKey::Day(day)) };
    let mut id = SeriesId([0; SeriesId::BYTES]);
    id.0[..2].copy_from_slice(shard);
    id.0[2..].copy_from_slice(<&[u8; SeriesId::BYTES - 2]>::try_from(series).ok()?);
    match WindowInDay(*part) {
        EXEMPLARS => of_shard(UnsettledKey::Exemplars(day, id)),
        window if window.0 < WINDOWS_A_DAY => {
            of_shard(UnsettledKey::Chunk(Window::new(day, window), id))
        }
        _ => None,
    }
}

/// The shard of a key, for telling what a damaged table held.
pub(super) fn shard_of(key: &[u8]) -> Option<ShardId> {
    key.first_chunk().map(|shard| ShardId(u16::from_be_bytes(*shard)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_back_and_a_day_lies_outside_of_its_parts() {
        let mut id = SeriesId([7; SeriesId::BYTES]);
        id.0[..2].copy_from_slice(&[1, 2]);
        let (shard, day) = (id.shard(), Day(20_000));
        let chunk = UnsettledKey::Chunk(Window::new(day, WindowInDay(11)), id);
        let exemplars = UnsettledKey::Exemplars(day, id);
        for key in [chunk, exemplars, UnsettledKey::Day(day), UnsettledKey::Metadata] {
            assert_eq!(decode(&encode(shard, key).unwrap()), Some((shard, key)));
        }
        assert_eq!(decode(&encode(shard, chunk).unwrap()[..9]), None);
        assert_eq!(decode(&part_key(shard, day, id, WindowInDay(12))), None);
        let (from, to) =
            ([day_key(shard, day).as_slice(), &[0]].concat(), day_key(shard, Day(20_001)));
        for part in [chunk, exemplars].map(|key| encode(shard, key).unwrap()) {
            assert!(from <= part && part.as_slice() < to.as_slice());
        }
        assert!(day_key(shard, day).as_slice() < from.as_slice());
        assert!(encode(shard, UnsettledKey::Metadata).unwrap() < from);
    }
}
