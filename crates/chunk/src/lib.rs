//! Chunks: the samples of one series in one window, as bytes that merge.
//!
//! A chunk value is a set of frames, and a frame a set of samples ([`frame`] has the layout). The
//! union of sets is commutative, associative and idempotent, so whatever writes samples writes
//! chunk values and lets them [`merge`]; reading unites what the frames hold ([`Decoder`]) by the
//! one rule of [`Samples::unite`](rangekeeper_model::Samples::unite).
//!
//! The head appends to [`OpenFloats`] and flushes with [`OpenFloats::finish`]; what comes late or
//! from elsewhere goes through [`encode`]. Once a window is complete, [`Sealer`] writes it anew in
//! the smallest codec, with a [`digest()`] of the set.
//!
//! Pure: no I/O, no clock. Bytes are never trusted: what is damaged is reported as [`Damage`] and
//! not served, nothing panics, and no allocation is larger than what the bytes can honestly mean.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "codecs are arithmetic over casts; the format says which bits are kept"
)]

mod bits;
mod decimals;
mod decode;
mod digest;
mod encode;
pub mod frame;
#[doc(hidden)]
pub mod fuzz;
pub mod histograms;
mod ints;
mod merge;
mod open;
mod sealed;
mod starts;
mod times;
mod values;
mod varint;
pub mod xor;

pub use decode::{Decoder, decode};
pub use digest::digest;
pub use encode::encode;
pub use frame::{Damage, DamageKind, Frame, FrameKind, Frames, MAX_FRAME_SAMPLES};
pub use merge::merge;
pub use open::{OpenFloats, Refused};
pub use sealed::{Sealer, seal, sealed_digest};
