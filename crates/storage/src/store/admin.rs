//! What an operator asks for: sealing everything now, and copies.

use std::fs;
use std::path::Path;

use super::StoreError;
use super::engine::Engine;

impl Engine {
    /// Writes everything to the database and seals all of it, so that the files are as small as
    /// they get; series that are idle leave memory.
    pub(super) fn seal_all(&self) -> Result<(), StoreError> {
        let _alone = self.maintenance.lock();
        // The file that is written now is closed, so that it can go too.
        self.log().rotate()?.wait()?;
        self.keep_account()?;
        self.checkpoint_all()?;
        self.evict_idle();
        self.db.seal_all_now(&|| self.is_stopping())?;
        self.finish_round()?;
        Ok(())
    }

    /// Writes a copy that opens as a store into `folder`: RocksDB's checkpoint first, then the log
    /// up to now. What the copy of the database lacks is in the copy of the log.
    pub(super) fn snapshot(&self, folder: &Path) -> Result<(), StoreError> {
        let failed = |operation: &'static str, path: &Path| {
            let path = path.display().to_string();
            move |source| StoreError::Folder { operation, path, source }
        };
        // Nothing checkpoints meanwhile, so no log file goes.
        let _alone = self.maintenance.lock();
        fs::create_dir(folder).map_err(failed("create", folder))?;
        self.db.snapshot(&folder.join("db"))?;
        self.log().rotate()?.wait()?;
        let log = folder.join("log");
        fs::create_dir(&log).map_err(failed("create", &log))?;
        for file in self.log().files().into_iter().filter(|file| file.closed) {
            let name = file.path.file_name().expect("a log file has a name");
            let copy = log.join(name);
            // Closed files never change: a link is a copy, where the file system allows it.
            if fs::hard_link(&file.path, &copy).is_err() {
                fs::copy(&file.path, &copy).map_err(failed("copy to", &copy))?;
            }
            let copied = fs::File::open(&copy).map_err(failed("open", &copy))?;
            copied.sync_all().map_err(failed("sync", &copy))?;
        }
        for path in [log.as_path(), folder] {
            let dir = fs::File::open(path).map_err(failed("open", path))?;
            dir.sync_all().map_err(failed("sync", path))?;
        }
        Ok(())
    }
}
