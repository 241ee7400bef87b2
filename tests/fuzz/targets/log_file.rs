//! Any bytes as a file of the log.

#![no_main]

use std::sync::LazyLock;

use tempfile::TempDir;

/// One folder for the whole run; each input leaves it empty.
static FOLDER: LazyLock<TempDir> = LazyLock::new(|| {
    let memory = std::path::Path::new("/dev/shm");
    let made = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() };
    made.expect("a temporary folder")
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    rangekeeper_fuzz::log::fuzz::log_file(data, FOLDER.path());
});
