//! The agent of a node: which map it goes by, whether it leads, and what it says of the cluster.
//!
//! The rules are `placement`'s and pure ([`Member`](rangekeeper_placement::Member) for a data node,
//! [`Leader`](rangekeeper_placement::Leader) for whoever leads); here they get their events from
//! ZooKeeper and from peers, and their effects are carried out. Requests only ask: they look at the
//! map in use and at the member's judgement, and wait for nothing here but [`Control::at_least`].
//!
//! | task | owns |
//! | --- | --- |
//! | following | the map: takes it from ZooKeeper and peers, keeps it on disk, applies it |
//! | fetching | asking for a map that somebody was heard to have |
//! | registering | whether this node has its name |
//! | leading | the campaign, and the leader's decisions while this node leads |
//!
//! **Invariant:** a map is on disk, synced, before it is applied; applied, before any message says
//! so. **Invariant:** what is passed on to peers was read from ZooKeeper, published there by this
//! node, or came from a peer for which that holds: so does the map in the data folder.
//!
//! **Invariant:** a start of the node's folder is served from only once a map in use names it, as
//! long as one can be published: so a copy from before it is known by what it lacks.
//!
//! Without ZooKeeper nothing here stops: the last map is used for as long as it takes.

mod alarms;
mod error;
mod fetching;
mod folder;
mod following;
mod joining;
mod leading;
mod metrics;
mod minding;
mod readiness;
mod registering;
mod roster;
mod shared;
mod speakers;
mod status;

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rangekeeper_coordination::Coordination;
use rangekeeper_model::{
    BootCount, ClusterId, Day, Epoch, Lineage, NodeId, ShardId, StoreId, Zone,
};
use rangekeeper_placement::{NodeIndex, Place, Policy, Verdict, Version};
use rangekeeper_storage::ShardSet;
use rangekeeper_telemetry::Registry;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout_at};

use crate::identity::{Local, Speaker, View};
use crate::peer::{OfferedAssignment, Peer};
use crate::peers::Peers;
use crate::reading::shard_of;
use crate::server::Report;
use crate::topology::{MapView, Topology};

use self::shared::{Begin, Shared};

pub use self::error::ControlError;
pub use self::joining::join;
pub use self::status::{
    AlarmStatus, IntentStatus, LeaderStatus, NodeSummary, ProposalStatus, SessionStatus,
    ShardStatus, SlotStatus, Status, Summary, UnsettledStatus,
};

/// What the agent is told about its node.
#[derive(Clone, Debug)]
pub struct ControlOptions {
    /// The node's name.
    pub node: NodeId,
    /// Its failure domain; all nodes that say nothing share one.
    pub zone: Option<Zone>,
    /// Its share of the shards beside others' shares.
    pub weight: u32,
    /// Where peers reach it, `HOST:PORT`.
    pub peer_address: String,
    /// Where its API is, `HOST:PORT`.
    pub http_address: String,
    /// The data folder: what was last known of the cluster lies in it.
    pub folder: PathBuf,
    /// How it leads. The number of nodes to expect is the cluster's, whatever stands here.
    pub policy: Policy,
    /// The version of its software.
    pub software: String,
    /// For what is drawn.
    pub seed: u64,
    /// How long, at a start with a map from disk, peers are asked for a newer one before the node
    /// is ready.
    pub start_wait: Duration,
}

/// Who this node is, as its store says once it is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster that the data belongs to.
    pub cluster: ClusterId,
    /// The data folder.
    pub store: StoreId,
    /// How often that was opened, this time included.
    pub boot: BootCount,
    /// Its starts; the last is this one.
    pub lineage: Lineage,
}

/// The agent of a node. Clones are handles to the same one.
///
/// [`Self::stop`] ends its tasks; dropping handles does not.
#[derive(Clone)]
pub struct Control(Arc<Shared>);

impl Control {
    /// Starts the agent, on the runtime that this is called in. Reads the map that the folder has,
    /// which is in use at once; what the folder has of another cluster is not used.
    ///
    /// `offered` are the assignments that `peers` come across, `clock` is the time of day in
    /// milliseconds since the epoch.
    #[expect(clippy::too_many_arguments, reason = "what a node is made of, each needed once")]
    pub fn start(
        coordination: Coordination,
        peers: Peers,
        offered: mpsc::Receiver<OfferedAssignment>,
        local: Local,
        identity: Identity,
        options: ControlOptions,
        clock: impl Fn() -> i64 + Send + Sync + 'static,
        registry: &Registry,
    ) -> Self {
        let clock = Box::new(clock);
        let begin = Begin { coordination, peers, local, identity, options, clock };
        let (shared, maps) = Shared::new(begin);
        metrics::export(&shared, registry);
        let tasks = &shared.tasks;
        tasks.spawn(following::run(Arc::clone(&shared), maps, offered));
        tasks.spawn(fetching::run(Arc::clone(&shared)));
        tasks.spawn(registering::run(Arc::clone(&shared)));
        tasks.spawn(minding::run(Arc::clone(&shared)));
        tasks.spawn(leading::run(Arc::clone(&shared)));
        Self(shared)
    }

    /// The map in use and this node's row in it; none before the first one.
    pub fn view(&self) -> Option<Arc<MapView>> {
        self.0.view()
    }

    /// The same, followed as it changes.
    pub fn views(&self) -> watch::Receiver<Option<Arc<MapView>>> {
        self.0.views.subscribe()
    }

    /// Gets a map of this epoch or a later one: from peers that have it, else from ZooKeeper.
    /// Whether it is in use at `deadline`.
    pub async fn at_least(&self, epoch: Epoch, deadline: Instant) -> bool {
        let mut views = self.views();
        loop {
            let seen = views.borrow_and_update().as_ref().map(|view| view.assignment.version());
            if seen.is_some_and(|seen| seen.epoch >= epoch) {
                return true;
            }
            let generation = seen.unwrap_or_default().generation;
            self.0.want(Version { generation, epoch }, deadline);
            // The sender is this handle's, so only the deadline can end this.
            if timeout_at(deadline, views.changed()).await.is_err() {
                return false;
            }
        }
    }

    /// Whether a write of the shard for the slot at `place` may be taken, routed by the map of
    /// `routed`, for the data folder `target`. To be asked when it arrives and again when it is
    /// synced. A short lock.
    pub fn judge_write(
        &self,
        shard: ShardId,
        place: Place,
        routed: Version,
        target: StoreId,
    ) -> Verdict {
        if !self.0.standing.may_serve() {
            return Verdict::NotReady;
        }
        self.0.member.read().judge_write(shard, place, routed, target)
    }

    /// Whether a read of the slot may be answered; likewise.
    pub fn judge_read(
        &self,
        shard: ShardId,
        place: Place,
        routed: Version,
        target: StoreId,
    ) -> Verdict {
        if !self.0.standing.may_serve() {
            return Verdict::NotReady;
        }
        self.0.member.read().judge_read(shard, place, routed, target)
    }

    /// The epoch under which an acknowledgement here is given of what was routed by `routed`.
    pub fn given(&self, routed: Version) -> Epoch {
        self.0.member.read().given(routed)
    }

    /// Whether the clock agrees with most others'; else why not, for people.
    pub fn clock(&self) -> Result<(), String> {
        readiness::clock(&self.0)
    }

    /// Whether the copy of a shard here may not be used.
    pub fn is_damaged(&self, shard: ShardId) -> bool {
        self.0.member.read().is_damaged(shard)
    }

    /// Takes notice of who spoke: to be told of every message that a peer sends here.
    pub fn heard(&self, from: &Speaker) {
        self.0.heard(from);
    }

    /// The log is replayed: the data is what was acknowledged.
    pub fn replayed(&self) {
        self.0.replayed();
    }

    /// The copy of a shard here is found damaged.
    pub fn damaged(&self, shard: ShardId) {
        self.0.damaged(shard);
    }

    /// The whole data folder may lack what was acknowledged, for the reason `why`: none of its
    /// copies is used until it was made anew.
    pub fn suspected(&self, why: &str) {
        self.0.suspected(why);
    }

    /// The peer that this row of the present map stands for; none for this node itself, and for a
    /// row whose node has another data folder now.
    pub fn peer(&self, index: NodeIndex) -> Option<Peer> {
        self.0.roster.of_row(index)
    }

    /// How this node is, for its peers.
    pub fn report(&self) -> Report {
        readiness::report(&self.0)
    }

    /// The map in use, encoded, if it is newer than `than`.
    pub fn assignment_newer(&self, than: View) -> Option<Bytes> {
        self.0.assignment_newer(than)
    }

    /// Data of earlier days is gone in the whole cluster.
    pub fn retention_floor(&self) -> Day {
        self.view().map_or(Day(0), |view| view.assignment.retention_floor)
    }

    /// What this node's clock would drop: everything before `due`. If it leads, and its clock
    /// agrees with the others', that becomes the cluster's floor.
    pub fn expired(&self, due: Day) {
        // Told each time: it may be the clock that is different now.
        self.0.due.send_modify(|known| *known = due.max(*known));
    }

    /// Whether this node can take its part, or what it waits for.
    pub fn readiness(&self) -> Result<(), String> {
        readiness::readiness(&self.0)
    }

    /// All that is known of the cluster here.
    pub fn status(&self) -> Status {
        status::status(&self.0)
    }

    /// Ends everything: this node's name and its leading are free at once, calls to peers end, and
    /// the handle of coordination is closed. The map stays in use.
    pub async fn stop(&self) {
        self.0.stop.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
        self.0.coordination.close().await;
        self.0.roster.shutdown().await;
    }
}

impl Topology for Control {
    fn view(&self) -> Option<Arc<MapView>> {
        self.view()
    }

    fn at_least(
        &self,
        epoch: Epoch,
        deadline: Instant,
    ) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
        Box::pin(self.at_least(epoch, deadline))
    }

    fn judge_write(
        &self,
        shard: ShardId,
        place: Place,
        routed: Version,
        target: StoreId,
    ) -> Verdict {
        self.judge_write(shard, place, routed, target)
    }

    fn judge_reads(
        &self,
        shards: &ShardSet,
        routed: Version,
        target: StoreId,
    ) -> Vec<(ShardId, Verdict)> {
        if !self.0.standing.may_serve() {
            return shards.iter().map(|number| (shard_of(number), Verdict::NotReady)).collect();
        }
        let member = self.0.member.read();
        let stale = Verdict::StaleEpoch { mine: member.version().epoch };
        let views = member.assignment().map_or(&[][..], |assignment| &assignment.shards);
        let place_of = |shard: ShardId| views.get(usize::from(shard.0))?.place_of(member.me()?);
        let mut faults = Vec::new();
        for shard in shards.iter().map(shard_of) {
            let read = |place| member.judge_read(shard, place, routed, target);
            let verdict = place_of(shard).map_or(stale, read);
            if verdict != Verdict::Ok {
                faults.push((shard, verdict));
            }
        }
        faults
    }

    fn given(&self, routed: Version) -> Epoch {
        self.given(routed)
    }

    fn peer(&self, node: NodeIndex) -> Option<Peer> {
        self.peer(node)
    }

    fn report(&self) -> Report {
        self.report()
    }

    fn assignment_newer(&self, than: View) -> Option<Bytes> {
        self.assignment_newer(than)
    }

    fn heard(&self, from: &Speaker) {
        self.heard(from);
    }
}
