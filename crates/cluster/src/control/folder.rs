//! What a node keeps of its cluster in the data folder, for a start without ZooKeeper: what the
//! cluster is (`cluster`) and its last map (`assignment`).
//!
//! `assignment` is the encoding of the map, which has its own checksum. `cluster` is one line with
//! the crc32c of the rest in hexadecimal, then the record as JSON. A file that is not whole is as
//! good as none: it is said and ignored, since ZooKeeper and the peers have the same.
//!
//! **Invariant:** each file is replaced whole: written beside, synced, renamed, and the folder
//! synced, so that a crash leaves the old one or the new one.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use rangekeeper_coordination::Cluster;
use rangekeeper_placement::Assignment;
use tracing::warn;

use super::ControlError;

const ASSIGNMENT: &str = "assignment";
const CLUSTER: &str = "cluster";

/// The files of a data folder that are the agent's. Its methods block.
#[derive(Clone, Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// The last map that was applied here, if there is one that is whole.
    pub(super) fn assignment(&self) -> Result<Option<(Assignment, Vec<u8>)>, ControlError> {
        let Some(bytes) = self.read(ASSIGNMENT)? else { return Ok(None) };
        match Assignment::decode(&bytes) {
            Ok(assignment) => Ok(Some((assignment, bytes))),
            Err(error) => {
                let path = self.0.join(ASSIGNMENT);
                warn!(path = %path.display(), %error, "the cached assignment is not used");
                Ok(None)
            }
        }
    }

    /// Keeps a map in place of the last one; it is on disk when this returns.
    pub(super) fn keep_assignment(&self, encoded: &[u8]) -> Result<(), ControlError> {
        self.replace(ASSIGNMENT, encoded)
    }

    /// What the cluster is, if that is known.
    pub(super) fn cluster(&self) -> Result<Option<Cluster>, ControlError> {
        let Some(bytes) = self.read(CLUSTER)? else { return Ok(None) };
        let cluster = decode(&bytes);
        if cluster.is_none() {
            let path = self.0.join(CLUSTER);
            warn!(path = %path.display(), "the cached record of the cluster is damaged, not used");
        }
        Ok(cluster)
    }

    /// Keeps what the cluster is.
    pub(super) fn keep_cluster(&self, cluster: &Cluster) -> Result<(), ControlError> {
        self.replace(CLUSTER, &encode(cluster))
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, ControlError> {
        let path = self.0.join(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(ControlError::File { operation: "read", path, source }),
        }
    }

    fn replace(&self, name: &str, content: &[u8]) -> Result<(), ControlError> {
        let path = self.0.join(name);
        let replaced = || -> io::Result<()> {
            // The store makes the folder too; whoever comes first.
            fs::create_dir_all(&self.0)?;
            let beside = self.0.join(format!("{name}.new"));
            let mut file = File::create(&beside)?;
            file.write_all(content)?;
            file.sync_all()?;
            fs::rename(&beside, &path)?;
            File::open(&self.0)?.sync_all()
        };
        replaced().map_err(|source| ControlError::File { operation: "replace", path, source })
    }
}

fn encode(cluster: &Cluster) -> Vec<u8> {
    let record = serde_json::to_vec(cluster).expect("a record has strings as keys");
    let mut bytes = format!("{:08x}\n", crc32c::crc32c(&record)).into_bytes();
    bytes.extend(record);
    bytes
}

fn decode(bytes: &[u8]) -> Option<Cluster> {
    let (crc, record) = bytes.split_at_checked(9)?;
    let is_whole = crc == format!("{:08x}\n", crc32c::crc32c(record)).as_bytes();
    is_whole.then(|| serde_json::from_slice(record).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster() -> Cluster {
        Cluster {
            uuid: uuid::Uuid::from_u128(7),
            generation: 1,
            shards: 16,
            hash: "xxh3-128".to_owned(),
            hash_seed: 99,
            replication: 3,
            expect: 3,
            adopted: false,
            format_level: 1,
        }
    }

    #[test]
    fn what_is_kept_is_found_again_and_what_was_changed_is_not_used() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = Folder::new(&temporary.path().join("data"));
        assert!(folder.cluster().unwrap().is_none() && folder.assignment().unwrap().is_none());
        folder.keep_cluster(&cluster()).unwrap();
        assert_eq!(folder.cluster().unwrap(), Some(cluster()));
        let path = temporary.path().join("data").join(CLUSTER);
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(&path, bytes).unwrap();
            assert_eq!(folder.cluster().unwrap(), None, "byte {at}");
        }
    }
}
