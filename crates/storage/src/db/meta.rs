//! The records of `meta`: what the store is, how far it is, what is wrong with it.
//!
//! ```text
//! format                 u32           version of the format
//! identity               seed u64 · hash version u8 · shards u32 · store id u128 · the cluster's
//!                        uuid, or 16 zero bytes
//! boot                   u64           times the store was opened
//! runs                   16 B each     the starts of the store, oldest first (see `Lineage`)
//! floor                  u32           first day that is kept
//! newest                 i64           time of the newest sample, as last noted, in milliseconds
//! checkpoint/<u16>       u64           log position up to which a stripe is in the database
//! next/<day u32>         u32           no number of the day from here on was ever given
//! sealing/<day u32>      sealed u16 · pending u16 · finished u8 (see `seal`)
//! damaged/<u64>          a damaged range (see `damage`)
//! rebuild/<day u32>      empty         the day's index is to be made whole (see `rebuild`)
//! doubtful               empty         records of `meta` were lost: checkpoints may be older ones
//! note/<text>            whatever the store keeps here, by its own name
//! ```
//!
//! Numbers are little-endian in values and big-endian in keys.

use std::path::Path;

use rangekeeper_model::{Day, Lineage, RunId, ShardCount};
use uuid::Uuid;

use super::error::{DbError, OpenError};
use super::identity_file::{IdentityFile, failed};
use super::keys::{FORMAT_VERSION, Family};
use super::options::CreateWith;
use super::{Db, synced};

pub(super) const FORMAT: &[u8] = b"format";
pub(super) const IDENTITY: &[u8] = b"identity";
pub(super) const BOOT: &[u8] = b"boot";
pub(super) const RUNS: &[u8] = b"runs";
pub(super) const FLOOR: &[u8] = b"floor";
pub(super) const NEWEST: &[u8] = b"newest";
pub(super) const CHECKPOINT: &[u8] = b"checkpoint/";
pub(super) const NEXT: &[u8] = b"next/";
pub(super) const SEALING: &[u8] = b"sealing/";
pub(super) const DAMAGED: &[u8] = b"damaged/";
pub(super) const REBUILD: &[u8] = b"rebuild/";
pub(super) const DOUBTFUL: &[u8] = b"doubtful";
const NOTE: &[u8] = b"note/";

/// How canonical label bytes become a series hash: xxh3-128 with a seed per tenant.
const HASH_VERSION: u8 = 1;

/// What a store is, for its whole life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Names the store among all stores.
    pub store_id: u128,
    /// Seed of the series hash.
    pub seed: u64,
    /// Number of shards.
    pub shards: ShardCount,
    /// How often the store was opened, this time included.
    pub boot: u64,
    /// The cluster that it belongs to.
    pub cluster: Option<Uuid>,
}

pub(super) fn key(prefix: &[u8], suffix: &[u8]) -> Vec<u8> {
    [prefix, suffix].concat()
}

pub(super) fn next_number(day: Day) -> Vec<u8> {
    key(NEXT, &day.0.to_be_bytes())
}

pub(super) fn rebuild(day: Day) -> Vec<u8> {
    key(REBUILD, &day.0.to_be_bytes())
}

pub(super) fn sealing(day: Day) -> Vec<u8> {
    key(SEALING, &day.0.to_be_bytes())
}

pub(super) fn checkpoint(stripe: u16) -> Vec<u8> {
    key(CHECKPOINT, &stripe.to_be_bytes())
}

pub(super) fn note(name: &str) -> Vec<u8> {
    key(NOTE, name.as_bytes())
}

pub(super) fn u32_of(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_le_bytes)
}

pub(super) fn u64_of(value: &[u8]) -> Option<u64> {
    value.try_into().ok().map(u64::from_le_bytes)
}

/// What an open finds out first.
pub(super) struct Opened {
    pub(super) identity: Identity,
    pub(super) lineage: Lineage,
    pub(super) floor: Day,
}

/// Reads or, in an empty folder, writes what the store is; counts the boot and notes the run, which
/// only the first open of a start begins. Synced when it returns.
/// What `meta` lost comes from the file beside it.
pub(super) fn identify(
    rocks: &rocksdb::DB,
    folder: &Path,
    with: &CreateWith,
) -> Result<Opened, OpenError> {
    let read =
        |record: &[u8]| rocks.get(record).map_err(|e| DbError::of_read("read meta", None, e));
    let format = read(FORMAT)?.map(|v| u32_of(&v).ok_or(unreadable("format"))).transpose()?;
    let beside = IdentityFile::read(folder)?;
    if let Some(found) = format.or(beside.as_ref().map(|file| file.format))
        && found > FORMAT_VERSION
    {
        return Err(OpenError::NewerFormat { found, supported: FORMAT_VERSION });
    }
    let record = read(IDENTITY)?;
    let is_new = format.is_none() && record.is_none() && beside.is_none();
    if is_new && !is_empty(rocks)? {
        return Err(unreadable("identity"));
    }
    let record = record.or_else(|| beside.as_ref().map(|file| file.identity.clone()));
    let mut identity = match &record {
        Some(value) => decode_identity(value)?,
        None if is_new => {
            let CreateWith { store_id, seed, shards, cluster, .. } = *with;
            Identity { store_id, seed, shards, boot: 0, cluster }
        }
        None => return Err(unreadable("identity")),
    };
    check_cluster(&identity, with.cluster)?;
    if let Some(given) = with.expect_shards.filter(|given| *given != identity.shards) {
        return Err(OpenError::OtherShards { found: identity.shards, given });
    }
    if let Some(given) = with.expect_seed.filter(|given| *given != identity.seed) {
        return Err(OpenError::OtherSeed { found: identity.seed, given });
    }
    // Only what is the same in all else joins.
    identity.cluster = with.cluster;
    let floor = read(FLOOR)?.map(|v| u32_of(&v).ok_or(unreadable("floor"))).transpose()?;
    let floor = floor.unwrap_or(0).max(beside.as_ref().map_or(0, |file| file.floor));
    let boots = read(BOOT)?.map(|v| u64_of(&v).ok_or(unreadable("boot"))).transpose()?;
    identity.boot = boots.unwrap_or(0) + 1;
    let runs = read(RUNS)?.map(|v| decode_runs(&v)).transpose()?.flatten();
    let lineage = runs.map_or_else(|| Lineage::begun(with.run), |runs| runs.continued(with.run));
    // The file first: a database without a record is then never taken for a new one.
    let file = identity_file(&identity, Day(floor));
    if beside.as_ref() != Some(&file) {
        file.write(folder).map_err(failed("write the identity file in", folder))?;
    }
    let mut batch = rocksdb::WriteBatch::default();
    batch.put(FORMAT, FORMAT_VERSION.to_le_bytes());
    batch.put(IDENTITY, encode_identity(&identity));
    batch.put(FLOOR, floor.to_le_bytes());
    batch.put(BOOT, identity.boot.to_le_bytes());
    batch.put(RUNS, encode_runs(&lineage));
    rocks.write_opt(batch, &synced()).map_err(OpenError::RocksDb)?;
    Ok(Opened { identity, lineage, floor: Day(floor) })
}

/// Refuses a store of another cluster, and one of a cluster that is opened as a lone node's.
fn check_cluster(identity: &Identity, given: Option<Uuid>) -> Result<(), OpenError> {
    match (identity.cluster, given) {
        (Some(found), Some(given)) if found != given => {
            Err(OpenError::OtherCluster { found, given })
        }
        (Some(cluster), None) => Err(OpenError::OfCluster { cluster }),
        _ => Ok(()),
    }
}

/// What the file beside the database says.
pub(super) fn identity_file(identity: &Identity, floor: Day) -> IdentityFile {
    let identity = encode_identity(identity);
    IdentityFile { format: FORMAT_VERSION, identity, floor: floor.0 }
}

fn unreadable(record: &'static str) -> OpenError {
    OpenError::Identity { record }
}

fn is_empty(rocks: &rocksdb::DB) -> Result<bool, OpenError> {
    Ok(rocks.live_files().map_err(OpenError::RocksDb)?.is_empty())
}

fn encode_identity(identity: &Identity) -> Vec<u8> {
    let mut value = identity.seed.to_le_bytes().to_vec();
    value.push(HASH_VERSION);
    value.extend_from_slice(&identity.shards.count().to_le_bytes());
    value.extend_from_slice(&identity.store_id.to_le_bytes());
    value.extend_from_slice(identity.cluster.unwrap_or_default().as_bytes());
    value
}

fn decode_identity(value: &[u8]) -> Result<Identity, OpenError> {
    let unreadable = || unreadable("identity");
    let (seed, rest) = value.split_first_chunk().ok_or_else(unreadable)?;
    let (hash, rest) = rest.split_first().ok_or_else(unreadable)?;
    if *hash != HASH_VERSION {
        return Err(OpenError::OtherHash { found: *hash, supported: HASH_VERSION });
    }
    let (shards, rest) = rest.split_first_chunk().ok_or_else(unreadable)?;
    let (store_id, rest) = rest.split_first_chunk().ok_or_else(unreadable)?;
    let cluster = Uuid::from_bytes(rest.try_into().map_err(|_| unreadable())?);
    Ok(Identity {
        store_id: u128::from_le_bytes(*store_id),
        seed: u64::from_le_bytes(*seed),
        shards: ShardCount::new(u32::from_le_bytes(*shards)).map_err(|_| unreadable())?,
        boot: 0,
        cluster: (!cluster.is_nil()).then_some(cluster),
    })
}

fn encode_runs(lineage: &Lineage) -> Vec<u8> {
    lineage.runs().iter().flat_map(|run| run.0.into_bytes()).collect()
}

fn decode_runs(value: &[u8]) -> Result<Option<Lineage>, OpenError> {
    let (runs, rest) = value.as_chunks();
    if !rest.is_empty() {
        return Err(unreadable("runs"));
    }
    Ok(Lineage::of(runs.iter().map(|run| RunId(Uuid::from_bytes(*run))).collect()))
}

impl Db {
    /// The log position up to which everything of `stripe` is in the database; `None` where none
    /// was ever noted.
    pub fn checkpoint(&self, stripe: u16) -> Result<Option<u64>, DbError> {
        Ok(self.read_meta(&checkpoint(stripe))?.as_deref().and_then(u64_of))
    }

    /// Whether checkpoints were lost with a damaged table, so that older ones or none may stand in
    /// their place. The log then holds more than they say is missing, and replays it all.
    pub fn checkpoints_are_doubtful(&self) -> Result<bool, DbError> {
        Ok(self.read_meta(DOUBTFUL)?.is_some())
    }

    /// Every stripe has a new checkpoint; synced when it returns.
    pub fn trust_checkpoints(&self) -> Result<(), DbError> {
        let mut batch = rocksdb::WriteBatch::default();
        batch.delete(DOUBTFUL);
        self.write_raw("trust checkpoints", batch, &synced())
    }

    /// The time of the newest sample as it was last noted, in milliseconds.
    pub fn newest_ms(&self) -> Result<Option<i64>, DbError> {
        let value = self.read_meta(NEWEST)?;
        Ok(value.as_deref().and_then(u64_of).map(u64::cast_signed))
    }

    /// What the store noted under `name`.
    pub fn note(&self, name: &str) -> Result<Option<Vec<u8>>, DbError> {
        self.read_meta(&note(name))
    }

    /// Notes `value` under `name`; synced when it returns.
    pub fn put_note(&self, name: &str, value: &[u8]) -> Result<(), DbError> {
        let mut batch = rocksdb::WriteBatch::default();
        batch.put(note(name), value);
        self.write_raw("write a note", batch, &synced())
    }

    /// Forgets what the store noted under `name`; synced when it returns.
    pub(crate) fn remove_note(&self, name: &str) -> Result<(), DbError> {
        let mut batch = rocksdb::WriteBatch::default();
        batch.delete(note(name));
        self.write_raw("remove a note", batch, &synced())
    }

    pub(super) fn read_meta(&self, key: &[u8]) -> Result<Option<Vec<u8>>, DbError> {
        self.rocks
            .get_cf(self.family(Family::Meta), key)
            .map_err(|e| self.read_failed("read meta", None, e))
    }
}

/// Key of the record that says what of `day` is sealed.
pub(crate) fn sealing_key(day: Day) -> Vec<u8> {
    sealing(day)
}

/// The sealing records of all days.
pub(crate) fn sealing_days(rocks: &rocksdb::DB) -> Result<Vec<(Day, Vec<u8>)>, DbError> {
    let mut days = Vec::new();
    let mut iterator = rocks.raw_iterator();
    iterator.seek(SEALING);
    while let Some((key, value)) = iterator.item() {
        let Some(day) = key.strip_prefix(SEALING).and_then(super::keys::day_of) else { break };
        days.push((day, value.to_vec()));
        iterator.next();
    }
    iterator.status().map_err(|e| DbError::of_read("read meta", None, e))?;
    Ok(days)
}
