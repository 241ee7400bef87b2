//! From a call to the handler: header, place, deadline, and what is counted.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use rangekeeper_wire::proto::peer as proto;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use super::ServerOptions;
use super::answering::{Answer, PartSink};
use super::handler::PeerHandler;
use super::writes::{self, Writes};
use crate::error::Refusal;
use crate::identity::{Local, Speaker};
use crate::limits::{PARTS_AHEAD, PROBE_ASSIGNMENT_BYTES, SERVED_DELIVERIES, SERVED_FRAMES};
use crate::metrics::ServerMetrics;
use crate::rpc::peer_server;

/// What carries the time that is left to a call.
const TIMEOUT_KEY: &str = "grpc-timeout";

/// Serves the calls of peers. Clones share everything.
#[derive(Clone)]
pub(super) struct PeerService(Arc<Inner>);

struct Inner {
    handler: Arc<dyn PeerHandler>,
    local: Local,
    control: Arc<Semaphore>,
    writes: Arc<Semaphore>,
    queries: Arc<Semaphore>,
    deliveries: Arc<Semaphore>,
    metrics: ServerMetrics,
    stopping: CancellationToken,
}

type Answered<T> = Result<Response<T>, Status>;

impl PeerService {
    pub(super) fn new(
        handler: Arc<dyn PeerHandler>,
        local: Local,
        options: &ServerOptions,
        metrics: &ServerMetrics,
        stopping: &CancellationToken,
    ) -> Self {
        Self(Arc::new(Inner {
            handler,
            local,
            control: Arc::new(Semaphore::new(options.control_calls)),
            writes: Arc::new(Semaphore::new(options.write_streams)),
            queries: Arc::new(Semaphore::new(options.queries)),
            deliveries: Arc::new(Semaphore::new(SERVED_DELIVERIES)),
            metrics: metrics.clone(),
            stopping: stopping.clone(),
        }))
    }

    /// A control call: `answer` gets who asks, and gives what is said to them.
    async fn control<T, F>(
        &self,
        kind: &'static str,
        header: Option<&proto::Header>,
        answer: impl FnOnce(Speaker) -> F,
    ) -> Answered<T>
    where
        F: Future<Output = Result<T, Refusal>>,
    {
        self.once(&self.0.control, kind, header, answer).await
    }

    /// A call with one answer, within the room for its kind.
    async fn once<T, F>(
        &self,
        of_kind: &Arc<Semaphore>,
        kind: &'static str,
        header: Option<&proto::Header>,
        answer: impl FnOnce(Speaker) -> F,
    ) -> Answered<T>
    where
        F: Future<Output = Result<T, Refusal>>,
    {
        let served = self.0.metrics.begin(kind);
        let answered = async {
            let _room = room(of_kind)?;
            answer(self.0.local.read(header)?).await
        };
        let answered = answered.await;
        served.end(&answered);
        Ok(Response::new(answered?))
    }

    /// A call with an answer in parts: `work` gets who asks and where the parts go.
    fn in_parts<T, F>(
        &self,
        kind: &'static str,
        asked: (Option<&proto::Header>, Duration),
        most_entries: u64,
        work: impl FnOnce(Arc<dyn PeerHandler>, Speaker, PartSink<T>) -> F,
    ) -> Answered<Answer<T>>
    where
        T: super::answering::Part,
        F: Future<Output = Result<(), Refusal>> + Send + 'static,
    {
        let served = self.0.metrics.begin(kind);
        let (header, time) = asked;
        let begun = room(&self.0.queries)
            .and_then(|room| self.0.local.read(header).map(|speaker| (room, speaker)));
        let (room, speaker) = match begun {
            Ok(begun) => begun,
            Err(refusal) => {
                served.end(&Err::<(), _>(refusal.clone()));
                return Err(refusal.into());
            }
        };
        let local = self.0.local.clone();
        let (sink, parts) = PartSink::new(local, speaker.store, most_entries, PARTS_AHEAD);
        let work = work(Arc::clone(&self.0.handler), speaker, sink);
        let work = async move {
            let result = in_time(time, work).await;
            served.end(&result);
            drop(room);
            result
        };
        Ok(Response::new(Answer::new(Box::pin(work), parts)))
    }
}

#[tonic::async_trait]
impl peer_server::Peer for PeerService {
    async fn probe(&self, request: Request<proto::ProbeRequest>) -> Answered<proto::ProbeAnswer> {
        let request = request.into_inner();
        self.control("probe", request.header.as_ref(), |asker| async move {
            let report = self.0.handler.report(&asker);
            let fits = |bytes: &bytes::Bytes| bytes.len() <= PROBE_ASSIGNMENT_BYTES;
            let newer = self.0.handler.assignment_newer(asker.view).filter(fits);
            Ok(proto::ProbeAnswer {
                header: Some(self.0.local.header(asker.store)),
                readiness: report.readiness.into(),
                text: report.text,
                assignment: newer.unwrap_or_default(),
            })
        })
        .await
    }

    async fn fetch_assignment(
        &self,
        request: Request<proto::AssignmentRequest>,
    ) -> Answered<proto::AssignmentAnswer> {
        let request = request.into_inner();
        self.control("assignment", request.header.as_ref(), |asker| async move {
            let assignment = self.0.handler.assignment_newer(asker.view).unwrap_or_default();
            let header = Some(self.0.local.header(asker.store));
            Ok(proto::AssignmentAnswer { header, assignment })
        })
        .await
    }

    async fn settle(
        &self,
        request: Request<proto::SettleRequest>,
    ) -> Answered<proto::SettleAnswer> {
        let time = time_of(request.metadata());
        let mut request = request.into_inner();
        let header = request.header.take();
        self.control("settle", header.as_ref(), |asker| async move {
            let header = Some(self.0.local.header(asker.store));
            in_time(time, self.0.handler.settle(asker, request)).await?;
            Ok(proto::SettleAnswer { header })
        })
        .await
    }

    async fn deliver(
        &self,
        request: Request<proto::DeliverRequest>,
    ) -> Answered<proto::DeliverAnswer> {
        let time = time_of(request.metadata());
        let mut request = request.into_inner();
        let header = request.header.take();
        self.once(&self.0.deliveries, "deliver", header.as_ref(), |asker| async move {
            let header = Some(self.0.local.header(asker.store));
            let answer = in_time(time, self.0.handler.deliver(asker, request)).await?;
            Ok(proto::DeliverAnswer { header, ..answer })
        })
        .await
    }

    type WriteStream = Answer<proto::WriteAnswer>;

    async fn write(
        &self,
        request: Request<Streaming<proto::WriteFrame>>,
    ) -> Answered<Self::WriteStream> {
        let room =
            room(&self.0.writes).inspect_err(|refusal| self.0.metrics.refused("write", refusal))?;
        let (answers, receiver) = mpsc::channel(SERVED_FRAMES);
        let writes = Writes {
            handler: Arc::clone(&self.0.handler),
            local: self.0.local.clone(),
            metrics: self.0.metrics.clone(),
            stopping: self.0.stopping.clone(),
        };
        let frames = request.into_inner();
        let work = async move {
            let result = writes::serve(writes, frames, answers).await;
            drop(room);
            result
        };
        Ok(Response::new(Answer::new(Box::pin(work), receiver)))
    }

    type SelectStream = Answer<proto::SelectPart>;

    async fn select(&self, request: Request<proto::SelectRequest>) -> Answered<Self::SelectStream> {
        let time = time_of(request.metadata());
        let mut request = request.into_inner();
        let header = request.header.take();
        self.in_parts(
            "select",
            (header.as_ref(), time),
            u64::MAX,
            |handler, asker, sink| async move { handler.select(asker, request, sink).await },
        )
    }

    type FoldStream = Answer<proto::FoldPart>;

    async fn fold(&self, request: Request<proto::FoldRequest>) -> Answered<Self::FoldStream> {
        let time = time_of(request.metadata());
        let mut request = request.into_inner();
        let header = request.header.take();
        self.in_parts(
            "fold",
            (header.as_ref(), time),
            u64::MAX,
            |handler, asker, sink| async move { handler.fold(asker, request, sink).await },
        )
    }

    type ListStream = Answer<proto::ListPart>;

    async fn list(&self, request: Request<proto::ListRequest>) -> Answered<Self::ListStream> {
        let time = time_of(request.metadata());
        let mut request = request.into_inner();
        let header = request.header.take();
        let most = match request.limit {
            0 => u64::MAX,
            limit => limit.saturating_add(1),
        };
        self.in_parts("list", (header.as_ref(), time), most, |handler, asker, sink| async move {
            handler.list(asker, request, sink).await
        })
    }
}

/// A place among those that are served, or a refusal: who is refused can ask another.
fn room(room: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Refusal> {
    Arc::clone(room)
        .try_acquire_owned()
        .map_err(|_| Refusal::new(proto::Reason::Shed, "the node serves as many as it may"))
}

/// The answer, unless the time is over before.
async fn in_time<T>(
    time: Duration,
    answer: impl Future<Output = Result<T, Refusal>>,
) -> Result<T, Refusal> {
    let answer: Pin<Box<_>> = Box::pin(answer);
    timeout(time, answer)
        .await
        .unwrap_or_else(|_| Err(Refusal::new(proto::Reason::Deadline, "the time is over")))
}

/// The time that the asker gives. Without one it is what any call gets at most.
fn time_of(metadata: &MetadataMap) -> Duration {
    let text = metadata.get(TIMEOUT_KEY).and_then(|value| value.to_str().ok());
    text.and_then(parse_time).unwrap_or(Duration::MAX)
}

/// Digits and a unit, as gRPC writes them.
fn parse_time(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number.checked_mul(3600)?),
        "M" => Duration::from_secs(number.checked_mul(60)?),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_time_that_a_call_has() {
        for (text, expected) in [
            ("5S", Some(Duration::from_secs(5))),
            ("20m", Some(Duration::from_millis(20))),
            ("99999999u", Some(Duration::from_micros(99_999_999))),
            ("7n", Some(Duration::from_nanos(7))),
            ("2M", Some(Duration::from_mins(2))),
            ("1H", Some(Duration::from_hours(1))),
            ("", None),
            ("S", None),
            ("5", None),
            ("5\u{fc}", None),
            ("18446744073709551615H", None),
        ] {
            assert_eq!(parse_time(text), expected, "{text:?}");
        }
    }
}
