//! Writing the map, fenced by the term.

use bytes::Bytes;
use tracing::warn;

use crate::Error;
use crate::core::Core;
use rangekeeper_model::Term;

use crate::election::version_of;
use crate::znodes::{Failure, Operation, Refusal};

/// Attempts to settle one write whose outcome is not known. Each waits for a connection as long as
/// a request may take.
const ATTEMPTS: usize = 5;

/// What a conditional change expects: how often the node was changed since it was made. Not a
/// measure of age: it starts again when the node is made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Version(pub i32);

/// A change of the content of one node.
pub(crate) struct Change<'a> {
    pub(crate) operation: &'static str,
    pub(crate) path: &'a str,
    pub(crate) expected: Version,
    pub(crate) payload: &'a Bytes,
    /// The term that must still last.
    pub(crate) term: Option<Term>,
}

/// Carries out the change, or says surely that it was not. An unknown outcome is settled by looking
/// for this very payload, so no two changes may have equal ones; and where it is not to be seen,
/// by trying again: if the first attempt arrives after all, only one of both is carried out.
pub(crate) async fn apply(core: &Core, change: &Change<'_>) -> Result<Version, Error> {
    let Change { operation, path, expected, payload, term } = *change;
    core.check_size(path, payload.len())?;
    let mut reason = String::new();
    for attempt in 0..ATTEMPTS {
        let session = match core.connected(operation).await {
            Ok(session) => session,
            // Something may have been sent before.
            Err(error) if attempt > 0 => {
                return Err(Error::Unknown { operation, reason: error.to_string() });
            }
            Err(error) => return Err(error),
        };
        let fence = term.map(|term| Operation::Check {
            path: core.paths.term.clone(),
            version: version_of(term),
        });
        let set = Operation::set(path, payload.clone(), expected.0);
        let operations = fence.into_iter().chain([set]).collect();
        match core.commit(operation, &session, operations).await {
            Ok(()) => return Ok(Version(expected.0 + 1)),
            Err(Failure::Refused { index, refusal }) => {
                let refused = refusal_of(core, change, index, refusal);
                // An earlier attempt may be what changed it.
                let may_be_ours = attempt > 0 && refusal == Refusal::BadVersion;
                if may_be_ours && let Some(version) = settle(core, change).await? {
                    return Ok(version);
                }
                return Err(refused);
            }
            Err(Failure::Unsent) if attempt == 0 => {
                let reason = Failure::Unsent.to_string();
                return Err(Error::Unavailable { operation, reason });
            }
            Err(failure) => {
                warn!(operation, %failure, "whether it was written is not known, reading");
                reason = failure.to_string();
                if let Ok(Some(version)) = settle(core, change).await {
                    return Ok(version);
                }
            }
        }
    }
    Err(Error::Unknown { operation, reason })
}

/// The version under which the payload is there, if it is.
async fn settle(core: &Core, change: &Change<'_>) -> Result<Option<Version>, Error> {
    let session = core.connected(change.operation).await?;
    let path = change.path;
    match core.ask("read_back", &session, |s| s.read(path)).await {
        Ok((data, stat)) => Ok((data == *change.payload).then_some(Version(stat.version))),
        Err(failure) => {
            Err(Error::Unknown { operation: change.operation, reason: failure.to_string() })
        }
    }
}

fn refusal_of(core: &Core, change: &Change<'_>, index: usize, refusal: Refusal) -> Error {
    let path = change.path.to_owned();
    match (refusal, change.term) {
        (Refusal::BadVersion, Some(term)) if index == 0 => Error::NotLeader { term: term.0 },
        (Refusal::BadVersion, _) => Error::Conflict { path, expected: change.expected },
        (Refusal::NoNode, _) if index == 0 => core.not_initialized(),
        _ => Error::Refused { operation: change.operation, path, refusal },
    }
}
