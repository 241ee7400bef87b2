//! A histogram in a log record: compact, and equal to the last bit when read back.
//!
//! ```text
//! ┌───────────────────┬────────┬───────────┬─────────┬──────────┬──────────┬────────┬────────┐
//! │ u8 bits 0-1 hint, │ signed │ f64 zero  │ f64 sum │ positive │ negative │ custom │ counts │
//! │ 2 fractional      │ schema │ threshold │         │ spans    │ spans    │ bounds │        │
//! └───────────────────┴────────┴───────────┴─────────┴──────────┴──────────┴────────┴────────┘
//! spans   varint: number, then for each  signed varint: offset · varint: length
//! bounds  varint: number, then that many f64
//! counts  whole:      varint: count · varint: zero count
//!                     positive, negative: varint: number, then signed varints
//!         fractional: f64: count · f64: zero count
//!                     positive, negative: varint: number, then f64s
//! ```

use rangekeeper_model::{Buckets, CounterResetHint, Histogram, Span};

use super::bytes::{Cursor, put_signed, put_varint};

const HINT_BITS: u8 = 0b011;
const FLOAT_BIT: u8 = 0b100;

/// Appends `histogram`.
pub(super) fn put(out: &mut Vec<u8>, histogram: &Histogram) {
    let float = matches!(histogram.buckets, Buckets::Float { .. });
    let hint = match histogram.reset_hint {
        CounterResetHint::Unknown => 0,
        CounterResetHint::Reset => 1,
        CounterResetHint::NotReset => 2,
        CounterResetHint::Gauge => 3,
    };
    out.push(hint | if float { FLOAT_BIT } else { 0 });
    put_signed(out, i64::from(histogram.schema));
    put_float(out, histogram.zero_threshold);
    put_float(out, histogram.sum);
    put_spans(out, &histogram.positive_spans);
    put_spans(out, &histogram.negative_spans);
    put_floats(out, &histogram.custom_values);
    match &histogram.buckets {
        Buckets::Integer { count, zero_count, positive, negative } => {
            put_varint(out, *count);
            put_varint(out, *zero_count);
            for buckets in [positive, negative] {
                put_varint(out, buckets.len() as u64);
                for delta in buckets {
                    put_signed(out, *delta);
                }
            }
        }
        Buckets::Float { count, zero_count, positive, negative } => {
            put_float(out, *count);
            put_float(out, *zero_count);
            put_floats(out, positive);
            put_floats(out, negative);
        }
    }
}

/// Reads what [`put`] wrote; `None` for anything else.
pub(super) fn take(from: &mut Cursor<'_>) -> Option<Histogram> {
    let flags = from.u8()?;
    if flags & !(HINT_BITS | FLOAT_BIT) != 0 {
        return None;
    }
    let reset_hint = match flags & HINT_BITS {
        0 => CounterResetHint::Unknown,
        1 => CounterResetHint::Reset,
        2 => CounterResetHint::NotReset,
        _ => CounterResetHint::Gauge,
    };
    Some(Histogram {
        reset_hint,
        schema: i32::try_from(from.signed()?).ok()?,
        zero_threshold: from.f64()?,
        sum: from.f64()?,
        positive_spans: take_spans(from)?,
        negative_spans: take_spans(from)?,
        custom_values: take_floats(from)?,
        buckets: take_buckets(from, flags & FLOAT_BIT != 0)?,
    })
}

fn take_buckets(from: &mut Cursor<'_>, float: bool) -> Option<Buckets> {
    if float {
        return Some(Buckets::Float {
            count: from.f64()?,
            zero_count: from.f64()?,
            positive: take_floats(from)?,
            negative: take_floats(from)?,
        });
    }
    Some(Buckets::Integer {
        count: from.varint()?,
        zero_count: from.varint()?,
        positive: take_deltas(from)?,
        negative: take_deltas(from)?,
    })
}

fn put_float(out: &mut Vec<u8>, value: f64) {
    out.extend_from_slice(&value.to_bits().to_le_bytes());
}

fn put_floats(out: &mut Vec<u8>, values: &[f64]) {
    put_varint(out, values.len() as u64);
    for value in values {
        put_float(out, *value);
    }
}

fn put_spans(out: &mut Vec<u8>, spans: &[Span]) {
    put_varint(out, spans.len() as u64);
    for span in spans {
        put_signed(out, i64::from(span.offset));
        put_varint(out, u64::from(span.length));
    }
}

fn take_floats(from: &mut Cursor<'_>) -> Option<Vec<f64>> {
    (0..from.count(8)?).map(|_| from.f64()).collect()
}

fn take_deltas(from: &mut Cursor<'_>) -> Option<Vec<i64>> {
    (0..from.count(1)?).map(|_| from.signed()).collect()
}

fn take_spans(from: &mut Cursor<'_>) -> Option<Vec<Span>> {
    let span = |from: &mut Cursor<'_>| {
        let offset = i32::try_from(from.signed()?).ok()?;
        Some(Span { offset, length: u32::try_from(from.varint()?).ok()? })
    };
    (0..from.count(2)?).map(|_| span(from)).collect()
}
