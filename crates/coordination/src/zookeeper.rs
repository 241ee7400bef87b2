//! ZooKeeper behind the seam, by the `zookeeper-client` crate.
//!
//! What of that crate is not used, and why: its persistent watches are not set again after a
//! reconnect, its locks leave nodes behind when their future is dropped, and its requests wait
//! without an end while there is no connection (whoever asks looks at the connection first).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use zookeeper_client as zk;

use crate::Address;
use crate::znodes::{
    Answer, Connect, Content, End, Ensemble, Failure, Lifetime, Link, Operation, Refusal, Session,
    Stat, Watch,
};

/// How to reach an ensemble of ZooKeeper, 3.8 or newer. Others that speak its protocol are not
/// supported: some give a lost client a new session without saying so.
#[derive(Clone, Debug)]
pub struct ZooKeeper {
    /// Where it is.
    pub address: Address,
    /// How long the ensemble keeps a session whose client is silent. Servers bound it, by default
    /// to 2 to 20 of their ticks.
    pub session_timeout: Duration,
    /// Who we are. With credentials every node that we make is open to them alone.
    pub credentials: Option<Credentials>,
}

/// The digest scheme's name and password, which all nodes of a cluster share.
#[derive(Clone)]
pub struct Credentials {
    /// The name; no colon.
    pub user: String,
    /// The password.
    pub password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

impl Ensemble {
    /// A real ensemble. Nothing is connected yet.
    pub fn zookeeper(zookeeper: ZooKeeper) -> Self {
        let root = zookeeper.address.root().to_owned();
        Self { connect: Arc::new(zookeeper), root }
    }
}

impl Connect for ZooKeeper {
    fn connect(&self) -> Answer<'_, Arc<dyn Session>> {
        Box::pin(async {
            let mut connector = zk::Client::connector().with_session_timeout(self.session_timeout);
            if let Some(Credentials { user, password }) = &self.credentials {
                let secret = format!("{user}:{password}");
                connector = connector.with_auth("digest", secret.as_bytes());
            }
            let servers = self.address.servers_joined();
            let client = connector.connect(&servers).await.map_err(classify)?;
            let is_private = self.credentials.is_some();
            let session: Arc<dyn Session> = Arc::new(ClientSession::new(client, is_private));
            Ok(session)
        })
    }
}

/// A client of the library, which is one session.
struct ClientSession {
    id: i64,
    /// Taken out when it is closed; the session ends when the last clone is dropped.
    client: Mutex<Option<zk::Client>>,
    acls: zk::Acls<'static>,
    link: watch::Receiver<Link>,
    /// Ends with the session.
    forward: Mutex<Option<JoinHandle<()>>>,
}

impl ClientSession {
    fn new(client: zk::Client, is_private: bool) -> Self {
        let mut states = client.state_watcher();
        let (sender, link) = watch::channel(link_of(client.state()));
        let forward = tokio::spawn(async move {
            while !matches!(*sender.borrow(), Link::Ended(_)) {
                let state = states.changed().await;
                sender.send_replace(link_of(state));
            }
        });
        Self {
            id: client.session_id().0,
            client: Mutex::new(Some(client)),
            acls: if is_private { zk::Acls::creator_all() } else { zk::Acls::anyone_all() },
            link,
            forward: Mutex::new(Some(forward)),
        }
    }

    fn client(&self) -> Result<zk::Client, Failure> {
        self.client.lock().clone().ok_or(Failure::Ended(End::Closed))
    }
}

impl Session for ClientSession {
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
            let (data, stat) = self.client()?.get_data(path).await.map_err(classify)?;
            Ok((data.into(), stat_of(&stat)))
        })
    }

    fn read_all(&self, paths: Vec<String>) -> Answer<'_, Vec<Option<Content>>> {
        Box::pin(async move {
            let client = self.client()?;
            let mut reader = client.new_multi_reader();
            for path in &paths {
                reader.add_get_data(path).map_err(classify)?;
            }
            let results = reader.commit().await.map_err(classify)?;
            let contents: Vec<_> = results.into_iter().map(content_of).collect::<Result<_, _>>()?;
            if contents.len() == paths.len() {
                Ok(contents)
            } else {
                Err(Failure::Unknown("another number of answers than of questions".to_owned()))
            }
        })
    }

    fn watch_data<'a>(&'a self, path: &'a str) -> Answer<'a, (Content, Watch)> {
        Box::pin(async move {
            let client = self.client()?;
            let (data, stat, watcher) = client.get_and_watch_data(path).await.map_err(classify)?;
            Ok(((data.into(), stat_of(&stat)), watch_of(watcher)))
        })
    }

    fn watch_presence<'a>(&'a self, path: &'a str) -> Answer<'a, (Option<Stat>, Watch)> {
        Box::pin(async move {
            let client = self.client()?;
            let (stat, watcher) = client.check_and_watch_stat(path).await.map_err(classify)?;
            Ok((stat.as_ref().map(stat_of), watch_of(watcher)))
        })
    }

    fn watch_children<'a>(&'a self, path: &'a str) -> Answer<'a, (Vec<String>, Watch)> {
        Box::pin(async move {
            let client = self.client()?;
            let (names, _, watcher) =
                client.get_and_watch_children(path).await.map_err(classify)?;
            Ok((names, watch_of(watcher)))
        })
    }

    fn commit(&self, operations: Vec<Operation>) -> Answer<'_, ()> {
        Box::pin(async move {
            let client = self.client()?;
            let mut writer = client.new_multi_writer();
            for operation in &operations {
                add(&mut writer, operation, self.acls).map_err(classify)?;
            }
            match writer.commit().await {
                Ok(_) => Ok(()),
                Err(zk::MultiWriteError::RequestFailed { source }) => Err(classify(source)),
                Err(zk::MultiWriteError::OperationFailed { index, source }) => {
                    Err(match classify(source) {
                        Failure::Refused { refusal, .. } => Failure::Refused { index, refusal },
                        other => other,
                    })
                }
            }
        })
    }

    fn close(&self) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            drop(self.client.lock().take());
            let forward = self.forward.lock().take();
            if let Some(forward) = forward {
                let _ = forward.await;
            }
        })
    }
}

fn add(
    writer: &mut zk::MultiWriter<'_>,
    operation: &Operation,
    acls: zk::Acls<'static>,
) -> Result<(), zk::Error> {
    match operation {
        Operation::Check { path, version } => writer.add_check_version(path, *version),
        Operation::Create { path, data, lifetime } => {
            let mode = match lifetime {
                Lifetime::Persistent => zk::CreateMode::Persistent,
                Lifetime::Ephemeral => zk::CreateMode::Ephemeral,
            };
            writer.add_create(path, data, &mode.with_acls(acls))
        }
        Operation::Set { path, data, version } => writer.add_set_data(path, data, Some(*version)),
        Operation::Delete { path, version } => writer.add_delete(path, Some(*version)),
    }
}

fn watch_of(watcher: zk::OneshotWatcher) -> Watch {
    Box::pin(async move {
        watcher.changed().await;
    })
}

fn stat_of(stat: &zk::Stat) -> Stat {
    Stat { czxid: stat.czxid, version: stat.version, owner: stat.ephemeral_owner }
}

fn content_of(result: zk::MultiReadResult) -> Result<Option<Content>, Failure> {
    match result {
        zk::MultiReadResult::Data { data, stat } => Ok(Some((Bytes::from(data), stat_of(&stat)))),
        zk::MultiReadResult::Error { err: zk::Error::NoNode } => Ok(None),
        zk::MultiReadResult::Error { err } => Err(classify(err)),
        _ => Err(Failure::Unknown("another kind of answer than of question".to_owned())),
    }
}

fn link_of(state: zk::SessionState) -> Link {
    match state {
        zk::SessionState::SyncConnected => Link::Connected,
        // We never ask for read-only connections; one could not do anything for us.
        zk::SessionState::Disconnected | zk::SessionState::ConnectedReadOnly => Link::Disconnected,
        zk::SessionState::AuthFailed => Link::Ended(End::AuthFailed),
        zk::SessionState::Expired => Link::Ended(End::Expired),
        zk::SessionState::Closed => Link::Ended(End::Closed),
    }
}

/// What an error says of the effect of its request. Only the server's typed answers are definite:
/// a lost connection has many names, and what it cut off may have been carried out.
fn classify(error: zk::Error) -> Failure {
    Failure::refused(match error {
        zk::Error::NoNode => Refusal::NoNode,
        zk::Error::NodeExists => Refusal::NodeExists,
        zk::Error::BadVersion => Refusal::BadVersion,
        zk::Error::NotEmpty => Refusal::NotEmpty,
        zk::Error::NoChildrenForEphemerals => Refusal::ChildOfEphemeral,
        zk::Error::NoAuth => Refusal::NoAuth,
        zk::Error::InvalidAcl => Refusal::InvalidAcl,
        zk::Error::QuotaExceeded => Refusal::QuotaExceeded,
        zk::Error::Unimplemented => Refusal::Unimplemented,
        zk::Error::SessionExpired => return Failure::Ended(End::Expired),
        zk::Error::AuthFailed => return Failure::Ended(End::AuthFailed),
        zk::Error::ClientClosed => return Failure::Ended(End::Closed),
        zk::Error::NoHosts | zk::Error::Timeout => {
            return Failure::Unknown("no server opened a session in time".to_owned());
        }
        other => return Failure::Unknown(other.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_typed_answers_are_definite() {
        assert_eq!(classify(zk::Error::BadVersion), Failure::refused(Refusal::BadVersion));
        assert_eq!(classify(zk::Error::SessionExpired), Failure::Ended(End::Expired));
        for error in [
            zk::Error::ConnectionLoss,
            zk::Error::SessionMoved,
            zk::Error::Throttled,
            zk::Error::UnexpectedError("?".to_owned()),
            zk::Error::UnexpectedErrorCode(-99),
        ] {
            let failure = classify(error);
            assert!(matches!(failure, Failure::Unknown(_)), "{failure:?}");
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let credentials = Credentials { user: "u".to_owned(), password: "secret".to_owned() };
        assert!(!format!("{credentials:?}").contains("secret"));
    }
}
