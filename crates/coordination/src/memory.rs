//! A model of an ensemble of ZooKeeper in memory: what a client of it sees, good and bad.
//!
//! Writes are carried out one after the other; reads may be old; watches fire once and, after a
//! reconnect, for what was missed; an answer may be lost with its write carried out or not; a
//! client gives up its session by itself after 1.4 session timeouts while the server still has it;
//! a packet that is too large closes the connection without a word.
//!
//! There is no I/O, and all time is tokio's: in a runtime with one thread and a paused clock, equal
//! seeds give equal runs.

mod client;
mod faults;
mod tree;
mod world;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use self::client::Client;
use self::world::World;
use crate::Address;
use crate::znodes::Ensemble;

/// The modelled ensemble. Clones are the same one. It needs a tokio runtime around it.
#[derive(Clone)]
pub struct MemoryEnsemble {
    world: Arc<Mutex<World>>,
}

/// What becomes of a write whose answer is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is carried out.
    Applied,
    /// It never arrives.
    Lost,
}

impl std::fmt::Debug for MemoryEnsemble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryEnsemble").finish_non_exhaustive()
    }
}

impl MemoryEnsemble {
    /// An empty ensemble; latencies and pauses come from `seed`.
    pub fn new(seed: u64) -> Self {
        Self { world: Arc::new(Mutex::new(World::new(seed))) }
    }

    /// What the process `name` connects to. Faults are told by that name; `address` gives the root,
    /// its servers do not matter.
    pub fn client(&self, name: &str, address: &Address, session_timeout: Duration) -> Ensemble {
        let client =
            Client { world: Arc::clone(&self.world), name: name.to_owned(), session_timeout };
        Ensemble { connect: Arc::new(client), root: address.root().to_owned() }
    }

    /// What is at `path`, past all sessions.
    pub fn read(&self, path: &str) -> Option<Bytes> {
        self.world.lock().tree.nodes.get(path).map(|node| node.data.clone())
    }
}
