//! Native histograms of either version: the two messages are one.

use std::sync::Arc;

use rangekeeper_model::{Buckets, CounterResetHint, Histogram, HistogramSample, Span};

use crate::cursor::{BYTES, Cursor, FIXED64, Messages, VARINT, fields, key};
use crate::error::DecodeError;
use crate::proto::v1;

const SPAN_FIELDS: u32 = fields(&[1, 2]);
const HISTOGRAM_FIELDS: u32 = fields(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17]);

/// The native histograms of one series.
#[derive(Clone, Debug)]
pub struct Histograms<'a> {
    messages: Messages<'a>,
    /// For histograms without a start timestamp of their own.
    start_ms: i64,
}

impl<'a> Histograms<'a> {
    pub(crate) fn new(fields: Cursor<'a>, tag: u32, start_ms: i64) -> Self {
        Self { messages: Messages::new(fields, tag), start_ms }
    }
}

impl Iterator for Histograms<'_> {
    type Item = Result<HistogramSample, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let start_ms = self.start_ms;
        self.messages.read_next(|message| read_histogram(message, start_ms))
    }
}

/// A histogram as a message of remote write 1.0: what [`Histograms`] reads back.
pub fn histogram_message(sample: &HistogramSample) -> v1::Histogram {
    let Histogram {
        reset_hint,
        schema,
        zero_threshold,
        sum,
        ref buckets,
        ref positive_spans,
        ref negative_spans,
        ref custom_values,
    } = *sample.histogram;
    let spans = |spans: &[Span]| {
        let of = |&Span { offset, length }: &Span| v1::BucketSpan { offset, length };
        spans.iter().map(of).collect()
    };
    let mut message = v1::Histogram {
        sum,
        schema,
        zero_threshold,
        positive_spans: spans(positive_spans),
        negative_spans: spans(negative_spans),
        custom_values: custom_values.clone(),
        reset_hint: i32::from(reset_hint as u8),
        timestamp: sample.timestamp_ms,
        start_timestamp: sample.start_ms,
        ..v1::Histogram::default()
    };
    match buckets {
        Buckets::Integer { count, zero_count, positive, negative } => {
            message.count = Some(v1::histogram::Count::CountInt(*count));
            message.zero_count = Some(v1::histogram::ZeroCount::ZeroCountInt(*zero_count));
            message.positive_deltas.clone_from(positive);
            message.negative_deltas.clone_from(negative);
        }
        Buckets::Float { count, zero_count, positive, negative } => {
            message.count = Some(v1::histogram::Count::CountFloat(*count));
            message.zero_count = Some(v1::histogram::ZeroCount::ZeroCountFloat(*zero_count));
            message.positive_counts.clone_from(positive);
            message.negative_counts.clone_from(negative);
        }
    }
    message
}

/// A whole count or a fractional one, whichever came last.
#[derive(Clone, Copy)]
enum Count {
    Integer(u64),
    Float(f64),
}

/// The message, before it is decided which of its counts are meant.
struct Parts {
    count: Count,
    zero_count: Count,
    deltas: [Vec<i64>; 2],
    counts: [Vec<f64>; 2],
    spans: [Vec<Span>; 2],
    custom_values: Vec<f64>,
    sum: f64,
    schema: i32,
    zero_threshold: f64,
    reset_hint: CounterResetHint,
    timestamp_ms: i64,
    start_ms: i64,
}

const NEGATIVE: usize = 0;
const POSITIVE: usize = 1;

fn read_histogram(
    message: Cursor<'_>,
    series_start_ms: i64,
) -> Result<HistogramSample, DecodeError> {
    let parts = read_parts(message)?;
    let ([negative_spans, positive_spans], sum) = (parts.spans, parts.sum);
    let buckets = match parts.count {
        Count::Integer(count) => {
            let [negative, positive] = parts.deltas;
            let zero_count = match parts.zero_count {
                Count::Integer(zero_count) => zero_count,
                Count::Float(_) => 0,
            };
            Buckets::Integer { count, zero_count, positive, negative }
        }
        Count::Float(count) => {
            let [negative, positive] = parts.counts;
            let zero_count = match parts.zero_count {
                Count::Integer(_) => 0.0,
                Count::Float(zero_count) => zero_count,
            };
            Buckets::Float { count, zero_count, positive, negative }
        }
    };
    Ok(HistogramSample {
        timestamp_ms: parts.timestamp_ms,
        start_ms: if parts.start_ms == 0 { series_start_ms } else { parts.start_ms },
        histogram: Arc::new(Histogram {
            reset_hint: parts.reset_hint,
            schema: parts.schema,
            zero_threshold: parts.zero_threshold,
            sum,
            buckets,
            positive_spans,
            negative_spans,
            custom_values: parts.custom_values,
        }),
    })
}

fn read_parts(mut message: Cursor<'_>) -> Result<Parts, DecodeError> {
    let mut parts = Parts {
        count: Count::Integer(0),
        zero_count: Count::Integer(0),
        deltas: Default::default(),
        counts: Default::default(),
        spans: Default::default(),
        custom_values: Vec::new(),
        sum: 0.0,
        schema: 0,
        zero_threshold: 0.0,
        reset_hint: CounterResetHint::Unknown,
        timestamp_ms: 0,
        start_ms: 0,
    };
    while !message.is_done() {
        let key = message.key()?;
        read_field(&mut message, key, &mut parts)?;
    }
    Ok(parts)
}

fn read_field(message: &mut Cursor<'_>, found: u32, parts: &mut Parts) -> Result<(), DecodeError> {
    const COUNT_INTEGER: u32 = key(1, VARINT);
    const COUNT_FLOAT: u32 = key(2, FIXED64);
    const SUM: u32 = key(3, FIXED64);
    const SCHEMA: u32 = key(4, VARINT);
    const ZERO_THRESHOLD: u32 = key(5, FIXED64);
    const ZERO_COUNT_INTEGER: u32 = key(6, VARINT);
    const ZERO_COUNT_FLOAT: u32 = key(7, FIXED64);
    const NEGATIVE_SPAN: u32 = key(8, BYTES);
    const POSITIVE_SPAN: u32 = key(11, BYTES);
    const RESET_HINT: u32 = key(14, VARINT);
    const TIMESTAMP: u32 = key(15, VARINT);
    const START: u32 = key(17, VARINT);
    match found {
        COUNT_INTEGER => parts.count = Count::Integer(message.varint()?),
        COUNT_FLOAT => parts.count = Count::Float(message.double()?),
        SUM => parts.sum = message.double()?,
        SCHEMA => parts.schema = message.sint32()?,
        ZERO_THRESHOLD => parts.zero_threshold = message.double()?,
        ZERO_COUNT_INTEGER => parts.zero_count = Count::Integer(message.varint()?),
        ZERO_COUNT_FLOAT => parts.zero_count = Count::Float(message.double()?),
        NEGATIVE_SPAN => parts.spans[NEGATIVE].push(read_span(message.message()?)?),
        POSITIVE_SPAN => parts.spans[POSITIVE].push(read_span(message.message()?)?),
        RESET_HINT => parts.reset_hint = read_reset_hint(message)?,
        TIMESTAMP => parts.timestamp_ms = message.int64()?,
        START => parts.start_ms = message.int64()?,
        _ => return read_repeated(message, found, parts),
    }
    Ok(())
}

/// Repeated numbers come packed into one field, or one a field, or both.
fn read_repeated(
    message: &mut Cursor<'_>,
    found: u32,
    parts: &mut Parts,
) -> Result<(), DecodeError> {
    match (found >> 3, found & 7) {
        (9, VARINT) => parts.deltas[NEGATIVE].push(message.sint64()?),
        (10, FIXED64) => parts.counts[NEGATIVE].push(message.double()?),
        (12, VARINT) => parts.deltas[POSITIVE].push(message.sint64()?),
        (13, FIXED64) => parts.counts[POSITIVE].push(message.double()?),
        (16, FIXED64) => parts.custom_values.push(message.double()?),
        (9, BYTES) => read_packed(message, Cursor::sint64, &mut parts.deltas[NEGATIVE])?,
        (10, BYTES) => read_packed(message, Cursor::double, &mut parts.counts[NEGATIVE])?,
        (12, BYTES) => read_packed(message, Cursor::sint64, &mut parts.deltas[POSITIVE])?,
        (13, BYTES) => read_packed(message, Cursor::double, &mut parts.counts[POSITIVE])?,
        (16, BYTES) => read_packed(message, Cursor::double, &mut parts.custom_values)?,
        _ => message.skip_unknown(found, HISTOGRAM_FIELDS)?,
    }
    Ok(())
}

fn read_packed<'a, T>(
    message: &mut Cursor<'a>,
    read: impl Fn(&mut Cursor<'a>) -> Result<T, DecodeError>,
    numbers: &mut Vec<T>,
) -> Result<(), DecodeError> {
    let mut packed = message.message()?;
    while !packed.is_done() {
        numbers.push(read(&mut packed)?);
    }
    Ok(())
}

fn read_span(mut message: Cursor<'_>) -> Result<Span, DecodeError> {
    const OFFSET: u32 = key(1, VARINT);
    const LENGTH: u32 = key(2, VARINT);
    let mut span = Span { offset: 0, length: 0 };
    while !message.is_done() {
        match message.key()? {
            OFFSET => span.offset = message.sint32()?,
            LENGTH => span.length = message.uint32()?,
            other => message.skip_unknown(other, SPAN_FIELDS)?,
        }
    }
    Ok(span)
}

fn read_reset_hint(message: &mut Cursor<'_>) -> Result<CounterResetHint, DecodeError> {
    Ok(match message.uint32()? {
        1 => CounterResetHint::Reset,
        2 => CounterResetHint::NotReset,
        3 => CounterResetHint::Gauge,
        _ => CounterResetHint::Unknown,
    })
}
