//! Who leads: whoever sets `/term` and makes `/leader` in one transaction.
//!
//! The version of `/term` is the term. Every publish checks it, so a leader that slept through its
//! successor's election cannot write; nothing has to be cleaned up after one that is lost.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rangekeeper_model::{NodeId, Term};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::core::Core;
use crate::follow::read_or_absent;
use crate::record::{decode, encode};
use crate::session::link_changed;
use crate::znodes::{Failure, Lifetime, Link, Operation, Refusal, Session, Stat};
use crate::{Error, Leader};

/// The longest a candidate waits when a leader has gone, so that not all come at once.
pub(crate) const HERD_PAUSE: Duration = Duration::from_millis(200);

/// Rounds of one attempt: another candidate wins a round, or what was read was old.
const ATTEMPTS: usize = 10;

/// Pause after a round, at most.
const PAUSE: Duration = Duration::from_millis(50);

/// The term that this version of `/term` stands for.
pub(crate) fn term_of(version: i32) -> Term {
    Term(u64::from(version.cast_unsigned()))
}

/// The version of `/term` in a term. One that no version can be is nobody's.
pub(crate) fn version_of(term: Term) -> i32 {
    u32::try_from(term.0).map_or(-2, u32::cast_signed)
}

/// Who would lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its name.
    pub node: NodeId,
    /// Where nodes report to, `HOST:PORT`.
    pub address: String,
}

/// What a candidate is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// It does not lead; who does, if somebody is known to.
    Following(Option<Leader>),
    /// It leads.
    Leading(Term),
    /// It led when the connection was lost, and may still: nothing is to be published.
    Suspended(Term),
}

/// Tries once to lead. `None`: somebody else does.
pub(crate) async fn try_lead(
    core: &Core,
    session: &Arc<dyn Session>,
    candidate: &Candidate,
) -> Result<Option<Term>, Error> {
    let operation = "lead";
    let paths = &core.paths;
    let mut reason = "other candidates were faster each time".to_owned();
    for _ in 0..ATTEMPTS {
        let (_, stat) =
            core.ask("read_term", session, |s| s.read(&paths.term)).await.map_err(|failure| {
                match failure {
                    failure if failure.is_no_node() => core.not_initialized(),
                    failure => Error::of(operation, &paths.term, failure),
                }
            })?;
        let term = term_of(stat.version + 1);
        let leader = Leader {
            node: candidate.node.clone(),
            term: term.0,
            address: candidate.address.clone(),
        };
        let name = Bytes::from(candidate.node.as_str().to_owned());
        let operations = vec![
            Operation::set(&paths.term, name, stat.version),
            Operation::create(&paths.leader, encode(&leader), Lifetime::Ephemeral),
        ];
        match core.commit(operation, session, operations).await {
            Ok(()) => {
                info!(node = %candidate.node, term = term.0, "leads");
                return Ok(Some(term));
            }
            // Somebody was faster, or what was read was old.
            Err(Failure::Refused { index: 0, refusal: Refusal::BadVersion }) => {}
            // There is a leader. It may be us, by an attempt whose answer was lost.
            Err(Failure::Refused { index: 1, refusal: Refusal::NodeExists }) => {
                if let Some(led) = led(core, session).await? {
                    return Ok(led);
                }
            }
            Err(Failure::Refused { refusal, .. }) => {
                let path = paths.leader.clone();
                return Err(Error::Refused { operation, path, refusal });
            }
            Err(failure @ (Failure::Ended(_) | Failure::Unsent)) => {
                return Err(Error::of(operation, &paths.leader, failure));
            }
            Err(Failure::Unknown(why)) => {
                warn!(why, "whether this node leads is not known, reading");
                reason = why;
                let session = core.connected(operation).await?;
                if let Some(led) = led(core, &session).await? {
                    return Ok(led);
                }
            }
        }
        if !core.pause(core.jitter(PAUSE)).await {
            return Err(Error::Closed { operation });
        }
    }
    Err(Error::Unavailable { operation, reason })
}

/// What `/leader` says of this session: leads a term, another leads, or nobody does.
async fn led(core: &Core, session: &Arc<dyn Session>) -> Result<Option<Option<Term>>, Error> {
    let path = &core.paths.leader;
    match core.ask("read_leader", session, |s| s.read(path)).await {
        Ok((data, stat)) => Ok(Some(our_term(path, &data, stat, session)?)),
        Err(failure) if failure.is_no_node() => Ok(None),
        Err(failure) => Err(Error::of("read the leader", path, failure)),
    }
}

fn our_term(
    path: &str,
    data: &[u8],
    stat: Stat,
    session: &Arc<dyn Session>,
) -> Result<Option<Term>, Error> {
    if stat.owner != session.id() {
        return Ok(None);
    }
    let leader: Leader = decode(path, data)?;
    Ok(Some(Term(leader.term)))
}

/// Gives up leading, if this session does.
pub(crate) async fn resign(core: &Core) -> Result<(), Error> {
    let operation = "resign";
    let session = core.connected(operation).await?;
    let path = &core.paths.leader;
    let (data, stat) = match core.ask("read_leader", &session, |s| s.read(path)).await {
        Ok(content) => content,
        Err(failure) if failure.is_no_node() => return Ok(()),
        Err(failure) => return Err(Error::of(operation, path, failure)),
    };
    if our_term(path, &data, stat, &session)?.is_none() {
        return Ok(());
    }
    let operations = vec![Operation::delete(path, stat.version)];
    match core.commit(operation, &session, operations).await {
        Ok(()) => Ok(()),
        Err(failure) if failure.is_no_node() => Ok(()),
        // With its session the node goes too; with the connection back, whoever asks may ask again.
        Err(Failure::Unknown(reason)) => Err(Error::Unknown { operation, reason }),
        Err(failure) => Err(Error::of(operation, path, failure)),
    }
}

/// Stands for election until the handle is closed or nobody listens, and tells `role`.
pub(crate) async fn campaign(core: Arc<Core>, candidate: Candidate, role: watch::Sender<Role>) {
    let tell = |new: Role| {
        role.send_if_modified(|old| {
            let is_new = *old != new;
            *old = new;
            is_new
        });
    };
    let path = &core.paths.leader;
    loop {
        let is_suspended = matches!(*role.borrow(), Role::Suspended(_));
        // Cancel-safe: both only wait.
        let session = tokio::select! {
            session = core.connected_session() => session,
            () = core.session_gone(), if is_suspended => {
                // The term is over for us, whoever leads next.
                tell(Role::Following(None));
                continue;
            }
        };
        let Some(session) = session else { return };
        let mut link = session.link();
        let seen = read_or_absent(&core, &session, "watch_leader", path).await;
        let Ok((content, changed)) = seen else {
            suspend(&role);
            if core.pause(PAUSE).await {
                continue;
            }
            return;
        };
        let Some((data, stat)) = content else {
            tell(Role::Following(None));
            if !core.pause(core.jitter(HERD_PAUSE)).await || role.is_closed() {
                return;
            }
            if let Err(error) = try_lead(&core, &session, &candidate).await {
                warn!(%error, "failed to stand for election");
                // What is refused stays so for a while; what is not known is settled at once.
                let is_passing = error.class().is_retryable();
                let pause = if is_passing { PAUSE } else { core.settings.verify_interval };
                if !core.pause(pause).await {
                    return;
                }
            }
            continue;
        };
        tell(match our_term(path, &data, stat, &session) {
            Ok(Some(term)) => Role::Leading(term),
            Ok(None) | Err(_) => Role::Following(decode(path, &data).ok()),
        });
        // Cancel-safe: all only wait; what they wait for is looked at again.
        tokio::select! {
            () = core.stop.cancelled() => return,
            () = role.closed() => return,
            () = changed => {}
            now = link_changed(&mut link) => match now {
                Link::Connected => {}
                Link::Disconnected | Link::Ended(_) => suspend(&role),
            },
            () = tokio::time::sleep(core.settings.verify_interval) => {}
        }
    }
}

/// What becomes of a role when the connection is lost.
fn suspend(role: &watch::Sender<Role>) {
    role.send_if_modified(|role| {
        *role = match *role {
            Role::Leading(term) => Role::Suspended(term),
            Role::Following(Some(_)) => Role::Following(None),
            Role::Suspended(_) | Role::Following(None) => return false,
        };
        true
    });
}
