//! Routers: they write and read by maps that may be old.

use std::sync::Arc;

use rangekeeper_model::ShardId;
use rangekeeper_placement::{
    Assignment, Place, ReadEffect, ReadEvent, ReadMode, ReadRound, WriteEffect, WriteEvent,
    WriteRound,
};

use crate::messages::{Asker, Body, Message, Target};
use crate::mutation::Mutation;
use crate::world::{MOST_WRITES, NODES, ROUTERS, Set, World, bit};

pub struct Router {
    pub map: Arc<Assignment>,
    writes: Vec<WriteRequest>,
    reads: Vec<ReadRequest>,
}

#[derive(Clone, Copy)]
struct WriteRequest {
    write: u8,
    shard: ShardId,
    round: WriteRound,
}

struct ReadRequest {
    shard: ShardId,
    mode: ReadMode,
    /// The map that it goes by, which the router's own may have left behind.
    map: Arc<Assignment>,
    round: ReadRound,
    /// All that was acknowledged before it began.
    must: Set,
    got: Set,
    /// The first full copy that was asked.
    full: Option<Place>,
    /// Answers of earlier attempts do not count.
    attempt: u32,
    order: u32,
}

/// The order in which a read prefers places, drawn once a read.
fn cost(order: u32) -> impl Fn(Place) -> Option<u32> + Copy {
    move |place| Some(order >> (4 * u32::from(place.0)) & 15)
}

impl Router {
    pub fn new(first: &Arc<Assignment>) -> Self {
        Self { map: Arc::clone(first), writes: Vec::new(), reads: Vec::new() }
    }
}

impl World {
    fn post(&mut self, row: rangekeeper_placement::NodeIndex, shard: ShardId, body: Body) {
        self.messages.push(Message { target: Target::Row(row), shard, sender: None, body });
    }

    pub fn begin_write(&mut self) {
        if usize::from(self.writes) >= MOST_WRITES {
            return;
        }
        let router = self.random.usize(..ROUTERS);
        let shard = self.any_shard();
        self.begin_write_of(router, shard);
    }

    pub fn begin_write_of(&mut self, router: usize, shard: ShardId) -> usize {
        let write = self.writes;
        self.writes += 1;
        let map = &self.routers[router].map;
        let mut effects = Vec::new();
        let round = WriteRound::begin(map.quorum, map.epoch, &mut effects);
        let requests = &mut self.routers[router].writes;
        requests.push(WriteRequest { write, shard, round });
        let request = requests.len() - 1;
        self.act_on_write(router, request, &effects);
        request
    }

    /// A timer of a write that is not settled: a place is late, or all are asked again.
    pub fn nudge_write(&mut self) {
        let router = self.random.usize(..ROUTERS);
        let open = |request: &&WriteRequest| !request.round.is_settled();
        let last = self.routers[router].writes.len().saturating_sub(8);
        let recent = self.routers[router].writes.iter().enumerate().skip(last);
        let requests: Vec<_> = recent.filter(|(_, r)| open(r)).map(|(at, _)| at).collect();
        let Some(&request) = self.random.choice(&requests) else { return };
        let places = u8::try_from(self.history[0].quorum.places()).expect("at most five");
        let event = if self.random.bool() {
            WriteEvent::Missed(Place(self.random.u8(..places)))
        } else {
            WriteEvent::Retry
        };
        self.step_write(router, request, event);
    }

    fn step_write(&mut self, router: usize, request: usize, event: WriteEvent) {
        let it = &mut self.routers[router];
        let map = Arc::clone(&it.map);
        let WriteRequest { shard, round, .. } = &mut it.writes[request];
        let view = map.shard(*shard);
        let before = round.tally();
        let mut effects = Vec::new();
        round.step(view, event, &mut effects);
        if self.is(Mutation::AcknowledgementsOfTwoViews) {
            let all = (0..u8::try_from(view.slots.len()).expect("few")).map(Place);
            let kept = all.filter(|place| before.has(*place));
            let now = |place| WriteEvent::Acknowledged { place, given: map.epoch };
            let round = &mut self.routers[router].writes[request].round;
            kept.for_each(|place| round.step(view, now(place), &mut effects));
        }
        self.act_on_write(router, request, &effects);
    }

    fn act_on_write(&mut self, router: usize, request: usize, effects: &[WriteEffect]) {
        let WriteRequest { write, shard, round } = self.routers[router].writes[request];
        let map = Arc::clone(&self.routers[router].map);
        let view = map.shard(shard);
        let routed = Self::version(&map, round.epoch());
        for effect in effects {
            match *effect {
                WriteEffect::Ask(place) => {
                    let mut writer = view.slot(place).state.writer();
                    if self.is(Mutation::HintsAnywhere) && map.quorum.is_witness(place) {
                        writer = Some(self.nodes[self.random.usize(..NODES)].row);
                    }
                    let asker = Asker { router, request, attempt: 0 };
                    let body = Body::Write { asker, place, write, routed };
                    if let Some(writer) = writer {
                        self.post(writer, shard, body);
                    }
                }
                WriteEffect::Refresh(_) if self.random.u8(..) < 160 => {
                    self.refresh(router);
                    return;
                }
                WriteEffect::Refresh(_) => {}
                WriteEffect::Teach(place) => {
                    let writer = view.slot(place).state.writer();
                    let writer = writer.map(|row| self.rows[row.index()]);
                    if let Some(node) = writer.filter(|node| self.nodes[*node].is_up) {
                        self.apply(node, &map);
                    }
                }
                WriteEffect::Acknowledge => {
                    self.acknowledged[usize::from(shard.0)] |= bit(write);
                    if self.is(Mutation::SettledAtQuorum) {
                        self.tell_settled(view, shard, write);
                    }
                }
                WriteEffect::Settle => self.tell_settled(view, shard, write),
            }
        }
    }

    fn tell_settled(&mut self, view: &rangekeeper_placement::Shard, shard: ShardId, write: u8) {
        for row in view.slots.iter().flat_map(|slot| slot.state.nodes()) {
            self.post(row, shard, Body::Settled { write });
        }
    }

    pub fn refresh_router(&mut self) {
        let router = self.random.usize(..ROUTERS);
        self.refresh(router);
    }

    /// A router gets a newer map; what it writes goes on by that.
    pub fn refresh(&mut self, router: usize) {
        let epoch = self.routers[router].map.epoch;
        let Some(map) = self.some_newer(epoch) else { return };
        let epoch = map.epoch;
        self.routers[router].map = map;
        for request in 0..self.routers[router].writes.len() {
            if !self.routers[router].writes[request].round.is_settled() {
                self.step_write(router, request, WriteEvent::View(epoch));
            }
        }
    }

    pub fn begin_read(&mut self) {
        let router = self.random.usize(..ROUTERS);
        let shard = self.any_shard();
        let mode = if self.random.bool() { ReadMode::Union } else { ReadMode::FullAndUnsettled };
        let map = Arc::clone(&self.routers[router].map);
        let order = self.random.u32(..);
        let ordered = if self.is(Mutation::FullCopyFirst) { ReadMode::Union } else { mode };
        let must = self.acknowledged[usize::from(shard.0)];
        let mut effects = Vec::new();
        let view = map.shard(shard);
        let round =
            ReadRound::begin(map.quorum, ordered, map.epoch, view, cost(order), &mut effects);
        let request =
            ReadRequest { shard, mode, map, round, must, got: 0, full: None, attempt: 0, order };
        let reads = &mut self.routers[router].reads;
        reads.push(request);
        let request = reads.len() - 1;
        self.act_on_read(router, request, effects);
    }

    /// A place does not answer a read in time.
    pub fn fail_read(&mut self) {
        let router = self.random.usize(..ROUTERS);
        let reads = &self.routers[router].reads;
        let Some(request) = reads.iter().rposition(|read| !read.round.is_over()) else { return };
        let places = u8::try_from(self.history[0].quorum.places()).expect("at most five");
        let place = Place(self.random.u8(..places));
        self.step_read(router, request, ReadEvent::Failed(place));
    }

    fn step_read(&mut self, router: usize, request: usize, event: ReadEvent) {
        let read = &mut self.routers[router].reads[request];
        let mut effects = Vec::new();
        let view = read.map.shard(read.shard);
        read.round.step(view, event, cost(read.order), &mut effects);
        self.act_on_read(router, request, effects);
    }

    fn act_on_read(&mut self, router: usize, request: usize, effects: Vec<ReadEffect>) {
        for effect in effects {
            let read = &mut self.routers[router].reads[request];
            let asker = Asker { router, request, attempt: read.attempt };
            let routed = Self::version(&read.map, read.round.epoch());
            let shard = read.shard;
            match effect {
                ReadEffect::AskAll(place, row) => {
                    // Left out, the order of a read: all are asked at once.
                    let unordered = read.mode == ReadMode::FullAndUnsettled
                        && self.mutation == Some(Mutation::FullCopyFirst);
                    let all = *read.full.get_or_insert(place) == place || !unordered;
                    self.post(row, shard, Body::Read { asker, place, all, routed });
                }
                ReadEffect::AskUnsettled(place, row) => {
                    self.post(row, shard, Body::Read { asker, place, all: false, routed });
                }
                ReadEffect::Discard => {
                    read.got = 0;
                    read.full = None;
                    read.attempt += 1;
                }
                ReadEffect::Refresh(_) => {
                    self.refresh(router);
                    return self.restart_read(router, request);
                }
                ReadEffect::Teach(_) | ReadEffect::Unavailable => {}
                ReadEffect::Done => {
                    self.reads_checked += 1;
                    let (missing, mode) = (read.must & !read.got, read.mode);
                    if missing != 0 {
                        let missing = Self::name(missing);
                        self.fail(|| format!("a read ({mode:?}) lacks the writes {missing:?}"));
                    }
                }
            }
        }
    }

    /// The read begins again by the router's present map.
    fn restart_read(&mut self, router: usize, request: usize) {
        let map = Arc::clone(&self.routers[router].map);
        let read = &mut self.routers[router].reads[request];
        let mut effects = Vec::new();
        let view = map.shard(read.shard);
        let cost = cost(read.order);
        let unordered = self.mutation == Some(Mutation::FullCopyFirst);
        let mode = if unordered { ReadMode::Union } else { read.mode };
        read.full = None;
        read.round = ReadRound::begin(map.quorum, mode, map.epoch, view, cost, &mut effects);
        read.map = map;
        read.attempt += 1;
        read.got = 0;
        self.act_on_read(router, request, effects);
    }

    pub fn handle_at_router(&mut self, router: usize, shard: ShardId, body: &Body) {
        match *body {
            Body::Written { request, place, given } => {
                self.step_write(router, request, WriteEvent::Acknowledged { place, given });
            }
            Body::WriteStale { request, place, mine } => {
                self.step_write(router, request, WriteEvent::Stale { place, mine });
            }
            Body::WriteRefused { request, place } => {
                self.step_write(router, request, WriteEvent::Missed(place));
            }
            Body::Answer { asker, place, row, content } => {
                let read = &mut self.routers[router].reads[asker.request];
                if read.attempt == asker.attempt && !read.round.is_over() {
                    debug_assert_eq!(read.shard, shard);
                    read.got |= content;
                    self.step_read(router, asker.request, ReadEvent::Answered(place, row));
                }
            }
            Body::ReadStale { asker, place, mine } if self.is_current(asker) => {
                self.step_read(router, asker.request, ReadEvent::Stale { place, mine });
            }
            Body::ReadRefused { asker, place } if self.is_current(asker) => {
                self.step_read(router, asker.request, ReadEvent::Failed(place));
            }
            _ => {}
        }
    }

    fn is_current(&self, asker: Asker) -> bool {
        self.routers[asker.router].reads[asker.request].attempt == asker.attempt
    }
}
