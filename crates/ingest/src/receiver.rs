//! The way of a body: uncompress, walk, judge, store, answer.

use std::sync::Arc;

use parking_lot::Mutex;
use rangekeeper_model::{ErrorClass, TenantId};
use rangekeeper_storage::WriteError;
use rangekeeper_telemetry::Registry;
use rangekeeper_wire::{DecodeError, SnappyError, Version, decompress, v1, v2};

use crate::metrics::{IngestMetrics, RequestReason};
use crate::reject::Reason;
use crate::reject::WrittenOut;
use crate::request::{Judged, Request};
use crate::sink::{Kept, Sink};
use crate::statements::Statements;

/// How many requests' buffers are kept for the next ones.
const SPARE_BUFFERS: usize = 8;
/// A buffer that grew beyond this is given back: one huge request must not hold memory for ever.
const SPARE_BYTES: usize = 4 << 20;

/// What a request may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a body when it is uncompressed.
    pub decoded_bytes: usize,
    /// Labels of a series.
    pub labels: usize,
    /// Bytes of a label's name.
    pub name_bytes: usize,
    /// Bytes of a label's value.
    pub value_bytes: usize,
    /// How far ahead of the clock a sample may be.
    pub ahead_ms: i64,
    /// How far behind the clock a sample may be, if less than what is kept.
    pub late_ms: Option<i64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            decoded_bytes: 128 << 20,
            labels: 64,
            name_bytes: 1 << 10,
            value_bytes: 8 << 10,
            ahead_ms: 10 * 60 * 1000,
            late_ms: None,
        }
    }
}

/// Exact counts of what was stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Float samples.
    pub samples: u64,
    /// Histograms.
    pub histograms: u64,
    /// Exemplars.
    pub exemplars: u64,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Whether all of it was stored; else the class of the failure and what the sender is told,
    /// the essence on the first line.
    pub result: Result<(), (ErrorClass, String)>,
    /// What was stored.
    pub written: Written,
}

/// Receives requests for a store.
#[derive(Clone)]
pub struct Receiver {
    shared: Arc<Shared>,
}

struct Shared {
    sink: Sink,
    limits: Limits,
    metrics: IngestMetrics,
    buffers: Mutex<Vec<Buffers>>,
    statements: Statements,
}

#[derive(Default)]
struct Buffers {
    body: Vec<u8>,
    symbols: v2::Scratch,
}

/// Why nothing of a request was stored.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Snappy(#[from] SnappyError),
    #[error("malformed remote write message: {0}")]
    Decode(#[from] DecodeError),
    #[error("{0}")]
    Request(#[from] v2::RequestError),
    #[error("{0}")]
    WrittenOut(#[from] WrittenOut),
    #[error("{0}")]
    Store(#[from] WriteError),
}

impl Failure {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Snappy(error) => error.class(),
            Self::Decode(error) => error.class(),
            Self::Request(error) => error.class(),
            Self::WrittenOut(_) => ErrorClass::TooLarge,
            Self::Store(error) => error.class(),
        }
    }

    /// The name under which it is counted.
    fn reason(&self) -> RequestReason {
        match self {
            Self::Snappy(error) if error.class() == ErrorClass::TooLarge => RequestReason::TooLarge,
            Self::Snappy(_) => RequestReason::Snappy,
            Self::Decode(_) | Self::Request(v2::RequestError::Malformed(_)) => {
                RequestReason::Malformed
            }
            Self::Request(_) => RequestReason::Symbols,
            Self::WrittenOut(_) | Self::Store(_) => RequestReason::TooLarge,
        }
    }
}

impl Receiver {
    /// A receiver for `sink`.
    pub fn new(sink: impl Into<Sink>, limits: Limits, registry: &Registry) -> Self {
        let sink = sink.into();
        let metrics = IngestMetrics::new(registry);
        let (buffers, statements) = (Mutex::default(), Statements::default());
        Self { shared: Arc::new(Shared { sink, limits, metrics, buffers, statements }) }
    }

    /// Stores what is good of `body`, a snappy block, and answers when that is durable and visible.
    pub async fn receive(&self, tenant: &TenantId, version: Version, body: &[u8]) -> Outcome {
        let shared = &*self.shared;
        let read = {
            let mut buffers = shared.buffers.lock().pop().unwrap_or_default();
            let read = shared.read(tenant, version, body, &mut buffers);
            shared.give_back(buffers);
            read
        };
        let stored = match read {
            Ok(Judged { write, mut refusals, statements }) => match write.commit().await {
                Ok(Kept { written, refused, unavailable }) => {
                    if unavailable.is_none() {
                        for statement in statements {
                            shared.statements.remember(statement);
                        }
                    }
                    for (why, samples) in refused {
                        refusals.add(Reason::HashCollision, samples, || why);
                    }
                    Ok((written, refusals, unavailable))
                }
                Err(error) => Err(Failure::from(error)),
            },
            Err(failure) => Err(failure),
        };
        match stored {
            Ok((written, refusals, unavailable)) => {
                shared.metrics.stored(written.samples, written.histograms, written.exemplars);
                refusals.count(&shared.metrics);
                let stored = written.samples + written.histograms;
                let result = if let Some(why) = unavailable {
                    // Whatever else is wrong: a sender that is told of it drops all of the request.
                    shared.metrics.unavailable();
                    Err((ErrorClass::Unavailable, why))
                } else if refusals.is_empty() {
                    Ok(())
                } else {
                    Err((ErrorClass::Invalid, refusals.message(stored)))
                };
                Outcome { result, written }
            }
            Err(failure) => {
                if failure.class().is_retryable() {
                    shared.metrics.unavailable();
                } else {
                    shared.metrics.refused(failure.reason());
                }
                let result = Err((failure.class(), failure.to_string()));
                Outcome { result, written: Written::default() }
            }
        }
    }
}

impl Shared {
    /// Decodes and judges a request; what is good of it is in the write.
    fn read(
        &self,
        tenant: &TenantId,
        version: Version,
        body: &[u8],
        buffers: &mut Buffers,
    ) -> Result<Judged, Failure> {
        let Buffers { body: buffer, symbols } = buffers;
        let body = decompress(body, self.limits.decoded_bytes, buffer)?;
        let write = self.sink.write(tenant)?;
        let horizon = self.sink.horizon();
        let mut request = Request::new(write, &self.limits, &self.statements, horizon);
        match version {
            Version::V1 => {
                let mut entries = v1::entries(body);
                while let Some(entry) = entries.try_next()? {
                    match entry {
                        v1::Entry::Series(series) => request.series_v1(series)?,
                        v1::Entry::Metadata(metadata) => request.family(&metadata),
                    }
                }
                Ok(request.finish(&self.metrics)?)
            }
            Version::V2 => {
                let message = symbols.read(body)?;
                for series in message.series() {
                    request.series_v2(series?)?;
                    request.check_written_out()?;
                }
                Ok(request.finish(&self.metrics)?)
            }
        }
    }

    fn give_back(&self, mut buffers: Buffers) {
        if buffers.body.capacity() > SPARE_BYTES {
            buffers.body = Vec::new();
        }
        let mut spare = self.buffers.lock();
        if spare.len() < SPARE_BUFFERS {
            spare.push(buffers);
        }
    }
}
