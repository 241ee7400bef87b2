//! Bodies of the fuzz targets: what prost decodes, the walkers decode to the same content; of all
//! other bytes they say that they are malformed, or make something of them, but never panic.

#[cfg(test)]
mod tests;

use prost::Message;
use rangekeeper_model::{
    Buckets, CounterResetHint, Histogram, HistogramSample, Labels, METRIC_NAME, MetricType, Span,
};

use crate::proto::{v1 as message_v1, v2 as message_v2};
use crate::{DecodeError, Exemplar, Metadata, RawLabels, Sample, SeriesError, peer, v1, v2};

type Pairs = Vec<(String, String)>;

/// A float sample: timestamp, start, bits of the value.
type PlainSample = (i64, i64, u64);
/// A histogram sample: timestamp, start, bytes of the histogram.
type PlainHistogram = (i64, i64, Vec<u8>);
/// An exemplar: timestamp, bits of the value, labels if they are valid.
type PlainExemplar = (i64, u64, Option<Labels>);
/// Metadata: type, help, unit.
type PlainMetadata = (MetricType, String, String);

/// All that a series says, floats by their bits.
#[derive(Debug, PartialEq)]
struct PlainSeries {
    /// Canonical, if they are valid.
    labels: Option<Labels>,
    samples: Vec<PlainSample>,
    histograms: Vec<PlainHistogram>,
    exemplars: Vec<PlainExemplar>,
    /// In remote write 2.0.
    metadata: SeriesMetadata,
}

#[derive(Debug, PartialEq)]
enum SeriesMetadata {
    Absent,
    RefOutOfRange,
    Given(PlainMetadata),
}

#[derive(Debug, Default, PartialEq)]
struct PlainRequest {
    series: Vec<PlainSeries>,
    metadata: Vec<(String, PlainMetadata)>,
}

/// Walks `data` as an uncompressed body of remote write 1.0.
pub fn remote_write_v1(data: &[u8]) {
    let walked = walk_v1(data);
    if let Ok(request) = message_v1::WriteRequest::decode(data) {
        assert_eq!(walked, Ok(plain_v1(&request)));
    }
}

/// Walks `data` as an uncompressed body of remote write 2.0.
pub fn remote_write_v2(data: &[u8]) {
    let walked = walk_v2(data);
    if let Ok(request) = message_v2::Request::decode(data) {
        match request.symbols.first() {
            None => assert_eq!(walked, Err(v2::RequestError::NoSymbols)),
            Some(first) if !first.is_empty() => {
                assert_eq!(walked, Err(v2::RequestError::FirstSymbol));
            }
            Some(_) => assert_eq!(walked, Ok(plain_v2(&request))),
        }
    }
}

/// Walks `data` as a frame of rows between nodes, with all that is in it.
pub fn peer_frame(data: &[u8]) {
    for part in peer::frame(data) {
        match part {
            Err(_) => return,
            Ok(peer::Part::Request(request)) => {
                request.metadata().for_each(drop);
            }
            Ok(peer::Part::Row(row)) => {
                assert_eq!(row.samples().count(), row.samples().len());
                if let Some(rest) = row.rest() {
                    rest.histograms().for_each(drop);
                    rest.exemplars().for_each(drop);
                }
            }
        }
    }
}

fn walk_v1(data: &[u8]) -> Result<PlainRequest, DecodeError> {
    let mut request = PlainRequest::default();
    let mut bytes = Vec::new();
    for entry in v1::entries(data) {
        match entry? {
            v1::Entry::Metadata(entry) => {
                let metadata = plain_metadata(&entry.metadata);
                request.metadata.push((entry.family.into_owned(), metadata));
            }
            v1::Entry::Series(series) => {
                let labels = walked_labels(&series.canonical(&mut bytes))?;
                if let Some(labels) = &labels {
                    check_run(labels, series.labels());
                }
                let histograms = series.histograms().map(|h| h.map(|h| plain_histogram(&h)));
                request.series.push(PlainSeries {
                    labels,
                    samples: series.samples().map(plain_sample).collect::<Result<_, _>>()?,
                    histograms: histograms.collect::<Result<_, _>>()?,
                    exemplars: series.exemplars().map(walked_exemplar).collect::<Result<_, _>>()?,
                    metadata: SeriesMetadata::Absent,
                });
            }
        }
    }
    Ok(request)
}

/// A run that is canonical is the labels.
fn check_run(labels: &Labels, raw: RawLabels<'_>) {
    if let RawLabels::Run(run) = raw
        && let Ok(run) = Labels::from_canonical(run)
    {
        assert_eq!(run, *labels);
    }
}

fn walk_v2(data: &[u8]) -> Result<PlainRequest, v2::RequestError> {
    let mut request = PlainRequest::default();
    let (mut scratch, mut bytes) = (v2::Scratch::new(), Vec::new());
    for series in scratch.read(data)?.series() {
        let series = series?;
        let metadata = match series.metadata() {
            Ok(Some(metadata)) => SeriesMetadata::Given(plain_metadata(&metadata.text())),
            Ok(None) => SeriesMetadata::Absent,
            Err(SeriesError::Malformed(error)) => return Err(error.into()),
            Err(_) => SeriesMetadata::RefOutOfRange,
        };
        let histograms = series.histograms().map(|h| h.map(|h| plain_histogram(&h)));
        request.series.push(PlainSeries {
            labels: walked_labels(&series.canonical(&mut bytes))?,
            samples: series.samples().map(plain_sample).collect::<Result<_, _>>()?,
            histograms: histograms.collect::<Result<_, _>>()?,
            exemplars: series.exemplars().map(walked_exemplar).collect::<Result<_, _>>()?,
            metadata,
        });
    }
    Ok(request)
}

fn walked_labels(canonical: &Result<&[u8], SeriesError>) -> Result<Option<Labels>, DecodeError> {
    match canonical {
        Ok(bytes) => Ok(Some(Labels::from_canonical(bytes).expect("the walker says so"))),
        Err(SeriesError::Malformed(error)) => Err(*error),
        Err(_) => Ok(None),
    }
}

fn walked_exemplar(
    exemplar: Result<Exemplar<'_>, DecodeError>,
) -> Result<PlainExemplar, DecodeError> {
    let exemplar = exemplar?;
    let labels = match exemplar.labels() {
        Err(SeriesError::Malformed(error)) => return Err(error),
        labels => labels.ok(),
    };
    Ok((exemplar.timestamp_ms, exemplar.value.to_bits(), labels))
}

fn plain_sample(sample: Result<Sample, DecodeError>) -> Result<PlainSample, DecodeError> {
    sample.map(|sample| (sample.timestamp_ms, sample.start_ms, sample.value.to_bits()))
}

fn plain_histogram(sample: &HistogramSample) -> PlainHistogram {
    (sample.timestamp_ms, sample.start_ms, sample.histogram.canonical_bytes())
}

fn plain_metadata(metadata: &Metadata<'_>) -> PlainMetadata {
    (metadata.metric_type, metadata.help.to_string(), metadata.unit.to_string())
}

fn series_labels(pairs: Pairs) -> Option<Labels> {
    let labels = Labels::from_pairs(pairs).ok()?;
    labels.value(METRIC_NAME).is_some().then_some(labels)
}

fn plain_v1(request: &message_v1::WriteRequest) -> PlainRequest {
    let pairs = |labels: &[message_v1::Label]| -> Pairs {
        labels.iter().map(|label| (label.name.clone(), label.value.clone())).collect()
    };
    let series = request.timeseries.iter().map(|series| PlainSeries {
        labels: series_labels(pairs(&series.labels)),
        samples: series.samples.iter().map(|s| (s.timestamp, 0, s.value.to_bits())).collect(),
        histograms: series.histograms.iter().map(histogram_v1).collect(),
        exemplars: (series.exemplars.iter())
            .map(|e| (e.timestamp, e.value.to_bits(), Labels::from_pairs(pairs(&e.labels)).ok()))
            .collect(),
        metadata: SeriesMetadata::Absent,
    });
    let metadata = request.metadata.iter().map(|entry| {
        let plain = (metric_type(entry.r#type), entry.help.clone(), entry.unit.clone());
        (entry.metric_family_name.clone(), plain)
    });
    PlainRequest { series: series.collect(), metadata: metadata.collect() }
}

fn plain_v2(request: &message_v2::Request) -> PlainRequest {
    let text = |reference: u32| request.symbols.get(reference as usize).cloned();
    let pairs = |refs: &[u32]| -> Option<Pairs> {
        let (chunks, odd) = refs.as_chunks::<2>();
        let pairs = chunks.iter().map(|&[name, value]| Some((text(name)?, text(value)?)));
        odd.is_empty().then(|| pairs.collect())?
    };
    let start = |own: i64, series: &message_v2::TimeSeries| match own {
        0 => series.created_timestamp,
        own => own,
    };
    let plain_exemplar = |e: &message_v2::Exemplar| {
        let labels = pairs(&e.labels_refs).and_then(|pairs| Labels::from_pairs(pairs).ok());
        (e.timestamp, e.value.to_bits(), labels)
    };
    let series = request.timeseries.iter().map(|series| PlainSeries {
        labels: pairs(&series.labels_refs).and_then(series_labels),
        samples: (series.samples.iter())
            .map(|s| (s.timestamp, start(s.start_timestamp, series), s.value.to_bits()))
            .collect(),
        histograms: (series.histograms.iter().map(histogram_v2))
            .map(|(timestamp, own, bytes)| (timestamp, start(own, series), bytes))
            .collect(),
        exemplars: series.exemplars.iter().map(plain_exemplar).collect(),
        metadata: match &series.metadata {
            None => SeriesMetadata::Absent,
            Some(metadata) => match (text(metadata.help_ref), text(metadata.unit_ref)) {
                (Some(help), Some(unit)) => {
                    SeriesMetadata::Given((metric_type(metadata.r#type), help, unit))
                }
                _ => SeriesMetadata::RefOutOfRange,
            },
        },
    });
    PlainRequest { series: series.collect(), metadata: Vec::new() }
}

fn metric_type(number: i32) -> MetricType {
    u8::try_from(number).map_or(MetricType::Unknown, MetricType::from_number)
}

/// The two versions' histograms are of one shape and of two types.
macro_rules! histogram_of {
    ($name:ident, $message:ident) => {
        fn $name(message: &$message::Histogram) -> PlainHistogram {
            use $message::histogram::{Count, ZeroCount};
            let spans = |spans: &[$message::BucketSpan]| -> Vec<Span> {
                spans.iter().map(|s| Span { offset: s.offset, length: s.length }).collect()
            };
            let buckets = if let Some(Count::CountFloat(count)) = message.count {
                let zero_count = match message.zero_count {
                    Some(ZeroCount::ZeroCountFloat(zero_count)) => zero_count,
                    _ => 0.0,
                };
                let positive = message.positive_counts.clone();
                let negative = message.negative_counts.clone();
                Buckets::Float { count, zero_count, positive, negative }
            } else {
                let count = match message.count {
                    Some(Count::CountInt(count)) => count,
                    _ => 0,
                };
                let zero_count = match message.zero_count {
                    Some(ZeroCount::ZeroCountInt(zero_count)) => zero_count,
                    _ => 0,
                };
                let positive = message.positive_deltas.clone();
                let negative = message.negative_deltas.clone();
                Buckets::Integer { count, zero_count, positive, negative }
            };
            let histogram = Histogram {
                reset_hint: reset_hint(message.reset_hint),
                schema: message.schema,
                zero_threshold: message.zero_threshold,
                sum: message.sum,
                buckets,
                positive_spans: spans(&message.positive_spans),
                negative_spans: spans(&message.negative_spans),
                custom_values: message.custom_values.clone(),
            };
            (message.timestamp, message.start_timestamp, histogram.canonical_bytes())
        }
    };
}

histogram_of!(histogram_v1, message_v1);
histogram_of!(histogram_v2, message_v2);

fn reset_hint(number: i32) -> CounterResetHint {
    match number {
        1 => CounterResetHint::Reset,
        2 => CounterResetHint::NotReset,
        3 => CounterResetHint::Gauge,
        _ => CounterResetHint::Unknown,
    }
}
