//! Rows between nodes: what a router sends to the places of a shard.
//!
//! A frame holds the rows of many requests, each of one tenant. A row names its series by the hash
//! alone; its labels come with it only when the peer has said that it does not know them. Samples
//! lie as the receiver stores them, so that a replica neither hashes nor parses labels.
//!
//! # Format
//!
//! ```text
//! frame    := request*
//! request  := tenant · metadata · base · row count: varint · row*
//! tenant   := length: varint · UTF-8
//! metadata := length: varint · a WriteRequest of remote write 1.0 that has only metadata
//! base     := i64 LE, milliseconds since the epoch
//! row      := hash: u128 LE · head: varint · labels? · sample* · rest?
//! head     := sample count << 3 | has rest << 2 | has starts << 1 | has labels
//! labels   := length: varint · canonical label bytes
//! sample   := value: u64 LE (its bits)
//!             · time: zigzag varint, after the request's sample before it (the first: after base)
//!             · start: zigzag varint, before its own time; only with "has starts"
//! rest     := length: varint · a TimeSeries of remote write 1.0 that has only histograms and
//!             exemplars
//! ```
//!
//! What is rare is a protobuf message that exists already; what comes a million times a second is
//! bytes at known places.

mod frame;
mod rows;
#[cfg(test)]
mod tests;

pub use frame::{Frame, Part, Request, Row, RowSamples, frame};
pub use rows::FrameWriter;

const HAS_LABELS: u64 = 1;
const HAS_STARTS: u64 = 2;
const HAS_REST: u64 = 4;
const COUNT_SHIFT: u32 = 3;
/// Bytes of a hash.
const HASH_BYTES: usize = 16;
