//! Receiving from the body to the store: what is refused and how that is told, and that all else is
//! kept as it was sent.

mod harness;
mod keeping;
mod metadata;
mod refusals;
