//! A library for `LD_PRELOAD` that stands before the C library's writes and syncs and remembers in
//! a shared table (`table.rs`) how much of each file was synced. A test that kills the process and
//! then cuts every file to what is in the table has taken the power away, as far as file contents
//! go: the page cache, which survives a kill, is what the cut takes back.
//!
//! The test can also break the disk through the table: every sync then fails with EIO, and what it
//! should have synced is lost whatever a later sync says, unless it is written again.
//!
//! What bypasses the C library is not seen; the test notices, because it then finds bytes in a file
//! that were never written. Without `RANGEKEEPER_POWERLOSS_TABLE` every call is passed on as it is.

mod hooks;
mod table;

use std::ptr;
use std::sync::OnceLock;

use table::{TABLE_BYTES, Table, VARIABLE};

/// The table, mapped at the first call that needs it.
fn table() -> Option<&'static Table> {
    static TABLE: OnceLock<Option<&'static Table>> = OnceLock::new();
    *TABLE.get_or_init(map)
}

fn map() -> Option<&'static Table> {
    // SAFETY: plain system calls; the mapping is as large as the table, is never unmapped, and
    // every bit pattern of it is a valid table.
    unsafe {
        let path = libc::getenv(VARIABLE.as_ptr());
        if path.is_null() {
            return None;
        }
        let descriptor = libc::open(path, libc::O_RDWR | libc::O_CLOEXEC);
        if descriptor < 0 {
            // A test that believed it was watching would prove nothing.
            libc::abort();
        }
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let memory =
            libc::mmap(ptr::null_mut(), TABLE_BYTES, protection, libc::MAP_SHARED, descriptor, 0);
        libc::close(descriptor);
        if memory == libc::MAP_FAILED {
            libc::abort();
        }
        Some(&*memory.cast::<Table>())
    }
}
