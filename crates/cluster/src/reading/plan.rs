//! Whom to ask for which shards: one [`ReadRound`] a shard, its questions gathered by node.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rangekeeper_model::{Epoch, ShardId};
use rangekeeper_placement::{NodeIndex, Place, ReadEffect, ReadEvent, ReadMode, ReadRound, Shard};
use rangekeeper_storage::ShardSet;
use rangekeeper_wire::proto::peer as proto;
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::{ReadError, Said};
use crate::identity::View;
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

/// A read of all shards.
pub(crate) struct Plan {
    topology: Arc<dyn Topology>,
    mode: ReadMode,
    map: Arc<MapView>,
    rounds: Vec<ReadRound>,
    costs: Vec<Option<u32>>,
    asks: BTreeMap<NodeIndex, Asks>,
    /// A map of this epoch is needed, for these shards.
    wanted: Option<Epoch>,
    restart: BTreeSet<ShardId>,
    /// Shards whose answers in this round do not count any more.
    discarded: BTreeSet<ShardId>,
    troubles: BTreeMap<ShardId, String>,
    failed: Option<ShardId>,
}

impl Plan {
    /// Begins a read of all shards by the map in use.
    pub(crate) fn begin(topology: &Arc<dyn Topology>, mode: ReadMode) -> Result<Self, ReadError> {
        let map = topology.view().ok_or(ReadError::NoMap("this node has no map yet"))?;
        if !map.assignment.is_placed() {
            return Err(ReadError::NoMap("the cluster's shards are not placed yet"));
        }
        let mut plan = Self {
            topology: Arc::clone(topology),
            mode,
            rounds: Vec::new(),
            costs: costs(&map, &**topology),
            map,
            asks: BTreeMap::new(),
            wanted: None,
            restart: BTreeSet::new(),
            discarded: BTreeSet::new(),
            troubles: BTreeMap::new(),
            failed: None,
        };
        for shard in plan.map.assignment.shard_count().iter() {
            let (round, effects) = plan.round_of(shard);
            plan.rounds.push(round);
            plan.carry_out(shard, effects);
        }
        Ok(plan)
    }

    /// The map by which it asks.
    pub(crate) fn map(&self) -> Arc<MapView> {
        Arc::clone(&self.map)
    }

    /// What is to be asked now; nothing once all is answered.
    pub(crate) fn next_round(&mut self) -> Result<Option<BTreeMap<NodeIndex, Asks>>, ReadError> {
        if let Some(shard) = self.failed {
            let why = self.troubles.remove(&shard);
            let why = why.unwrap_or_else(|| "too few of its places are readable".to_owned());
            return Err(ReadError::Unavailable { shard, why });
        }
        self.discarded.clear();
        let asks = std::mem::take(&mut self.asks);
        Ok((!asks.is_empty()).then_some(asks))
    }

    /// Takes in what a node said to all that it was asked.
    pub(crate) fn take(&mut self, said: Said) {
        let Said { node, asks, result } = said;
        let name = self.map.assignment.node(node).id.clone();
        let faults: BTreeMap<u32, proto::ShardFault> = match &result {
            Ok(faults) => faults.iter().map(|fault| (fault.shard, fault.clone())).collect(),
            Err(_) => BTreeMap::new(),
        };
        for number in &asks.full | &asks.unsettled {
            let shard = ShardId(u16::try_from(number).expect("shards are counted in u16"));
            let Some(place) = self.map.shard(shard).place_of(node) else { continue };
            let event = match (&result, faults.get(&number)) {
                (Err(error), _) => {
                    self.troubles.insert(shard, error.to_string());
                    ReadEvent::Failed(place)
                }
                (Ok(_), Some(fault)) => {
                    let state = fault.state().as_str_name();
                    self.troubles.insert(shard, format!("node {name} says {state}"));
                    let mine = fault.view.map(View::from).unwrap_or_default().epoch;
                    match fault.state() {
                        proto::ShardState::Stale => ReadEvent::Stale { place, mine },
                        _ => ReadEvent::Failed(place),
                    }
                }
                (Ok(_), None) => ReadEvent::Answered(place, node),
            };
            if !self.discarded.contains(&shard) {
                self.step(shard, event);
            }
        }
    }

    /// Gets the newer map that some place has, if need be, and begins again by it.
    pub(crate) fn refresh(&mut self, runtime: &Handle, deadline: Instant) {
        let Some(wanted) = self.wanted.take() else { return };
        let deadline = deadline.min(Instant::now() + REFRESH_WITHIN);
        let got = runtime.block_on(self.topology.at_least(wanted, deadline));
        let map = self.topology.view();
        let Some(map) = map.filter(|map| got && map.version() > self.map.version()) else {
            if let Some(shard) = self.restart.pop_first() {
                self.troubles.insert(shard, format!("map {wanted} is not to be had"));
                self.failed = Some(shard);
            }
            return;
        };
        self.costs = costs(&map, &*self.topology);
        self.map = map;
        // By an older map nobody who is asked from now on would answer the others either.
        self.restart.clear();
        self.asks.clear();
        for shard in self.map.assignment.shard_count().iter() {
            if !self.is_done(shard) {
                let (round, effects) = self.round_of(shard);
                self.rounds[usize::from(shard.0)] = round;
                self.carry_out(shard, effects);
            }
        }
    }

    fn is_done(&self, shard: ShardId) -> bool {
        self.rounds[usize::from(shard.0)].is_complete()
    }

    fn round_of(&self, shard: ShardId) -> (ReadRound, Vec<ReadEffect>) {
        let (view, quorum) = (self.map.shard(shard), self.map.assignment.quorum);
        let cost = |place| cost_of(view, place, &self.costs);
        let mut effects = Vec::new();
        let round = ReadRound::begin(quorum, self.mode, self.map.epoch(), view, cost, &mut effects);
        (round, effects)
    }

    fn step(&mut self, shard: ShardId, event: ReadEvent) {
        let mut effects = Vec::new();
        let view = self.map.shard(shard);
        let costs = &self.costs;
        let round = &mut self.rounds[usize::from(shard.0)];
        round.step(view, event, |place| cost_of(view, place, costs), &mut effects);
        self.carry_out(shard, effects);
    }

    fn carry_out(&mut self, shard: ShardId, effects: Vec<ReadEffect>) {
        let number = u32::from(shard.0);
        for effect in effects {
            match effect {
                ReadEffect::AskUnsettled(_, node) => {
                    self.asks.entry(node).or_default().unsettled.insert(number);
                }
                ReadEffect::AskAll(_, node) => {
                    self.asks.entry(node).or_default().full.insert(number);
                }
                ReadEffect::Discard => {
                    self.discarded.insert(shard);
                }
                ReadEffect::Refresh(epoch) => {
                    self.wanted = self.wanted.max(Some(epoch));
                    self.restart.insert(shard);
                }
                // Each message names the epoch that its sender has, so the node knows already.
                ReadEffect::Teach(_) | ReadEffect::Done => {}
                ReadEffect::Unavailable => self.failed = Some(shard),
            }
        }
    }
}

/// What it costs to ask each node: this one nothing, one that failed lately most, the others by
/// turns, so that one call goes to one of them for all shards and not always to the same.
fn costs(map: &MapView, topology: &dyn Topology) -> Vec<Option<u32>> {
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

fn cost_of(view: &Shard, place: Place, costs: &[Option<u32>]) -> Option<u32> {
    let readers = view.slot(place).state.readers().into_iter();
    readers.map(|node| costs[node.index()]).try_fold(0, |most, cost| Some(most.max(cost?)))
}
