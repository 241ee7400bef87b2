//! The handle.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use uuid::Uuid;

use crate::core::Core;
use crate::follow::{Topic, follow};
use crate::intents::{TheIntents, declare, withdraw};
use crate::publish::{Change, apply};
use crate::topics::{self, TheAssignment, TheLeader, TheMembers};
use crate::{
    Assignment, Candidate, Cluster, CoordinationMetrics, Ensemble, Error, Intent, Intents, Leader,
    Members, Membership, Registration, Role, SessionState, Version, cluster, election,
    registration, session,
};
use rangekeeper_model::{Lineage, Term};

/// What a handle may be told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The cluster that this node belongs to, if it has ever joined one; another is refused.
    pub cluster: Option<Uuid>,
    /// The longest that one request, or the wait for a connection before it, may take.
    pub request_timeout: Duration,
    /// How often one's own node is looked at without a reason, and a refused name tried again.
    pub verify_interval: Duration,
    /// How often everything that is followed is read without a reason.
    pub reread_interval: Duration,
    /// Makes all pauses repeat themselves.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            cluster: None,
            request_timeout: Duration::from_secs(5),
            verify_interval: Duration::from_secs(30),
            reread_interval: Duration::from_mins(1),
            seed: 0,
        }
    }
}

/// A session in an ensemble that is kept up, and all that is done through it. Clones share it.
///
/// Nothing here waits for ever: what needs a connection waits for one as long as a request may
/// take. What is followed is given as the newest value; `None` until the first one is known. While
/// there is no connection the last one stays.
#[derive(Clone)]
pub struct Coordination {
    core: Arc<Core>,
}

impl fmt::Debug for Coordination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coordination")
            .field("root", &self.core.paths.root)
            .field("state", &*self.core.state.borrow())
            .finish_non_exhaustive()
    }
}

impl Coordination {
    /// Starts to keep a session, on the runtime that this is called in. [`Self::close`] ends it.
    pub fn start(ensemble: Ensemble, settings: Settings, metrics: CoordinationMetrics) -> Self {
        let core = Core::new(ensemble, settings, metrics);
        core.tasks.spawn(session::keep(Arc::clone(&core)));
        Self { core }
    }

    /// Where the cluster lies in the ensemble.
    pub fn root(&self) -> &str {
        &self.core.paths.root
    }

    /// Binds the handle to this cluster, as [`Settings::cluster`] does from the beginning. Refused
    /// if it has found another one already.
    pub fn belong(&self, cluster: Uuid) -> Result<(), Error> {
        self.core.pin_cluster(cluster)
    }

    /// The state of the session.
    pub fn session(&self) -> watch::Receiver<SessionState> {
        self.core.state.subscribe()
    }

    /// Creates, reads and deletes a node, and names what fails: a server that is not reached, a
    /// cluster that is not there, a right that is missing.
    pub async fn self_test(&self) -> Result<(), Error> {
        cluster::self_test(&self.core, Uuid::new_v4()).await
    }

    /// Makes the cluster, in one transaction. Refused where one is, unless it is this very one.
    pub async fn init(&self, cluster: &Cluster) -> Result<(), Error> {
        cluster::init(&self.core, cluster).await
    }

    /// What the cluster is.
    pub async fn cluster(&self) -> Result<(Cluster, Version), Error> {
        cluster::read(&self.core).await
    }

    /// Changes what the cluster is, if it still is what was read at `expected`.
    pub async fn change_cluster(
        &self,
        expected: Version,
        cluster: &Cluster,
    ) -> Result<Version, Error> {
        cluster::change(&self.core, expected, cluster).await
    }

    /// Registers this node and keeps it registered, through every loss of the session, until the
    /// handle is closed. A registration of a run that is in `lineage` is an earlier one of this
    /// node's, and is replaced.
    pub fn register(
        &self,
        registration: Registration,
        lineage: Lineage,
    ) -> watch::Receiver<Membership> {
        let (sender, receiver) = watch::channel(Membership::Pending);
        let ours = registration::Ours::new(registration, lineage);
        let task = registration::keep(Arc::clone(&self.core), ours, sender);
        self.core.tasks.spawn(task);
        receiver
    }

    /// Tries once to lead. `None`: somebody else does.
    pub async fn try_lead(&self, candidate: &Candidate) -> Result<Option<Term>, Error> {
        let session = self.core.connected("lead").await?;
        election::try_lead(&self.core, &session, candidate).await
    }

    /// Stands for election whenever nobody leads, until the handle is closed or the receiver is
    /// dropped. Who leads then still does; see [`Self::resign`].
    pub fn campaign(&self, candidate: Candidate) -> watch::Receiver<Role> {
        let (sender, receiver) = watch::channel(Role::Following(None));
        let task = election::campaign(Arc::clone(&self.core), candidate, sender);
        self.core.tasks.spawn(task);
        receiver
    }

    /// Gives up leading, if this session does. End the campaign first.
    pub async fn resign(&self) -> Result<(), Error> {
        election::resign(&self.core).await
    }

    /// Publishes an assignment of `term` in place of the one at `expected`, and gives the version
    /// that it has now.
    ///
    /// No two payloads may be equal (they carry an id of their publication): an answer that was
    /// lost is found out by reading the payload back.
    pub async fn publish(
        &self,
        term: Term,
        expected: Version,
        payload: &Bytes,
    ) -> Result<Version, Error> {
        let path = &self.core.paths.assignment;
        let change = Change { operation: "publish", path, expected, payload, term: Some(term) };
        apply(&self.core, &change).await
    }

    /// Reads the assignment now. What a server answers may be behind; a publish finds that out.
    pub async fn read_assignment(&self) -> Result<Assignment, Error> {
        topics::read_assignment(&self.core).await
    }

    /// Declares what the operator wants, in place of an earlier wish of the same kind.
    pub async fn declare(&self, intent: &Intent, payload: &Bytes) -> Result<(), Error> {
        declare(&self.core, intent, payload).await
    }

    /// Takes a wish back; there need not be one.
    pub async fn withdraw(&self, intent: &Intent) -> Result<(), Error> {
        withdraw(&self.core, intent).await
    }

    /// Follows the assignment.
    pub fn assignment(&self) -> watch::Receiver<Option<Assignment>> {
        self.follow::<TheAssignment>()
    }

    /// Follows who is registered.
    pub fn members(&self) -> watch::Receiver<Option<Members>> {
        self.follow::<TheMembers>()
    }

    /// Follows who leads; within, `None` is nobody.
    pub fn leader(&self) -> watch::Receiver<Option<Option<Leader>>> {
        self.follow::<TheLeader>()
    }

    /// Follows what the operator wants.
    pub fn intents(&self) -> watch::Receiver<Option<Intents>> {
        self.follow::<TheIntents>()
    }

    /// Ends the session, so that this node's name and its leading are free at once, and waits until
    /// every task has ended. Clones of the handle are of no more use.
    pub async fn close(&self) {
        self.core.stop.cancel();
        self.core.tasks.close();
        self.core.tasks.wait().await;
    }

    fn follow<T: Topic>(&self) -> watch::Receiver<Option<T::Value>> {
        let (sender, receiver) = watch::channel(None);
        self.core.tasks.spawn(follow::<T>(Arc::clone(&self.core), sender));
        receiver
    }
}
