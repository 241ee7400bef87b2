//! Bodies of fuzz targets: each takes any bytes and panics where a promise is broken. The tests run
//! them over a corpus.

use rangekeeper_model::{Day, ShardCount};

use crate::{
    Assignment, CodecError, NodeIndex, NodeRow, NodeStatus, PublishId, Quorum, Replication, Shard,
    Slot, SlotEpoch, SlotState,
};
use rangekeeper_model::{
    BootCount, ClusterId, Epoch, Generation, Incarnation, NodeId, RunId, StoreId, Term, Zone,
};

/// An assignment of any bytes: it decodes to one that encodes to the same bytes, or is refused.
pub fn assignment(bytes: &[u8]) {
    if let Ok(assignment) = Assignment::decode(bytes) {
        assert_eq!(assignment.encode().as_deref(), Ok(bytes));
    }
    // Behind a checksum that matches, so that the fields are reached.
    let mut sealed = b"RKas\x01\x00".to_vec();
    sealed.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
    sealed.extend(bytes);
    sealed.extend(crc32c::crc32c(&sealed).to_le_bytes());
    if let Ok(assignment) = Assignment::decode(&sealed) {
        assert_eq!(assignment.encode(), Ok(sealed));
    }
}

/// A sound assignment made of any bytes comes back from its encoding, and no change of a byte of it
/// goes unnoticed.
pub fn assignment_round_trip(bytes: &[u8]) {
    let expected = sound(bytes);
    let encoded = match expected.encode() {
        Ok(encoded) => encoded,
        Err(CodecError::TooLarge(_)) => return,
        Err(error) => panic!("a sound assignment is refused: {error}"),
    };
    assert_eq!(Assignment::decode(&encoded), Ok(expected));
    let mut source = Source { rest: bytes };
    for _ in 0..8 {
        let mut damaged = encoded.clone();
        let at = source.below(encoded.len());
        damaged[at] ^= 1 << source.below(8);
        assert!(Assignment::decode(&damaged).is_err(), "a change of byte {at} goes unnoticed");
        damaged.truncate(at);
        assert!(Assignment::decode(&damaged).is_err(), "{at} bytes are taken for the whole");
    }
}

/// An assignment that contradicts nothing, made of any bytes.
pub fn sound(bytes: &[u8]) -> Assignment {
    let source = &mut Source { rest: bytes };
    let replication = Replication::new([1, 2, 3, 5][source.below(4)]).expect("one of the four");
    let is_alone = source.below(8) == 0;
    let quorum = if is_alone { Quorum::ALONE } else { replication.quorum() };
    let shards = ShardCount::new(1 << source.below(6)).expect("a power of two");
    let nodes = (0..10 + source.below(20)).map(|number| row(source, number)).collect::<Vec<_>>();
    let epoch = Epoch(source.number(8) >> 1);
    let shards = shards.iter().map(|_| shard(source, epoch, quorum, nodes.len())).collect();
    Assignment {
        level: Assignment::LEVEL,
        cluster: ClusterId::of(u128::from(source.number(8))),
        generation: Generation(1),
        epoch,
        term: Term(source.number(3)),
        publish: PublishId(source.number(8)),
        retention_floor: Day(20_000),
        replication,
        quorum,
        nodes,
        shards,
    }
}

fn row(source: &mut Source<'_>, number: usize) -> NodeRow {
    let name = |text: String| NodeId::new(&text).expect("a sound name");
    NodeRow {
        id: name(format!("node-{number}")),
        address: format!("10.0.0.{number}:9921").into(),
        zone: Zone::new(["a", "zone-b", "c"][source.below(3)]).expect("a sound name"),
        weight: u32::try_from(source.number(4)).expect("four bytes"),
        incarnation: Incarnation(source.number(8)),
        store: StoreId::of(u128::from(source.number(8))),
        boot: BootCount(source.number(2)),
        run: RunId::of(u128::from(source.number(8))),
        status: [NodeStatus::Up, NodeStatus::Down, NodeStatus::Draining, NodeStatus::Lost]
            [source.below(4)],
    }
}

/// A shard whose slots name different nodes: at most ten are named, and there are as many.
fn shard(source: &mut Source<'_>, epoch: Epoch, quorum: Quorum, nodes: usize) -> Shard {
    let first = source.below(nodes);
    let mut named = (first..first + nodes)
        .map(|number| NodeIndex(u16::try_from(number % nodes).expect("few nodes")));
    let mut node = || named.next().expect("ten nodes");
    let mut behind = |limit: Epoch| Epoch(limit.0 - source.number(4).min(limit.0));
    let rsince = behind(epoch);
    let since = behind(rsince);
    let slots = (0..quorum.places()).map(|_| {
        let epoch = SlotEpoch(behind(rsince));
        let state = match epoch.0.0 % 5 {
            0 => SlotState::Empty,
            1 => SlotState::Steady { node: node() },
            2 => SlotState::Moving { from: node(), to: node() },
            3 => SlotState::Cutover { from: node(), to: node() },
            _ => SlotState::Repair { node: node() },
        };
        Slot { state, epoch }
    });
    Shard { since, rsince, slots: slots.collect() }
}

struct Source<'a> {
    rest: &'a [u8],
}

impl Source<'_> {
    /// The next `count` bytes as a number; where they end, zeros.
    fn number(&mut self, count: usize) -> u64 {
        let (taken, rest) = self.rest.split_at(self.rest.len().min(count));
        self.rest = rest;
        taken.iter().fold(0, |number, &byte| number << 8 | u64::from(byte))
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.number(3)).expect("three bytes") % limit
    }
}
