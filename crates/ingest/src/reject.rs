//! What is refused of a request that is otherwise stored, and how that is told.

use std::fmt;

use rangekeeper_model::Labels;

use crate::metrics::IngestMetrics;

/// Most offenders that the answer names. A sender logs only the first line.
const MAX_NAMED: usize = 10;
/// Longest label text in an answer.
const MAX_LABEL_BYTES: usize = 400;

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
    pub const ALL: [Self; 10] = [
        Self::InvalidLabels,
        Self::TooManyLabels,
        Self::LabelNameTooLong,
        Self::LabelValueTooLong,
        Self::HashCollision,
        Self::InvalidHistogram,
        Self::NoSamples,
        Self::MixedSamples,
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
            Self::NoSamples => "no_samples",
            Self::MixedSamples => "mixed_samples",
            Self::TooOld => "too_old",
            Self::TooFarAhead => "too_far_ahead",
        }
    }
}

/// What was refused of one request.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    named: Vec<String>,
    samples: u64,
    counts: [u64; Reason::ALL.len()],
}

impl Refusals {
    /// Notes that `samples` samples were refused; `offender` says which and why, and is asked only
    /// where it is shown.
    pub(crate) fn add(&mut self, reason: Reason, samples: u64, offender: impl FnOnce() -> String) {
        if self.named.len() < MAX_NAMED {
            self.named.push(offender());
        }
        self.samples += samples;
        self.counts[reason as usize] += samples.max(1);
    }

    /// Whether nothing was refused.
    pub(crate) fn is_empty(&self) -> bool {
        self.named.is_empty()
    }

    /// Counts what was refused.
    pub(crate) fn count(&self, metrics: &IngestMetrics) {
        for reason in Reason::ALL {
            match self.counts[reason as usize] {
                0 => {}
                count => metrics.rejected(reason, count),
            }
        }
    }

    /// What the sender is told: the first offender and how many there are on the first line, the
    /// others below.
    pub(crate) fn message(&self, stored: u64) -> String {
        let (first, others) =
            self.named.split_first().expect("asked only when something was refused");
        let mut message = format!("{first} ({} samples refused, {stored} stored)", self.samples);
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
        let text = self.0.to_string();
        match text.char_indices().nth(MAX_LABEL_BYTES) {
            None => f.write_str(&text),
            Some((at, _)) => write!(f, "{}…", &text[..at]),
        }
    }
}
