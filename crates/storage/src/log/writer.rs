//! The one thread that writes.

use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use super::error::LogError;
use super::file::LiveFile;
use super::format::{FORMAT_VERSION, FileHeader, RECORD_HEADER_BYTES};
use super::queue::{Job, Shared};
use super::recovery::LogFile;
use super::{Durability, FileSeq, Position};

struct Writer {
    shared: Arc<Shared>,
    current: Option<LiveFile>,
    /// The last position that lies in a file.
    follows: Position,
    /// What is being written, until it is answered.
    group: Vec<Job>,
}

/// Starts the writer of a log whose files end with position `follows`.
pub(super) fn start(shared: Arc<Shared>, follows: Position) -> Result<JoinHandle<()>, LogError> {
    let dir = shared.dir.clone();
    let mut writer = Writer { shared, current: None, follows, group: Vec::new() };
    thread::Builder::new()
        .name("rk-log".to_owned())
        .spawn(move || writer.run())
        .map_err(|e| LogError::io("start the writer of", &dir, e))
}

impl Writer {
    fn run(&mut self) {
        while self.shared.take_group(&mut self.group).is_some() {
            if let Err(cause) = self.write_group() {
                self.shared.fail(&cause, &mut self.group);
                // What this file holds beyond its last sync is nobody's: it is never written again.
                return;
            }
        }
        if !self.shared.is_abandoned()
            && let Err(cause) = self.close()
        {
            self.shared.fail(&cause, &mut self.group);
        }
    }

    /// Carries out the group from its front, and answers and removes what is done.
    fn write_group(&mut self) -> Result<(), LogError> {
        while let Some(first) = self.group.first() {
            let done = match first {
                Job::Write { file, .. } => self.write_records(*file)?,
                Job::Close { .. } => {
                    self.close()?;
                    1
                }
                Job::Sync { .. } => {
                    self.sync()?;
                    1
                }
            };
            for job in self.group.drain(..done) {
                // Whoever gave up waiting does not hear it.
                let _ = job.into_done().send(Ok(()));
            }
        }
        Ok(())
    }

    /// Writes the records at the group's front that go to `file`, and says how many they are.
    fn write_records(&mut self, file: FileSeq) -> Result<usize, LogError> {
        let goes_here = |job: &Job| matches!(job, Job::Write { file: to, .. } if *to == file);
        let count = self.group.iter().take_while(|job| goes_here(job)).count();
        self.go_on_to(file, count)?;
        let options = &self.shared.options;
        let live = self.current.as_mut().expect("made by go_on_to");

        let mut last = live.last;
        let mut bytes = 0;
        for job in &mut self.group[..count] {
            if let Job::Write { record, position, .. } = job {
                let header = live.record_header(record.body_bytes, record.body_crc, *position);
                record.bytes[..RECORD_HEADER_BYTES].copy_from_slice(&header);
                bytes += record.bytes.len();
                last = *position;
            }
        }
        let mut slices: Vec<IoSlice<'_>> = Vec::with_capacity(count);
        for job in &self.group[..count] {
            if let Job::Write { record, .. } = job {
                slices.push(IoSlice::new(&record.bytes));
            }
        }
        live.append(&mut slices, last, options)?;
        self.shared.stats.wrote(count, bytes);
        if options.durability == Durability::Sync {
            self.sync()?;
        }
        self.publish(last);
        Ok(count)
    }

    /// Makes `file` the current one.
    fn go_on_to(&mut self, file: FileSeq, count: usize) -> Result<(), LogError> {
        if self.current.as_ref().is_some_and(|live| live.header.sequence == file) {
            return Ok(());
        }
        self.close()?;
        let shared = &self.shared;
        let (mut first, mut records_bytes) = (None, 0);
        for job in &self.group[..count] {
            if let Job::Write { record, position, .. } = job {
                first.get_or_insert(*position);
                records_bytes += record.bytes.len() as u64;
            }
        }
        let header = FileHeader {
            version: FORMAT_VERSION,
            flush_only: shared.options.durability == Durability::Flush,
            store: shared.store,
            sequence: file,
            first: first.expect("a group of at least one record"),
            follows: self.follows,
        };
        let live = LiveFile::create(&shared.dir, header, records_bytes, &shared.options)?;
        self.current = Some(live);
        Ok(())
    }

    fn sync(&mut self) -> Result<(), LogError> {
        let Some(live) = &mut self.current else { return Ok(()) };
        let begun = Instant::now();
        live.sync(&self.shared.options)?;
        self.shared.stats.synced(begun.elapsed());
        Ok(())
    }

    fn close(&mut self) -> Result<(), LogError> {
        let Some(live) = self.current.take() else { return Ok(()) };
        let sequence = live.header.sequence;
        let bytes = live.close(&self.shared.options)?;
        let mut files = self.shared.files.lock();
        if let Some(file) = files.iter_mut().find(|file| file.sequence == sequence) {
            (file.bytes, file.closed) = (bytes, true);
        }
        Ok(())
    }

    /// Shows what is written: to readers of the files first, then to those who wait for the
    /// position.
    fn publish(&mut self, last: Position) {
        let live = self.current.as_ref().expect("it was just written");
        let mut files = self.shared.files.lock();
        match files.last_mut().filter(|file| file.sequence == live.header.sequence) {
            Some(file) => (file.last, file.bytes) = (last, live.offset),
            None => files.push(LogFile::live(live, self.shared.options.accept_loss)),
        }
        drop(files);
        self.follows = last;
        self.shared.durable.store(last.0, Ordering::Release);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.end(&mut self.group, thread::panicking());
    }
}
