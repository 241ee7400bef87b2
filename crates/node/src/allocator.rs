//! What jemalloc counts. The binary makes it the allocator of Rust and C++ alike.

use tikv_jemalloc_ctl::{epoch, stats};

use crate::memory::Usage;

/// Asks the allocator. All noughts where it does not count.
pub fn usage() -> Usage {
    // The counters are of the moment when the epoch was last moved on.
    if epoch::advance().is_err() {
        return Usage::default();
    }
    let bytes = |value: tikv_jemalloc_ctl::Result<usize>| value.unwrap_or(0) as u64;
    Usage {
        active_bytes: bytes(stats::active::read()) + bytes(stats::metadata::read()),
        allocated_bytes: bytes(stats::allocated::read()),
        resident_bytes: bytes(stats::resident::read()),
    }
}
