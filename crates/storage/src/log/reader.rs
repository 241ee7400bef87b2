//! Reading a log file, one record in memory at a time.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::Position;
use super::error::LogError;
use super::format::{
    ALIGNMENT, FILE_HEADER_BYTES, FileHeader, MAX_POSITION, RECORD_HEADER_BYTES, RecordHeader,
    filled,
};
use super::record::RecordView;
use super::recovery::{LogFile, Loss};

/// Bytes that one read takes from a file.
const READ_BYTES: usize = 256 << 10;

/// Reads the records of one file, in order, up to the last one that the file is known to hold.
pub struct FileReader {
    source: RecordSource,
    header: FileHeader,
    /// The position that comes next.
    next: Position,
    last: Position,
    losses: Option<Vec<Loss>>,
}

impl FileReader {
    pub(super) fn open(file: &LogFile) -> Result<Self, LogError> {
        let mut source = RecordSource::open(&file.path)?;
        if source.read_file_header()? != Some(file.header) {
            return Err(LogError::damaged(&file.path, 0, "the file header is not whole"));
        }
        source.begin(&file.header)?;
        Ok(Self {
            source,
            header: file.header,
            next: file.header.first,
            last: file.last,
            losses: file.accept_loss.then(Vec::new),
        })
    }

    /// The next record; `None` after the last.
    pub fn next_record(&mut self) -> Result<Option<RecordView<'_>>, LogError> {
        if self.advance()? { self.current().map(Some) } else { Ok(None) }
    }

    /// Reads the next record; says whether there is one.
    pub(super) fn advance(&mut self) -> Result<bool, LogError> {
        if self.next > self.last {
            return Ok(false);
        }
        let bad = match self.source.read(self.next)? {
            Step::Record(_) => None,
            Step::EndMark => Some("the file ends before its last record"),
            Step::Bad(what) => Some(what),
        };
        if let Some(what) = bad
            && !self.skip(what)?
        {
            return Ok(false);
        }
        self.next = self.source.position.next();
        Ok(true)
    }

    /// The record that was read last.
    pub(super) fn current(&self) -> Result<RecordView<'_>, LogError> {
        Ok(RecordView::parse(self.source.position, self.source.body())?)
    }

    /// What was skipped so far, where loss was accepted.
    pub fn losses(&self) -> &[Loss] {
        self.losses.as_deref().unwrap_or(&[])
    }

    /// Goes on reading a file that has grown up to `last`.
    pub(super) fn extend(&mut self, last: Position) -> Result<(), LogError> {
        if last > self.last {
            self.last = last;
            // What was read ahead may have been room that is records by now.
            self.source.seek(self.source.offset)?;
        }
        Ok(())
    }

    pub(super) fn header(&self) -> &FileHeader {
        &self.header
    }

    pub(super) fn last_position(&self) -> Position {
        self.last
    }

    /// Reads the next record that is whole, where loss is accepted; says whether there is one.
    fn skip(&mut self, what: &'static str) -> Result<bool, LogError> {
        let bad = self.source.offset;
        let Some(losses) = &mut self.losses else {
            return Err(LogError::damaged(&self.source.path, bad, what));
        };
        let found = self.source.skip_to_whole(self.next, self.last)?;
        let (to_offset, to) = match found {
            Some(at) => (at, Position(self.source.position.0 - 1)),
            None => (self.source.bytes, self.last),
        };
        let file = self.source.path.clone();
        losses.push(Loss { file, from_offset: bad, to_offset, from: self.next, to });
        if found.is_none() {
            self.next = self.last.next();
        }
        Ok(found.is_some())
    }
}

/// What lies at an offset.
pub(super) enum Step {
    /// A whole record, which is now in the source's `body`.
    Record(RecordHeader),
    /// The mark of a file that was closed in order.
    EndMark,
    /// Neither, and why.
    Bad(&'static str),
}

/// A file as records: the one place that reads and checks them.
pub(super) struct RecordSource {
    input: BufReader<File>,
    path: PathBuf,
    seed: u32,
    pub bytes: u64,
    /// Where the next record begins.
    pub offset: u64,
    /// The position of the record in `body`.
    pub position: Position,
    body: Vec<u8>,
    body_bytes: usize,
}

impl RecordSource {
    pub(super) fn open(path: &Path) -> Result<Self, LogError> {
        let open = || {
            let file = File::open(path)?;
            let bytes = file.metadata()?.len();
            Ok((BufReader::with_capacity(READ_BYTES, file), bytes))
        };
        let (input, bytes) = open().map_err(|e| LogError::io("open", path, e))?;
        Ok(Self {
            input,
            path: path.to_owned(),
            seed: 0,
            bytes,
            offset: 0,
            position: Position(0),
            body: Vec::new(),
            body_bytes: 0,
        })
    }

    /// The file header, if there is a whole one.
    pub(super) fn read_file_header(&mut self) -> Result<Option<FileHeader>, LogError> {
        let mut bytes = [0; FILE_HEADER_BYTES];
        match self.input.get_ref().read_exact_at(&mut bytes, 0) {
            Ok(()) => Ok(FileHeader::decode(&bytes)),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(e) => Err(self.failed(e)),
        }
    }

    /// Goes to the first record.
    pub(super) fn begin(&mut self, header: &FileHeader) -> Result<(), LogError> {
        self.seed = header.seed();
        self.seek(FILE_HEADER_BYTES as u64)
    }

    pub(super) fn seek(&mut self, offset: u64) -> Result<(), LogError> {
        self.offset = offset;
        self.input.seek(SeekFrom::Start(offset)).map(drop).map_err(|e| self.failed(e))
    }

    /// Reads the record at the offset, which should have position `expected`, and goes on behind
    /// it. Where that is not what lies there the offset stays.
    pub(super) fn read(&mut self, expected: Position) -> Result<Step, LogError> {
        let step = self.read_at_offset(|position| position == expected)?;
        if !matches!(step, Step::Record(_)) {
            self.seek(self.offset)?;
        }
        Ok(step)
    }

    pub(super) fn body(&self) -> &[u8] {
        &self.body[..self.body_bytes]
    }

    fn read_at_offset(&mut self, fits: impl Fn(Position) -> bool) -> Result<Step, LogError> {
        let left = self.bytes.saturating_sub(self.offset);
        if left < RECORD_HEADER_BYTES as u64 {
            return Ok(Step::Bad("the file is cut short"));
        }
        let mut header = [0; RECORD_HEADER_BYTES];
        self.input.read_exact(&mut header).map_err(|e| self.failed(e))?;
        let Some(header) = RecordHeader::decode(&header, self.seed) else {
            return Ok(Step::Bad("no record header"));
        };
        if header.is_end_mark() {
            return Ok(Step::EndMark);
        }
        if !fits(header.position) {
            return Ok(Step::Bad("a record of another position"));
        }
        let record_bytes = (RECORD_HEADER_BYTES + header.filled_bytes()) as u64;
        if record_bytes > left {
            return Ok(Step::Bad("a record is cut short"));
        }
        self.body.resize(header.filled_bytes(), 0);
        self.input.read_exact(&mut self.body).map_err(|e| self.failed(e))?;
        if crc32c::crc32c(&self.body) != header.body_crc {
            return Ok(Step::Bad("the checksum of a record does not match"));
        }
        self.offset += record_bytes;
        self.position = header.position;
        self.body_bytes = header.body_bytes as usize;
        Ok(Step::Record(header))
    }

    /// Goes on behind the next whole record that has a position from `from` to `to`; says where it
    /// began.
    pub(super) fn skip_to_whole(
        &mut self,
        from: Position,
        to: Position,
    ) -> Result<Option<u64>, LogError> {
        let fits = |position| from <= position && position <= to;
        let mut at = self.offset;
        while let Some((found, _)) = self.search(at + 1, |_, header| fits(header.position))? {
            self.seek(found)?;
            if let Step::Record(_) = self.read_at_offset(fits)? {
                return Ok(Some(found));
            }
            at = found;
        }
        Ok(None)
    }

    /// The first record header or end mark at or after `from` with a good checksum for which
    /// `accept` says yes. A checksum that fits by chance needs, besides, a position and a length
    /// that make sense: it does not happen.
    pub(super) fn search(
        &self,
        from: u64,
        mut accept: impl FnMut(u64, &RecordHeader) -> bool,
    ) -> Result<Option<(u64, RecordHeader)>, LogError> {
        let mut window = vec![0; READ_BYTES];
        let mut start = from.next_multiple_of(ALIGNMENT as u64);
        while start + RECORD_HEADER_BYTES as u64 <= self.bytes {
            let length =
                window.len().min(usize::try_from(self.bytes - start).unwrap_or(READ_BYTES));
            let file = self.input.get_ref();
            file.read_exact_at(&mut window[..length], start).map_err(|e| self.failed(e))?;
            let candidates = (length - RECORD_HEADER_BYTES) / ALIGNMENT + 1;
            for at in (0..candidates).map(|n| n * ALIGNMENT) {
                let bytes = window[at..].first_chunk().expect("candidates end before the window");
                let offset = start + at as u64;
                if let Some(header) = RecordHeader::decode(bytes, self.seed)
                    && self.is_plausible(offset, &header)
                    && accept(offset, &header)
                {
                    return Ok(Some((offset, header)));
                }
            }
            start += (candidates * ALIGNMENT) as u64;
        }
        Ok(None)
    }

    /// Nothing is synced behind the record that says so, and a record lies within its file.
    fn is_plausible(&self, offset: u64, header: &RecordHeader) -> bool {
        let end = offset + (RECORD_HEADER_BYTES + filled(header.body_bytes as usize)) as u64;
        u64::from(header.synced) <= offset
            && end <= self.bytes
            && (Position(1)..MAX_POSITION).contains(&header.position)
    }

    /// The offset behind the last byte at or after `from` that is not zero; `from` if there is
    /// none.
    pub(super) fn end_of_content(&self, from: u64) -> Result<u64, LogError> {
        let mut window = vec![0; READ_BYTES];
        let (mut start, mut end) = (from, from);
        while start < self.bytes {
            let length =
                window.len().min(usize::try_from(self.bytes - start).unwrap_or(READ_BYTES));
            let file = self.input.get_ref();
            file.read_exact_at(&mut window[..length], start).map_err(|e| self.failed(e))?;
            if let Some(at) = window[..length].iter().rposition(|byte| *byte != 0) {
                end = start + at as u64 + 1;
            }
            start += length as u64;
        }
        Ok(end)
    }

    fn failed(&self, error: io::Error) -> LogError {
        LogError::io("read", &self.path, error)
    }
}
