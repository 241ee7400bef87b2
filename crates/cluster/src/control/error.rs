//! What can keep a node from joining its cluster.

use std::path::PathBuf;

use uuid::Uuid;

/// A node could not join, or could not keep what it knows.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// No ensemble answered, and the folder does not know the cluster either.
    #[error(
        "join the cluster: ZooKeeper does not answer, and {} knows no cluster",
        folder.display()
    )]
    Unknown {
        /// The data folder.
        folder: PathBuf,
        /// What kept ZooKeeper from answering.
        #[source]
        source: rangekeeper_coordination::Error,
    },
    /// The ensemble answered and does not let this node in.
    #[error("join the cluster")]
    Refused(#[source] rangekeeper_coordination::Error),
    /// The folder belongs to another cluster than the one that the ensemble has.
    #[error("join cluster {found}: the data in {} belongs to cluster {expected}", folder.display())]
    OtherCluster {
        /// The data folder.
        folder: PathBuf,
        /// Whose data that is.
        expected: Uuid,
        /// What the ensemble has.
        found: Uuid,
    },
    /// A file of the data folder could not be read or written.
    #[error("{operation} {}", path.display())]
    File {
        /// What was to be done.
        operation: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
}
