//! Drives the built binary `rangekeeper` as its users do: as a process, over HTTP, beside real
//! senders and peers. Nothing here links the product's own crates, so that a mistake of theirs
//! cannot cancel itself out, and so that this package compiles without RocksDB.
//!
//! Two programs live here (`rangekeeper-demo`, `rangekeeper-compare`), and the tests that kill the
//! process, take its power away and fill its disk.

pub mod answers;
pub mod api;
pub mod comparison;
pub mod faults;
pub mod fleet;
pub mod folder;
pub mod interrupt;
pub mod ledger;
pub mod links;
pub mod namespaces;
pub mod node;
pub mod peers;
pub mod poll;
pub mod power;
pub mod process;
pub mod programs;
pub mod remote_write;
pub mod scraping;
pub mod slow;
pub mod stopwatch;
pub mod trio;
pub mod workload;
pub mod zookeeper;

#[path = "../../powerloss/src/table.rs"]
mod table;
