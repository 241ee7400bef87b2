//! Bringing places what they missed: every holder of unsettled chunks, exemplars and metadata
//! offers them to the copies that are not known to have them, until they say that they do.

mod messages;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rangekeeper_model::{Day, Epoch, ShardId};
use rangekeeper_placement::{Mark, Place, Tally, UnsettledKey, Verdict, Version};
use rangekeeper_storage::db::Entry;
use rangekeeper_storage::{Bundle, Store, StoreError};
use rangekeeper_wire::proto::peer as proto;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use self::messages::{Item, entry_of, exemplar_of, held_of, key_of, malformed, statement_of};
use crate::error::{PeerError, Refusal};
use crate::identity::View;
use crate::peer::{Call, Peer, Urgency};
use crate::replica::{Replica, fault};
use crate::serving::blocking;
use crate::topology::MapView;

/// Between two looks at what is unsettled.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Entries of a shard that are brought at a time: far below what a message may hold.
const AT_A_TIME: usize = 1000;
const DELIVER_WITHIN: Duration = Duration::from_secs(20);
/// What one message carries; the rest of the entries goes with the next.
const MESSAGE_BYTES: usize = 4 << 20;

/// What is brought, and to whom.
struct Errand {
    shard: ShardId,
    entries: Vec<(UnsettledKey, Mark, Tally)>,
    lacking: Vec<(Place, Peer)>,
}

/// What a place holds of what it was brought, in the words by which it can be settled.
type Held = (Peer, Vec<proto::HeldChunk>);

/// Delivers until it is stopped.
pub(crate) async fn deliver_always(replica: Arc<Replica>, stop: CancellationToken) {
    let mut seen = Version::default();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(LOOK_EVERY) => {}
        }
        let Some(map) = replica.topology().view() else { continue };
        if map.version() != seen {
            seen = map.version();
            for (shard, _) in replica.store().unsettled_shards() {
                replica.store().rebase_unsettled(shard, map.shard(shard));
            }
        }
        for (shard, _) in replica.store().unsettled_shards() {
            if stop.is_cancelled() {
                return;
            }
            if let Some(errand) = errand(&replica, &map, shard) {
                Box::pin(run(&replica, &map, errand)).await;
            }
        }
    }
}

/// What there is to bring for a shard, and to whom that can be done now.
fn errand(replica: &Replica, map: &MapView, shard: ShardId) -> Option<Errand> {
    let view = map.shard(shard);
    let me = map.me?;
    let own = view.place_of(me)?;
    let store = replica.store();
    let quorum = map.assignment.quorum;
    let mut entries = store.undelivered(shard, AT_A_TIME);
    // What is here is here.
    entries.retain(|(key, mark, _)| !store.delivered(shard, *key, *mark, own, map.epoch(), view));
    let copies = view.places().filter(|(place, _)| !quorum.is_witness(*place) && *place != own);
    let lacking = copies.filter_map(|(place, slot)| {
        let node = slot.state.writer()?;
        let peer = replica.topology().peer(node)?;
        let is_lacking = entries.iter().any(|(_, _, tally)| !tally.has(place));
        (is_lacking && !peer.is_doubtful()).then_some((place, peer))
    });
    let lacking: Vec<(Place, Peer)> = lacking.collect();
    (!entries.is_empty() && !lacking.is_empty()).then_some(Errand { shard, entries, lacking })
}

async fn run(replica: &Arc<Replica>, map: &Arc<MapView>, errand: Errand) {
    let Errand { shard, entries, lacking } = errand;
    let mut held: Vec<Held> = Vec::new();
    let mut settled: BTreeSet<UnsettledKey> = BTreeSet::new();
    for (place, peer) in lacking {
        let wanted: Vec<_> =
            entries.iter().filter(|(_, _, tally)| !tally.has(place)).copied().collect();
        let keys: Vec<UnsettledKey> = wanted.iter().map(|(key, ..)| *key).collect();
        let of_store = Arc::clone(replica);
        let read = blocking(move || {
            of_store.store().read_unsettled(shard, &keys, &|| false).map_err(failed)
        });
        let bundle = match read.await {
            Ok(bundle) => bundle,
            Err(error) => {
                tracing::error!(%shard, %error, "failed to read what a place missed");
                return;
            }
        };
        match bring(&peer, map, shard, bundle).await {
            Ok(Some((given, of_peer))) => {
                for (key, mark, _) in wanted {
                    let view = map.shard(shard);
                    if replica.store().delivered(shard, key, mark, place, given, view) {
                        settled.insert(key);
                    }
                }
                held.push((peer, of_peer));
            }
            // The maps differ, or it is not ready: another time.
            Ok(None) => {}
            Err(error) => {
                let node = peer.node();
                tracing::debug!(node, %shard, %error, "failed to bring what it missed");
            }
        }
    }
    for (peer, held) in held {
        tell(&peer, shard, held, &settled).await;
    }
}

/// Brings a peer what it may lack; gives the epoch under which it has all of it.
async fn bring(
    peer: &Peer,
    map: &MapView,
    shard: ShardId,
    bundle: Bundle,
) -> Result<Option<(Epoch, Vec<proto::HeldChunk>)>, PeerError> {
    let mut items = Item::all_of(bundle);
    let (mut given, mut held) = (map.epoch(), Vec::new());
    loop {
        let mut request = proto::DeliverRequest {
            view: Some(map.view().into()),
            shard: u32::from(shard.0),
            ..proto::DeliverRequest::default()
        };
        let mut bytes = 0;
        while bytes < MESSAGE_BYTES
            && let Some(item) = items.next()
        {
            bytes += item.bytes();
            item.add_to(&mut request);
        }
        if bytes == 0 {
            return Ok(Some((given, held)));
        }
        let extras = request.exemplars.len() + request.statements.len();
        let deadline = Instant::now() + DELIVER_WITHIN;
        let answer = peer.deliver(request, Call { deadline, urgency: Urgency::MayMiss }).await?;
        // Who does not know of exemplars and metadata yet does not have them either.
        if answer.fault.is_some() || answer.extras != extras as u64 {
            return Ok(None);
        }
        given = given.min(Epoch(answer.given));
        held.extend(answer.held);
    }
}

/// Tells a place what of all that it was brought is at all places now.
async fn tell(
    peer: &Peer,
    shard: ShardId,
    held: Vec<proto::HeldChunk>,
    settled: &BTreeSet<UnsettledKey>,
) {
    let held: Vec<_> = held
        .into_iter()
        .filter(|held| key_of(held).is_some_and(|key| settled.contains(&key)))
        .collect();
    if held.is_empty() {
        return;
    }
    let chunks = vec![proto::SettledChunks { shard: u32::from(shard.0), held }];
    let request = proto::SettleRequest { chunks, ..proto::SettleRequest::default() };
    let deadline = Instant::now() + super::TELL_WITHIN;
    if let Err(error) = peer.settle(request, Call { deadline, urgency: Urgency::MayMiss }).await {
        tracing::debug!(node = peer.node(), %error, "failed to say what is settled");
    }
}

/// Settles what was brought here and what all places have.
pub(crate) fn settle_chunks(replica: &Replica, chunks: &[proto::SettledChunks]) {
    for of_shard in chunks {
        let Ok(shard) = u16::try_from(of_shard.shard) else { continue };
        for held in &of_shard.held {
            if let Some(key) = key_of(held) {
                replica.store().settle_chunk(ShardId(shard), key, Mark(held.mark));
            }
        }
    }
}

/// Takes what a peer brings, if this node's place of the shard takes writes by that map.
pub(crate) async fn take_delivery(
    replica: Arc<Replica>,
    request: proto::DeliverRequest,
) -> Result<proto::DeliverAnswer, Refusal> {
    let view = request.view.map(View::from).unwrap_or_default();
    let routed = Version { generation: view.generation, epoch: view.epoch };
    let shard = u16::try_from(request.shard).map(ShardId);
    let shard = shard.map_err(|_| malformed("a shard that cannot be"))?;
    let refused = |verdict| proto::DeliverAnswer {
        fault: Some(fault(shard, verdict, view)),
        ..proto::DeliverAnswer::default()
    };
    let verdict = judge(&replica, shard, routed);
    if verdict != Verdict::Ok {
        return Ok(refused(verdict));
    }
    let given = replica.topology().given(routed);
    let of_store = Arc::clone(&replica);
    let extras = (request.exemplars.len() + request.statements.len()) as u64;
    let held = blocking(move || take(of_store.store(), shard, &request)).await?;
    let verdict = judge(&replica, shard, routed);
    if verdict != Verdict::Ok {
        return Ok(refused(verdict));
    }
    Ok(proto::DeliverAnswer { header: None, given: given.0, fault: None, held, extras })
}

fn take(
    store: &Store,
    shard: ShardId,
    request: &proto::DeliverRequest,
) -> Result<Vec<proto::HeldChunk>, Refusal> {
    let mut days: BTreeMap<Day, Vec<Entry>> = BTreeMap::new();
    for chunk in &request.chunks {
        days.entry(Day(chunk.day)).or_default().push(entry_of(chunk, shard)?);
    }
    let exemplars = request.exemplars.iter().map(|exemplar| exemplar_of(exemplar, shard));
    let exemplars: Vec<_> = exemplars.collect::<Result<_, _>>()?;
    let statements = request.statements.iter().map(statement_of);
    let statements: Vec<_> = statements.collect::<Result<_, _>>()?;
    for statement in &statements {
        let family = &statement.family;
        if store.family_shard(&family.tenant, &family.family).map_err(failed)? != shard {
            return Err(malformed("a family of another shard"));
        }
    }
    let mut taken = Vec::new();
    for (day, entries) in days {
        taken.extend(store.ingest(day, &entries).map_err(failed)?);
    }
    taken.extend(store.ingest_extras(shard, &exemplars, &statements).map_err(failed)?);
    Ok(taken.into_iter().filter_map(|(key, mark)| held_of(key, mark)).collect())
}

#[expect(clippy::needless_pass_by_value, reason = "what `map_err` gives")]
fn failed(error: StoreError) -> Refusal {
    Refusal::new(proto::Reason::Failed, error.to_string())
}

fn judge(replica: &Replica, shard: ShardId, routed: Version) -> Verdict {
    let Some(map) = replica.topology().view() else { return Verdict::NotReady };
    let view = map.assignment.shards.get(usize::from(shard.0));
    let place = map.me.zip(view).and_then(|(me, view)| view.place_of(me));
    let Some(place) = place else { return Verdict::StaleEpoch { mine: map.epoch() } };
    replica.topology().judge_write(shard, place, routed, replica.store_id())
}
