//! What the store is and what it dropped, once more, in a small file beside the database: of all
//! records of `meta` these two cannot be made again, and a damaged table must not cost the store
//! its identity or bring back expired days.
//!
//! ```text
//! ┌────────────┬────────────┬──────────────────────────────────────┬───────────┬────────────┐
//! │ "RKSTORE1" │ format u32 │ the record `identity`, as `meta` has │ floor u32 │ crc32c u32 │
//! └────────────┴────────────┴──────────────────────────────────────┴───────────┴────────────┘
//! ```

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::Path;

use super::OpenError;

const FILE: &str = "STORE";
const NEW_FILE: &str = "STORE.new";
const MAGIC: &[u8; 8] = b"RKSTORE1";

/// The contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct IdentityFile {
    pub(super) format: u32,
    /// As the record of `meta` has it.
    pub(super) identity: Vec<u8>,
    pub(super) floor: u32,
}

impl IdentityFile {
    /// Reads the file of `folder`; `None` where there is none, or none that is whole.
    pub(super) fn read(folder: &Path) -> Result<Option<Self>, OpenError> {
        match fs::read(folder.join(FILE)) {
            Ok(bytes) => Ok(decode(&bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(failed("read the identity file in", folder)(source)),
        }
    }

    /// Puts it in the place of the one that is there; synced when it returns.
    pub(super) fn write(&self, folder: &Path) -> std::io::Result<()> {
        let new = folder.join(NEW_FILE);
        let mut file = fs::File::create(&new)?;
        file.write_all(&self.encode())?;
        file.sync_all()?;
        fs::rename(&new, folder.join(FILE))?;
        fs::File::open(folder)?.sync_all()
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&self.format.to_le_bytes());
        bytes.extend_from_slice(&self.identity);
        bytes.extend_from_slice(&self.floor.to_le_bytes());
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        bytes
    }
}

fn decode(bytes: &[u8]) -> Option<IdentityFile> {
    let (content, crc) = bytes.split_last_chunk()?;
    if crc32c::crc32c(content) != u32::from_le_bytes(*crc) {
        return None;
    }
    let (format, rest) = content.strip_prefix(MAGIC)?.split_first_chunk()?;
    let (identity, floor) = rest.split_last_chunk()?;
    Some(IdentityFile {
        format: u32::from_le_bytes(*format),
        identity: identity.to_vec(),
        floor: u32::from_le_bytes(*floor),
    })
}

pub(super) fn failed(
    operation: &'static str,
    folder: &Path,
) -> impl Fn(std::io::Error) -> OpenError {
    move |source| OpenError::Folder { operation, path: folder.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_whole_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let file = IdentityFile { format: 1, identity: vec![3; 45], floor: 9 };
        assert_eq!(IdentityFile::read(folder.path()).unwrap(), None);
        file.write(folder.path()).unwrap();
        assert_eq!(IdentityFile::read(folder.path()).unwrap(), Some(file.clone()));
        for at in 0..file.encode().len() {
            let mut bytes = file.encode();
            bytes[at] ^= 2;
            assert_eq!(decode(&bytes), None);
        }
    }
}
