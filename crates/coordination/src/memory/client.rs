//! A client of the modelled ensemble, behind the seam.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::world::{Condition, WatchOn, World, names, settle};
use crate::znodes::{
    Answer, Connect, Content, End, Failure, Link, Operation, Refusal, Session, Stat, Watch,
};

/// How often a client that opens a session looks for a server.
const LOOK: Duration = Duration::from_millis(20);

/// A process that connects.
pub(super) struct Client {
    pub(super) world: Arc<Mutex<World>>,
    pub(super) name: String,
    pub(super) session_timeout: Duration,
}

impl Connect for Client {
    fn connect(&self) -> Answer<'_, Arc<dyn Session>> {
        Box::pin(async {
            let gives_up = Instant::now() + self.session_timeout;
            loop {
                let latency = self.world.lock().latency();
                tokio::time::sleep(latency).await;
                {
                    let mut world = self.world.lock();
                    if world.is_reachable(&self.name) {
                        let id = world.open(&self.name, self.session_timeout);
                        let link = world.clients[&id].link.subscribe();
                        let world = Arc::clone(&self.world);
                        let session: Arc<dyn Session> = Arc::new(MemorySession { world, id, link });
                        return Ok(session);
                    }
                }
                if Instant::now() >= gives_up {
                    let why = "no server opened a session in time".to_owned();
                    return Err(Failure::Unknown(why));
                }
                tokio::time::sleep(LOOK).await;
            }
        })
    }
}

/// One session. Dropped without being closed, it is closed as the real client does it.
struct MemorySession {
    world: Arc<Mutex<World>>,
    id: i64,
    link: watch::Receiver<Link>,
}

impl MemorySession {
    /// Sends a request, has it carried out, and brings the answer back, if the connection lasts.
    /// Without one the request waits, as the real client lets it.
    async fn request<T>(
        &self,
        carry_out: impl FnOnce(&mut World, i64) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut link = self.link.clone();
        let end = match link.wait_for(|link| *link != Link::Disconnected).await.as_deref() {
            Ok(Link::Ended(end)) => Some(*end),
            Ok(_) => None,
            Err(_) => Some(End::Closed),
        };
        if let Some(end) = end {
            return Err(Failure::Ended(end));
        }
        let (connection, latency) = {
            let mut world = self.world.lock();
            (self.connection(&world), world.latency())
        };
        tokio::time::sleep(latency).await;
        let result = {
            let mut world = self.world.lock();
            self.check(&world, connection)?;
            carry_out(&mut world, self.id)
        };
        settle(&self.world);
        let latency = self.world.lock().latency();
        tokio::time::sleep(latency).await;
        // A typed answer that did not arrive is no answer.
        if matches!(result, Ok(_) | Err(Failure::Refused { .. })) {
            self.check(&self.world.lock(), connection)?;
        }
        result
    }

    fn connection(&self, world: &World) -> Option<u64> {
        world.clients.get(&self.id).map(|client| client.connection)
    }

    fn check(&self, world: &World, connection: Option<u64>) -> Result<(), Failure> {
        if connection.is_some() && self.connection(world) == connection {
            Ok(())
        } else {
            Err(Failure::Unknown("the connection was lost".to_owned()))
        }
    }

    /// Waits while the servers stand still: for them, or until the client gives the connection up.
    async fn while_still(&self) -> Result<(), Failure> {
        let connection = self.connection(&self.world.lock());
        loop {
            {
                let world = self.world.lock();
                if world.ensemble != Condition::Still {
                    return Ok(());
                }
                if self.connection(&world) != connection {
                    let why = "no response from the connection".to_owned();
                    return Err(Failure::Unknown(why));
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn watched(&self, world: &mut World, path: &str, on: WatchOn) -> Watch {
        let fired = world.watch(self.id, path, on);
        Box::pin(async {
            // Its sender is gone when the session has ended.
            let _ = fired.await;
        })
    }
}

fn no_node() -> Failure {
    Failure::refused(Refusal::NoNode)
}

fn content(world: &World, id: i64, path: &str) -> Option<Content> {
    let node = world.view(id).get(path)?;
    Some((node.data.clone(), node.stat()))
}

impl Session for MemorySession {
    fn id(&self) -> i64 {
        self.id
    }

    fn link(&self) -> watch::Receiver<Link> {
        let mut link = self.link.clone();
        link.mark_unchanged();
        link
    }

    fn read<'a>(&'a self, path: &'a str) -> Answer<'a, Content> {
        Box::pin(async move {
            self.while_still().await?;
            self.request(|world, id| content(world, id, path).ok_or_else(no_node)).await
        })
    }

    fn read_all(&self, paths: Vec<String>) -> Answer<'_, Vec<Option<Content>>> {
        Box::pin(async move {
            self.while_still().await?;
            let read = |world: &mut World, id| {
                Ok(paths.iter().map(|path| content(world, id, path)).collect())
            };
            self.request(read).await
        })
    }

    fn watch_data<'a>(&'a self, path: &'a str) -> Answer<'a, (Content, Watch)> {
        Box::pin(async move {
            self.while_still().await?;
            self.request(|world, id| {
                let content = content(world, id, path).ok_or_else(no_node)?;
                Ok((content, self.watched(world, path, WatchOn::Node)))
            })
            .await
        })
    }

    fn watch_presence<'a>(&'a self, path: &'a str) -> Answer<'a, (Option<Stat>, Watch)> {
        Box::pin(async move {
            self.while_still().await?;
            self.request(|world, id| {
                let stat = content(world, id, path).map(|(_, stat)| stat);
                Ok((stat, self.watched(world, path, WatchOn::Node)))
            })
            .await
        })
    }

    fn watch_children<'a>(&'a self, path: &'a str) -> Answer<'a, (Vec<String>, Watch)> {
        Box::pin(async move {
            self.while_still().await?;
            self.request(|world, id| {
                let names = names(world.view(id), path).ok_or_else(no_node)?;
                Ok((names, self.watched(world, path, WatchOn::Children)))
            })
            .await
        })
    }

    fn commit(&self, operations: Vec<Operation>) -> Answer<'_, ()> {
        Box::pin(async move {
            let server_id = {
                let world = self.world.lock();
                let client = world.clients.get(&self.id);
                client.filter(|_| world.ensemble == Condition::Still).map(|c| c.server_id)
            };
            if let Some(server_id) = server_id {
                // It has arrived and will be carried out, whether or not somebody still waits.
                self.world.lock().waiting.push((server_id, operations));
                // Its answer is lost in any case.
                self.while_still().await?;
                return Err(Failure::Unknown("the connection was lost".to_owned()));
            }
            self.request(|world, id| world.write(id, &operations)).await
        })
    }

    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            let latency = self.world.lock().latency();
            tokio::time::sleep(latency).await;
            self.end();
        })
    }
}

impl MemorySession {
    fn end(&self) {
        let mut world = self.world.lock();
        let Some(client) = world.clients.get(&self.id) else { return };
        let (server_id, is_connected) = (client.server_id, *client.link.borrow());
        if is_connected == Link::Connected && world.ensemble == Condition::Up {
            world.expire(server_id);
        } else {
            // Nobody hears it: the session times out.
            world.disconnect(self.id);
        }
        world.end(self.id, End::Closed);
        drop(world);
        if tokio::runtime::Handle::try_current().is_ok() {
            settle(&self.world);
        }
    }
}

impl Drop for MemorySession {
    fn drop(&mut self) {
        self.end();
    }
}
