//! Small questions to one peer, all on one stream, each answered when the peer is done with it.
//!
//! A call of its own costs both nodes a request, its headers and a task or two, which is many times
//! what it costs to see that there is nothing. The stream is opened when it is first needed, and
//! again when it was lost. Who asks puts the frame into the stream itself; one task reads answers.
//!
//! **Invariant:** a question is in `waiting` from before its frame is sent until it is answered,
//! its stream ends, or its caller goes away; so nobody waits for a stream that has ended.

use std::collections::BTreeMap;
use std::pin::pin;

use parking_lot::Mutex;
use rangekeeper_wire::proto::peer as proto;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::{Call, Peer};
use crate::error::{PeerError, Refusal};
use crate::limits::QUERY_CALLS;
use crate::link::Kind;

type Answer = Result<proto::Glanced, PeerError>;

/// The questions that wait for their answers, and the stream that they went into.
pub(super) struct Glances {
    state: Mutex<State>,
    /// One opens the stream at a time.
    turn: Semaphore,
}

struct State {
    /// Only while the stream is open; what ends it is taking this away.
    frames: Option<mpsc::Sender<proto::GlanceFrame>>,
    waiting: BTreeMap<u64, oneshot::Sender<Answer>>,
    next_number: u64,
}

/// A question that was sent. Dropped, it is not waited for any more.
struct Question<'a> {
    glances: &'a Glances,
    number: u64,
    answer: oneshot::Receiver<Answer>,
}

impl Glances {
    pub(super) fn new() -> Self {
        let state = State { frames: None, waiting: BTreeMap::new(), next_number: 0 };
        Self { state: Mutex::new(state), turn: Semaphore::new(1) }
    }

    fn is_open(&self) -> bool {
        self.state.lock().frames.is_some()
    }

    /// The stream has ended, and so have all that wait for its answers.
    fn lose(&self, error: &PeerError) {
        let mut state = self.state.lock();
        state.frames = None;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        for caller in waiting.into_values() {
            // Whoever does not wait any more does not want to know.
            let _ = caller.send(Err(error.clone()));
        }
    }
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        self.glances.state.lock().waiting.remove(&self.number);
    }
}

impl Peer {
    /// Asks for what is unsettled there, as [`Self::select`] does, where little or nothing is
    /// expected. An answer that is `too_large` is to be had from that.
    pub async fn glance(
        &self,
        request: proto::GlanceRequest,
        call: Call,
    ) -> Result<proto::Glanced, PeerError> {
        let mut asked = self.0.metrics.begin("select");
        let glancing = async {
            let room = timeout_at(call.deadline, self.0.query_room.acquire()).await;
            let _room = room.map_err(|_| self.expired())?.expect("never closed");
            if !self.0.glances.is_open() {
                self.open_glances(call).await?;
            }
            let mut question = self.put(request, call)?;
            match timeout_at(call.deadline, &mut question.answer).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) => Err(self.lost("nobody reads its answers")),
                Err(_) => Err(PeerError::Deadline { node: self.0.node.clone() }),
            }
        };
        let glanced = match self.may_ask(call.urgency) {
            Ok(()) => self.unless_stopped(glancing).await,
            Err(error) => Err(error),
        };
        self.note(&glanced);
        asked.end(&glanced);
        glanced
    }

    /// Opens the stream, unless somebody else did meanwhile.
    async fn open_glances(&self, call: Call) -> Result<(), PeerError> {
        // Before the turn: who waits for a connection shares the failure of whoever makes it.
        let mut client = self.client(Kind::Query, call).await?;
        let glances = &self.0.glances;
        let turn = timeout_at(call.deadline, glances.turn.acquire()).await;
        let _turn = turn.map_err(|_| self.expired())?.expect("never closed");
        if glances.is_open() {
            return Ok(());
        }
        // As many as wait; the frames of those that went away are soon sent, or the stream is
        // stuck.
        let (frames, receiver) = mpsc::channel(QUERY_CALLS);
        let opening = client.glance(ReceiverStream::new(receiver));
        let answers = self.in_time(call.deadline, opening).await?.into_inner();
        glances.state.lock().frames = Some(frames);
        self.0.tasks.spawn(self.clone().read_glances(answers));
        Ok(())
    }

    /// Puts a question into the stream.
    fn put(&self, request: proto::GlanceRequest, call: Call) -> Result<Question<'_>, PeerError> {
        let left = call.deadline.saturating_duration_since(Instant::now());
        let left_ms = u32::try_from(left.as_millis()).unwrap_or(u32::MAX);
        let (header, request) = (Some(self.header()), Some(request));
        let glances = &self.0.glances;
        let mut state = glances.state.lock();
        let State { frames, waiting, next_number } = &mut *state;
        let frames = frames.as_ref().ok_or_else(|| self.lost("the stream ended at once"))?;
        let number = *next_number;
        let frame = proto::GlanceFrame { header, number, left_ms, request };
        frames.try_send(frame).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                PeerError::QueueFull { node: self.0.node.clone() }
            }
            mpsc::error::TrySendError::Closed(_) => self.lost("the stream is closed"),
        })?;
        *next_number += 1;
        let (caller, answer) = oneshot::channel();
        // Before the lock is given up, so before its answer can be looked at.
        waiting.insert(number, caller);
        Ok(Question { glances, number, answer })
    }

    /// Hands out answers until the stream ends.
    async fn read_glances(self, mut answers: Streaming<proto::GlanceAnswer>) {
        let mut stopped = pin!(self.0.stop.cancelled());
        let error = loop {
            // Both may be dropped while they wait: an answer stays in the stream. Stopping ends
            // the connection too, and then it is not lost.
            tokio::select! {
                biased;
                () = stopped.as_mut() => break self.stopped(),
                answer = answers.message() => match answer {
                    Ok(Some(answer)) => self.glanced(answer),
                    Ok(None) => break self.lost("the peer ended the stream"),
                    Err(status) => break PeerError::of_status(&self.0.node, &status),
                },
            }
        };
        self.0.glances.lose(&error);
    }

    fn glanced(&self, answer: proto::GlanceAnswer) {
        let accepted = self.accept(Kind::Query, answer.header.as_ref());
        let Some(caller) = self.0.glances.state.lock().waiting.remove(&answer.number) else {
            self.0.metrics.strays.inc();
            return;
        };
        let node = || self.0.node.clone();
        let answer =
            accepted.and_then(|()| match (answer.refusal.map(Refusal::from), answer.glanced) {
                (Some(Refusal { reason: proto::Reason::Deadline, .. }), _) => {
                    Err(PeerError::Deadline { node: node() })
                }
                (Some(refusal), _) => Err(PeerError::Refused { node: node(), refusal }),
                (None, Some(glanced)) => Ok(glanced),
                (None, None) => Err(self.lost("an answer says nothing")),
            });
        // Whoever does not wait any more does not want to know.
        let _ = caller.send(answer);
    }

    fn lost(&self, text: &str) -> PeerError {
        PeerError::Lost { node: self.0.node.clone(), text: text.into() }
    }
}
