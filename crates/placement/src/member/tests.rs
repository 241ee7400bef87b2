//! Which maps a node goes by, and whom it answers.

use super::*;
use crate::assignment::{NodeRow, NodeStatus};
use crate::ids::PublishId;
use crate::quorum::Replication;
use crate::transition::Transition;
use rangekeeper_model::ShardCount;
use rangekeeper_model::{BootCount, Generation, Incarnation, RunId, Zone};

const SHARD: ShardId = ShardId(0);

fn store(number: u8) -> StoreId {
    StoreId::of(u128::from(number) + 1)
}

fn cluster() -> ClusterId {
    ClusterId::of(77)
}

fn version(epoch: u64) -> Version {
    Version { generation: Generation(1), epoch: Epoch(epoch) }
}

/// Three nodes and a spare one, one shard on the first three, then the changes at epochs from 2 on.
fn map(changes: &[(u8, Transition)]) -> Arc<Assignment> {
    let mut map =
        Assignment::empty(cluster(), Replication::Three, ShardCount::new(1).expect("one"));
    map.nodes = (0..4)
        .map(|number| NodeRow {
            id: NodeId::new(&format!("n{number}")).unwrap(),
            address: "127.0.0.1:1".into(),
            zone: Zone::new("z").unwrap(),
            weight: 1,
            incarnation: Incarnation(1),
            store: store(number),
            boot: BootCount(3),
            run: RunId::of(3),
            status: NodeStatus::Up,
        })
        .collect();
    for place in 0..3 {
        let node = NodeIndex(place.into());
        map.shards[0].apply(Place(place), Transition::Place(node), Epoch(1)).unwrap();
    }
    map.epoch = Epoch(1);
    for ((place, change), epoch) in changes.iter().zip(2..) {
        map.shards[0].apply(Place(*place), *change, Epoch(epoch)).unwrap();
        map.epoch = Epoch(epoch);
    }
    Arc::new(map)
}

/// A node at the start `run` of its folder, which were started as often before.
fn member(number: u8, run: u128, cached: Arc<Assignment>) -> Member {
    let id = NodeId::new(&format!("n{number}")).unwrap();
    let mut member = Member::new(cluster(), id, store(number), lineage(1..=run), Some(cached));
    member.step(MemberEvent::Replayed, &mut Vec::new());
    member
}

fn lineage(runs: impl Iterator<Item = u128>) -> Lineage {
    Lineage::of(runs.map(RunId::of).collect()).unwrap()
}

fn step(member: &mut Member, event: MemberEvent) -> Vec<MemberEffect> {
    let mut effects = Vec::new();
    member.step(event, &mut effects);
    effects
}

fn write(member: &Member, place: u8, epoch: u64) -> Verdict {
    member.judge_write(SHARD, Place(place), version(epoch), member.store())
}

#[test]
fn a_map_counts_only_when_it_is_on_disk_and_newer() {
    let mut member = member(0, 3, map(&[]));
    let newer = map(&[(1, Transition::Repair(NodeIndex(3)))]);
    let effects = step(&mut member, MemberEvent::Offered(Arc::clone(&newer)));
    assert_eq!(effects, [MemberEffect::Persist(Arc::clone(&newer))]);
    assert_eq!(member.version(), version(1));
    assert_eq!(step(&mut member, MemberEvent::Offered(map(&[]))), []);
    step(&mut member, MemberEvent::Persisted(version(2)));
    assert_eq!(member.version(), version(2));
    let mut conflict = Assignment::clone(&newer);
    conflict.publish = PublishId(9);
    let effects = step(&mut member, MemberEvent::Offered(Arc::new(conflict)));
    assert_eq!(effects, [MemberEffect::AlarmConflict(version(2))]);
    let mut reset = Assignment::clone(&map(&[]));
    reset.generation = Generation(2);
    let effects = step(&mut member, MemberEvent::Offered(Arc::new(reset)));
    assert!(matches!(effects[..], [MemberEffect::Persist(_)]), "an operator's reset outranks");
}

#[test]
fn an_acknowledgement_is_given_under_the_older_of_two_maps() {
    let member = member(0, 3, map(&[(1, Transition::Repair(NodeIndex(3)))]));
    assert_eq!(member.given(version(9)), Epoch(2));
    assert_eq!(member.given(version(1)), Epoch(1));
}

#[test]
fn another_cluster_store_or_generation_is_refused() {
    let mut member = member(0, 3, map(&[]));
    let mut other = Assignment::clone(&map(&[]));
    other.cluster = ClusterId::of(78);
    other.epoch = Epoch(9);
    let effects = step(&mut member, MemberEvent::Offered(Arc::new(other)));
    assert_eq!(effects, [MemberEffect::RefuseCluster(ClusterId::of(78))]);
    assert_eq!(write(&member, 0, 1), Verdict::Ok);
    let verdict = member.judge_write(SHARD, Place(0), version(1), store(9));
    assert_eq!(verdict, Verdict::WrongStore);
    let reset = Version { generation: Generation(2), epoch: Epoch(1) };
    let verdict = member.judge_read(SHARD, Place(0), reset, store(0));
    assert_eq!(verdict, Verdict::WrongCluster);
}

#[test]
fn a_folder_that_was_rolled_back_or_replaced_answers_for_nothing() {
    let stale = Verdict::StaleEpoch { mine: Epoch(1) };
    assert_eq!(write(&member(0, 3, map(&[])), 0, 1), Verdict::Ok);
    assert_eq!(write(&member(0, 9, map(&[])), 0, 1), Verdict::Ok, "later starts of the folder");
    assert_eq!(write(&member(0, 2, map(&[])), 0, 1), stale);
    let id = NodeId::new("n0").unwrap();
    for starts in 1..5 {
        let runs = lineage([1, 2].into_iter().chain(100..100 + starts));
        let mut copy = Member::new(cluster(), id.clone(), store(0), runs, Some(map(&[])));
        copy.step(MemberEvent::Replayed, &mut Vec::new());
        assert_eq!(write(&copy, 0, 1), stale, "an older copy, started {starts} times since");
        assert_eq!(copy.me(), None);
    }
    let mut replaced = Member::new(cluster(), id, store(9), lineage(1..=3), Some(map(&[])));
    assert_eq!(write(&replaced, 0, 1), Verdict::NotReady, "its log is not replayed");
    replaced.step(MemberEvent::Replayed, &mut Vec::new());
    assert_eq!(write(&replaced, 0, 1), stale);
}

#[test]
fn a_map_names_the_run_that_was_last_published() {
    assert!(member(0, 3, map(&[])).is_named());
    assert!(!member(0, 4, map(&[])).is_named(), "nobody was told of this start yet");
    assert!(!member(0, 2, map(&[])).is_named());
}

#[test]
fn a_damaged_copy_answers_nothing_until_its_repair_is_through() {
    let mut member = member(0, 3, map(&[]));
    step(&mut member, MemberEvent::Damaged(SHARD));
    assert_eq!(write(&member, 0, 1), Verdict::NotReady);
    let moved = map(&[(1, Transition::Move(NodeIndex(3)))]);
    step(&mut member, MemberEvent::Offered(moved));
    step(&mut member, MemberEvent::Persisted(version(2)));
    assert!(member.is_damaged(SHARD), "another slot's change repairs nothing");
    let changes = [(1, Transition::Move(NodeIndex(3))), (0, Transition::Repair(NodeIndex(0)))];
    step(&mut member, MemberEvent::Offered(map(&changes)));
    let effects = step(&mut member, MemberEvent::Persisted(version(3)));
    assert_eq!(effects, [MemberEffect::Pull(SHARD, Place(0), SlotEpoch(Epoch(3)))]);
    let read = member.judge_read(SHARD, Place(0), version(3), store(0));
    assert_eq!(read, Verdict::StaleEpoch { mine: Epoch(3) }, "it writes, but nobody reads it");
}

#[test]
fn a_new_writer_acknowledges_when_it_has_heard_of_enough_others() {
    let repair = map(&[(0, Transition::Repair(NodeIndex(3)))]);
    let mut member = member(3, 3, repair);
    assert_eq!(write(&member, 0, 2), Verdict::NotReady);
    step(&mut member, MemberEvent::Heard(store(0), version(2)));
    step(&mut member, MemberEvent::Heard(store(1), version(2)));
    step(&mut member, MemberEvent::Heard(store(2), version(1)));
    assert_eq!(write(&member, 0, 2), Verdict::NotReady);
    let effects = step(&mut member, MemberEvent::Heard(store(2), version(5)));
    assert_eq!(effects, [MemberEffect::Fetch(version(5))]);
    assert_eq!(write(&member, 0, 2), Verdict::Ok);
}

#[test]
fn the_old_owner_of_a_cutover_is_told_to_seal() {
    let changes = [(0, Transition::Move(NodeIndex(3))), (0, Transition::Cutover)];
    let mut member = member(0, 3, map(&changes[..1]));
    assert_eq!(write(&member, 0, 2), Verdict::Ok);
    step(&mut member, MemberEvent::Offered(map(&changes)));
    let effects = step(&mut member, MemberEvent::Persisted(version(3)));
    assert_eq!(effects, [MemberEffect::Seal(SHARD, Place(0), SlotEpoch(Epoch(3)))]);
    assert_eq!(write(&member, 0, 3), Verdict::StaleEpoch { mine: Epoch(3) });
    let finished = [changes.as_slice(), &[(0, Transition::Finish)]].concat();
    step(&mut member, MemberEvent::Offered(map(&finished)));
    let effects = step(&mut member, MemberEvent::Persisted(version(4)));
    assert_eq!(effects, [MemberEffect::MayDrop(SHARD)]);
}
