//! What nodes follow: the map, who leads, who is registered.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use tracing::warn;

use crate::core::Core;
use crate::follow::{Topic, read_children, read_or_absent};
use crate::record::decode;
use crate::registration::incarnation_of;
use crate::znodes::{Content, Failure, Session, Watch};
use crate::{Error, Leader, RecordError, Registration, Version};
use rangekeeper_model::{Incarnation, NodeId};

/// The map as it lies in the ensemble.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Assignment {
    /// Its node is gone, though there is a cluster: an operator has to restore it. Nobody publishes
    /// a new one over this.
    Missing,
    /// None was published yet.
    Unpublished(Version),
    /// What was published last.
    Published {
        /// What the next publish expects.
        version: Version,
        /// What was published.
        payload: Bytes,
    },
}

/// A node that is registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Which registration of the node this is.
    pub incarnation: Incarnation,
    /// What it says of itself.
    pub registration: Registration,
}

/// All nodes that are registered. **Nobody in it says nothing of nobody being alive**: after an
/// outage of the ensemble many may be missing for a while.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// By name.
    pub members: BTreeMap<NodeId, Member>,
    /// Those whose registration this build cannot read, by what their node is called.
    pub unreadable: BTreeMap<String, RecordError>,
}

impl Assignment {
    fn of(content: Option<Content>) -> Self {
        match content {
            None => Self::Missing,
            Some((payload, stat)) if payload.is_empty() => Self::Unpublished(Version(stat.version)),
            Some((payload, stat)) => Self::Published { version: Version(stat.version), payload },
        }
    }
}

/// Reads the map once.
pub(crate) async fn read_assignment(core: &Core) -> Result<Assignment, Error> {
    let operation = "read the assignment";
    let session = core.connected(operation).await?;
    let path = &core.paths.assignment;
    match core.ask("read_assignment", &session, |s| s.read(path)).await {
        Ok(content) => Ok(Assignment::of(Some(content))),
        Err(failure) if failure.is_no_node() => Ok(Assignment::of(None)),
        Err(failure) => Err(Error::of(operation, path, failure)),
    }
}

/// The map.
pub(crate) struct TheAssignment;

impl Topic for TheAssignment {
    type Value = Assignment;

    async fn read(
        core: &Core,
        session: &Arc<dyn Session>,
    ) -> Result<(Assignment, Vec<Watch>), Failure> {
        let path = &core.paths.assignment;
        let (content, watch) = read_or_absent(core, session, "watch_assignment", path).await?;
        Ok((Assignment::of(content), vec![watch]))
    }

    fn watched(core: &Core, is_watched: bool) {
        if is_watched {
            core.metrics.assignment_watched();
        } else {
            core.metrics.assignment_unwatched();
        }
    }
}

/// Who leads.
pub(crate) struct TheLeader;

impl Topic for TheLeader {
    type Value = Option<Leader>;

    async fn read(
        core: &Core,
        session: &Arc<dyn Session>,
    ) -> Result<(Option<Leader>, Vec<Watch>), Failure> {
        let path = &core.paths.leader;
        let (content, watch) = read_or_absent(core, session, "watch_leader", path).await?;
        let leader = content.and_then(|(data, _)| {
            decode(path, &data).inspect_err(|error| warn!(%error, "failed to read who leads")).ok()
        });
        Ok((leader, vec![watch]))
    }
}

/// Who is registered.
pub(crate) struct TheMembers;

impl Topic for TheMembers {
    type Value = Members;

    async fn read(
        core: &Core,
        session: &Arc<dyn Session>,
    ) -> Result<(Members, Vec<Watch>), Failure> {
        let path = &core.paths.nodes;
        let (children, watch) = read_children(core, session, "watch_members", path).await?;
        let mut members = Members::default();
        for (name, (data, stat)) in children {
            match decode::<Registration>(&format!("{path}/{name}"), &data) {
                Ok(registration) => {
                    let incarnation = incarnation_of(stat.czxid);
                    let member = Member { incarnation, registration };
                    members.members.insert(member.registration.node.clone(), member);
                }
                Err(error) => {
                    members.unreadable.insert(name, error);
                }
            }
        }
        Ok((members, vec![watch]))
    }
}
