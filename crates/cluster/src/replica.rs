//! This node as one of a shard's places: what it stores for a router, itself or a peer.
//!
//! **Invariant:** a shard's rows are acknowledged only if its map lets this node take them when
//! they come *and* when they are synced. **Invariant:** time and limits were judged by the router;
//! here nothing is refused but what cannot be stored at all.

use std::collections::BTreeMap;
use std::sync::Arc;

use rangekeeper_model::{Labels, ShardId, StoreId, TenantId};
use rangekeeper_placement::{Verdict, Version};
use rangekeeper_storage::{
    Committed, FamilyKey, FamilyMetadata, RowIndex, Scope, Store, Write, WriteError,
};
use rangekeeper_wire::peer::{Part, Request, Row, frame};
use rangekeeper_wire::proto::peer as proto;
use rangekeeper_wire::{DecodeError, v1};

use crate::error::Refusal;
use crate::identity::View;
use crate::reading::Asks;
use crate::rows::Batch;
use crate::topology::{MapView, Topology};

/// As metrics name it, a row whose hash is another series'.
pub(crate) const HASH_COLLISION: &str = "hash_collision";
/// A row that no router of ours makes.
const MALFORMED_ROW: &str = "malformed";

/// Says whether there is room for another write, or why not.
pub type Admit = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// The store of this node, and what it may be used for.
pub(crate) struct Replica {
    store: Store,
    store_id: StoreId,
    topology: Arc<dyn Topology>,
    admit: Admit,
}

/// Why nothing of a part was stored.
enum Failure {
    Refused(Refusal),
    Decode(DecodeError),
    Write(WriteError),
}

/// What this node says to the shards of one part.
struct Judged<'a> {
    replica: &'a Replica,
    map: Arc<MapView>,
    routed: Version,
    verdicts: BTreeMap<ShardId, Verdict>,
    last: Option<(ShardId, bool)>,
}

/// What was put into a write.
#[derive(Default)]
struct Filled {
    unknown_rows: Vec<u32>,
    rejected: Vec<proto::RejectedRow>,
}

impl Replica {
    pub(crate) fn new(
        store: Store,
        store_id: StoreId,
        topology: Arc<dyn Topology>,
        admit: Admit,
    ) -> Self {
        Self { store, store_id, topology, admit }
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    pub(crate) fn store_id(&self) -> StoreId {
        self.store_id
    }

    pub(crate) fn topology(&self) -> &Arc<dyn Topology> {
        &self.topology
    }

    /// Stores a peer's rows.
    pub(crate) async fn write_part(&self, part: &proto::WritePart) -> proto::PartAnswer {
        let view = part.view.map(View::from).unwrap_or_default();
        let routed = Version { generation: view.generation, epoch: view.epoch };
        let taken = self.judging(routed).and_then(|mut judged| {
            let (write, filled) = self.take(&part.rows, &mut judged)?;
            Ok((judged, write, filled))
        });
        match taken {
            Ok((judged, write, filled)) => self.commit(judged, write, filled).await,
            Err(failure) => failure.into_answer(),
        }
    }

    /// Stores rows that this node itself routes.
    pub(crate) async fn write_batch(
        &self,
        batch: &Batch,
        runs: &[usize],
        routed: Version,
    ) -> proto::PartAnswer {
        let taken = self.judging(routed).and_then(|mut judged| {
            let mut taken = runs.to_vec();
            taken.retain(|&run| judged.takes(batch.runs()[run].shard));
            let mut write = self.store.write(batch.tenant())?;
            batch.fill(&taken, &mut write);
            let rows: Vec<u32> = batch.rows_of(&taken).collect();
            let mut filled = Filled::default();
            for row in write.resolve() {
                let at = rows[row.number()];
                let number = position(batch.rows_of(runs), at);
                filled.name(&mut write, row, number, Some(batch.labels_of(at)));
            }
            Ok((judged, write, filled))
        });
        match taken {
            Ok((judged, write, filled)) => self.commit(judged, write, filled).await,
            Err(failure) => failure.into_answer(),
        }
    }

    fn judging(&self, routed: Version) -> Result<Judged<'_>, Failure> {
        let refused = |reason, text: &str| Failure::Refused(Refusal::new(reason, text));
        (self.admit)().map_err(|why| refused(proto::Reason::Shed, &why))?;
        let map = self.topology.view();
        let map = map.ok_or_else(|| refused(proto::Reason::NotReady, "there is no map yet"))?;
        Ok(Judged { replica: self, map, routed, verdicts: BTreeMap::new(), last: None })
    }

    /// Reads a frame of one request into a write.
    fn take(&self, bytes: &[u8], judged: &mut Judged<'_>) -> Result<(Write, Filled), Failure> {
        let mut parts = frame(bytes);
        let Some(Part::Request(request)) = parts.next().transpose()? else {
            let refusal = Refusal::new(proto::Reason::Malformed, "a part without a request");
            return Err(Failure::Refused(refusal));
        };
        let mut write = self.store.write(&request.tenant)?;
        self.take_families(&request, &mut write, judged)?;
        // The rows that were taken: their number within the part, and their labels.
        let mut taken: Vec<(u32, Option<&[u8]>)> = Vec::new();
        for (number, part) in (0u32..).zip(parts) {
            let Part::Row(row) = part? else {
                let refusal = Refusal::new(proto::Reason::Malformed, "two requests in a part");
                return Err(Failure::Refused(refusal));
            };
            if judged.takes(judged.map.assignment.shard_count().of(row.hash)) {
                take_row(&row, &mut write)?;
                taken.push((number, row.labels));
            }
        }
        let mut filled = Filled::default();
        for row in write.resolve() {
            let (number, labels) = taken[row.number()];
            filled.name(&mut write, row, number, labels);
        }
        Ok((write, filled))
    }

    fn take_families(
        &self,
        request: &Request<'_>,
        write: &mut Write,
        judged: &mut Judged<'_>,
    ) -> Result<(), Failure> {
        let mut entries = request.metadata();
        while let Some(entry) = entries.try_next()? {
            let v1::Entry::Metadata(said) = entry else { continue };
            let shard = self.store.family_shard(&request.tenant, &said.family);
            if judged.takes(shard.map_err(|error| WriteError::Refused(error.to_string()))?) {
                let metadata = FamilyMetadata {
                    metric_type: said.metadata.metric_type,
                    help: said.metadata.help.clone().into_owned(),
                    unit: said.metadata.unit.clone().into_owned(),
                };
                write.metadata(family_key(&request.tenant, &said.family), metadata);
            }
        }
        Ok(())
    }

    async fn commit(
        &self,
        mut judged: Judged<'_>,
        write: Write,
        filled: Filled,
    ) -> proto::PartAnswer {
        let given = self.topology.given(judged.routed);
        match write.commit().await {
            Ok(Committed { samples, histograms, exemplars, position }) => {
                judged.again();
                proto::PartAnswer {
                    written: Some(proto::Written { samples, histograms, exemplars }),
                    position: position.map(|position| position.0),
                    unknown_rows: filled.unknown_rows,
                    faults: judged.faults(),
                    rejected: filled.rejected,
                    refusal: None,
                    given: given.0,
                }
            }
            Err(error) => Failure::from(error).into_answer(),
        }
    }
}

impl Replica {
    /// What of the shards that are asked for may be read here, and what not, by the map of
    /// `routed`.
    pub(crate) fn readable(&self, asks: &Asks, routed: Version) -> (Scope, Vec<proto::ShardFault>) {
        let mut scope = Scope { full: asks.full.clone(), unsettled: &asks.unsettled - &asks.full };
        let faults = self.unreadable(asks, routed);
        for proto::ShardFault { shard, .. } in &faults {
            scope.full.remove(*shard);
            scope.unsettled.remove(*shard);
        }
        (scope, faults)
    }

    /// What of the shards that are asked for may not be read here.
    pub(crate) fn unreadable(&self, asks: &Asks, routed: Version) -> Vec<proto::ShardFault> {
        let asked = &asks.full | &asks.unsettled;
        let judged = self.topology.judge_reads(&asked, routed, self.store_id);
        let view = self.topology.view().map(|map| map.view()).unwrap_or_default();
        judged.into_iter().map(|(shard, verdict)| fault(shard, verdict, view)).collect()
    }
}

fn take_row(row: &Row<'_>, write: &mut Write) -> Result<(), DecodeError> {
    let written = write.series(row.hash);
    for sample in row.samples() {
        write.float(sample.timestamp_ms, sample.start_ms, sample.value);
    }
    let Some(rest) = row.rest() else { return Ok(()) };
    for sample in rest.histograms() {
        write.histogram(written, sample?);
    }
    for exemplar in rest.exemplars() {
        let exemplar = exemplar?;
        // A router checked them: what cannot be read now was damaged on its way, and a checksum
        // below would have seen that.
        if let Ok(labels) = exemplar.labels() {
            write.exemplar(written, exemplar.timestamp_ms, exemplar.value, labels);
        }
    }
    Ok(())
}

impl Filled {
    /// Names a series that this node does not know, or says that it needs its labels.
    fn name(&mut self, write: &mut Write, row: RowIndex, number: u32, labels: Option<&[u8]>) {
        let Some(bytes) = labels else { return self.unknown_rows.push(number) };
        let hash = write.hash_of(row);
        let rejected = |reason: &str, text| proto::RejectedRow {
            row: number,
            reason: reason.to_owned(),
            text,
        };
        let labels = Labels::from_canonical(bytes).ok();
        let Some(labels) = labels.filter(|_| write.tenant().hasher().hash(bytes) == hash) else {
            let text = "labels that are not canonical, or not those of the hash".to_owned();
            return self.rejected.push(rejected(MALFORMED_ROW, text));
        };
        if let Err(collision) = write.define(row, labels) {
            self.rejected.push(rejected(HASH_COLLISION, collision.to_string()));
        }
    }
}

impl Judged<'_> {
    /// Whether rows of the shard may be taken.
    #[inline]
    fn takes(&mut self, shard: ShardId) -> bool {
        if let Some((last, taken)) = self.last
            && last == shard
        {
            return taken;
        }
        let verdict = match self.verdicts.get(&shard) {
            Some(verdict) => *verdict,
            None => self.judge(shard),
        };
        self.verdicts.insert(shard, verdict);
        let taken = verdict == Verdict::Ok;
        self.last = Some((shard, taken));
        taken
    }

    fn judge(&self, shard: ShardId) -> Verdict {
        let stale = Verdict::StaleEpoch { mine: self.map.epoch() };
        let view = self.map.assignment.shards.get(usize::from(shard.0));
        let place = self.map.me.zip(view).and_then(|(me, view)| view.place_of(me));
        let Some(place) = place else { return stale };
        let Replica { topology, store_id, .. } = self.replica;
        topology.judge_write(shard, place, self.routed, *store_id)
    }

    /// Judges once more what was taken, if the map is another one by now.
    fn again(&mut self) {
        let Some(now) = self.replica.topology.view() else { return };
        if now.version() == self.map.version() {
            return;
        }
        self.map = now;
        let shards: Vec<ShardId> = self.verdicts.keys().copied().collect();
        for shard in shards {
            if self.verdicts[&shard] == Verdict::Ok {
                self.verdicts.insert(shard, self.judge(shard));
            }
        }
    }

    fn faults(&self) -> Vec<proto::ShardFault> {
        let faults = self.verdicts.iter().filter(|(_, verdict)| **verdict != Verdict::Ok);
        faults.map(|(shard, verdict)| fault(*shard, *verdict, self.map.view())).collect()
    }
}

/// A verdict as an answer tells it.
pub(crate) fn fault(shard: ShardId, verdict: Verdict, view: View) -> proto::ShardFault {
    let state = match verdict {
        Verdict::StaleEpoch { .. } => proto::ShardState::Stale,
        Verdict::WrongStore | Verdict::WrongCluster => proto::ShardState::WrongStore,
        Verdict::NotReady | Verdict::Ok => proto::ShardState::NotReady,
    };
    proto::ShardFault {
        shard: u32::from(shard.0),
        state: state.into(),
        view: Some(view.into()),
        text: String::new(),
    }
}

pub(crate) fn family_key(tenant: &TenantId, family: &str) -> FamilyKey {
    FamilyKey { tenant: tenant.clone(), family: family.to_owned() }
}

fn position(mut rows: impl Iterator<Item = u32>, wanted: u32) -> u32 {
    let at = rows.position(|row| row == wanted).expect("it is one of them");
    u32::try_from(at).expect("rows are counted in u32")
}

impl Failure {
    fn into_answer(self) -> proto::PartAnswer {
        let refusal = match self {
            Self::Refused(refusal) => refusal,
            Self::Decode(error) => Refusal::new(proto::Reason::Malformed, error.to_string()),
            Self::Write(error @ WriteError::TooLarge(_)) => {
                Refusal::new(proto::Reason::Limit, error.to_string())
            }
            Self::Write(error) => Refusal::new(proto::Reason::NotReady, error.to_string()),
        };
        proto::PartAnswer { refusal: Some(refusal.into()), ..proto::PartAnswer::default() }
    }
}

impl From<DecodeError> for Failure {
    fn from(error: DecodeError) -> Self {
        Self::Decode(error)
    }
}

impl From<WriteError> for Failure {
    fn from(error: WriteError) -> Self {
        Self::Write(error)
    }
}
