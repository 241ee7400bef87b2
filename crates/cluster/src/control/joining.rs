//! Learning what the cluster is, before the store is opened: its seed and shards make one.

use std::path::Path;
use std::time::Duration;

use rangekeeper_coordination::{Cluster, Coordination, Error};
use rangekeeper_model::ErrorClass;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::warn;

use super::ControlError;
use super::folder::Folder;

/// Between two questions to an ensemble that does not answer. Each waits by itself first.
const PAUSE: Duration = Duration::from_millis(100);

/// What the cluster is: as ZooKeeper says within `wait`, which is kept in `folder`; else as that
/// has it.
///
/// An ensemble that answers and has no cluster, or closes its doors, does not stop a node that
/// belonged to one: it is away, as one that does not answer. One that has *another* cluster does.
pub async fn join(
    coordination: &Coordination,
    folder: &Path,
    wait: Duration,
) -> Result<Cluster, ControlError> {
    let files = Folder::new(folder);
    let cached = blocking(&files, Folder::cluster).await?;
    match (ask(coordination, Instant::now() + wait).await, cached) {
        (Ok(found), Some(cached)) if cached.uuid != found.uuid => {
            let (expected, found) = (cached.uuid, found.uuid);
            Err(ControlError::OtherCluster { folder: folder.to_owned(), expected, found })
        }
        (Ok(found), cached) => {
            if cached.as_ref() != Some(&found) {
                let kept = found.clone();
                blocking(&files, move |files| files.keep_cluster(&kept)).await?;
            }
            Ok(found)
        }
        (Err(error @ Error::OtherCluster { .. }), _) => Err(ControlError::Refused(error)),
        (Err(error), Some(cached)) => {
            warn!(%error, cluster = %cached.uuid, "starting with what the folder knows");
            Ok(cached)
        }
        (Err(source), None) if source.class() == ErrorClass::Unavailable => {
            Err(ControlError::Unknown { folder: folder.to_owned(), source })
        }
        (Err(error), None) => Err(ControlError::Refused(error)),
    }
}

/// Asks until there is an answer that stands, or no time left.
async fn ask(coordination: &Coordination, deadline: Instant) -> Result<Cluster, Error> {
    let mut last = Error::Unavailable {
        operation: "read the cluster",
        reason: "no server answered in time".to_owned(),
    };
    loop {
        match timeout_at(deadline, coordination.cluster()).await {
            Ok(Ok((cluster, _))) => return Ok(cluster),
            Ok(Err(error)) if error.class() != ErrorClass::Unavailable => return Err(error),
            Ok(Err(error)) => last = error,
            Err(_) => return Err(last),
        }
        if timeout_at(deadline, sleep(PAUSE)).await.is_err() {
            return Err(last);
        }
    }
}

/// Does `work` with the files where that may block.
pub(super) async fn blocking<T: Send + 'static>(
    files: &Folder,
    work: impl FnOnce(&Folder) -> T + Send + 'static,
) -> T {
    let files = files.clone();
    let done = tokio::task::spawn_blocking(move || work(&files)).await;
    done.expect("it does not panic, and nobody aborts it")
}
