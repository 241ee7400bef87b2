//! Keeps samples: the log, the head, RocksDB, sealing.
//!
//! A [`Store`] takes [writes](Store::write) and answers [selections](Store::select). What is
//! acknowledged is in the [log] and in the head; checkpoints bring it into the database ([db]);
//! [sealing](seal) makes it small.

pub mod db;
mod head;
pub mod log;
mod memory;
pub mod oracle;
pub mod seal;
mod store;

pub use head::{Exemplar, FamilyKey, FamilyMetadata, Tenant};
pub use memory::resident_bytes;
pub use store::{
    Clock, Committed, Found, HashCollision, HeadOfTenant, Horizon, MetadataRow, ReadLimits,
    RowIndex, Selection, SeriesExemplars, ShardDay, Status, Store, StoreError, StoreOptions,
    StoreStats, Write, WriteError,
};
