//! What is refused of a request that is otherwise stored, and how that is told.

use std::fmt::{self, Write};

use rangekeeper_model::Labels;

use crate::metrics::IngestMetrics;

/// Most offenders that the answer names.
const MAX_NAMED: usize = 10;
/// Longest label text in an answer.
const MAX_LABEL_BYTES: usize = 400;
/// Longest text of one offender. A sender logs only the first line of an answer, and of that 1,024
/// bytes: the counts have to fit in behind the first offender.
const MAX_OFFENDER_BYTES: usize = 900;

/// Why a sample or a series was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Labels are malformed: no name, a name twice, not UTF-8, symbols out of range.
    InvalidLabels,
    /// More labels than allowed.
    TooManyLabels,
    /// A label's name is longer than allowed.
    LabelNameTooLong,
    /// A label's value is longer than allowed.
    LabelValueTooLong,
    /// Another series has the hash.
    HashCollision,
    /// A histogram contradicts itself.
    InvalidHistogram,
    /// A histogram has more buckets than a chunk can hold.
    HistogramTooLarge,
    /// Metadata refer to symbols out of range.
    InvalidMetadata,
    /// A series of remote write 2.0 without samples and histograms.
    NoSamples,
    /// A series of remote write 2.0 with samples and histograms.
    MixedSamples,
    /// A sample is beyond retention.
    TooOld,
    /// A sample is too far ahead of the clock.
    TooFarAhead,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::InvalidLabels,
        Self::TooManyLabels,
        Self::LabelNameTooLong,
        Self::LabelValueTooLong,
        Self::HashCollision,
        Self::InvalidHistogram,
        Self::HistogramTooLarge,
        Self::InvalidMetadata,
        Self::NoSamples,
        Self::MixedSamples,
        Self::TooOld,
        Self::TooFarAhead,
    ];

    /// Those for which an exemplar is refused while its series is not.
    pub const OF_EXEMPLARS: [Self; 6] = [
        Self::InvalidLabels,
        Self::TooManyLabels,
        Self::LabelNameTooLong,
        Self::LabelValueTooLong,
        Self::TooOld,
        Self::TooFarAhead,
    ];

    /// The name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::InvalidLabels => "invalid_labels",
            Self::TooManyLabels => "too_many_labels",
            Self::LabelNameTooLong => "label_name_too_long",
            Self::LabelValueTooLong => "label_value_too_long",
            Self::HashCollision => "hash_collision",
            Self::InvalidHistogram => "invalid_histogram",
            Self::HistogramTooLarge => "histogram_too_large",
            Self::InvalidMetadata => "invalid_metadata",
            Self::NoSamples => "no_samples",
            Self::MixedSamples => "mixed_samples",
            Self::TooOld => "too_old",
            Self::TooFarAhead => "too_far_ahead",
        }
    }
}

/// The labels of a request are larger, written out, than a request may be. Nothing of it is taken:
/// a reference of a byte stands for a text of any length, and what a short request makes the store
/// hold must be bounded as what a long one does.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error(
    "labels of over {limit} bytes, with each symbol written out where it is referred to; \
         send fewer series in one request"
)]
pub(crate) struct WrittenOut {
    /// Bytes that are allowed.
    pub(crate) limit: usize,
}

/// What was refused of one request.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    named: Vec<String>,
    samples: u64,
    exemplars: u64,
    of_samples: [u64; Reason::ALL.len()],
    of_exemplars: [u64; Reason::ALL.len()],
}

impl Refusals {
    /// Notes that `samples` samples were refused; `offender` says which and why, and is asked only
    /// where it is shown.
    pub(crate) fn add(&mut self, reason: Reason, samples: u64, offender: impl FnOnce() -> String) {
        self.name(offender);
        self.samples += samples;
        self.of_samples[reason as usize] += samples.max(1);
    }

    /// Notes that an exemplar was refused, and tells the sender.
    pub(crate) fn add_exemplar(&mut self, reason: Reason, offender: impl FnOnce() -> String) {
        self.name(offender);
        self.exemplars += 1;
        self.count_exemplar(reason);
    }

    /// Notes that an exemplar was refused, without telling the sender.
    pub(crate) fn count_exemplar(&mut self, reason: Reason) {
        self.of_exemplars[reason as usize] += 1;
    }

    fn name(&mut self, offender: impl FnOnce() -> String) {
        if !self.is_full() {
            let mut offender = offender();
            cut(&mut offender, MAX_OFFENDER_BYTES);
            self.named.push(offender);
        }
    }

    /// Whether no more offenders are shown.
    pub(crate) fn is_full(&self) -> bool {
        self.named.len() == MAX_NAMED
    }

    /// Whether there is nothing to tell the sender.
    pub(crate) fn is_empty(&self) -> bool {
        self.named.is_empty()
    }

    /// Counts what was refused.
    pub(crate) fn count(&self, metrics: &IngestMetrics) {
        let counts = self.of_samples.iter().zip(&self.of_exemplars);
        for (reason, (&samples, &exemplars)) in Reason::ALL.into_iter().zip(counts) {
            if samples > 0 {
                metrics.rejected(reason, samples);
            }
            if exemplars > 0 {
                metrics.rejected_exemplars(reason, exemplars);
            }
        }
    }

    /// What the sender is told: the first offender and how many there are on the first line, the
    /// others below.
    pub(crate) fn message(&self, stored: u64) -> String {
        let (first, others) =
            self.named.split_first().expect("asked only when something was refused");
        let mut message = format!("{first} ({} samples refused, ", self.samples);
        if self.exemplars > 0 {
            let _ = write!(message, "{} exemplars refused, ", self.exemplars);
        }
        let _ = write!(message, "{stored} stored)");
        for other in others {
            message.push('\n');
            message.push_str(other);
        }
        message
    }
}

/// A label set in an answer, cut where it is long.
pub(crate) struct Shown<'a>(pub(crate) &'a Labels);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.0.to_string();
        cut(&mut text, MAX_LABEL_BYTES);
        f.write_str(&text)
    }
}

fn cut(text: &mut String, bytes: usize) {
    if text.len() > bytes {
        text.truncate(text.floor_char_boundary(bytes));
        text.push('…');
    }
}
