//! A node's own ephemeral node: made, looked after, and made again after every loss.
//!
//! Its name may still be held by an earlier session of the same process (the client ends a session
//! by itself while the server keeps it) or of the process before. Such a node is replaced, in one
//! transaction, but only if it carries the same store id and a run that our folder has begun.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rangekeeper_model::{Incarnation, Lineage, RunId};
use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::core::Core;
use crate::record::{decode, encode};
use crate::session::{is_passing, link_changed};
use crate::znodes::{Content, Failure, Lifetime, Link, Operation, Refusal, Session};
use crate::{Error, Registration};

/// Looks at one's own name before it is left for later: creation, replacement and unknown outcomes
/// need two or three.
const ATTEMPTS: usize = 10;

/// Pause between two looks. Short: while it lasts the node is not a member.
const PAUSE: Duration = Duration::from_millis(50);

/// The registration that a node's creation stands for.
pub(crate) fn incarnation_of(czxid: i64) -> Incarnation {
    Incarnation(czxid.cast_unsigned())
}

/// Whether a node is registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Membership {
    /// Not now, and not refused: it is tried again and again.
    Pending,
    /// Registered. While the session is disconnected it is not known whether still.
    Registered(Incarnation),
    /// Somebody else has the name. Tried again now and then, because the other may go.
    Refused(Arc<Error>),
}

/// Why there is no registration now.
enum Obstacle {
    /// Ask again, perhaps in another session.
    Passing(Failure),
    /// It is somebody's decision.
    Refused(Error),
}

/// What a node registers as.
pub(crate) struct Ours {
    registration: Registration,
    payload: Bytes,
    /// The runs of its folder.
    lineage: Lineage,
}

impl Ours {
    pub(crate) fn new(registration: Registration, lineage: Lineage) -> Self {
        let payload = encode(&registration);
        Self { registration, payload, lineage }
    }
}

/// Keeps `ours` in the ensemble and tells `membership` about it.
pub(crate) async fn keep(core: Arc<Core>, ours: Ours, membership: watch::Sender<Membership>) {
    let registration = &ours.registration;
    let path = core.paths.node(&registration.node);
    let tell = |new: Membership| {
        membership.send_if_modified(|old| {
            let is_new = *old != new;
            *old = new;
            is_new
        });
    };
    while let Some(session) = core.connected_session().await {
        match establish(&core, &session, &path, &ours).await {
            Ok(incarnation) => {
                info!(node = %registration.node, incarnation = incarnation.0, "registered");
                tell(Membership::Registered(incarnation));
                if !hold(&core, &session, &path).await {
                    return;
                }
                tell(Membership::Pending);
            }
            Err(Obstacle::Passing(failure)) => {
                warn!(node = %registration.node, %failure, "failed to register, trying again");
                if !core.pause(PAUSE + core.jitter(PAUSE)).await {
                    return;
                }
            }
            Err(Obstacle::Refused(refused)) => {
                error!(error = %refused, "failed to register");
                tell(Membership::Refused(Arc::new(refused)));
                if !core.pause(core.settings.verify_interval).await {
                    return;
                }
            }
        }
    }
}

/// Makes the node ours, whatever is there.
async fn establish(
    core: &Core,
    session: &Arc<dyn Session>,
    path: &str,
    ours: &Ours,
) -> Result<Incarnation, Obstacle> {
    let operation = "register";
    let payload = &ours.payload;
    let create = || Operation::create(path, payload.clone(), Lifetime::Ephemeral);
    let refused = |refusal| match refusal {
        Refusal::NoNode => Error::NotInitialized { root: core.paths.root.clone() },
        refusal => Error::Refused { operation, path: path.to_owned(), refusal },
    };
    // The write that went before: only after a "done" is what is read surely not older.
    let mut written = core.commit(operation, session, vec![create()]).await;
    let mut replaces = false;
    let mut last = Failure::Unknown("the node changes hands all the time".to_owned());
    for _ in 0..ATTEMPTS {
        let has_written = match written {
            Ok(()) => true,
            // Somebody was faster, or we are the somebody: look.
            Err(Failure::Refused {
                refusal: Refusal::NodeExists | Refusal::BadVersion, ..
            }) => false,
            // What was to be replaced has gone by itself.
            Err(Failure::Refused { index: 0, refusal: Refusal::NoNode }) if replaces => false,
            Err(Failure::Refused { refusal, .. }) => {
                return Err(Obstacle::Refused(refused(refusal)));
            }
            Err(failure @ (Failure::Ended(_) | Failure::Unsent)) => {
                return Err(Obstacle::Passing(failure));
            }
            Err(failure @ Failure::Unknown(_)) => {
                last = failure;
                false
            }
        };
        let (data, stat) = match core.ask("read_registration", session, |s| s.read(path)).await {
            Ok(content) => content,
            Err(failure) if failure.is_no_node() => {
                replaces = false;
                written = core.commit(operation, session, vec![create()]).await;
                continue;
            }
            Err(failure) if is_passing(&failure) => return Err(Obstacle::Passing(failure)),
            Err(failure) => {
                return Err(Obstacle::Refused(Error::of("read a registration", path, failure)));
            }
        };
        let is_ours = stat.owner == session.id();
        if is_ours && data == *payload {
            return Ok(incarnation_of(stat.czxid));
        }
        if has_written && data == *payload {
            // Written under another session than the one we believe in: some servers that are not
            // ZooKeeper give a lost client a new session without a word.
            warn!("the session is not what the ensemble takes it for, opening another");
            core.renew(session);
            return Err(Obstacle::Passing(Failure::Unknown("the session was replaced".to_owned())));
        }
        if !is_ours {
            may_replace(path, &(data, stat), ours).map_err(Obstacle::Refused)?;
        }
        // A node that came between the reading and this has version 0 as well. It would be of a
        // process with our name that started in that moment, and one of us is refused right after.
        let replace = vec![Operation::delete(path, stat.version), create()];
        replaces = true;
        written = core.commit(operation, session, replace).await;
        if !matches!(written, Ok(())) && !core.pause(PAUSE).await {
            break;
        }
    }
    Err(Obstacle::Passing(last))
}

/// Whether the node that is there is an earlier one of ours.
fn may_replace(path: &str, (data, _): &Content, ours: &Ours) -> Result<(), Error> {
    let Ours { registration: ours, lineage, .. } = ours;
    let theirs: Registration = decode(path, data)?;
    if theirs.store != ours.store {
        return Err(Error::NodeTaken {
            node: ours.node.clone(),
            store: theirs.store,
            address: theirs.peer_address,
        });
    }
    // The same folder is opened by one process at a time, and notes each run before anybody is told
    // of it. Of what a copy of it has begun since, this one knows nothing, and the copy nothing of
    // what this one has.
    if lineage.contains(RunId(theirs.run)) {
        return Ok(());
    }
    Err(Error::FolderCopied {
        node: ours.node.clone(),
        address: theirs.peer_address,
        found: theirs.boot,
        boot: ours.boot,
    })
}

/// Returns when the node is not surely ours any more; `false` when the handle was closed.
async fn hold(core: &Core, session: &Arc<dyn Session>, path: &str) -> bool {
    let mut link = session.link();
    loop {
        let now = *link.borrow_and_update();
        match now {
            Link::Ended(_) => return true,
            Link::Disconnected => {
                // Cancel-safe: both only wait.
                tokio::select! {
                    () = core.stop.cancelled() => return false,
                    _ = link_changed(&mut link) => {}
                }
                continue;
            }
            Link::Connected => {}
        }
        // Looked at after every reconnect, on every change, and now and then: a server that gave us
        // another session would not say so.
        match core.ask("verify", session, |s| s.watch_presence(path)).await {
            Ok((Some(stat), changed)) if stat.owner == session.id() => {
                // Cancel-safe: all only wait; what they wait for is looked at again.
                tokio::select! {
                    () = core.stop.cancelled() => return false,
                    () = changed => {}
                    _ = link_changed(&mut link) => {}
                    () = tokio::time::sleep(core.settings.verify_interval) => {}
                }
            }
            Ok(_) => return true,
            Err(_) => {
                if !core.pause(PAUSE).await {
                    return false;
                }
            }
        }
    }
}
