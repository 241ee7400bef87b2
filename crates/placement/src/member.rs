//! A data node's part: which map it goes by, and what it says to requests about a shard.
//!
//! **Invariant:** a map is applied only after it is on disk, and only a newer one. Peers count on
//! what a node once said it had applied, also after it crashed.
//!
//! **Invariant:** a node takes part only as the row of the table that names its own store, and only
//! if its folder has begun the run that the table names: another disk, a folder that was rolled
//! back or copied answers for nothing, however often it is started.

use std::collections::BTreeMap;
use std::sync::Arc;

use rangekeeper_model::ShardId;

use crate::admission::{Verdict, is_active, is_sealed, may_drop, may_export, may_read, may_write};
use crate::assignment::{Assignment, Shard};
use crate::ids::{NodeIndex, Place, SlotEpoch, Version};
use crate::slot::SlotState;
use rangekeeper_model::{ClusterId, Epoch, Lineage, NodeId, StoreId};

#[cfg(test)]
mod tests;

/// What a node is told.
#[derive(Clone, Debug)]
pub enum MemberEvent {
    /// A map that was read from, or confirmed by, ZooKeeper, or came from a peer that had such.
    Offered(Arc<Assignment>),
    /// The map is on disk, synced.
    Persisted(Version),
    /// A message of a peer named its store and the version it has applied.
    Heard(StoreId, Version),
    /// The log is replayed.
    Replayed,
    /// The copy of a shard here is found damaged, or may lack what was synced.
    Damaged(ShardId),
}

/// What a node has to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberEffect {
    /// Write the map to disk, sync, then say so.
    Persist(Arc<Assignment>),
    /// A map of this version is somewhere: get it.
    Fetch(Version),
    /// Another cluster's map was offered.
    RefuseCluster(ClusterId),
    /// Two maps have one version: somebody published past the fence.
    AlarmConflict(Version),
    /// Sync all that was taken for the shard; its tail ends here.
    Seal(ShardId, Place, SlotEpoch),
    /// Gather the slot's data: from the old owner, or from the other places.
    Pull(ShardId, Place, SlotEpoch),
    /// All slots of the shard are steady at others: what is here may be deleted after a while.
    MayDrop(ShardId),
}

/// The state of a data node.
#[derive(Clone, Debug)]
pub struct Member {
    cluster: ClusterId,
    id: NodeId,
    store: StoreId,
    lineage: Lineage,
    assignment: Option<Arc<Assignment>>,
    /// On its way to disk.
    pending: Option<Arc<Assignment>>,
    me: Option<NodeIndex>,
    /// What the owners of other stores have said they had applied.
    heard: BTreeMap<StoreId, Version>,
    is_replaying: bool,
    /// Damaged shards, with the epoch that was applied when it was found.
    damaged: BTreeMap<ShardId, Epoch>,
}

impl Member {
    /// A node as it starts, with the map that it had on disk. It answers nothing until its log is
    /// replayed.
    pub fn new(
        cluster: ClusterId,
        id: NodeId,
        store: StoreId,
        lineage: Lineage,
        cached: Option<Arc<Assignment>>,
    ) -> Self {
        let mut member = Self {
            cluster,
            id,
            store,
            lineage,
            assignment: None,
            pending: None,
            me: None,
            heard: BTreeMap::new(),
            is_replaying: true,
            damaged: BTreeMap::new(),
        };
        if let Some(assignment) = cached.filter(|cached| cached.cluster == cluster) {
            member.take(assignment);
        }
        member
    }

    /// The map it goes by.
    pub fn assignment(&self) -> Option<&Arc<Assignment>> {
        self.assignment.as_ref()
    }

    /// The version of that map; every message names it.
    pub fn version(&self) -> Version {
        self.assignment.as_ref().map_or_else(Version::default, |a| a.version())
    }

    /// The store that is here.
    pub fn store(&self) -> StoreId {
        self.store
    }

    /// Its row in that map, if the map knows it with this store.
    pub fn me(&self) -> Option<NodeIndex> {
        self.me
    }

    /// Whether that map names the present run of the folder: whoever lacks it, lacks what is
    /// acknowledged from now on, and is known by that.
    pub fn is_named(&self) -> bool {
        let row = self.me.and_then(|me| Some(self.assignment.as_ref()?.node(me)));
        row.is_some_and(|row| row.run == self.lineage.run())
    }

    /// Whether the copy of a shard here may not be used.
    pub fn is_damaged(&self, shard: ShardId) -> bool {
        self.damaged.contains_key(&shard)
    }

    /// The shards whose copies here may not be used.
    pub fn damaged(&self) -> impl Iterator<Item = ShardId> {
        self.damaged.keys().copied()
    }

    /// Takes an event in.
    pub fn step(&mut self, event: MemberEvent, effects: &mut Vec<MemberEffect>) {
        match event {
            MemberEvent::Offered(assignment) => self.offer(assignment, effects),
            MemberEvent::Persisted(version) => {
                let is_it = |pending: &mut Arc<Assignment>| pending.version() == version;
                if let Some(assignment) = self.pending.take_if(is_it) {
                    self.take(assignment);
                    self.name_duties(effects);
                }
            }
            MemberEvent::Heard(store, version) => {
                let known = self.heard.entry(store).or_default();
                *known = version.max(*known);
                let newest = self.pending.as_ref().map_or_else(|| self.version(), |a| a.version());
                if version > newest {
                    effects.push(MemberEffect::Fetch(version));
                }
            }
            MemberEvent::Replayed => self.is_replaying = false,
            MemberEvent::Damaged(shard) => {
                self.damaged.insert(shard, self.version().epoch);
            }
        }
    }

    fn offer(&mut self, assignment: Arc<Assignment>, effects: &mut Vec<MemberEffect>) {
        if assignment.cluster != self.cluster {
            return effects.push(MemberEffect::RefuseCluster(assignment.cluster));
        }
        let newest = self.pending.as_ref().or(self.assignment.as_ref());
        match newest {
            Some(newest) if newest.version() > assignment.version() => {}
            Some(newest) if newest.version() == assignment.version() => {
                if newest.publish != assignment.publish {
                    effects.push(MemberEffect::AlarmConflict(assignment.version()));
                }
            }
            _ => {
                self.pending = Some(Arc::clone(&assignment));
                effects.push(MemberEffect::Persist(assignment));
            }
        }
    }

    fn take(&mut self, assignment: Arc<Assignment>) {
        let row = assignment.row(&self.id, self.store);
        self.me = row.filter(|me| self.lineage.contains(assignment.node(*me).run));
        if let Some(me) = self.me {
            // A slot that begins to gather after the damage was found makes the copy anew.
            self.damaged.retain(|shard, found| {
                let shard = assignment.shard(*shard);
                let slot = shard.place_of(me).map(|place| shard.slot(place));
                !slot.is_some_and(|slot| slot.epoch.0 > *found && gathers(slot.state, me))
            });
        }
        self.assignment = Some(assignment);
    }

    /// What the map that was just applied asks of this node.
    fn name_duties(&self, effects: &mut Vec<MemberEffect>) {
        let (Some(assignment), Some(me)) = (&self.assignment, self.me) else { return };
        for id in assignment.shard_count().iter() {
            let shard = assignment.shard(id);
            match shard.place_of(me) {
                Some(place) if is_sealed(shard, me, place) => {
                    effects.push(MemberEffect::Seal(id, place, shard.slot(place).epoch));
                }
                Some(place) if gathers(shard.slot(place).state, me) => {
                    effects.push(MemberEffect::Pull(id, place, shard.slot(place).epoch));
                }
                None if may_drop(shard, me) => effects.push(MemberEffect::MayDrop(id)),
                _ => {}
            }
        }
    }

    /// What all requests have in common: the store, the generation, the row.
    #[inline]
    fn admit(
        &self,
        shard: ShardId,
        routed: Version,
        target: StoreId,
    ) -> Result<(&Shard, &Assignment, NodeIndex), Verdict> {
        if target != self.store {
            return Err(Verdict::WrongStore);
        }
        let Some(assignment) = &self.assignment else { return Err(Verdict::NotReady) };
        if routed.generation != assignment.generation {
            return Err(Verdict::WrongCluster);
        }
        if self.is_replaying || self.damaged.contains_key(&shard) {
            return Err(Verdict::NotReady);
        }
        let view = assignment.shards.get(usize::from(shard.0));
        match (self.me, view) {
            (Some(me), Some(view)) => Ok((view, assignment, me)),
            _ => Err(Verdict::StaleEpoch { mine: assignment.epoch }),
        }
    }

    /// Whether a write of the shard for the slot at `place` may be taken: by the map of `routed`,
    /// for the store `target`. To be asked when it arrives, and again when it is synced: only what
    /// is still right then may be acknowledged. A map that was applied in between may have let
    /// somebody copy this shard without the write.
    pub fn judge_write(
        &self,
        shard: ShardId,
        place: Place,
        routed: Version,
        target: StoreId,
    ) -> Verdict {
        let (view, assignment, me) = match self.admit(shard, routed, target) {
            Ok(admitted) => admitted,
            Err(verdict) => return verdict,
        };
        match may_write(view, assignment.epoch, me, place, routed.epoch) {
            Verdict::Ok if !self.is_active(view, assignment, place) => Verdict::NotReady,
            verdict => verdict,
        }
    }

    /// The epoch under which an acknowledgement here is given, of a request that was routed by the
    /// map of `routed`: that of the older of the two maps. A node that is behind may still be the
    /// writer by a state that the router's map has ended long ago; its acknowledgement must not
    /// count for the slot's present one, as which it would have to wait to be active.
    pub fn given(&self, routed: Version) -> Epoch {
        routed.epoch.min(self.version().epoch)
    }

    /// Whether this node may acknowledge as the slot's writer.
    fn is_active(&self, view: &Shard, assignment: &Assignment, place: Place) -> bool {
        is_active(view, place, assignment.quorum, |node| {
            let heard = self.heard.get(&assignment.node(node).store);
            let same = heard.filter(|heard| heard.generation == assignment.generation);
            same.map_or(Epoch(0), |heard| heard.epoch)
        })
    }

    /// Whether a read of the slot may be answered.
    #[inline]
    pub fn judge_read(
        &self,
        shard: ShardId,
        place: Place,
        routed: Version,
        target: StoreId,
    ) -> Verdict {
        match self.admit(shard, routed, target) {
            Ok((view, assignment, me)) => may_read(view, assignment.epoch, me, place, routed.epoch),
            Err(verdict) => verdict,
        }
    }

    /// Whether the copy here may be given to a slot that took its state at `wanted`.
    pub fn judge_export(
        &self,
        shard: ShardId,
        place: Place,
        wanted: SlotEpoch,
        routed: Version,
        target: StoreId,
    ) -> Verdict {
        match self.admit(shard, routed, target) {
            Ok((view, assignment, me)) => may_export(view, assignment.epoch, me, place, wanted),
            Err(verdict) => verdict,
        }
    }
}

/// Whether `node` has to gather data for a slot in this state.
fn gathers(state: SlotState, node: NodeIndex) -> bool {
    let is_under_way = !matches!(state, SlotState::Steady { .. } | SlotState::Empty);
    is_under_way && state.target() == Some(node)
}
