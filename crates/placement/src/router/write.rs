//! A write: asked of every full copy, of the witness when a copy is late, kept when enough places
//! have it under one view, settled when all copies have.

use crate::assignment::Shard;
use crate::ids::Place;
use crate::quorum::Quorum;
use crate::tally::Tally;
use rangekeeper_model::Epoch;

/// The write of one shard's part of a request.
#[derive(Clone, Copy, Debug)]
pub struct WriteRound {
    quorum: Quorum,
    epoch: Epoch,
    tally: Tally,
    needs_witness: bool,
    is_acknowledged: bool,
    is_settled: bool,
}

/// What came back, or happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteEvent {
    /// A place has it, synced.
    Acknowledged {
        /// Which place.
        place: Place,
        /// The older of the epochs of the request and of the map that the node had applied.
        given: Epoch,
    },
    /// The maps do not agree about the shard.
    Stale {
        /// Which place was asked.
        place: Place,
        /// The epoch that its node has applied.
        mine: Epoch,
    },
    /// A place did not answer in time, was not ready, or could not be asked.
    Missed(Place),
    /// There is a newer map.
    View(Epoch),
    /// Time to ask again whoever has not answered.
    Retry,
}

/// What the caller has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteEffect {
    /// Send it to the writer of the place, by the present map.
    Ask(Place),
    /// Get a map of this epoch or later, then say so.
    Refresh(Epoch),
    /// The node at the place has an older map than this router: hand it over.
    Teach(Place),
    /// Enough places have it: the sender can be answered.
    Acknowledge,
    /// All copies have it: tell every place that was asked.
    Settle,
}

impl WriteRound {
    /// Begins by the map of `epoch`.
    pub fn begin(quorum: Quorum, epoch: Epoch, effects: &mut Vec<WriteEffect>) -> Self {
        let round = Self {
            quorum,
            epoch,
            tally: Tally::default(),
            needs_witness: false,
            is_acknowledged: false,
            is_settled: false,
        };
        effects.extend(round.tally.missing(quorum).map(WriteEffect::Ask));
        round
    }

    /// The epoch by which it asks.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Whether the sender can be told that it is kept.
    pub fn is_acknowledged(&self) -> bool {
        self.is_acknowledged
    }

    /// Whether nothing is left to do.
    pub fn is_settled(&self) -> bool {
        self.is_settled
    }

    /// Who is known to have it under the present view.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Takes an event in. `view` is the shard as the map of [`epoch`](Self::epoch), or with
    /// [`WriteEvent::View`] the map of that epoch, has it.
    pub fn step(&mut self, view: &Shard, event: WriteEvent, effects: &mut Vec<WriteEffect>) {
        match event {
            WriteEvent::Acknowledged { place, given } => {
                self.tally.record(place, given, view);
                self.conclude(effects);
            }
            WriteEvent::Stale { mine, .. } if mine > self.epoch => {
                effects.push(WriteEffect::Refresh(mine));
            }
            WriteEvent::Stale { place, .. } => {
                effects.push(WriteEffect::Teach(place));
                self.miss(place, effects);
            }
            WriteEvent::Missed(place) => self.miss(place, effects),
            WriteEvent::View(epoch) if epoch > self.epoch => {
                self.epoch = epoch;
                self.tally.rebase(view);
                self.ask(effects);
            }
            WriteEvent::View(_) => {}
            WriteEvent::Retry => self.ask(effects),
        }
    }

    /// A copy that is late is what the witness is for.
    fn miss(&mut self, place: Place, effects: &mut Vec<WriteEffect>) {
        let Some(witness) = self.quorum.witness() else { return };
        if place != witness && !self.needs_witness && !self.tally.has(place) {
            self.needs_witness = true;
            effects.push(WriteEffect::Ask(witness));
        }
    }

    fn ask(&self, effects: &mut Vec<WriteEffect>) {
        if self.is_settled {
            return;
        }
        effects.extend(self.tally.missing(self.quorum).map(WriteEffect::Ask));
        let witness = self.quorum.witness().filter(|_| self.needs_witness);
        effects.extend(witness.filter(|place| !self.tally.has(*place)).map(WriteEffect::Ask));
    }

    fn conclude(&mut self, effects: &mut Vec<WriteEffect>) {
        if !self.is_acknowledged && self.tally.is_acknowledged(self.quorum) {
            self.is_acknowledged = true;
            effects.push(WriteEffect::Acknowledge);
        }
        if !self.is_settled && self.tally.is_settled(self.quorum) {
            self.is_settled = true;
            effects.push(WriteEffect::Settle);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{NodeIndex, SlotEpoch};
    use crate::quorum::Replication;
    use crate::slot::{Slot, SlotState};

    fn view(epochs: [u64; 3]) -> Shard {
        let slots = epochs.map(|epoch| Slot {
            state: SlotState::Steady { node: NodeIndex(0) },
            epoch: SlotEpoch(Epoch(epoch)),
        });
        Shard { since: Epoch(0), rsince: Epoch(0), slots: slots.into() }
    }

    fn run(replication: Replication, events: &[WriteEvent]) -> Vec<WriteEffect> {
        let mut effects = Vec::new();
        let mut round = WriteRound::begin(replication.quorum(), Epoch(1), &mut effects);
        for event in events {
            let newest = if round.epoch() > Epoch(1) || matches!(event, WriteEvent::View(_)) {
                view([2, 1, 1])
            } else {
                view([1, 1, 1])
            };
            round.step(&newest, *event, &mut effects);
        }
        effects
    }

    fn acknowledged(place: u8, given: u64) -> WriteEvent {
        WriteEvent::Acknowledged { place: Place(place), given: Epoch(given) }
    }

    #[test]
    fn it_answers_at_the_quorum_and_settles_at_all() {
        use WriteEffect::{Acknowledge, Ask, Settle};
        let events = [acknowledged(0, 1), acknowledged(2, 1), acknowledged(1, 1)];
        let asked = [Ask(Place(0)), Ask(Place(1)), Ask(Place(2))];
        let effects = run(Replication::Three, &events);
        assert_eq!(effects, [asked.as_slice(), &[Acknowledge, Settle]].concat());
    }

    #[test]
    fn a_newer_map_asks_changed_slots_again() {
        use WriteEffect::{Acknowledge, Ask, Refresh};
        let stale = WriteEvent::Stale { place: Place(1), mine: Epoch(2) };
        let view = WriteEvent::View(Epoch(2));
        let events = [acknowledged(0, 1), stale, view, acknowledged(1, 2), acknowledged(2, 2)];
        let effects = run(Replication::Three, &events);
        let after = [Refresh(Epoch(2)), Ask(Place(0)), Ask(Place(1)), Ask(Place(2)), Acknowledge];
        assert_eq!(effects[3..], after);
    }

    #[test]
    fn the_witness_is_asked_only_when_a_copy_is_late() {
        use WriteEffect::{Acknowledge, Ask, Settle, Teach};
        let both = run(Replication::Two, &[acknowledged(0, 1), acknowledged(1, 1)]);
        assert_eq!(both, [Ask(Place(0)), Ask(Place(1)), Acknowledge, Settle]);
        let behind = WriteEvent::Stale { place: Place(1), mine: Epoch(1) };
        let late = run(Replication::Two, &[acknowledged(0, 1), behind, acknowledged(2, 1)]);
        assert_eq!(late[2..], [Teach(Place(1)), Ask(Place(2)), Acknowledge]);
    }
}
