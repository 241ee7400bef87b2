//! The log through its public surface, with files changed behind its back.

mod concurrency;
mod encoding;
mod failures;
mod recovery;
mod tail;
mod writing;

use std::fs;
use std::path::{Path, PathBuf};

use rangekeeper_model::{SeriesId, ShardId, TenantId};

use super::*;

const STORE: [u8; 16] = *b"a store's own id";

/// What a record held: its position and its samples, by series, with the bits of their values.
type Held = (u64, Vec<(SeriesId, i64, u64)>);

/// A folder in memory where the system has that: some tests open thousands of logs, and each
/// opening syncs.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn options() -> LogOptions {
    LogOptions { file_bytes: 64 << 10, ..LogOptions::default() }
}

fn open(dir: &Path) -> (Log, Recovery) {
    open_with(dir, Checkpoints::default(), options()).unwrap()
}

fn open_with(
    dir: &Path,
    checkpoints: Checkpoints,
    options: LogOptions,
) -> Result<(Log, Recovery), LogError> {
    Log::open(dir, STORE, checkpoints, options)
}

fn up_to(position: u64) -> Checkpoints {
    let position = Position(position);
    Checkpoints { lowest: position, highest: position, doubtful: false }
}

/// Series number `n`, which lies in shard `n % 4`.
fn series(n: u32) -> SeriesId {
    let mut id = [7; SeriesId::BYTES];
    id[1] = u8::try_from(n % 4).unwrap();
    id[0] = 0;
    id[12..].copy_from_slice(&n.to_be_bytes());
    SeriesId(id)
}

/// A record with one sample of each of `count` series, which it defines.
fn record(count: u32, value: f64) -> Record {
    let mut encoder = RecordEncoder::new();
    for n in 0..count {
        encoder.define(SeriesRef(n), series(n), &TenantId::default(), Some(b"labels"));
    }
    for n in 0..count {
        let timestamp_ms = 1_000 + i64::from(n);
        let sample = FloatSample { reference: SeriesRef(n), timestamp_ms, start_ms: 0, value };
        encoder.float(series(n).shard(), &sample);
    }
    encoder.finish().unwrap()
}

/// Writes a record and waits for it.
fn write(log: &Log, count: u32, value: f64) -> Position {
    let mut flight = log.submit(record(count, value), log.current_file()).unwrap();
    flight.wait_durable().unwrap();
    flight.position()
}

/// Everything in the files, oldest first.
fn read(files: &[LogFile]) -> Result<Vec<Held>, LogError> {
    let mut held = Vec::new();
    for file in files {
        let mut reader = file.read()?;
        let mut names = std::collections::HashMap::new();
        while let Some(view) = reader.next_record()? {
            for definition in view.definitions() {
                let definition = definition?;
                names.insert(definition.reference, definition.series);
            }
            let mut samples = Vec::new();
            for run in view.floats()? {
                for sample in run.elements {
                    let sample = sample?;
                    let series = names[&sample.reference];
                    assert_eq!(series.shard(), run.shard);
                    samples.push((series, sample.timestamp_ms, sample.value.to_bits()));
                }
            }
            held.push((view.position().0, samples));
        }
    }
    Ok(held)
}

/// Opens a log, reads all of it and closes it.
fn reopen(dir: &Path, options: LogOptions) -> Result<(Vec<Held>, Recovery), LogError> {
    let (log, recovery) = open_with(dir, Checkpoints::default(), options)?;
    log.abandon();
    Ok((read(&recovery.files)?, recovery))
}

fn positions(held: &[Held]) -> Vec<u64> {
    held.iter().map(|(position, _)| *position).collect()
}

fn log_files(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// The files' bytes, to be put back after each change.
struct Image(Vec<(PathBuf, Vec<u8>)>);

impl Image {
    fn take(dir: &Path) -> Self {
        Self(
            log_files(dir)
                .into_iter()
                .map(|path| (path.clone(), fs::read(path).unwrap()))
                .collect(),
        )
    }

    fn restore(&self, dir: &Path) {
        for path in log_files(dir) {
            if self.0.iter().all(|(kept, _)| *kept != path) {
                fs::remove_file(path).unwrap();
            }
        }
        for (path, bytes) in &self.0 {
            fs::write(path, bytes).unwrap();
        }
    }
}
