//! The cluster's beginning, its settings, and whether we may do what we will have to.

use std::sync::Arc;

use bytes::Bytes;
use tracing::info;
use uuid::Uuid;

use crate::core::Core;
use crate::publish::{Change, apply};
use crate::record::{decode, encode};
use crate::znodes::{Failure, Lifetime, Operation, Refusal, Session};
use crate::{Cluster, Error, Version};

/// Attempts to settle one `init` whose outcome is not known.
const ATTEMPTS: usize = 5;

impl Core {
    pub(crate) fn not_initialized(&self) -> Error {
        Error::NotInitialized { root: self.paths.root.clone() }
    }
}

/// Makes the cluster: everything in one transaction, or nothing where a cluster is.
pub(crate) async fn init(core: &Core, cluster: &Cluster) -> Result<(), Error> {
    let operation = "make a cluster";
    let paths = &core.paths;
    let mut reason = "somebody else makes one all the time".to_owned();
    for _ in 0..ATTEMPTS {
        let session = core.connected(operation).await?;
        // Looked for first: below the root of a foreign cluster nothing is tried.
        match read(core).await {
            Ok((found, _)) if found.uuid == cluster.uuid => return core.pin_cluster(found.uuid),
            Ok((found, _)) => {
                let root = paths.root.clone();
                return Err(Error::AlreadyInitialized { root, uuid: found.uuid });
            }
            Err(Error::NotInitialized { .. }) => {}
            Err(error) => return Err(error),
        }
        match make_root(core, &session).await {
            Ok(()) => {}
            Err((path, failure @ Failure::Refused { .. })) => {
                return Err(Error::of(operation, path, failure));
            }
            Err((_, failure)) => {
                reason = failure.to_string();
                continue;
            }
        }
        let empty = |path: &str| Operation::create(path, Bytes::new(), Lifetime::Persistent);
        let operations = vec![
            Operation::create(&paths.cluster, encode(cluster), Lifetime::Persistent),
            empty(&paths.nodes),
            empty(&paths.term),
            empty(&paths.assignment),
            empty(&paths.intent),
            empty(&paths.drain),
        ];
        match core.commit(operation, &session, operations).await {
            Ok(()) => {
                info!(cluster = %cluster.uuid, root = paths.root, "made a cluster");
                return core.pin_cluster(cluster.uuid);
            }
            Err(Failure::Refused { index, refusal: Refusal::NodeExists }) if index > 0 => {
                // The rest of a cluster whose settings were deleted: not ours to build upon.
                let path = paths.root.clone();
                return Err(Error::Refused { operation, path, refusal: Refusal::NodeExists });
            }
            // Somebody was faster, perhaps we: looked at above.
            Err(Failure::Refused { refusal: Refusal::NodeExists, .. }) => {}
            Err(failure @ Failure::Refused { .. }) => {
                return Err(Error::of(operation, &paths.root, failure));
            }
            Err(failure) => reason = failure.to_string(),
        }
    }
    Err(Error::Unknown { operation, reason })
}

/// Makes the root and what is above it, as far as it is not there.
async fn make_root<'a>(
    core: &'a Core,
    session: &Arc<dyn Session>,
) -> Result<(), (&'a str, Failure)> {
    for path in core.paths.root_and_above() {
        let create = vec![Operation::create(path, Bytes::new(), Lifetime::Persistent)];
        match core.commit("make_root", session, create).await {
            Ok(()) | Err(Failure::Refused { refusal: Refusal::NodeExists, .. }) => {}
            // A parent that is others' may be there and closed to us.
            Err(Failure::Refused { refusal: Refusal::NoAuth, .. }) if path != core.paths.root => {}
            Err(failure) => return Err((path, failure)),
        }
    }
    Ok(())
}

/// Reads what the cluster is.
pub(crate) async fn read(core: &Core) -> Result<(Cluster, Version), Error> {
    let operation = "read the cluster";
    let session = core.connected(operation).await?;
    let path = &core.paths.cluster;
    match core.ask("read_cluster", &session, |s| s.read(path)).await {
        Ok((data, stat)) => Ok((decode(path, &data)?, Version(stat.version))),
        Err(failure) if failure.is_no_node() => Err(core.not_initialized()),
        Err(failure) => Err(Error::of(operation, path, failure)),
    }
}

/// Changes what the cluster is, if it still is what was read at `expected`.
pub(crate) async fn change(
    core: &Core,
    expected: Version,
    cluster: &Cluster,
) -> Result<Version, Error> {
    let path = &core.paths.cluster;
    let payload = encode(cluster);
    apply(
        core,
        &Change { operation: "change_cluster", path, expected, payload: &payload, term: None },
    )
    .await
}

/// Creates, reads and deletes a node. A wrong password or a missing right shows in no other way
/// until something has to be written.
pub(crate) async fn self_test(core: &Core, probe: Uuid) -> Result<(), Error> {
    let session = core.connected("test access").await?;
    let path = format!("{}/probe-{probe}", core.paths.root);
    let refused = |operation: &'static str, failure: Failure| match failure {
        failure if failure.is_no_node() => core.not_initialized(),
        failure => Error::of(operation, &path, failure),
    };
    // Ephemeral: should it stay, it goes with the session.
    let create = vec![Operation::create(&path, Bytes::new(), Lifetime::Ephemeral)];
    core.commit("test_create", &session, create)
        .await
        .map_err(|failure| refused("create a probe", failure))?;
    let (_, stat) = core
        .ask("test_read", &session, |s| s.read(&path))
        .await
        .map_err(|failure| refused("read a probe", failure))?;
    core.commit("test_delete", &session, vec![Operation::delete(&path, stat.version)])
        .await
        .map_err(|failure| refused("delete a probe", failure))
}
