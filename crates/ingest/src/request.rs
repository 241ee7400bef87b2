//! One request: its series are judged while they are walked, and named when their hash is unknown.

use std::sync::Arc;

use rangekeeper_model::{Day, HistogramSample, Labels, MetricType, SeriesHasher, metric_name_in};
use rangekeeper_storage::{FamilyKey, FamilyMetadata, Horizon, RowIndex};
use rangekeeper_wire::{
    DecodeError, Exemplar, FamilyMetadata as WireFamily, Metadata, RawLabels, SeriesError, v1, v2,
};

use crate::metrics::IngestMetrics;
use crate::receiver::Limits;
use crate::reject::{Reason, Refusals, Shown, WrittenOut};
use crate::sink::SinkWrite;
use crate::statements::{Statement, Statements};

/// A series of either version, as it lies in the body.
#[derive(Clone, Copy)]
enum Series<'a> {
    V1(v1::Series<'a>),
    V2(v2::Series<'a>),
}

/// A request on its way into the store.
pub(crate) struct Request<'a> {
    write: SinkWrite,
    hasher: SeriesHasher,
    limits: &'a Limits,
    statements: &'a Statements,
    today: Day,
    oldest_ms: i64,
    newest_ms: i64,
    refusals: Refusals,
    /// The series of each row, to name it by its labels if nobody knows it.
    rows: Vec<Series<'a>>,
    /// Canonical label bytes, where the sender's are not; those of the series in hand, at its
    /// front.
    canonical: Vec<u8>,
    /// Bytes of what references stand for, in remote write 2.0.
    written_out: usize,
    said: Said<'a>,
}

/// What the series of a request say of their metrics.
#[derive(Default)]
struct Said<'a> {
    /// What was said last, and the label bytes up to the end of the name of which it was said: the
    /// next series mostly repeats both.
    last: &'a [u8],
    last_start: Vec<u8>,
    /// What is not known to be stored, and the row that says it.
    news: Vec<(Statement, usize)>,
}

/// A request that was judged.
pub(crate) struct Judged {
    /// What is good of it.
    pub(crate) write: SinkWrite,
    /// What is not.
    pub(crate) refusals: Refusals,
    /// Statements in the write, to be remembered when it is stored.
    pub(crate) statements: Vec<Statement>,
}

impl<'a> Request<'a> {
    pub(crate) fn new(
        write: SinkWrite,
        limits: &'a Limits,
        statements: &'a Statements,
        horizon: Horizon,
    ) -> Self {
        let hasher = write.hasher().clone();
        let newest_ms = horizon.now_ms.saturating_add(limits.ahead_ms);
        let latest_ms = limits.late_ms.map_or(i64::MIN, |ms| horizon.now_ms.saturating_sub(ms));
        Self {
            write,
            hasher,
            limits,
            statements,
            today: Day::of(horizon.now_ms),
            oldest_ms: horizon.oldest_ms.max(latest_ms),
            newest_ms,
            refusals: Refusals::default(),
            rows: Vec::with_capacity(2048),
            canonical: Vec::new(),
            written_out: 0,
            said: Said::default(),
        }
    }

    /// Takes a series of remote write 1.0.
    pub(crate) fn series_v1(&mut self, series: v1::Series<'a>) -> Result<(), DecodeError> {
        let labels = match series.labels() {
            RawLabels::Run(bytes) => bytes,
            RawLabels::Scattered => match series.canonical(&mut self.canonical) {
                Ok(bytes) => bytes,
                Err(error) => return self.refuse_series_of(error, Series::V1(series)),
            },
        };
        let row = self.write.series(self.hasher.hash(labels), labels);
        self.rows.push(Series::V1(series));
        for sample in series.samples() {
            let sample = sample?;
            self.sample(row, sample.timestamp_ms, sample.start_ms, sample.value);
        }
        if series.has_only_samples() { Ok(()) } else { self.rest_v1(row, series) }
    }

    /// Takes what there is of a series besides float samples.
    #[inline(never)]
    fn rest_v1(&mut self, row: RowIndex, series: v1::Series<'a>) -> Result<(), DecodeError> {
        for histogram in series.histograms() {
            self.histogram(row, histogram?);
        }
        for exemplar in series.exemplars() {
            // Remote write 1.0 knows of no exemplars, and by its answer a sender gives up all of a
            // request: one that cannot be kept is counted, and fails nothing.
            if let Err((reason, _)) = self.exemplar(row, &exemplar?) {
                self.refusals.count_exemplar(reason);
            }
        }
        Ok(())
    }

    /// Takes a series of remote write 2.0.
    pub(crate) fn series_v2(&mut self, series: v2::Series<'a>) -> Result<(), DecodeError> {
        let (hash, length) = match series.canonical(&mut self.canonical) {
            Ok(bytes) => (self.hasher.hash(bytes), bytes.len()),
            Err(error) => return self.refuse_series_of(error, Series::V2(series)),
        };
        self.written_out += length;
        let samples = series.samples().count();
        if (samples == 0 || !series.has_only_samples())
            && !self.is_of_one_kind(series, samples, length)
        {
            return Ok(());
        }
        match self.hear(series, length) {
            Ok(()) => {}
            Err(SeriesError::Malformed(error)) => return Err(error),
            Err(error) => {
                self.refuse_metadata(&error, series, length);
                return Ok(());
            }
        }
        let row = self.write.series(hash, &self.canonical[..length]);
        self.rows.push(Series::V2(series));
        for sample in series.samples() {
            let sample = sample?;
            self.sample(row, sample.timestamp_ms, sample.start_ms, sample.value);
        }
        if series.has_only_samples() { Ok(()) } else { self.rest_v2(row, series) }
    }

    /// Checks that what was referred to so far is within the limit of a request.
    #[inline]
    pub(crate) fn check_written_out(&self) -> Result<(), WrittenOut> {
        let limit = self.limits.decoded_bytes;
        if self.written_out > limit { Err(WrittenOut { limit }) } else { Ok(()) }
    }

    /// Takes what there is of a series besides float samples.
    #[inline(never)]
    fn rest_v2(&mut self, row: RowIndex, series: v2::Series<'a>) -> Result<(), DecodeError> {
        for histogram in series.histograms() {
            self.histogram(row, histogram?);
        }
        for exemplar in series.exemplars() {
            if self.check_written_out().is_err() {
                // The caller finds out, too.
                return Ok(());
            }
            if let Err((reason, why)) = self.exemplar(row, &exemplar?) {
                // Remote write 2.0 wants to be told of everything that is not written.
                let labels = self.shown(row);
                self.refusals
                    .add_exemplar(reason, || format!("exemplar of series {labels}: {why}"));
            }
        }
        Ok(())
    }

    /// Takes what a request of 1.0 says of a metric family.
    pub(crate) fn family(&mut self, said: &WireFamily<'_>) {
        self.state(&said.family, &said.metadata);
    }

    /// Names the series that nobody knows; those that cannot be named are refused.
    pub(crate) fn finish(mut self, metrics: &IngestMetrics) -> Result<Judged, DecodeError> {
        for row in self.write.resolve() {
            self.name(row, metrics)?;
        }
        let mut news = std::mem::take(&mut self.said.news);
        news.sort_unstable();
        news.dedup_by_key(|(statement, _)| *statement);
        for (_, row) in &news {
            self.state_of_row(*row);
        }
        let statements = news.into_iter().map(|(statement, _)| statement).collect();
        Ok(Judged { write: self.write, refusals: self.refusals, statements })
    }

    /// Names a series that nobody knows, or refuses it.
    fn name(&mut self, row: RowIndex, metrics: &IngestMetrics) -> Result<(), DecodeError> {
        let samples = self.write.samples_of(row);
        let labels = match self.labels(self.rows[row.number()], metrics) {
            Ok(labels) => labels,
            Err(error) => {
                return self.refuse_labels(error, usize::try_from(samples).unwrap_or(0));
            }
        };
        if let Err(reason) = judge(self.limits, &labels) {
            self.refuse_series(reason, &labels, samples);
        } else if let Err(collision) = self.write.define(row, labels) {
            self.refusals.add(Reason::HashCollision, samples, || {
                let (refused, existing) = (Shown(&collision.refused), Shown(&collision.existing));
                format!("series {refused} has the hash of {existing}")
            });
        }
        Ok(())
    }

    /// Keeps in mind what the series of the next row, whose canonical labels have `length` bytes,
    /// says of its metric, unless that is known.
    #[inline]
    fn hear(&mut self, series: v2::Series<'a>, length: usize) -> Result<(), SeriesError> {
        let Some(bytes) = series.metadata_bytes() else { return Ok(()) };
        let labels = &self.canonical[..length];
        if self.said.last == bytes && labels.starts_with(&self.said.last_start) {
            return Ok(());
        }
        self.hear_other(series, length)?;
        self.said.last = bytes;
        Ok(())
    }

    fn hear_other(&mut self, series: v2::Series<'a>, length: usize) -> Result<(), SeriesError> {
        let Some(metadata) = series.metadata()? else { return Ok(()) };
        let start = up_to_metric_name(&self.canonical[..length]);
        self.said.last_start.clear();
        self.said.last_start.extend_from_slice(start);
        if metadata.is_empty() {
            return Ok(());
        }
        let statement = Statement::new(&self.hasher, self.today, start, &metadata);
        if !self.statements.has(statement) {
            self.written_out += metadata.help.len() + metadata.unit.len();
            self.said.news.push((statement, self.rows.len()));
        }
        Ok(())
    }

    /// Takes what a row's series says of its metric. That is kept even if the series is refused:
    /// it concerns others too.
    fn state_of_row(&mut self, row: usize) {
        let Series::V2(series) = self.rows[row] else { return };
        let Ok(Some(metadata)) = series.metadata() else { return };
        let Ok(canonical) = series.canonical(&mut self.canonical) else { return };
        let Some(name) = metric_name_in(canonical) else { return };
        let family = family_of(name, metadata.metric_type).to_owned();
        self.state(&family, &metadata.text());
    }

    /// Takes what is said of a metric family. What is said at a length that no label has is cut; a
    /// name of that length is no series' name.
    fn state(&mut self, family: &str, metadata: &Metadata<'_>) {
        let most = self.limits.value_bytes;
        if family.is_empty() || family.len() > most {
            return;
        }
        let start = |text: &str| text[..text.floor_char_boundary(most)].to_owned();
        let tenant = self.write.tenant().clone();
        let key = FamilyKey { tenant, family: family.to_owned() };
        let metadata = FamilyMetadata {
            metric_type: metadata.metric_type,
            help: start(&metadata.help),
            unit: start(&metadata.unit),
        };
        self.write.metadata(key, metadata);
    }

    #[inline]
    fn sample(&mut self, row: RowIndex, timestamp_ms: i64, start_ms: i64, value: f64) {
        if self.oldest_ms <= timestamp_ms && timestamp_ms <= self.newest_ms {
            self.write.float(timestamp_ms, start_ms, value);
        } else {
            self.refuse_time(row, timestamp_ms);
        }
    }

    fn histogram(&mut self, row: RowIndex, sample: HistogramSample) {
        let at_ms = sample.timestamp_ms;
        if !(self.oldest_ms..=self.newest_ms).contains(&at_ms) {
            return self.refuse_time(row, at_ms);
        }
        let mut histogram = Arc::unwrap_or_clone(sample.histogram);
        let valid = if histogram.is_stale() {
            Ok(())
        } else {
            histogram.reduce_schema().and_then(|()| histogram.validate())
        };
        if let Err(error) = valid {
            let labels = self.shown(row);
            self.refusals.add(Reason::InvalidHistogram, 1, || {
                format!("invalid histogram for series {labels}: {error}")
            });
        } else if !rangekeeper_chunk::histograms::fits(&histogram) {
            let labels = self.shown(row);
            self.refusals.add(Reason::HistogramTooLarge, 1, || {
                format!("histogram of series {labels} at {at_ms} has more buckets than can be kept")
            });
        } else {
            self.write.histogram(row, HistogramSample { histogram: histogram.into(), ..sample });
        }
    }

    /// Takes an exemplar, or says why not.
    fn exemplar(&mut self, row: RowIndex, exemplar: &Exemplar<'_>) -> Result<(), (Reason, String)> {
        let at_ms = exemplar.timestamp_ms;
        if !(self.oldest_ms..=self.newest_ms).contains(&at_ms) {
            let (reason, why) = self.out_of_time(at_ms);
            return Err((reason, format!("{at_ms} is {why}")));
        }
        let labels = exemplar.labels().map_err(|e| (Reason::InvalidLabels, e.to_string()))?;
        self.written_out += labels.as_bytes().len();
        if let Err(reason) = judge(self.limits, &labels) {
            return Err((reason, excess(self.limits, reason, &labels)));
        }
        self.write.exemplar(row, at_ms, exemplar.value, labels);
        Ok(())
    }

    fn is_of_one_kind(&mut self, series: v2::Series<'_>, samples: usize, length: usize) -> bool {
        let histograms = series.histograms().count();
        if (samples == 0) != (histograms == 0) {
            return true;
        }
        let labels = shown_canonical(&self.canonical[..length]);
        let (reason, what) = if samples == 0 {
            (Reason::NoSamples, "at least one sample or histogram")
        } else {
            (Reason::MixedSamples, "samples or histograms, not both,")
        };
        self.refusals.add(reason, (samples + histograms) as u64, || {
            format!("TimeSeries must contain {what} for series {labels}")
        });
        false
    }

    fn labels(
        &mut self,
        series: Series<'a>,
        metrics: &IngestMetrics,
    ) -> Result<Labels, SeriesError> {
        let canonical = match series {
            Series::V1(series) => series.canonical(&mut self.canonical)?,
            Series::V2(series) => series.canonical(&mut self.canonical)?,
        };
        if let Series::V1(series) = series
            && !matches!(series.labels(), RawLabels::Run(run) if run == canonical)
        {
            metrics.unsorted();
        }
        Ok(Labels::from_canonical(canonical).expect("the decoder made them canonical"))
    }

    fn refuse_series(&mut self, reason: Reason, labels: &Labels, samples: u64) {
        let limits = self.limits;
        self.refusals.add(reason, samples, || {
            format!("series {} has {}", Shown(labels), excess(limits, reason, labels))
        });
    }

    #[cold]
    fn refuse_metadata(&mut self, error: &SeriesError, series: v2::Series<'_>, length: usize) {
        let samples = series.samples().count() + series.histograms().count();
        let labels = shown_canonical(&self.canonical[..length]);
        self.refusals
            .add(Reason::InvalidMetadata, samples as u64, || format!("{error}, series {labels}"));
    }

    #[cold]
    fn refuse_series_of(
        &mut self,
        error: SeriesError,
        series: Series<'_>,
    ) -> Result<(), DecodeError> {
        let samples = match series {
            Series::V1(series) => series.samples().count() + series.histograms().count(),
            Series::V2(series) => series.samples().count() + series.histograms().count(),
        };
        self.refuse_labels(error, samples)
    }

    fn refuse_labels(&mut self, error: SeriesError, samples: usize) -> Result<(), DecodeError> {
        match error {
            SeriesError::Malformed(error) => Err(error),
            error => {
                let samples = samples as u64;
                self.refusals.add(Reason::InvalidLabels, samples, move || error.to_string());
                Ok(())
            }
        }
    }

    #[cold]
    fn refuse_time(&mut self, row: RowIndex, at_ms: i64) {
        let labels = self.shown(row);
        let (reason, why) = self.out_of_time(at_ms);
        self.refusals.add(reason, 1, || {
            format!("out of bounds: sample of series {labels} at {at_ms} is {why}")
        });
    }

    /// What is wrong with a time that is not between the oldest and the newest.
    fn out_of_time(&self, at_ms: i64) -> (Reason, String) {
        let Self { oldest_ms, newest_ms, .. } = self;
        if at_ms < *oldest_ms {
            let why = format!("beyond retention, the oldest time taken is {oldest_ms}");
            (Reason::TooOld, why)
        } else {
            let why = format!("too far in the future, the newest time taken is {newest_ms}");
            (Reason::TooFarAhead, why)
        }
    }

    /// The labels of a row as text, if the sender is told of more offenders.
    fn shown(&mut self, row: RowIndex) -> String {
        if self.refusals.is_full() {
            return String::new();
        }
        let canonical = match self.rows[row.number()] {
            Series::V1(series) => series.canonical(&mut self.canonical).map(<[u8]>::to_vec),
            Series::V2(series) => series.canonical(&mut self.canonical).map(<[u8]>::to_vec),
        };
        canonical.map_or_else(|_| INVALID.to_owned(), |bytes| shown_canonical(&bytes))
    }
}

/// What stands for labels that cannot be shown.
const INVALID: &str = "with invalid labels";

fn shown_canonical(bytes: &[u8]) -> String {
    Labels::from_canonical(bytes)
        .map_or_else(|_| INVALID.to_owned(), |labels| Shown(&labels).to_string())
}

/// The canonical bytes of labels up to the end of the metric name, which mostly is the first.
#[inline]
fn up_to_metric_name(labels: &[u8]) -> &[u8] {
    const NAME: &[u8] = b"\x0a\x08__name__\x12";
    let end = match labels {
        [_, length @ ..0x80, label @ ..] if label.starts_with(NAME) => 2 + usize::from(*length),
        _ => metric_name_in(labels).map_or(labels.len(), |name| {
            name.as_bytes().as_ptr_range().end.addr() - labels.as_ptr().addr()
        }),
    };
    &labels[..end]
}

/// Whether a label set is within the limits. A series that is known passed them once.
fn judge(limits: &Limits, labels: &Labels) -> Result<(), Reason> {
    if labels.len() > limits.labels {
        return Err(Reason::TooManyLabels);
    }
    for (name, value) in labels {
        if name.len() > limits.name_bytes {
            return Err(Reason::LabelNameTooLong);
        }
        if value.len() > limits.value_bytes {
            return Err(Reason::LabelValueTooLong);
        }
    }
    Ok(())
}

/// What a label set has too much of.
fn excess(limits: &Limits, reason: Reason, labels: &Labels) -> String {
    let Limits { labels: most, name_bytes, value_bytes, .. } = limits;
    match reason {
        Reason::TooManyLabels => format!("{} labels, allowed are {most}", labels.len()),
        Reason::LabelNameTooLong => format!("a label name of over {name_bytes} bytes"),
        _ => format!("a label value of over {value_bytes} bytes"),
    }
}

/// The family that a series of this name and type belongs to.
fn family_of(name: &str, metric_type: MetricType) -> &str {
    let suffixes: &[&str] = match metric_type {
        MetricType::Histogram | MetricType::GaugeHistogram => &["_bucket", "_count", "_sum"],
        MetricType::Summary => &["_count", "_sum"],
        _ => &[],
    };
    suffixes.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name)
}
