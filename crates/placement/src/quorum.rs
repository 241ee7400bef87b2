//! How many places a shard has, and how many of them a write and a read need.

use crate::ids::Place;

/// The replication factor that a cluster was created with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Replication {
    /// One copy.
    One,
    /// Two copies and a witness, which holds only what a slot missed.
    Two,
    /// Three copies.
    Three,
    /// Five copies.
    Five,
}

/// A replication factor that is not 1, 2, 3 or 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("replication factor {0} is not 1, 2, 3 or 5")]
pub struct ReplicationError(pub u8);

impl Replication {
    /// The replication with this many copies.
    pub fn new(copies: u8) -> Result<Self, ReplicationError> {
        match copies {
            1 => Ok(Self::One),
            2 => Ok(Self::Two),
            3 => Ok(Self::Three),
            5 => Ok(Self::Five),
            _ => Err(ReplicationError(copies)),
        }
    }

    /// Copies of each shard.
    pub fn copies(self) -> u8 {
        match self {
            Self::One => 1,
            Self::Two => 2,
            Self::Three => 3,
            Self::Five => 5,
        }
    }

    /// The quorum of a shard on enough nodes.
    pub fn quorum(self) -> Quorum {
        match self {
            Self::One => Quorum { places: 1, has_witness: false },
            Self::Two => Quorum { places: 3, has_witness: true },
            Self::Three => Quorum { places: 3, has_witness: false },
            Self::Five => Quorum { places: 5, has_witness: false },
        }
    }
}

/// The places of a shard and what follows from their number.
///
/// Any set of [`write`](Self::write) places and any set of [`read`](Self::read) places share one:
/// that is what lets a read meet every acknowledged write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quorum {
    places: u8,
    has_witness: bool,
}

impl Quorum {
    /// The most places that a shard can have.
    pub const MAX_PLACES: usize = 5;

    /// The quorum of a node that is alone, whatever the replication: its one place is all there is.
    pub const ALONE: Self = Self { places: 1, has_witness: false };

    /// Places, the witness among them.
    pub fn places(self) -> usize {
        usize::from(self.places)
    }

    /// Acknowledgements that a write needs: more than half of the places.
    pub fn write(self) -> usize {
        self.places() / 2 + 1
    }

    /// Answers that a read needs.
    pub fn read(self) -> usize {
        self.places() - self.write() + 1
    }

    /// The place of the witness, if there is one.
    pub fn witness(self) -> Option<Place> {
        self.has_witness.then(|| Place(self.places - 1))
    }

    /// Whether the place is the witness.
    pub fn is_witness(self, place: Place) -> bool {
        self.witness() == Some(place)
    }

    /// Places that hold a full copy, from 0 on.
    pub fn copies(self) -> usize {
        self.places() - usize::from(self.has_witness)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_quorums_follow_from_the_replication_factor() {
        let rows = [(1, 1, 1, 1), (2, 3, 2, 2), (3, 3, 2, 2), (5, 5, 3, 3)];
        for (copies, places, write, read) in rows {
            let replication = Replication::new(copies).unwrap();
            let quorum = replication.quorum();
            assert_eq!((quorum.places(), quorum.write(), quorum.read()), (places, write, read));
            assert_eq!(quorum.copies(), usize::from(replication.copies()));
            assert!(quorum.write() + quorum.read() > quorum.places());
        }
        for copies in [0, 4, 6] {
            assert_eq!(Replication::new(copies), Err(ReplicationError(copies)));
        }
        assert_eq!(Replication::Two.quorum().witness(), Some(Place(2)));
        assert_eq!(Replication::Three.quorum().witness(), None);
    }
}
