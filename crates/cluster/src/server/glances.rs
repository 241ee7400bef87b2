//! Serving a stream of small questions: each is answered in the task of the stream when it is done,
//! most of them at once.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use rangekeeper_wire::proto::peer as proto;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

use super::handler::PeerHandler;
use super::service::{in_time, room};
use crate::error::Refusal;
use crate::identity::{Local, asker_of};
use crate::limits::{GLANCE_WITHIN, SERVED_GLANCES};
use crate::metrics::ServerMetrics;

/// What questions are answered with.
#[derive(Clone)]
pub(super) struct Glances {
    pub(super) handler: Arc<dyn PeerHandler>,
    pub(super) local: Local,
    /// A question is a query, and has a place among them.
    pub(super) queries: Arc<Semaphore>,
    pub(super) metrics: ServerMetrics,
    /// No more questions are read.
    pub(super) stopping: CancellationToken,
}

/// Serves questions until the asker ends the stream or the node stops; what was read is answered.
///
/// Dropped, it drops what is being handled: the asker is gone.
pub(super) async fn serve(
    glances: Glances,
    mut frames: Streaming<proto::GlanceFrame>,
    answers: mpsc::Sender<proto::GlanceAnswer>,
) -> Result<(), Refusal> {
    let mut in_hand = FuturesUnordered::new();
    let mut stopping = pin!(glances.stopping.cancelled());
    loop {
        // All may be dropped while they wait: a frame stays in the stream, work in the set.
        tokio::select! {
            () = stopping.as_mut() => break,
            Some(answer) = in_hand.next() => give(answer, &answers).await,
            frame = frames.message(), if in_hand.len() < SERVED_GLANCES => match frame {
                Ok(Some(frame)) => in_hand.push(glances.clone().handle(frame)),
                Ok(None) => break,
                Err(status) => {
                    return Err(Refusal::new(proto::Reason::Malformed, status.message()));
                }
            },
        }
    }
    while let Some(answer) = in_hand.next().await {
        give(answer, &answers).await;
    }
    Ok(())
}

async fn give(answer: proto::GlanceAnswer, answers: &mpsc::Sender<proto::GlanceAnswer>) {
    // Nobody takes answers any more: then this is dropped as well.
    let _ = answers.send(answer).await;
}

impl Glances {
    async fn handle(self, frame: proto::GlanceFrame) -> proto::GlanceAnswer {
        let served = self.metrics.begin("select");
        let proto::GlanceFrame { header, number, left_ms, request } = frame;
        let mut asker = asker_of(header.as_ref());
        let answered = async {
            let _room = room(&self.queries)?;
            let speaker = self.local.read(header.as_ref())?;
            asker = speaker.store;
            let malformed = || Refusal::new(proto::Reason::Malformed, "a frame that asks nothing");
            let request = request.ok_or_else(malformed)?;
            let left = Duration::from_millis(left_ms.into());
            at_a_glance(left, self.handler.glance(speaker, request)).await
        };
        let answered = answered.await;
        served.end(&answered);
        let header = Some(self.local.header(asker));
        let (glanced, refusal) = match answered {
            Ok(glanced) => (Some(glanced), None),
            Err(refusal) => (None, Some(refusal.into())),
        };
        proto::GlanceAnswer { header, number, glanced, refusal }
    }
}

/// The answer; if it takes too long for a glance and there is time left, that it does.
async fn at_a_glance(
    left: Duration,
    answer: impl Future<Output = Result<proto::Glanced, Refusal>>,
) -> Result<proto::Glanced, Refusal> {
    match in_time(left.min(GLANCE_WITHIN), answer).await {
        Err(Refusal { reason: proto::Reason::Deadline, .. }) if left > GLANCE_WITHIN => {
            Ok(proto::Glanced { too_large: true, ..proto::Glanced::default() })
        }
        answered => answered,
    }
}
