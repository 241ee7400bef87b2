//! Snappy's block format, into memory that is used again. (The framed format is not remote
//! write's.)

use rangekeeper_model::ErrorClass;

/// No stream grows by more: the best element writes 64 bytes for 3.
const MAX_GROWTH: usize = 22;

/// Why a body can't be uncompressed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnappyError {
    /// The length that the body announces is above the limit. Nothing was allocated.
    #[error(
        "body of {declared_bytes} bytes uncompressed is larger than the limit of {limit_bytes}"
    )]
    TooLarge {
        /// What the body announces.
        declared_bytes: usize,
        /// The most that is taken.
        limit_bytes: usize,
    },
    /// The body is no Snappy block.
    #[error("body is no snappy block: {0}")]
    Corrupt(String),
}

impl SnappyError {
    /// What kind of failure it is.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::TooLarge { .. } => ErrorClass::TooLarge,
            Self::Corrupt(_) => ErrorClass::Invalid,
        }
    }
}

/// Bytes that `body` says it holds uncompressed; 0 where it says nothing that can be read.
pub fn declared_bytes(body: &[u8]) -> u64 {
    snap::raw::decompress_len(body).map_or(0, |bytes| bytes as u64)
}

/// Uncompresses `body` into the front of `buffer`, and returns that front. The buffer keeps its
/// greatest length, so that a body in its turn costs no clearing; whoever pools buffers lets go of
/// those that became too long.
pub fn decompress<'b>(
    body: &[u8],
    limit_bytes: usize,
    buffer: &'b mut Vec<u8>,
) -> Result<&'b [u8], SnappyError> {
    let corrupt = |error: snap::Error| SnappyError::Corrupt(error.to_string());
    let declared_bytes = snap::raw::decompress_len(body).map_err(corrupt)?;
    if declared_bytes > limit_bytes {
        return Err(SnappyError::TooLarge { declared_bytes, limit_bytes });
    }
    if declared_bytes / MAX_GROWTH > body.len() {
        let text = format!("{} bytes can't hold {declared_bytes}", body.len());
        return Err(SnappyError::Corrupt(text));
    }
    if buffer.len() < declared_bytes {
        buffer.resize(declared_bytes, 0);
    }
    let front = &mut buffer[..declared_bytes];
    snap::raw::Decoder::new().decompress(body, front).map_err(corrupt)?;
    Ok(front)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::compress;

    #[test]
    fn tells_a_limit_from_corruption() {
        let mut buffer = Vec::new();
        let body = compress(&[7; 1000]);
        assert_eq!(decompress(&body, 1000, &mut buffer), Ok(&[7; 1000][..]));
        let error = decompress(&body, 999, &mut buffer).unwrap_err();
        assert_eq!(error, SnappyError::TooLarge { declared_bytes: 1000, limit_bytes: 999 });
        assert_eq!(error.class(), ErrorClass::TooLarge);
        let error = decompress(&body[..body.len() - 1], 1000, &mut buffer).unwrap_err();
        assert_eq!(error.class(), ErrorClass::Invalid);
    }

    #[test]
    fn a_short_body_after_a_long_one_shows_nothing_of_the_long_one() {
        let mut buffer = Vec::new();
        decompress(&compress(&[7; 1000]), 1000, &mut buffer).unwrap();
        assert_eq!(decompress(&compress(b"abc"), 1000, &mut buffer), Ok(&b"abc"[..]));
    }

    #[test]
    fn allocates_nothing_for_a_length_that_the_body_can_not_hold() {
        let mut buffer = Vec::new();
        let bomb = [0xff, 0xff, 0xff, 0x3f, 0, 0];
        assert_eq!(
            decompress(&bomb, usize::MAX, &mut buffer).unwrap_err().class(),
            ErrorClass::Invalid
        );
        assert!(buffer.is_empty());
    }

    #[test]
    fn the_most_compressible_body_is_within_the_growth_bound() {
        for length in [1 << 10, 1 << 16, 1 << 22] {
            let mut buffer = Vec::new();
            assert!(decompress(&compress(&vec![0; length]), length, &mut buffer).is_ok());
        }
    }
}
