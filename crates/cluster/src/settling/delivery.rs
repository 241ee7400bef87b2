//! Bringing places what they missed: every holder of unsettled chunks offers them to the copies
//! that are not known to have them, until they say that they do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rangekeeper_model::{Day, Epoch, Labels, SeriesId, ShardId, TenantId, Window, WindowInDay};
use rangekeeper_placement::{Mark, Place, Tally, UnsettledKey, Verdict, Version};
use rangekeeper_storage::db::Entry;
use rangekeeper_wire::proto::peer as proto;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

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
/// Chunk values of one message; the rest of the entries goes with the next.
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
                run(&replica, &map, errand).await;
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
            let failed = |error: rangekeeper_storage::StoreError| {
                Refusal::new(proto::Reason::Failed, error.to_string())
            };
            of_store.store().read_unsettled(shard, &keys, &|| false).map_err(failed)
        });
        let chunks = match read.await {
            Ok(chunks) => chunks,
            Err(error) => {
                tracing::error!(%shard, %error, "failed to read what a place missed");
                return;
            }
        };
        match bring(&peer, map, shard, chunks).await {
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

/// Brings chunks to a peer; gives the epoch under which it has all of them.
async fn bring(
    peer: &Peer,
    map: &MapView,
    shard: ShardId,
    days: Vec<(Day, Vec<Entry>)>,
) -> Result<Option<(Epoch, Vec<proto::HeldChunk>)>, PeerError> {
    let mut chunks = days.into_iter().flat_map(|(day, entries)| {
        entries.into_iter().map(move |entry| delivered_chunk(day, entry))
    });
    let (mut given, mut held) = (map.epoch(), Vec::new());
    loop {
        let mut bytes = 0;
        let mut part = Vec::new();
        for chunk in chunks.by_ref() {
            bytes += chunk.value.len() + chunk.labels.len();
            part.push(chunk);
            if bytes >= MESSAGE_BYTES {
                break;
            }
        }
        if part.is_empty() {
            return Ok(Some((given, held)));
        }
        let request = proto::DeliverRequest {
            header: None,
            view: Some(map.view().into()),
            shard: u32::from(shard.0),
            chunks: part,
        };
        let deadline = Instant::now() + DELIVER_WITHIN;
        let answer = peer.deliver(request, Call { deadline, urgency: Urgency::MayMiss }).await?;
        if answer.fault.is_some() {
            return Ok(None);
        }
        given = given.min(Epoch(answer.given));
        held.extend(answer.held);
    }
}

fn delivered_chunk(day: Day, entry: Entry) -> proto::DeliveredChunk {
    proto::DeliveredChunk {
        day: day.0,
        window_in_day: u32::from(entry.window.0),
        series: Bytes::copy_from_slice(&entry.id.0),
        tenant: entry.tenant.as_str().to_owned(),
        labels: Bytes::copy_from_slice(entry.labels.as_bytes()),
        value: entry.value.into(),
    }
}

/// Tells a place what of the chunks that it was brought is at all places now.
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

/// What says in a message that a whole day is meant.
const WHOLE_DAY: u32 = u32::MAX;

fn key_of(held: &proto::HeldChunk) -> Option<UnsettledKey> {
    let day = Day(held.day);
    if held.window_in_day == WHOLE_DAY {
        return Some(UnsettledKey::Day(day));
    }
    let window = u8::try_from(held.window_in_day).ok()?;
    let series = SeriesId(<[u8; SeriesId::BYTES]>::try_from(&held.series[..]).ok()?);
    Some(UnsettledKey::Chunk(Window::new(day, WindowInDay(window)), series))
}

fn held_of(key: UnsettledKey, mark: Mark) -> Option<proto::HeldChunk> {
    let (day, window_in_day, series) = match key {
        UnsettledKey::Record(_) => return None,
        UnsettledKey::Chunk(window, series) => {
            let series = Bytes::copy_from_slice(&series.0);
            (window.day(), u32::from(window.in_day().0), series)
        }
        UnsettledKey::Day(day) => (day, WHOLE_DAY, Bytes::new()),
    };
    Some(proto::HeldChunk { day: day.0, window_in_day, series, mark: mark.0 })
}

/// Settles chunks that were brought here and that all places have.
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
    let held = blocking(move || {
        let mut days: BTreeMap<Day, Vec<Entry>> = BTreeMap::new();
        for chunk in &request.chunks {
            days.entry(Day(chunk.day)).or_default().push(entry_of(chunk, shard)?);
        }
        let mut held = Vec::new();
        for (day, entries) in days {
            let failed = |error: rangekeeper_storage::StoreError| {
                Refusal::new(proto::Reason::Failed, error.to_string())
            };
            let taken = of_store.store().ingest(day, &entries).map_err(failed)?;
            held.extend(taken.into_iter().filter_map(|(key, mark)| held_of(key, mark)));
        }
        Ok(held)
    });
    let held = held.await?;
    let verdict = judge(&replica, shard, routed);
    if verdict != Verdict::Ok {
        return Ok(refused(verdict));
    }
    Ok(proto::DeliverAnswer { header: None, given: given.0, fault: None, held })
}

fn judge(replica: &Replica, shard: ShardId, routed: Version) -> Verdict {
    let Some(map) = replica.topology().view() else { return Verdict::NotReady };
    let view = map.assignment.shards.get(usize::from(shard.0));
    let place = map.me.zip(view).and_then(|(me, view)| view.place_of(me));
    let Some(place) = place else { return Verdict::StaleEpoch { mine: map.epoch() } };
    replica.topology().judge_write(shard, place, routed, replica.store_id())
}

fn entry_of(chunk: &proto::DeliveredChunk, shard: ShardId) -> Result<Entry, Refusal> {
    let id = <[u8; SeriesId::BYTES]>::try_from(&chunk.series[..]);
    let id = SeriesId(id.map_err(|_| malformed("an id that is none"))?);
    if id.shard() != shard {
        return Err(malformed("a series of another shard"));
    }
    let window = u8::try_from(chunk.window_in_day).map(WindowInDay);
    Ok(Entry {
        id,
        tenant: TenantId::new(&chunk.tenant).map_err(|error| malformed(&error.to_string()))?,
        labels: Labels::from_canonical(&chunk.labels)
            .map_err(|error| malformed(&error.to_string()))?,
        window: window.map_err(|_| malformed("a window that cannot be"))?,
        value: chunk.value.to_vec(),
    })
}

fn malformed(text: &str) -> Refusal {
    Refusal::new(proto::Reason::Malformed, text)
}
