//! One request: its series are judged while they are walked, and named when their hash is unknown.

use rangekeeper_model::{HistogramSample, Labels, MetricType, SeriesHasher};
use rangekeeper_storage::{FamilyKey, FamilyMetadata, Horizon, RowIndex, Write};
use rangekeeper_wire::{DecodeError, FamilyMetadata as WireFamily, RawLabels, SeriesError, v1, v2};

use crate::metrics::IngestMetrics;
use crate::receiver::Limits;
use crate::reject::{Reason, Refusals, Shown};

/// A series of either version, as it lies in the body.
#[derive(Clone, Copy)]
enum Series<'a> {
    V1(v1::Series<'a>),
    V2(v2::Series<'a>),
}

/// A request on its way into the store.
pub(crate) struct Request<'a> {
    write: Write,
    hasher: SeriesHasher,
    limits: &'a Limits,
    oldest_ms: i64,
    newest_ms: i64,
    refusals: Refusals,
    /// The series of each row, to name it by its labels if nobody knows it.
    rows: Vec<Series<'a>>,
    /// Canonical label bytes, where the sender's are not.
    canonical: Vec<u8>,
}

impl<'a> Request<'a> {
    pub(crate) fn new(write: Write, limits: &'a Limits, horizon: Horizon) -> Self {
        let hasher = write.tenant().hasher().clone();
        let newest_ms = horizon.now_ms.saturating_add(limits.ahead_ms);
        let latest_ms = limits.late_ms.map_or(i64::MIN, |ms| horizon.now_ms.saturating_sub(ms));
        Self {
            write,
            hasher,
            limits,
            oldest_ms: horizon.oldest_ms.max(latest_ms),
            newest_ms,
            refusals: Refusals::default(),
            rows: Vec::with_capacity(2048),
            canonical: Vec::new(),
        }
    }

    /// Takes a series of remote write 1.0.
    pub(crate) fn series_v1(&mut self, series: v1::Series<'a>) -> Result<(), DecodeError> {
        let hash = match series.labels() {
            RawLabels::Run(bytes) => self.hasher.hash(bytes),
            RawLabels::Scattered => match series.canonical(&mut self.canonical) {
                Ok(bytes) => self.hasher.hash(bytes),
                Err(error) => return self.refuse_labels(error, series.samples().count()),
            },
        };
        let row = self.write.series(hash);
        self.rows.push(Series::V1(series));
        for sample in series.samples() {
            let sample = sample?;
            self.sample(row, sample.timestamp_ms, sample.start_ms, sample.value);
        }
        if series.has_only_samples() {
            return Ok(());
        }
        for histogram in series.histograms() {
            self.histogram(row, histogram?);
        }
        for exemplar in series.exemplars() {
            self.exemplar(row, &exemplar?);
        }
        Ok(())
    }

    /// Takes a series of remote write 2.0.
    pub(crate) fn series_v2(
        &mut self,
        series: v2::Series<'a>,
        with_metadata: bool,
    ) -> Result<(), DecodeError> {
        let hash = match series.canonical(&mut self.canonical) {
            Ok(bytes) => self.hasher.hash(bytes),
            Err(error) => return self.refuse_labels(error, series.samples().count()),
        };
        let samples = series.samples().count();
        if series.has_only_samples() && samples == 0 {
            let labels = self.shown_canonical();
            self.refusals.add(Reason::NoSamples, 0, || {
                format!(
                    "TimeSeries must contain at least one sample or histogram for series {labels}"
                )
            });
            return Ok(());
        }
        if !series.has_only_samples() && !self.is_of_one_kind(series, samples) {
            return Ok(());
        }
        let row = self.write.series(hash);
        self.rows.push(Series::V2(series));
        for sample in series.samples() {
            let sample = sample?;
            self.sample(row, sample.timestamp_ms, sample.start_ms, sample.value);
        }
        if !series.has_only_samples() {
            for histogram in series.histograms() {
                self.histogram(row, histogram?);
            }
            for exemplar in series.exemplars() {
                self.exemplar(row, &exemplar?);
            }
        }
        if with_metadata {
            self.metadata_v2(series);
        }
        Ok(())
    }

    /// Takes what a request of 1.0 says of a metric family.
    pub(crate) fn family(&mut self, said: &WireFamily<'_>) {
        if said.family.is_empty() {
            return;
        }
        let tenant = self.write.tenant().id().clone();
        let family = FamilyKey { tenant, family: said.family.clone().into_owned() };
        let metadata = FamilyMetadata {
            metric_type: said.metadata.metric_type,
            help: said.metadata.help.clone().into_owned(),
            unit: said.metadata.unit.clone().into_owned(),
        };
        self.write.metadata(family, metadata);
    }

    /// Names the series that nobody knows; those that cannot be named are refused.
    pub(crate) fn finish(
        mut self,
        metrics: &IngestMetrics,
    ) -> Result<(Write, Refusals), DecodeError> {
        for row in self.write.resolve() {
            let series = self.rows[row.number()];
            let samples = self.write.samples_of(row);
            match self.labels(series, metrics) {
                Ok(labels) => {
                    if let Err(reason) = self.judge(&labels) {
                        self.refuse_series(reason, &labels, samples);
                        continue;
                    }
                    if let Series::V2(series) = series {
                        self.metadata_v2(series);
                    }
                    if let Err(collision) = self.write.define(row, labels) {
                        self.refusals.add(Reason::HashCollision, samples, || collision.to_string());
                    }
                }
                Err(error) => self.refuse_labels(error, usize::try_from(samples).unwrap_or(0))?,
            }
        }
        Ok((self.write, self.refusals))
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
        let mut histogram = std::sync::Arc::unwrap_or_clone(sample.histogram);
        let valid = histogram.is_stale()
            || histogram.reduce_schema().and_then(|()| histogram.validate()).map_or_else(
                |error| {
                    let labels = self.shown(row);
                    self.refusals.add(Reason::InvalidHistogram, 1, || {
                        format!("invalid histogram for series {labels}: {error}")
                    });
                    false
                },
                |()| true,
            );
        if valid {
            self.write.histogram(row, HistogramSample { histogram: histogram.into(), ..sample });
        }
    }

    /// An exemplar that cannot be kept fails nothing: it is an extra.
    fn exemplar(&mut self, row: RowIndex, exemplar: &rangekeeper_wire::Exemplar<'_>) {
        let in_time = (self.oldest_ms..=self.newest_ms).contains(&exemplar.timestamp_ms);
        if let Ok(labels) = exemplar.labels()
            && in_time
        {
            self.write.exemplar(row, exemplar.timestamp_ms, exemplar.value, labels);
        }
    }

    fn metadata_v2(&mut self, series: v2::Series<'_>) {
        let Ok(Some(metadata)) = series.metadata() else { return };
        let Ok(canonical) = series.canonical(&mut self.canonical) else { return };
        let Some(name) = rangekeeper_model::metric_name_in(canonical) else { return };
        let family = family_of(name, metadata.metric_type).to_owned().into();
        self.family(&WireFamily { family, metadata });
    }

    fn is_of_one_kind(&mut self, series: v2::Series<'_>, samples: usize) -> bool {
        let histograms = series.histograms().count();
        if (samples == 0) != (histograms == 0) {
            return true;
        }
        let labels = self.shown_canonical();
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

    /// Whether a new series is within the limits. One that is known passed them once.
    fn judge(&self, labels: &Labels) -> Result<(), Reason> {
        if labels.len() > self.limits.labels {
            return Err(Reason::TooManyLabels);
        }
        for (name, value) in labels {
            if name.len() > self.limits.name_bytes {
                return Err(Reason::LabelNameTooLong);
            }
            if value.len() > self.limits.value_bytes {
                return Err(Reason::LabelValueTooLong);
            }
        }
        Ok(())
    }

    fn refuse_series(&mut self, reason: Reason, labels: &Labels, samples: u64) {
        let Limits { labels: most, name_bytes, value_bytes, .. } = *self.limits;
        self.refusals.add(reason, samples, || match reason {
            Reason::TooManyLabels => {
                format!("series {} has {} labels, allowed are {most}", Shown(labels), labels.len())
            }
            Reason::LabelNameTooLong => {
                format!("series {} has a label name of over {name_bytes} bytes", Shown(labels))
            }
            _ => format!("series {} has a label value of over {value_bytes} bytes", Shown(labels)),
        });
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
        if at_ms < self.oldest_ms {
            let oldest_ms = self.oldest_ms;
            self.refusals.add(Reason::TooOld, 1, || {
                format!(
                    "out of bounds: sample of series {labels} at {at_ms} is beyond retention, \
                     the oldest time taken is {oldest_ms}"
                )
            });
        } else {
            let newest_ms = self.newest_ms;
            self.refusals.add(Reason::TooFarAhead, 1, || {
                format!(
                    "out of bounds: sample of series {labels} at {at_ms} is too far in the future, \
                     the newest time taken is {newest_ms}"
                )
            });
        }
    }

    fn shown(&mut self, row: RowIndex) -> String {
        let canonical = match self.rows[row.number()] {
            Series::V1(series) => series.canonical(&mut self.canonical).map(<[u8]>::to_vec),
            Series::V2(series) => series.canonical(&mut self.canonical).map(<[u8]>::to_vec),
        };
        match canonical.map(|bytes| Labels::from_canonical(&bytes)) {
            Ok(Ok(labels)) => Shown(&labels).to_string(),
            _ => "with invalid labels".to_owned(),
        }
    }

    fn shown_canonical(&self) -> String {
        Labels::from_canonical(&self.canonical)
            .map_or_else(|_| "with invalid labels".to_owned(), |labels| Shown(&labels).to_string())
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
