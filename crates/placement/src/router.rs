//! What a router does for the series of one shard in one request: whom it asks, when it may answer.
//!
//! A round is made for one request, holds no data, and is told what came back. The caller owns the
//! map, the connections and the clock: it passes the shard's newest view with each event, and turns
//! what timed out into [`WriteEvent::Missed`] or [`ReadEvent::Failed`].

mod read;
mod write;

pub use read::{ReadEffect, ReadEvent, ReadMode, ReadRound};
pub use write::{WriteEffect, WriteEvent, WriteRound};
