//! Encoding of assignments: size, limits, and what is said of bytes that are none.

use rangekeeper_model::{
    BootCount, ClusterId, Epoch, FormatLevel, Incarnation, NodeId, RunId, StoreId, Zone,
};
use rangekeeper_model::{ShardCount, ShardId};
use rangekeeper_placement::{
    Assignment, CodecError, Inconsistency, MAX_ENCODED_BYTES, NodeIndex, NodeRow, NodeStatus,
    Replication, Slot, SlotEpoch, SlotState,
};
fn row(number: usize) -> NodeRow {
    NodeRow {
        id: NodeId::new(&format!("node-{number:03}")).unwrap(),
        address: format!("node-{number:03}.metrics.example:9921").into(),
        zone: Zone::new(&format!("zone-{}", number % 3)).unwrap(),
        weight: 100,
        incarnation: Incarnation(1 << 40),
        store: StoreId::of(7 << 64 | number as u128),
        boot: BootCount(300),
        run: RunId::of(9 << 64 | number as u128),
        status: NodeStatus::Up,
    }
}

/// A steady assignment whose slots were changed at epochs far apart.
fn placed(shards: u32, nodes: usize) -> Assignment {
    let shards = ShardCount::new(shards).unwrap();
    let cluster = ClusterId::of(1);
    let mut assignment = Assignment::empty(cluster, Replication::Three, shards);
    assignment.epoch = Epoch(3_000_000_000);
    assignment.nodes = (0..nodes).map(row).collect();
    for (number, shard) in assignment.shards.iter_mut().enumerate() {
        for (place, slot) in shard.slots.iter_mut().enumerate() {
            let node = NodeIndex(u16::try_from((number + place) % nodes).unwrap());
            let epoch = SlotEpoch(Epoch(number as u64));
            *slot = Slot { state: SlotState::Steady { node }, epoch };
        }
        shard.rsince = Epoch(number as u64);
    }
    assignment
}

#[test]
fn a_thousand_shards_on_a_hundred_nodes_fit_well_into_a_znode() {
    let assignment = placed(1024, 100);
    let bytes = assignment.encode().unwrap();
    // The worst distances of epochs; 34 KB for the slots, 8 for the table.
    assert!(bytes.len() < 46_000, "{} bytes", bytes.len());
    assert_eq!(Assignment::decode(&bytes), Ok(assignment.clone()));
    let mut young = assignment;
    young.epoch = Epoch(1_200);
    let bytes = young.encode().unwrap();
    assert!(bytes.len() < 33_000, "{} bytes", bytes.len());
}

#[test]
fn what_would_not_fit_a_packet_is_refused() {
    let bytes = placed(8192, 100).encode().unwrap();
    assert!(bytes.len() <= MAX_ENCODED_BYTES);
    let error = placed(32_768, 100).encode().unwrap_err();
    assert!(matches!(error, CodecError::TooLarge(bytes) if bytes > MAX_ENCODED_BYTES), "{error}");
}

#[test]
fn errors_name_what_is_wrong() {
    let bytes = placed(4, 3).encode().unwrap();
    let said = |bytes: &[u8]| Assignment::decode(bytes).unwrap_err().to_string();
    assert_eq!(said(b"PK\x03\x04"), "an assignment does not begin with [50, 4b, 03, 04]");
    let mut other = bytes.clone();
    other[4] = 9;
    assert_eq!(Assignment::decode(&other), Err(CodecError::Level(FormatLevel(9))));
    assert_eq!(said(&other), "an assignment of format level 9, not of 1");
    let longer = [bytes.as_slice(), b"x"].concat();
    assert_eq!(
        Assignment::decode(&longer),
        Err(CodecError::Length { found: bytes.len() + 1, said: bytes.len() })
    );
    let mut flipped = bytes;
    flipped[40] ^= 1;
    assert!(said(&flipped).starts_with("an assignment's checksum is "));
}

#[test]
fn an_assignment_that_contradicts_itself_is_never_published() {
    let refused = |change: fn(&mut Assignment)| {
        let mut assignment = placed(4, 3);
        change(&mut assignment);
        match assignment.encode() {
            Err(CodecError::Inconsistent(why)) => why,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        refused(|a| a.shards[1].slots[0].state = SlotState::Steady { node: NodeIndex(9) }),
        Inconsistency::UnknownNode(ShardId(1), NodeIndex(9))
    );
    assert_eq!(
        refused(|a| a.shards[2].slots[0].state = a.shards[2].slots[1].state),
        Inconsistency::NodeTwice(ShardId(2), NodeId::new("node-000").unwrap())
    );
    assert_eq!(
        refused(|a| a.shards[3].rsince = a.epoch.next()),
        Inconsistency::LateEpoch(ShardId(3), Epoch(3_000_000_001))
    );
    assert!(matches!(refused(|a| a.nodes.push(a.nodes[0].clone())), Inconsistency::RowTwice(_)));
    assert!(matches!(refused(|a| a.nodes[0].address = "".into()), Inconsistency::Address(_)));
    assert_eq!(refused(|a| a.shards.truncate(3)), Inconsistency::ShardCount(3));
}
