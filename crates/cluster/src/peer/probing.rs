//! Asking a peer again and again how it is: what closes its breaker, what compares clocks, and
//! one of the ways by which a newer assignment comes here.

use std::time::Duration;

use bytes::Bytes;
use rangekeeper_wire::proto::peer as proto;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::{Call, Peer, Urgency};
use crate::error::PeerError;
use crate::identity::{Speaker, View};
use crate::limits::PROBE_TIMEOUT;

/// What is known of a peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// What its last message said of it, on whichever connection.
    pub speaker: Option<Speaker>,
    /// Whether the last probe was answered, and what it said.
    pub probed: Probed,
}

/// How the last probe ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Probed {
    /// None has ended yet.
    #[default]
    NotYet,
    /// The peer answered.
    Answered {
        /// Whether it serves.
        readiness: proto::Readiness,
        /// What is wrong, for people.
        text: String,
    },
    /// It did not.
    Failed(PeerError),
}

/// A peer has a newer assignment than this node says it has applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferedAssignment {
    /// The peer.
    pub node: String,
    /// Which one it is.
    pub view: View,
    /// The assignment, encoded; none if it is too large for a probe's answer and has to be fetched.
    pub assignment: Option<Bytes>,
}

/// How a peer is probed.
pub(crate) struct Probing {
    pub(crate) every: Duration,
    pub(crate) offers: mpsc::Sender<OfferedAssignment>,
    pub(crate) random: fastrand::Rng,
}

/// Probes `peer` until it is stopped.
pub(crate) async fn probe_always(peer: Peer, mut probing: Probing) {
    let stop = peer.0.stop.clone();
    // Dropping a probe ends it.
    tokio::select! {
        () = stop.cancelled() => {}
        () = async {
            loop {
                probe(&peer, &probing.offers).await;
                // Drawn, so that many nodes do not ask one at the same moment.
                sleep(probing.every.mul_f64(0.75 + probing.random.f64() / 2.0)).await;
            }
        } => {}
    }
}

async fn probe(peer: &Peer, offers: &mpsc::Sender<OfferedAssignment>) {
    let deadline = Instant::now() + PROBE_TIMEOUT;
    let answer = peer.probe(Call { deadline, urgency: Urgency::MustTry }).await;
    let probed = match answer {
        Ok(answer) => {
            offer(peer, &answer, offers);
            Probed::Answered { readiness: answer.readiness(), text: answer.text }
        }
        Err(error) => Probed::Failed(error),
    };
    peer.0.health.send_if_modified(|health| {
        let is_news = health.probed != probed;
        health.probed = probed;
        is_news
    });
}

fn offer(peer: &Peer, answer: &proto::ProbeAnswer, offers: &mpsc::Sender<OfferedAssignment>) {
    let view = answer.header.as_ref().and_then(|header| header.view).map(View::from);
    let Some(view) = view.filter(|view| *view > peer.0.local.view()) else { return };
    let assignment = Some(answer.assignment.clone()).filter(|bytes| !bytes.is_empty());
    // Nobody takes them, or not fast enough: the next probe offers it again.
    let _ = offers.try_send(OfferedAssignment { node: peer.node().to_owned(), view, assignment });
}
