//! What the process uses of the machine's memory.

use std::fs;

/// Resident bytes of this process, as the kernel counts them; `None` where it does not say.
pub fn resident_bytes() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}
