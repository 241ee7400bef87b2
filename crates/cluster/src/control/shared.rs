//! What the tasks of the agent and its handles share.
//!
//! Locks are taken one at a time and held for a few instructions, but for the member's, which a new
//! map holds while it is gone through.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use rangekeeper_coordination::{Coordination, Intents, Members, Membership, Role, SessionState};
use rangekeeper_model::{Day, ShardId, StoreId};
use rangekeeper_placement::{Assignment, Member, MemberEffect, MemberEvent, Proposal, Version};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::alarms::{AlarmKind, Alarms};
use super::folder::Folder;
use super::roster::{Roster, addresses_of};
use super::speakers::{Speakers, version};
use super::{ControlOptions, Identity, MapView};
use crate::identity::{Local, Speaker, View};
use crate::peer::Health;
use crate::peers::{PeerAddress, Peers};

/// Maps that were got and wait to be looked at. More would be older ones.
const MAPS: usize = 8;

/// How long a map that somebody was heard to have is asked for. Probes offer it after that too.
const FETCH_WITHIN: Duration = Duration::from_secs(10);

/// What the agent begins with.
pub(super) struct Begin {
    pub(super) coordination: Coordination,
    pub(super) peers: Peers,
    pub(super) local: Local,
    pub(super) identity: Identity,
    pub(super) options: ControlOptions,
    pub(super) clock: Box<dyn Fn() -> i64 + Send + Sync>,
}

/// A map that somebody wants, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) version: Version,
    pub(super) until: Instant,
}

/// The map in use as it is given to others.
struct Applied {
    encoded: Bytes,
    at: Instant,
}

/// What speaks against this node serving, beside its map.
#[derive(Default)]
pub(super) struct Standing {
    /// Somebody else has its name: what lies here may be a copy.
    is_refused: AtomicBool,
    /// It has had its name since it started.
    has_registered: AtomicBool,
    is_replayed: AtomicBool,
    /// Since its start, ZooKeeper or peers were asked for a newer map than the one from disk, or
    /// the time for that is over; and if ZooKeeper answers, so was this node for its name.
    has_asked: AtomicBool,
    /// A map that it has applied names this start, or none could: ZooKeeper did not answer, or had
    /// no map. From then on it stays so.
    is_known: AtomicBool,
    /// Why the whole folder is not to be trusted.
    suspicion: Mutex<Option<String>>,
}

/// What a leader shows of its decisions.
#[derive(Clone, Debug, Default)]
pub(super) struct Leading {
    pub(super) is_leading: bool,
    pub(super) proposals: Vec<Proposal>,
}

pub(super) struct Shared {
    pub(super) identity: Identity,
    pub(super) options: ControlOptions,
    pub(super) folder: Folder,
    pub(super) coordination: Coordination,
    pub(super) member: RwLock<Member>,
    pub(super) views: watch::Sender<Option<Arc<MapView>>>,
    pub(super) roster: Roster,
    pub(super) speakers: Speakers,
    pub(super) standing: Standing,
    pub(super) alarms: Alarms,
    pub(super) leading: Mutex<Leading>,
    pub(super) wanted: watch::Sender<Wanted>,
    /// Takes encoded maps that were read from ZooKeeper or came from peers.
    pub(super) maps: mpsc::Sender<Bytes>,
    /// Told whenever somebody is heard to have another map than before.
    pub(super) news: watch::Sender<()>,
    /// The day before which this node's clock would drop.
    pub(super) due: watch::Sender<Day>,
    pub(super) membership: watch::Sender<Membership>,
    pub(super) role: watch::Sender<Role>,
    pub(super) session: watch::Receiver<SessionState>,
    pub(super) members: watch::Receiver<Option<Members>>,
    pub(super) intents: watch::Receiver<Option<Intents>>,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
    local: Local,
    applied: RwLock<Option<Applied>>,
    clock: Box<dyn Fn() -> i64 + Send + Sync>,
}

impl Standing {
    /// Whether requests may be judged at all: its name is not another's, nobody who was asked has a
    /// newer map, and the cluster knows of this start. So what is acknowledged in it is missed in a
    /// copy of the folder from before it.
    #[inline]
    pub(super) fn may_serve(&self) -> bool {
        !self.is_refused() && self.is_known()
    }

    pub(super) fn is_refused(&self) -> bool {
        self.is_refused.load(Ordering::Acquire)
    }

    pub(super) fn refuse(&self) {
        self.is_refused.store(true, Ordering::Release);
    }

    pub(super) fn has_registered(&self) -> bool {
        self.has_registered.load(Ordering::Acquire)
    }

    pub(super) fn registered(&self) {
        self.has_registered.store(true, Ordering::Release);
        self.is_refused.store(false, Ordering::Release);
    }

    pub(super) fn is_replayed(&self) -> bool {
        self.is_replayed.load(Ordering::Acquire)
    }

    pub(super) fn has_asked(&self) -> bool {
        self.has_asked.load(Ordering::Acquire)
    }

    pub(super) fn asked(&self) {
        self.has_asked.store(true, Ordering::Release);
    }

    pub(super) fn is_known(&self) -> bool {
        self.is_known.load(Ordering::Acquire)
    }

    pub(super) fn known(&self) {
        self.is_known.store(true, Ordering::Release);
    }

    pub(super) fn suspicion(&self) -> Option<String> {
        self.suspicion.lock().clone()
    }
}

impl Shared {
    /// The shared state with the map of the folder in use, and where maps come in.
    pub(super) fn new(begin: Begin) -> (Arc<Self>, mpsc::Receiver<Bytes>) {
        let Begin { coordination, peers, local, identity, options, clock } = begin;
        let folder = Folder::new(&options.folder);
        let cached = folder.assignment().unwrap_or_else(|error| {
            warn!(%error, "the cached assignment cannot be read");
            None
        });
        let cached = cached.filter(|(assignment, _)| assignment.cluster == identity.cluster);
        let (cached, encoded) = cached.map(|(a, bytes)| (Arc::new(a), Bytes::from(bytes))).unzip();
        let Identity { cluster, store, ref lineage, .. } = identity;
        let (id, runs) = (options.node.clone(), lineage.clone());
        let member = Member::new(cluster, id, store, runs, cached.clone());
        let (maps, incoming) = mpsc::channel(MAPS);
        let nothing = Wanted { version: Version::default(), until: Instant::now() };
        let shared = Self {
            folder,
            member: RwLock::new(member),
            views: watch::Sender::new(None),
            roster: Roster::new(peers),
            speakers: Speakers::default(),
            standing: Standing::default(),
            alarms: Alarms::default(),
            leading: Mutex::default(),
            wanted: watch::Sender::new(nothing),
            maps,
            news: watch::Sender::new(()),
            due: watch::Sender::new(Day(0)),
            membership: watch::Sender::new(Membership::Pending),
            role: watch::Sender::new(Role::Following(None)),
            session: coordination.session(),
            members: coordination.members(),
            intents: coordination.intents(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            applied: RwLock::new(None),
            identity,
            options,
            coordination,
            local,
            clock,
        };
        let shared = Arc::new(shared);
        if let Some((assignment, encoded)) = cached.zip(encoded) {
            shared.apply(&assignment, encoded);
        }
        (shared, incoming)
    }

    /// The time of day, in milliseconds since the epoch.
    pub(super) fn now_ms(&self) -> i64 {
        (self.clock)()
    }

    pub(super) fn raise(&self, kind: AlarmKind, text: impl Into<String>) {
        self.alarms.raise(kind, text, self.now_ms());
    }

    pub(super) fn view(&self) -> Option<Arc<MapView>> {
        self.views.borrow().clone()
    }

    /// The version of the map in use.
    pub(super) fn version(&self) -> Version {
        self.view().map_or_else(Version::default, |view| view.assignment.version())
    }

    /// How long the map in use has been.
    pub(super) fn applied_for(&self) -> Option<Duration> {
        self.applied.read().as_ref().map(|applied| applied.at.elapsed())
    }

    pub(super) fn assignment_newer(&self, than: View) -> Option<Bytes> {
        let is_newer = self.version() > version(than);
        self.applied.read().as_ref().filter(|_| is_newer).map(|applied| applied.encoded.clone())
    }

    /// Asks for a map of this version until then.
    pub(super) fn want(&self, version: Version, until: Instant) {
        self.wanted.send_if_modified(|wanted| {
            let before = *wanted;
            *wanted = if before.until <= Instant::now() {
                Wanted { version, until }
            } else {
                Wanted { version: version.max(before.version), until: until.max(before.until) }
            };
            *wanted != before
        });
    }

    pub(super) fn heard(&self, speaker: &Speaker) {
        if !self.speakers.note(speaker) {
            return;
        }
        let said = version(speaker.view);
        self.warn_of_two(speaker, said);
        let mut effects = Vec::new();
        self.member.write().step(MemberEvent::Heard(speaker.store, said), &mut effects);
        for effect in &effects {
            self.note(effect);
        }
        self.news.send_replace(());
    }

    /// One version has one publish, so all maps of it are of one term.
    fn warn_of_two(&self, speaker: &Speaker, said: Version) {
        let Some(view) = self.view() else { return };
        let ours = &view.assignment;
        if ours.version() == said && ours.term != speaker.view.term {
            let Speaker { node, view, .. } = speaker;
            let text = format!(
                "version {said} was published in term {} and, as {node} has it, in term {}",
                ours.term, view.term
            );
            self.raise(AlarmKind::TwoPublishes, text);
        }
    }

    pub(super) fn replayed(&self) {
        self.member.write().step(MemberEvent::Replayed, &mut Vec::new());
        self.standing.is_replayed.store(true, Ordering::Release);
    }

    pub(super) fn damaged(&self, shard: ShardId) {
        self.member.write().step(MemberEvent::Damaged(shard), &mut Vec::new());
        self.news.send_replace(());
    }

    pub(super) fn suspected(&self, why: &str) {
        *self.standing.suspicion.lock() = Some(why.to_owned());
        if let Some(view) = self.view() {
            self.suspect_all(&view.assignment);
        }
    }

    fn suspect_all(&self, assignment: &Assignment) {
        let mut member = self.member.write();
        for shard in assignment.shard_count().iter() {
            member.step(MemberEvent::Damaged(shard), &mut Vec::new());
        }
    }

    /// What an effect asks for that needs no file.
    pub(super) fn note(&self, effect: &MemberEffect) {
        match effect {
            MemberEffect::Fetch(version) => self.want(*version, Instant::now() + FETCH_WITHIN),
            MemberEffect::RefuseCluster(cluster) => {
                let text = format!(
                    "an assignment of cluster {cluster} was offered, this node belongs to {}",
                    self.identity.cluster
                );
                self.raise(AlarmKind::OtherCluster, text);
            }
            MemberEffect::AlarmConflict(version) => {
                let text = format!("two assignments of version {version} were published");
                self.raise(AlarmKind::TwoPublishes, text);
            }
            // Slots change their owners only where data can be moved, which nothing here can.
            MemberEffect::Seal(..) | MemberEffect::Pull(..) | MemberEffect::MayDrop(_) => {
                debug!(?effect, "not carried out");
            }
            MemberEffect::Persist(_) => unreachable!("only an offer asks for it"),
        }
    }

    /// Puts the map that the member has taken to use: says so, makes peers of those it names, and
    /// tells whoever follows.
    pub(super) fn apply(self: &Arc<Self>, assignment: &Arc<Assignment>, encoded: Bytes) {
        let is_first = self.views.borrow().is_none();
        if is_first && self.standing.suspicion().is_some() {
            self.suspect_all(assignment);
        }
        let Identity { store, .. } = self.identity;
        self.make_peers(addresses_of(assignment, &self.options.node, store));
        self.roster.seat(assignment);
        *self.applied.write() = Some(Applied { encoded, at: Instant::now() });
        let me = self.member.read().me();
        self.views.send_replace(Some(Arc::new(MapView::new(Arc::clone(assignment), me))));
        // Only now: once a message names this map, nothing is acknowledged by the one before it
        // without being judged again.
        let Assignment { generation, epoch, term, .. } = **assignment;
        self.local.apply(View { generation, epoch, term });
        let stores: BTreeSet<StoreId> = assignment.nodes.iter().map(|row| row.store).collect();
        self.speakers.retain(&stores);
    }

    /// Talks to these from now on, and listens to what all of them say.
    pub(super) fn make_peers(self: &Arc<Self>, addresses: Vec<PeerAddress>) {
        for health in self.roster.update(addresses) {
            self.tasks.spawn(listen(Arc::clone(self), health));
        }
    }
}

/// Takes notice of every message of a peer, until it is no peer any more.
async fn listen(shared: Arc<Shared>, mut health: watch::Receiver<Health>) {
    loop {
        let speaker = health.borrow_and_update().speaker.clone();
        if let Some(speaker) = speaker {
            shared.heard(&speaker);
        }
        // Cancel-safe: both only wait.
        tokio::select! {
            () = shared.stop.cancelled() => return,
            changed = health.changed() => if changed.is_err() { return },
        }
    }
}

/// Waits for a change; for ever once nobody tells any more. Cancel-safe.
pub(super) async fn changed<T>(receiver: &mut watch::Receiver<T>) {
    if receiver.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}
