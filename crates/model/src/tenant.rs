//! Tenants: separate in identity, index and query.

use std::fmt;
use std::sync::Arc;

/// The name of a tenant: 1 to 150 bytes of `[A-Za-z0-9_.-]`, and neither `.` nor `..`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId(Arc<str>);

/// Why a text is no tenant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TenantError {
    /// Shorter than 1 or longer than 150 bytes.
    #[error("tenant {0:?} has {len} bytes, allowed are 1 to {MAX_BYTES}", len = .0.len())]
    Length(String),
    /// Has a character outside of `[A-Za-z0-9_.-]`, or is `.` or `..`.
    #[error("tenant {0:?} is not made of [A-Za-z0-9_.-]")]
    Character(String),
}

const MAX_BYTES: usize = 150;

impl TenantId {
    /// The tenant of requests that name none.
    pub const DEFAULT: &'static str = "anonymous";

    /// Parses a tenant's name.
    pub fn new(name: &str) -> Result<Self, TenantError> {
        if name.is_empty() || name.len() > MAX_BYTES {
            return Err(TenantError::Length(name.chars().take(200).collect()));
        }
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
        if !name.bytes().all(fits) || name == "." || name == ".." {
            return Err(TenantError::Character(name.to_owned()));
        }
        Ok(Self(name.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for TenantId {
    fn default() -> Self {
        Self(Self::DEFAULT.into())
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_the_field_takes_and_names_what_it_refuses() {
        for good in ["anonymous", "team-a.prod_1", "a", &"x".repeat(150)] {
            assert_eq!(TenantId::new(good).unwrap().as_str(), good);
        }
        for bad in ["", "..", "a b", "a/b", "ä", &"x".repeat(151)] {
            assert!(TenantId::new(bad).is_err(), "{bad}");
        }
    }
}
