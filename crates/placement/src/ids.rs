//! Names and counters of a cluster, each a type of its own.

use std::fmt;
use std::sync::Arc;

use uuid::Uuid;

/// Why a text is no name of a node or a zone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("name {0:?} is not 1 to 64 characters of [A-Za-z0-9_.-]")]
pub struct NameError(pub String);

const MAX_NAME_BYTES: usize = 64;

fn name(text: &str) -> Result<Arc<str>, NameError> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    let is_path_part = text == "." || text == "..";
    if text.is_empty() || text.len() > MAX_NAME_BYTES || !text.bytes().all(fits) || is_path_part {
        return Err(NameError(text.chars().take(100).collect()));
    }
    Ok(text.into())
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident),+) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Parses the name: 1 to 64 characters of `[A-Za-z0-9_.-]`, neither `.` nor `..`.
            pub fn new(text: &str) -> Result<Self, NameError> {
                name(text).map(Self)
            }

            /// The name.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )+};
}

names! {
    /// The name of a node, which the operator gives and which survives everything.
    NodeId,
    /// The failure domain that a node stands in.
    Zone
}

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
    /// One registration of a node; grows with each.
    Incarnation(u64),
    /// How often a data folder was opened. A folder that shows less than the table was rolled back.
    BootCount(u64),
    /// Raised by an operator's reset alone. It outranks the epoch.
    Generation(u32),
    /// The number of an assignment; grows by every publish.
    Epoch(u64),
    /// The count of leaders.
    Term(u64),
    /// Drawn at random for one publish: tells whether an unknown outcome was ours.
    PublishId(u64),
    /// The level of all formats that a cluster agreed on.
    FormatLevel(u16),
    /// The number of a place in its shard, from 0. With a witness it is the last.
    Place(u8),
}

impl Epoch {
    /// The epoch after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
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

/// The identity of a data folder, made when the folder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreId(pub Uuid);

/// The identity of a cluster, made when the cluster is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub Uuid);

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for ClusterId {
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
    fn names_are_short_and_safe_in_paths() {
        for good in ["a", "node-1.zone_b", &"x".repeat(64)] {
            assert_eq!(NodeId::new(good).unwrap().as_str(), good);
        }
        for bad in ["", ".", "..", "a/b", "a b", "ü", &"x".repeat(65)] {
            assert_eq!(Zone::new(bad), Err(NameError(bad.to_owned())));
        }
    }

    #[test]
    fn a_generation_outranks_every_epoch() {
        let version =
            |generation, epoch| Version { generation: Generation(generation), epoch: Epoch(epoch) };
        assert!(version(2, 1) > version(1, 900));
        assert!(version(2, 2) > version(2, 1));
    }
}
