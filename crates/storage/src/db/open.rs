//! Opening the database.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::AtomicU32;

use parking_lot::RwLock;
use rocksdb::{DB, ErrorKind};

use super::damage::Damages;
use super::days::DayIndexes;
use super::identity_file::{IdentityFile, failed};
use super::keys::{FORMAT_VERSION, Family};
use super::meta::Opened;
use super::options::Shared;
use super::shards::ShardLocks;
use super::{CreateWith, Db, DbError, DbOptions, OpenError, damage, heal, log_format};
use super::{meta, read};
use crate::seal::SealStates;

/// Table files that may turn out to be damaged one after the other during one open.
const MAX_SET_ASIDE: usize = 1_000;

impl Db {
    /// Opens the database in `folder`, or creates it there. Table files that are found damaged are
    /// set aside first: what can be read of them is kept, and the rest is recorded as damaged. Any
    /// other damage refuses to open and changes nothing. Expired data is dropped again.
    #[expect(clippy::needless_pass_by_value, reason = "callers make them for this call")]
    pub fn open(folder: &Path, options: DbOptions, with: &CreateWith) -> Result<Self, OpenError> {
        fs::create_dir_all(folder).map_err(failed("create", folder))?;
        // Before RocksDB sees the folder: a newer format may have families that this build does not
        // know.
        if let Some(file) = IdentityFile::read(folder)?
            && file.format > FORMAT_VERSION
        {
            let (found, supported) = (file.format, FORMAT_VERSION);
            return Err(OpenError::NewerFormat { found, supported });
        }
        check_manifest(folder)?;
        let mut set_aside = 0;
        loop {
            let notes = damage::read_notes(folder).map_err(failed("read notes in", folder))?;
            if !notes.is_empty() {
                set_aside += heal::set_aside(folder, &Shared::new(&options), &notes)?;
            }
            let error = match open_once(folder, &options, with) {
                Ok(db) => {
                    (0..set_aside).for_each(|_| db.damages.count());
                    return Ok(db);
                }
                Err(error) => error,
            };
            match damaged_tables(folder, &options, &error)?.as_slice() {
                found @ [_, ..] if set_aside < MAX_SET_ASIDE => {
                    for (number, detail) in found {
                        let noted = damage::note_at_open(folder, *number, detail);
                        noted.map_err(failed("note damage in", folder))?;
                    }
                }
                _ => return Err(error),
            }
        }
    }
}

/// Refuses a manifest that is damaged before its end. RocksDB would take some of those for one that
/// ends there, and delete the tables that came later.
fn check_manifest(folder: &Path) -> Result<(), OpenError> {
    let Ok(current) = fs::read_to_string(folder.join("CURRENT")) else { return Ok(()) };
    let name = current.trim_end();
    let Ok(bytes) = fs::read(folder.join(name)) else { return Ok(()) };
    match log_format::damage_within(&bytes) {
        None => Ok(()),
        offset => Err(OpenError::Damaged {
            file: name.to_owned(),
            offset,
            detail: "a record is not whole, and others follow it".to_owned(),
        }),
    }
}

fn open_once(folder: &Path, options: &DbOptions, with: &CreateWith) -> Result<Db, OpenError> {
    let shared = Shared::new(options);
    let rocks = open_rocks(folder, &shared).map_err(|error| refused(folder, error))?;
    let Opened { identity, lineage, floor } = meta::identify(&rocks, folder, with)?;
    let present = read::present_days(&rocks).or_else(|error| {
        tracing::error!(%error, "the days that hold data are listed by files");
        read::days_of_files(&rocks).map_err(OpenError::RocksDb)
    })?;
    let sealing = SealStates::load(&rocks, &present, (options.clock)())?;
    let db = Db {
        rocks,
        shared,
        folder: folder.to_owned(),
        identity,
        lineage,
        clock: options.clock.clone(),
        floor: AtomicU32::new(floor.0),
        writers: RwLock::new(()),
        poison: OnceLock::new(),
        days: DayIndexes::new(options.ids_cache_bytes, present),
        shard_locks: ShardLocks::new(identity.shards),
        damages: Damages::new(),
        sealing,
    };
    db.drop_below_floor()?;
    db.rebuild_noted()?;
    Ok(db)
}

/// The table files whose damage made an open fail, each with RocksDB's words.
fn damaged_tables(
    folder: &Path,
    options: &DbOptions,
    error: &OpenError,
) -> Result<Vec<(u64, String)>, OpenError> {
    let (detail, offset) = match error {
        OpenError::Damaged { detail, offset, .. } => (detail.as_str(), *offset),
        OpenError::Db(DbError::Damaged { detail, .. }) => (detail.as_str(), None),
        OpenError::Db(DbError::Poisoned { cause, .. }) => (cause.as_str(), None),
        OpenError::RocksDb(error) => (error.as_ref(), None),
        _ => return Ok(Vec::new()),
    };
    if !detail.starts_with("Corruption") || offset.is_some() {
        return Ok(Vec::new());
    }
    let named = damage::file_in(detail).as_deref().and_then(damage::number_of_table);
    match named {
        Some(number) => Ok(vec![(number, detail.to_owned())]),
        // RocksDB blames the manifest also for tables that the manifest names and that cannot be
        // opened.
        None => heal::find_unreadable(folder, &Shared::new(options)),
    }
}

pub(super) fn open_rocks(folder: &Path, shared: &Shared) -> Result<DB, rocksdb::Error> {
    DB::open_cf_descriptors(&shared.options, folder, shared.families())
}

/// Why RocksDB did not open, with the damaged file where there is one.
pub(super) fn refused(folder: &Path, error: rocksdb::Error) -> OpenError {
    if error.kind() != ErrorKind::Corruption {
        return OpenError::RocksDb(error);
    }
    let named = damage::file_in(error.as_ref()).map(|name| (folder.join(&name), name));
    let (file, offset) = match named {
        Some((path, name)) => {
            let offset = fs::read(path).ok().and_then(|bytes| log_format::first_damage(&bytes));
            (name, offset.filter(|_| !damage_is_in_table(error.as_ref())))
        }
        None => find_damaged_log(folder).unwrap_or_else(|| ("the database".to_owned(), None)),
    };
    OpenError::Damaged { file, offset, detail: error.into_string() }
}

fn damage_is_in_table(message: &str) -> bool {
    damage::file_in(message).is_some_and(|name| damage::number_of_table(&name).is_some())
}

/// The first of manifest and logs that is not whole.
fn find_damaged_log(folder: &Path) -> Option<(String, Option<u64>)> {
    let mut names: Vec<PathBuf> =
        fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    names.sort();
    names.into_iter().find_map(|path| {
        let name = path.file_name()?.to_str()?.to_owned();
        damage::file_in(&name).filter(|_| damage::number_of_table(&name).is_none())?;
        let offset = log_format::first_damage(&fs::read(&path).ok()?)?;
        Some((name, Some(offset)))
    })
}

/// The families by id, as the manifest counts them.
pub(super) fn family_id(family: Family) -> u32 {
    family as u32
}
