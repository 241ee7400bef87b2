//! What a sender says of a metric family: type, help, unit.

use std::borrow::Cow;

use rangekeeper_model::MetricType;

use crate::cursor::{BYTES, Cursor, VARINT, fields, key};
use crate::error::DecodeError;

const TYPE: u32 = key(1, VARINT);
const FAMILY: u32 = key(2, BYTES);
const HELP: u32 = key(4, BYTES);
const UNIT: u32 = key(5, BYTES);
const METADATA_FIELDS: u32 = fields(&[1, 2, 4, 5]);

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

/// Both versions number the types alike; a number that came later is unknown.
pub(crate) fn read_type(message: &mut Cursor<'_>) -> Result<MetricType, DecodeError> {
    let number = message.uint32()?;
    Ok(u8::try_from(number).map_or(MetricType::Unknown, MetricType::from_number))
}
