//! The file that is being written, and the few operations on files that the log does at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::{Errno, pwritev};

use super::error::LogError;
use super::format::{FILE_HEADER_BYTES, FileHeader, RECORD_HEADER_BYTES, RecordHeader, file_name};
use super::{LogOptions, Position};

/// The system takes no more buffers in one call.
const MAX_SLICES: usize = 1024;

/// An operation that a test can make fail.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultPoint {
    /// A new file is made.
    Create,
    /// Room is reserved for it.
    Preallocate,
    /// Bytes are written.
    Write,
    /// They are synced.
    Sync,
}

/// Decides in tests which operations fail.
#[doc(hidden)]
pub trait Faults: Send + Sync {
    /// Called before the operation; an error is what the operation fails with, and it does nothing.
    fn before(&self, point: FaultPoint, file: &Path) -> io::Result<()>;
}

/// A file between its first record and its end mark.
pub(super) struct LiveFile {
    file: File,
    pub path: PathBuf,
    pub header: FileHeader,
    seed: u32,
    /// Where the next record goes.
    pub offset: u64,
    /// Bytes that are known to be on the disk.
    pub synced: u64,
    /// The position of the last record.
    pub last: Position,
}

impl LiveFile {
    /// Makes a file with room for its header and `records_bytes`, or for the size that the options
    /// give. When it is there, header and name are on the disk: a header that is not whole is
    /// damage in any file that has records.
    pub(super) fn create(
        dir: &Path,
        header: FileHeader,
        records_bytes: u64,
        options: &LogOptions,
    ) -> Result<Self, LogError> {
        let path = dir.join(file_name(header.first));
        let bytes = records_bytes + (FILE_HEADER_BYTES + RECORD_HEADER_BYTES) as u64;
        fault(options, FaultPoint::Create, &path)?;
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(|e| LogError::io("create", &path, e))?;
        let room = fault(options, FaultPoint::Preallocate, &path)
            .and_then(|()| preallocate(&file, bytes.max(options.file_bytes), &path));
        if let Err(error) = room {
            // Without records it is of no use; if it cannot be removed now, the next opening does.
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        let live = Self {
            file,
            seed: header.seed(),
            offset: FILE_HEADER_BYTES as u64,
            synced: FILE_HEADER_BYTES as u64,
            last: header.follows,
            header,
            path,
        };
        live.write_at(&header.encode(), 0, options)?;
        live.sync_all(options)?;
        sync_dir(dir)?;
        Ok(live)
    }

    /// The header of a record that is written next.
    pub(super) fn record_header(
        &self,
        body_bytes: u32,
        body_crc: u32,
        position: Position,
    ) -> [u8; RECORD_HEADER_BYTES] {
        let synced = u32::try_from(self.synced).expect("records begin below 4 GiB");
        RecordHeader { body_bytes, body_crc, position, synced }.encode(self.seed)
    }

    /// Appends whole records, the last of which has position `last`.
    pub(super) fn append(
        &mut self,
        records: &mut [IoSlice<'_>],
        last: Position,
        options: &LogOptions,
    ) -> Result<(), LogError> {
        fault(options, FaultPoint::Write, &self.path)?;
        for mut slices in records.chunks_mut(MAX_SLICES) {
            while !slices.is_empty() {
                match pwritev(&self.file, slices, self.offset) {
                    Ok(0) => {
                        let error = io::ErrorKind::WriteZero.into();
                        return Err(LogError::io("write", &self.path, error));
                    }
                    Ok(written) => {
                        self.offset += written as u64;
                        IoSlice::advance_slices(&mut slices, written);
                    }
                    Err(Errno::INTR) => {}
                    Err(error) => return Err(LogError::io("write", &self.path, error.into())),
                }
            }
        }
        self.last = last;
        Ok(())
    }

    /// Waits until all that was appended is on the disk.
    pub(super) fn sync(&mut self, options: &LogOptions) -> Result<(), LogError> {
        if self.synced == self.offset {
            return Ok(());
        }
        fault(options, FaultPoint::Sync, &self.path)?;
        self.file.sync_data().map_err(|e| LogError::io("sync", &self.path, e))?;
        self.synced = self.offset;
        Ok(())
    }

    /// Syncs, sets the end mark, and gives back the room that was not used. Returns the file's
    /// length.
    pub(super) fn close(mut self, options: &LogOptions) -> Result<u64, LogError> {
        self.sync(options)?;
        let mark = self.record_header(0, 0, self.last);
        self.write_at(&mark, self.offset, options)?;
        let end = self.offset + mark.len() as u64;
        self.file.set_len(end).map_err(|e| LogError::io("cut", &self.path, e))?;
        self.sync_all(options)?;
        Ok(end)
    }

    fn write_at(&self, bytes: &[u8], at: u64, options: &LogOptions) -> Result<(), LogError> {
        fault(options, FaultPoint::Write, &self.path)?;
        self.file.write_all_at(bytes, at).map_err(|e| LogError::io("write", &self.path, e))
    }

    fn sync_all(&self, options: &LogOptions) -> Result<(), LogError> {
        fault(options, FaultPoint::Sync, &self.path)?;
        self.file.sync_all().map_err(|e| LogError::io("sync", &self.path, e))
    }
}

/// Fails where a test wants it.
pub(super) fn fault(options: &LogOptions, point: FaultPoint, path: &Path) -> Result<(), LogError> {
    let Some(faults) = &options.faults else { return Ok(()) };
    let operation = match point {
        FaultPoint::Create => "create",
        FaultPoint::Preallocate => "preallocate",
        FaultPoint::Write => "write",
        FaultPoint::Sync => "sync",
    };
    faults.before(point, path).map_err(|e| LogError::io(operation, path, e))
}

fn preallocate(file: &File, bytes: u64, path: &Path) -> Result<(), LogError> {
    loop {
        match fallocate(file, FallocateFlags::empty(), 0, bytes) {
            Ok(()) => return Ok(()),
            Err(Errno::INTR) => {}
            // A file system that cannot reserve room still gives zeros up to the length.
            Err(Errno::OPNOTSUPP) => {
                return file.set_len(bytes).map_err(|e| LogError::io("preallocate", path, e));
            }
            Err(error) => return Err(LogError::io("preallocate", path, error.into())),
        }
    }
}

pub(super) fn delete(path: &Path) -> Result<(), LogError> {
    fs::remove_file(path).map_err(|e| LogError::io("delete", path, e))
}

/// Renames a file so that it is no longer one of the log. Durable when it returns.
pub(super) fn set_aside(path: &Path) -> Result<(), LogError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".damaged");
    fs::rename(path, name).map_err(|e| LogError::io("set aside", path, e))?;
    path.parent().map_or(Ok(()), sync_dir)
}

/// Makes the making and deleting of files in `dir` durable.
pub(super) fn sync_dir(dir: &Path) -> Result<(), LogError> {
    File::open(dir)
        .and_then(|d| d.sync_all())
        .map_err(|e| LogError::io("sync the folder of", dir, e))
}
