//! Opening a store, in DESIGN.md's order: lock the folder, open and check the database, check and
//! replay the log.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use rangekeeper_model::RunId;

use super::engine::Engine;
use super::options::{Clock, StoreOptions};
use super::recovery::{ReplayProgress, replay};
use super::{StoreError, retention};
use crate::db::{CreateWith, Db, DbError, DbOptions, OnDamage, OpenError};
use crate::head::Head;
use crate::log::{Checkpoints, Log, LogOptions, Position};

/// Table files that may turn out to be damaged one after the other while the log is replayed.
const MAX_SET_ASIDE: usize = 100;

impl Engine {
    /// Opens the store in the options' folder, or creates it there.
    pub(super) fn open(
        options: &StoreOptions,
        clock: &Clock,
        run: RunId,
        progress: &ReplayProgress,
    ) -> Result<Arc<Self>, StoreError> {
        let lock = lock_folder(&options.dir)?;
        for _ in 0..MAX_SET_ASIDE {
            match Self::open_once(options, clock, run, progress) {
                // The file is noted now, and opening the database sets it aside.
                Err(StoreError::Database(error @ DbError::Damaged { file: Some(_), .. })) => {
                    tracing::error!(%error, "the store is opened again without the damaged file");
                }
                opened => return Ok(Arc::new(opened?.with_lock(lock))),
            }
        }
        Ok(Arc::new(Self::open_once(options, clock, run, progress)?.with_lock(lock)))
    }

    fn open_once(
        options: &StoreOptions,
        clock: &Clock,
        run: RunId,
        progress: &ReplayProgress,
    ) -> Result<Self, StoreError> {
        let (db, is_whole) = open_database(options, clock, run)?;
        let stripes = Head::new(db.identity().seed, db.identity().shards).stripe_count();
        let mut checkpoints = Vec::with_capacity(stripes);
        for stripe in 0..stripes {
            let stripe = u16::try_from(stripe).expect("few stripes");
            checkpoints.push(Position(db.checkpoint(stripe)?.unwrap_or(0)));
        }
        let (log, recovery) = open_log(options, &db, &checkpoints)?;
        let newest_ms = db.newest_ms()?.unwrap_or(0);
        if let Some(cut) = &recovery.cut {
            tracing::warn!(?cut, "cut a write off the log that was never synced");
        }
        let engine = Self::new(options.clone(), clock.clone(), db, (log, checkpoints), newest_ms);
        retention::load(&engine)?;
        engine.load_account(recovery.last)?;
        engine.begin_run()?;
        let replayed = replay(&engine, &recovery.files, progress)?;
        tracing::info!(
            samples = replayed.samples,
            series = engine.head.series(),
            files = recovery.files.len(),
            "the log is replayed"
        );
        if replayed.nameless > 0 && !options.accept_loss {
            let damage = engine.db.damaged_ranges()?.into_iter().map(|range| range.detail);
            return Err(StoreError::Nameless {
                samples: replayed.nameless,
                damage: damage.collect(),
            });
        }
        let losses: Vec<_> = recovery.losses.iter().chain(&replayed.losses).collect();
        let is_lossy = !losses.is_empty() || replayed.nameless > 0;
        if !is_whole {
            engine.suspect()?;
        }
        if is_lossy {
            tracing::error!(?losses, nameless = replayed.nameless, "opened with a loss");
            let nameless = usize::from(replayed.nameless > 0);
            (0..losses.len() + nameless).for_each(|_| engine.db.count_damage());
            engine.suspect()?;
        }
        if is_lossy || engine.db.checkpoints_are_doubtful()? {
            // Damaged files go, and checkpoints are right again, only when everything that the log
            // gave is in the database.
            engine.checkpoint_all()?;
            engine.db.trust_checkpoints()?;
            engine.log().set_aside(&recovery.unreadable)?;
        }
        Ok(engine)
    }
}

/// Takes the folder for this process alone, until the file is closed.
fn lock_folder(dir: &Path) -> Result<File, StoreError> {
    let failed = |operation: &'static str, path: &Path| {
        let path = path.display().to_string();
        move |source| StoreError::Folder { operation, path, source }
    };
    fs::create_dir_all(dir).map_err(failed("create", dir))?;
    let path = dir.join("LOCK");
    let file = File::create(&path).map_err(failed("create", &path))?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StoreError::Locked(dir.display().to_string())),
        Err(errno) => Err(failed("lock", &path)(errno.into())),
    }
}

/// Opens the database; says whether that went without a loss that had to be accepted.
fn open_database(
    options: &StoreOptions,
    clock: &Clock,
    run: RunId,
) -> Result<(Db, bool), StoreError> {
    let of_database = clock.clone();
    let mut db = DbOptions::new(Arc::new(move || of_database.now_ms()));
    db.memory_bytes = options.cache_bytes;
    db.background_jobs = i32::from(options.database_threads);
    let cluster = options.cluster;
    let create = CreateWith {
        store_id: uuid::Uuid::new_v4().as_u128(),
        seed: cluster.map_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0, |of| of.seed),
        shards: cluster.map_or(options.shards, |of| of.shards),
        expect_seed: cluster.map(|of| of.seed),
        expect_shards: cluster.map(|of| of.shards),
        cluster: cluster.map(|of| of.cluster),
        run,
    };
    let folder = options.dir.join("db");
    match Db::open(&folder, db.clone(), &create) {
        Err(OpenError::Damaged { .. } | OpenError::RocksDb(_)) if options.accept_loss => {
            db.on_damage = OnDamage::AcceptLoss;
            Ok((Db::open(&folder, db, &create)?, false))
        }
        opened => Ok((opened?, true)),
    }
}

/// Opens the log beside the database `db`.
pub(super) fn open_log(
    options: &StoreOptions,
    db: &Db,
    checkpoints: &[Position],
) -> Result<(Log, crate::log::Recovery), StoreError> {
    let checkpoints = Checkpoints {
        lowest: checkpoints.iter().copied().min().unwrap_or_default(),
        highest: checkpoints.iter().copied().max().unwrap_or_default(),
        doubtful: db.checkpoints_are_doubtful()?,
    };
    let log = LogOptions {
        durability: options.durability,
        file_bytes: options.log_file_bytes,
        accept_loss: options.accept_loss,
        ..LogOptions::default()
    };
    let store = db.identity().store_id.to_be_bytes();
    Ok(Log::open(&options.dir.join("log"), store, checkpoints, log)?)
}
