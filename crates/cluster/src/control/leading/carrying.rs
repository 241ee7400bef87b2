//! The leader's effects, carried out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rangekeeper_coordination::{Cluster, Error, Version};
use rangekeeper_model::{NodeId, Term};
use rangekeeper_placement::{
    Assignment, Leader, LeaderAlarm, LeaderEffect, LeaderEvent, Probe, PublishOutcome,
};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{info, warn};

use super::super::alarms::AlarmKind;
use super::super::shared::Shared;
use super::{Arrived, BEGIN_AGAIN, Outcome};
use crate::error::PeerError;
use crate::limits::PROBE_TIMEOUT;
use crate::peer::{Call, Urgency};

/// How often an absent node is asked whether it lives.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// The leader and what is under way for it.
pub(super) struct Driver {
    pub(super) shared: Arc<Shared>,
    /// The term, while this node leads.
    pub(super) term: Option<Term>,
    /// A term of this node's that a publish found to be over.
    pub(super) over: Option<Term>,
    /// What the next publish expects.
    pub(super) base: Option<Version>,
    /// Whether the outcome of a publish is awaited.
    pub(super) is_publishing: bool,
    /// Counts reads and publishes, of which only the last matters.
    pub(super) attempt: u64,
    /// When the leader has to decide again.
    pub(super) wake: Option<Instant>,
    /// When the assignment is read again after a failure.
    pub(super) reads_at: Option<Instant>,
    /// Until when the first placement waits for nodes to say whether they have a map.
    pub(super) hears_until: Option<Instant>,
    leader: Leader,
    /// When each absent node is asked next; none while the answer is awaited.
    probes: BTreeMap<NodeId, Option<Instant>>,
    results: mpsc::Sender<Arrived>,
    started: Instant,
}

impl Driver {
    pub(super) fn new(shared: Arc<Shared>, results: mpsc::Sender<Arrived>) -> Self {
        let leader = Leader::new(shared.options.policy.clone(), seed(&shared));
        let now = Instant::now();
        Self {
            shared,
            term: None,
            over: None,
            base: None,
            is_publishing: false,
            attempt: 0,
            wake: None,
            reads_at: None,
            hears_until: None,
            leader,
            probes: BTreeMap::new(),
            results,
            started: now,
        }
    }

    /// Whether the leader goes on from a map that places shards.
    pub(super) fn has_placed(&self) -> bool {
        self.leader.has_placed()
    }

    pub(super) fn is_leading(&self) -> bool {
        self.leader.is_leading()
    }

    /// Takes the number of nodes to wait for from the cluster.
    pub(super) fn expect(&mut self, cluster: &Cluster) {
        let nodes = usize::try_from(cluster.expect).unwrap_or(usize::MAX);
        self.leader
            .expect(nodes, cluster.adopted.then_some(rangekeeper_model::StoreId(cluster.uuid)));
    }

    /// Gives the leader an event and does what it says.
    pub(super) fn feed(&mut self, event: LeaderEvent) {
        let now_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut effects = Vec::new();
        self.leader.step(now_ms, event, &mut effects);
        self.wake = self.reads_at;
        for effect in effects {
            match effect {
                LeaderEffect::Publish(assignment) => self.publish(&assignment),
                LeaderEffect::Read => self.read(),
                LeaderEffect::Probe(node) => self.probe(node),
                LeaderEffect::Wake(at_ms) => {
                    self.wake_at(self.started + Duration::from_millis(at_ms));
                }
                LeaderEffect::StepDown => self.step_down(),
                LeaderEffect::Alarm(alarm) => self.raise(&alarm),
            }
        }
        self.tell();
    }

    /// Shows what the leader has decided.
    fn tell(&self) {
        match self.leader.frozen() {
            Some((gone, all)) => self.raise(&LeaderAlarm::Frozen(gone, all)),
            None => self.shared.alarms.clear(AlarmKind::Frozen),
        }
        let mut leading = self.shared.leading.lock();
        leading.is_leading = self.is_leading();
        leading.proposals.clear();
        leading.proposals.extend_from_slice(self.leader.proposals());
    }

    fn raise(&self, alarm: &LeaderAlarm) {
        let kind = match alarm {
            LeaderAlarm::TwoPublishes(..) => AlarmKind::TwoPublishes,
            LeaderAlarm::Frozen(..) => AlarmKind::Frozen,
            LeaderAlarm::Placement(_) => AlarmKind::Placement,
            LeaderAlarm::Assignment(_) => AlarmKind::Unpublishable,
        };
        self.shared.raise(kind, alarm.to_string());
    }

    fn wake_at(&mut self, at: Instant) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }

    /// Another term has begun, which this node's role may not say yet.
    fn step_down(&mut self) {
        warn!(term = ?self.term, "a publish was refused: another term has begun");
        self.over = self.term;
        self.stop_leading();
    }

    /// Reads what the cluster is, and its assignment.
    pub(super) fn read(&mut self) {
        self.reads_at = None;
        let coordination = self.shared.coordination.clone();
        self.spawn(async move {
            let read = async {
                let (cluster, _) = coordination.cluster().await?;
                Ok((cluster, coordination.read_assignment().await?))
            };
            Outcome::Read(read.await)
        });
    }

    pub(super) fn read_later(&mut self) {
        let at = Instant::now() + BEGIN_AGAIN;
        self.reads_at = Some(at);
        self.wake_at(at);
    }

    fn publish(&mut self, assignment: &Arc<Assignment>) {
        let (Some(term), Some(base)) = (self.term, self.base) else { return };
        self.shared.alarms.clear(AlarmKind::Placement);
        let encoded = match assignment.encode() {
            Ok(encoded) => Bytes::from(encoded),
            Err(error) => {
                self.shared.raise(AlarmKind::Unpublishable, format!("failed to publish: {error}"));
                let outcome = Outcome::Published(PublishOutcome::Unknown, None);
                return self.spawn(std::future::ready(outcome));
            }
        };
        self.is_publishing = true;
        let version = assignment.version();
        let shared = Arc::clone(&self.shared);
        self.spawn(async move {
            let published = shared.coordination.publish(term, base, &encoded).await;
            let outcome = outcome_of(&published);
            match &published {
                Ok(_) => {
                    info!(%version, %term, "published an assignment");
                    shared.alarms.clear(AlarmKind::Unpublishable);
                    // Nobody takes it only when the agent stops.
                    let _ = shared.maps.send(encoded).await;
                }
                Err(error) => warn!(%error, %version, %term, "an assignment was not published"),
            }
            if let Err(error @ Error::TooLarge { .. }) = &published {
                shared.raise(AlarmKind::Unpublishable, format!("failed to {error}"));
            }
            Outcome::Published(outcome, published.ok())
        });
    }

    fn probe(&mut self, node: NodeId) {
        let now = Instant::now();
        match self.probes.get(&node) {
            Some(Some(next)) if *next > now => return self.wake_at(*next),
            Some(None) => return,
            _ => {}
        }
        self.probes.insert(node.clone(), None);
        let peer = self.shared.roster.named(node.as_str());
        let results = self.results.clone();
        let attempt = self.attempt;
        let probing = async move {
            let found = match peer {
                Some(peer) => {
                    let deadline = Instant::now() + PROBE_TIMEOUT;
                    let answer = peer.probe(Call { deadline, urgency: Urgency::MustTry }).await;
                    // Whatever it says, a node that speaks lives; and one that was just taken
                    // off the list is not known to be gone.
                    match answer {
                        Ok(_) | Err(PeerError::Refused { .. } | PeerError::Stopped { .. }) => {
                            Probe::Answered
                        }
                        Err(_) => Probe::Silent,
                    }
                }
                // It has no data that anybody would wait for.
                None => Probe::Silent,
            };
            let outcome = Outcome::Probed(node, found);
            // The channel is closed only when the agent stops.
            let _ = results.send(Arrived { attempt, outcome }).await;
        };
        self.spawn_until_stopped(probing);
    }

    /// The answer of a probe has come.
    pub(super) fn probed(&mut self, node: &NodeId) {
        self.probes.insert(node.clone(), Some(Instant::now() + PROBE_EVERY));
    }

    /// Does `work`, whose result is that of the latest attempt.
    fn spawn(&mut self, work: impl Future<Output = Outcome> + Send + 'static) {
        self.attempt += 1;
        let (attempt, results) = (self.attempt, self.results.clone());
        self.spawn_until_stopped(async move {
            let outcome = work.await;
            let _ = results.send(Arrived { attempt, outcome }).await;
        });
    }

    fn spawn_until_stopped(&self, work: impl Future<Output = ()> + Send + 'static) {
        let stop = self.shared.stop.clone();
        self.shared.tasks.spawn(async move {
            // Both may be dropped: a publish that is given up is settled by whoever leads next.
            tokio::select! {
                () = stop.cancelled() => {}
                () = work => {}
            }
        });
    }
}

/// What a publish means to the leader. Where nothing was sent the assignment is read again as well.
fn outcome_of(published: &Result<Version, Error>) -> PublishOutcome {
    match published {
        Ok(_) => PublishOutcome::Done,
        Err(Error::NotLeader { .. }) => PublishOutcome::StaleTerm,
        Err(Error::Conflict { .. }) => PublishOutcome::StaleVersion,
        Err(_) => PublishOutcome::Unknown,
    }
}

/// Draws other publish ids in each process.
fn seed(shared: &Shared) -> u64 {
    let (high, low) = shared.identity.lineage.run().0.as_u64_pair();
    shared.options.seed ^ high ^ low
}
