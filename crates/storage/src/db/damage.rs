//! What is known to be damaged.
//!
//! Found damage is noted at once in a file of its own beside the database, because a database that
//! met damage in a compaction takes no writes any more: one line a file, `file number · tab · day
//! or - · tab · RocksDB's words`. The next open sets those files aside (see `heal`) and turns the
//! lines into records of `meta`:
//!
//! ```text
//! damaged/<number of the file u64>  →  family u8 · from: u32, key · to: u32, key · detail: text
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rangekeeper_model::{Day, ShardId};

use super::keys::{self, Family};
use super::{Db, DbError, meta, unsettled};

/// The file of notes, in the database's folder.
const NOTES: &str = "DAMAGED";
/// Files noted before more are only counted: enough for any disk that is worth going on with.
const MAX_NOTES: usize = 1_000;

/// A range of keys whose data is lost in part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedRange {
    /// The column family.
    pub family: &'static str,
    /// The first day of the range; `None` for families without days.
    pub day: Option<Day>,
    /// The last day of the range.
    pub last_day: Option<Day>,
    /// The shards that may have lost something by it; `None` for all of them.
    pub shards: Option<RangeInclusive<u16>>,
    /// What was found, with the file's name.
    pub detail: String,
}

/// Counts and notes damage.
pub(super) struct Damages {
    found: AtomicU64,
    /// Table files that were noted since the open, by number.
    noted: Mutex<BTreeMap<u64, Option<Day>>>,
    /// Shards of which a reader could not decode a chunk since the open.
    shards: Mutex<BTreeSet<ShardId>>,
}

impl Damages {
    pub(super) fn new() -> Self {
        Self { found: AtomicU64::new(0), noted: Mutex::default(), shards: Mutex::default() }
    }

    pub(super) fn count(&self) {
        self.found.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts damage that RocksDB reported as `message`, and notes the file it names, once.
    pub(super) fn note(&self, folder: &Path, day: Option<Day>, message: &str) {
        self.count();
        let Some(number) = file_in(message).as_deref().and_then(number_of_table) else { return };
        let mut noted = self.noted.lock();
        if noted.len() >= MAX_NOTES || noted.insert(number, day).is_some() {
            return;
        }
        tracing::error!(file = number, day = ?day, message, "a table file is damaged");
        if let Err(error) = append_note(folder, number, day, message) {
            tracing::error!(%error, "failed to note the damage");
        }
    }
}

fn append_note(folder: &Path, number: u64, day: Option<Day>, message: &str) -> std::io::Result<()> {
    let mut file = fs::File::options().create(true).append(true).open(folder.join(NOTES))?;
    let day = day.map_or_else(|| "-".to_owned(), |day| day.0.to_string());
    let message = message.replace(['\n', '\t'], " ");
    file.write_all(format!("{number}\t{day}\t{message}\n").as_bytes())?;
    file.sync_all()
}

/// A line of the notes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) number: u64,
    pub(super) message: String,
}

/// The noted table files; lines that make no sense are passed over.
pub(super) fn read_notes(folder: &Path) -> std::io::Result<Vec<Note>> {
    let text = match fs::read(folder.join(NOTES)) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut notes: BTreeMap<u64, Note> = BTreeMap::new();
    for line in text.lines() {
        let mut fields = line.splitn(3, '\t');
        let number = fields.next().and_then(|number| number.parse().ok());
        if let (Some(number), Some(message)) = (number, fields.nth(1)) {
            notes.insert(number, Note { number, message: message.to_owned() });
        }
    }
    Ok(notes.into_values().collect())
}

/// Adds a note by hand, for damage that was found before the database was open.
pub(super) fn note_at_open(folder: &Path, number: u64, message: &str) -> std::io::Result<()> {
    append_note(folder, number, None, message)
}

/// Forgets the notes, once they are records of `meta`.
pub(super) fn remove_notes(folder: &Path) -> std::io::Result<()> {
    match fs::remove_file(folder.join(NOTES)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The file of the database that RocksDB's message names.
pub(super) fn file_in(message: &str) -> Option<String> {
    message
        .split([' ', '/', ':', ',', ';', '\'', '"', '(', ')'])
        .find(|word| number_of_table(word).is_some() || is_log_or_manifest(word))
        .map(str::to_owned)
}

/// The number of a table file's name.
pub(super) fn number_of_table(name: &str) -> Option<u64> {
    name.strip_suffix(".sst")?.parse().ok()
}

fn is_log_or_manifest(name: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    name.strip_suffix(".log").is_some_and(digits)
        || name.strip_prefix("MANIFEST-").is_some_and(digits)
        || name == "CURRENT"
}

/// A damaged range as a record of `meta`.
pub(super) fn encode_range(family: Family, from: &[u8], to: &[u8], detail: &str) -> Vec<u8> {
    let mut value = vec![family as u8];
    for key in [from, to] {
        let length = u32::try_from(key.len()).expect("a key is shorter than 4 GiB");
        value.extend_from_slice(&length.to_le_bytes());
        value.extend_from_slice(key);
    }
    value.extend_from_slice(detail.as_bytes());
    value
}

fn decode_range(value: &[u8]) -> Option<DamagedRange> {
    let (family, rest) = value.split_first()?;
    let family = *Family::ALL.get(usize::from(*family))?;
    let (from, rest) = take_key(rest)?;
    let (to, detail) = take_key(rest)?;
    let has_day = Family::OF_DAYS.contains(&family);
    let day = |key| keys::day_of(key).filter(|_| has_day);
    Some(DamagedRange {
        family: family.name(),
        day: day(from),
        last_day: day(to),
        shards: shards_of(family, from, to),
        detail: String::from_utf8_lossy(detail).into_owned(),
    })
}

/// The shards whose data a range of keys holds; `None` for all of them, and a range without any for
/// what is made again or said again: the index says everything twice, and senders repeat metadata.
fn shards_of(family: Family, from: &[u8], to: &[u8]) -> Option<RangeInclusive<u16>> {
    let of_series = |key| keys::id_of(key).map(|id| id.shard().0);
    match family {
        Family::Chunks | Family::Series | Family::Exemplars => {
            let is_one_day = keys::day_of(from) == keys::day_of(to);
            Some(of_series(from)?..=of_series(to)?).filter(|_| is_one_day)
        }
        Family::Unsettled => Some(unsettled::shard_of(from)?.0..=unsettled::shard_of(to)?.0),
        Family::Numbers | Family::Postings | Family::Metadata => Some(RangeInclusive::new(1, 0)),
        // Among its records are those of other damage.
        Family::Meta => None,
    }
}

fn take_key(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

impl Db {
    /// How often damage was met since the open.
    pub fn damage_found(&self) -> u64 {
        self.damages.found.load(Ordering::Relaxed)
    }

    /// Counts damage that a reader of chunk values met: frames that it could not decode.
    pub fn count_damage(&self) {
        self.damages.count();
    }

    /// Remembers that a chunk of the shard could not be decoded.
    pub(crate) fn note_damaged_shard(&self, shard: ShardId) {
        self.damages.shards.lock().insert(shard);
    }

    /// The shards that are known to have lost data, or to hold some that cannot be read.
    pub(crate) fn damaged_shards(&self) -> Result<Vec<ShardId>, DbError> {
        let mut shards = self.damages.shards.lock().clone();
        let mut lost: Vec<_> = self.damaged_ranges()?.into_iter().map(|of| of.shards).collect();
        let noted = self.damages.noted.lock().clone();
        if !noted.is_empty() {
            let files = self.rocks().live_files();
            let files = files.map_err(|e| DbError::of_read("list table files", None, e))?;
            let is_noted = |file: &rocksdb::LiveFile| {
                let number = number_of_table(file.name.trim_start_matches('/'));
                number.is_some_and(|number| noted.contains_key(&number))
            };
            lost.extend(files.into_iter().filter(is_noted).map(|file| {
                let family = Family::named(&file.column_family_name)?;
                shards_of(family, file.start_key.as_deref()?, file.end_key.as_deref()?)
            }));
        }
        for range in lost {
            let all = 0..=u16::MAX;
            let of_store = self.shards().iter();
            shards
                .extend(of_store.filter(|shard| range.as_ref().unwrap_or(&all).contains(&shard.0)));
        }
        Ok(shards.into_iter().collect())
    }

    /// The ranges that are known to have lost data, in the order they were found.
    pub fn damaged_ranges(&self) -> Result<Vec<DamagedRange>, DbError> {
        let end = keys::after_prefix(meta::DAMAGED);
        let mut iterator = self.iterator(Family::Meta, end, false);
        iterator.seek(meta::DAMAGED);
        let mut ranges = Vec::new();
        while let Some(value) = iterator.value() {
            ranges.extend(decode_range(value));
            iterator.next();
        }
        iterator.status().map_err(|e| self.read_failed("read damaged ranges", None, e))?;
        Ok(ranges)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_in_rocksdbs_words() {
        let words = "Corruption: block checksum mismatch: stored = 1, computed = 2, type = 4  \
                     in /data/db/000123.sst offset 45 size 6";
        assert_eq!(file_in(words).as_deref(), Some("000123.sst"));
        assert_eq!(number_of_table("000123.sst"), Some(123));
        assert_eq!(file_in("in file /d/MANIFEST-000005").as_deref(), Some("MANIFEST-000005"));
        assert_eq!(file_in("Corruption: nothing is named here.sst"), None);
    }

    #[test]
    fn notes_are_read_back_once_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let damages = Damages::new();
        for day in [None, Some(Day(3))] {
            damages.note(folder.path(), day, "Corruption: in /x/000007.sst\toffset 9");
        }
        note_at_open(folder.path(), 7, "again").unwrap();
        let notes = read_notes(folder.path()).unwrap();
        assert_eq!(notes, [Note { number: 7, message: "again".into() }]);
        assert_eq!(damages.found.load(Ordering::Relaxed), 2);
        remove_notes(folder.path()).unwrap();
        assert_eq!(read_notes(folder.path()).unwrap(), []);
    }

    #[test]
    fn ranges_survive_their_record() {
        let key = keys::chunk(Day(3), rangekeeper_model::SeriesId([1; 16]), keys::WHOLE_DAY);
        let range = decode_range(&encode_range(Family::Chunks, &key, &key, "000007.sst")).unwrap();
        assert_eq!(
            (range.family, range.day, range.last_day),
            ("chunks", Some(Day(3)), Some(Day(3)))
        );
        assert_eq!(range.detail, "000007.sst");
    }
}
