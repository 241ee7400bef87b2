//! What a sender says of a metric family: type, help, unit.

use std::borrow::Cow;

use crate::cursor::{BYTES, Cursor, VARINT, fields, key};
use crate::error::DecodeError;

const TYPE: u32 = key(1, VARINT);
const FAMILY: u32 = key(2, BYTES);
const HELP: u32 = key(4, BYTES);
const UNIT: u32 = key(5, BYTES);
const METADATA_FIELDS: u32 = fields(&[1, 2, 4, 5]);

/// The type of a metric family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MetricType {
    /// Not said, or a type that came later.
    #[default]
    Unknown,
    /// A counter.
    Counter,
    /// A gauge.
    Gauge,
    /// A classic or native histogram.
    Histogram,
    /// A histogram of current values.
    GaugeHistogram,
    /// A summary.
    Summary,
    /// Text as labels, value 1.
    Info,
    /// A set of booleans.
    StateSet,
}

impl MetricType {
    /// Its name in Prometheus' API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::GaugeHistogram => "gaugehistogram",
            Self::Summary => "summary",
            Self::Info => "info",
            Self::StateSet => "stateset",
        }
    }

    /// Both versions number the types alike.
    pub(crate) fn from_number(number: u32) -> Self {
        match number {
            1 => Self::Counter,
            2 => Self::Gauge,
            3 => Self::Histogram,
            4 => Self::GaugeHistogram,
            5 => Self::Summary,
            6 => Self::Info,
            7 => Self::StateSet,
            _ => Self::Unknown,
        }
    }
}

/// The metadata of one family. Texts that are not UTF-8 have replacement characters: they are
/// shown, never compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata<'a> {
    /// The type.
    pub metric_type: MetricType,
    /// The help text.
    pub help: Cow<'a, str>,
    /// The unit.
    pub unit: Cow<'a, str>,
}

/// Metadata that stands alone in a request of remote write 1.0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FamilyMetadata<'a> {
    /// The name of the metric family.
    pub family: Cow<'a, str>,
    /// What is said of it.
    pub metadata: Metadata<'a>,
}

impl<'a> FamilyMetadata<'a> {
    pub(crate) fn read(mut message: Cursor<'a>) -> Result<Self, DecodeError> {
        let mut out = Self::default();
        while !message.is_done() {
            match message.key()? {
                TYPE => out.metadata.metric_type = read_type(&mut message)?,
                FAMILY => out.family = String::from_utf8_lossy(message.bytes()?),
                HELP => out.metadata.help = String::from_utf8_lossy(message.bytes()?),
                UNIT => out.metadata.unit = String::from_utf8_lossy(message.bytes()?),
                other => message.skip_unknown(other, METADATA_FIELDS)?,
            }
        }
        Ok(out)
    }
}

pub(crate) fn read_type(message: &mut Cursor<'_>) -> Result<MetricType, DecodeError> {
    let number = message.uint32()?;
    Ok(MetricType::from_number(number))
}
