//! A read-write lock per shard: whoever merges into `chunks` holds it shared, the sealer alone for
//! a moment.
//!
//! Lock order: shards rising; a thread that holds any takes no more until it dropped them. The
//! sealer takes one.

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use rangekeeper_model::{ShardCount, ShardId};

use super::Db;

pub(super) struct ShardLocks(Box<[RwLock<()>]>);

/// While it lives, nothing of its shards is sealed.
#[must_use]
pub struct ShardGuards<'db> {
    _guards: Vec<RwLockReadGuard<'db, ()>>,
}

impl ShardLocks {
    pub(super) fn new(shards: ShardCount) -> Self {
        Self(shards.iter().map(|_| RwLock::new(())).collect())
    }
}

impl Db {
    /// Holds the locks of the shards from `first` to `last` shared, for merging into their chunks.
    pub fn shard_guards(&self, first: ShardId, last: ShardId) -> ShardGuards<'_> {
        let locks = &self.shard_locks.0[usize::from(first.0)..=usize::from(last.0)];
        ShardGuards { _guards: locks.iter().map(RwLock::read).collect() }
    }

    /// Holds the lock of a shard alone.
    pub(crate) fn shard_alone(&self, shard: ShardId) -> RwLockWriteGuard<'_, ()> {
        self.shard_locks.0[usize::from(shard.0)].write()
    }
}
