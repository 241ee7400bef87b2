//! A node through its public surface: configuration, HTTP, start and stop, and the lists of what it
//! promises to keep.
//!
//! Nodes run in this process on port 0, with a stand-in for the store behind them; those that have
//! to keep the rules of remote write have a real one.

mod cluster;
mod config;
mod conformance;
mod contracts;
mod harness;
mod life;
mod membership;
mod reading;
mod writing;
