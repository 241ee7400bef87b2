//! Opening a folder of log files: what is there, what a crash left unfinished, and what is damaged.
//!
//! # Torn or damaged
//!
//! Only the last file can end in the middle of a write: a file is complete and synced before the next one is made. In
//! the last file a record that is not whole is either what a crash left of the last group, to which nobody had an
//! answer yet (**torn**, to be cut), or something that was whole once (**damage**, to be refused). A power cut keeps
//! any of the pages of a group that was not synced, so whole records can follow a torn one, and "something valid comes
//! later" proves nothing. Therefore each record, and the end mark of a file that was closed in order, carries how many
//! bytes of its file were synced when it was written:
//!
//! - A header with a good checksum, anywhere behind the bad offset, that was written when more than the bad offset was
//!   synced: the bad bytes were on the disk once. Damage.
//! - Content further behind the synced part than a group is long, unless one large record fills it: no single write left
//!   it. Damage.
//! - Otherwise the bad bytes lie in the last group. Torn. (A byte that flips in the very last group of a process that
//!   was killed cannot be told from that. The first group of the next file, and closing in order, end this.)
//!
//! A log that is written without syncs proves less: all that follows its last sync counts as its last group.
//!
//! # The last group is written again
//!
//! What the last group left whole is kept, as it may have been answered. But it may be in the page cache only, and after
//! a failed sync the system takes such pages for clean: a second sync would succeed and write nothing. So those bytes
//! are written once more, synced, and closed with an end mark, before anybody relies on them.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::error::LogError;
use super::file::{self, FaultPoint, LiveFile, fault};
use super::format::{
    FILE_HEADER_BYTES, FORMAT_VERSION, FileHeader, MAX_POSITION, RECORD_HEADER_BYTES, RecordHeader,
    position_in,
};
use super::reader::{FileReader, RecordSource, Step};
use super::{Checkpoints, Durability, FileSeq, LogOptions, Position};

/// Bytes that one write of the last group takes.
const REWRITE_BYTES: usize = 1 << 20;

/// A log file and what it holds.
#[derive(Clone, Debug)]
pub struct LogFile {
    /// Where it lies.
    pub path: PathBuf,
    /// Its number.
    pub sequence: FileSeq,
    /// Its first position.
    pub first: Position,
    /// Its last position (so far).
    pub last: Position,
    /// Its length, without preallocated room.
    pub bytes: u64,
    /// Whether nothing is written to it any more.
    pub closed: bool,
    pub(super) header: FileHeader,
    pub(super) accept_loss: bool,
}

/// What opening a log found.
#[derive(Debug, Default)]
pub struct Recovery {
    /// Files with records after the lowest checkpoint, oldest first. They can be read in any order, each alone.
    pub files: Vec<LogFile>,
    /// The last position that was given; the next record gets the one after it.
    pub last: Position,
    /// The end of a write that never came to its sync.
    pub cut: Option<Cut>,
    /// What is missing, where loss was accepted. Readers of the files report theirs.
    pub losses: Vec<Loss>,
}

/// A torn write that was cut off the last file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The file.
    pub file: PathBuf,
    /// Where it ends now.
    pub offset: u64,
    /// Bytes that were cut.
    pub bytes: u64,
    /// Records behind the torn one whose headers were whole, cut with it.
    pub records: usize,
}

/// Records that are gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The file, or the one before which they should lie.
    pub file: PathBuf,
    /// Where the bytes that cannot be read begin.
    pub from_offset: u64,
    /// Where they end.
    pub to_offset: u64,
    /// The first lost position.
    pub from: Position,
    /// The last lost position.
    pub to: Position,
}

/// What the log goes on from.
pub(super) struct Found {
    pub recovery: Recovery,
    pub files: Vec<LogFile>,
    /// The number of the next file, and the last position in the ones that are there.
    pub next_file: FileSeq,
    pub follows: Position,
}

impl LogFile {
    pub(super) fn live(live: &LiveFile, accept_loss: bool) -> Self {
        Self {
            path: live.path.clone(),
            sequence: live.header.sequence,
            first: live.header.first,
            last: live.last,
            bytes: live.offset,
            closed: false,
            header: live.header,
            accept_loss,
        }
    }

    /// Reads its records.
    pub fn read(&self) -> Result<FileReader, LogError> {
        FileReader::open(self)
    }
}

/// Brings the folder into a state in which every file is complete.
pub(super) fn recover(
    dir: &Path,
    store: [u8; 16],
    checkpoints: Checkpoints,
    options: &LogOptions,
) -> Result<Found, LogError> {
    make_dir(dir)?;
    let (losses, unreadable) = (Vec::new(), Position(0));
    let mut opening = Opening { dir, store, checkpoints, options, losses, unreadable };
    let mut files = opening.list()?;
    let cut = opening.settle_end(&mut files)?;
    let last = opening.check_ends(&files)?;
    let replayed = files.iter().filter(|file| file.last > checkpoints.lowest).cloned().collect();
    Ok(Found {
        next_file: FileSeq(files.last().map_or(1, |file| file.sequence.0 + 1)),
        follows: files.last().map_or(last, |file| file.last),
        recovery: Recovery { files: replayed, last, cut, losses: opening.losses },
        files,
    })
}

struct Opening<'a> {
    dir: &'a Path,
    store: [u8; 16],
    checkpoints: Checkpoints,
    options: &'a LogOptions,
    losses: Vec<Loss>,
    /// The first position of the newest file that was given up whole: its name is taken.
    unreadable: Position,
}

impl Opening<'_> {
    /// The files with their headers checked, one against the next. The last one's end is not known yet.
    fn list(&mut self) -> Result<Vec<LogFile>, LogError> {
        let mut names = self.names()?;
        let mut files: Vec<LogFile> = Vec::new();
        let mut newest = names.last_key_value().map(|(first, _)| *first);
        while let Some((first, path)) = names.pop_first() {
            let mut source = RecordSource::open(&path)?;
            let Some(header) = source.read_file_header()? else {
                let unused =
                    source.end_of_content(FILE_HEADER_BYTES as u64)? <= FILE_HEADER_BYTES as u64;
                if newest == Some(first) && unused {
                    // The crash came while the file was made: it never had a record.
                    file::delete(&path)?;
                    newest = None;
                } else {
                    let error = LogError::damaged(&path, 0, "the file header is not whole");
                    self.lose(error, &path, source.bytes, first, first)?;
                    self.unreadable = first;
                }
                continue;
            };
            self.check_header(&header, first, &path)?;
            self.check_follows(files.last_mut(), &header, &path)?;
            files.push(LogFile {
                path,
                sequence: header.sequence,
                first,
                last: Position(0),
                bytes: source.bytes,
                closed: true,
                header,
                accept_loss: self.options.accept_loss,
            });
        }
        Ok(files)
    }

    fn names(&self) -> Result<BTreeMap<Position, PathBuf>, LogError> {
        let failed = |e| LogError::io("list the folder of", self.dir, e);
        let mut names = BTreeMap::new();
        for entry in fs::read_dir(self.dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if let Some(first) = entry.file_name().to_str().and_then(position_in) {
                names.insert(first, entry.path());
            }
        }
        Ok(names)
    }

    fn check_header(
        &self,
        header: &FileHeader,
        first: Position,
        path: &Path,
    ) -> Result<(), LogError> {
        if header.version > FORMAT_VERSION {
            let (file, version) = (path.to_owned(), header.version);
            return Err(LogError::NewerFormat { file, version, known: FORMAT_VERSION });
        }
        if header.store != self.store {
            return Err(LogError::ForeignStore { file: path.to_owned() });
        }
        let overflows = header.sequence.0 >= MAX_POSITION.0 || first >= MAX_POSITION;
        if header.first != first || header.follows >= first || overflows {
            return Err(LogError::damaged(path, 0, "the file's name is not the one it was given"));
        }
        Ok(())
    }

    /// Checks that no file is missing between `before` and the one with `header`, and notes where `before` ends.
    fn check_follows(
        &mut self,
        before: Option<&mut LogFile>,
        header: &FileHeader,
        path: &Path,
    ) -> Result<(), LogError> {
        let Some(before) = before else {
            return self.miss(path, self.checkpoints.lowest.next(), header.follows);
        };
        if header.sequence.0 == before.sequence.0 + 1 && header.follows >= before.first {
            before.last = header.follows;
            return Ok(());
        }
        // How far `before` went stands in the header that is not there: its own records must tell.
        before.last = self.end_of(before)?.last;
        let (from, to) = (before.last.next(), header.follows);
        if from <= to {
            return self.miss(path, from, to);
        }
        let error = LogError::damaged(path, 0, "the file does not follow the one before it");
        self.lose(error, path, 0, header.first, header.first)
    }

    /// Finds the end of the last file and makes it one that was closed in order. One that has no record, because its
    /// first group was torn, is deleted, as the next one will have its name.
    fn settle_end(&mut self, files: &mut Vec<LogFile>) -> Result<Option<Cut>, LogError> {
        let mut cut = None;
        while let Some(last) = files.last_mut() {
            let end = self.end_of(last)?;
            if end.torn_bytes > 0 {
                let (file, offset) = (last.path.clone(), end.offset);
                cut = Some(Cut { file, offset, bytes: end.torn_bytes, records: end.torn_records });
            }
            if end.last < last.first && !end.damaged {
                file::delete(&last.path)?;
                files.pop();
                continue;
            }
            if !end.closed {
                self.close_at(last, &end)?;
                last.bytes = end.offset + RECORD_HEADER_BYTES as u64;
            }
            // Where the file after it was just deleted, that one said how far this one goes.
            let said = last.last;
            last.last = end.last.max(last.first);
            let (path, from) = (last.path.clone(), last.last.next());
            self.miss(&path, from, said)?;
            break;
        }
        Ok(cut)
    }

    /// Reads the file to its end: see the top of this module.
    fn end_of(&self, file: &LogFile) -> Result<End, LogError> {
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
                Step::Bad(what) => match self.judge(&source, &mut end, file)? {
                    Verdict::End => return Ok(end),
                    Verdict::Damage => {
                        if !self.options.accept_loss {
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
    fn judge(
        &self,
        source: &RecordSource,
        end: &mut End,
        file: &LogFile,
    ) -> Result<Verdict, LogError> {
        let bad = source.offset;
        let content = source.end_of_content(bad)?;
        if content == bad {
            return Ok(Verdict::End);
        }
        let mut whole = 0;
        let proves = |_: u64, header: &RecordHeader| {
            whole += usize::from(header.position > end.last);
            u64::from(header.synced) > bad
        };
        if source.search(bad + 1, proves)?.is_some() {
            return Ok(Verdict::Damage);
        }
        let one_large_record = bad == end.synced;
        let group_end = end.synced + self.options.group_bytes as u64;
        if content > group_end && !one_large_record && !file.header.flush_only {
            return Ok(Verdict::Damage);
        }
        (end.torn_bytes, end.torn_records) = (content - bad, whole);
        Ok(Verdict::End)
    }

    /// Cuts the file at its end, writes what is not known to be on the disk once more, and sets the end mark.
    fn close_at(&self, file: &LogFile, end: &End) -> Result<(), LogError> {
        let path = &file.path;
        let failed = |operation| move |e| LogError::io(operation, path, e);
        let handle =
            OpenOptions::new().read(true).write(true).open(path).map_err(failed("open"))?;
        fault(self.options, FaultPoint::Write, path)?;
        handle.set_len(end.offset).map_err(failed("cut"))?;
        if self.options.durability == Durability::Sync {
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
        fault(self.options, FaultPoint::Sync, path)?;
        handle.sync_all().map_err(failed("sync"))?;
        let synced = u32::try_from(end.offset).expect("records begin below 4 GiB");
        let mark = RecordHeader { body_bytes: 0, body_crc: 0, position: end.last, synced };
        handle
            .write_all_at(&mark.encode(file.header.seed()), end.offset)
            .map_err(failed("write"))?;
        handle.sync_all().map_err(failed("sync"))
    }

    /// Compares what the files hold with what the checkpoints need, and returns the last position that was given.
    fn check_ends(&mut self, files: &[LogFile]) -> Result<Position, LogError> {
        let Checkpoints { lowest, highest } = self.checkpoints;
        let held = files.last().map_or(Position(0), |file| file.last);
        let unsynced = files.last().is_some_and(|file| file.header.flush_only);
        if held < highest && lowest < highest && !unsynced {
            let dir = self.dir;
            self.miss(dir, held.max(lowest).next(), highest)?;
        }
        Ok(held.max(highest).max(self.unreadable))
    }

    /// Records `from` to `to` are needed and in no file.
    fn miss(&mut self, path: &Path, from: Position, to: Position) -> Result<(), LogError> {
        if from > to {
            return Ok(());
        }
        let error = LogError::Missing { file: path.to_owned(), from, to };
        self.lose(error, path, 0, from, to)
    }

    /// Fails, or reports the loss where that is accepted.
    fn lose(
        &mut self,
        error: LogError,
        path: &Path,
        to_offset: u64,
        from: Position,
        to: Position,
    ) -> Result<(), LogError> {
        if !self.options.accept_loss {
            return Err(error);
        }
        self.losses.push(Loss { file: path.to_owned(), from_offset: 0, to_offset, from, to });
        Ok(())
    }
}

/// Where a file ends.
struct End {
    last: Position,
    offset: u64,
    /// Bytes that its records prove to be on the disk.
    synced: u64,
    /// Whether it has its end mark.
    closed: bool,
    /// Whether records of it are lost, which was accepted.
    damaged: bool,
    torn_bytes: u64,
    torn_records: usize,
}

enum Verdict {
    /// The file ends here; what follows is room, or torn.
    End,
    Damage,
}

fn make_dir(dir: &Path) -> Result<(), LogError> {
    if dir.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(dir).map_err(|e| LogError::io("make the folder of", dir, e))?;
    dir.parent().filter(|parent| parent.is_dir()).map_or(Ok(()), file::sync_dir)
}
