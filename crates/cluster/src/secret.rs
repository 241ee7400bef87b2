//! What the nodes of a cluster share, so that nobody else is listened to.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};
use subtle::ConstantTimeEq;

const HEADER: HeaderName = HeaderName::from_static("rangekeeper-cluster-secret");

/// The secret of a cluster. Never printed.
#[derive(Clone)]
pub struct ClusterSecret(HeaderValue);

/// The text cannot be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a cluster secret is a line of visible characters, and not empty")]
pub struct SecretError;

impl ClusterSecret {
    /// Takes the line `text`; spaces around it do not count.
    pub fn new(text: &str) -> Result<Self, SecretError> {
        let text = text.trim();
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') {
            return Err(SecretError);
        }
        let mut value = HeaderValue::from_str(text).map_err(|_| SecretError)?;
        value.set_sensitive(true);
        Ok(Self(value))
    }

    /// Shows the secret to the peer that gets these headers.
    pub(crate) fn show(&self, headers: &mut HeaderMap) {
        headers.insert(HEADER, self.0.clone());
    }

    /// Whether these headers have the secret. The time that it takes tells its length only.
    pub(crate) fn is_known(&self, headers: &HeaderMap) -> bool {
        let given = headers.get(HEADER).map_or(&[][..], HeaderValue::as_bytes);
        self.0.as_bytes().ct_eq(given).into()
    }
}

impl fmt::Debug for ClusterSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterSecret(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_secret_is_known() {
        let secret = ClusterSecret::new("open sesame\n").expect("a line");
        let mut headers = HeaderMap::new();
        assert!(!secret.is_known(&headers));
        ClusterSecret::new("open sesam").expect("a line").show(&mut headers);
        assert!(!secret.is_known(&headers));
        secret.show(&mut headers);
        assert!(secret.is_known(&headers));
        assert!(!format!("{headers:?}{secret:?}").contains("sesame"));
    }

    #[test]
    fn a_secret_is_a_line_with_something_on_it() {
        for text in ["", " \n", "two\nlines", "gr\u{fc}n"] {
            assert_eq!(ClusterSecret::new(text).err(), Some(SecretError), "{text:?}");
        }
    }
}
