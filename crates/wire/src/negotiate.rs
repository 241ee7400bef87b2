//! Which message a body holds, told by its headers before anything of it is read.

use rangekeeper_model::ErrorClass;

/// The media type of every remote write body.
pub const MEDIA_TYPE: &str = "application/x-protobuf";
/// The name of the message of remote write 1.0.
pub const MESSAGE_V1: &str = "prometheus.WriteRequest";
/// The name of the message of remote write 2.0.
pub const MESSAGE_V2: &str = "io.prometheus.write.v2.Request";

/// A version of the remote write protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// 1.0, `prometheus.WriteRequest`.
    V1,
    /// 2.0, `io.prometheus.write.v2.Request`.
    V2,
}

impl Version {
    /// The content type of its bodies.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::V1 => "application/x-protobuf",
            Self::V2 => "application/x-protobuf;proto=io.prometheus.write.v2.Request",
        }
    }
}

/// Why a body is not read, in the words that Prometheus uses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NegotiationError {
    /// The media type is another one.
    #[error("expected application/x-protobuf as the first (media) part, got {0} content-type")]
    MediaType(String),
    /// A parameter of the content type is no `key=value`.
    #[error("expected parameters to be key-values, got {parameter} in {content_type} content-type")]
    Parameter {
        /// The parameter.
        parameter: String,
        /// The whole header.
        content_type: String,
    },
    /// The message is one that does not exist.
    #[error(
        "got {content_type} content type; unknown type for remote write protobuf message \
         {message}, supported: {MESSAGE_V1}, {MESSAGE_V2}"
    )]
    Message {
        /// The message's name.
        message: String,
        /// The whole header.
        content_type: String,
    },
    /// The compression is another one.
    #[error(
        "{encoding} encoding (compression) is not accepted by this server; \
         only snappy is acceptable"
    )]
    Encoding {
        /// The compression.
        encoding: String,
        /// Which message is compressed.
        version: Version,
    },
}

impl NegotiationError {
    /// What kind of failure it is.
    pub fn class(&self) -> ErrorClass {
        ErrorClass::Unsupported
    }

    /// The version in which the sender expects its answer, as far as it said.
    pub fn version(&self) -> Option<Version> {
        match self {
            Self::Encoding { version, .. } => Some(*version),
            _ => None,
        }
    }
}

/// Reads the headers `Content-Type` and `Content-Encoding`; where one is missing, Snappy and remote
/// write 1.0 are meant. Spaces, case and quotes make no difference.
pub fn negotiate(
    content_type: Option<&str>,
    content_encoding: Option<&str>,
) -> Result<Version, NegotiationError> {
    let version = message_version(content_type.unwrap_or_default())?;
    let encoding = content_encoding.unwrap_or_default().trim();
    if !encoding.is_empty() && !encoding.eq_ignore_ascii_case("snappy") {
        return Err(NegotiationError::Encoding { encoding: encoding.to_owned(), version });
    }
    Ok(version)
}

fn message_version(content_type: &str) -> Result<Version, NegotiationError> {
    if content_type.trim().is_empty() {
        return Ok(Version::V1);
    }
    let mut parts = content_type.split(';').map(str::trim);
    if !parts.next().is_some_and(|media| media.eq_ignore_ascii_case(MEDIA_TYPE)) {
        return Err(NegotiationError::MediaType(content_type.to_owned()));
    }
    for parameter in parts.filter(|p| !p.is_empty()) {
        let Some((name, value)) = parameter.split_once('=') else {
            return Err(NegotiationError::Parameter {
                parameter: parameter.to_owned(),
                content_type: content_type.to_owned(),
            });
        };
        if !name.trim().eq_ignore_ascii_case("proto") {
            continue;
        }
        let message = value.trim().trim_matches('"').trim();
        return match message {
            _ if message.eq_ignore_ascii_case(MESSAGE_V1) => Ok(Version::V1),
            _ if message.eq_ignore_ascii_case(MESSAGE_V2) => Ok(Version::V2),
            _ => Err(NegotiationError::Message {
                message: message.to_owned(),
                content_type: content_type.to_owned(),
            }),
        };
    }
    Ok(Version::V1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_headers_mean_snappy_and_the_first_version() {
        for (content_type, encoding) in [(None, None), (Some(""), Some("")), (None, Some("snappy"))]
        {
            assert_eq!(negotiate(content_type, encoding), Ok(Version::V1));
        }
    }

    #[test]
    fn the_message_is_told_by_a_parameter_however_it_is_written() {
        let of = |text| negotiate(Some(text), Some(" Snappy "));
        for version in [Version::V1, Version::V2] {
            assert_eq!(of(version.content_type()), Ok(version));
        }
        assert_eq!(of("application/x-protobuf;proto=prometheus.WriteRequest"), Ok(Version::V1));
        assert_eq!(
            of("Application/X-Protobuf ; charset=x; PROTO = \"io.prometheus.write.v2.Request\" ;"),
            Ok(Version::V2)
        );
    }

    #[test]
    fn anything_else_is_unsupported_in_the_words_of_prometheus() {
        let text = |content_type, encoding| {
            let error = negotiate(Some(content_type), Some(encoding)).unwrap_err();
            assert_eq!(error.class(), ErrorClass::Unsupported);
            error.to_string()
        };
        assert_eq!(
            text("image/png", "snappy"),
            "expected application/x-protobuf as the first (media) part, got image/png content-type"
        );
        assert_eq!(
            text("application/x-protobuf;proto=foo", "snappy"),
            "got application/x-protobuf;proto=foo content type; unknown type for remote write \
             protobuf message foo, supported: prometheus.WriteRequest, \
             io.prometheus.write.v2.Request"
        );
        assert_eq!(
            text("application/x-protobuf", "zstd"),
            "zstd encoding (compression) is not accepted by this server; only snappy is acceptable"
        );
        assert!(text("application/x-protobuf;proto", "snappy").contains("key-values, got proto"));
    }
}
