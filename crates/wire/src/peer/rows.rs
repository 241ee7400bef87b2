//! Writing a frame.

use prost::Message;
use prost::encoding::encode_varint;
use rangekeeper_model::{SeriesHash, TenantId};

use super::{COUNT_SHIFT, HAS_LABELS, HAS_REST, HAS_STARTS};
use crate::proto::v1;
use crate::sample::Sample;

/// Makes frames, one after the other, in memory that it keeps.
#[derive(Debug, Default)]
pub struct FrameWriter {
    bytes: Vec<u8>,
    /// The rows of the last request, which come behind their number.
    rows: Vec<u8>,
    row_count: u64,
    is_in_request: bool,
    previous_ms: i64,
}

impl FrameWriter {
    /// A writer with an empty frame.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins a request of `tenant`. `metadata` is what its sender says of metric families, and
    /// `base_ms` a time near its samples.
    pub fn request(&mut self, tenant: &TenantId, metadata: &[v1::MetricMetadata], base_ms: i64) {
        self.end_request();
        put_bytes(&mut self.bytes, tenant.as_str().as_bytes());
        let metadata =
            v1::WriteRequest { metadata: metadata.to_vec(), ..v1::WriteRequest::default() };
        put_message(&mut self.bytes, &metadata);
        self.bytes.extend_from_slice(&base_ms.to_le_bytes());
        (self.previous_ms, self.is_in_request) = (base_ms, true);
    }

    /// Adds the row of a series, with its labels if the peer needs them.
    ///
    /// `rest` has the histograms and exemplars alone.
    #[inline]
    pub fn row(
        &mut self,
        hash: SeriesHash,
        labels: Option<&[u8]>,
        samples: &[Sample],
        rest: Option<&v1::TimeSeries>,
    ) {
        debug_assert!(self.is_in_request, "rows come after their request");
        self.rows.extend_from_slice(&hash.0.to_le_bytes());
        let has_starts = samples.iter().any(|sample| sample.start_ms != 0);
        let flag = |is_set: bool, bit: u64| if is_set { bit } else { 0 };
        let head = (samples.len() as u64) << COUNT_SHIFT
            | flag(labels.is_some(), HAS_LABELS)
            | flag(has_starts, HAS_STARTS)
            | flag(rest.is_some(), HAS_REST);
        encode_varint(head, &mut self.rows);
        if let Some(labels) = labels {
            put_bytes(&mut self.rows, labels);
        }
        for sample in samples {
            self.rows.extend_from_slice(&sample.value.to_bits().to_le_bytes());
            put_signed(&mut self.rows, sample.timestamp_ms.wrapping_sub(self.previous_ms));
            self.previous_ms = sample.timestamp_ms;
            if has_starts {
                put_signed(&mut self.rows, sample.timestamp_ms.wrapping_sub(sample.start_ms));
            }
        }
        if let Some(rest) = rest {
            put_message(&mut self.rows, rest);
        }
        self.row_count += 1;
    }

    /// Bytes that the frame has so far.
    pub fn len(&self) -> usize {
        self.bytes.len() + self.rows.len()
    }

    /// Whether nothing is in the frame.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The frame; the next one begins empty.
    pub fn finish(&mut self) -> Vec<u8> {
        self.end_request();
        let next = Vec::with_capacity(self.bytes.capacity());
        std::mem::replace(&mut self.bytes, next)
    }

    fn end_request(&mut self) {
        if !std::mem::take(&mut self.is_in_request) {
            return;
        }
        encode_varint(std::mem::take(&mut self.row_count), &mut self.bytes);
        self.bytes.append(&mut self.rows);
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    encode_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

fn put_signed(out: &mut Vec<u8>, value: i64) {
    encode_varint((value << 1 ^ value >> 63).cast_unsigned(), out);
}

fn put_message(out: &mut Vec<u8>, message: &impl Message) {
    message.encode_length_delimited(out).expect("a vector has room for any message");
}
