//! Who the store is, and whether what it holds can be trusted to be all that it acknowledged.
//!
//! Two notes in `meta`: `run` says how the store is open, or was closed; `suspect` is there from
//! the moment at which acknowledged writes may have been lost until somebody says that they were
//! made good.

use rangekeeper_model::{Lineage, SeriesHasher, ShardCount, ShardId, TenantId};
use uuid::Uuid;

use super::engine::Engine;
use super::{Store, StoreError};
use crate::db::DbError;
use crate::log::Durability;

const RUN: &str = "run";
const SUSPECT: &str = "suspect";

const OPEN_SYNCED: u8 = 0;
const OPEN_UNSYNCED: u8 = 1;
const CLOSED: u8 = 2;

/// Who a store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreIdentity {
    /// Names the store among all stores, from its creation on.
    pub store: Uuid,
    /// How often it was opened, this time included.
    pub boot: u64,
    /// Its starts; the last is this one.
    pub lineage: Lineage,
    /// Seed of the series hash.
    pub seed: u64,
    /// Number of shards.
    pub shards: ShardCount,
    /// The cluster that it belongs to.
    pub cluster: Option<Uuid>,
    /// Whether it may lack writes that it acknowledged: the machine went down while they were not
    /// synced, or they were lost and that was accepted.
    pub is_suspect: bool,
}

impl Store {
    /// Who the store is.
    pub fn identity(&self) -> Result<StoreIdentity, StoreError> {
        let engine = self.engine()?;
        let identity = engine.db.identity();
        Ok(StoreIdentity {
            store: Uuid::from_u128(identity.store_id),
            boot: identity.boot,
            lineage: engine.db.lineage().clone(),
            seed: identity.seed,
            shards: identity.shards,
            cluster: identity.cluster,
            is_suspect: engine.db.note(SUSPECT)?.is_some(),
        })
    }

    /// What the store may lack was made good from other copies.
    pub fn clear_suspect(&self) -> Result<(), StoreError> {
        Ok(self.engine()?.db.remove_note(SUSPECT)?)
    }

    /// The shards of which data here is known to be lost or unreadable.
    pub fn damaged_shards(&self) -> Result<Vec<ShardId>, StoreError> {
        Ok(self.engine()?.db.damaged_shards()?)
    }

    /// Hashes label bytes of a tenant's series.
    pub fn hasher(&self, tenant: &TenantId) -> Result<SeriesHasher, StoreError> {
        Ok(self.engine()?.head.tenant(tenant).hasher.clone())
    }

    /// The shard that keeps what is said of a metric family.
    pub fn family_shard(&self, tenant: &TenantId, family: &str) -> Result<ShardId, StoreError> {
        Ok(self.engine()?.family_shard(tenant, family))
    }
}

impl Engine {
    /// Notes how the store is open from now on, and whether the machine went down since it was so
    /// before.
    pub(super) fn begin_run(&self) -> Result<(), DbError> {
        let machine = self.options.machine_boot.as_deref().unwrap_or_default();
        let before = self.db.note(RUN)?;
        if let Some((&OPEN_UNSYNCED, boot)) = before.as_deref().and_then(<[u8]>::split_first)
            && boot != machine.as_bytes()
        {
            tracing::error!("the machine went down while acknowledged writes were not synced");
            self.suspect()?;
        }
        let state = match self.options.durability {
            Durability::Sync => OPEN_SYNCED,
            Durability::Flush => OPEN_UNSYNCED,
        };
        let run = [&[state], machine.as_bytes()].concat();
        if before.as_ref() != Some(&run) {
            self.db.put_note(RUN, &run)?;
        }
        Ok(())
    }

    /// Notes that everything is synced and closed.
    pub(super) fn end_run(&self) -> Result<(), DbError> {
        self.db.put_note(RUN, &[CLOSED])
    }

    /// Notes that acknowledged writes may be lost.
    pub(super) fn suspect(&self) -> Result<(), DbError> {
        self.db.put_note(SUSPECT, &[])
    }
}
