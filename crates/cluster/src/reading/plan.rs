//! Whom to ask for which shards: one [`ReadRound`] for all shards that are alike, its questions
//! gathered by node.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rangekeeper_model::{Epoch, ShardId};
use rangekeeper_placement::{NodeIndex, Place, ReadEffect, ReadEvent, ReadMode, ReadRound, Shard};
use rangekeeper_storage::ShardSet;
use rangekeeper_wire::proto::peer as proto;
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::{ReadError, Said};
use crate::error::PeerError;
use crate::identity::View;
use crate::limits::{BEGIN_AT_LAST_WITHIN, BEGIN_WITHIN};
use crate::topology::{MapView, Topology};

/// A newer map is waited for at most so long: it is on its way to every node.
const REFRESH_WITHIN: Duration = Duration::from_secs(3);
/// What a place whose node failed lately costs more than any other.
const DOUBTFUL: u32 = 1 << 20;

/// What one node is asked for, by numbers of shards.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Asks {
    /// Shards that are wanted in full.
    pub(crate) full: ShardSet,
    /// Shards of which what is unsettled is wanted.
    pub(crate) unsettled: ShardSet,
}

/// A read of shards.
pub(crate) struct Plan {
    topology: Arc<dyn Topology>,
    mode: ReadMode,
    map: Arc<MapView>,
    reads: Vec<Read>,
    costs: Vec<Option<u32>>,
    asks: BTreeMap<NodeIndex, Asks>,
    /// A map of this epoch is needed, for this shard among others.
    wanted: Option<(Epoch, ShardId)>,
    failed: Option<(ShardId, String)>,
    /// Some place may well answer when it is asked again.
    may_recover: bool,
    /// It was asked again.
    is_second: bool,
}

/// A read of shards that are alike: in the same places, and so far answered alike.
#[derive(Clone)]
struct Read {
    shards: ShardSet,
    round: ReadRound,
    /// Answers that are on their way do not count any more.
    is_discarded: bool,
    /// What a place said last that gave nothing.
    trouble: Option<String>,
}

impl Plan {
    /// Begins a read, by the map in use, of all shards or of those `within`.
    pub(crate) fn begin(
        topology: &Arc<dyn Topology>,
        mode: ReadMode,
        within: Option<&ShardSet>,
    ) -> Result<Self, ReadError> {
        let map = topology.view().ok_or(ReadError::NoMap("this node has no map yet"))?;
        if !map.assignment.is_placed() {
            return Err(ReadError::NoMap("the cluster's shards are not placed yet"));
        }
        let mut plan = Self {
            topology: Arc::clone(topology),
            mode,
            reads: Vec::new(),
            costs: costs(&map, &**topology),
            map,
            asks: BTreeMap::new(),
            wanted: None,
            failed: None,
            may_recover: false,
            is_second: false,
        };
        plan.begin_reads(within);
        Ok(plan)
    }

    /// The map by which it asks.
    pub(crate) fn map(&self) -> Arc<MapView> {
        Arc::clone(&self.map)
    }

    /// How long a place has until it begins to answer.
    pub(crate) fn begin_within(&self) -> Duration {
        if self.is_second { BEGIN_AT_LAST_WITHIN } else { BEGIN_WITHIN }
    }

    /// What is to be asked now; nothing once all is answered. Where too few places gave something,
    /// all are asked once more if some were only late or lost the connection: who stood still for
    /// a while has lost all of them.
    pub(crate) fn next_round(&mut self) -> Result<Option<BTreeMap<NodeIndex, Asks>>, ReadError> {
        if self.failed.is_some() && self.may_recover && !self.is_second {
            (self.is_second, self.failed) = (true, None);
            self.begin_again();
        }
        if let Some((shard, why)) = self.failed.take() {
            return Err(ReadError::Unavailable { shard, why });
        }
        for read in &mut self.reads {
            read.is_discarded = false;
        }
        let asks = std::mem::take(&mut self.asks);
        Ok((!asks.is_empty()).then_some(asks))
    }

    /// Takes in what a node said to all that it was asked.
    pub(crate) fn take(&mut self, said: Said) {
        let Said { node, asks, result } = said;
        let asked = &asks.full | &asks.unsettled;
        match result {
            Err(error) => {
                self.may_recover |= matches!(
                    error,
                    PeerError::Expired { .. } | PeerError::Deadline { .. } | PeerError::Lost { .. }
                );
                for at in self.asked(&asked) {
                    self.reads[at].trouble = Some(error.to_string());
                    self.step(at, node, ReadEvent::Failed);
                }
            }
            Ok(faults) => {
                let mut well = asked;
                for (shards, fault) in alike_faults(faults) {
                    self.split_off(&shards);
                    well -= &shards;
                    self.take_fault(node, &shards, &fault);
                }
                for at in self.asked(&well) {
                    self.step(at, node, |place| ReadEvent::Answered(place, node));
                }
            }
        }
    }

    fn take_fault(&mut self, node: NodeIndex, shards: &ShardSet, fault: &proto::ShardFault) {
        let name = &self.map.assignment.node(node).id;
        let trouble = format!("node {name} says {}", fault.state().as_str_name());
        let mine = fault.view.map(View::from).unwrap_or_default().epoch;
        for at in self.asked(shards) {
            self.reads[at].trouble = Some(trouble.clone());
            self.step(at, node, |place| match fault.state() {
                proto::ShardState::Stale => ReadEvent::Stale { place, mine },
                _ => ReadEvent::Failed(place),
            });
        }
    }

    /// Gets the newer map that some place has, if need be, and begins again by it.
    pub(crate) fn refresh(&mut self, runtime: &Handle, deadline: Instant) {
        let Some((wanted, shard)) = self.wanted.take() else { return };
        let deadline = deadline.min(Instant::now() + REFRESH_WITHIN);
        let got = runtime.block_on(self.topology.at_least(wanted, deadline));
        let map = self.topology.view();
        let Some(map) = map.filter(|map| got && map.version() > self.map.version()) else {
            self.failed = Some((shard, format!("map {wanted} is not to be had")));
            return;
        };
        self.map = map;
        self.begin_again();
    }

    /// Begins again with what is not answered yet, by the map in use now.
    fn begin_again(&mut self) {
        self.costs = costs(&self.map, &*self.topology);
        // By an older map nobody who is asked from now on would answer the others either.
        self.asks.clear();
        let unfinished = self.reads.extract_if(.., |read| !read.round.is_complete());
        let unfinished: ShardSet = unfinished.flat_map(|read| read.shards).collect();
        self.begin_reads(Some(&unfinished));
    }

    fn begin_reads(&mut self, within: Option<&ShardSet>) {
        let map = Arc::clone(&self.map);
        for alike in map.alike() {
            let shards = within.map_or_else(|| alike.clone(), |within| alike & within);
            let Some(shard) = first_of(&shards) else { continue };
            let (view, quorum) = (map.shard(shard), map.assignment.quorum);
            let cost = |place| cost_of(view, place, &self.costs);
            let mut effects = Vec::new();
            let round = ReadRound::begin(quorum, self.mode, map.epoch(), view, cost, &mut effects);
            self.reads.push(Read { shards, round, is_discarded: false, trouble: None });
            self.carry_out(self.reads.len() - 1, effects);
        }
    }

    /// The reads of shards that were asked for. Whoever is asked is asked for all shards of a
    /// read, so the first of them tells.
    fn asked(&self, shards: &ShardSet) -> Vec<usize> {
        let is_asked = |read: &Read| read.shards.min().is_some_and(|first| shards.contains(first));
        (0..self.reads.len()).filter(|at| is_asked(&self.reads[*at])).collect()
    }

    /// From here on these shards are no longer like the others that they were read with.
    fn split_off(&mut self, shards: &ShardSet) {
        for at in 0..self.reads.len() {
            let apart = &self.reads[at].shards & shards;
            if !apart.is_empty() && apart.len() < self.reads[at].shards.len() {
                self.reads[at].shards -= &apart;
                let read = Read { shards: apart, ..self.reads[at].clone() };
                self.reads.push(read);
            }
        }
    }

    fn step(&mut self, at: usize, node: NodeIndex, event: impl FnOnce(Place) -> ReadEvent) {
        let map = Arc::clone(&self.map);
        let Read { shards, round, is_discarded, .. } = &mut self.reads[at];
        let Some(shard) = first_of(shards).filter(|_| !*is_discarded) else { return };
        let view = map.shard(shard);
        let Some(place) = view.place_of(node) else { return };
        let mut effects = Vec::new();
        let costs = &self.costs;
        round.step(view, event(place), |place| cost_of(view, place, costs), &mut effects);
        self.carry_out(at, effects);
    }

    fn carry_out(&mut self, at: usize, effects: Vec<ReadEffect>) {
        let Read { shards, is_discarded, trouble, .. } = &mut self.reads[at];
        let shard = first_of(shards).expect("a read has shards");
        for effect in effects {
            match effect {
                ReadEffect::AskUnsettled(_, node) => {
                    self.asks.entry(node).or_default().unsettled |= &*shards;
                }
                ReadEffect::AskAll(_, node) => {
                    self.asks.entry(node).or_default().full |= &*shards;
                }
                ReadEffect::Discard => *is_discarded = true,
                ReadEffect::Refresh(epoch) => {
                    self.wanted = self.wanted.max(Some((epoch, shard)));
                }
                // Each message names the epoch that its sender has, so the node knows already.
                ReadEffect::Teach(_) | ReadEffect::Done => {}
                ReadEffect::Unavailable => {
                    let few = || "too few of its places are readable".to_owned();
                    self.failed = Some((shard, trouble.take().unwrap_or_else(few)));
                }
            }
        }
    }
}

pub(super) fn first_of(shards: &ShardSet) -> Option<ShardId> {
    shards.min().map(shard_of)
}

/// A shard by its number.
pub(crate) fn shard_of(number: u32) -> ShardId {
    ShardId(u16::try_from(number).expect("shards are counted in u16"))
}

/// Shards of which a node says the same, and what it says.
fn alike_faults(faults: Vec<proto::ShardFault>) -> Vec<(ShardSet, proto::ShardFault)> {
    let mut alike: Vec<(ShardSet, proto::ShardFault)> = Vec::new();
    for fault in faults {
        let is_like =
            |other: &proto::ShardFault| (other.state, other.view) == (fault.state, fault.view);
        match alike.iter_mut().find(|(_, other)| is_like(other)) {
            Some((shards, _)) => {
                shards.insert(fault.shard);
            }
            None => alike.push((ShardSet::from([fault.shard]), fault)),
        }
    }
    alike
}

/// What it costs to ask each node: this one nothing, one that failed lately most, the others by
/// turns, so that one call goes to one of them for all shards and not always to the same.
pub(super) fn costs(map: &MapView, topology: &dyn Topology) -> Vec<Option<u32>> {
    let count = u32::try_from(map.assignment.nodes.len()).expect("rows are counted in u16");
    let turn = fastrand::u32(..count.max(1));
    let cost = |at: u32| {
        let node = NodeIndex(u16::try_from(at).expect("rows are counted in u16"));
        if map.me == Some(node) {
            return Some(0);
        }
        let by_turns = 1 + (at + turn) % count;
        let peer = topology.peer(node)?;
        Some(if peer.is_doubtful() { by_turns + DOUBTFUL } else { by_turns })
    };
    (0..count).map(cost).collect()
}

pub(super) fn cost_of(view: &Shard, place: Place, costs: &[Option<u32>]) -> Option<u32> {
    let readers = view.slot(place).state.readers().into_iter();
    readers.map(|node| costs[node.index()]).try_fold(0, |most, cost| Some(most.max(cost?)))
}

#[cfg(test)]
mod tests;
