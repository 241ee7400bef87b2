//! What histograms of a series share for long: everything but sum and counts.
//!
//! ```text
//! layouts   number varint │ layout × number
//! layout    samples varint │ hint u8 │ schema signed │ zero threshold f64 │ buckets │ custom
//! buckets   positive │ negative
//! positive  buckets varint │ spans varint │ (offset signed, length varint) × spans
//! negative  likewise
//! custom    0: those of the layout before, at first none; else number + 1 varint │ f64 × number
//! ```

use rangekeeper_model::{Buckets, CounterResetHint, Histogram, HistogramSample, Span};

use crate::varint::{Reader, put_signed, put_varint};

/// A run of samples with one layout.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) samples: usize,
    reset_hint: CounterResetHint,
    schema: i32,
    zero_threshold: f64,
    pub(super) positive: usize,
    pub(super) negative: usize,
    positive_spans: Vec<Span>,
    negative_spans: Vec<Span>,
    custom_values: Vec<f64>,
}

impl Layout {
    /// Counts of one sample: count, zero bucket, buckets.
    pub(super) fn columns(&self) -> usize {
        2 + self.positive + self.negative
    }

    pub(super) fn histogram(&self, sum: f64, buckets: Buckets) -> Histogram {
        Histogram {
            reset_hint: self.reset_hint,
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            sum,
            buckets,
            positive_spans: self.positive_spans.clone(),
            negative_spans: self.negative_spans.clone(),
            custom_values: self.custom_values.clone(),
        }
    }
}

/// Numbers of positive and of negative buckets.
pub(super) fn bucket_counts(histogram: &Histogram) -> (usize, usize) {
    match &histogram.buckets {
        Buckets::Integer { positive, negative, .. } => (positive.len(), negative.len()),
        Buckets::Float { positive, negative, .. } => (positive.len(), negative.len()),
    }
}

/// What the histogram counts for in the bound on a frame's memory.
pub(super) fn cells(histogram: &Histogram) -> usize {
    let (positive, negative) = bucket_counts(histogram);
    let spans = histogram.positive_spans.len() + histogram.negative_spans.len();
    2 + positive + negative + spans + histogram.custom_values.len()
}

/// The runs of samples with one layout.
pub(super) fn runs<'a>(
    samples: &'a [&'a HistogramSample],
) -> impl Iterator<Item = &'a [&'a HistogramSample]> {
    samples.chunk_by(|a, b| {
        let (a, b) = (&a.histogram, &b.histogram);
        a.reset_hint == b.reset_hint
            && a.schema == b.schema
            && a.zero_threshold.to_bits() == b.zero_threshold.to_bits()
            && bucket_counts(a) == bucket_counts(b)
            && a.positive_spans == b.positive_spans
            && a.negative_spans == b.negative_spans
            && same_bits(&a.custom_values, &b.custom_values)
    })
}

fn same_bits(a: &[f64], b: &[f64]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
}

/// Appends the layouts of all runs.
pub(super) fn put_all(out: &mut Vec<u8>, samples: &[&HistogramSample]) {
    put_varint(out, runs(samples).count() as u64);
    let mut custom_values: &[f64] = &[];
    for run in runs(samples) {
        let histogram = &run[0].histogram;
        put_varint(out, run.len() as u64);
        out.push(histogram.reset_hint as u8);
        put_signed(out, i64::from(histogram.schema));
        out.extend_from_slice(&histogram.zero_threshold.to_le_bytes());
        let (positive, negative) = bucket_counts(histogram);
        put_side(out, positive, &histogram.positive_spans);
        put_side(out, negative, &histogram.negative_spans);
        if same_bits(custom_values, &histogram.custom_values) {
            put_varint(out, 0);
        } else {
            custom_values = &histogram.custom_values;
            put_varint(out, custom_values.len() as u64 + 1);
            for bound in custom_values {
                out.extend_from_slice(&bound.to_le_bytes());
            }
        }
    }
}

fn put_side(out: &mut Vec<u8>, buckets: usize, spans: &[Span]) {
    put_varint(out, buckets as u64);
    put_varint(out, spans.len() as u64);
    for span in spans {
        put_signed(out, i64::from(span.offset));
        put_varint(out, u64::from(span.length));
    }
}

/// Reads the layouts of `count` samples that have no more than `max_cells` cells together.
pub(super) fn read_all(
    reader: &mut Reader<'_>,
    count: usize,
    max_cells: usize,
) -> Option<Vec<Layout>> {
    let mut layouts: Vec<Layout> = Vec::new();
    let (mut samples, mut cells) = (0, 0usize);
    for _ in 0..reader.varint()? {
        let before = layouts.last().map_or(&[][..], |layout| &layout.custom_values);
        let layout = read(reader, before)?;
        if layout.samples == 0 || layout.samples > count - samples {
            return None;
        }
        samples += layout.samples;
        let spans = layout.positive_spans.len() + layout.negative_spans.len();
        let each = layout.columns() + spans + layout.custom_values.len();
        cells = cells.checked_add(each.checked_mul(layout.samples)?)?;
        if cells > max_cells {
            return None;
        }
        layouts.push(layout);
    }
    (samples == count).then_some(layouts)
}

fn read(reader: &mut Reader<'_>, custom_before: &[f64]) -> Option<Layout> {
    let samples = usize::try_from(reader.varint()?).ok()?;
    let reset_hint = match reader.byte()? {
        0 => CounterResetHint::Unknown,
        1 => CounterResetHint::Reset,
        2 => CounterResetHint::NotReset,
        3 => CounterResetHint::Gauge,
        _ => return None,
    };
    let schema = i32::try_from(reader.signed()?).ok()?;
    let zero_threshold = f64::from_le_bytes(reader.array()?);
    let (positive, positive_spans) = read_side(reader)?;
    let (negative, negative_spans) = read_side(reader)?;
    let custom_values = match reader.varint()? {
        0 => custom_before.to_vec(),
        number => {
            let bytes = usize::try_from(number - 1).ok()?.checked_mul(8)?;
            let (bounds, _) = reader.take(bytes)?.as_chunks();
            bounds.iter().map(|bound| f64::from_le_bytes(*bound)).collect()
        }
    };
    Some(Layout {
        samples,
        reset_hint,
        schema,
        zero_threshold,
        positive,
        negative,
        positive_spans,
        negative_spans,
        custom_values,
    })
}

/// The number of buckets, no more than 2^31, and the spans.
fn read_side(reader: &mut Reader<'_>) -> Option<(usize, Vec<Span>)> {
    let buckets = usize::try_from(i32::try_from(reader.varint()?).ok()?).ok()?;
    let number = usize::try_from(reader.varint()?).ok()?;
    // A span takes two bytes or more.
    if number > reader.rest().len() / 2 {
        return None;
    }
    let mut spans = Vec::with_capacity(number);
    for _ in 0..number {
        let offset = i32::try_from(reader.signed()?).ok()?;
        let length = u32::try_from(reader.varint()?).ok()?;
        spans.push(Span { offset, length });
    }
    Some((buckets, spans))
}
