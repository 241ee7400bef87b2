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
mod unsettled;

pub use head::{Exemplar, FamilyKey, FamilyMetadata, Tenant};
pub use memory::resident_bytes;
pub use store::{
    Bundle, Clock, ClusterIdentity, Committed, Found, HashCollision, HeadOfTenant, Horizon,
    MetadataRow, ReadLimits, RetentionBy, RowIndex, Scope, Selection, SeriesExemplars, ShardDay,
    ShardSet, Statement, Status, Store, StoreError, StoreIdentity, StoreOptions, StoreStats, Write,
    WriteError,
};
pub use unsettled::UnsettledStats;
