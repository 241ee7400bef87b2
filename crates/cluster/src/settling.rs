//! Telling places what is settled: what all of them have, so that nobody needs to remember who
//! lacks it.
//!
//! A notice that is lost costs work later, never data: what is not known to be settled is delivered
//! again.

mod delivery;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rangekeeper_model::{ShardId, StoreId};
use rangekeeper_storage::log::Position;
use rangekeeper_wire::proto::peer as proto;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use self::delivery::{deliver_always, settle_chunks, take_delivery};
use crate::identity::View;
use crate::peer::{Call, Urgency};
use crate::replica::Replica;

/// Notices wait so long for others of the same place: one message for some dozens of writes.
const GATHER: Duration = Duration::from_millis(20);
/// Notices that wait; beyond that they are lost.
const MOST_WAITING: usize = 1 << 14;
const TELL_WITHIN: Duration = Duration::from_secs(2);

/// Where notices are left.
#[derive(Clone)]
pub(crate) struct Settler {
    notices: mpsc::Sender<Notice>,
}

struct Notice {
    store: StoreId,
    view: View,
    position: u64,
    /// None: all that the position wrote to.
    shards: Vec<u32>,
}

impl Settler {
    /// A settler; what it is told is carried out by a task of its own.
    pub(crate) fn start(
        replica: Arc<Replica>,
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let (notices, waiting) = mpsc::channel(MOST_WAITING);
        tasks.spawn(tell_always(replica, waiting, tasks.clone(), stop));
        Self { notices }
    }

    /// What the data folder `store` has at `position` is at all places: all of it, or `shards`.
    pub(crate) fn notice(&self, store: StoreId, view: View, position: u64, shards: Vec<u32>) {
        // Where too many wait, it is delivered again one day.
        let _ = self.notices.try_send(Notice { store, view, position, shards });
    }
}

/// Settles what a router says is settled.
pub(crate) fn settle(replica: &Replica, settled: &[proto::Settled]) {
    for settled in settled {
        let shards: Vec<ShardId> =
            settled.shards.iter().filter_map(|&s| u16::try_from(s).ok()).map(ShardId).collect();
        let shards = (!shards.is_empty()).then_some(&*shards);
        for &position in &settled.positions {
            replica.store().settle(Position(position), shards);
        }
    }
}

async fn tell_always(
    replica: Arc<Replica>,
    mut waiting: mpsc::Receiver<Notice>,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    let mut gathered = Vec::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            count = waiting.recv_many(&mut gathered, MOST_WAITING) => if count == 0 { return },
        }
        // Most writes of a moment are settled together.
        sleep(GATHER).await;
        while let Ok(notice) = waiting.try_recv() {
            gathered.push(notice);
        }
        for (store, settled) in by_store(gathered.drain(..)) {
            if store == replica.store_id() {
                settle(&replica, &settled);
                continue;
            }
            let Some(map) = replica.topology().view() else { continue };
            let row = map.assignment.nodes.iter().position(|row| row.store == store);
            let index = row.and_then(|row| u16::try_from(row).ok());
            let peer = index
                .and_then(|row| replica.topology().peer(rangekeeper_placement::NodeIndex(row)));
            let Some(peer) = peer else { continue };
            tasks.spawn(async move {
                let deadline = Instant::now() + TELL_WITHIN;
                let request = proto::SettleRequest { settled, ..proto::SettleRequest::default() };
                let call = Call { deadline, urgency: Urgency::MayMiss };
                if let Err(error) = peer.settle(request, call).await {
                    tracing::debug!(node = peer.node(), %error, "failed to say what is settled");
                }
            });
        }
    }
}

/// The notices as messages, one list a place.
fn by_store(notices: impl Iterator<Item = Notice>) -> BTreeMap<StoreId, Vec<proto::Settled>> {
    let mut whole: BTreeMap<(StoreId, View), Vec<u64>> = BTreeMap::new();
    let mut messages: BTreeMap<StoreId, Vec<proto::Settled>> = BTreeMap::new();
    for Notice { store, view, position, shards } in notices {
        if shards.is_empty() {
            whole.entry((store, view)).or_default().push(position);
        } else {
            let settled =
                proto::Settled { view: Some(view.into()), positions: vec![position], shards };
            messages.entry(store).or_default().push(settled);
        }
    }
    for ((store, view), positions) in whole {
        let settled = proto::Settled { view: Some(view.into()), positions, shards: Vec::new() };
        messages.entry(store).or_default().push(settled);
    }
    messages
}
