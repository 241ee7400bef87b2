//! Opening the database.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::AtomicU32;

use parking_lot::RwLock;
use rocksdb::{DB, ErrorKind};

use super::damage::Damages;
use super::days::DayIndexes;
use super::keys::Family;
use super::options::Shared;
use super::shards::ShardLocks;
use super::{CreateWith, Db, DbError, DbOptions, OpenError, damage, heal, log_format};
use super::{meta, read};
use crate::seal::SealStates;

/// Table files that may turn out to be damaged one after the other during one open.
const MAX_SET_ASIDE: usize = 1_000;

impl Db {
    /// Opens the database in `folder`, or creates it there. Table files that were found damaged are set aside first:
    /// what can be read of them is kept, and the rest is recorded as damaged. Any other damage refuses to open and
    /// changes nothing. Expired data is dropped again.
    pub fn open(folder: &Path, options: DbOptions, with: &CreateWith) -> Result<Self, OpenError> {
        fs::create_dir_all(folder).map_err(|source| OpenError::Folder {
            operation: "create",
            path: folder.to_owned(),
            source,
        })?;
        let shared = Shared::new(&options);
        let (rocks, set_aside) = open_healed(folder, &shared)?;
        let identity = meta::identify(&rocks, with)?;
        let floor = rocks.get(meta::FLOOR).map_err(|e| DbError::of_read("read meta", None, e))?;
        let floor = match floor.as_deref().map(meta::u32_of) {
            Some(None) => return Err(OpenError::Identity { record: "floor" }),
            Some(Some(floor)) => floor,
            None => 0,
        };
        let sealing = SealStates::load(&rocks, (options.clock)())?;
        let present = read::present_days(&rocks).or_else(|error| {
            tracing::error!(%error, "the days that hold data are listed by files");
            read::days_of_files(&rocks).map_err(OpenError::RocksDb)
        })?;
        let db = Self {
            rocks,
            shared,
            folder: folder.to_owned(),
            identity,
            clock: options.clock,
            floor: AtomicU32::new(floor),
            writers: RwLock::new(()),
            poison: OnceLock::new(),
            days: DayIndexes::new(options.ids_cache_bytes, present),
            shard_locks: ShardLocks::new(identity.shards),
            damages: Damages::new(),
            sealing,
        };
        for _ in 0..set_aside {
            db.damages.count();
        }
        db.drop_below_floor()?;
        Ok(db)
    }
}

/// Opens RocksDB; table files that are noted as damaged, or that RocksDB names as such, are set aside. Returns how many
/// there were.
fn open_healed(folder: &Path, shared: &Shared) -> Result<(DB, usize), OpenError> {
    let mut set_aside = 0;
    loop {
        let notes = damage::read_notes(folder).map_err(|source| OpenError::Folder {
            operation: "read the notes of damage in",
            path: folder.to_owned(),
            source,
        })?;
        if !notes.is_empty() {
            set_aside += heal::set_aside(folder, shared, &notes)?;
        }
        let error = match open_rocks(folder, shared) {
            Ok(rocks) => return Ok((rocks, set_aside)),
            Err(error) => error,
        };
        let number = damage::file_in(error.as_ref()).as_deref().and_then(damage::number_of_table);
        match number {
            Some(number) if error.kind() == ErrorKind::Corruption && set_aside < MAX_SET_ASIDE => {
                damage::note_at_open(folder, number, error.as_ref()).map_err(|source| {
                    OpenError::Folder {
                        operation: "note damage in",
                        path: folder.to_owned(),
                        source,
                    }
                })?;
            }
            _ => return Err(refused(folder, error)),
        }
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
