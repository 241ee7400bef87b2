//! Takes the power away: after `kill -9`, every file is cut to what the preloaded library saw
//! synced. The model is the harshest one for file contents: whatever was not synced is lost. Names
//! are not modelled: a file stays where it was last seen.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::ptr;

use anyhow::{Context, Result, ensure};

use crate::programs;
use crate::table::{TABLE_BYTES, Table, VARIABLE, key_of};

/// No single write to a file of the store is larger.
const ONE_WRITE_BYTES: u64 = 16 << 20;

/// Watches one node over all its restarts.
pub struct PowerSupply {
    path: PathBuf,
    library: PathBuf,
    table: &'static Table,
}

/// What a cut took.
#[derive(Debug, Default, Clone, Copy)]
pub struct Loss {
    /// Files that lost something.
    pub files: usize,
    /// Bytes that had been written and not synced.
    pub bytes: u64,
}

impl PowerSupply {
    /// A table in `folder`, which lies outside of the node's data.
    pub fn new(folder: &Path) -> Result<Self> {
        let path = folder.join("powerloss.table");
        let file =
            File::options().read(true).write(true).create(true).truncate(true).open(&path)?;
        file.set_len(u64::try_from(TABLE_BYTES)?)?;
        // SAFETY: the mapping is as large as the table and is never unmapped; every bit pattern of
        // it is a valid table, and it is only changed through atomics.
        let table = unsafe {
            let memory = libc::mmap(
                ptr::null_mut(),
                TABLE_BYTES,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            );
            ensure!(memory != libc::MAP_FAILED, "failed to map {}", path.display());
            &*memory.cast::<Table>()
        };
        Ok(Self { path, library: programs::powerloss()?, table })
    }

    /// The environment that puts a node on this supply.
    pub fn environment(&self) -> Vec<(String, OsString)> {
        let variable = VARIABLE.to_str().expect("the name is ASCII").to_owned();
        let library: &OsStr = self.library.as_ref();
        vec![("LD_PRELOAD".to_owned(), library.to_owned()), (variable, self.path.clone().into())]
    }

    /// Syncs seen so far.
    pub fn syncs(&self) -> u64 {
        self.table.syncs()
    }

    /// Every sync fails with EIO from now on: what it should have synced is lost whatever a later
    /// sync of that file says, unless it is written again.
    pub fn break_disk(&self) {
        self.table.set_failing(true);
    }

    /// Syncs work again.
    pub fn mend_disk(&self) {
        self.table.set_failing(false);
    }

    /// Syncs that were made to fail so far.
    pub fn failed_syncs(&self) -> u64 {
        self.table.failed_syncs()
    }

    /// Cuts every file below `data` to what was synced. The node must not be running.
    pub fn cut(&self, data: &Path) -> Result<Loss> {
        ensure!(self.table.overflow() == 0, "more files than the table of the library holds");
        let mut loss = Loss::default();
        for path in files_below(data)? {
            let lost = self
                .cut_file(&path)
                .with_context(|| format!("failed to cut {}", path.display()))?;
            loss.bytes += lost;
            loss.files += usize::from(lost > 0);
        }
        Ok(loss)
    }

    fn cut_file(&self, path: &Path) -> Result<u64> {
        let file = File::options().read(true).write(true).open(path)?;
        let length = file.metadata()?.len();
        let key = key_of(file.as_raw_fd()).context("failed to look at it")?;
        let slot = self.table.slot(key).context("the table is full")?;
        let written = slot.promise().written_bytes();
        // The process may have died between a write and the note of it.
        let seen = written.max(slot.promise().allocated_bytes());
        ensure!(
            length <= seen || (slot.is_in_call() && length - seen <= ONE_WRITE_BYTES),
            "it holds {length} bytes, of which the library saw {written}: a write went past it"
        );
        let synced = slot.synced();
        let lost = written.min(length).saturating_sub(synced);
        if length > synced {
            // Space that was reserved and synced stays, but reads as zeros.
            file.set_len(synced)?;
            file.set_len(slot.synced_length().min(length).max(synced))?;
        }
        slot.forget_unsynced();
        Ok(lost)
    }
}

fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            found.extend(files_below(&entry.path())?);
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
    Ok(found)
}
