//! The acknowledgements of one write, counted under one view.
//!
//! **Invariant:** all that are counted hold under one map of the shard. When the map changes, an
//! acknowledgement survives only if its slot was not changed after the map it was given under;
//! otherwise the slot has to be asked again. Added up over two views, a write could be called
//! acknowledged by a writer that was replaced and by one that did not know it yet.

use crate::assignment::Shard;
use crate::ids::Place;
use crate::quorum::Quorum;
use rangekeeper_model::Epoch;

/// Which places have a write, each with the epoch of the map under which it said so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally([Option<Epoch>; Quorum::MAX_PLACES]);

impl Tally {
    /// Counts an acknowledgement that was given under the epoch `given`, if it still holds in
    /// `view`, the newest map of the shard that the counter has. `given` is the older of the map by
    /// which it was asked and of the map that the place's node had applied.
    pub fn record(&mut self, place: Place, given: Epoch, view: &Shard) {
        let holds = view.slots.get(place.index()).is_some_and(|slot| slot.epoch.0 <= given);
        if holds {
            let entry = &mut self.0[place.index()];
            *entry = Some(entry.map_or(given, |earlier| earlier.max(given)));
        }
    }

    /// Strikes what does not hold under a newer map.
    pub fn rebase(&mut self, view: &Shard) {
        for (entry, slot) in self.0.iter_mut().zip(&view.slots) {
            if entry.is_some_and(|given| slot.epoch.0 > given) {
                *entry = None;
            }
        }
    }

    /// Whether the place has the write.
    #[inline]
    pub fn has(&self, place: Place) -> bool {
        self.0[place.index()].is_some()
    }

    /// How many places have it.
    pub fn count(&self) -> usize {
        self.0.iter().flatten().count()
    }

    /// Whether the sender may be told that the write is kept.
    pub fn is_acknowledged(&self, quorum: Quorum) -> bool {
        self.count() >= quorum.write()
    }

    /// Whether every full copy has it, so that nobody needs to remember who lacks it. The witness
    /// does not have to: it is there for what a copy lacks. And it may forget the write only now,
    /// not when the copy that had missed it has it: the other may have been replaced meanwhile.
    pub fn is_settled(&self, quorum: Quorum) -> bool {
        self.0.iter().take(quorum.copies()).all(Option::is_some)
    }

    /// The full copies that are not known to have it.
    pub fn missing(&self, quorum: Quorum) -> impl Iterator<Item = Place> {
        let entries = self.0;
        (0..quorum.copies()).filter(move |&place| entries[place].is_none()).map(Place::of)
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

    #[test]
    fn an_acknowledgement_of_a_slot_that_changed_since_is_asked_for_again() {
        let quorum = Replication::Three.quorum();
        let mut tally = Tally::default();
        tally.record(Place(0), Epoch(4), &view([1, 1, 1]));
        tally.record(Place(1), Epoch(4), &view([1, 1, 1]));
        assert!(tally.is_acknowledged(quorum));
        tally.rebase(&view([5, 4, 1]));
        assert!(!tally.has(Place(0)) && tally.has(Place(1)));
        tally.record(Place(0), Epoch(4), &view([5, 4, 1]));
        assert!(!tally.has(Place(0)), "it was on the way when the map changed");
        tally.record(Place(0), Epoch(5), &view([5, 4, 1]));
        assert_eq!(tally.missing(quorum).collect::<Vec<_>>(), [Place(2)]);
        assert!(tally.is_acknowledged(quorum) && !tally.is_settled(quorum));
    }

    #[test]
    fn a_witness_counts_for_the_verdict_but_not_for_settling() {
        let quorum = Replication::Two.quorum();
        let mut tally = Tally::default();
        tally.record(Place(2), Epoch(1), &view([1, 1, 1]));
        tally.record(Place(0), Epoch(1), &view([1, 1, 1]));
        assert!(tally.is_acknowledged(quorum) && !tally.is_settled(quorum));
        tally.record(Place(1), Epoch(1), &view([1, 1, 1]));
        assert!(tally.is_settled(quorum));
    }
}
