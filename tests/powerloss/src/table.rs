//! The table in which the preloaded library remembers, for each file, how much was written and how
//! much of that was synced. It is a shared mapping of a file: what is in it survives `kill -9` of
//! the process that wrote it, and the test reads it afterwards.
//!
//! ```text
//! header   overflow u64 | syncs u64 | failing u64 | failed_syncs u64 | unused 4 × u64
//! slot     key u64 | written u64 | synced u64 | allocated u64 | allocated_synced u64 |
//!          lost_from u64 | lost_to u64 | calls u64
//! ```
//!
//! A key is made of device, inode and time of birth, so that an inode number that is given again
//! is another file, and a rename changes nothing.

use std::ffi::CStr;
use std::sync::atomic::{AtomicU64, Ordering};

/// The environment variable that names the table's file.
pub const VARIABLE: &CStr = c"RANGEKEEPER_POWERLOSS_TABLE";

/// Files that can be told apart; a test makes some thousands.
const SLOTS: usize = 1 << 16;

/// Bytes of the table's file.
pub const TABLE_BYTES: usize = size_of::<Table>();

/// The whole table. All zero is the empty one.
#[repr(C)]
pub struct Table {
    /// Files that found no place: the test has to fail then.
    overflow: AtomicU64,
    /// Syncs that came by.
    syncs: AtomicU64,
    /// Not 0 while every sync of a regular file is to fail.
    failing: AtomicU64,
    /// Syncs that were made to fail.
    failed_syncs: AtomicU64,
    unused: [u64; 4],
    slots: [Slot; SLOTS],
}

/// What is known of one file. All figures are offsets in bytes from its beginning.
#[repr(C)]
pub struct Slot {
    /// 0 while the slot is free.
    key: AtomicU64,
    /// End of the furthest write that returned.
    written: AtomicU64,
    /// `written` as it was when the last successful sync began.
    synced: AtomicU64,
    /// Length given by `fallocate` or `ftruncate`, without data.
    allocated: AtomicU64,
    /// `allocated` as it was when the last successful sync began.
    allocated_synced: AtomicU64,
    /// What a failed sync lost and nobody has written again lies between these; 0 and 0 is nothing.
    /// A file has one writer at a time.
    lost_from: AtomicU64,
    lost_to: AtomicU64,
    /// Calls that change the file and were not noted yet.
    calls: AtomicU64,
}

/// What a sync that begins now would make durable.
#[derive(Debug, Clone, Copy)]
pub struct Promise {
    written: u64,
    /// `written`, or where that begins which an earlier sync lost.
    kept: u64,
    allocated: u64,
}

#[allow(dead_code, reason = "the library writes what the test reads")]
impl Promise {
    /// End of the furthest write.
    pub fn written_bytes(self) -> u64 {
        self.written
    }

    /// Length given without data.
    pub fn allocated_bytes(self) -> u64 {
        self.allocated
    }
}

impl Table {
    /// The slot of a file, taken now if it has none; `None` when the table is full.
    pub fn slot(&self, key: u64) -> Option<&Slot> {
        let start = usize::try_from(key >> 32).unwrap_or(0) % SLOTS;
        for distance in 0..SLOTS {
            let slot = &self.slots[(start + distance) % SLOTS];
            match slot.key.compare_exchange(0, key, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(slot),
                Err(taken) if taken == key => return Some(slot),
                Err(_) => {}
            }
        }
        self.overflow.fetch_add(1, Ordering::Relaxed);
        None
    }

    /// Counts a sync that succeeded.
    #[allow(dead_code, reason = "the library writes what the test reads")]
    pub fn count_sync(&self) {
        self.syncs.fetch_add(1, Ordering::Relaxed);
    }

    /// Syncs that came by, over all files.
    #[allow(dead_code, reason = "the library writes what the test reads")]
    pub fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::Relaxed)
    }

    /// Whether a sync that begins now has to fail.
    #[allow(dead_code, reason = "the library reads what the test writes")]
    pub fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Acquire) != 0
    }

    /// Makes every sync fail from now on, or none.
    #[allow(dead_code, reason = "the library reads what the test writes")]
    pub fn set_failing(&self, failing: bool) {
        self.failing.store(u64::from(failing), Ordering::Release);
    }

    /// Counts a sync that was made to fail.
    #[allow(dead_code, reason = "the library writes what the test reads")]
    pub fn count_failed_sync(&self) {
        self.failed_syncs.fetch_add(1, Ordering::Relaxed);
    }

    /// Syncs that were made to fail, over all files.
    #[allow(dead_code, reason = "the library writes what the test reads")]
    pub fn failed_syncs(&self) -> u64 {
        self.failed_syncs.load(Ordering::Relaxed)
    }

    /// Files that found no place in the table.
    #[allow(dead_code, reason = "the library writes what the test reads")]
    pub fn overflow(&self) -> u64 {
        self.overflow.load(Ordering::Relaxed)
    }
}

#[allow(dead_code, reason = "the library writes what the test reads")]
impl Slot {
    /// A call that may change the file begins.
    pub fn begin(&self) {
        self.calls.fetch_add(1, Ordering::AcqRel);
    }

    /// What the call did is noted.
    pub fn end(&self) {
        self.calls.fetch_sub(1, Ordering::AcqRel);
    }

    /// Whether the process died in a call that may have changed the file.
    pub fn is_in_call(&self) -> bool {
        self.calls.load(Ordering::Acquire) > 0
    }

    /// A write to these offsets has returned.
    pub fn wrote(&self, from: u64, to: u64) {
        self.written.fetch_max(to, Ordering::AcqRel);
        if let Some((lost_from, lost_to)) = self.lost()
            && from <= lost_from
            && to > lost_from
        {
            self.set_lost(to, lost_to);
        }
    }

    /// A sync failed. The system takes what it should have written for clean then: a later sync
    /// says that all is well and writes nothing of it, unless it was written again.
    pub fn fail(&self) {
        let lost_to = self.written.load(Ordering::Acquire);
        self.set_lost(self.synced(), lost_to);
    }

    fn lost(&self) -> Option<(u64, u64)> {
        let (from, to) =
            (self.lost_from.load(Ordering::Acquire), self.lost_to.load(Ordering::Acquire));
        (from < to).then_some((from, to))
    }

    fn set_lost(&self, from: u64, to: u64) {
        let (from, to) = if from < to { (from, to) } else { (0, 0) };
        self.lost_from.store(from, Ordering::Release);
        self.lost_to.store(to, Ordering::Release);
    }

    /// Space up to this length was reserved, or the file was made longer without data.
    pub fn allocated_up_to(&self, length: u64) {
        self.allocated.fetch_max(length, Ordering::AcqRel);
    }

    /// The file now ends here.
    pub fn truncated_to(&self, length: u64) {
        self.written.fetch_min(length, Ordering::AcqRel);
        self.synced.fetch_min(length, Ordering::AcqRel);
        self.allocated.store(length, Ordering::Release);
        self.allocated_synced.fetch_min(length, Ordering::AcqRel);
        if let Some((from, to)) = self.lost() {
            self.set_lost(from, to.min(length));
        }
    }

    /// To be asked before a sync: what comes after this is not promised.
    pub fn promise(&self) -> Promise {
        let written = self.written.load(Ordering::Acquire);
        Promise {
            written,
            kept: self.lost().map_or(written, |(from, _)| from.min(written)),
            allocated: self.allocated.load(Ordering::Acquire),
        }
    }

    /// The sync succeeded.
    pub fn keep(&self, promise: Promise) {
        self.synced.fetch_max(promise.kept, Ordering::AcqRel);
        self.allocated_synced.fetch_max(promise.allocated, Ordering::AcqRel);
    }

    /// End of the data that is certain to be on the disk.
    pub fn synced(&self) -> u64 {
        self.synced.load(Ordering::Acquire)
    }

    /// Length of the file that is certain, data or not.
    pub fn synced_length(&self) -> u64 {
        self.synced().max(self.allocated_synced.load(Ordering::Acquire))
    }

    /// The power is back: what was lost was never written.
    pub fn forget_unsynced(&self) {
        self.written.store(self.synced(), Ordering::Release);
        self.allocated.store(self.synced_length(), Ordering::Release);
        self.calls.store(0, Ordering::Release);
        self.set_lost(0, 0);
    }
}

/// The key of a file; `None` for what is not a regular file, or cannot be looked at.
pub fn key_of(descriptor: libc::c_int) -> Option<u64> {
    // SAFETY: all zero is a valid statx, and the call writes only into it.
    let stat = unsafe {
        let mut stat: libc::statx = std::mem::zeroed();
        let wanted = libc::STATX_TYPE | libc::STATX_INO | libc::STATX_BTIME;
        let result =
            libc::statx(descriptor, c"".as_ptr(), libc::AT_EMPTY_PATH, wanted, &raw mut stat);
        if result != 0 {
            return None;
        }
        stat
    };
    if u32::from(stat.stx_mode) & libc::S_IFMT != libc::S_IFREG {
        return None;
    }
    let device = u64::from(stat.stx_dev_major) << 32 | u64::from(stat.stx_dev_minor);
    let born = stat.stx_btime.tv_sec.cast_unsigned() << 30 ^ u64::from(stat.stx_btime.tv_nsec);
    Some(mix(mix(mix(device) ^ stat.stx_ino) ^ born) | 1)
}

/// The finalizer of splitmix64: spreads neighbouring inodes over all 64 bits.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
