//! Names and counters of a cluster that more than one crate speaks of, each a type of its own.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use uuid::Uuid;

/// Why a text is no name of a node or a zone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("name {0:?} is not 1 to 64 characters of [A-Za-z0-9_.-], the first a letter or digit")]
pub struct NameError(pub String);

const MAX_NAME_BYTES: usize = 64;
/// Most of a wrong name that is shown.
const SHOWN_CHARS: usize = 100;

fn name(text: &str) -> Result<Arc<str>, NameError> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    if !begins || text.len() > MAX_NAME_BYTES || !text.bytes().all(fits) {
        return Err(NameError(text.chars().take(SHOWN_CHARS).collect()));
    }
    Ok(text.into())
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident),+) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[derive(serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Parses the name: 1 to 64 characters of `[A-Za-z0-9_.-]`, beginning with a letter or
            /// digit. So it is one part of a path.
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

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                Self::new(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().to_owned()
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
    /// One registration of a node; grows with each.
    Incarnation(u64),
    /// How often a data folder was opened: for people. What a folder is a copy of, its
    /// [lineage](crate::Lineage) says.
    BootCount(u64),
    /// Raised by an operator's reset alone. It outranks the epoch.
    Generation(u32),
    /// The number of an assignment; grows by every publish.
    Epoch(u64),
    /// The count of leaders: whoever leads later has a higher one.
    Term(u64),
    /// The level of all formats that a cluster agreed on.
    FormatLevel(u16),
}

impl Epoch {
    /// The epoch after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

macro_rules! identities {
    ($($(#[$doc:meta])* $name:ident),+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub Uuid);

        impl $name {
            /// The identity with this number.
            pub const fn of(number: u128) -> Self {
                Self(Uuid::from_u128(number))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )+};
}

identities! {
    /// The identity of a data folder, made when the folder is. A wiped folder has another.
    StoreId,
    /// One start of a data folder, drawn when it begins.
    RunId,
    /// The identity of a cluster, made when the cluster is.
    ClusterId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_safe_in_paths() {
        for good in ["a", "node-1.zone_b", &"x".repeat(64)] {
            assert_eq!(NodeId::new(good).unwrap().as_str(), good);
        }
        for bad in ["", ".", "..", "-a", "a/b", "a b", "ü", "a\0", &"x".repeat(65)] {
            assert_eq!(Zone::new(bad), Err(NameError(bad.to_owned())));
        }
    }
}
