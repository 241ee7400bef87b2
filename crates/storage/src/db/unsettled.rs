//! Keys of what is not known to be at all places of its shard (see `unsettled`), so that a store
//! that is opened again still knows it.
//!
//! ```text
//! a day      ┌───────────┬─────────┐
//!            │ shard u16 │ day u32 │ → nothing
//!            └───────────┴─────────┘
//! a chunk    ┌───────────┬─────────┬────────────────────────┬───────────┐
//!            │ shard u16 │ day u32 │ SeriesId, bytes 2 to 15│ window u8 │ → nothing
//!            └───────────┴─────────┴────────────────────────┴───────────┘
//! ```
//!
//! All numbers are big-endian; the shard comes first, because a shard is settled, handed over and
//! dropped by itself. The first two bytes of a SeriesId are the shard.

use rangekeeper_model::{Day, SeriesId, ShardId, Window, WindowInDay};
use rangekeeper_placement::UnsettledKey;

use super::keys::Family;
use super::{Batch, Db, DbError};

const OPERATION: &str = "read what is unsettled";
const DAY_KEY_BYTES: usize = 2 + 4;
const CHUNK_KEY_BYTES: usize = DAY_KEY_BYTES + SeriesId::BYTES - 2 + 1;

/// What is to be changed of a shard's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UnsettledChange {
    /// A day has taken the place of its chunks: all keys of these go. To come before the others.
    DeleteChunks(Day),
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
            UnsettledChange::DeleteChunks(day) => {
                let from = [day_key(shard, day).as_slice(), &[0]].concat();
                self.rocks.delete_range_cf(family, from, day_key(shard, day.next()).to_vec());
            }
        }
    }
}

impl Db {
    /// All keys, by shard.
    pub(crate) fn unsettled(&self) -> Result<Vec<(ShardId, UnsettledKey)>, DbError> {
        let mut iterator = self.iterator(Family::Unsettled, vec![0xff; CHUNK_KEY_BYTES + 1], true);
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
        UnsettledKey::Day(day) => Some(day_key(shard, day).to_vec()),
        UnsettledKey::Chunk(window, id) => {
            let mut key = Vec::with_capacity(CHUNK_KEY_BYTES);
            key.extend_from_slice(&day_key(shard, window.day()));
            key.extend_from_slice(&id.0[2..]);
            key.push(window.in_day().0);
            Some(key)
        }
    }
}

fn decode(key: &[u8]) -> Option<(ShardId, UnsettledKey)> {
    let (shard, rest) = key.split_first_chunk()?;
    let (day, rest) = rest.split_first_chunk()?;
    let day = Day(u32::from_be_bytes(*day));
    let key = match rest.split_last() {
        None => UnsettledKey::Day(day),
        Some((window, series)) => {
            let mut id = SeriesId([0; SeriesId::BYTES]);
            id.0[..2].copy_from_slice(shard);
            id.0[2..].copy_from_slice(<&[u8; SeriesId::BYTES - 2]>::try_from(series).ok()?);
            UnsettledKey::Chunk(Window::new(day, WindowInDay(*window)), id)
        }
    };
    Some((ShardId(u16::from_be_bytes(*shard)), key))
}

/// The shard of a key, for telling what a damaged table held.
pub(super) fn shard_of(key: &[u8]) -> Option<ShardId> {
    key.first_chunk().map(|shard| ShardId(u16::from_be_bytes(*shard)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_back_and_a_day_lies_outside_of_its_chunks() {
        let mut id = SeriesId([7; SeriesId::BYTES]);
        id.0[..2].copy_from_slice(&[1, 2]);
        let (shard, day) = (id.shard(), Day(20_000));
        let chunk = UnsettledKey::Chunk(Window::new(day, WindowInDay(11)), id);
        for key in [chunk, UnsettledKey::Day(day)] {
            assert_eq!(decode(&encode(shard, key).unwrap()), Some((shard, key)));
        }
        assert_eq!(decode(&encode(shard, chunk).unwrap()[..9]), None);
        let of_chunk = encode(shard, chunk).unwrap();
        let (from, to) =
            ([day_key(shard, day).as_slice(), &[0]].concat(), day_key(shard, Day(20_001)));
        assert!(from <= of_chunk && of_chunk.as_slice() < to.as_slice());
        assert!(day_key(shard, day).as_slice() < from.as_slice());
    }
}
