//! The log of `rangekeeper-storage` as a library of its own, so that it can be fuzzed without
//! RocksDB around it.

// The module is compiled as it stands; what only the rest of the crate uses is not a finding here.
#[allow(dead_code, missing_docs, unused_imports)]
#[path = "../../../crates/storage/src"]
mod storage {
    pub mod log;
}

pub use storage::log;
