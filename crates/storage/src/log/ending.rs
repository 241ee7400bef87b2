//! Where a file ends, and what lies there: a torn write or damage.
//!
//! # Torn or damaged
//!
//! Only the last file can end in the middle of a write: a file is complete and synced before the
//! next one is made. In the last file a record that is not whole is either what a crash left of the
//! last group, to which nobody had an answer yet (**torn**, to be cut), or something that was whole
//! once (**damage**, to be refused). A power cut keeps any of the pages of a group that was not
//! synced, so whole records can follow a torn one, and "something valid comes later" proves
//! nothing. Therefore each record, and the end mark of a file that was closed in order, carries how
//! many bytes of its file were synced when it was written:
//!
//! - A header with a good checksum, anywhere behind the bad offset, that was written when more than
//!   the bad offset was synced: the bad bytes were on the disk once. Damage.
//! - Content further behind the bad offset than a group is long, and than the record there if its
//!   header is whole: no single write left it. Damage.
//! - Otherwise the bad bytes lie in the last group. Torn. (A byte that flips in the very last group
//!   of a process that was killed cannot be told from that. The first group of the next file, and
//!   closing in order, end this.)
//!
//! A log that is written without syncs proves less: all that follows its last sync counts as its
//! last group.
//!
//! # The last group is written again
//!
//! What the last group left whole is kept, as it may have been answered. But it may be in the page
//! cache only, and after a failed sync the system takes such pages for clean: a second sync would
//! succeed and write nothing. So those bytes are written once more, synced, and closed with an end
//! mark, before anybody relies on them.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

use super::error::LogError;
use super::file::{FaultPoint, fault};
use super::format::{MAX_POSITION, RECORD_HEADER_BYTES, RecordHeader};
use super::reader::{RecordSource, Step};
use super::recovery::LogFile;
use super::{Durability, GROUP_BYTES, LogOptions, Position};

/// Bytes that one write of the last group takes.
const REWRITE_BYTES: usize = 1 << 20;

/// Where a file ends.
pub(super) struct End {
    /// Its last position; the one before its first when it has none.
    pub last: Position,
    /// Behind the last whole record.
    pub offset: u64,
    /// Bytes that its records prove to be on the disk.
    synced: u64,
    /// Whether it has its end mark.
    pub closed: bool,
    /// Whether records of it are lost, which was accepted.
    pub damaged: bool,
    /// Content behind the end, which is torn.
    pub torn_bytes: u64,
    /// Whole record headers in it behind the torn one.
    pub torn_records: usize,
}

enum Verdict {
    /// The file ends here; what follows is room, or torn.
    End,
    Damage,
}

/// Reads the file to its end.
pub(super) fn find(file: &LogFile, options: &LogOptions) -> Result<End, LogError> {
    let mut source = RecordSource::open(&file.path)?;
    source.begin(&file.header)?;
    let mut end = End {
        last: Position(file.first.0 - 1),
        offset: source.offset,
        synced: source.offset,
        closed: false,
        damaged: false,
        torn_bytes: 0,
        torn_records: 0,
    };
    loop {
        match source.read(end.last.next())? {
            Step::Record(header) => {
                end.last = header.position;
                end.synced = u64::from(header.synced);
            }
            Step::EndMark => {
                end.closed = true;
                return Ok(end);
            }
            Step::Bad(what) => match judge(&source, &mut end, file)? {
                Verdict::End => return Ok(end),
                Verdict::Damage => {
                    if !options.accept_loss {
                        return Err(LogError::damaged(&file.path, source.offset, what));
                    }
                    end.damaged = true;
                    // Whoever reads the file reports what is skipped here.
                    if source.skip_to_whole(end.last.next(), MAX_POSITION)?.is_none() {
                        return Ok(end);
                    }
                    end.last = source.position;
                }
            },
        }
        end.offset = source.offset;
    }
}

/// Judges the bytes at the source's offset, which are no record.
fn judge(source: &RecordSource, end: &mut End, file: &LogFile) -> Result<Verdict, LogError> {
    let bad = source.offset;
    let content = source.end_of_content(bad)?;
    if content == bad {
        return Ok(Verdict::End);
    }
    let mut group_end = bad + GROUP_BYTES as u64;
    let mut whole = 0;
    let proves = |offset: u64, header: &RecordHeader| {
        if offset == bad {
            let record_bytes = RECORD_HEADER_BYTES + header.filled_bytes();
            group_end = group_end.max(bad + record_bytes as u64);
        } else if header.position > end.last {
            whole += 1;
        }
        u64::from(header.synced) > bad
    };
    if source.search(bad, proves)?.is_some() {
        return Ok(Verdict::Damage);
    }
    if content > group_end && !file.header.flush_only {
        return Ok(Verdict::Damage);
    }
    (end.torn_bytes, end.torn_records) = (content - bad, whole);
    Ok(Verdict::End)
}

/// Cuts the file at its end, writes what is not known to be on the disk once more, and sets the end
/// mark.
pub(super) fn close(file: &LogFile, end: &End, options: &LogOptions) -> Result<(), LogError> {
    let path = &file.path;
    let failed = |operation| move |e| LogError::io(operation, path, e);
    let handle = OpenOptions::new().read(true).write(true).open(path).map_err(failed("open"))?;
    fault(options, FaultPoint::Write, path)?;
    handle.set_len(end.offset).map_err(failed("cut"))?;
    if options.durability == Durability::Sync {
        let mut bytes = vec![0; REWRITE_BYTES];
        let mut at = end.synced.min(end.offset);
        while at < end.offset {
            let left = usize::try_from(end.offset - at).unwrap_or(REWRITE_BYTES);
            let part = &mut bytes[..left.min(REWRITE_BYTES)];
            handle.read_exact_at(part, at).map_err(failed("read"))?;
            handle.write_all_at(part, at).map_err(failed("write"))?;
            at += part.len() as u64;
        }
    }
    fault(options, FaultPoint::Sync, path)?;
    handle.sync_all().map_err(failed("sync"))?;
    let synced = u32::try_from(end.offset).expect("records begin below 4 GiB");
    let mark = RecordHeader { body_bytes: 0, body_crc: 0, position: end.last, synced };
    handle.write_all_at(&mark.encode(file.header.seed()), end.offset).map_err(failed("write"))?;
    handle.sync_all().map_err(failed("sync"))
}
