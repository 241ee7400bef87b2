//! A test's folder, which can outlive a failure.

use std::path::Path;

use anyhow::{Context, Result};
use tempfile::TempDir;

/// A temporary folder. If the test fails and `RANGEKEEPER_KEEP` names a folder, it stays in there.
#[derive(Debug)]
pub struct Folder(TempDir);

impl Folder {
    /// A new folder of the test `name`.
    pub fn new(name: &str) -> Result<Self> {
        let mut builder = tempfile::Builder::new();
        let builder = builder.prefix(name);
        let folder = match std::env::var_os("RANGEKEEPER_KEEP") {
            Some(keep) => builder.tempdir_in(keep),
            None => builder.tempdir(),
        };
        Ok(Self(folder.context("failed to make a temporary folder")?))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if std::thread::panicking() && std::env::var_os("RANGEKEEPER_KEEP").is_some() {
            self.0.disable_cleanup(true);
            eprintln!("kept: {}", self.path().display());
        }
    }
}
