//! The union of chunk values as bytes: what RocksDB's merge operator does.
//!
//! Frames are appended in the order of their first appearance, byte-identical ones once. Nothing is
//! decoded but heads and checksums, and nothing can fail: an operator that fails in a compaction
//! makes the store refuse writes. What cannot be read is kept verbatim as the body of a *damaged*
//! frame, with a count, minimum and span of 0, for readers to report. An operand alone decides what
//! becomes of it, so the set of frames does not depend on the grouping of operands.

use std::borrow::Cow;
use std::collections::HashSet;

use crate::frame::{FrameKind, Frames, VALUE_HEAD, put_frame};

/// Frames up to which comparing with each one is faster than hashing.
const FEW_FRAMES: usize = 16;

/// The union of chunk values; for full and partial merges alike. Of no frames at all, the empty
/// value.
pub fn merge<'a>(
    existing: Option<&'a [u8]>,
    operands: impl IntoIterator<Item = &'a [u8]>,
) -> Vec<u8> {
    let mut frames = Vec::new();
    for value in existing.into_iter().chain(operands) {
        collect_frames(value, &mut frames);
    }
    let bytes: usize = frames.iter().map(|frame| frame.len()).sum();
    let mut out = Vec::with_capacity(VALUE_HEAD.len() + bytes);
    let mut seen = HashSet::new();
    for (index, frame) in frames.iter().enumerate() {
        let is_new = if frames.len() <= FEW_FRAMES {
            !frames[..index].contains(frame)
        } else {
            seen.insert(frame)
        };
        if is_new {
            if out.is_empty() {
                out.extend_from_slice(&VALUE_HEAD);
            }
            out.extend_from_slice(frame);
        }
    }
    out
}

/// The frames of `value` as they go into the union.
fn collect_frames<'a>(value: &'a [u8], frames: &mut Vec<Cow<'a, [u8]>>) {
    let mut rest = Frames::new(value);
    while let Some(frame) = rest.next_or_unreadable() {
        frames.push(match frame {
            Ok(frame) => Cow::Borrowed(frame.bytes),
            Err(unreadable) => {
                let mut wrapped = Vec::new();
                put_frame(&mut wrapped, FrameKind::Damaged, 0, (0, 0), unreadable.bytes);
                Cow::Owned(wrapped)
            }
        });
    }
}
