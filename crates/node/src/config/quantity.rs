//! Quantities as people write them: times, shares of memory, numbers of shards.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use rangekeeper_model::ShardCount;
use rangekeeper_query::Feature;
use serde::de::{Deserialize, Deserializer, Error};

/// A share of the memory that the process may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// So many hundredths of it, 1 to 100.
    Percent(u8),
    /// So many bytes, however much there is.
    Bytes(u64),
}

impl Share {
    /// The share of `total_bytes`, in bytes.
    pub fn of(self, total_bytes: u64) -> u64 {
        match self {
            Self::Percent(percent) => total_bytes / 100 * u64::from(percent),
            Self::Bytes(bytes) => bytes,
        }
    }
}

/// A text is no share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a share from \"1%\" to \"100%\" or a size such as \"2GiB\"")]
pub struct ShareError;

impl FromStr for Share {
    type Err = ShareError;

    fn from_str(text: &str) -> Result<Self, ShareError> {
        if let Some(number) = text.strip_suffix('%') {
            let percent = number.trim().parse().map_err(|_| ShareError)?;
            return if (1..=100).contains(&percent) {
                Ok(Self::Percent(percent))
            } else {
                Err(ShareError)
            };
        }
        let size: ByteSize = text.parse().map_err(|_| ShareError)?;
        if size.as_u64() == 0 { Err(ShareError) } else { Ok(Self::Bytes(size.as_u64())) }
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Percent(percent) => write!(f, "{percent}%"),
            Self::Bytes(bytes) => write!(f, "{}", ByteSize(*bytes)),
        }
    }
}

/// How far behind a sample may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Late {
    /// As far as samples are kept.
    Retention,
    /// So long, or as far as samples are kept if that is less.
    Within(Duration),
}

impl Late {
    /// The time, where it is not all that is kept.
    pub fn limit(self) -> Option<Duration> {
        match self {
            Self::Retention => None,
            Self::Within(time) => Some(time),
        }
    }
}

impl<'de> Deserialize<'de> for Late {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "retention" {
            return Ok(Self::Retention);
        }
        humantime::parse_duration(&text).map(Self::Within).map_err(|_| {
            D::Error::custom("expected \"retention\" or a time such as \"90s\", \"1h\" or \"30d\"")
        })
    }
}

/// A number of bytes.
pub(super) fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ByteSize, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| D::Error::custom("expected a size such as \"64MiB\" or \"2GiB\""))
}

/// A time, `"0s"` included.
pub(super) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(|_| {
        D::Error::custom("expected a time such as \"90s\", \"10m\", \"1h\" or \"30d\"")
    })
}

/// A time that is more than none.
pub(super) fn positive_duration<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Duration, D::Error> {
    let time = duration(deserializer)?;
    if time.is_zero() { Err(D::Error::custom("must be more than nothing")) } else { Ok(time) }
}

/// A power of two.
pub(super) fn shard_count<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<ShardCount, D::Error> {
    ShardCount::new(u32::deserialize(deserializer)?).map_err(D::Error::custom)
}

/// A path.
pub(super) fn path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    path_unless_empty(deserializer)?.ok_or_else(|| D::Error::custom("expected a path"))
}

/// A path, or an empty text for none.
pub(super) fn path_unless_empty<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<PathBuf>, D::Error> {
    let text = String::deserialize(deserializer)?;
    Ok(if text.is_empty() { None } else { Some(PathBuf::from(text)) })
}

/// Something that has a text form, or an empty text for none.
pub(super) fn parsed_unless_empty<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    let text = String::deserialize(deserializer)?;
    if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(D::Error::custom) }
}

/// Names of parts of the language.
pub(super) fn features<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<Feature>, D::Error> {
    let names = Vec::<String>::deserialize(deserializer)?;
    names.iter().map(|name| name.parse().map_err(D::Error::custom)).collect()
}
