//! The bytes of an assignment, as they lie in ZooKeeper, in a node's cache and in answers to peers.
//!
//! Integers are little-endian; `varint` is LEB128 in its shortest form; a text is its length in a
//! byte and its bytes. Epochs inside are how far they lie behind the assignment's own.
//!
//! ```text
//! ┌───────────┬───────────┬────────────┬──────────────────────────────┬────────────┐
//! │ magic 4 B │ level u16 │ length u32 │ body, `length` bytes         │ crc32c u32 │
//! └───────────┴───────────┴────────────┴──────────────────────────────┴────────────┘
//! body
//! ┌──────────────┬────────────────┬───────────┬──────────┬─────────────┬───────────┐
//! │ cluster 16 B │ generation u32 │ epoch u64 │ term u64 │ publish u64 │ floor u32 │
//! ├──────────────┴──┬───────────┬─┴───────────┴┬─────────┴─────────────┴───────────┤
//! │ replication u8  │ places u8 │ nodes u16    │ log2 of the number of shards u8   │
//! ├─────────────────┴───────────┴──────────────┴───────────────────────────────────┤
//! │ a row for each node: id, address, zone (texts), weight varint,                 │
//! │   incarnation u64, store 16 B, boot varint, run 16 B, status u8                │
//! ├────────────────────────────────────────────────────────────────────────────────┤
//! │ for each shard: since varint, rsince varint, then for each place               │
//! │   state u8 (0 empty, 1 steady, 2 moving, 3 cutover, 4 repair),                 │
//! │   as many node indices u16 as the state names, slot epoch varint               │
//! └────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! The checksum is over all that stands before it. There is one encoding of an assignment: what
//! decodes encodes to the same bytes.

use rangekeeper_model::{Day, ShardCount};
use uuid::Uuid;

use super::{Assignment, Inconsistency, NodeRow, NodeStatus, Shard};
use crate::ids::{NodeIndex, PublishId, SlotEpoch};
use crate::quorum::{Quorum, Replication};
use crate::slot::{Slot, SlotState};
use rangekeeper_model::{
    BootCount, ClusterId, Epoch, FormatLevel, Generation, Incarnation, NodeId, RunId, StoreId,
    Term, Zone,
};

/// The longest assignment that is encoded: half of what ZooKeeper takes in one packet, which it
/// answers by closing the connection without a word.
pub const MAX_ENCODED_BYTES: usize = 512 * 1024;

const MAGIC: [u8; 4] = *b"RKas";
const HEAD_BYTES: usize = MAGIC.len() + 2 + 4;
const CRC_BYTES: usize = 4;

/// Why an assignment was not encoded or decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// It would be over the limit.
    #[error("an assignment of {0} bytes is over {MAX_ENCODED_BYTES}")]
    TooLarge(usize),
    /// The bytes are no assignment.
    #[error("an assignment does not begin with {0:02x?}")]
    Magic(Vec<u8>),
    /// The bytes are of a format that this build does not read: keep the assignment you have.
    #[error("an assignment of format level {0}, not of {known}", known = Assignment::LEVEL)]
    Level(FormatLevel),
    /// The bytes are fewer or more than their head says.
    #[error("an assignment of {found} bytes, its head says {said}")]
    Length {
        /// How many there are.
        found: usize,
        /// How many there should be.
        said: usize,
    },
    /// The bytes were changed.
    #[error("an assignment's checksum is {found:08x}, its bytes have {computed:08x}")]
    Checksum {
        /// What is written.
        found: u32,
        /// What the bytes have.
        computed: u32,
    },
    /// A field that cannot be.
    #[error("an assignment's {field} at byte {offset} of the body is invalid")]
    Field {
        /// Which.
        field: &'static str,
        /// Where it was refused.
        offset: usize,
    },
    /// The fields do not fit each other.
    #[error("an assignment contradicts itself: {0}")]
    Inconsistent(#[from] Inconsistency),
}

impl Assignment {
    /// The bytes of the assignment. Refuses one that contradicts itself or is too long.
    pub fn encode(&self) -> Result<Vec<u8>, CodecError> {
        if self.level != Self::LEVEL {
            return Err(CodecError::Level(self.level));
        }
        self.check()?;
        let mut out = Vec::with_capacity(64 * self.nodes.len() + 32 * self.shards.len() + 128);
        out.extend(MAGIC);
        out.extend(self.level.0.to_le_bytes());
        out.extend([0; 4]);
        self.put_body(&mut out);
        let bytes = out.len() + CRC_BYTES;
        if bytes > MAX_ENCODED_BYTES {
            return Err(CodecError::TooLarge(bytes));
        }
        let length = u32::try_from(out.len() - HEAD_BYTES).expect("under the limit");
        out[HEAD_BYTES - 4..HEAD_BYTES].copy_from_slice(&length.to_le_bytes());
        let crc = crc32c::crc32c(&out);
        out.extend(crc.to_le_bytes());
        Ok(out)
    }

    fn put_body(&self, out: &mut Vec<u8>) {
        out.extend(self.cluster.0.as_bytes());
        out.extend(self.generation.0.to_le_bytes());
        out.extend(self.epoch.0.to_le_bytes());
        out.extend(self.term.0.to_le_bytes());
        out.extend(self.publish.0.to_le_bytes());
        out.extend(self.retention_floor.0.to_le_bytes());
        out.push(self.replication.copies());
        out.push(u8::try_from(self.quorum.places()).expect("at most five"));
        out.extend(u16::try_from(self.nodes.len()).expect("checked").to_le_bytes());
        out.push(u8::try_from(self.shards.len().trailing_zeros()).expect("a power of two"));
        for row in &self.nodes {
            put_row(out, row);
        }
        for shard in &self.shards {
            put_varint(out, self.epoch.0 - shard.since.0);
            put_varint(out, self.epoch.0 - shard.rsince.0);
            for slot in &shard.slots {
                out.push(state_tag(slot.state));
                slot.state.nodes().for_each(|node| out.extend(node.0.to_le_bytes()));
                put_varint(out, self.epoch.0 - slot.epoch.0.0);
            }
        }
    }

    /// Reads what [`encode`](Self::encode) wrote. Any change of the bytes is an error.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        if !bytes.starts_with(&MAGIC) {
            return Err(CodecError::Magic(bytes.iter().take(MAGIC.len()).copied().collect()));
        }
        let Some((head, rest)) = bytes.split_first_chunk::<HEAD_BYTES>() else {
            return Err(CodecError::Length { found: bytes.len(), said: HEAD_BYTES + CRC_BYTES });
        };
        let level = FormatLevel(u16::from_le_bytes([head[4], head[5]]));
        if level != Self::LEVEL {
            return Err(CodecError::Level(level));
        }
        let length = u32::from_le_bytes([head[6], head[7], head[8], head[9]]) as usize;
        let said = HEAD_BYTES + length + CRC_BYTES;
        if said > MAX_ENCODED_BYTES {
            return Err(CodecError::TooLarge(said));
        }
        if bytes.len() != said {
            return Err(CodecError::Length { found: bytes.len(), said });
        }
        let (body, crc) = rest.split_at(length);
        let found = u32::from_le_bytes(crc.try_into().expect("the length was compared"));
        let computed = crc32c::crc32c(&bytes[..HEAD_BYTES + length]);
        if found != computed {
            return Err(CodecError::Checksum { found, computed });
        }
        let mut input = Input { body, offset: 0 };
        let assignment = input.assignment(level)?;
        if input.offset != body.len() {
            return Err(input.invalid("end"));
        }
        assignment.check()?;
        Ok(assignment)
    }
}

fn put_row(out: &mut Vec<u8>, row: &NodeRow) {
    for text in [row.id.as_str(), &row.address, row.zone.as_str()] {
        out.push(u8::try_from(text.len()).expect("names are short, addresses are checked"));
        out.extend(text.as_bytes());
    }
    put_varint(out, row.weight.into());
    out.extend(row.incarnation.0.to_le_bytes());
    out.extend(row.store.0.as_bytes());
    put_varint(out, row.boot.0);
    out.extend(row.run.0.as_bytes());
    out.push(match row.status {
        NodeStatus::Up => 0,
        NodeStatus::Down => 1,
        NodeStatus::Draining => 2,
        NodeStatus::Lost => 3,
    });
}

fn state_tag(state: SlotState) -> u8 {
    match state {
        SlotState::Empty => 0,
        SlotState::Steady { .. } => 1,
        SlotState::Moving { .. } => 2,
        SlotState::Cutover { .. } => 3,
        SlotState::Repair { .. } => 4,
    }
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number > 0x7f {
        out.push(u8::try_from(number & 0x7f).expect("seven bits") | 0x80);
        number >>= 7;
    }
    out.push(u8::try_from(number).expect("seven bits"));
}

struct Input<'a> {
    body: &'a [u8],
    offset: usize,
}

impl<'a> Input<'a> {
    fn invalid(&self, field: &'static str) -> CodecError {
        CodecError::Field { field, offset: self.offset }
    }

    fn take(&mut self, field: &'static str, count: usize) -> Result<&'a [u8], CodecError> {
        let rest = &self.body[self.offset..];
        let taken = rest.get(..count).ok_or_else(|| self.invalid(field))?;
        self.offset += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], CodecError> {
        Ok(self.take(field, N)?.try_into().expect("as many were taken"))
    }

    fn u8(&mut self, field: &'static str) -> Result<u8, CodecError> {
        Ok(self.array::<1>(field)?[0])
    }

    fn u16(&mut self, field: &'static str) -> Result<u16, CodecError> {
        Ok(u16::from_le_bytes(self.array(field)?))
    }

    fn u32(&mut self, field: &'static str) -> Result<u32, CodecError> {
        Ok(u32::from_le_bytes(self.array(field)?))
    }

    fn u64(&mut self, field: &'static str) -> Result<u64, CodecError> {
        Ok(u64::from_le_bytes(self.array(field)?))
    }

    fn varint(&mut self, field: &'static str) -> Result<u64, CodecError> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.u8(field)?;
            let part = u64::from(byte & 0x7f);
            let is_cut = part << shift >> shift != part;
            let is_padded = byte == 0 && shift > 0;
            if is_cut || is_padded {
                return Err(self.invalid(field));
            }
            number |= part << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(self.invalid(field))
    }

    /// An epoch that is written as its distance from a later one.
    fn behind(&mut self, field: &'static str, epoch: Epoch) -> Result<Epoch, CodecError> {
        let distance = self.varint(field)?;
        epoch.0.checked_sub(distance).map(Epoch).ok_or_else(|| self.invalid(field))
    }

    fn text(&mut self, field: &'static str) -> Result<&'a str, CodecError> {
        let length = usize::from(self.u8(field)?);
        let bytes = self.take(field, length)?;
        std::str::from_utf8(bytes).map_err(|_| self.invalid(field))
    }

    fn assignment(&mut self, level: FormatLevel) -> Result<Assignment, CodecError> {
        let cluster = ClusterId(Uuid::from_bytes(self.array("cluster")?));
        let generation = Generation(self.u32("generation")?);
        let epoch = Epoch(self.u64("epoch")?);
        let term = Term(self.u64("term")?);
        let publish = PublishId(self.u64("publish id")?);
        let retention_floor = Day(self.u32("retention floor")?);
        let copies = self.u8("replication")?;
        let replication = Replication::new(copies).map_err(|_| self.invalid("replication"))?;
        let places = usize::from(self.u8("places")?);
        let quorum = [replication.quorum(), Quorum::ALONE]
            .into_iter()
            .find(|quorum| quorum.places() == places)
            .ok_or_else(|| self.invalid("places"))?;
        let nodes = self.u16("number of nodes")?;
        let bits = u32::from(self.u8("number of shards")?);
        let shards = 1u32.checked_shl(bits).and_then(|count| ShardCount::new(count).ok());
        let shards = shards.ok_or_else(|| self.invalid("number of shards"))?;
        let nodes = (0..nodes).map(|_| self.row()).collect::<Result<_, _>>()?;
        let shards = shards.iter().map(|_| self.shard(epoch, quorum)).collect::<Result<_, _>>()?;
        Ok(Assignment {
            level,
            cluster,
            generation,
            epoch,
            term,
            publish,
            retention_floor,
            replication,
            quorum,
            nodes,
            shards,
        })
    }

    fn row(&mut self) -> Result<NodeRow, CodecError> {
        let id = NodeId::new(self.text("node id")?).map_err(|_| self.invalid("node id"))?;
        let address = self.text("address")?.into();
        let zone = Zone::new(self.text("zone")?).map_err(|_| self.invalid("zone"))?;
        let weight = self.varint("weight")?;
        let weight = u32::try_from(weight).map_err(|_| self.invalid("weight"))?;
        let incarnation = Incarnation(self.u64("incarnation")?);
        let store = StoreId(Uuid::from_bytes(self.array("store id")?));
        let boot = BootCount(self.varint("boot counter")?);
        let run = RunId(Uuid::from_bytes(self.array("run")?));
        let status = match self.u8("node status")? {
            0 => NodeStatus::Up,
            1 => NodeStatus::Down,
            2 => NodeStatus::Draining,
            3 => NodeStatus::Lost,
            _ => return Err(self.invalid("node status")),
        };
        Ok(NodeRow { id, address, zone, weight, incarnation, store, boot, run, status })
    }

    fn shard(&mut self, epoch: Epoch, quorum: Quorum) -> Result<Shard, CodecError> {
        let since = self.behind("since", epoch)?;
        let rsince = self.behind("rsince", epoch)?;
        let slots = (0..quorum.places()).map(|_| self.slot(epoch)).collect::<Result<_, _>>()?;
        Ok(Shard { since, rsince, slots })
    }

    fn slot(&mut self, epoch: Epoch) -> Result<Slot, CodecError> {
        let tag = self.u8("slot state")?;
        let mut node = || self.u16("slot's node").map(NodeIndex);
        let state = match tag {
            0 => SlotState::Empty,
            1 => SlotState::Steady { node: node()? },
            2 => SlotState::Moving { from: node()?, to: node()? },
            3 => SlotState::Cutover { from: node()?, to: node()? },
            4 => SlotState::Repair { node: node()? },
            _ => return Err(self.invalid("slot state")),
        };
        Ok(Slot { state, epoch: SlotEpoch(self.behind("slot epoch", epoch)?) })
    }
}
