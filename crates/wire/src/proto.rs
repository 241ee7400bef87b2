//! The messages of `proto/` as plain structs. They serve everything that is not hot; requests are
//! read by the walkers of [`crate::v1`] and [`crate::v2`].

/// Remote write 1.0.
#[allow(missing_docs, clippy::pedantic, reason = "generated code")]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/prometheus.rs"));
}

/// Remote write 2.0.
#[allow(missing_docs, clippy::pedantic, reason = "generated code")]
pub mod v2 {
    include!(concat!(env!("OUT_DIR"), "/io.prometheus.write.v2.rs"));
}

/// What nodes say to each other.
#[allow(missing_docs, clippy::pedantic, reason = "generated code")]
pub mod peer {
    include!(concat!(env!("OUT_DIR"), "/rangekeeper.peer.rs"));
}
