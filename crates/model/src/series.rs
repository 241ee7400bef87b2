//! The identity of a series: its hash, its shard, its key.

use std::fmt;

use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_secret};

use crate::tenant::TenantId;

/// 128 bits over the tenant and the canonical labels.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesHash(pub u128);

impl fmt::Debug for SeriesHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Hashes the series of one tenant. The seed belongs to the store and never changes in its life:
/// other seeds make other shards, so nobody outside can choose labels that all fall into one.
#[derive(Clone)]
pub struct SeriesHasher {
    tenant_seed: u64,
    /// Made of the seed once: hashing with a seed makes one for every input that is longer than
    /// 240 bytes.
    secret: [u8; SECRET_BYTES],
}

/// Length of xxh3's own secret.
const SECRET_BYTES: usize = 192;

impl SeriesHasher {
    /// A hasher for `tenant` in the store that was created with `seed`.
    pub fn new(seed: u64, tenant: &TenantId) -> Self {
        let tenant_seed = xxh3_64_with_seed(tenant.as_str().as_bytes(), seed);
        let mut secret = [0; SECRET_BYTES];
        for (number, word) in (0u64..).zip(secret.as_chunks_mut::<8>().0) {
            *word = xxh3_64_with_seed(&number.to_le_bytes(), tenant_seed).to_le_bytes();
        }
        Self { tenant_seed, secret }
    }

    /// The hash of canonical label bytes. Of other bytes it is some hash, which is the identity of
    /// no series.
    #[inline]
    pub fn hash(&self, label_bytes: &[u8]) -> SeriesHash {
        SeriesHash(xxh3_128_with_secret(label_bytes, &self.secret))
    }

    /// The key of the series with this hash and metric name.
    pub fn id(&self, hash: SeriesHash, metric_name: &str, shards: ShardCount) -> SeriesId {
        let metric = xxh3_64_with_seed(metric_name.as_bytes(), self.tenant_seed) >> 32;
        let mut id = [0; SeriesId::BYTES];
        id[..2].copy_from_slice(&shards.of(hash).0.to_be_bytes());
        id[2..6].copy_from_slice(&metric.to_be_bytes()[4..]);
        id[6..].copy_from_slice(&hash.0.to_be_bytes()[6..]);
        SeriesId(id)
    }
}

/// A fixed number of shards, a power of two from 1 to 65,536, chosen when a store is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardCount {
    bits: u32,
}

/// The number of shards is not a power of two from 1 to 65,536.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} shards: the number must be a power of two from 1 to 65536")]
pub struct ShardCountError(pub u32);

impl ShardCount {
    /// Checks a number of shards.
    pub fn new(count: u32) -> Result<Self, ShardCountError> {
        if !count.is_power_of_two() || count > 1 << 16 {
            return Err(ShardCountError(count));
        }
        Ok(Self { bits: count.trailing_zeros() })
    }

    /// How many shards there are.
    pub fn count(self) -> u32 {
        1 << self.bits
    }

    /// The shard that holds the series with this hash: the hash's top bits.
    #[inline]
    pub fn of(self, hash: SeriesHash) -> ShardId {
        let top = u16::try_from(hash.0 >> 112).expect("sixteen bits");
        ShardId(u16::try_from(u32::from(top) >> (16 - self.bits)).expect("sixteen bits"))
    }

    /// All shards, in order.
    pub fn iter(self) -> impl Iterator<Item = ShardId> {
        (0..self.count()).map(|n| ShardId(u16::try_from(n).expect("at most 65536 shards")))
    }
}

impl fmt::Debug for SeriesHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SeriesHasher").finish_non_exhaustive()
    }
}

/// One of the equal, contiguous ranges of the series hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u16);

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The key of a series: shard number (u16) · 32 bits of the hash of tenant and metric name · low 80
/// bits of the series hash, all big-endian. So a shard is a contiguous range of keys, and in it the
/// series of a metric are neighbours.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesId(pub [u8; Self::BYTES]);

impl SeriesId {
    /// Length of the key.
    pub const BYTES: usize = 16;

    /// The shard that the series lies in.
    pub fn shard(self) -> ShardId {
        ShardId(u16::from_be_bytes([self.0[0], self.0[1]]))
    }
}

impl fmt::Debug for SeriesId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_contiguous_ranges_of_hash_and_key() {
        let shards = ShardCount::new(256).unwrap();
        let hasher = SeriesHasher::new(7, &TenantId::default());
        let mut rows: Vec<_> = (0..10_000u32)
            .map(|n| {
                let hash = hasher.hash(&n.to_le_bytes());
                (hash, shards.of(hash), hasher.id(hash, "up", shards))
            })
            .collect();
        rows.sort();
        assert!(rows.windows(2).all(|w| w[0].1 <= w[1].1 && w[0].2.shard() <= w[1].2.shard()));
        assert!(rows.iter().all(|(_, shard, id)| id.shard() == *shard));
        assert_eq!((rows[0].1, rows[9_999].1), (ShardId(0), ShardId(255)));
    }

    #[test]
    fn tenants_and_seeds_change_identity() {
        let (a, b) = (TenantId::new("a").unwrap(), TenantId::new("b").unwrap());
        let hash = |seed, tenant| SeriesHasher::new(seed, tenant).hash(b"x");
        assert_ne!(hash(1, &a), hash(1, &b));
        assert_ne!(hash(1, &a), hash(2, &a));
    }

    #[test]
    fn counts_are_powers_of_two() {
        for count in [1, 2, 256, 65_536] {
            assert_eq!(ShardCount::new(count).unwrap().iter().count(), count as usize);
        }
        for count in [0, 3, 131_072] {
            assert_eq!(ShardCount::new(count), Err(ShardCountError(count)));
        }
    }
}
