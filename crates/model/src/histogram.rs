//! Native histograms, integer and float, with exponential or custom buckets.

mod reduce;
#[cfg(test)]
mod testing;
mod validate;

/// A run of buckets: `offset` empty buckets after the previous span's end (or from bucket 0), then
/// `length` buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    /// Gap before the span; the first span's may be negative.
    pub offset: i32,
    /// Number of buckets.
    pub length: u32,
}

/// What the sender knows of counter resets between this sample and the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum CounterResetHint {
    /// Nothing: compare to find out.
    #[default]
    Unknown = 0,
    /// There was a reset.
    Reset = 1,
    /// There was none.
    NotReset = 2,
    /// A gauge histogram: resets have no meaning.
    Gauge = 3,
}

/// The counts of a histogram, in the sender's own arithmetic.
#[derive(Clone, Debug, PartialEq)]
pub enum Buckets {
    /// Whole counts; each bucket as the difference to the bucket before.
    Integer {
        /// All observations.
        count: u64,
        /// Observations in the zero bucket.
        zero_count: u64,
        /// Differences of the positive buckets.
        positive: Vec<i64>,
        /// Differences of the negative buckets.
        negative: Vec<i64>,
    },
    /// Fractional counts, absolute.
    Float {
        /// All observations.
        count: f64,
        /// Observations in the zero bucket.
        zero_count: f64,
        /// Counts of the positive buckets.
        positive: Vec<f64>,
        /// Counts of the negative buckets.
        negative: Vec<f64>,
    },
}

/// One native histogram sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// What is known of counter resets.
    pub reset_hint: CounterResetHint,
    /// −4 to 8: exponential buckets of base 2^(2^−schema); −53: custom bounds.
    pub schema: i32,
    /// Width of the zero bucket.
    pub zero_threshold: f64,
    /// Sum of observations; the stale marker's bits here make the whole sample a stale marker.
    pub sum: f64,
    /// Counts.
    pub buckets: Buckets,
    /// Where the positive buckets lie.
    pub positive_spans: Vec<Span>,
    /// Where the negative buckets lie.
    pub negative_spans: Vec<Span>,
    /// Upper bounds of custom buckets, for schema −53 only.
    pub custom_values: Vec<f64>,
}

/// Why a histogram is invalid, in the words that Prometheus uses.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum HistogramError {
    /// The schema is not one that exists.
    #[error(
        "histogram has an invalid schema, which must be between -4 and 8 for \
         exponential buckets, or -53 for custom buckets, got schema {0}"
    )]
    Schema(i32),
    /// Spans and buckets do not agree.
    #[error(
        "{side}: spans need {spans} buckets, have {buckets} buckets: histogram spans \
         specify different number of buckets than provided"
    )]
    SpansBuckets {
        /// Which buckets.
        side: &'static str,
        /// Buckets that the spans name.
        spans: u64,
        /// Buckets that there are.
        buckets: usize,
    },
    /// A span other than the first has a negative offset.
    #[error(
        "{side}: span number {number} with offset {offset}: \
         histogram has a span whose offset is negative"
    )]
    NegativeOffset {
        /// Which buckets.
        side: &'static str,
        /// 1-based.
        number: usize,
        /// The offset.
        offset: i32,
    },
    /// A bucket's count is below zero.
    #[error(
        "{side}: bucket number {number} has observation count of {count}: \
         histogram has a bucket whose observation count is negative"
    )]
    NegativeBucket {
        /// Which buckets.
        side: &'static str,
        /// 1-based.
        number: usize,
        /// The count.
        count: String,
    },
    /// Zero bucket or count is below zero.
    #[error("{what} is negative: {count}: histogram's observation count is negative")]
    NegativeCount {
        /// Which figure.
        what: &'static str,
        /// The figure.
        count: String,
    },
    /// The observations in the buckets do not add up to the count.
    #[error(
        "{buckets} observations found in buckets, but the Count field is {count}: \
         histogram's observation count should equal the number of observations found in the \
         buckets (in absence of NaN)"
    )]
    CountMismatch {
        /// Sum over the buckets.
        buckets: u64,
        /// The count field.
        count: u64,
    },
    /// With NaN observations the count may exceed the buckets', but never fall short.
    #[error(
        "{buckets} observations found in buckets, but the Count field is {count}: \
         histogram's observation count should be at least the number of observations found in \
         the buckets"
    )]
    CountNotBigEnough {
        /// Sum over the buckets.
        buckets: u64,
        /// The count field.
        count: u64,
    },
    /// Custom bounds are missing, not rising or not finite, or given where the schema has none.
    #[error("{0}")]
    CustomBounds(String),
    /// A custom-bucket histogram has a zero bucket or negative buckets.
    #[error("custom buckets: {0}")]
    CustomOnly(&'static str),
    /// A gap between spans is wider than can be written.
    #[error("{side}: a span's offset of {offset} does not fit into 32 bits")]
    OffsetRange {
        /// Which buckets.
        side: &'static str,
        /// The offset.
        offset: i64,
    },
}

impl Histogram {
    /// The lowest and the highest schema with exponential buckets.
    pub const EXPONENTIAL_SCHEMAS: std::ops::RangeInclusive<i32> = -4..=8;
    /// The schema of custom buckets.
    pub const CUSTOM_SCHEMA: i32 = -53;

    /// Whether the sample is a stale marker.
    pub fn is_stale(&self) -> bool {
        crate::sample::is_stale(self.sum)
    }

    /// The histogram as bytes, floats by their bits: what is compared when two lie at one time, and
    /// what digests are made of. The first byte is the kind, 1 integer, 2 float. No storage format:
    /// nothing reads it back.
    pub fn canonical_bytes(&self) -> Vec<u8> {
        fn list<T>(out: &mut Vec<u8>, items: &[T], bytes: impl Fn(&T) -> [u8; 8]) {
            out.extend((items.len() as u64).to_be_bytes());
            for item in items {
                out.extend(bytes(item));
            }
        }
        let bits = |value: &f64| value.to_bits().to_be_bytes();
        let mut out = Vec::with_capacity(160);
        out.push(if matches!(self.buckets, Buckets::Integer { .. }) { 1 } else { 2 });
        out.push(self.reset_hint as u8);
        out.extend(self.schema.to_be_bytes());
        out.extend(bits(&self.zero_threshold));
        out.extend(bits(&self.sum));
        match &self.buckets {
            Buckets::Integer { count, zero_count, positive, negative } => {
                out.extend(count.to_be_bytes());
                out.extend(zero_count.to_be_bytes());
                list(&mut out, positive, |delta| delta.to_be_bytes());
                list(&mut out, negative, |delta| delta.to_be_bytes());
            }
            Buckets::Float { count, zero_count, positive, negative } => {
                out.extend(bits(count));
                out.extend(bits(zero_count));
                list(&mut out, positive, bits);
                list(&mut out, negative, bits);
            }
        }
        for spans in [&self.positive_spans, &self.negative_spans] {
            list(&mut out, spans, |span| {
                ((u64::from(span.offset.cast_unsigned()) << 32) | u64::from(span.length))
                    .to_be_bytes()
            });
        }
        list(&mut out, &self.custom_values, bits);
        out
    }
}
