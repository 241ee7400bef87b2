//! Chunk values and frames: how they are cut, checked and walked.
//!
//! ```text
//! value    ┌────────────┬──────────┬───────┬───────┬┄
//!          │ version u8 │ flags u8 │ frame │ frame │ …      version 1, flags 0
//!          └────────────┴──────────┴───────┴───────┴┄
//! frame    ┌─────────┬────────┬─────────┬──────────────┬────────────┬─────────────┬┄┄┄┄┄┄┐
//!          │ kind u8 │ length │ crc u32 │ count varint │ min signed │ span varint │ body │
//!          └─────────┴────────┴─────────┴──────────────┴────────────┴─────────────┴┄┄┄┄┄┄┘
//!                    length, a varint: bytes from the checksum on
//! ```
//!
//! *varint*: LEB128. *signed*: zigzag, then varint. Fixed-width integers are little-endian. `min`
//! is the time of the first sample, `span` the time from it to the last. The checksum covers the
//! frame without itself: kind, length, and all behind the checksum. `count` is 1 to
//! [`MAX_FRAME_SAMPLES`], and 0 where the frame holds no samples.
//!
//! Nothing in a frame refers to anything outside of it, and the same bytes are the same set of
//! samples, so frames of a series may be copied, repeated and reordered.

use crate::varint::{MAX_VARINT_BYTES, Reader, put_signed, put_varint, varint_bytes};

/// The version of chunk values that this code writes, and the only one that it reads.
pub(crate) const VERSION: u8 = 1;
/// What a chunk value begins with.
pub(crate) const VALUE_HEAD: [u8; 2] = [VERSION, 0];
/// Most samples of one frame. A frame of equal values at equal distances needs no byte a sample, so
/// without a bound a few bytes could ask for any amount of memory.
pub const MAX_FRAME_SAMPLES: usize = 1 << 16;
/// Kind, length and checksum.
const SMALLEST_FRAME: usize = 6;
/// Bytes that a search for the next frame behind damage may checksum. Beyond it the rest of the
/// value is lost.
const RESYNC_BUDGET_BYTES: usize = 4 << 20;

/// What a frame holds. The numbers are the format; a retired one is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FrameKind {
    /// Floats as the head flushes them.
    XorFloats = 1,
    /// Floats as sealing leaves them, with their digest.
    SealedFloats = 2,
    /// Integer histograms.
    IntegerHistograms = 3,
    /// Float histograms.
    FloatHistograms = 4,
    /// Integer histograms with their digest.
    SealedIntegerHistograms = 5,
    /// Float histograms with their digest.
    SealedFloatHistograms = 6,
    /// Reserved: samples that are deleted. Not written yet; a reader that meets one reports it.
    Tombstone = 7,
    /// Bytes that a merge could not read, verbatim.
    Damaged = 8,
}

/// A checked frame.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// What it holds.
    pub kind: FrameKind,
    /// Number of samples.
    pub count: usize,
    /// Time of the first sample.
    pub min_ms: i64,
    /// Time of the last sample.
    pub max_ms: i64,
    pub(crate) offset: usize,
    pub(crate) body: &'a [u8],
    /// The whole frame, head included.
    pub(crate) bytes: &'a [u8],
}

/// A part of a chunk value that cannot be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("chunk value damaged at byte {offset}: {what}")]
pub struct Damage {
    /// Where in the chunk value.
    pub offset: usize,
    /// What is wrong there.
    pub what: DamageKind,
}

/// What can be wrong with a part of a chunk value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum DamageKind {
    /// The value is of a version, or has flags, that this code does not know.
    #[error("unknown version or flags")]
    UnknownVersion,
    /// The frame is of a kind that this code does not know, or a tombstone.
    #[error("unknown kind of frame")]
    UnknownKind,
    /// The value ends inside the frame.
    #[error("truncated frame")]
    Truncated,
    /// The checksum does not match.
    #[error("checksum mismatch")]
    Checksum,
    /// The checksum matches, the content is not what the codec writes.
    #[error("malformed content")]
    Malformed,
    /// A merge met bytes that it could not read, and kept them.
    #[error("unreadable bytes kept by a merge")]
    Kept,
}

/// A frame that [`Frames`] could not read, with its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unreadable<'a> {
    pub(crate) damage: Damage,
    pub(crate) bytes: &'a [u8],
}

/// The frames of a chunk value, checked; behind damage it goes on with the next frame that can be
/// found.
#[derive(Clone, Debug)]
pub struct Frames<'a> {
    value: &'a [u8],
    at: usize,
    resync_budget: usize,
}

impl<'a> Frames<'a> {
    /// Walks `value`.
    pub fn new(value: &'a [u8]) -> Self {
        Self { value, at: 0, resync_budget: RESYNC_BUDGET_BYTES }
    }

    pub(crate) fn next_or_unreadable(&mut self) -> Option<Result<Frame<'a>, Unreadable<'a>>> {
        if self.at == 0 {
            if !self.value.starts_with(&VALUE_HEAD) {
                let what = DamageKind::UnknownVersion;
                return (!self.value.is_empty()).then(|| Err(self.lose(self.value.len(), what)));
            }
            self.at = VALUE_HEAD.len();
        }
        if self.at >= self.value.len() {
            return None;
        }
        Some(match parse(self.value, self.at) {
            Ok(frame) => {
                self.at += frame.bytes.len();
                Ok(frame)
            }
            Err((what, claimed)) => {
                let end = self.end_of_damage(claimed);
                Err(self.lose(end, what))
            }
        })
    }

    fn lose(&mut self, end: usize, what: DamageKind) -> Unreadable<'a> {
        let offset = self.at;
        self.at = end;
        Unreadable { damage: Damage { offset, what }, bytes: &self.value[offset..end] }
    }

    /// Where to go on behind a frame that is damaged and claims to be `claimed` bytes long: at its
    /// end if that is sound, else wherever the next sound frame is, as the length itself may be
    /// what is damaged.
    fn end_of_damage(&mut self, claimed: Option<usize>) -> usize {
        let is_sound = |at: usize| match parse(self.value, at) {
            Ok(_) => true,
            Err((what, _)) => what == DamageKind::UnknownKind,
        };
        if let Some(end) = claimed.map(|length| self.at + length)
            && end < self.value.len()
            && is_sound(end)
        {
            return end;
        }
        for at in self.at + 1..self.value.len().saturating_sub(SMALLEST_FRAME - 1) {
            let Some((length, _)) = extent(self.value, at) else { continue };
            if self.resync_budget < length {
                break;
            }
            if FrameKind::of(self.value[at]).is_some() {
                self.resync_budget -= length;
                if parse(self.value, at).is_ok() {
                    return at;
                }
            }
        }
        self.value.len()
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Frame<'a>, Damage>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.next_or_unreadable()?;
        Some(next.map_err(|unreadable| unreadable.damage))
    }
}

impl FrameKind {
    pub(crate) fn of(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::XorFloats,
            2 => Self::SealedFloats,
            3 => Self::IntegerHistograms,
            4 => Self::FloatHistograms,
            5 => Self::SealedIntegerHistograms,
            6 => Self::SealedFloatHistograms,
            7 => Self::Tombstone,
            8 => Self::Damaged,
            _ => return None,
        })
    }

    /// Whether it holds samples.
    pub(crate) fn has_samples(self) -> bool {
        !matches!(self, Self::Tombstone | Self::Damaged)
    }

    /// Whether sealing wrote it, with a digest at its end.
    pub fn is_sealed(self) -> bool {
        matches!(
            self,
            Self::SealedFloats | Self::SealedIntegerHistograms | Self::SealedFloatHistograms
        )
    }
}

/// Length of the whole frame at `at` as it claims, and of what precedes its checksum; nothing if
/// the value is shorter.
fn extent(value: &[u8], at: usize) -> Option<(usize, usize)> {
    let mut reader = Reader::new(value.get(at + 1..)?);
    let length = usize::try_from(reader.varint()?).ok()?;
    let before = value.len() - at - reader.rest().len();
    let whole = before.checked_add(length)?;
    (length >= 4 && whole <= value.len() - at).then_some((whole, before))
}

/// The frame at `at`, or what is wrong with it and how long it claims to be.
fn parse(value: &[u8], at: usize) -> Result<Frame<'_>, (DamageKind, Option<usize>)> {
    let (whole, before) = extent(value, at).ok_or((DamageKind::Truncated, None))?;
    let bytes = &value[at..at + whole];
    let (head, rest) = bytes.split_at(before);
    let (stored, content) = rest.split_first_chunk().expect("extent leaves room for it");
    if checksum(head, content) != u32::from_le_bytes(*stored) {
        return Err((DamageKind::Checksum, Some(whole)));
    }
    let kind = FrameKind::of(head[0]).ok_or((DamageKind::UnknownKind, Some(whole)))?;
    let mut reader = Reader::new(content);
    let mut numbers = || {
        let count = usize::try_from(reader.varint()?).ok().filter(|&n| n <= MAX_FRAME_SAMPLES)?;
        let min_ms = reader.signed()?;
        let max_ms = min_ms.checked_add_unsigned(reader.varint()?)?;
        (kind.has_samples() == (count > 0)).then_some((count, min_ms, max_ms))
    };
    let (count, min_ms, max_ms) = numbers().ok_or((DamageKind::Malformed, Some(whole)))?;
    Ok(Frame { kind, count, min_ms, max_ms, offset: at, body: reader.rest(), bytes })
}

fn checksum(head: &[u8], content: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(head), content)
}

/// Appends a frame.
pub(crate) fn put_frame(
    out: &mut Vec<u8>,
    kind: FrameKind,
    count: usize,
    (min_ms, max_ms): (i64, i64),
    body: &[u8],
) {
    let span = max_ms.wrapping_sub(min_ms).cast_unsigned();
    let numbers = varint_bytes(count as u64)
        + varint_bytes(crate::varint::zigzag(min_ms))
        + varint_bytes(span);
    out.reserve(1 + MAX_VARINT_BYTES + 4 + numbers + body.len());
    let start = out.len();
    out.push(kind as u8);
    put_varint(out, (4 + numbers + body.len()) as u64);
    let crc_at = out.len();
    out.extend_from_slice(&[0; 4]);
    put_varint(out, count as u64);
    put_signed(out, min_ms);
    put_varint(out, span);
    out.extend_from_slice(body);
    let crc = checksum(&out[start..crc_at], &out[crc_at + 4..]);
    out[crc_at..crc_at + 4].copy_from_slice(&crc.to_le_bytes());
}
