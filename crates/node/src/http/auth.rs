//! Who may ask: tokens from a file, sent as bearer or as the password of basic authentication.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rangekeeper_model::ErrorClass;
use subtle::ConstantTimeEq;

use super::reply::failure;
use crate::services::Failure;

/// The tokens cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The file cannot be read.
    #[error("failed to read the tokens from {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file has no token, so nobody could ever ask.
    #[error("failed to read the tokens from {path}: the file has none")]
    NoToken {
        /// The file.
        path: PathBuf,
    },
}

/// The tokens that open the door. Never printed.
pub struct Tokens(Vec<String>);

impl Tokens {
    /// Reads a file: one token a line, empty lines and those that begin with `#` skipped.
    pub fn read(path: &Path) -> Result<Self, AuthError> {
        let text = fs::read_to_string(path)
            .map_err(|source| AuthError::Read { path: path.to_owned(), source })?;
        let lines = text.lines().map(str::trim);
        let tokens: Vec<_> = lines
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(str::to_owned)
            .collect();
        if tokens.is_empty() {
            return Err(AuthError::NoToken { path: path.to_owned() });
        }
        Ok(Self(tokens))
    }

    /// Whether a request with these headers may ask.
    pub(super) fn admit(&self, headers: &HeaderMap) -> bool {
        let Some(value) = headers.get(AUTHORIZATION) else { return false };
        let Ok(value) = value.to_str() else { return false };
        let Some((scheme, credentials)) = value.split_once(' ') else { return false };
        let credentials = credentials.trim();
        if scheme.eq_ignore_ascii_case("bearer") {
            return self.has(credentials.as_bytes());
        }
        if scheme.eq_ignore_ascii_case("basic") {
            let Ok(pair) = STANDARD.decode(credentials) else { return false };
            let Some(colon) = pair.iter().position(|&byte| byte == b':') else { return false };
            return self.has(&pair[colon + 1..]);
        }
        false
    }

    /// Whether `given` is one of the tokens. The time it takes depends on lengths only, not on how
    /// much of a token was guessed: all tokens are compared, each to its end.
    fn has(&self, given: &[u8]) -> bool {
        let mut found = subtle::Choice::from(0);
        for token in &self.0 {
            found |= token.as_bytes().ct_eq(given);
        }
        found.into()
    }
}

/// The answer to who may not ask.
pub(super) fn challenge() -> Response {
    let message = "a token that is in use here is needed: send it as \"Authorization: Bearer \
                   TOKEN\", or as the password of basic authentication";
    let mut response = failure(&Failure::new(ErrorClass::Unauthenticated, message));
    let basic = HeaderValue::from_static("Basic realm=\"rangekeeper\"");
    response.headers_mut().append(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response.headers_mut().append(WWW_AUTHENTICATE, basic);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(file: &str, header: Option<&str>) -> bool {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        fs::write(&path, file).unwrap();
        let tokens = Tokens::read(&path).unwrap();
        let mut headers = HeaderMap::new();
        if let Some(header) = header {
            headers.insert(AUTHORIZATION, header.parse().unwrap());
        }
        tokens.admit(&headers)
    }

    #[test]
    fn takes_any_token_of_the_file_as_bearer_or_password() {
        let file = "# ours\nfirst-token\n\n  second:token  \n";
        let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
        for (header, expected) in [
            ("Bearer first-token", true),
            ("bearer second:token", true),
            ("Bearer first-toke", false),
            ("Bearer first-token2", false),
            ("Bearer # ours", false),
            ("Bearer ", false),
            ("Bearer", false),
            ("first-token", false),
            ("Digest first-token", false),
            (basic("anyone:first-token").as_str(), true),
            (basic(":second:token").as_str(), true),
            (basic("first-token:").as_str(), false),
            (basic("first-token").as_str(), false),
            ("Basic !!!", false),
        ] {
            assert_eq!(admits(file, Some(header)), expected, "{header}");
        }
        assert!(!admits(file, None));
    }

    #[test]
    fn a_file_without_a_token_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        assert!(matches!(Tokens::read(&path), Err(AuthError::Read { .. })));
        fs::write(&path, "\n# nothing\n").unwrap();
        assert!(matches!(Tokens::read(&path), Err(AuthError::NoToken { .. })));
    }
}
