//! Answers that come in parts.

use rangekeeper_wire::proto::peer as proto;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tonic::Streaming;

use super::Peer;
use super::headed::Headed;
use crate::error::PeerError;
use crate::link::Kind;
use crate::metrics;

/// The parts of a select.
pub type SelectStream = PartStream<proto::SelectPart>;

/// The parts of a list.
pub type ListStream = PartStream<proto::ListPart>;

/// The parts of a fold.
pub type FoldStream = PartStream<proto::FoldPart>;

/// An answer in parts. What is not read keeps the peer waiting; dropped, it stops the peer's work.
pub struct PartStream<T> {
    parts: Streaming<T>,
    asked: Asked,
    ended: bool,
}

/// What an answer in parts holds while it comes.
pub(super) struct Asked {
    pub(super) peer: Peer,
    pub(super) counted: metrics::Asked,
    pub(super) deadline: Instant,
    /// Its place among the queries to this peer.
    pub(super) room: OwnedSemaphorePermit,
}

impl<T> PartStream<T> {
    pub(super) fn new(parts: Streaming<T>, asked: Asked) -> Self {
        Self { parts, asked, ended: false }
    }
}

impl<T: Headed> PartStream<T> {
    /// The next part, or `None` after the last one. After an error nothing more comes.
    ///
    /// May be dropped while it waits: a part that came stays in the stream.
    pub async fn next(&mut self) -> Result<Option<T>, PeerError> {
        if self.ended {
            return Ok(None);
        }
        let Asked { peer, counted, deadline, room } = &mut self.asked;
        let part = peer.in_time(*deadline, self.parts.message());
        let part = peer.unless_stopped(part).await.and_then(|part| match part {
            Some(part) => peer.accept(Kind::Query, part.header()).map(|()| Some(part)),
            None => Ok(None),
        });
        if !matches!(part, Ok(Some(_))) {
            self.ended = true;
            peer.note(&part);
            counted.end(&part);
            // The place is free as soon as nothing more comes.
            drop(room.split(room.num_permits()));
        }
        part
    }
}
