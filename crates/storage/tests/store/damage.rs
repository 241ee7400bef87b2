//! Bytes that change on the disk: nothing panics, nothing damaged is served, what is damaged is
//! named and counted, all else stays readable, and writing goes on.
//!
//! A store is written, crashed and kept; then each case flips a byte of one file in a copy of it.

use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rangekeeper_model::{DAY_MS, Labels, MatchOp, Matcher, TenantId, TimeRange};
use rangekeeper_storage::oracle::{Batch, Row};
use rangekeeper_storage::{Store, StoreError};
use tempfile::TempDir;

use crate::keeper::{Keeper, Point, TestClock, options, try_select};
use crate::workload::seeds;

const T0: i64 = 20_000 * DAY_MS + DAY_MS / 3;
const STEP_MS: i64 = 15_000;
const HOSTS: u32 = 150;

type Sample = (Labels, Point);

/// A crashed store, what it holds, and what came with its last write.
struct Crashed {
    dir: TempDir,
    samples: BTreeSet<Sample>,
    last: BTreeSet<Sample>,
}

fn clock() -> TestClock {
    TestClock::at(T0 + DAY_MS)
}

fn open(dir: &Path, accept_loss: bool) -> Result<Store, Arc<StoreError>> {
    let mut options = options(dir);
    options.accept_loss = accept_loss;
    Store::open(options, clock().clock())
}

fn labels(host: u32) -> Labels {
    let host = format!("host-{host}");
    Labels::from_pairs([("__name__", "up"), ("instance", host.as_str())]).unwrap()
}

fn batch(hosts: std::ops::Range<u32>, at_ms: i64) -> Batch {
    let row = |host: u32| {
        let value = f64::from(host) * 1.25 + f64::from(i32::try_from(at_ms % 1_000_003).unwrap());
        Row { floats: vec![(at_ms, 0, value)], ..Row::new(labels(host)) }
    };
    Batch { rows: hosts.map(row).collect(), metadata: vec![] }
}

fn samples(batch: &Batch) -> BTreeSet<Sample> {
    let floats = batch.rows.iter().flat_map(|row| {
        row.floats.iter().map(|(at_ms, start_ms, value)| {
            let mut bytes = vec![0];
            bytes.extend(value.to_bits().to_be_bytes());
            (row.labels.clone(), (*at_ms, *start_ms, bytes))
        })
    });
    floats.collect()
}

/// A store with sealed table files, checkpoints in RocksDB's log, and several files of its own log;
/// ended by a crash.
fn crashed() -> Crashed {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path(), false).unwrap();
    let (mut all, mut last) = (BTreeSet::new(), BTreeSet::new());
    for tick in 0..120 {
        let batch = batch(0..HOSTS, T0 + tick * STEP_MS);
        store.put(&TenantId::default(), &batch);
        last = samples(&batch);
        all.extend(last.iter().cloned());
        match tick {
            40 => store.seal_all().unwrap(),
            60 | 80 => store.checkpoint().unwrap(),
            _ => {}
        }
    }
    // As a killed process leaves it: nothing is written now, and a database that is dropped would
    // flush.
    let crashed = tempfile::tempdir().unwrap();
    copy(dir.path(), crashed.path());
    store.abandon();
    Crashed { dir: crashed, samples: all, last }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, name) = entry.map(|e| (e.path(), e.file_name())).unwrap();
        if path.is_dir() {
            copy(&path, &to.join(name));
        } else {
            fs::copy(&path, to.join(name)).unwrap();
        }
    }
}

/// Files below `folder` that `wanted` names, with their lengths.
fn files(folder: &Path, wanted: impl Fn(&str) -> bool) -> Vec<(PathBuf, usize)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file() && wanted(path.file_name().unwrap().to_str().unwrap()))
        .map(|path| (path.clone(), usize::try_from(fs::metadata(&path).unwrap().len()).unwrap()))
        .filter(|(_, bytes)| *bytes > 0)
        .collect();
    files.sort();
    files
}

/// What an error says, with all its causes.
fn words(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error: &&dyn Error| (*error).source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// What one damaged copy showed.
#[derive(Debug, Default)]
struct Outcome {
    /// What refused to open without `accept_loss`.
    refused: Option<String>,
    /// What queries failed with before the store was opened again.
    failed: Option<String>,
    /// Samples that are gone at the end.
    missing: usize,
    /// Damage that was counted in all opens.
    counted: u64,
    /// Whether nothing but the last write is gone.
    only_last: bool,
    /// Whether the store opens with `accept_loss`.
    opens: bool,
}

impl Crashed {
    /// Flips a byte in a copy, opens that, asks, writes, opens again and asks again.
    fn damage(&self, file: &Path, at: usize, what: &str) -> Outcome {
        let copied = tempfile::tempdir().unwrap();
        copy(self.dir.path(), copied.path());
        let path = copied.path().join(file);
        let mut bytes = fs::read(&path).unwrap();
        bytes[at] ^= 0x40;
        fs::write(&path, bytes).unwrap();
        let mut outcome = Outcome::default();
        let store = open(copied.path(), false).or_else(|error| {
            outcome.refused = Some(words(&*error));
            open(copied.path(), true)
        });
        let Ok(store) = store else { return outcome };
        outcome.opens = true;
        outcome.failed = self.ask_each(&store, what);
        outcome.counted += store.stats().unwrap().damage_total;
        store.close();
        // What is damaged is set aside now; a loss is accepted once.
        let mut store = open(copied.path(), false)
            .unwrap_or_else(|error| panic!("{what}, opened again: {}", words(&*error)));
        let found = self.ask(&store, what);
        outcome.counted += store.stats().unwrap().damage_total;
        let missing: BTreeSet<_> = self.samples.difference(&found).cloned().collect();
        (outcome.missing, outcome.only_last) = (missing.len(), missing.is_subset(&self.last));
        let new = batch(HOSTS - 5..HOSTS + 5, T0 + 5 * 60 * STEP_MS);
        store.put(&TenantId::default(), &new);
        store.seal_all().unwrap_or_else(|error| panic!("{what}, sealing: {}", words(&error)));
        let rows = flat(try_select(&store, &TenantId::default(), &[], TimeRange::ALL).unwrap());
        let new = samples(&new);
        let lost_later = found.union(&new).filter(|sample| !rows.contains(sample)).count();
        assert_eq!(lost_later, 0, "{what}: samples are lost later");
        let known = |sample| self.samples.contains(sample) || new.contains(sample);
        assert!(rows.iter().all(known), "{what}: a sample is invented later");
        store.close();
        outcome
    }

    /// All that the store has; nothing of it was not written.
    fn ask(&self, store: &Store, what: &str) -> BTreeSet<Sample> {
        let rows = try_select(store, &TenantId::default(), &[], TimeRange::ALL);
        let rows = rows.unwrap_or_else(|error| panic!("{what}: {}", words(&error)));
        let found = flat(rows);
        assert!(found.is_subset(&self.samples), "{what}: a sample is invented");
        found
    }

    /// Asks for series one by one. What fails says what is damaged, what comes was written.
    fn ask_each(&self, store: &Store, what: &str) -> Option<String> {
        let mut failed = None;
        for host in (0..HOSTS).step_by(10) {
            let instance = format!("host-{host}");
            let matcher = Matcher::new(MatchOp::Equal, "instance", &instance).unwrap();
            match try_select(store, &TenantId::default(), &[matcher], TimeRange::ALL) {
                Ok(rows) => {
                    assert!(flat(rows).is_subset(&self.samples), "{what}: a sample is invented");
                }
                Err(error) => failed = Some(words(&error)),
            }
        }
        failed
    }
}

fn flat(rows: crate::keeper::Rows) -> BTreeSet<Sample> {
    let points = |(labels, points): (Labels, Vec<Point>)| {
        points.into_iter().map(move |point| (labels.clone(), point))
    };
    rows.into_iter().flat_map(points).collect()
}

/// Damages some places of the files in `folder` that `wanted` names, and has each outcome judged,
/// with the file's name and whether it is the last of them.
fn check(
    folder: &str,
    wanted: impl Fn(&str) -> bool,
    judge: impl Fn(&Outcome, &str, bool) -> Result<(), String>,
) {
    let crashed = crashed();
    let files = files(&crashed.dir.path().join(folder), wanted);
    assert!(!files.is_empty(), "there is something to damage");
    for seed in seeds(8) {
        let mut random = fastrand::Rng::with_seed(seed);
        let at_file = random.usize(..files.len());
        let (path, bytes) = &files[at_file];
        let at = if random.bool() { random.usize(..*bytes) } else { random.usize(..512) % bytes };
        let name = path.file_name().unwrap().to_str().unwrap();
        let what = format!("RANGEKEEPER_SEED={seed}: {name} at {at} of {bytes}");
        println!("{what}");
        let outcome = crashed.damage(&Path::new(folder).join(name), at, &what);
        println!("    {outcome:?}");
        let verdict = judge(&outcome, name, at_file + 1 == files.len());
        verdict.unwrap_or_else(|why| panic!("{what}: {why}: {outcome:?}"));
    }
}

/// What holds for every kind of file: no loss is silent, and what refuses says why.
fn no_silent_loss(outcome: &Outcome) -> Result<(), String> {
    if outcome.missing > 0 && outcome.refused.is_none() && outcome.counted == 0 {
        return Err("samples are gone and nobody says so".to_owned());
    }
    match &outcome.refused {
        Some(words) if !words.contains("damaged") && !words.contains("missing") => {
            Err("it refuses without a word about damage".to_owned())
        }
        _ => Ok(()),
    }
}

#[test]
fn a_damaged_log_file_is_refused_by_name_and_opens_where_loss_is_accepted() {
    check(
        "log",
        |_| true,
        |outcome, name, is_last| {
            if !outcome.opens {
                return Err("it does not open even with --accept-loss".to_owned());
            }
            if is_last && outcome.only_last && outcome.refused.is_none() {
                // In the very last group damage cannot be told from a torn write that nobody had an
                // answer to.
                return Ok(());
            }
            match &outcome.refused {
                Some(words) if !words.contains(name) => Err("the file is not named".to_owned()),
                _ => no_silent_loss(outcome),
            }
        },
    );
}

fn ends_in(name: &str, extension: &str) -> bool {
    std::path::Path::new(name).extension().is_some_and(|found| found == extension)
}

#[test]
fn damage_in_rocksdbs_log_loses_nothing_silently() {
    let is_wal = |name: &str| ends_in(name, "log");
    check("db", is_wal, |outcome, _, _| no_silent_loss(outcome));
}

#[test]
fn a_damaged_table_file_is_named_and_set_aside() {
    let is_table = |name: &str| ends_in(name, "sst");
    check("db", is_table, |outcome, name, _| {
        if let Some(words) = &outcome.failed
            && !words.contains(name)
        {
            return Err("a query failed without the file's name".to_owned());
        }
        if outcome.failed.is_some() && outcome.counted == 0 {
            return Err("the damage is not counted".to_owned());
        }
        no_silent_loss(outcome)
    });
}

#[test]
fn a_damaged_manifest_is_refused_by_name_or_loses_nothing() {
    let is_manifest = |name: &str| name.starts_with("MANIFEST-") || name == "CURRENT";
    check("db", is_manifest, |outcome, name, _| match &outcome.refused {
        Some(words) if words.contains(name) => Ok(()),
        Some(_) => Err("the file is not named".to_owned()),
        None if outcome.missing > 0 => Err("samples are gone".to_owned()),
        None => Ok(()),
    });
}

#[test]
fn damage_in_the_other_files_loses_nothing() {
    let is_other = |name: &str| {
        let is_data = ends_in(name, "log") || ends_in(name, "sst") || name == "CURRENT";
        !is_data && !name.starts_with("MANIFEST-")
    };
    check("db", is_other, |outcome, _, _| {
        if outcome.missing > 0 { Err("samples are gone".to_owned()) } else { Ok(()) }
    });
}
