//! Names and counters of an assignment, each a type of its own.

use std::fmt;

use rangekeeper_model::{Epoch, Generation};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident($number:ty)),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $number);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    )+};
}

counters! {
    /// A row of an assignment's node table. A row is a node *with one store*: a node that comes
    /// back with another disk gets another row, so whoever names a row names the store as well.
    NodeIndex(u16),
    /// Drawn at random for one publish: tells whether an unknown outcome was ours.
    PublishId(u64),
    /// The number of a place in its shard, from 0. With a witness it is the last.
    Place(u8),
}

impl Place {
    /// The place as an index.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// The place with this index.
    pub(crate) fn of(index: usize) -> Self {
        Self(u8::try_from(index).expect("a shard has at most five places"))
    }
}

impl NodeIndex {
    /// The row as an index.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// The epoch at which a slot took its present state. Whoever reports about a slot names it, so a
/// report about an earlier state changes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotEpoch(pub Epoch);

impl fmt::Display for SlotEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What orders assignments of one cluster: the generation, then the epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// Of the operator's last reset.
    pub generation: Generation,
    /// Of the publish.
    pub epoch: Epoch,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.generation, self.epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_outranks_every_epoch() {
        let version =
            |generation, epoch| Version { generation: Generation(generation), epoch: Epoch(epoch) };
        assert!(version(2, 1) > version(1, 900));
        assert!(version(2, 2) > version(2, 1));
    }
}
