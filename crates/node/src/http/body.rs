//! Bodies of requests, read within limits and without a copy where they come in one piece.

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;

use crate::admission::Permit;

/// A body could not be read whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BodyError {
    /// It is longer than it may be.
    #[error("body is larger than the limit of {limit_bytes} bytes")]
    TooLarge {
        /// The limit.
        limit_bytes: u64,
    },
    /// A body of unannounced length outgrew the room that all writes share.
    #[error("too many bytes of writes in flight")]
    NoRoom,
    /// The connection ended, or what came over it was not HTTP.
    #[error("read the body: {0}")]
    Broken(String),
}

/// Reads a body of at most `limit_bytes`; `declared_bytes` is the length that its sender announced.
///
/// The permit already holds what was announced, and grows with what was not.
pub(super) async fn read(
    body: &mut Body,
    declared_bytes: Option<u64>,
    limit_bytes: u64,
    mut permit: Option<&mut Permit>,
) -> Result<Bytes, BodyError> {
    let mut unannounced = |more: usize| match (declared_bytes, &mut permit) {
        (None, Some(permit)) => permit.grow(more as u64),
        _ => true,
    };
    let Some(first) = next(body).await? else { return Ok(Bytes::new()) };
    let too_large = || BodyError::TooLarge { limit_bytes };
    if first.len() as u64 > limit_bytes {
        return Err(too_large());
    }
    if !unannounced(first.len()) {
        return Err(BodyError::NoRoom);
    }
    if declared_bytes == Some(first.len() as u64) {
        return Ok(first);
    }
    let expected = declared_bytes.unwrap_or(0).min(limit_bytes);
    let mut whole = BytesMut::with_capacity(usize::try_from(expected).unwrap_or(0));
    whole.extend_from_slice(&first);
    drop(first);
    while let Some(piece) = next(body).await? {
        if (whole.len() + piece.len()) as u64 > limit_bytes {
            return Err(too_large());
        }
        if !unannounced(piece.len()) {
            return Err(BodyError::NoRoom);
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole.freeze())
}

/// The next piece of data; trailers are passed over.
async fn next(body: &mut Body) -> Result<Option<Bytes>, BodyError> {
    loop {
        match body.frame().await {
            None => return Ok(None),
            Some(Err(error)) => return Err(BodyError::Broken(error.to_string())),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

/// Reads and forgets what is left of a body, up to `limit_bytes`.
///
/// A sender that is refused while it still writes may see a reset connection instead of the answer,
/// and would then send for ever what can never be taken.
pub(super) async fn discard(body: &mut Body, limit_bytes: u64) {
    let mut seen_bytes = 0;
    while let Ok(Some(piece)) = next(body).await {
        seen_bytes += piece.len() as u64;
        if seen_bytes > limit_bytes {
            return;
        }
    }
}
