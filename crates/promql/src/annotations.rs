//! What a query's answer is annotated with: warnings and infos, each with the place in the text
//! that it is about.
//!
//! The texts are Prometheus'. An annotation that says the same as one before replaces it, with its
//! place; two kinds count or widen instead.

mod text;

use std::collections::HashMap;
use std::fmt;

use crate::ast::{AggregateOp, BinaryOp, Span};

pub use text::go_float;

/// How much an annotation matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Severity {
    /// The answer is probably not what was meant.
    Warning,
    /// The answer may not be what was meant.
    Info,
}

/// What there is to say.
#[derive(Clone, Debug, PartialEq)]
pub enum Annotation {
    /// A quantile is none.
    InvalidQuantile(f64),
    /// A ratio is beyond what it may be, and taken as the nearest that may.
    InvalidRatio {
        /// As given.
        given: f64,
        /// As taken.
        taken: f64,
    },
    /// A series has no usable `le`.
    BadBucketLabel {
        /// The label's value.
        le: String,
        /// The metric, where its name is known.
        metric: Option<String>,
    },
    /// A range holds floats and histograms.
    MixedRange {
        /// The metric's name.
        metric: String,
    },
    /// A group holds floats and histograms.
    MixedGroup,
    /// Classic buckets and native histograms have the same labels.
    ClassicAndNative {
        /// The metric, where its name is known.
        metric: Option<String>,
    },
    /// A sort function has no effect in a range query.
    SortIneffective,
    /// A sample begins before the sample before it ends.
    OverlappingStart {
        /// The metric's name.
        metric: String,
    },
    /// A metric's name does not look like a counter's.
    PossibleNonCounter {
        /// The metric's name.
        metric: String,
    },
    /// Buckets held less than those below them.
    ForcedMonotonicity {
        /// The metric, where its name is known.
        metric: Option<String>,
        /// Bound of the lowest bucket.
        lowest_bound: f64,
        /// Bound of the highest bucket.
        highest_bound: f64,
        /// The most that was missing.
        most: f64,
        /// Time of the step.
        time_ms: i64,
    },
    /// An operator does not take these samples.
    IncompatibleSamples {
        /// The operator.
        op: BinaryOp,
        /// `float` or `histogram`.
        left: &'static str,
        /// `float` or `histogram`.
        right: &'static str,
    },
    /// An aggregation has no use for histograms.
    HistogramIgnoredInAggregation(AggregateOp),
    /// A range function has no use for the histograms among the floats.
    HistogramIgnoredInRange {
        /// The metric's name.
        metric: String,
    },
}

impl Annotation {
    /// How much it matters.
    pub fn severity(&self) -> Severity {
        match self {
            Self::InvalidQuantile(_)
            | Self::InvalidRatio { .. }
            | Self::BadBucketLabel { .. }
            | Self::MixedRange { .. }
            | Self::MixedGroup
            | Self::ClassicAndNative { .. }
            | Self::SortIneffective
            | Self::OverlappingStart { .. } => Severity::Warning,
            Self::PossibleNonCounter { .. }
            | Self::ForcedMonotonicity { .. }
            | Self::IncompatibleSamples { .. }
            | Self::HistogramIgnoredInAggregation(_)
            | Self::HistogramIgnoredInRange { .. } => Severity::Info,
        }
    }
}

/// All annotations of a query.
#[derive(Clone, Debug, Default)]
pub struct Annotations {
    notes: Vec<Note>,
    /// Where the note with a text stands in `notes`.
    by_text: HashMap<String, usize>,
}

/// One annotation, or several that say the same.
#[derive(Clone, Debug)]
struct Note {
    severity: Severity,
    text: String,
    span: Span,
    extent: Extent,
}

/// What is said beyond the text, when several annotations say the same.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Extent {
    None,
    Occurrences(u64),
    Buckets { bounds: (f64, f64), most: f64, times_ms: (i64, i64), samples: u64 },
}

/// Annotations as texts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RenderedAnnotations {
    /// `PromQL warning: … (1:5)`
    pub warnings: Vec<String>,
    /// `PromQL info: … (1:5)`
    pub infos: Vec<String>,
}

impl Annotations {
    /// Adds an annotation about the expression at `span`.
    pub fn add(&mut self, annotation: &Annotation, span: Span) {
        let extent = match annotation {
            Annotation::OverlappingStart { .. } => Extent::Occurrences(1),
            Annotation::ForcedMonotonicity {
                lowest_bound, highest_bound, most, time_ms, ..
            } => Extent::Buckets {
                bounds: (*lowest_bound, *highest_bound),
                most: *most,
                times_ms: (*time_ms, *time_ms),
                samples: 1,
            },
            _ => Extent::None,
        };
        let text = annotation.to_string();
        self.insert(Note { severity: annotation.severity(), text, span, extent });
    }

    /// Adds all of `other`, as if they came after those that are here.
    pub fn merge(&mut self, other: Self) {
        if self.notes.is_empty() {
            *self = other;
            return;
        }
        for note in other.notes {
            self.insert(note);
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.notes.is_empty()
    }

    fn insert(&mut self, mut note: Note) {
        if let Some(at) = self.by_text.get(&note.text) {
            note.extent = self.notes[*at].extent.joined(note.extent);
            self.notes[*at] = note;
        } else {
            self.by_text.insert(note.text.clone(), self.notes.len());
            self.notes.push(note);
        }
    }

    /// The texts with their places in `query`. Of each kind at most `limit`, if it is not 0, and
    /// then how many more there are.
    pub fn render(&self, query: &str, limit: usize) -> RenderedAnnotations {
        let mut rendered = RenderedAnnotations::default();
        let mut omitted = [0usize; 2];
        for note in &self.notes {
            let (list, omitted) = match note.severity {
                Severity::Warning => (&mut rendered.warnings, &mut omitted[0]),
                Severity::Info => (&mut rendered.infos, &mut omitted[1]),
            };
            if limit > 0 && list.len() == limit {
                *omitted += 1;
                continue;
            }
            let Note { text, extent, span, .. } = note;
            let prefix = match note.severity {
                Severity::Warning => "PromQL warning",
                Severity::Info => "PromQL info",
            };
            let place = text::line_and_column(query, *span);
            list.push(format!("{prefix}: {text}{extent} ({place})"));
        }
        if omitted[0] > 0 {
            rendered.warnings.push(format!("{} more warning annotations omitted", omitted[0]));
        }
        if omitted[1] > 0 {
            rendered.infos.push(format!("{} more info annotations omitted", omitted[1]));
        }
        rendered
    }
}

impl Extent {
    fn joined(self, later: Self) -> Self {
        match (self, later) {
            (Self::Occurrences(a), Self::Occurrences(b)) => Self::Occurrences(a + b),
            (
                Self::Buckets { bounds: a, most: most_a, times_ms: times_a, samples: samples_a },
                Self::Buckets { bounds: b, most: most_b, times_ms: times_b, samples: samples_b },
            ) => Self::Buckets {
                bounds: (a.0.min(b.0), a.1.max(b.1)),
                most: most_a.max(most_b),
                times_ms: (times_a.0.min(times_b.0), times_a.1.max(times_b.1)),
                samples: samples_a + samples_b,
            },
            (_, later) => later,
        }
    }
}

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None | Self::Occurrences(1) => Ok(()),
            Self::Occurrences(n) => write!(f, " ({n} occurrences)"),
            Self::Buckets { bounds, most, times_ms, samples } => write!(
                f,
                ", from buckets {} to {}, with a max diff of {}, over {samples} samples \
                 from {} to {}",
                go_float(bounds.0),
                go_float(bounds.1),
                text::two_digits(*most),
                text::rfc3339(times_ms.0),
                text::rfc3339(times_ms.1),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_text_is_said_once_with_its_last_place() {
        let mut notes = Annotations::default();
        notes.add(&Annotation::SortIneffective, Span::new(0, 1));
        notes.add(&Annotation::SortIneffective, Span::new(3, 4));
        let rendered = notes.render("a\n\nb", 0);
        assert_eq!(
            rendered.warnings,
            ["PromQL warning: sort is ineffective for range queries since results are always \
              ordered by labels (3:1)"]
        );
    }

    #[test]
    fn overlaps_are_counted_and_buckets_widened() {
        let overlap = Annotation::OverlappingStart { metric: "m".into() };
        let mended = |bounds: (f64, f64), time_ms| Annotation::ForcedMonotonicity {
            metric: None,
            lowest_bound: bounds.0,
            highest_bound: bounds.1,
            most: 0.123,
            time_ms,
        };
        let (mut notes, mut later) = (Annotations::default(), Annotations::default());
        notes.add(&overlap, Span::new(0, 1));
        notes.add(&mended((0.5, 1.0), 1000), Span::new(0, 1));
        later.add(&overlap, Span::new(0, 1));
        later.add(&mended((0.1, 2.0), 2000), Span::new(0, 1));
        notes.merge(later);
        let rendered = notes.render("m", 0);
        assert!(rendered.warnings[0].ends_with("metric \"m\" (2 occurrences) (1:1)"));
        assert!(rendered.infos[0].ends_with(
            ", from buckets 0.1 to 2, with a max diff of 0.12, over 2 samples \
             from 1970-01-01T00:00:01Z to 1970-01-01T00:00:02Z (1:1)"
        ));
    }

    #[test]
    fn beyond_the_limit_they_are_counted_only() {
        let mut notes = Annotations::default();
        for metric in ["a", "b", "c"] {
            let note = Annotation::PossibleNonCounter { metric: metric.into() };
            notes.add(&note, Span::default());
        }
        let rendered = notes.render("", 1);
        assert_eq!(rendered.infos.len(), 2);
        assert_eq!(rendered.infos[1], "2 more info annotations omitted");
    }
}
