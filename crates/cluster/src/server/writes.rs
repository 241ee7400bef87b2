//! Serving a stream of frames: several at once, each answered when it is done.

use std::sync::Arc;

use rangekeeper_wire::proto::peer as proto;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

use super::handler::PeerHandler;
use crate::error::Refusal;
use crate::identity::{Local, asker_of};
use crate::limits::SERVED_FRAMES;
use crate::metrics::ServerMetrics;

/// What frames are handled with.
#[derive(Clone)]
pub(super) struct Writes {
    pub(super) handler: Arc<dyn PeerHandler>,
    pub(super) local: Local,
    pub(super) metrics: ServerMetrics,
    /// No more frames are read.
    pub(super) stopping: CancellationToken,
}

/// Serves frames until the sender ends the stream or the node stops; what was read is answered.
///
/// Dropped, it drops what is being handled: the sender is gone, and does not know the outcome
/// either way.
pub(super) async fn serve(
    writes: Writes,
    mut frames: Streaming<proto::WriteFrame>,
    answers: mpsc::Sender<proto::WriteAnswer>,
) -> Result<(), Refusal> {
    let mut in_hand = JoinSet::new();
    loop {
        // All may be dropped while they wait: a frame stays in the stream, an answer in the set.
        tokio::select! {
            () = writes.stopping.cancelled() => break,
            Some(done) = in_hand.join_next() => give(done, &answers).await?,
            frame = frames.message(), if in_hand.len() < SERVED_FRAMES => match frame {
                Ok(Some(frame)) => {
                    in_hand.spawn(writes.clone().handle(frame));
                }
                Ok(None) => break,
                Err(status) => {
                    return Err(Refusal::new(proto::Reason::Malformed, status.message()));
                }
            },
        }
    }
    while let Some(done) = in_hand.join_next().await {
        give(done, &answers).await?;
    }
    Ok(())
}

async fn give(
    done: Result<proto::WriteAnswer, JoinError>,
    answers: &mpsc::Sender<proto::WriteAnswer>,
) -> Result<(), Refusal> {
    let failed = |_| Refusal::new(proto::Reason::Failed, "handling a frame broke");
    let answer = done.map_err(failed)?;
    // Nobody takes answers any more: then this is dropped as well.
    let _ = answers.send(answer).await;
    Ok(())
}

impl Writes {
    async fn handle(self, frame: proto::WriteFrame) -> proto::WriteAnswer {
        let served = self.metrics.begin("write");
        let proto::WriteFrame { header, number, parts } = frame;
        let expected = parts.len();
        let mut asker = asker_of(header.as_ref());
        let answered = match self.local.read(header.as_ref()) {
            Ok(speaker) => {
                asker = speaker.store;
                self.handler.write(speaker, parts).await
            }
            Err(refusal) => Err(refusal),
        };
        let unanswered = || Refusal::new(proto::Reason::Failed, "not every part was answered");
        let answered = match answered {
            Ok(parts) if parts.len() != expected => Err(unanswered()),
            answered => answered,
        };
        served.end(&answered);
        let header = Some(self.local.header(asker));
        let (parts, refusal) = match answered {
            Ok(parts) => (parts, None),
            Err(refusal) => (Vec::new(), Some(refusal.into())),
        };
        proto::WriteAnswer { header, number, parts, refusal }
    }
}
