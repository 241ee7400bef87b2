//! What stands before every call: the secret, and the end.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response};
use hyper::body::Incoming;
use rangekeeper_wire::proto::peer::Reason;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::body::Body;
use tower_service::Service;

use super::service::PeerService;
use crate::error::Refusal;
use crate::metrics::ServerMetrics;
use crate::rpc::peer_server;
use crate::secret::ClusterSecret;

/// Lets calls through that show the secret, until the node stops. Nothing of a message is read
/// before.
#[derive(Clone)]
pub(super) struct Guard {
    secret: Option<ClusterSecret>,
    stopping: CancellationToken,
    metrics: ServerMetrics,
    inner: peer_server::PeerServer<PeerService>,
}

impl Guard {
    pub(super) fn new(
        service: PeerService,
        secret: Option<ClusterSecret>,
        stopping: CancellationToken,
        metrics: ServerMetrics,
    ) -> Self {
        // The largest message of any kind; what a frame may be is what the sender's limits allow.
        let inner = peer_server::PeerServer::new(service)
            .max_decoding_message_size(crate::limits::WRITE_MESSAGE_BYTES)
            .max_encoding_message_size(crate::limits::QUERY_MESSAGE_BYTES);
        Self { secret, stopping, metrics, inner }
    }

    fn admit(&self, request: &Request<Incoming>) -> Result<(), Refusal> {
        if self.secret.as_ref().is_some_and(|secret| !secret.is_known(request.headers())) {
            let text = "the call does not show the cluster's secret";
            return Err(Refusal::new(Reason::Unauthenticated, text));
        }
        if self.stopping.is_cancelled() {
            return Err(Refusal::new(Reason::Stopping, "the node is stopping"));
        }
        Ok(())
    }
}

impl Service<Request<Incoming>> for Guard {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        match self.admit(&request) {
            Ok(()) => self.inner.call(request),
            Err(refusal) => {
                self.metrics.refused("any", &refusal);
                let response = Status::from(refusal).into_http();
                Box::pin(std::future::ready(Ok(response)))
            }
        }
    }
}
