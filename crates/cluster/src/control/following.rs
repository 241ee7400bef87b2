//! Following the map: from ZooKeeper and from peers to disk, and from there to use.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rangekeeper_coordination::{
    self as coordination, Members, Membership, Registration, SessionState,
};
use rangekeeper_model::StoreId;
use rangekeeper_placement::{Assignment, MemberEffect, MemberEvent};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tracing::info;

use super::alarms::AlarmKind;
use super::joining::blocking;
use super::shared::{Shared, changed};
use super::speakers::version;
use crate::peer::OfferedAssignment;
use crate::peers::PeerAddress;

/// How long a map that could not be written waits for the next attempt.
const WRITE_AGAIN: Duration = Duration::from_secs(1);

/// How long a map is asked for that a peer offered without giving it.
const OFFER_WITHIN: Duration = Duration::from_secs(5);

/// A map with its bytes.
#[derive(Clone)]
struct Offer {
    assignment: Arc<Assignment>,
    encoded: Bytes,
}

struct Following {
    shared: Arc<Shared>,
    /// The map that the member awaits on disk and that could not be written, and when it is tried
    /// again.
    unwritten: Option<(Offer, Instant)>,
    /// Whether ZooKeeper has told its map since the start.
    has_read: bool,
    /// ZooKeeper has forgotten the map: nothing is published until an operator restores it.
    is_forgotten: bool,
}

/// Follows the map until the agent is stopped.
pub(super) async fn run(
    shared: Arc<Shared>,
    mut maps: mpsc::Receiver<Bytes>,
    mut offered: mpsc::Receiver<OfferedAssignment>,
) {
    let mut published = shared.coordination.assignment();
    let mut members = shared.members.clone();
    let mut news = shared.news.subscribe();
    let mut membership = shared.membership.subscribe();
    let mut session = shared.session.clone();
    let start_wait = Instant::now() + shared.options.start_wait;
    let mut following = Following {
        shared: Arc::clone(&shared),
        unwritten: None,
        has_read: false,
        is_forgotten: false,
    };
    loop {
        let write_again = following.unwritten.as_ref().map(|(_, at)| *at);
        let is_asking = !shared.standing.has_asked();
        let is_unknown = !shared.standing.is_known();
        // Cancel-safe: all only wait, and what a channel gives is carried out before the next wait.
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = changed(&mut published) => {
                let now = published.borrow_and_update().clone();
                following.read(now).await;
            }
            Some(encoded) = maps.recv() => following.take(encoded).await,
            Some(offer) = offered.recv() => match offer.assignment {
                Some(encoded) => following.take(encoded).await,
                None => shared.want(version(offer.view), Instant::now() + OFFER_WITHIN),
            },
            () = changed(&mut members) => following.meet(&mut members),
            () = changed(&mut news), if is_asking => {}
            () = changed(&mut membership), if is_asking => {}
            () = changed(&mut session), if is_unknown => {}
            () = sleep_until(start_wait), if is_asking => shared.standing.asked(),
            () = sleep_until(write_again.unwrap_or(start_wait)), if write_again.is_some() => {
                following.write_again().await;
            }
        }
        if is_asking && following.has_asked() {
            shared.standing.asked();
        }
        if is_unknown && following.is_known() {
            shared.standing.known();
        }
    }
}

impl Following {
    /// Takes what ZooKeeper has.
    async fn read(&mut self, now: Option<coordination::Assignment>) {
        match now {
            Some(coordination::Assignment::Published { payload, .. }) => {
                self.take(payload).await;
                self.has_read = true;
                self.is_forgotten = false;
            }
            // Whoever leads says that it is missing.
            Some(coordination::Assignment::Missing | coordination::Assignment::Unpublished(_)) => {
                self.is_forgotten = true;
            }
            None => {}
        }
    }

    /// Takes a map from wherever it came.
    async fn take(&mut self, encoded: Bytes) {
        match Assignment::decode(&encoded) {
            Ok(assignment) => {
                let offer = Offer { assignment: Arc::new(assignment), encoded };
                self.offer(offer).await;
            }
            Err(error) => {
                let text = format!("an assignment is not used, the last one is kept: {error}");
                self.shared.raise(AlarmKind::Unreadable, text);
            }
        }
    }

    async fn offer(&mut self, offer: Offer) {
        let mut effects = Vec::new();
        let event = MemberEvent::Offered(Arc::clone(&offer.assignment));
        self.shared.member.write().step(event, &mut effects);
        for effect in effects {
            match effect {
                MemberEffect::Persist(_) => self.keep(offer.clone()).await,
                effect => self.shared.note(&effect),
            }
        }
    }

    /// Writes a map to disk, then puts it to use. One that cannot be written is not used: after a
    /// crash this node would deny what it had said.
    async fn keep(&mut self, offer: Offer) {
        self.unwritten = None;
        let encoded = offer.encoded.clone();
        let kept = blocking(&self.shared.folder, move |files| files.keep_assignment(&encoded));
        if let Err(error) = kept.await {
            let source = std::error::Error::source(&error).map(ToString::to_string);
            let text = format!("failed to {error}: {}", source.unwrap_or_default());
            self.shared.raise(AlarmKind::NotKept, text);
            self.unwritten = Some((offer, Instant::now() + WRITE_AGAIN));
            return;
        }
        self.shared.alarms.clear(AlarmKind::NotKept);
        self.shared.alarms.clear(AlarmKind::Unreadable);
        let mut effects = Vec::new();
        let version = offer.assignment.version();
        self.shared.member.write().step(MemberEvent::Persisted(version), &mut effects);
        self.shared.apply(&offer.assignment, offer.encoded);
        let nodes = offer.assignment.nodes.len();
        info!(%version, term = %offer.assignment.term, nodes, "applied an assignment");
        for effect in &effects {
            self.shared.note(effect);
        }
    }

    async fn write_again(&mut self) {
        if let Some((offer, _)) = self.unwritten.take() {
            self.keep(offer).await;
        }
    }

    /// Before the first map, those who are registered are the peers: a node that has a map from
    /// before says so.
    fn meet(&self, members: &mut watch::Receiver<Option<Members>>) {
        let members = members.borrow_and_update();
        let (Some(members), None) = (members.as_ref(), self.shared.view()) else { return };
        let own = &self.shared.options.node;
        let others = members.members.values().map(|member| &member.registration);
        let others = others.filter(|other| other.node != *own);
        let address = |other: &Registration| PeerAddress {
            node: other.node.to_string(),
            address: other.peer_address.clone(),
            store: StoreId(other.store),
        };
        self.shared.make_peers(others.map(address).collect());
    }

    /// Whether there is a map, and it is the newest: ZooKeeper has told its own, or every peer has
    /// said which it has. If ZooKeeper answers, whether this node has its name is waited for too.
    fn has_asked(&self) -> bool {
        let shared = &self.shared;
        let is_pending = matches!(*shared.membership.borrow(), Membership::Pending);
        let is_connected = *shared.session.borrow() == SessionState::Connected;
        if shared.view().is_none() || (is_connected && is_pending) {
            return false;
        }
        let mut peers = shared.roster.all().into_iter();
        let newest = shared.speakers.newest();
        self.has_read
            || peers.all(|peer| shared.speakers.of(peer.store()).is_some())
                && newest.is_none_or(|newest| newest <= shared.version())
    }

    /// Whether the cluster knows of this start: the map in use names it. While ZooKeeper does not
    /// answer, or has no map, nobody can publish it, and it is enough that the map in use names an
    /// earlier one of this folder's.
    fn is_known(&self) -> bool {
        let shared = &self.shared;
        let (is_row, is_named) = {
            let member = shared.member.read();
            (member.me().is_some(), member.is_named())
        };
        let is_connected = *shared.session.borrow() == SessionState::Connected;
        shared.standing.has_asked() && (is_named || is_row && (!is_connected || self.is_forgotten))
    }
}
