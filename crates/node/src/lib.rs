//! One node: configuration, HTTP surface, start and stop; and the commands of the binary
//! `rangekeeper`.
//!
//! What receives, answers and stores lies behind the traits of [`services`]. Nothing here is
//! ambient: a [`node::Node`] is given its configuration, registry, memory and seed, so that many
//! fit into one process.

pub mod admission;
pub mod allocator;
pub mod cli;
pub mod command;
pub mod config;
pub mod http;
pub mod memory;
pub mod node;
pub mod open;
pub mod overview;
pub mod readiness;
pub mod server;
pub mod services;
pub mod version;
