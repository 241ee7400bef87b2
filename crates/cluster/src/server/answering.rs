//! Answers in parts: a handler fills a sink, the connection empties it, and each ends the other.
//!
//! The handler's future lives in the answer's stream. So when the asker goes away, which drops the
//! stream, the work is dropped in the same moment, and nothing has to be told to stop.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use rangekeeper_wire::proto::peer as proto;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tonic::Status;

use crate::error::Refusal;
use crate::identity::Local;
use rangekeeper_model::StoreId;

/// Work that ends with the status of its stream.
pub(super) type Work = Pin<Box<dyn Future<Output = Result<(), Refusal>> + Send>>;

/// Nobody takes parts any more: the asker went away, or has as many entries as it asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nobody takes more of this answer")]
pub struct SinkClosed;

/// Takes the parts of an answer.
pub struct PartSink<T> {
    parts: mpsc::Sender<T>,
    local: Local,
    asker: StoreId,
    /// Entries that may still come.
    entries_left: u64,
}

/// A part of an answer. The transport writes its header.
pub trait Part: Send + 'static {
    /// Writes the header.
    fn stamp(&mut self, header: proto::Header);

    /// Leaves at most `most` of the entries that are limited; says how many there are then.
    fn cut(&mut self, most: u64) -> u64;
}

impl Part for proto::SelectPart {
    fn stamp(&mut self, header: proto::Header) {
        self.header = Some(header);
    }

    fn cut(&mut self, _most: u64) -> u64 {
        0
    }
}

impl Part for proto::FoldPart {
    fn stamp(&mut self, header: proto::Header) {
        self.header = Some(header);
    }

    fn cut(&mut self, _most: u64) -> u64 {
        0
    }
}

impl Part for proto::ListPart {
    fn stamp(&mut self, header: proto::Header) {
        self.header = Some(header);
    }

    fn cut(&mut self, most: u64) -> u64 {
        self.entries.truncate(usize::try_from(most).unwrap_or(usize::MAX));
        self.entries.len() as u64
    }
}

impl<T: Part> PartSink<T> {
    /// A sink for what `asker` asked, and where its parts come out. `entries` may come at most.
    pub(super) fn new(
        local: Local,
        asker: StoreId,
        entries: u64,
        parts_ahead: usize,
    ) -> (Self, mpsc::Receiver<T>) {
        let (parts, receiver) = mpsc::channel(parts_ahead);
        (Self { parts, local, asker, entries_left: entries }, receiver)
    }

    /// Gives a part away, once there is room for it. Its header is written here.
    pub async fn send(&mut self, mut part: T) -> Result<(), SinkClosed> {
        self.prepare(&mut part)?;
        self.parts.send(part).await.map_err(|_| SinkClosed)
    }

    /// The same for work on a thread that may block.
    pub fn blocking_send(&mut self, mut part: T) -> Result<(), SinkClosed> {
        self.prepare(&mut part)?;
        self.parts.blocking_send(part).map_err(|_| SinkClosed)
    }

    /// Whether nobody takes parts any more, so that work that does not send can end too.
    pub fn is_closed(&self) -> bool {
        self.entries_left == 0 || self.parts.is_closed()
    }

    fn prepare(&mut self, part: &mut T) -> Result<(), SinkClosed> {
        if self.entries_left == 0 {
            return Err(SinkClosed);
        }
        self.entries_left -= part.cut(self.entries_left);
        part.stamp(self.local.header(self.asker));
        Ok(())
    }
}

/// The stream of an answer: the work, and what it gave so far.
pub(super) struct Answer<T> {
    work: Option<Work>,
    parts: mpsc::Receiver<T>,
    refusal: Option<Refusal>,
}

impl<T> Answer<T> {
    pub(super) fn new(work: Work, parts: mpsc::Receiver<T>) -> Self {
        Self { work: Some(work), parts, refusal: None }
    }
}

impl<T> Stream for Answer<T> {
    type Item = Result<T, Status>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            let part = this.parts.poll_recv(context);
            if let Poll::Ready(Some(part)) = part {
                return Poll::Ready(Some(Ok(part)));
            }
            let Some(work) = &mut this.work else {
                // What is sent after the work's end, by a thread that it left behind, is not part
                // of the answer.
                this.parts.close();
                let refusal = this.refusal.take();
                return Poll::Ready(refusal.map(|refusal| Err(refusal.into())));
            };
            match work.as_mut().poll(context) {
                Poll::Ready(result) => {
                    this.work = None;
                    this.refusal = result.err();
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}
