//! Servers, sessions, connections and time.
//!
//! Whatever changes ends in [`World::settle`], which ends what is due, connects what can be, and
//! lets watches fire. Timers only call it at the right moment, so it may be called at any.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::Fate;
use super::tree::{Nodes, Tree, children};
use crate::znodes::{End, Failure, Link, Operation};

/// The greatest packet that a server takes.
const PACKET_LIMIT_BYTES: usize = 1024 * 1024;

/// The longest that a request is under way in one direction, and that a reconnect takes.
const LATENCY: Duration = Duration::from_millis(2);
const RECONNECT: Duration = Duration::from_millis(40);

pub(super) struct World {
    pub(super) tree: Tree,
    pub(super) ensemble: Condition,
    /// Since when the servers stand still.
    pub(super) still_since: Option<Instant>,
    pub(super) faults: BTreeMap<String, Faults>,
    /// Sessions that the server has, by its id, with the moment they end if nobody connects.
    pub(super) sessions: BTreeMap<i64, ServerSession>,
    /// Sessions that clients have, by the id they were given.
    pub(super) clients: BTreeMap<i64, ClientSession>,
    /// Writes that arrived at servers that stand still.
    pub(super) waiting: Vec<(i64, Vec<Operation>)>,
    last_id: i64,
    /// When the next timer runs.
    timer: Option<Instant>,
    random: fastrand::Rng,
}

/// What the servers do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    Up,
    /// They run no more, and all connections are gone.
    Down,
    /// They are there and do nothing: nothing is answered, nothing is lost.
    Still,
}

/// What is wrong with a process.
#[derive(Default)]
pub(super) struct Faults {
    pub(super) is_cut: bool,
    /// Its server lags: it sees the nodes as they were.
    pub(super) view: Option<Nodes>,
    pub(super) holds_watches: bool,
    pub(super) next_write: Option<Fate>,
}

pub(super) struct ServerSession {
    pub(super) timeout: Duration,
    /// `None` while its client is connected, or nobody counts.
    pub(super) ends: Option<Instant>,
}

pub(super) struct ClientSession {
    pub(super) name: String,
    pub(super) timeout: Duration,
    /// The session that the server takes it for.
    pub(super) server_id: i64,
    pub(super) link: watch::Sender<Link>,
    /// Connections so far: an answer comes only to the one that asked.
    pub(super) connection: u64,
    /// When it lost its connection, and when it tries to connect again.
    pub(super) lost: Option<Instant>,
    pub(super) retry: Option<Instant>,
    watches: Vec<Armed>,
}

/// A watch that has not fired.
struct Armed {
    path: String,
    on: WatchOn,
    /// What was seen when it was set.
    seen: Option<(i64, i64)>,
    fire: oneshot::Sender<()>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WatchOn {
    Node,
    Children,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            tree: Tree::new(),
            ensemble: Condition::Up,
            still_since: None,
            faults: BTreeMap::new(),
            sessions: BTreeMap::new(),
            clients: BTreeMap::new(),
            waiting: Vec::new(),
            last_id: 0x1000,
            timer: None,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    pub(super) fn latency(&mut self) -> Duration {
        LATENCY.mul_f64(self.random.f64())
    }

    pub(super) fn faults(&mut self, name: &str) -> &mut Faults {
        self.faults.entry(name.to_owned()).or_default()
    }

    pub(super) fn new_id(&mut self) -> i64 {
        self.last_id += 1;
        self.last_id
    }

    /// Whether `name` reaches a server that answers.
    pub(super) fn is_reachable(&mut self, name: &str) -> bool {
        self.ensemble == Condition::Up && !self.faults(name).is_cut
    }

    /// A new session; its id is both the client's and the server's.
    pub(super) fn open(&mut self, name: &str, timeout: Duration) -> i64 {
        let id = self.new_id();
        self.sessions.insert(id, ServerSession { timeout, ends: None });
        let client = ClientSession {
            name: name.to_owned(),
            timeout,
            server_id: id,
            link: watch::Sender::new(Link::Connected),
            connection: 0,
            lost: None,
            retry: None,
            watches: Vec::new(),
        };
        self.clients.insert(id, client);
        id
    }

    /// Takes the connection of a client away; it will try for another.
    pub(super) fn disconnect(&mut self, id: i64) {
        let now = Instant::now();
        let retry = now + RECONNECT.mul_f64(self.random.f64());
        let Some(client) = self.clients.get_mut(&id) else { return };
        if *client.link.borrow() != Link::Connected {
            return;
        }
        client.connection += 1;
        // The client counts from the last that it heard.
        client.lost = Some(self.still_since.unwrap_or(now));
        client.retry = Some(retry);
        client.link.send_replace(Link::Disconnected);
        let Some(session) = self.sessions.get_mut(&client.server_id) else { return };
        match self.ensemble {
            Condition::Up => session.ends = Some(now + session.timeout),
            Condition::Down => session.ends = None,
            // Already counted, from when they stopped.
            Condition::Still => {}
        }
    }

    pub(super) fn disconnect_all(&mut self) {
        for id in self.clients.keys().copied().collect::<Vec<_>>() {
            self.disconnect(id);
        }
    }

    /// The clients of a process.
    pub(super) fn clients_of(&self, name: &str) -> Vec<i64> {
        self.clients.iter().filter(|(_, c)| c.name == name).map(|(id, _)| *id).collect()
    }

    /// Ends a session at the servers.
    pub(super) fn expire(&mut self, server_id: i64) {
        if self.sessions.remove(&server_id).is_some() {
            self.tree.end(server_id);
        }
    }

    /// Ends a session at its client, which learns it by `end`.
    pub(super) fn end(&mut self, id: i64, end: End) {
        if let Some(client) = self.clients.remove(&id) {
            client.link.send_replace(Link::Ended(end));
        }
    }

    /// The nodes as `id` sees them.
    pub(super) fn view(&self, id: i64) -> &Nodes {
        let name = self.clients.get(&id).map(|client| &client.name);
        let lagging = name.and_then(|name| self.faults.get(name)?.view.as_ref());
        lagging.unwrap_or(&self.tree.nodes)
    }

    /// Carries out a write of a client's that arrived.
    pub(super) fn write(&mut self, id: i64, operations: &[Operation]) -> Result<(), Failure> {
        let lost = || Failure::Unknown("the connection was lost".to_owned());
        if operations.iter().map(Operation::len).sum::<usize>() > PACKET_LIMIT_BYTES {
            self.disconnect(id);
            return Err(lost());
        }
        let client = self.clients.get(&id).ok_or(Failure::Ended(End::Closed))?;
        let (name, server_id) = (client.name.clone(), client.server_id);
        let fate = self.faults(&name).next_write.take();
        if fate == Some(Fate::Lost) {
            self.disconnect(id);
            return Err(lost());
        }
        if !self.sessions.contains_key(&server_id) {
            return Err(Failure::Ended(End::Expired));
        }
        let result = self.tree.commit(operations, server_id);
        if result.is_ok() {
            // Who wrote sees at least that.
            self.faults(&name).view = None;
        }
        if fate == Some(Fate::Applied) {
            self.disconnect(id);
            return Err(lost());
        }
        result
    }

    /// Sets a watch on what the client sees now.
    pub(super) fn watch(&mut self, id: i64, path: &str, on: WatchOn) -> oneshot::Receiver<()> {
        let (fire, fired) = oneshot::channel();
        let seen = look(self.view(id), path, on);
        if let Some(client) = self.clients.get_mut(&id) {
            client.watches.push(Armed { path: path.to_owned(), on, seen, fire });
        }
        fired
    }

    /// Brings everything to where it belongs at this moment, and says when to call again.
    pub(super) fn settle(&mut self) -> Option<Instant> {
        let now = Instant::now();
        if self.ensemble == Condition::Up {
            for (id, operations) in std::mem::take(&mut self.waiting) {
                // Nobody waits for the answers any more.
                let _ = self.tree.commit(&operations, id);
            }
            let due: Vec<i64> = self
                .sessions
                .iter()
                .filter(|(_, session)| session.ends.is_some_and(|ends| ends <= now))
                .map(|(id, _)| *id)
                .collect();
            for id in due {
                self.expire(id);
            }
        }
        for id in self.clients.keys().copied().collect::<Vec<_>>() {
            self.settle_client(id, now);
        }
        self.fire();
        self.next_due(now)
    }

    fn settle_client(&mut self, id: i64, now: Instant) {
        let client = &self.clients[&id];
        let name = client.name.clone();
        let is_over = !self.sessions.contains_key(&client.server_id);
        let is_silent = self.gives_connection_up(client).is_some_and(|gives_up| gives_up <= now);
        if client.lost.is_none() && (is_over || is_silent) {
            self.disconnect(id);
        }
        let client = &self.clients[&id];
        let Some(lost) = client.lost else { return };
        // The client's own rule, whatever the servers know.
        if lost + client.timeout.mul_f64(1.4) <= now {
            self.end(id, End::Expired);
            return;
        }
        if client.retry.is_none_or(|retry| retry > now) || !self.is_reachable(&name) {
            return;
        }
        let client = self.clients.get_mut(&id).expect("it is there, see above");
        let Some(session) = self.sessions.get_mut(&client.server_id) else {
            self.end(id, End::Expired);
            return;
        };
        session.ends = None;
        client.lost = None;
        client.retry = None;
        client.link.send_replace(Link::Connected);
    }

    /// Lets all watches fire whose node is not what it was.
    fn fire(&mut self) {
        for id in self.clients.keys().copied().collect::<Vec<_>>() {
            let client = &self.clients[&id];
            let is_held = self.faults.get(&client.name).is_some_and(|f| f.holds_watches);
            if is_held || *client.link.borrow() != Link::Connected {
                continue;
            }
            let client = self.clients.get_mut(&id).expect("it is there, see above");
            let watches = std::mem::take(&mut client.watches);
            let (rest, changed): (Vec<_>, Vec<_>) = watches
                .into_iter()
                .filter(|watch| !watch.fire.is_closed())
                .partition(|watch| look(self.view(id), &watch.path, watch.on) == watch.seen);
            self.clients.get_mut(&id).expect("it is there, see above").watches = rest;
            for watch in changed {
                // Whoever waited may be gone.
                let _ = watch.fire.send(());
            }
        }
    }

    /// When a client takes its connection for dead: after 0.4 session timeouts of silence.
    fn gives_connection_up(&self, client: &ClientSession) -> Option<Instant> {
        Some(self.still_since? + client.timeout.mul_f64(0.4))
    }

    fn next_due(&self, now: Instant) -> Option<Instant> {
        let sessions = self.sessions.values().filter_map(|session| session.ends);
        let clients = self.clients.values().filter_map(|client| {
            let Some(lost) = client.lost else { return self.gives_connection_up(client) };
            let gives_up = lost + client.timeout.mul_f64(1.4);
            Some(client.retry.filter(|retry| *retry > now).map_or(gives_up, |r| r.min(gives_up)))
        });
        sessions.chain(clients).filter(|due| *due > now).min()
    }
}

/// What a watch compares: the node's making and its last change, or that of its children.
fn look(nodes: &Nodes, path: &str, on: WatchOn) -> Option<(i64, i64)> {
    let node = nodes.get(path)?;
    Some(match on {
        WatchOn::Node => (node.czxid, node.mzxid),
        WatchOn::Children => (node.czxid, node.cversion.into()),
    })
}

/// The names below `path`, if it is there.
pub(super) fn names(nodes: &Nodes, path: &str) -> Option<Vec<String>> {
    nodes.contains_key(path).then(|| children(nodes, path))
}

/// Settles the world now, and again when something is due.
pub(super) fn settle(world: &Arc<Mutex<World>>) {
    let due = {
        let mut world = world.lock();
        let due = world.settle();
        let is_timed = world
            .timer
            .is_some_and(|timer| timer > Instant::now() && due.is_none_or(|due| timer <= due));
        if is_timed || due.is_none() {
            return;
        }
        world.timer = due;
        due
    };
    if let Some(due) = due {
        let world = Arc::downgrade(world);
        // Ends with the world that it is for; a timer too many does nothing.
        tokio::spawn(async move {
            tokio::time::sleep_until(due).await;
            if let Some(world) = world.upgrade() {
                settle(&world);
            }
        });
    }
}
