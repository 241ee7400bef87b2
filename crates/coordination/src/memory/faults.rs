//! What can be done to the modelled ensemble and its clients.

use tokio::time::Instant;

use super::world::{Condition, ServerSession, World, settle};
use super::{Fate, MemoryEnsemble};
use crate::znodes::{Lifetime, Operation};

impl MemoryEnsemble {
    /// Cuts the process `name` off from all servers. Its session goes on at the servers until it
    /// times out there.
    pub fn cut(&self, name: &str) {
        self.change(|world| {
            world.faults(name).is_cut = true;
            for id in world.clients_of(name) {
                world.disconnect(id);
            }
        });
    }

    /// Lets `name` reach the servers again.
    pub fn mend(&self, name: &str) {
        self.change(|world| world.faults(name).is_cut = false);
    }

    /// Kills all servers. Nobody counts time for the sessions, so they outlive it.
    pub fn kill_all(&self) {
        self.change(|world| {
            world.ensemble = Condition::Down;
            world.disconnect_all();
            for session in world.sessions.values_mut() {
                session.ends = None;
            }
        });
    }

    /// Starts all servers. Every session has its whole timeout from now on, also those that their
    /// clients have given up.
    pub fn start_all(&self) {
        self.change(|world| {
            world.ensemble = Condition::Up;
            let now = Instant::now();
            for ServerSession { timeout, ends } in world.sessions.values_mut() {
                *ends = Some(now + *timeout);
            }
        });
    }

    /// Stops all servers where they are: nothing is answered, and what arrives is carried out when
    /// they go on.
    pub fn stop_all(&self) {
        self.change(|world| {
            let now = Instant::now();
            world.ensemble = Condition::Still;
            world.still_since = Some(now);
            for session in world.sessions.values_mut() {
                session.ends.get_or_insert(now + session.timeout);
            }
        });
    }

    /// Lets stopped servers go on. Sessions whose time has passed meanwhile are over.
    pub fn resume_all(&self) {
        self.change(|world| {
            world.ensemble = Condition::Up;
            world.still_since = None;
            let connected: Vec<i64> = world
                .clients
                .values()
                .filter(|client| client.lost.is_none())
                .map(|client| client.server_id)
                .collect();
            let now = Instant::now();
            for (id, session) in &mut world.sessions {
                let is_over = session.ends.is_some_and(|ends| ends <= now);
                if connected.contains(id) && !is_over {
                    session.ends = None;
                }
            }
        });
    }

    /// Ends the session of `name` at the servers; the client hears it when it next connects, at
    /// once.
    pub fn expire(&self, name: &str) {
        self.change(|world| {
            for id in world.clients_of(name) {
                let server_id = world.clients[&id].server_id;
                world.expire(server_id);
            }
        });
    }

    /// Takes the connection of `name` away once; it connects again by itself.
    pub fn interrupt(&self, name: &str) {
        self.change(|world| {
            for id in world.clients_of(name) {
                world.disconnect(id);
            }
        });
    }

    /// Loses the answer to the next write of `name`, and the connection with it.
    pub fn lose_next_answer(&self, name: &str, fate: Fate) {
        self.change(|world| world.faults(name).next_write = Some(fate));
    }

    /// Shows `name` the nodes as they are now, whatever happens, until it writes itself or
    /// [`Self::catch_up`].
    pub fn lag(&self, name: &str) {
        self.change(|world| {
            let nodes = world.tree.nodes.clone();
            world.faults(name).view = Some(nodes);
        });
    }

    /// Shows `name` the nodes as they are.
    pub fn catch_up(&self, name: &str) {
        self.change(|world| world.faults(name).view = None);
    }

    /// Keeps the events of `name` back.
    pub fn hold_watches(&self, name: &str) {
        self.change(|world| world.faults(name).holds_watches = true);
    }

    /// Delivers the events of `name`.
    pub fn release_watches(&self, name: &str) {
        self.change(|world| world.faults(name).holds_watches = false);
    }

    /// Gives `name` another session in place of its own without telling it, as some servers do that
    /// are not ZooKeeper: what was bound to the old one is gone.
    pub fn replace_session(&self, name: &str) {
        self.change(|world| {
            for id in world.clients_of(name) {
                let (old, timeout) = {
                    let client = &world.clients[&id];
                    (client.server_id, client.timeout)
                };
                world.expire(old);
                let new = world.new_id();
                world.sessions.insert(new, ServerSession { timeout, ends: None });
                world.clients.get_mut(&id).expect("it is there, see above").server_id = new;
                world.disconnect(id);
            }
        });
    }

    /// Deletes a node as an operator would, past all sessions; says whether it was there.
    pub fn delete(&self, path: &str) -> bool {
        let mut was_there = false;
        self.change(|world| {
            if let Some(node) = world.tree.nodes.get(path) {
                let delete = Operation::delete(path, node.version);
                was_there = world.tree.commit(&[delete], 0).is_ok();
            }
        });
        was_there
    }

    /// Makes a persistent node as an operator would.
    pub fn create(&self, path: &str, data: &[u8]) {
        let data = bytes::Bytes::copy_from_slice(data);
        let create = Operation::create(path, data, Lifetime::Persistent);
        self.change(|world| {
            // Where it cannot be made it is not there; whoever looks sees that.
            let _ = world.tree.commit(&[create], 0);
        });
    }

    fn change(&self, change: impl FnOnce(&mut World)) {
        change(&mut self.world.lock());
        settle(&self.world);
    }
}
