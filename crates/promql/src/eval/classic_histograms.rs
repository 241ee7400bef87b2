//! `histogram_quantile` and its kin over classic histograms: a series a bucket, told apart by the
//! label `le`.

use hashbrown::HashMap;
use rangekeeper_model::{Labels, LabelsBuilder};
use rayon::prelude::*;

use super::column::{Row, Vector, is_absent};
use super::error::EvalError;
use super::evaluator::Evaluator;
use super::label_functions::text_of;
use super::quantile::{self, Bucket};
use super::same_labels;
use super::steps::Steps;
use crate::annotations::{Annotation, Annotations, go_float};
use crate::ast::{Call, Expr, Span};
use crate::functions::Function;

/// The label that holds a bucket's bound.
const BUCKET_LABEL: &str = "le";

/// A classic histogram: the rows of its buckets.
struct Histogram<'a> {
    /// The labels of its buckets but `le`.
    labels: Labels,
    /// Whether the name of a bucket is to go.
    drop_name: bool,
    /// Bounds and rows.
    buckets: Vec<(f64, &'a Row)>,
}

/// What is asked of the histograms.
enum Asked {
    /// A quantile at each step.
    Quantile(Vec<f64>),
    /// The part of the observations between two bounds at each step.
    Fraction(Vec<f64>, Vec<f64>),
}

impl Evaluator<'_> {
    /// Evaluates a function of classic histograms.
    pub fn classic_histogram(
        &self,
        call: &Call,
        steps: Steps,
        notes: &mut Annotations,
    ) -> Result<Vector, EvalError> {
        let args = &call.args;
        let mut scalar = |arg: &Expr| self.scalar(arg, steps, notes);
        let (asked, vector_arg) = match call.function {
            Function::HistogramFraction => {
                (vec![Asked::Fraction(scalar(&args[0])?, scalar(&args[1])?)], &args[2])
            }
            Function::HistogramQuantile => (vec![Asked::Quantile(scalar(&args[0])?)], &args[1]),
            _ => {
                let quantiles = args[2..].iter().map(|arg| scalar(arg).map(Asked::Quantile));
                (quantiles.collect::<Result<Vec<_>, _>>()?, &args[0])
            }
        };
        let vector = self.vector(vector_arg, steps, notes)?;
        for (asked, arg) in asked.iter().zip(quantile_args(call)) {
            note_quantiles(asked, arg.without_parens().span(), notes);
        }
        let span = vector_arg.without_parens().span();
        let histograms = self.histograms(&vector, span, notes);
        let label = match call.function {
            Function::HistogramQuantiles => Some(text_of(&args[1]).unwrap_or_default()),
            _ => None,
        };
        let mut rows = Vec::new();
        for asked in &asked {
            let made = histograms.par_iter().map(|histogram| {
                let mut notes = Annotations::default();
                let row = self.of_histogram(histogram, asked, steps, span, &mut notes);
                (row, notes)
            });
            for (row, row_notes) in made.collect::<Vec<_>>() {
                notes.merge(row_notes);
                match (label, asked) {
                    (Some(label), Asked::Quantile(quantiles)) => {
                        rows.extend(labelled(&row, label, quantiles));
                    }
                    _ => rows.push(row),
                }
            }
        }
        rows.retain(|row| !row.is_empty());
        for row in &mut rows {
            self.drop_name(row);
        }
        same_labels::merge(&mut rows)?;
        self.hold(rows, steps)
    }

    /// The histograms that the rows are buckets of, in the order of their first bucket.
    fn histograms<'a>(
        &self,
        vector: &'a Vector,
        span: Span,
        notes: &mut Annotations,
    ) -> Vec<Histogram<'a>> {
        let mut places: HashMap<Labels, usize> = HashMap::new();
        let mut histograms: Vec<Histogram<'a>> = Vec::new();
        for row in vector.rows.iter().filter(|row| row.values.iter().any(|v| !is_absent(*v))) {
            let le = row.labels.value(BUCKET_LABEL).unwrap_or_default();
            let Ok(bound) = le.parse::<f64>() else {
                let metric = self.known_name(&row.labels);
                notes.add(&Annotation::BadBucketLabel { le: le.to_owned(), metric }, span);
                continue;
            };
            let labels = row.labels.retain(|name| name != BUCKET_LABEL);
            let place = *places.entry(labels).or_insert_with_key(|labels| {
                let labels = labels.clone();
                histograms.push(Histogram { labels, drop_name: false, buckets: Vec::new() });
                histograms.len() - 1
            });
            histograms[place].drop_name |= row.drop_name;
            histograms[place].buckets.push((bound, row));
        }
        histograms
    }

    /// The name that an annotation about a series may use: with delayed removal it is still there.
    fn known_name(&self, labels: &Labels) -> Option<String> {
        let delayed = self.options.delayed_name_removal;
        labels.metric_name().filter(|_| delayed).map(str::to_owned)
    }

    fn of_histogram(
        &self,
        histogram: &Histogram<'_>,
        asked: &Asked,
        steps: Steps,
        span: Span,
        notes: &mut Annotations,
    ) -> Row {
        let mut row = Row::absent(histogram.labels.clone(), steps);
        row.drop_name = histogram.drop_name;
        let mut buckets = Vec::with_capacity(histogram.buckets.len());
        for step in 0..steps.count {
            buckets.clear();
            let of_step = histogram.buckets.iter().map(|(upper_bound, row)| Bucket {
                upper_bound: *upper_bound,
                count: row.values[step],
            });
            buckets.extend(of_step.filter(|bucket| !is_absent(bucket.count)));
            if buckets.is_empty() {
                continue;
            }
            row.values[step] = match asked {
                Asked::Fraction(lower, upper) => {
                    quantile::fraction_of_buckets(lower[step], upper[step], &mut buckets)
                }
                Asked::Quantile(quantiles) => {
                    let (value, mended) = quantile::of_buckets(quantiles[step], &mut buckets);
                    if let Some(mended) = mended {
                        let note = Annotation::ForcedMonotonicity {
                            metric: self.known_name(&histogram.labels),
                            lowest_bound: mended.lowest_bound,
                            highest_bound: mended.highest_bound,
                            most: mended.most,
                            time_ms: steps.time(step),
                        };
                        notes.add(&note, span);
                    }
                    value
                }
            };
        }
        row
    }
}

/// The arguments that are quantiles.
fn quantile_args(call: &Call) -> &[Expr] {
    match call.function {
        Function::HistogramQuantile => &call.args[..1],
        Function::HistogramQuantiles => &call.args[2..],
        _ => &[],
    }
}

/// Says which quantiles are none.
fn note_quantiles(asked: &Asked, span: Span, notes: &mut Annotations) {
    let Asked::Quantile(quantiles) = asked else { return };
    let mut last = None;
    for q in quantiles.iter().filter(|q| !(0.0..=1.0).contains(*q)) {
        if last.replace(q.to_bits()) != Some(q.to_bits()) {
            notes.add(&Annotation::InvalidQuantile(*q), span);
        }
    }
}

/// The rows that one row becomes when the quantile of each step is one of its labels.
fn labelled(row: &Row, label: &str, quantiles: &[f64]) -> Vec<Row> {
    let mut texts: Vec<String> = quantiles.iter().map(|q| open_metrics_float(*q)).collect();
    let of_step = texts.clone();
    texts.sort();
    texts.dedup();
    let with_text = |text: &String| {
        let mut labels = LabelsBuilder::from_labels(&row.labels);
        labels.set(label, text);
        let mut row = Row { labels: labels.build(), ..row.clone() };
        for (step, other) in of_step.iter().enumerate() {
            if other != text {
                row.clear(step);
            }
        }
        row
    };
    texts.iter().map(with_text).collect()
}

/// A float as OpenMetrics writes it: always with a point or an exponent.
fn open_metrics_float(value: f64) -> String {
    let text = go_float(value);
    if value.is_finite() && !text.contains(['.', 'e']) { format!("{text}.0") } else { text }
}
