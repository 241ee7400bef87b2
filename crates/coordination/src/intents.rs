//! What the operator wants.
//!
//! A wish that is written again is deleted and made again, so that whoever watches the names above
//! it sees that too.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use tracing::warn;

use crate::core::Core;
use crate::follow::{Topic, read_children};
use crate::znodes::{Failure, Lifetime, Operation, Refusal, Session, Watch};
use crate::{Error, RecordError};
use rangekeeper_model::NodeId;

/// Rounds of one change: another operator, or an answer that was lost, costs one.
const ATTEMPTS: usize = 5;

/// A wish of the operator.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Intent {
    /// That a node be emptied.
    Drain(NodeId),
    /// That the map stay as it is.
    Freeze,
    /// That what froze by itself go on.
    Confirm,
    /// Settings that all nodes share.
    Config,
}

/// All wishes of the operator, each with what was written to it.
pub type Intents = BTreeMap<Intent, Bytes>;

impl Intent {
    fn path(&self, core: &Core) -> String {
        match self {
            Self::Drain(node) => format!("{}/{node}", core.paths.drain),
            Self::Freeze => format!("{}/freeze", core.paths.intent),
            Self::Confirm => format!("{}/confirm", core.paths.intent),
            Self::Config => format!("{}/config", core.paths.intent),
        }
    }

    /// The nodes that [`Self::Confirm`] says are gone for good: its payload is a list of names in
    /// JSON.
    pub fn confirmed(payload: &[u8]) -> Result<BTreeSet<NodeId>, RecordError> {
        serde_json::from_slice(payload).map_err(|error| RecordError::Malformed {
            path: "confirm".to_owned(),
            reason: error.to_string(),
        })
    }

    fn named(name: &str) -> Option<Self> {
        match name {
            "freeze" => Some(Self::Freeze),
            "confirm" => Some(Self::Confirm),
            "config" => Some(Self::Config),
            // A newer build's: it has no meaning here.
            _ => None,
        }
    }
}

/// What the operator wants.
pub(crate) struct TheIntents;

impl Topic for TheIntents {
    type Value = Intents;

    async fn read(
        core: &Core,
        session: &Arc<dyn Session>,
    ) -> Result<(Intents, Vec<Watch>), Failure> {
        let operation = "watch_intents";
        let paths = &core.paths;
        let (named, named_watch) = read_children(core, session, operation, &paths.intent).await?;
        let (drains, drains_watch) = read_children(core, session, operation, &paths.drain).await?;
        let drains = drains.into_iter().filter_map(|(name, (data, _))| {
            let node =
                name.parse().inspect_err(|error| warn!(%error, "drained is no node")).ok()?;
            Some((Intent::Drain(node), data))
        });
        let named =
            named.into_iter().filter_map(|(name, (data, _))| Some((Intent::named(&name)?, data)));
        Ok((named.chain(drains).collect(), vec![named_watch, drains_watch]))
    }
}

/// Writes a wish, in place of an earlier one.
pub(crate) async fn declare(core: &Core, intent: &Intent, payload: &Bytes) -> Result<(), Error> {
    let operation = "declare an intent";
    let path = intent.path(core);
    core.check_size(&path, payload.len())?;
    let create = Operation::create(&path, payload.clone(), Lifetime::Persistent);
    replace(core, operation, &path, Some((create, payload))).await
}

/// Takes a wish back; it is no error if there is none.
pub(crate) async fn withdraw(core: &Core, intent: &Intent) -> Result<(), Error> {
    replace(core, "withdraw an intent", &intent.path(core), None).await
}

/// Brings the node at `path` to what it is to be, however often it takes: deleted and made again,
/// so that whoever watches the children above it sees that.
async fn replace(
    core: &Core,
    operation: &'static str,
    path: &str,
    wanted: Option<(Operation, &Bytes)>,
) -> Result<(), Error> {
    let mut reason = "somebody else changes it all the time".to_owned();
    let mut is_sent = false;
    for _ in 0..ATTEMPTS {
        let session = match core.connected(operation).await {
            Err(error) if is_sent => {
                return Err(Error::Unknown { operation, reason: error.to_string() });
            }
            session => session?,
        };
        let found = match core.ask("read_intent", &session, |s| s.read(path)).await {
            Ok((data, stat)) => Some((data, stat.version)),
            Err(failure) if failure.is_no_node() => None,
            Err(failure @ Failure::Refused { .. }) => {
                return Err(Error::of(operation, path, failure));
            }
            Err(failure) => {
                reason = failure.to_string();
                continue;
            }
        };
        let is_there = found.as_ref().map(|(data, _)| data);
        if is_there == wanted.as_ref().map(|(_, payload)| *payload) {
            return Ok(());
        }
        let delete = found.map(|(_, version)| Operation::delete(path, version));
        let create = wanted.as_ref().map(|(create, _)| create.clone());
        let operations: Vec<_> = delete.into_iter().chain(create).collect();
        let replaces = operations.len() == 2 || wanted.is_none();
        match core.commit("write_intent", &session, operations).await {
            Ok(()) => return Ok(()),
            Err(Failure::Refused { refusal, .. }) => match refusal {
                Refusal::BadVersion | Refusal::NodeExists => {}
                Refusal::NoNode if replaces => {}
                Refusal::NoNode => return Err(core.not_initialized()),
                _ => return Err(Error::of(operation, path, Failure::refused(refusal))),
            },
            Err(Failure::Unsent) if !is_sent => {
                let reason = Failure::Unsent.to_string();
                return Err(Error::Unavailable { operation, reason });
            }
            Err(failure) => {
                is_sent = true;
                reason = failure.to_string();
            }
        }
    }
    Err(if is_sent {
        Error::Unknown { operation, reason }
    } else {
        Error::Unavailable { operation, reason }
    })
}
