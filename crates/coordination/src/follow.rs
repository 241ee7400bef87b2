//! Following what others decide: read and watch in one request, tell, wait, read again.
//!
//! Nothing depends on the number or the kind of events: each loop gives out what it read last, and
//! reads again after every event, in every new session, and now and then. Watches fire once; those
//! of the client library that last are lost in a reconnect without a word.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::warn;

use crate::core::Core;
use crate::session::link_changed;
use crate::znodes::{Content, Failure, Link, Session, Watch};

/// Pauses after reads that failed, doubled from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(2);

/// Nodes read at once, so that an answer stays far below what a packet may be.
const READ_TOGETHER: usize = 256;

/// Something to follow.
pub(crate) trait Topic: Send + Sync + 'static {
    type Value: Clone + PartialEq + Send + Sync + 'static;

    /// Reads it and sets watches on all that it was read from.
    fn read(
        core: &Core,
        session: &Arc<dyn Session>,
    ) -> impl Future<Output = Result<(Self::Value, Vec<Watch>), Failure>> + Send;

    /// Whether it is being watched, for the metrics.
    fn watched(_core: &Core, _is_watched: bool) {}
}

/// Tells `sender` what the topic is, until the handle is closed or nobody listens.
pub(crate) async fn follow<T: Topic>(core: Arc<Core>, sender: watch::Sender<Option<T::Value>>) {
    let mut pause = FIRST_PAUSE;
    while let Some(session) = core.connected_session().await {
        let mut link = session.link();
        let (value, watches) = match T::read(&core, &session).await {
            Ok(read) => read,
            Err(failure) => {
                // Said once, not at every attempt.
                if pause == FIRST_PAUSE && !matches!(failure, Failure::Unsent | Failure::Ended(_)) {
                    warn!(%failure, "failed to read from the ensemble, trying again");
                }
                if !core.pause(pause / 2 + core.jitter(pause / 2)).await {
                    return;
                }
                pause = (pause * 2).min(LAST_PAUSE);
                continue;
            }
        };
        pause = FIRST_PAUSE;
        T::watched(&core, true);
        sender.send_if_modified(|old| {
            let is_new = old.as_ref() != Some(&value);
            *old = Some(value);
            is_new
        });
        let goes_on = wait(&core, &sender, watches, &mut link).await;
        T::watched(&core, false);
        if !goes_on {
            return;
        }
    }
}

/// Waits for a reason to read again; `false` if there is none to go on.
async fn wait<V>(
    core: &Core,
    sender: &watch::Sender<Option<V>>,
    watches: Vec<Watch>,
    link: &mut watch::Receiver<Link>,
) -> bool {
    let mut any = std::pin::pin!(any(watches));
    let reread = core.settings.reread_interval;
    let reread = reread / 2 + core.jitter(reread / 2);
    let mut reread = std::pin::pin!(tokio::time::sleep(reread));
    loop {
        // Cancel-safe: all only wait, and watches and timer go on being waited for.
        tokio::select! {
            () = core.stop.cancelled() => return false,
            () = sender.closed() => return false,
            () = &mut any => return true,
            () = &mut reread => return true,
            // Watches come through a reconnect and then fire for what was missed.
            now = link_changed(link) => if matches!(now, Link::Ended(_)) { return true },
        }
    }
}

/// Resolves with the first of `watches`.
async fn any(mut watches: Vec<Watch>) {
    std::future::poll_fn(|context| {
        let fired = watches.iter_mut().any(|watch| watch.as_mut().poll(context).is_ready());
        if fired { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

/// Reads and watches a node that may not be there.
pub(crate) async fn read_or_absent(
    core: &Core,
    session: &Arc<dyn Session>,
    operation: &'static str,
    path: &str,
) -> Result<(Option<Content>, Watch), Failure> {
    match core.ask(operation, session, |s| s.watch_data(path)).await {
        Ok((content, watch)) => Ok((Some(content), watch)),
        Err(failure) if failure.is_no_node() => {
            match core.ask(operation, session, |s| s.watch_presence(path)).await? {
                (None, watch) => Ok((None, watch)),
                // It came between the two: read at the next turn of the loop.
                (Some(_), _) => Err(Failure::Unknown(format!("{path} came just now"))),
            }
        }
        Err(failure) => Err(failure),
    }
}

/// Reads all children of a node and watches for others. Their content never changes: whatever is
/// written again is made again.
pub(crate) async fn read_children(
    core: &Core,
    session: &Arc<dyn Session>,
    operation: &'static str,
    path: &str,
) -> Result<(Vec<(String, Content)>, Watch), Failure> {
    let (names, watch) = core.ask(operation, session, |s| s.watch_children(path)).await?;
    let mut children = Vec::with_capacity(names.len());
    for names in names.chunks(READ_TOGETHER) {
        let paths = names.iter().map(|name| format!("{path}/{name}")).collect();
        let contents = core.ask(operation, session, |s| s.read_all(paths)).await?;
        // One that went meanwhile has made the watch fire.
        let there =
            names.iter().zip(contents).filter_map(|(name, content)| Some((name.clone(), content?)));
        children.extend(there);
    }
    Ok((children, watch))
}
