//! One write under way: who was asked, who has it, what is still to be done.
//!
//! The decisions are [`WriteRound`]'s, one round a shard; here its effects become calls, a call for
//! each node and not for each shard. The sender is answered as soon as every shard has its quorum;
//! what is missing then goes on, within bounds, so that most writes are settled at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rangekeeper_model::{Epoch, StoreId};
use rangekeeper_placement::{NodeIndex, Place, Quorum, WriteEffect, WriteEvent, WriteRound};
use rangekeeper_wire::proto::peer as proto;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::Routed;
use crate::error::PeerError;
use crate::identity::View;
use crate::peer::{Call, Urgency};
use crate::router::Inner;
use crate::rows::Batch;
use crate::topology::MapView;

/// After how long a copy that did not answer is late, and the witness is asked.
const LATE: Duration = Duration::from_millis(500);
/// The sender waits at most so long for a quorum: it tries again with the same rows, so waiting
/// longer gains nothing.
const ANSWER_WITHIN: Duration = Duration::from_millis(4500);
/// So long after its answer a write is still brought to places that missed it.
const FINISH_WITHIN: Duration = Duration::from_secs(10);
/// The pause before places that missed a write are asked again; it doubles up to the longest.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MOST: Duration = Duration::from_secs(2);

/// A write under way.
pub(super) struct Driver {
    router: Arc<Inner>,
    batch: Arc<Batch>,
    map: Arc<MapView>,
    quorum: Quorum,
    shards: Vec<ShardWrite>,
    calls: JoinSet<Event>,
    /// What is to be sent, by node.
    asks: BTreeMap<NodeIndex, Vec<(usize, Place)>>,
    wanted: Option<Epoch>,
    is_refreshing: bool,
    positions: Vec<Stored>,
    /// Rows that places cannot store, with what each of them said.
    rejected: BTreeMap<u32, Vec<String>>,
    answer: Option<oneshot::Sender<Routed>>,
    began: Instant,
    retry_at: Option<Instant>,
    pause: Duration,
    is_late: bool,
}

struct ShardWrite {
    round: WriteRound,
    /// Calls on their way.
    pending: usize,
    /// What went wrong last, for who has to be told.
    trouble: Option<String>,
}

/// Where a part of the write lies.
struct Stored {
    store: StoreId,
    position: u64,
    runs: Vec<usize>,
}

enum Event {
    Answered(Box<Answered>),
    Refreshed,
}

struct Answered {
    node: NodeIndex,
    store: StoreId,
    asked: Vec<(usize, Place)>,
    /// The rows that were sent, if not all of the shards.
    only: Option<BTreeSet<u32>>,
    result: Result<proto::PartAnswer, PeerError>,
}

impl Driver {
    pub(super) fn new(
        router: Arc<Inner>,
        batch: Arc<Batch>,
        map: Arc<MapView>,
        answer: oneshot::Sender<Routed>,
    ) -> Self {
        let quorum = map.assignment.quorum;
        let mut driver = Self {
            router,
            quorum,
            shards: Vec::with_capacity(batch.runs().len()),
            calls: JoinSet::new(),
            asks: BTreeMap::new(),
            wanted: None,
            is_refreshing: false,
            positions: Vec::new(),
            rejected: BTreeMap::new(),
            answer: Some(answer),
            began: Instant::now(),
            retry_at: None,
            pause: RETRY_FIRST,
            is_late: false,
            batch,
            map,
        };
        let mut effects = Vec::new();
        for run in 0..driver.batch.runs().len() {
            let round = WriteRound::begin(quorum, driver.map.epoch(), &mut effects);
            driver.shards.push(ShardWrite { round, pending: 0, trouble: None });
            driver.carry_out(run, &mut effects);
        }
        driver
    }

    /// Runs until everything is settled or given up.
    pub(super) async fn run(mut self) {
        let mut room: Option<OwnedSemaphorePermit> = None;
        loop {
            self.send();
            self.conclude();
            if self.shards.iter().all(|shard| shard.round.is_settled()) {
                break;
            }
            if self.answer.is_none() && room.is_none() {
                // What is held beyond the answer is bounded: there may be no room for it.
                room = self.router.room_for(self.batch.bytes());
                if room.is_none() {
                    break;
                }
            }
            let timer = self.next_timer();
            tokio::select! {
                event = self.calls.join_next(), if !self.calls.is_empty() => {
                    let event = event.expect("there are calls");
                    self.take(event.expect("calls do not panic and are not cancelled"));
                }
                () = sleep_until(timer) => {
                    if !self.time_passed() {
                        break;
                    }
                }
            }
        }
        self.conclude();
        self.tell_settled();
        // Calls that are still on their way are dropped; what they were sent may be stored.
        self.calls.abort_all();
    }

    fn step(&mut self, run: usize, event: WriteEvent) {
        let mut effects = Vec::new();
        let view = self.map.shard(self.batch.runs()[run].shard);
        self.shards[run].round.step(view, event, &mut effects);
        self.carry_out(run, &mut effects);
    }

    fn carry_out(&mut self, run: usize, effects: &mut Vec<WriteEffect>) {
        for effect in effects.drain(..) {
            match effect {
                WriteEffect::Ask(place) => {
                    let slot = self.map.shard(self.batch.runs()[run].shard).slot(place);
                    if let Some(node) = slot.state.writer() {
                        self.shards[run].pending += 1;
                        self.asks.entry(node).or_default().push((run, place));
                    }
                }
                WriteEffect::Refresh(epoch) => self.wanted = self.wanted.max(Some(epoch)),
                // Each message names the epoch that its sender has, so the node knows already; the
                // rounds say by themselves how far they are.
                WriteEffect::Teach(_) | WriteEffect::Acknowledge | WriteEffect::Settle => {}
            }
        }
    }

    /// Sends what is to be sent, one call a node. Nodes that are asked for the same shards get the
    /// same bytes.
    fn send(&mut self) {
        let mut encoded: Vec<(Vec<usize>, bytes::Bytes)> = Vec::new();
        while let Some((node, asked)) = self.asks.pop_first() {
            let runs: Vec<usize> = asked.iter().map(|(run, _)| *run).collect();
            if self.map.me == Some(node) {
                self.ask_self(node, asked, runs);
                continue;
            }
            let known = encoded.iter().find(|(of, _)| *of == runs).map(|(_, rows)| rows.clone());
            let rows = known.unwrap_or_else(|| {
                let rows = self.batch.encode(&runs, None);
                encoded.push((runs, rows.clone()));
                rows
            });
            self.ask_peer(node, asked, rows, None);
        }
        if let Some(wanted) = self.wanted
            && !self.is_refreshing
        {
            self.is_refreshing = true;
            let topology = Arc::clone(self.router.topology());
            let deadline = self.give_up_at();
            self.calls.spawn(async move {
                topology.at_least(wanted, deadline).await;
                Event::Refreshed
            });
        }
    }

    fn ask_self(&mut self, node: NodeIndex, asked: Vec<(usize, Place)>, runs: Vec<usize>) {
        let (router, batch) = (Arc::clone(&self.router), Arc::clone(&self.batch));
        let (routed, store) = (self.map.version(), self.router.replica().store_id());
        let threads = self.router.threads().store.clone();
        let write = async move {
            let answer = router.replica().write_batch(&batch, &runs, routed).await;
            let result = Ok(answer);
            Event::Answered(Box::new(Answered { node, store, asked, only: None, result }))
        };
        self.calls.spawn_on(write, &threads);
    }

    fn ask_peer(
        &mut self,
        node: NodeIndex,
        asked: Vec<(usize, Place)>,
        rows: bytes::Bytes,
        only: Option<BTreeSet<u32>>,
    ) {
        let store = self.map.assignment.node(node).store;
        let Some(peer) = self.router.topology().peer(node).filter(|peer| peer.store() == store)
        else {
            for (run, place) in asked {
                self.miss(run, place, format!("node {} is not there", self.name(node)));
            }
            return;
        };
        let is_needed = asked.iter().any(|(run, _)| self.needs_all(*run));
        let urgency = if is_needed { Urgency::MustTry } else { Urgency::MayMiss };
        let call = Call { deadline: self.give_up_at(), urgency };
        let view = self.map.view();
        self.calls.spawn(async move {
            let result = peer.write(view, rows, call).await;
            Event::Answered(Box::new(Answered { node, store, asked, only, result }))
        });
    }

    /// Whether a shard has no quorum without the places whose nodes failed lately.
    fn needs_all(&self, run: usize) -> bool {
        let shard = self.map.shard(self.batch.runs()[run].shard);
        let answers = |node: NodeIndex| {
            self.map.me == Some(node)
                || self.router.topology().peer(node).is_some_and(|peer| !peer.is_breaker_open())
        };
        let writers = shard.slots.iter().filter_map(|slot| slot.state.writer());
        writers.filter(|node| answers(*node)).count() < self.quorum.write()
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Refreshed => self.refreshed(),
            Event::Answered(answered) => {
                let Answered { node, store, asked, only, result } = *answered;
                match result {
                    Ok(answer) => self.answered((node, store), asked, only.as_ref(), &answer),
                    Err(error) => {
                        for (run, place) in asked {
                            self.miss(run, place, error.to_string());
                        }
                    }
                }
            }
        }
    }

    fn refreshed(&mut self) {
        self.is_refreshing = false;
        self.wanted = None;
        let Some(map) = self.router.topology().view() else { return };
        if map.version() <= self.map.version() {
            return;
        }
        self.map = map;
        let epoch = self.map.epoch();
        for run in 0..self.shards.len() {
            self.step(run, WriteEvent::View(epoch));
        }
    }

    fn answered(
        &mut self,
        (node, store): (NodeIndex, StoreId),
        asked: Vec<(usize, Place)>,
        only: Option<&BTreeSet<u32>>,
        answer: &proto::PartAnswer,
    ) {
        if let Some(refusal) = &answer.refusal {
            let trouble = format!("node {}: {}", self.name(node), refusal.text);
            for (run, place) in asked {
                self.miss(run, place, trouble.clone());
            }
            return;
        }
        let runs: Vec<usize> = asked.iter().map(|(run, _)| *run).collect();
        let sent: Vec<u32> = self
            .batch
            .rows_of(&runs)
            .filter(|row| only.is_none_or(|only| only.contains(row)))
            .collect();
        let row_at = |number: u32| sent.get(number as usize).copied();
        if let Some(position) = answer.position {
            self.positions.push(Stored { store, position, runs });
        }
        for rejected in &answer.rejected {
            if let Some(row) = row_at(rejected.row) {
                self.rejected.entry(row).or_default().push(rejected.text.clone());
            }
        }
        let unknown: BTreeSet<u32> =
            answer.unknown_rows.iter().filter_map(|&number| row_at(number)).collect();
        let nameless: BTreeSet<_> = unknown.iter().map(|&row| self.batch.shard_of(row)).collect();
        let faults: BTreeMap<u32, &proto::ShardFault> =
            answer.faults.iter().map(|fault| (fault.shard, fault)).collect();
        let given = Epoch(answer.given);
        let mut again = Vec::new();
        for (run, place) in asked {
            let shard = self.batch.runs()[run].shard;
            if let Some(fault) = faults.get(&u32::from(shard.0)) {
                self.faulted(run, place, node, fault);
            } else if nameless.contains(&shard) {
                if only.is_some() {
                    self.miss(run, place, "a node does not know labels it was sent".to_owned());
                } else {
                    again.push((run, place));
                }
            } else {
                self.shards[run].pending -= 1;
                self.step(run, WriteEvent::Acknowledged { place, given });
            }
        }
        if !again.is_empty() {
            let runs: Vec<usize> = again.iter().map(|(run, _)| *run).collect();
            let rows = self.batch.encode(&runs, Some(&unknown));
            self.ask_peer(node, again, rows, Some(unknown));
        }
    }

    fn faulted(&mut self, run: usize, place: Place, node: NodeIndex, fault: &proto::ShardFault) {
        let mine = fault.view.map(View::from).unwrap_or_default().epoch;
        let name = self.name(node).to_owned();
        match fault.state() {
            proto::ShardState::Stale => {
                self.shards[run].pending -= 1;
                self.shards[run].trouble = Some(format!("node {name} goes by map {mine}"));
                self.step(run, WriteEvent::Stale { place, mine });
            }
            state => {
                let why = if fault.text.is_empty() { "is not ready" } else { &fault.text };
                let is_gone = state == proto::ShardState::WrongStore && mine > self.map.epoch();
                self.miss(run, place, format!("node {name}: {why}"));
                if is_gone {
                    self.wanted = self.wanted.max(Some(mine));
                }
            }
        }
    }

    fn miss(&mut self, run: usize, place: Place, trouble: String) {
        let shard = &mut self.shards[run];
        shard.pending -= 1;
        shard.trouble = Some(trouble);
        self.step(run, WriteEvent::Missed(place));
    }

    fn name(&self, node: NodeIndex) -> &str {
        self.map.assignment.node(node).id.as_str()
    }

    fn give_up_at(&self) -> Instant {
        self.began + FINISH_WITHIN
    }

    fn next_timer(&self) -> Instant {
        let late = (!self.is_late && self.quorum.witness().is_some()).then(|| self.began + LATE);
        let answer = self.answer.is_some().then(|| self.began + ANSWER_WITHIN);
        [late, answer, self.retry_at].into_iter().flatten().fold(self.give_up_at(), Instant::min)
    }

    /// Does what is due; says whether to go on.
    fn time_passed(&mut self) -> bool {
        let now = Instant::now();
        if now >= self.give_up_at() {
            return false;
        }
        if !self.is_late && now >= self.began + LATE {
            self.is_late = true;
            for run in 0..self.shards.len() {
                let tally = self.shards[run].round.tally();
                for place in tally.missing(self.quorum).collect::<Vec<_>>() {
                    self.step(run, WriteEvent::Missed(place));
                }
            }
        }
        if now >= self.began + ANSWER_WITHIN
            && let Some(answer) = self.answer.take()
        {
            // The sender may be gone.
            let _ = answer.send(self.outcome());
        }
        if self.retry_at.is_some_and(|at| now >= at) {
            self.retry_at = None;
            for run in 0..self.shards.len() {
                if self.shards[run].pending == 0 {
                    self.step(run, WriteEvent::Retry);
                }
            }
        }
        true
    }

    /// Answers the sender when every shard has its quorum, and sees to it that whoever missed the
    /// write is asked again.
    fn conclude(&mut self) {
        if self.shards.iter().all(|shard| shard.round.is_acknowledged())
            && let Some(answer) = self.answer.take()
        {
            // The sender may be gone.
            let _ = answer.send(self.outcome());
        }
        let lacks = |shard: &ShardWrite| shard.pending == 0 && !shard.round.is_settled();
        if self.retry_at.is_none() && !self.is_refreshing && self.shards.iter().any(lacks) {
            self.retry_at = Some(Instant::now() + self.pause);
            self.pause = (self.pause * 2).min(RETRY_MOST);
        }
    }

    fn outcome(&self) -> Routed {
        let mut routed = Routed::default();
        for (run, shard) in self.shards.iter().enumerate() {
            let number = self.batch.runs()[run].shard;
            if shard.round.is_acknowledged() {
                routed.stored += self.batch.stored_in(run);
            } else {
                let has = shard.round.tally().count();
                let (need, why) = (self.quorum.write(), shard.trouble.as_deref());
                let why = why.unwrap_or("the others did not answer yet");
                routed.failed(format!(
                    "shard {number} has no quorum, {has} of {need} places answered: {why}"
                ));
            }
        }
        for (&row, said) in &self.rejected {
            let run = self.batch.runs().iter().position(|r| r.shard == self.batch.shard_of(row));
            let run = run.expect("the row was sent for it");
            let has = self.shards[run].round.tally().count();
            if !self.shards[run].round.is_acknowledged() || has >= said.len() + self.quorum.write()
            {
                continue;
            }
            let of_row = self.batch.stored_of(row);
            routed.stored -= of_row;
            if said.len() >= self.quorum.write() {
                routed.refused.push((said[0].clone(), of_row.samples + of_row.histograms));
            } else {
                routed.failed(format!("one place refuses what others take: {}", said[0]));
            }
        }
        routed
    }

    /// Tells every place what is settled of what it stored.
    fn tell_settled(&self) {
        for Stored { store, position, runs } in &self.positions {
            let settled = |run: &&usize| self.shards[**run].round.is_settled();
            let shards: Vec<u32> = runs
                .iter()
                .filter(settled)
                .map(|&run| u32::from(self.batch.runs()[run].shard.0))
                .collect();
            if !shards.is_empty() {
                let shards = if shards.len() == runs.len() { Vec::new() } else { shards };
                self.router.settler().notice(*store, self.map.view(), *position, shards);
            }
        }
    }
}
