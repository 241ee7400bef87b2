//! What comes and goes over the wire: remote write 1.0 and 2.0 as walks over the bytes where they
//! lie, Snappy, and the headers that tell what a body is; and the rows that nodes send each other.
//!
//! The way of a request: [`negotiate()`] says which version it is, [`decompress`] uncompresses it
//! into a buffer that is used again, [`v1::entries`] or [`v2::Scratch::read`] walks it. What is
//! malformed is lost as a whole ([`DecodeError`]); what is wrong with one series concerns that
//! series ([`SeriesError`]). Limits are the caller's.

mod cursor;
pub mod encode;
mod error;
mod exemplar;
#[doc(hidden)]
pub mod fuzz;
mod histogram;
mod labels;
mod metadata;
mod negotiate;
pub mod peer;
pub mod proto;
mod sample;
mod snappy;
pub mod v1;
pub mod v2;

pub use error::{DecodeError, Fault};
pub use exemplar::{Exemplar, Exemplars};
pub use histogram::{Histograms, histogram_message};
pub use labels::{LabelFault, RawLabels, SeriesError};
pub use metadata::{FamilyMetadata, Metadata};
pub use negotiate::{MEDIA_TYPE, MESSAGE_V1, MESSAGE_V2, NegotiationError, Version, negotiate};
pub use sample::{Sample, Samples};
pub use snappy::{SnappyError, declared_bytes, decompress};
