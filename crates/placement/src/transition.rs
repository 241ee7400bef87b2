//! How a slot goes from state to state, what that raises, and what has to be shown first.
//!
//! **Invariant:** `since` and `rsince` of the shard rise whenever a writer or the store behind it
//! changes, and on every entry into repair, also of the same node; `rsince` also whenever readers
//! change. Entering repair of the same node without that would let an acknowledgement that was
//! given before its data was lost be added to one that is given after the repair is complete.
//!
//! **Invariant:** repair begins only when enough other slots can answer reads, and completes only
//! from as many other places, none of whose slots changed meanwhile. A cutover ends only when the
//! old owner has applied it, which seals it, and the new one has all of it. When either dies in a
//! cutover, the other one goes through repair: neither has everything alone.

use crate::assignment::Shard;
use crate::ids::{NodeIndex, Place, SlotEpoch};
use crate::quorum::Quorum;
use crate::slot::{Slot, SlotState};
use rangekeeper_model::Epoch;

/// A change of one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transition {
    /// An empty slot gets its first owner, which has nothing to gather. Empty → Steady.
    Place(NodeIndex),
    /// Another node begins to copy. Steady → Moving.
    Move(NodeIndex),
    /// The copying is given up. Moving → Steady at the old owner.
    Cancel,
    /// The new owner has nearly all, and takes the writes from now on. Moving → Cutover.
    Cutover,
    /// What was under way is complete. Cutover, Repair → Steady.
    Finish,
    /// The slot's copy is lost, or cannot be counted on: the node makes it anew from the other
    /// places and from what it has. Any but Empty → Repair.
    Repair(NodeIndex),
}

/// The slot is in no state for the change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{transition:?} of place {place} in {state:?} at epoch {epoch}")]
pub struct WrongState {
    /// The change.
    pub transition: Transition,
    /// Of which place.
    pub place: Place,
    /// The slot's state.
    pub state: SlotState,
    /// The epoch of the change.
    pub epoch: Epoch,
}

/// How far the taker of a slot got, as it reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Progress {
    /// Moving: it has the snapshot and nearly all of the tail.
    CaughtUp,
    /// Cutover: it has, synced, all up to the position at which the old owner was sealed.
    Drained,
    /// Repair: it has, synced, all of these places.
    Repaired(Sources),
}

/// The places that a repair was complete from, with the epochs of their slots at that time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Sources([Option<SlotEpoch>; Quorum::MAX_PLACES]);

impl Sources {
    /// Notes that a place was pulled completely while its slot had this epoch.
    pub fn insert(&mut self, place: Place, epoch: SlotEpoch) {
        self.0[place.index()] = Some(epoch);
    }

    /// Whether the place was pulled, and its slot is what it was then.
    pub fn holds(&self, place: Place, slot: Slot) -> bool {
        self.0[place.index()] == Some(slot.epoch) && slot.state.is_readable()
    }
}

impl Shard {
    /// Carries out a change as of `epoch`. A slot changes once an epoch at most; other slots of the
    /// shard may change with it.
    pub fn apply(
        &mut self,
        place: Place,
        transition: Transition,
        epoch: Epoch,
    ) -> Result<(), WrongState> {
        let before = self.slot(place).state;
        let wrong = WrongState { transition, place, state: before, epoch };
        let is_new = |node| self.place_of(node).is_none();
        let after = match (before, transition) {
            (SlotState::Empty, Transition::Place(node)) if is_new(node) => {
                SlotState::Steady { node }
            }
            (SlotState::Steady { node: from }, Transition::Move(to)) if is_new(to) => {
                SlotState::Moving { from, to }
            }
            (SlotState::Moving { from, .. }, Transition::Cancel) => {
                SlotState::Steady { node: from }
            }
            (SlotState::Moving { from, to }, Transition::Cutover) => {
                SlotState::Cutover { from, to }
            }
            (
                SlotState::Cutover { to: node, .. } | SlotState::Repair { node },
                Transition::Finish,
            ) => SlotState::Steady { node },
            (SlotState::Empty, Transition::Repair(_)) => return Err(wrong),
            (_, Transition::Repair(node)) if is_new(node) || self.place_of(node) == Some(place) => {
                SlotState::Repair { node }
            }
            _ => return Err(wrong),
        };
        if epoch < self.rsince || epoch <= self.slot(place).epoch.0 {
            return Err(wrong);
        }
        let is_repair = matches!(transition, Transition::Repair(_));
        let writer_changes = before.writer() != after.writer() || is_repair;
        if writer_changes {
            self.since = epoch;
        }
        if writer_changes || before.readers() != after.readers() {
            self.rsince = epoch;
        }
        self.slots[place.index()] = Slot { state: after, epoch: SlotEpoch(epoch) };
        Ok(())
    }

    /// Whether the slot may go to repair: enough *other* slots can answer reads by their state, and
    /// their nodes do serve. Else it stays as it is, since its copy may be the last of something.
    pub fn may_repair(
        &self,
        place: Place,
        quorum: Quorum,
        serves: impl Fn(NodeIndex) -> bool,
    ) -> bool {
        let others = self.places().filter(|(other, slot)| {
            *other != place
                && slot.state.is_readable()
                && slot.state.readers().into_iter().all(&serves)
        });
        others.count() >= quorum.read()
    }

    /// What follows from a report of the slot's taker. Nothing, if it speaks of an earlier state of
    /// the slot, or if a source of a repair is not what it was: a target of a cutover that was
    /// pulled before it had drained its own source looks complete as soon as it is steady.
    pub fn after(
        &self,
        place: Place,
        reporter: NodeIndex,
        epoch: SlotEpoch,
        progress: Progress,
        quorum: Quorum,
    ) -> Option<Transition> {
        let slot = self.slot(place);
        if slot.epoch != epoch || slot.state.target() != Some(reporter) {
            return None;
        }
        match (slot.state, progress) {
            (SlotState::Moving { .. }, Progress::CaughtUp) => Some(Transition::Cutover),
            (SlotState::Cutover { .. }, Progress::Drained) => Some(Transition::Finish),
            (SlotState::Repair { .. }, Progress::Repaired(sources)) => {
                let is_complete = self.is_repaired(place, &sources, quorum);
                is_complete.then_some(Transition::Finish)
            }
            _ => None,
        }
    }

    /// Whether a slot in repair has everything: as many other places as a read needs, each still
    /// what it was when it was pulled.
    pub fn is_repaired(&self, place: Place, sources: &Sources, quorum: Quorum) -> bool {
        let whole =
            self.places().filter(|(other, slot)| *other != place && sources.holds(*other, *slot));
        whole.count() >= quorum.read()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quorum::Replication;

    const A: NodeIndex = NodeIndex(0);
    const B: NodeIndex = NodeIndex(1);
    const C: NodeIndex = NodeIndex(2);
    const D: NodeIndex = NodeIndex(3);

    fn placed() -> Shard {
        let mut shard = Shard::empty(Replication::Three.quorum());
        for (place, node) in [(Place(0), A), (Place(1), B), (Place(2), C)] {
            shard.apply(place, Transition::Place(node), Epoch(1)).unwrap();
        }
        shard
    }

    /// The fences after each of the changes of place 0, made at epochs from 2 on.
    fn fences(changes: &[Transition]) -> Vec<(u64, u64)> {
        let mut shard = placed();
        let steps = changes.iter().zip(2..).map(|(change, epoch)| {
            shard.apply(Place(0), *change, Epoch(epoch)).unwrap();
            (shard.since.0, shard.rsince.0)
        });
        steps.collect()
    }

    #[test]
    fn fences_rise_with_writers_and_readers() {
        use Transition::{Cancel, Cutover, Finish, Move, Repair};
        assert_eq!(fences(&[Move(D), Cancel]), [(1, 1), (1, 1)]);
        assert_eq!(fences(&[Move(D), Cutover, Finish]), [(1, 1), (3, 3), (3, 4)]);
        assert_eq!(fences(&[Repair(D), Finish]), [(2, 2), (2, 3)]);
        assert_eq!(fences(&[Repair(A), Repair(A), Finish]), [(2, 2), (3, 3), (3, 4)]);
        assert_eq!(fences(&[Move(D), Cutover, Repair(A)]), [(1, 1), (3, 3), (4, 4)]);
    }

    #[test]
    fn a_node_is_named_once_and_epochs_only_rise() {
        let mut shard = placed();
        assert!(shard.apply(Place(0), Transition::Move(B), Epoch(2)).is_err());
        assert!(shard.apply(Place(0), Transition::Repair(C), Epoch(2)).is_err());
        assert!(shard.apply(Place(0), Transition::Move(D), Epoch(1)).is_err());
        assert!(shard.apply(Place(0), Transition::Finish, Epoch(2)).is_err());
        assert_eq!(shard, placed());
    }

    #[test]
    fn repair_waits_until_enough_others_can_be_read() {
        let quorum = Replication::Three.quorum();
        let mut shard = placed();
        assert!(shard.may_repair(Place(0), quorum, |_| true));
        assert!(!shard.may_repair(Place(0), quorum, |node| node != B));
        shard.apply(Place(0), Transition::Repair(D), Epoch(2)).unwrap();
        assert!(!shard.may_repair(Place(1), quorum, |_| true));
        assert!(shard.may_repair(Place(0), quorum, |_| true));
    }

    #[test]
    fn a_repair_is_void_when_a_source_changed() {
        let quorum = Replication::Three.quorum();
        let mut shard = placed();
        shard.apply(Place(0), Transition::Repair(D), Epoch(2)).unwrap();
        let mut sources = Sources::default();
        sources.insert(Place(1), SlotEpoch(Epoch(1)));
        let after = |shard: &Shard, sources| {
            let progress = Progress::Repaired(sources);
            shard.after(Place(0), D, SlotEpoch(Epoch(2)), progress, quorum)
        };
        assert_eq!(after(&shard, sources), None, "one source of two");
        sources.insert(Place(2), SlotEpoch(Epoch(1)));
        assert_eq!(after(&shard, sources), Some(Transition::Finish));
        shard.apply(Place(2), Transition::Move(NodeIndex(4)), Epoch(3)).unwrap();
        assert_eq!(after(&shard, sources), None);
    }

    #[test]
    fn a_report_about_an_earlier_state_changes_nothing() {
        let quorum = Replication::Three.quorum();
        let mut shard = placed();
        shard.apply(Place(0), Transition::Move(D), Epoch(2)).unwrap();
        let after = |epoch, reporter| {
            shard.after(Place(0), reporter, SlotEpoch(Epoch(epoch)), Progress::CaughtUp, quorum)
        };
        assert_eq!(after(2, D), Some(Transition::Cutover));
        assert_eq!(after(1, D), None);
        assert_eq!(after(2, A), None);
    }
}
