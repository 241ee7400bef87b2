//! Standing for leadership, and carrying out what the leader decides while this node leads.
//!
//! A leader begins once everything that it decides by is known: what the cluster is, who is
//! registered, what the operator wants, and the assignment, read after the election. It stops with
//! the connection: what it does not know it does not publish. All that takes time (a read, a
//! publish, a probe) is a task whose result comes back as an event, so a decision never waits.
//!
//! **Invariant:** what a publish expects is the version at which its base was read or published, so
//! nothing is ever published over a map that this leader has not seen.

mod carrying;
mod naming;

use std::sync::Arc;
use std::time::Duration;

use rangekeeper_coordination::{self as coordination, Candidate, Cluster, Membership, Role};
use rangekeeper_model::{ClusterId, Generation, NodeId, ShardCount, ShardId, StoreId};
use rangekeeper_placement::{Assignment, LeaderEvent, Probe, PublishOutcome, Replication};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use self::carrying::Driver;
use self::naming::registrations;
pub(super) use self::naming::{wishes, zone};
use super::alarms::AlarmKind;
use super::readiness::clock;
use super::shared::{Shared, changed};

/// Results that wait to be taken in: a read, a publish, and a probe for each absent node.
const RESULTS: usize = 64;

/// How long a beginning that failed waits for the next attempt.
const BEGIN_AGAIN: Duration = Duration::from_millis(500);

/// How long the first placement waits to hear whether one of those who registered has a map
/// already, which an ensemble that was emptied would not know.
const HEAR_WITHIN: Duration = Duration::from_secs(5);

/// What a task of the leader's brought.
enum Outcome {
    /// What the cluster is, and its assignment.
    Read(Result<(Cluster, coordination::Assignment), coordination::Error>),
    /// How a publish ended, and the version that it has if it is there.
    Published(PublishOutcome, Option<coordination::Version>),
    /// What a probe found.
    Probed(NodeId, Probe),
}

/// A result, and of which attempt. Only the last attempt counts: what is late was asked by a
/// leader that has been deposed since.
struct Arrived {
    attempt: u64,
    outcome: Outcome,
}

/// Stands for leadership whenever this node is registered, until the agent is stopped.
pub(super) async fn run(shared: Arc<Shared>) {
    let (results, mut arrived) = mpsc::channel(RESULTS);
    let mut driver = Driver::new(Arc::clone(&shared), results);
    let mut membership = shared.membership.subscribe();
    loop {
        let is_registered = matches!(*membership.borrow_and_update(), Membership::Registered(_));
        if is_registered {
            lead(&shared, &mut driver, &mut arrived, &mut membership).await;
        }
        // Cancel-safe: both only wait.
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = changed(&mut membership) => {}
        }
    }
}

/// Stands for leadership and leads, until the name is another's or the agent is stopped.
async fn lead(
    shared: &Shared,
    driver: &mut Driver,
    arrived: &mut mpsc::Receiver<Arrived>,
    membership: &mut watch::Receiver<Membership>,
) {
    let address = shared.options.peer_address.clone();
    let candidate = Candidate { node: shared.options.node.clone(), address };
    let mut role = shared.coordination.campaign(candidate);
    let mut members = shared.members.clone();
    let mut intents = shared.intents.clone();
    let mut views = shared.views.subscribe();
    let mut news = shared.news.subscribe();
    let mut due = shared.due.subscribe();
    loop {
        let wake = driver.wake.unwrap_or_else(Instant::now);
        // Cancel-safe: all only wait; a result that was not taken stays in the channel.
        tokio::select! {
            () = shared.stop.cancelled() => break,
            () = changed(membership) => {
                if matches!(*membership.borrow_and_update(), Membership::Refused(_)) {
                    break;
                }
            }
            () = changed(&mut role) => {
                let now = role.borrow_and_update().clone();
                driver.play(&now);
                shared.role.send_replace(now);
            }
            () = changed(&mut members) => {
                members.mark_unchanged();
                driver.count();
            }
            () = changed(&mut intents) => {
                intents.mark_unchanged();
                driver.obey();
            }
            Some(arrived) = arrived.recv() => driver.take(arrived),
            () = changed(&mut views) => driver.listen(),
            () = changed(&mut news) => driver.listen(),
            () = changed(&mut due) => driver.expire(),
            () = sleep_until(wake), if driver.wake.is_some() => driver.tick(),
        }
    }
    driver.play(&Role::Following(None));
    drop(role);
    if !shared.stop.is_cancelled()
        && let Err(error) = shared.coordination.resign().await
    {
        warn!(%error, "failed to resign");
    }
    shared.role.send_replace(Role::Following(None));
}

/// A map of no nodes, as the cluster was made.
fn empty(id: ClusterId, cluster: &Cluster) -> Result<Assignment, String> {
    let replication = Replication::new(cluster.replication).map_err(|error| error.to_string())?;
    let shards = ShardCount::new(cluster.shards).map_err(|error| error.to_string())?;
    let mut first = Assignment::empty(id, replication, shards);
    first.generation = Generation(cluster.generation);
    Ok(first)
}

impl Driver {
    /// Takes a new role.
    fn play(&mut self, role: &Role) {
        match *role {
            Role::Leading(term) if self.over == Some(term) => {}
            Role::Leading(term) if self.term != Some(term) => {
                info!(%term, "leads from now on, reading what there is");
                self.term = Some(term);
                self.begin();
            }
            Role::Leading(_) => {}
            Role::Suspended(_) | Role::Following(_) => self.stop_leading(),
        }
    }

    /// Reads what the leader begins with.
    fn begin(&mut self) {
        self.base = None;
        self.hears_until = None;
        self.read();
    }

    /// Ends leading: nothing that is under way counts any more.
    pub(super) fn stop_leading(&mut self) {
        if self.term.take().is_none() {
            return;
        }
        self.attempt += 1;
        self.is_publishing = false;
        self.base = None;
        self.reads_at = None;
        self.feed(LeaderEvent::Deposed);
        for kind in
            [AlarmKind::Frozen, AlarmKind::Placement, AlarmKind::Unpublishable, AlarmKind::Missing]
        {
            self.shared.alarms.clear(kind);
        }
        info!("leads no more");
    }

    fn take(&mut self, arrived: Arrived) {
        if let Outcome::Probed(node, found) = arrived.outcome {
            self.probed(&node);
            return self.feed(LeaderEvent::Probed(node, found));
        }
        if arrived.attempt != self.attempt || self.term.is_none() {
            return;
        }
        match arrived.outcome {
            Outcome::Read(Ok((cluster, assignment))) => self.found(&cluster, assignment),
            Outcome::Read(Err(error)) => {
                warn!(%error, "the leader cannot read the assignment, trying again");
                self.read_later();
            }
            Outcome::Published(outcome, version) => {
                self.is_publishing = false;
                if version.is_some() {
                    self.base = version;
                }
                self.feed(LeaderEvent::Published(outcome));
            }
            Outcome::Probed(..) => {}
        }
    }

    /// Goes on from what was read.
    fn found(&mut self, cluster: &Cluster, assignment: coordination::Assignment) {
        let (version, payload) = match assignment {
            coordination::Assignment::Published { version, payload } => (version, Some(payload)),
            coordination::Assignment::Unpublished(version) => (version, None),
            coordination::Assignment::Missing => {
                let text = "the assignment's znode is gone: an operator has to restore it";
                self.shared.raise(AlarmKind::Missing, text);
                return self.read_later();
            }
        };
        let assignment = match payload {
            Some(payload) => match Assignment::decode(&payload) {
                Ok(assignment) => assignment,
                Err(error) => {
                    let text = format!("the leader cannot go on from the assignment: {error}");
                    self.shared.raise(AlarmKind::Unreadable, text);
                    return self.read_later();
                }
            },
            None => match self.first(cluster) {
                Some(assignment) => assignment,
                None => return self.read_later(),
            },
        };
        self.shared.alarms.clear(AlarmKind::Missing);
        self.shared.alarms.clear(AlarmKind::Unreadable);
        self.base = Some(version);
        self.go_on(cluster, Arc::new(assignment));
    }

    /// The map of a cluster in which nothing was placed yet, once the nodes that are expected are
    /// there and were heard. None while a node may have another one: an ensemble that forgot it
    /// must not make the nodes forget it.
    fn first(&mut self, cluster: &Cluster) -> Option<Assignment> {
        if self.warns_of_forgotten() {
            return None;
        }
        let own = self.shared.identity.store;
        let members = self.shared.members.borrow().clone().unwrap_or_default().members;
        let mut stores = members.values().map(|member| StoreId(member.registration.store));
        if u32::try_from(stores.len()).is_ok_and(|registered| registered < cluster.expect) {
            return None;
        }
        let hears_until = *self.hears_until.get_or_insert_with(|| Instant::now() + HEAR_WITHIN);
        let is_heard = |store| store == own || self.shared.speakers.of(store).is_some();
        let are_heard = stores.all(is_heard);
        if !are_heard && Instant::now() < hears_until {
            return None;
        }
        match empty(self.shared.identity.cluster, cluster) {
            Ok(first) => Some(first),
            Err(text) => {
                self.shared.raise(AlarmKind::Placement, text);
                None
            }
        }
    }

    /// Whether somebody has a map although ZooKeeper has none; says so.
    fn warns_of_forgotten(&self) -> bool {
        let newest = self.shared.speakers.newest().max(Some(self.shared.version()));
        let Some(newest) = newest.filter(|newest| newest.epoch.0 > 0) else { return false };
        let text = format!(
            "ZooKeeper has no assignment, but nodes have version {newest}: an operator has to \
             restore it"
        );
        self.shared.raise(AlarmKind::Missing, text);
        true
    }

    /// Begins to lead, or goes on after a publish whose outcome was not known.
    fn go_on(&mut self, cluster: &Cluster, assignment: Arc<Assignment>) {
        let Some(term) = self.term else { return };
        if self.is_leading() {
            return self.feed(LeaderEvent::Read(assignment));
        }
        let members = self.shared.members.borrow().clone();
        let intents = self.shared.intents.borrow().clone();
        let (Some(members), Some(intents)) = (members, intents) else { return self.read_later() };
        self.expect(cluster);
        self.feed(LeaderEvent::Registered(registrations(&members)));
        self.feed(LeaderEvent::Wanted(wishes(&intents)));
        self.feed_heard();
        info!(%term, version = %assignment.version(), "leads");
        self.feed(LeaderEvent::Elected(term, assignment));
        self.expire();
    }

    fn count(&mut self) {
        self.look_again();
        let list = self.shared.members.borrow().as_ref().map(registrations);
        if let Some(list) = list {
            self.feed(LeaderEvent::Registered(list));
        }
    }

    fn obey(&mut self) {
        let wanted = self.shared.intents.borrow().as_ref().map(wishes);
        if let Some(wanted) = wanted {
            self.feed(LeaderEvent::Wanted(wanted));
        }
    }

    fn listen(&mut self) {
        self.look_again();
        if !self.is_leading() {
            return;
        }
        if !self.has_placed() && !self.is_publishing && self.warns_of_forgotten() {
            self.feed(LeaderEvent::Deposed);
            return self.read_later();
        }
        self.feed_heard();
    }

    /// Whoever waits to begin need not wait any longer, perhaps.
    fn look_again(&mut self) {
        if self.reads_at.is_some() {
            self.read();
        }
    }

    /// Tells what maps this node and those that it hears have applied, and what is damaged here.
    fn feed_heard(&mut self) {
        if let Some(view) = self.shared.view() {
            let map = &view.assignment;
            self.feed(LeaderEvent::Applied(map.version(), map.publish));
        }
        if let Some(newest) = self.shared.speakers.newest() {
            self.feed(LeaderEvent::Heard(newest));
        }
        // What others find damaged they cannot say yet: no message has a place for it.
        let membership = self.shared.membership.borrow().clone();
        if let Membership::Registered(incarnation) = membership {
            let damaged: Vec<ShardId> = self.shared.member.read().damaged().collect();
            for shard in damaged {
                let node = self.shared.options.node.clone();
                self.feed(LeaderEvent::Damaged(node, incarnation, shard));
            }
        }
    }

    /// What this node's clock would drop, if that clock is like the others'.
    fn expire(&mut self) {
        let due = *self.shared.due.borrow();
        if self.is_leading() && due.0 > 0 && clock(&self.shared).is_ok() {
            self.feed(LeaderEvent::Expired(due));
        }
    }

    fn tick(&mut self) {
        self.wake = None;
        if self.term.is_none() {
            return;
        }
        if self.reads_at.take_if(|at| *at <= Instant::now()).is_some() {
            self.read();
        }
        self.feed(LeaderEvent::Tick);
    }
}
