//! Writes to one peer: a queue that is counted in bytes, frames, and the answers to them.
//!
//! The life of a call: it takes its bytes from the queue's bound, or misses at once; it waits for
//! its frame; the frame is sent with a number; the answer with that number has this call's part.
//! The bytes are given back when the answer is there or the frame is given up, not when the caller
//! has gone, so that the bound holds for what is in flight too.
//!
//! **Invariant:** a call is either taken back by its caller or sent, never both; so a caller who
//! is told that nothing was sent can rely on it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use rangekeeper_telemetry::IntGauge;
use rangekeeper_wire::proto::peer as proto;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

use super::gather::Gather;
use super::{Peer, client};
use crate::error::{PeerError, Refusal};
use crate::limits::{CALL_BYTES, CONNECT_TIMEOUT, FRAMES_IN_FLIGHT, PART_BYTES};
use crate::link::Kind;
use crate::peers::PeersOptions;

const QUEUED: u8 = 0;
const SENT: u8 = 1;
const TAKEN_BACK: u8 = 2;

/// Where calls wait for their frame.
pub(super) struct Queue {
    waiting: mpsc::UnboundedSender<Waiting>,
    /// Bytes that may still be taken: what bounds `waiting`.
    room: Arc<Semaphore>,
    bytes: IntGauge,
}

/// A call in the queue.
pub(super) struct Waiting {
    part: proto::WritePart,
    caller: Caller,
}

/// Who waits for a part's answer.
struct Caller {
    state: Arc<AtomicU8>,
    answer: oneshot::Sender<Result<proto::PartAnswer, PeerError>>,
    /// Given back when it is dropped.
    held: Held,
}

struct Held {
    _permit: OwnedSemaphorePermit,
    count: i64,
    bytes: IntGauge,
}

/// Takes a call back when its caller goes away before it is sent.
struct TakeBack(Arc<AtomicU8>);

/// Sends frames and hands out their answers.
pub(crate) struct Writer {
    peer: Peer,
    waiting: mpsc::UnboundedReceiver<Waiting>,
    gather: Gather<Waiting>,
    in_flight: BTreeMap<u64, InFlight>,
    next_number: u64,
    frame_timeout: Duration,
    stop: CancellationToken,
}

struct InFlight {
    sent: Instant,
    callers: Vec<Caller>,
}

/// A stream of frames that is open.
struct Conversation {
    frames: mpsc::Sender<proto::WriteFrame>,
    answers: Streaming<proto::WriteAnswer>,
}

/// How a stream ended.
struct Ended {
    text: String,
    was_answered: bool,
}

impl Queue {
    pub(super) fn new(
        room_bytes: usize,
        bytes: IntGauge,
    ) -> (Self, mpsc::UnboundedReceiver<Waiting>) {
        let (waiting, receiver) = mpsc::unbounded_channel();
        let room = Arc::new(Semaphore::new(room_bytes.min(Semaphore::MAX_PERMITS)));
        (Self { waiting, room, bytes }, receiver)
    }

    pub(super) async fn write(
        &self,
        node: &Arc<str>,
        part: proto::WritePart,
        deadline: Instant,
    ) -> Result<proto::PartAnswer, PeerError> {
        let node = || Arc::clone(node);
        let bytes = part.rows.len();
        if bytes > PART_BYTES {
            return Err(PeerError::TooLarge { node: node(), bytes, limit: PART_BYTES });
        }
        let bytes = u32::try_from(bytes + CALL_BYTES).expect("a part is smaller than that");
        let permit = Arc::clone(&self.room).try_acquire_many_owned(bytes);
        let permit = permit.map_err(|_| PeerError::QueueFull { node: node() })?;
        let state = Arc::new(AtomicU8::new(QUEUED));
        let (answer, answered) = oneshot::channel();
        let held = Held::new(permit, i64::from(bytes), self.bytes.clone());
        let caller = Caller { state: Arc::clone(&state), answer, held };
        let take_back = TakeBack(state);
        if self.waiting.send(Waiting { part, caller }).is_err() {
            return Err(PeerError::Stopped { node: node() });
        }
        match timeout_at(deadline, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(PeerError::Lost { node: node(), text: "the writer ended".into() }),
            Err(_) if take_back.take_back() => Err(PeerError::Expired { node: node() }),
            Err(_) => Err(PeerError::Deadline { node: node() }),
        }
    }
}

impl Held {
    fn new(permit: OwnedSemaphorePermit, count: i64, bytes: IntGauge) -> Self {
        bytes.add(count);
        Self { _permit: permit, count, bytes }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.bytes.sub(self.count);
    }
}

impl TakeBack {
    /// Whether the call was not sent, and now never will be.
    fn take_back(&self) -> bool {
        let exchanged =
            self.0.compare_exchange(QUEUED, TAKEN_BACK, Ordering::AcqRel, Ordering::Acquire);
        exchanged.is_ok()
    }
}

impl Drop for TakeBack {
    fn drop(&mut self) {
        self.take_back();
    }
}

impl Caller {
    /// Whether the call is to be sent: its caller has not taken it back, and now cannot.
    fn begin(&self) -> bool {
        let exchanged =
            self.state.compare_exchange(QUEUED, SENT, Ordering::AcqRel, Ordering::Acquire);
        exchanged.is_ok()
    }

    fn give(self, answer: Result<proto::PartAnswer, PeerError>) {
        // First, so that whoever has the answer finds room for the next call.
        drop(self.held);
        // Whoever does not wait any more does not want to know.
        let _ = self.answer.send(answer);
    }
}

impl Writer {
    pub(super) fn new(
        peer: Peer,
        waiting: mpsc::UnboundedReceiver<Waiting>,
        options: &PeersOptions,
    ) -> Self {
        let stop = peer.0.stop.clone();
        Self {
            peer,
            waiting,
            gather: Gather::new(options.frame_bytes, options.frame_wait),
            in_flight: BTreeMap::new(),
            next_number: 0,
            frame_timeout: options.frame_timeout,
            stop,
        }
    }

    /// Sends what comes until it is stopped; what is left then fails.
    pub(crate) async fn run(mut self) {
        let stop = self.stop.clone();
        // Dropping what runs loses nothing but the stream, which is given up then.
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.send_always() => {}
        }
        self.lose("this node gave the connection up");
        self.waiting.close();
        let stopped = self.peer.stopped();
        self.fail_waiting(&stopped);
    }

    async fn send_always(&mut self) {
        loop {
            if self.gather.is_empty() {
                let Some(waiting) = self.waiting.recv().await else { return };
                self.add(waiting);
            }
            match self.open().await {
                Ok(conversation) => {
                    let ended = self.converse(conversation).await;
                    if !self.in_flight.is_empty() {
                        self.peer.failed();
                    }
                    self.lose(&ended.text);
                    // A peer that takes streams and ends them is not asked in a circle.
                    if !ended.was_answered {
                        self.fail_waiting(&self.peer.unreachable(ended.text.into()));
                    }
                }
                Err(error) => {
                    self.peer.note(&Err::<(), _>(error.clone()));
                    self.fail_waiting(&error);
                }
            }
        }
    }

    /// Opens the stream. Callers that do not wait so long take their calls back meanwhile.
    async fn open(&self) -> Result<Conversation, PeerError> {
        let peer = &self.peer;
        let connection = peer.link(Kind::Write).connection().await;
        let connection = connection.map_err(|text| peer.unreachable(text))?;
        // A frame that is in flight has its place, so sending never waits.
        let (frames, receiver) = mpsc::channel(FRAMES_IN_FLIGHT);
        let mut client = client(Kind::Write, connection);
        let opening = client.write(ReceiverStream::new(receiver));
        match timeout(CONNECT_TIMEOUT, opening).await {
            Ok(Ok(answers)) => Ok(Conversation { frames, answers: answers.into_inner() }),
            // Nothing was sent on it: whatever it was, no outcome is unknown.
            Ok(Err(status)) => Err(match PeerError::of_status(&peer.0.node, &status) {
                PeerError::Lost { text, .. } => peer.unreachable(text),
                error => error,
            }),
            Err(_) => Err(peer.unreachable("the stream was not opened in time".into())),
        }
    }

    /// Sends and receives until the stream ends.
    async fn converse(&mut self, mut conversation: Conversation) -> Ended {
        let mut was_answered = false;
        let text = loop {
            let now = Instant::now();
            let has_place = self.in_flight.len() < FRAMES_IN_FLIGHT;
            let due = self.gather.due(now).filter(|_| has_place);
            let given_up =
                self.in_flight.values().next().map(|oldest| oldest.sent + self.frame_timeout);
            // All may be dropped while they wait: an answer stays in the stream, a call in the
            // queue.
            tokio::select! {
                answer = conversation.answers.message() => match answer {
                    Ok(Some(answer)) => {
                        was_answered = true;
                        self.answered(answer);
                    }
                    Ok(None) => break "the peer ended the stream".to_owned(),
                    Err(status) => break status.message().to_owned(),
                },
                waiting = self.waiting.recv(), if !self.gather.is_full() => match waiting {
                    Some(waiting) => self.add(waiting),
                    None => break "nobody writes any more".to_owned(),
                },
                () = sleep_until(due.unwrap_or(now)), if due.is_some() => {
                    if self.send(&conversation.frames).is_err() {
                        break "the stream is closed".to_owned();
                    }
                }
                () = sleep_until(given_up.unwrap_or(now)), if given_up.is_some() => {
                    break "a frame was not answered for too long".to_owned();
                }
            }
        };
        Ended { text, was_answered }
    }

    fn add(&mut self, waiting: Waiting) {
        let bytes = waiting.part.rows.len();
        self.gather.add(waiting, bytes, Instant::now());
    }

    fn send(&mut self, frames: &mpsc::Sender<proto::WriteFrame>) -> Result<(), ()> {
        if frames.is_closed() {
            return Err(());
        }
        let waiting = self.gather.take().into_iter().filter(|waiting| waiting.caller.begin());
        let (parts, callers): (Vec<_>, Vec<_>) =
            waiting.map(|Waiting { part, caller }| (part, caller)).unzip();
        if parts.is_empty() {
            return Ok(());
        }
        let number = self.next_number;
        self.next_number += 1;
        self.in_flight.insert(number, InFlight { sent: Instant::now(), callers });
        let header = Some(self.peer.header());
        self.peer.0.metrics.frames.inc();
        frames.try_send(proto::WriteFrame { header, number, parts }).map_err(|_| ())
    }

    fn answered(&mut self, answer: proto::WriteAnswer) {
        let accepted = self.peer.accept(Kind::Write, answer.header.as_ref());
        let Some(InFlight { callers, .. }) = self.in_flight.remove(&answer.number) else {
            self.peer.0.metrics.strays.inc();
            return;
        };
        let node = || Arc::clone(&self.peer.0.node);
        let refused = |refusal: Refusal| PeerError::Refused { node: node(), refusal };
        let failure = match (accepted, answer.refusal) {
            (Err(error), _) => Some(error),
            (Ok(()), Some(refusal)) => Some(refused(refusal.into())),
            (Ok(()), None) if answer.parts.len() != callers.len() => {
                Some(PeerError::Lost { node: node(), text: "an answer has not all parts".into() })
            }
            (Ok(()), None) => None,
        };
        if let Some(error) = failure {
            give_all(callers, &error);
            return;
        }
        for (caller, mut part) in callers.into_iter().zip(answer.parts) {
            caller.give(match part.refusal.take() {
                Some(refusal) => Err(refused(refusal.into())),
                None => Ok(part),
            });
        }
    }

    /// What is in flight may have been stored or not.
    fn lose(&mut self, text: &str) {
        let error = PeerError::Lost { node: Arc::clone(&self.peer.0.node), text: text.into() };
        for (_, InFlight { callers, .. }) in std::mem::take(&mut self.in_flight) {
            give_all(callers, &error);
        }
    }

    /// What was not sent is not sent any more.
    fn fail_waiting(&mut self, error: &PeerError) {
        let gathered = self.gather.take();
        let queued = std::iter::from_fn(|| self.waiting.try_recv().ok());
        for waiting in gathered.into_iter().chain(queued) {
            if waiting.caller.begin() {
                waiting.caller.give(Err(error.clone()));
            }
        }
    }
}

fn give_all(callers: Vec<Caller>, error: &PeerError) {
    for caller in callers {
        caller.give(Err(error.clone()));
    }
}
