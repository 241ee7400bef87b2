//! Opening a folder of log files: what is there, whether it is all there, and where it goes on.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::error::LogError;
use super::file::{self, LiveFile};
use super::format::{
    FILE_HEADER_BYTES, FORMAT_VERSION, FileHeader, MAX_POSITION, RECORD_HEADER_BYTES, position_in,
};
use super::reader::{FileReader, RecordSource};
use super::{Checkpoints, FileSeq, LogOptions, Position, ending};

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
    /// Files with records after the lowest checkpoint, oldest first. They can be read in any order,
    /// each alone.
    pub files: Vec<LogFile>,
    /// The last position that was given; the next record gets the one after it.
    pub last: Position,
    /// The end of a write that never came to its sync.
    pub cut: Option<Cut>,
    /// What is missing, where loss was accepted. Readers of the files report theirs.
    pub losses: Vec<Loss>,
    /// Files whose header cannot be read, where loss was accepted.
    pub unreadable: Vec<PathBuf>,
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
    let (losses, unreadable) = (Vec::new(), BTreeMap::new());
    let mut opening = Opening { dir, store, checkpoints, options, losses, unreadable };
    let mut files = opening.list()?;
    let cut = opening.settle_end(&mut files)?;
    let last = opening.check_ends(&files)?;
    let replayed = files.iter().filter(|file| file.last > checkpoints.lowest).cloned().collect();
    Ok(Found {
        next_file: FileSeq(files.last().map_or(1, |file| file.sequence.0 + 1)),
        follows: files.last().map_or(last, |file| file.last),
        recovery: Recovery {
            files: replayed,
            last,
            cut,
            losses: opening.losses,
            unreadable: opening.unreadable.into_values().collect(),
        },
        files,
    })
}

struct Opening<'a> {
    dir: &'a Path,
    store: [u8; 16],
    checkpoints: Checkpoints,
    options: &'a LogOptions,
    losses: Vec<Loss>,
    /// The files that were given up whole, by their first position: their names are taken.
    unreadable: BTreeMap<Position, PathBuf>,
}

impl Opening<'_> {
    /// The files with their headers checked, one against the next. The last one's end is not known
    /// yet.
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
                    self.unreadable.insert(first, path);
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

    /// Checks that no file is missing between `before` and the one with `header`, and notes where
    /// `before` ends.
    fn check_follows(
        &mut self,
        before: Option<&mut LogFile>,
        header: &FileHeader,
        path: &Path,
    ) -> Result<(), LogError> {
        let Some(before) = before else {
            if self.checkpoints.doubtful {
                return Ok(());
            }
            return self.miss(path, self.checkpoints.lowest.next(), header.follows);
        };
        if header.sequence.0 == before.sequence.0 + 1 && header.follows >= before.first {
            before.last = header.follows;
            return Ok(());
        }
        // How far `before` went stands in the header that is not there: its own records must tell.
        before.last = ending::find(before, self.options)?.last;
        let (from, to) = (before.last.next(), header.follows);
        if from <= to {
            return self.miss(path, from, to);
        }
        let error = LogError::damaged(path, 0, "the file does not follow the one before it");
        self.lose(error, path, 0, header.first, header.first)
    }

    /// Finds the end of the last file and makes it one that was closed in order. One that has no
    /// record, because its first group was torn, is deleted, as the next one will have its name.
    fn settle_end(&mut self, files: &mut Vec<LogFile>) -> Result<Option<Cut>, LogError> {
        let mut cut = None;
        while let Some(last) = files.last_mut() {
            let end = ending::find(last, self.options)?;
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
                ending::close(last, &end, self.options)?;
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

    /// Compares what the files hold with what the checkpoints need, and returns the last position
    /// that was given.
    fn check_ends(&mut self, files: &[LogFile]) -> Result<Position, LogError> {
        let Checkpoints { lowest, highest, doubtful } = self.checkpoints;
        let held = files.last().map_or(Position(0), |file| file.last);
        let unsynced = files.last().is_some_and(|file| file.header.flush_only);
        if held < highest && lowest < highest && !unsynced && !doubtful {
            let dir = self.dir;
            self.miss(dir, held.max(lowest).next(), highest)?;
        }
        let unreadable = self.unreadable.keys().next_back().copied().unwrap_or_default();
        Ok(held.max(highest).max(unreadable))
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

fn make_dir(dir: &Path) -> Result<(), LogError> {
    if dir.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(dir).map_err(|e| LogError::io("make the folder of", dir, e))?;
    dir.parent().filter(|parent| parent.is_dir()).map_or(Ok(()), file::sync_dir)
}
