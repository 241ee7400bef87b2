//! The head: what is in memory and not yet in chunks, and the series that are written now.

pub(crate) mod flush;
mod loose;
pub(crate) mod series;
pub(crate) mod stripe;

use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::{Mutex, MutexGuard, RwLock, RwLockReadGuard};
use rangekeeper_model::{
    Labels, MetricType, SeriesHash, SeriesHasher, SeriesId, ShardCount, ShardId, TenantId,
};

use self::series::Series;
use self::stripe::Stripe;
use crate::log::SeriesRef;

/// At most so many stripes. Each checkpoint writes one, so more of them make smaller batches; a
/// request takes each of their locks twice, so more of them cost more.
const MAX_STRIPES: u32 = 16;

/// Most aliases that are remembered. Beyond, all are forgotten: an unsorted series then takes the
/// slow path once more.
const MAX_ALIASES: usize = 200_000;

/// A tenant's number in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TenantIndex(pub(crate) u32);

/// A tenant, with what its requests need at hand.
#[derive(Clone, Debug)]
pub struct Tenant {
    pub(crate) index: TenantIndex,
    pub(crate) id: TenantId,
    pub(crate) hasher: SeriesHasher,
}

impl Tenant {
    /// The tenant's name.
    pub fn id(&self) -> &TenantId {
        &self.id
    }

    /// Hashes label bytes of this tenant's series.
    pub fn hasher(&self) -> &SeriesHasher {
        &self.hasher
    }
}

/// One exemplar, as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// The series that it is an example of.
    pub id: SeriesId,
    /// Milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// The observed value.
    pub value: f64,
    /// The exemplar's own labels.
    pub labels: Labels,
}

/// A metric family of a tenant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FamilyKey {
    /// Whose it is.
    pub tenant: TenantId,
    /// Its name.
    pub family: String,
}

/// What a sender said of a metric family.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FamilyMetadata {
    /// What kind of metric it is.
    pub metric_type: MetricType,
    /// Description.
    pub help: String,
    /// Unit, or nothing.
    pub unit: String,
}

/// The series that are written now, in stripes.
///
/// **Lock order:** one stripe at a time, never two; inside of a stripe's lock no other lock but the
/// log's and those of what is unsettled.
#[derive(Debug)]
pub(crate) struct Head {
    seed: u64,
    shards: ShardCount,
    stripes: Vec<Mutex<Stripe>>,
    /// Shards of a stripe, as a power of two.
    shards_a_stripe: u32,
    tenants: RwLock<Tenants>,
    /// Hash of label bytes as a sender wrote them, where they are not canonical, to the hash of
    /// the canonical ones.
    aliases: RwLock<HashMap<SeriesHash, SeriesHash>>,
}

#[derive(Debug, Default)]
struct Tenants {
    by_index: Vec<Arc<Tenant>>,
    by_id: HashMap<TenantId, Arc<Tenant>>,
}

impl Head {
    pub(crate) fn new(seed: u64, shards: ShardCount) -> Self {
        let stripes = MAX_STRIPES.min(shards.count());
        Self {
            seed,
            shards,
            stripes: (0..stripes).map(|_| Mutex::default()).collect(),
            shards_a_stripe: (shards.count() / stripes).ilog2(),
            tenants: RwLock::default(),
            aliases: RwLock::default(),
        }
    }

    /// The tenant with this name.
    pub(crate) fn tenant(&self, id: &TenantId) -> Arc<Tenant> {
        if let Some(tenant) = self.tenants.read().by_id.get(id) {
            return Arc::clone(tenant);
        }
        let mut tenants = self.tenants.write();
        if let Some(tenant) = tenants.by_id.get(id) {
            return Arc::clone(tenant);
        }
        let index = u32::try_from(tenants.by_index.len()).expect("fewer than 2^32 tenants");
        let hasher = SeriesHasher::new(self.seed, id);
        let tenant = Arc::new(Tenant { index: TenantIndex(index), id: id.clone(), hasher });
        tenants.by_index.push(Arc::clone(&tenant));
        tenants.by_id.insert(id.clone(), Arc::clone(&tenant));
        tenant
    }

    /// The tenant with this number.
    pub(crate) fn tenant_at(&self, index: TenantIndex) -> Arc<Tenant> {
        Arc::clone(&self.tenants.read().by_index[index.0 as usize])
    }

    /// How the hash is cut into shards.
    pub(crate) fn shards(&self) -> ShardCount {
        self.shards
    }

    /// Number of stripes.
    pub(crate) fn stripe_count(&self) -> usize {
        self.stripes.len()
    }

    /// The stripe that holds `shard`.
    #[inline]
    pub(crate) fn stripe_of(&self, shard: ShardId) -> usize {
        usize::from(shard.0) >> self.shards_a_stripe
    }

    /// The first and the last shard of a stripe.
    pub(crate) fn shards_of(&self, stripe: usize) -> (ShardId, ShardId) {
        let mut shards = self.shards.iter().filter(|shard| self.stripe_of(*shard) == stripe);
        let first = shards.next().expect("there are at least as many shards as stripes");
        (first, shards.last().unwrap_or(first))
    }

    /// Locks a stripe.
    #[inline]
    pub(crate) fn stripe(&self, stripe: usize) -> MutexGuard<'_, Stripe> {
        self.stripes[stripe].lock()
    }

    /// The number by which the log names the series in `slot` of `stripe`.
    #[inline]
    pub(crate) fn reference(&self, stripe: usize, slot: u32) -> SeriesRef {
        let count = u32::try_from(self.stripes.len()).expect("at most MAX_STRIPES");
        let stripe = u32::try_from(stripe).expect("at most MAX_STRIPES");
        SeriesRef(slot.checked_mul(count).expect("fewer than 2^28 series in a stripe") + stripe)
    }

    /// Hashes of label bytes as senders wrote them, with the hash of the canonical ones.
    pub(crate) fn aliases(&self) -> RwLockReadGuard<'_, HashMap<SeriesHash, SeriesHash>> {
        self.aliases.read()
    }

    /// Remembers that label bytes with the hash `raw` mean the series with the hash `canonical`.
    pub(crate) fn remember_alias(&self, raw: SeriesHash, canonical: SeriesHash) {
        let mut aliases = self.aliases.write();
        if aliases.len() >= MAX_ALIASES {
            aliases.clear();
        }
        aliases.insert(raw, canonical);
    }

    /// Number of series in memory.
    pub(crate) fn series(&self) -> usize {
        self.stripes.iter().map(|stripe| stripe.lock().len()).sum()
    }

    /// A series that nobody knows yet.
    pub(crate) fn new_series(&self, tenant: &Tenant, hash: SeriesHash, labels: Labels) -> Series {
        let id = tenant.hasher.id(hash, labels.metric_name().unwrap_or_default(), self.shards);
        Series::new(id, labels, tenant.index)
    }
}
