//! A read: as many places as a read quorum, all by one map.
//!
//! **Invariant:** one full copy, and what is unsettled at as many others as a read needs, is the
//! union of all of them: what is settled is at every full copy. The others are asked *first*: what
//! was settled before they answered is in the copy by the time that it is asked. The other way
//! round, a write could reach the copy after it was read and be settled before the others were.
//!
//! **Invariant:** a witness is asked before the copies in either mode. It forgets what is settled,
//! so asked last it could have forgotten what reached a copy only after that had answered.

use crate::assignment::Shard;
use crate::ids::{NodeIndex, Place};
use crate::quorum::Quorum;
use rangekeeper_model::Epoch;

/// What a read takes from the places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReadMode {
    /// Everything from each.
    Union,
    /// Everything from one, and only what is unsettled from the others.
    FullAndUnsettled,
}

/// A read of one shard.
#[derive(Clone, Debug)]
pub struct ReadRound {
    quorum: Quorum,
    mode: ReadMode,
    epoch: Epoch,
    /// The places that are asked when the others have answered.
    last: Vec<Place>,
    /// Who has yet to answer.
    waiting: Vec<(Place, NodeIndex)>,
    /// Places that failed under this map.
    failed: [bool; Quorum::MAX_PLACES],
    phase: Phase,
    is_answered: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Those are asked who must answer before the full copies.
    Others,
    /// The last answers are on their way.
    Last,
    Over,
}

/// What came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadEvent {
    /// A node answered completely.
    Answered(Place, NodeIndex),
    /// A node has another map.
    Stale {
        /// Which place was asked.
        place: Place,
        /// The epoch that its node has applied.
        mine: Epoch,
    },
    /// A node did not answer in time, was not ready, or its copy is damaged.
    Failed(Place),
}

/// What the caller has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadEffect {
    /// Ask the node for what is unsettled there.
    AskUnsettled(Place, NodeIndex),
    /// Ask the node for everything it holds.
    AskAll(Place, NodeIndex),
    /// Forget all answers so far and those on the way.
    Discard,
    /// Get a map of this epoch or later, then begin again.
    Refresh(Epoch),
    /// The node at the place has an older map than this router: hand it over.
    Teach(Place),
    /// The answers are complete.
    Done,
    /// There are not enough places: 503, or a marked partial answer.
    Unavailable,
}

impl ReadRound {
    /// Begins by the map of `epoch`, in which the shard is `view`. `cost` orders the places: the
    /// cheapest full copy is the one that is read in full; `None` excludes a place.
    pub fn begin(
        quorum: Quorum,
        mode: ReadMode,
        epoch: Epoch,
        view: &Shard,
        cost: impl Fn(Place) -> Option<u32>,
        effects: &mut Vec<ReadEffect>,
    ) -> Self {
        let mut round = Self {
            quorum,
            mode,
            epoch,
            last: Vec::new(),
            waiting: Vec::new(),
            failed: [false; Quorum::MAX_PLACES],
            phase: Phase::Over,
            is_answered: false,
        };
        round.plan(view, cost, effects);
        round
    }

    /// The epoch by which it asks.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Whether it is complete, was given up, or has to begin again.
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Whether every place that had to answer did.
    pub fn is_complete(&self) -> bool {
        self.is_over() && self.is_answered
    }

    fn plan(
        &mut self,
        view: &Shard,
        cost: impl Fn(Place) -> Option<u32>,
        effects: &mut Vec<ReadEffect>,
    ) {
        let readable = view
            .places()
            .filter(|(place, slot)| slot.state.is_readable() && !self.failed[place.index()]);
        let mut places: Vec<(bool, u32, Place)> = readable
            .filter_map(|(place, _)| Some((self.quorum.is_witness(place), cost(place)?, place)))
            .collect();
        places.sort_unstable();
        // The cheapest full copy leads; the others are the cheapest of all that remain, the witness
        // among them.
        let is_union = self.mode == ReadMode::Union;
        let leads = places.first().is_some_and(|(is_witness, ..)| !is_witness) || is_union;
        if places.len() < self.quorum.read() || !leads {
            self.phase = Phase::Over;
            return effects.push(ReadEffect::Unavailable);
        }
        places[1..].sort_unstable_by_key(|&(_, cost, place)| (cost, place));
        places.truncate(self.quorum.read());
        let lead = places[0].2;
        let is_last = |is_witness: bool, place| !is_witness && (is_union || place == lead);
        self.last.clear();
        self.waiting.clear();
        for (is_witness, _, place) in places {
            if is_last(is_witness, place) {
                self.last.push(place);
            } else {
                let readers = view.slot(place).state.readers().into_iter();
                self.waiting.extend(readers.map(|node| (place, node)));
            }
        }
        let ask = if is_union { ReadEffect::AskAll } else { ReadEffect::AskUnsettled };
        effects.extend(self.waiting.iter().map(|&(place, node)| ask(place, node)));
        self.phase = Phase::Others;
        self.advance(view, effects);
    }

    /// Goes on when all who were asked have answered.
    fn advance(&mut self, view: &Shard, effects: &mut Vec<ReadEffect>) {
        if !self.waiting.is_empty() {
            return;
        }
        match self.phase {
            Phase::Others => {
                self.phase = Phase::Last;
                for &place in &self.last {
                    let readers = view.slot(place).state.readers().into_iter();
                    self.waiting.extend(readers.map(|node| (place, node)));
                }
                let asked = self.waiting.iter();
                effects.extend(asked.map(|&(place, node)| ReadEffect::AskAll(place, node)));
            }
            Phase::Last => {
                self.phase = Phase::Over;
                self.is_answered = true;
                effects.push(ReadEffect::Done);
            }
            Phase::Over => {}
        }
    }

    /// Takes an event in. `view` is the shard in the map of [`epoch`](Self::epoch).
    pub fn step(
        &mut self,
        view: &Shard,
        event: ReadEvent,
        cost: impl Fn(Place) -> Option<u32>,
        effects: &mut Vec<ReadEffect>,
    ) {
        if self.is_over() {
            return;
        }
        match event {
            ReadEvent::Answered(place, node) => {
                self.waiting.retain(|asked| *asked != (place, node));
                self.advance(view, effects);
            }
            ReadEvent::Stale { mine, .. } if mine > self.epoch => {
                self.phase = Phase::Over;
                effects.extend([ReadEffect::Discard, ReadEffect::Refresh(mine)]);
            }
            ReadEvent::Stale { place, .. } => {
                effects.push(ReadEffect::Teach(place));
                self.replan(view, place, cost, effects);
            }
            ReadEvent::Failed(place) => self.replan(view, place, cost, effects),
        }
    }

    /// Does without a place. What was answered is asked again: which place is read in full, and
    /// after which others, is decided anew.
    fn replan(
        &mut self,
        view: &Shard,
        place: Place,
        cost: impl Fn(Place) -> Option<u32>,
        effects: &mut Vec<ReadEffect>,
    ) {
        self.failed[place.index()] = true;
        effects.push(ReadEffect::Discard);
        self.plan(view, cost, effects);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quorum::Replication;
    use crate::transition::Transition;

    fn shard(replication: Replication) -> Shard {
        let quorum = replication.quorum();
        let mut shard = Shard::empty(quorum);
        for place in 0..quorum.places() {
            let node = NodeIndex(u16::try_from(place).unwrap());
            shard.apply(Place::of(place), Transition::Place(node), Epoch(1)).unwrap();
        }
        shard
    }

    fn begin(replication: Replication, view: &Shard) -> (ReadRound, Vec<ReadEffect>) {
        let mut effects = Vec::new();
        let mode = ReadMode::FullAndUnsettled;
        let cost = |place: Place| Some(u32::from(place.0));
        let round =
            ReadRound::begin(replication.quorum(), mode, Epoch(1), view, cost, &mut effects);
        (round, effects)
    }

    fn step(round: &mut ReadRound, view: &Shard, event: ReadEvent) -> Vec<ReadEffect> {
        let mut effects = Vec::new();
        round.step(view, event, |place| Some(u32::from(place.0)), &mut effects);
        effects
    }

    #[test]
    fn the_full_copy_is_asked_after_the_unsettled_of_the_others() {
        let view = shard(Replication::Five);
        let (mut round, effects) = begin(Replication::Five, &view);
        let unsettled = |n: u8| ReadEffect::AskUnsettled(Place(n), NodeIndex(n.into()));
        assert_eq!(effects, [unsettled(1), unsettled(2)]);
        let mut answered =
            |n: u8| step(&mut round, &view, ReadEvent::Answered(Place(n), NodeIndex(n.into())));
        assert_eq!(answered(2), []);
        assert_eq!(answered(1), [ReadEffect::AskAll(Place(0), NodeIndex(0))]);
        assert_eq!(answered(0), [ReadEffect::Done]);
    }

    #[test]
    fn a_witness_is_asked_before_the_copies() {
        let view = shard(Replication::Two);
        let mut effects = Vec::new();
        let cost = |place: Place| (place != Place(0)).then_some(u32::from(place.0));
        let quorum = Replication::Two.quorum();
        let mut round =
            ReadRound::begin(quorum, ReadMode::Union, Epoch(1), &view, cost, &mut effects);
        assert_eq!(effects, [ReadEffect::AskAll(Place(2), NodeIndex(2))]);
        effects.clear();
        let answered = ReadEvent::Answered(Place(2), NodeIndex(2));
        round.step(&view, answered, cost, &mut effects);
        assert_eq!(effects, [ReadEffect::AskAll(Place(1), NodeIndex(1))]);
    }

    #[test]
    fn a_place_that_fails_is_done_without_until_too_few_are_left() {
        let view = shard(Replication::Two);
        let (mut round, _) = begin(Replication::Two, &view);
        let effects = step(&mut round, &view, ReadEvent::Failed(Place(0)));
        let witness = ReadEffect::AskUnsettled(Place(2), NodeIndex(2));
        assert_eq!(effects, [ReadEffect::Discard, witness]);
        let effects = step(&mut round, &view, ReadEvent::Failed(Place(1)));
        assert_eq!(effects, [ReadEffect::Discard, ReadEffect::Unavailable]);
    }

    #[test]
    fn a_slot_in_cutover_answers_with_both_its_nodes() {
        let mut view = shard(Replication::Three);
        view.apply(Place(0), Transition::Move(NodeIndex(7)), Epoch(2)).unwrap();
        view.apply(Place(0), Transition::Cutover, Epoch(3)).unwrap();
        let (mut round, _) = begin(Replication::Three, &view);
        let effects = step(&mut round, &view, ReadEvent::Answered(Place(1), NodeIndex(1)));
        let both = [0, 7].map(|node| ReadEffect::AskAll(Place(0), NodeIndex(node)));
        assert_eq!(effects, both);
        assert_eq!(step(&mut round, &view, ReadEvent::Answered(Place(0), NodeIndex(7))), []);
        let stale = ReadEvent::Stale { place: Place(0), mine: Epoch(4) };
        let effects = step(&mut round, &view, stale);
        assert_eq!(effects, [ReadEffect::Discard, ReadEffect::Refresh(Epoch(4))]);
        assert!(round.is_over());
    }
}
