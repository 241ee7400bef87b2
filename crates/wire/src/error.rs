//! Bytes that are no protobuf message of the expected shape.

use rangekeeper_model::ErrorClass;

/// Where and how a message is malformed. The request as a whole can't be taken: nothing after that
/// byte can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed protobuf at byte {offset}: {fault}")]
pub struct DecodeError {
    /// Byte of the uncompressed body.
    pub offset: usize,
    /// What is wrong there.
    pub fault: Fault,
}

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A field reaches beyond the end of the message that holds it.
    #[error("a field is cut off")]
    Truncated,
    /// A varint is longer than ten bytes or overflows 64 bits.
    #[error("a varint does not fit into 64 bits")]
    Varint,
    /// A field number or wire type that does not exist.
    #[error("{0} is no field key")]
    Key(u64),
    /// A field of the message has a wire type that is not its own.
    #[error("field {0} has the wrong wire type")]
    WireType(u32),
    /// A group without an end, an end without a group, or groups nested too deeply.
    #[error("groups are not balanced")]
    Group,
    /// No tenant has this name.
    #[error("it names no tenant")]
    Tenant,
    /// Label bytes are not canonical.
    #[error("labels are not canonical")]
    Labels,
    /// The body is longer than offsets into it can say.
    #[error("the body is longer than 4 GiB")]
    TooLong,
}

impl DecodeError {
    /// Malformed bytes never become well-formed.
    pub fn class(&self) -> ErrorClass {
        ErrorClass::Invalid
    }
}
