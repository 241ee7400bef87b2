//! Setting damaged table files aside, before the database is opened.
//!
//! RocksDB reads around a damaged block, but a compaction that meets one fails, and with it every
//! write from then on, again after each open. So the file has to go: what of its range can still be
//! read is written once more (a union for the families that merge; for the others the same rows
//! again), the range is recorded as damaged, and the file is taken out of the manifest by one
//! appended edit. All of it can be repeated after a crash at any point: the notes that name the
//! file go last.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use rangekeeper_model::Day;
use rocksdb::{DB, ErrorKind, LiveFile, WriteBatch, WriteOptions};

use super::damage::{self, Note};
use super::identity_file::failed;
use super::keys::{self, Family};
use super::open::{family_id, refused};
use super::options::Shared;
use super::{OpenError, log_format, meta};

/// Bytes of salvaged rows written at once.
const BATCH_BYTES: usize = 1 << 20;
/// Bytes of a key that the search for the next readable one tells apart; all of a key in `chunks`.
const SEARCHED_KEY_BYTES: usize = 24;

/// RocksDB's tags of a manifest edit.
const EDIT_DELETED_FILE: u32 = 6;
const EDIT_COLUMN_FAMILY: u32 = 200;

/// Takes the noted files out of the database. Returns how many of them were part of it.
pub(super) fn set_aside(
    folder: &Path,
    shared: &Shared,
    notes: &[Note],
) -> Result<usize, OpenError> {
    let known = list_files(folder, shared, notes)?;
    let saved = match open_quiet(folder, shared) {
        Ok(rocks) => {
            for (file, note) in &known {
                salvage(&rocks, file).map_err(OpenError::RocksDb)?;
                record(&rocks, file, note).map_err(OpenError::RocksDb)?;
            }
            true
        }
        // A file whose index or footer is damaged cannot even be opened: nothing of it can be read.
        Err(error) if is_about(&known, folder, &error) => false,
        Err(error) => return Err(refused(folder, error)),
    };
    if !known.is_empty() {
        remove_from_manifest(folder, &known)?;
    }
    if !saved {
        let rocks = open_quiet(folder, shared).map_err(|error| refused(folder, error))?;
        for (file, note) in &known {
            record(&rocks, file, note).map_err(OpenError::RocksDb)?;
        }
    }
    for (file, note) in &known {
        tracing::error!(
            file = note.number,
            family = file.column_family_name,
            saved,
            "a damaged table file is set aside"
        );
    }
    damage::remove_notes(folder).map_err(failed("remove notes in", folder))?;
    Ok(known.len())
}

/// The table files of the database that cannot even be opened.
pub(super) fn find_unreadable(
    folder: &Path,
    shared: &Shared,
) -> Result<Vec<(u64, String)>, OpenError> {
    let tables: Vec<_> = open_lenient(folder, shared)?
        .live_files()
        .map_err(OpenError::RocksDb)?
        .into_iter()
        .filter_map(|file| damage::number_of_table(file.name.trim_start_matches('/')))
        .collect();
    // Another database is asked to take each file in. It opens the file, which is what this is
    // about, and then refuses it, because no writer for other databases made it.
    let probe = folder.join("probe");
    let mut options = rocksdb::Options::default();
    options.create_if_missing(true);
    let found = DB::open(&options, &probe).map_err(OpenError::RocksDb).map(|other| {
        let damage_of = |number: u64| {
            let name = format!("{number:06}.sst");
            let error = other.ingest_external_file(vec![folder.join(&name)]).err()?;
            let is_damage = error.kind() == ErrorKind::Corruption;
            is_damage.then(|| (number, format!("{} in {name}", error.as_ref())))
        };
        tables.into_iter().filter_map(damage_of).collect()
    });
    let _ = fs::remove_dir_all(&probe);
    found
}

/// Whether an open failed because of these tables: RocksDB names one, or blames a manifest that is
/// whole.
fn is_about(known: &[(LiveFile, &Note)], folder: &Path, error: &rocksdb::Error) -> bool {
    let Some(name) = damage::file_in(error.as_ref()) else { return false };
    if error.kind() != ErrorKind::Corruption {
        return false;
    }
    if let Some(number) = damage::number_of_table(&name) {
        return known.iter().any(|(_, note)| note.number == number);
    }
    let is_whole = |bytes: Vec<u8>| log_format::first_damage(&bytes).is_none();
    name.starts_with("MANIFEST-") && fs::read(folder.join(&name)).is_ok_and(is_whole)
}

/// The noted files that are part of the database.
fn list_files<'n>(
    folder: &Path,
    shared: &Shared,
    notes: &'n [Note],
) -> Result<Vec<(LiveFile, &'n Note)>, OpenError> {
    let rocks = open_lenient(folder, shared)?;
    let files = rocks.live_files().map_err(OpenError::RocksDb)?;
    let noted = |file: &LiveFile| {
        let number = damage::number_of_table(file.name.trim_start_matches('/'))?;
        notes.iter().find(|note| note.number == number)
    };
    Ok(files.into_iter().filter_map(|file| noted(&file).map(|note| (file, note))).collect())
}

/// Opens for reading, whatever tables are damaged.
fn open_lenient(folder: &Path, shared: &Shared) -> Result<DB, OpenError> {
    let mut options = shared.options.clone();
    options.set_paranoid_checks(false);
    DB::open_cf_descriptors_read_only(&options, folder, shared.families(), false)
        .map_err(|error| refused(folder, error))
}

/// Opens with compactions off: files stay at their level, and damage is met by reads only.
fn open_quiet(folder: &Path, shared: &Shared) -> Result<DB, rocksdb::Error> {
    let families = shared.families_with(|options| options.set_disable_auto_compactions(true));
    DB::open_cf_descriptors(&shared.options, folder, families)
}

/// Writes again what can be read in the file's range. Synced when it returns.
fn salvage(rocks: &DB, file: &LiveFile) -> Result<(), rocksdb::Error> {
    let (Some(from), Some(to)) = (&file.start_key, &file.end_key) else { return Ok(()) };
    let Some(family) = Family::named(&file.column_family_name) else { return Ok(()) };
    let handle = rocks.cf_handle(family.name()).expect("every family is opened");
    let mut batch = WriteBatch::default();
    read_around_damage(rocks, family, from, to, |key, value| {
        match family {
            Family::Chunks | Family::Postings | Family::Metadata => {
                batch.merge_cf(handle, key, value);
            }
            _ => batch.put_cf(handle, key, value),
        }
        if batch.size_in_bytes() < BATCH_BYTES {
            return Ok(());
        }
        rocks.write_opt(std::mem::take(&mut batch), &WriteOptions::default())
    })?;
    rocks.write_opt(batch, &WriteOptions::default())?;
    rocks.flush_wal(true)
}

/// Calls `each` with the rows from `from` to `to`, both included, that can be read.
fn read_around_damage(
    rocks: &DB,
    family: Family,
    from: &[u8],
    to: &[u8],
    mut each: impl FnMut(&[u8], &[u8]) -> Result<(), rocksdb::Error>,
) -> Result<(), rocksdb::Error> {
    let handle = rocks.cf_handle(family.name()).expect("every family is opened");
    let mut start = from.to_vec();
    loop {
        let mut iterator = rocks.raw_iterator_cf(handle);
        iterator.seek(&start);
        while let Some((key, value)) = iterator.item() {
            if key > to {
                return Ok(());
            }
            each(key, value)?;
            key.clone_into(&mut start);
            iterator.next();
        }
        match iterator.status() {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() != ErrorKind::Corruption => return Err(error),
            Err(_) => {}
        }
        let readable = |key: &[u8]| {
            let mut iterator = rocks.raw_iterator_cf(handle);
            iterator.seek(key);
            iterator.status().is_ok()
        };
        let Some(next) = next_readable(&start, readable) else { return Ok(()) };
        start = next;
    }
}

/// The first key behind `base` from which on reading works again; damage begins right behind
/// `base`. The unreadable keys are one run, so doubling steps find its far side and halving ones
/// its edge.
fn next_readable(base: &[u8], readable: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
    let bits = SEARCHED_KEY_BYTES * 8;
    let mut low = padded(base);
    let reach = (0..bits).find_map(|bit| {
        let key = plus(&low, bit)?;
        if readable(&key) {
            return Some((bit, key));
        }
        None
    });
    let (bit, mut high) = reach?;
    for bit in (0..bit).rev() {
        let Some(middle) = plus(&low, bit) else { continue };
        if middle >= high {
            continue;
        }
        if readable(&middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    Some(high)
}

fn padded(key: &[u8]) -> Vec<u8> {
    let mut padded = key.to_vec();
    padded.resize(SEARCHED_KEY_BYTES, 0);
    padded
}

/// `key` as a big-endian number, plus two to the power of `bit`.
fn plus(key: &[u8], bit: usize) -> Option<Vec<u8>> {
    let mut sum = key.to_vec();
    let mut at = SEARCHED_KEY_BYTES - 1 - bit / 8;
    let (low, carry) = sum[at].overflowing_add(1 << (bit % 8));
    sum[at] = low;
    let mut carries = carry;
    while carries {
        at = at.checked_sub(1)?;
        (sum[at], carries) = sum[at].overflowing_add(1);
    }
    Some(sum)
}

/// Records the file's range as damaged, and what is to be done about it. Synced when it returns.
fn record(rocks: &DB, file: &LiveFile, note: &Note) -> Result<(), rocksdb::Error> {
    let Some(family) = Family::named(&file.column_family_name) else { return Ok(()) };
    let (from, to) = (file.start_key.as_deref(), file.end_key.as_deref());
    let (from, to) = (from.unwrap_or_default(), to.unwrap_or_default());
    let mut batch = WriteBatch::default();
    let key = meta::key(meta::DAMAGED, &note.number.to_be_bytes());
    batch.put(key, damage::encode_range(family, from, to, &note.message));
    match family {
        Family::Meta => batch.put(meta::DOUBTFUL, []),
        Family::Series | Family::Numbers | Family::Postings => {
            let days = keys::day_of(from).zip(keys::day_of(to)).map(|(from, to)| from.0..=to.0);
            for day in days.into_iter().flatten() {
                batch.put(meta::rebuild(Day(day)), []);
            }
        }
        _ => {}
    }
    let mut options = WriteOptions::default();
    options.set_sync(true);
    rocks.write_opt(batch, &options)
}

/// Appends to the manifest that the files are no longer part of the database.
fn remove_from_manifest(folder: &Path, files: &[(LiveFile, &Note)]) -> Result<(), OpenError> {
    let current = folder.join("CURRENT");
    let name = fs::read_to_string(&current).map_err(failed("read", &current))?;
    let path: PathBuf = folder.join(name.trim_end());
    let manifest = fs::read(&path).map_err(failed("read", &path))?;
    if let Some(offset) = log_format::first_damage(&manifest) {
        return Err(OpenError::Damaged {
            file: name.trim_end().to_owned(),
            offset: Some(offset),
            detail: "a record is not whole".to_owned(),
        });
    }
    let mut edits = Vec::new();
    let families: BTreeSet<_> = files.iter().map(|(file, _)| &file.column_family_name).collect();
    for name in families {
        let Some(family) = Family::named(name) else { continue };
        let mut edit = Vec::new();
        for (file, note) in files.iter().filter(|(file, _)| file.column_family_name == *name) {
            put_varint(&mut edit, EDIT_DELETED_FILE.into());
            put_varint(&mut edit, u64::try_from(file.level).unwrap_or(0));
            put_varint(&mut edit, note.number);
        }
        if family_id(family) != 0 {
            put_varint(&mut edit, EDIT_COLUMN_FAMILY.into());
            put_varint(&mut edit, family_id(family).into());
        }
        edits.extend_from_slice(&log_format::append(manifest.len() + edits.len(), &edit));
    }
    let mut file = fs::File::options().append(true).open(&path).map_err(failed("open", &path))?;
    file.write_all(&edits).map_err(failed("append to", &path))?;
    file.sync_all().map_err(failed("sync", &path))
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7f).expect("seven bits") | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).expect("seven bits"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_finds_the_edge_of_what_cannot_be_read() {
        let base = vec![0, 0, 5, 7];
        for edge in [vec![0, 0, 5, 7, 0, 1], vec![0, 0, 6], vec![0, 1, 2, 3, 4], vec![9; 21]] {
            let edge = padded(&edge);
            let found = next_readable(&base, |key| key >= edge.as_slice());
            assert_eq!(found, Some(edge));
        }
        assert_eq!(next_readable(&[0xff; 30], |_| false), None);
    }
}
