//! The leader as its shell drives it: events in, effects out.

use super::*;
use crate::assignment::{NodeStatus, Shard};
use crate::ids::NodeIndex;
use crate::planner::ProposalKind;
use crate::quorum::Replication;
use crate::slot::SlotState;
use rangekeeper_model::{ClusterId, Epoch, Generation};
use rangekeeper_model::{Day, ShardCount};

fn registration(number: u8) -> Registration {
    Registration {
        id: NodeId::new(&format!("n{number}")).unwrap(),
        address: format!("127.0.0.1:99{number}1").into(),
        zone: Zone::new("z").unwrap(),
        weight: 100,
        incarnation: Incarnation(1),
        store: StoreId::of(u128::from(number) + 1),
        boot: BootCount(1),
        run: RunId::of(u128::from(number) << 8 | 1),
        after: Vec::new(),
    }
}

fn registrations(numbers: std::ops::Range<u8>) -> LeaderEvent {
    LeaderEvent::Registered(numbers.map(registration).collect())
}

/// A leader with what it published, answered at once.
struct Shell {
    leader: Leader,
    now_ms: u64,
    published: Vec<Arc<Assignment>>,
    others: Vec<LeaderEffect>,
    outcome: PublishOutcome,
}

impl Shell {
    fn new(policy: Policy, replication: Replication) -> Self {
        let mut shell = Self {
            leader: Leader::new(policy, 7),
            now_ms: 0,
            published: Vec::new(),
            others: Vec::new(),
            outcome: PublishOutcome::Done,
        };
        let cluster = ClusterId::of(1);
        let shards = ShardCount::new(16).unwrap();
        let first = Assignment::empty(cluster, replication, shards);
        shell.step(LeaderEvent::Elected(Term(1), Arc::new(first)));
        shell
    }

    /// Three nodes with their shards, past the quiet time.
    fn placed(carry_out: CarryOut) -> Self {
        let policy = Policy { carry_out, ..Policy::new(3) };
        let mut shell = Self::new(policy, Replication::Three);
        shell.step(registrations(0..4));
        shell.wait(60_000);
        assert_eq!(shell.published.len(), 1);
        shell
    }

    fn step(&mut self, event: LeaderEvent) {
        let mut effects = Vec::new();
        self.leader.step(self.now_ms, event, &mut effects);
        for effect in effects {
            if let LeaderEffect::Publish(assignment) = effect {
                self.published.push(assignment);
                self.step(LeaderEvent::Published(self.outcome));
            } else {
                self.others.push(effect);
            }
        }
    }

    fn wait(&mut self, ms: u64) {
        for _ in 0..ms / 1_000 {
            self.now_ms += 1_000;
            self.step(LeaderEvent::Tick);
        }
    }

    /// One node's registration goes, and it does not answer either.
    fn lose(&mut self, number: u8, count: u8) {
        let left = (0..count).filter(|n| *n != number).map(registration).collect();
        self.step(LeaderEvent::Registered(left));
        self.step(LeaderEvent::Probed(registration(number).id, Probe::Silent));
    }

    fn last(&self) -> &Assignment {
        self.published.last().expect("something was published")
    }

    fn alarms(&self) -> Vec<&LeaderAlarm> {
        let alarms = self.others.iter().filter_map(|effect| match effect {
            LeaderEffect::Alarm(alarm) => Some(alarm),
            _ => None,
        });
        alarms.collect()
    }
}

#[test]
fn the_first_placement_is_made_once_and_at_once_when_the_expected_nodes_are_there() {
    let mut shell = Shell::new(Policy::new(3), Replication::Three);
    shell.step(registrations(0..2));
    assert!(shell.published.is_empty());
    shell.step(registrations(0..3));
    assert_eq!(shell.published.len(), 1, "the quiet time is not for the first placement");
    let first = shell.last();
    assert!(first.shards.iter().all(Shard::is_steady));
    assert_eq!((first.epoch, first.term, first.nodes.len()), (Epoch(1), Term(1), 3));
    shell.wait(300_000);
    assert_eq!(shell.published.len(), 1, "nothing changes, nothing is published");
}

#[test]
fn a_node_that_is_gone_is_waited_for_and_its_repair_is_only_proposed() {
    let mut shell = Shell::placed(CarryOut::Propose);
    shell.lose(0, 4);
    shell.wait(590_000);
    assert_eq!(shell.leader.proposals(), []);
    assert_eq!(shell.last().nodes[0].status, NodeStatus::Down);
    shell.wait(20_000);
    let proposals = shell.leader.proposals();
    assert!(!proposals.is_empty());
    assert!(proposals.iter().all(|p| p.kind == ProposalKind::Repair && p.from == NodeIndex(0)));
    assert!(shell.last().shards.iter().all(Shard::is_steady), "proposed, not published");
}

#[test]
fn repairs_are_published_within_the_budget_when_they_can_be_carried_out() {
    let mut shell = Shell::placed(CarryOut::Publish);
    shell.lose(0, 4);
    shell.wait(620_000);
    let slots: Vec<_> = shell.last().shards.iter().flat_map(|shard| &shard.slots).collect();
    let repairs: Vec<_> =
        slots.iter().filter(|slot| matches!(slot.state, SlotState::Repair { .. })).collect();
    let most = Budget::default().incoming * 3;
    assert!(!repairs.is_empty() && repairs.len() <= most, "{} repairs", repairs.len());
    // What was complete once is published; a report of another life or state is not.
    let (shard, place, slot) = shell
        .last()
        .shard_count()
        .iter()
        .flat_map(|id| shell.last().shard(id).places().map(move |(p, s)| (id, p, s)))
        .find(|(.., slot)| matches!(slot.state, SlotState::Repair { .. }))
        .unwrap();
    let taker = slot.state.target().unwrap();
    let mut sources = crate::transition::Sources::default();
    for (other, slot) in shell.last().shard(shard).places().filter(|(other, _)| *other != place) {
        sources.insert(other, slot.epoch);
    }
    let report = SlotReport {
        node: shell.last().node(taker).id.clone(),
        incarnation: Incarnation(1),
        shard,
        place,
        slot_epoch: slot.epoch,
        progress: Progress::Repaired(sources),
    };
    shell.step(LeaderEvent::Reported(SlotReport { incarnation: Incarnation(9), ..report.clone() }));
    shell.wait(2_000);
    assert_eq!(shell.last().shard(shard).slot(place), slot);
    shell.step(LeaderEvent::Reported(report));
    shell.wait(2_000);
    let state = shell.last().shard(shard).slot(place).state;
    assert_eq!(state, SlotState::Steady { node: taker });
}

#[test]
fn a_node_that_answers_probes_is_not_gone() {
    let mut shell = Shell::placed(CarryOut::Publish);
    shell.step(registrations(1..4));
    assert!(shell.others.contains(&LeaderEffect::Probe(registration(0).id)));
    shell.step(LeaderEvent::Probed(registration(0).id, Probe::Answered));
    shell.wait(1_200_000);
    assert_eq!(shell.leader.proposals(), []);
    shell.step(LeaderEvent::Probed(registration(0).id, Probe::Silent));
    shell.wait(300_000);
    shell.step(LeaderEvent::Probed(registration(0).id, Probe::Answered));
    shell.step(LeaderEvent::Probed(registration(0).id, Probe::Silent));
    shell.wait(500_000);
    assert_eq!(shell.leader.proposals(), [], "the grace began anew");
}

#[test]
fn too_many_gone_at_once_freeze_the_map_until_the_operator_confirms() {
    let mut shell = Shell::placed(CarryOut::Publish);
    shell.step(registrations(0..8));
    shell.wait(5_000);
    shell.step(registrations(3..8));
    for number in 0..3 {
        shell.step(LeaderEvent::Probed(registration(number).id, Probe::Silent));
    }
    shell.wait(1_200_000);
    assert_eq!(shell.alarms(), [&LeaderAlarm::Frozen(3, 8)]);
    assert_eq!(shell.leader.proposals(), []);
    assert!(shell.last().nodes.iter().all(|row| row.status == NodeStatus::Up));
    let confirmed_gone = (0..3).map(|number| registration(number).id).collect();
    shell.step(LeaderEvent::Wanted(Intents { confirmed_gone, ..Intents::default() }));
    shell.wait(2_000);
    assert!(!shell.leader.proposals().is_empty());
}

#[test]
fn a_new_disk_gets_a_row_of_its_own_and_is_to_be_repaired_at_once() {
    let mut shell = Shell::placed(CarryOut::Propose);
    let mut list: Vec<_> = (0..4).map(registration).collect();
    list[1].store = StoreId::of(100);
    list[1].incarnation = Incarnation(2);
    shell.step(LeaderEvent::Registered(list));
    shell.wait(40_000);
    let rows = &shell.last().nodes;
    assert_eq!((rows.len(), rows[1].status, rows[4].status), (5, NodeStatus::Lost, NodeStatus::Up));
    let proposals = shell.leader.proposals();
    assert!(!proposals.is_empty());
    for proposal in proposals {
        assert_eq!((proposal.from, proposal.to), (NodeIndex(1), NodeIndex(4)));
        assert_eq!(proposal.kind, ProposalKind::Repair);
    }
}

/// The registration of a node that was started again, as the run `run` after these.
fn started(number: u8, run: u128, after: &[u128]) -> Registration {
    let run_of = |run: u128| RunId::of(u128::from(number) << 8 | run);
    let after = after.iter().copied().map(run_of).collect();
    let incarnation = Incarnation(u64::try_from(run).unwrap());
    Registration { run: run_of(run), after, incarnation, ..registration(number) }
}

#[test]
fn a_start_is_published_and_changes_nothing_for_requests_under_way() {
    let mut shell = Shell::placed(CarryOut::Propose);
    let before = shell.last().clone();
    let with = |node| LeaderEvent::Registered(vec![registration(0), node, registration(2)]);
    // One that ended before anybody was told of it leaves no gap.
    for (run, after) in [(2, &[1][..]), (4, &[1, 2, 3])] {
        let node = started(1, run, after);
        shell.step(with(node.clone()));
        shell.wait(2_000);
        assert_eq!(
            (shell.last().nodes[1].run, shell.last().nodes[1].status),
            (node.run, NodeStatus::Up)
        );
        assert_eq!(shell.last().shards, before.shards);
    }
}

#[test]
fn an_older_copy_of_a_folder_is_lost_however_often_it_is_started_until_the_folder_is_back() {
    let mut shell = Shell::placed(CarryOut::Propose);
    let with = |node| LeaderEvent::Registered(vec![registration(0), node, registration(2)]);
    shell.step(with(started(1, 2, &[1])));
    shell.wait(2_000);
    let rolled_back = [started(1, 101, &[1]), started(1, 102, &[1, 101]), started(1, 103, &[101])];
    for copy in rolled_back {
        shell.step(with(copy));
        shell.wait(2_000);
        let row = &shell.last().nodes[1];
        assert_eq!((row.run, row.status), (started(1, 2, &[]).run, NodeStatus::Lost));
        assert_eq!(shell.last().nodes.len(), 4, "it has no row of its own");
    }
    shell.step(with(started(1, 3, &[1, 2])));
    shell.wait(2_000);
    let row = &shell.last().nodes[1];
    assert_eq!((row.run, row.status), (started(1, 3, &[]).run, NodeStatus::Up));
}

#[test]
fn the_floor_of_retention_only_rises() {
    let mut shell = Shell::placed(CarryOut::Propose);
    for (day, expected) in [(20_000, 20_000), (19_000, 20_000), (20_001, 20_001)] {
        shell.step(LeaderEvent::Expired(Day(day)));
        shell.wait(2_000);
        assert_eq!(shell.last().retention_floor, Day(expected));
    }
}

#[test]
fn a_damaged_copy_is_made_anew_where_it_is() {
    let mut shell = Shell::placed(CarryOut::Publish);
    let (shard, place) = (ShardId(3), Place(1));
    let before = shell.last().shard(shard).slot(place);
    let owner = before.state.target().unwrap();
    let id = shell.last().node(owner).id.clone();
    shell.step(LeaderEvent::Damaged(id.clone(), Incarnation(9), shard));
    shell.wait(2_000);
    assert_eq!(shell.last().shard(shard).slot(place), before, "an earlier life");
    shell.step(LeaderEvent::Damaged(id, Incarnation(1), shard));
    shell.wait(2_000);
    let state = shell.last().shard(shard).slot(place).state;
    assert_eq!(state, SlotState::Repair { node: owner });
    assert_eq!(shell.last().shard(shard).since, shell.last().epoch);
    assert_eq!(shell.leader.proposals(), []);
}

#[test]
fn a_node_is_drained_by_moves() {
    let mut shell = Shell::placed(CarryOut::Publish);
    let draining = [registration(2).id].into();
    shell.step(LeaderEvent::Wanted(Intents { draining, ..Intents::default() }));
    shell.wait(40_000);
    assert!(shell.leader.proposals().iter().all(|p| p.kind == ProposalKind::Drain));
    let moving = shell.last().shards.iter().flat_map(|shard| &shard.slots).filter(
        |slot| matches!(slot.state, SlotState::Moving { from, .. } if from == NodeIndex(2)),
    );
    assert!((1..=2).contains(&moving.count()));
}

#[test]
fn an_unknown_outcome_is_settled_by_reading() {
    let mut shell = Shell::new(Policy::new(3), Replication::Three);
    shell.outcome = PublishOutcome::Unknown;
    shell.step(registrations(0..3));
    assert!(shell.others.contains(&LeaderEffect::Read));
    let first = Arc::clone(&shell.published[0]);
    shell.wait(5_000);
    assert_eq!(shell.published.len(), 1, "nothing is published on top of what nobody knows");
    shell.outcome = PublishOutcome::Done;
    shell.step(LeaderEvent::Read(first));
    shell.wait(5_000);
    assert_eq!(shell.published.len(), 1, "it was ours");
    shell.outcome = PublishOutcome::StaleTerm;
    shell.step(registrations(0..4));
    shell.wait(2_000);
    assert!(shell.others.contains(&LeaderEffect::StepDown) && !shell.leader.is_leading());
}

#[test]
fn it_publishes_above_all_that_nodes_have_and_names_two_publishes_of_one_version() {
    let mut shell = Shell::placed(CarryOut::Propose);
    let version = Version { generation: Generation(1), epoch: Epoch(41) };
    shell.step(LeaderEvent::Applied(version, PublishId(5)));
    shell.wait(2_000);
    assert_eq!(shell.last().epoch, Epoch(42));
    assert_eq!(shell.alarms(), [] as [&LeaderAlarm; 0]);
    shell.step(LeaderEvent::Applied(version, PublishId(6)));
    let alarm = LeaderAlarm::TwoPublishes(version, PublishId(5), PublishId(6));
    assert_eq!(shell.alarms(), [&alarm]);
}

#[test]
fn what_is_only_heard_is_outranked_and_its_publish_is_learnt_later() {
    let mut shell = Shell::placed(CarryOut::Propose);
    let version = Version { generation: Generation(1), epoch: Epoch(41) };
    shell.step(LeaderEvent::Heard(version));
    shell.wait(2_000);
    assert_eq!(shell.last().epoch, Epoch(42));
    shell.step(LeaderEvent::Heard(Version { epoch: Epoch(3), ..version }));
    shell.wait(2_000);
    assert_eq!(shell.last().epoch, Epoch(42), "nothing new");
    shell.step(LeaderEvent::Applied(version, PublishId(5)));
    assert_eq!(shell.alarms(), [] as [&LeaderAlarm; 0]);
    shell.step(LeaderEvent::Applied(version, PublishId(6)));
    let alarm = LeaderAlarm::TwoPublishes(version, PublishId(5), PublishId(6));
    assert_eq!(shell.alarms(), [&alarm]);
}

#[test]
fn it_says_whether_the_map_is_frozen_while_it_leads() {
    let mut shell = Shell::placed(CarryOut::Propose);
    assert!(shell.leader.has_placed());
    assert_eq!(shell.leader.frozen(), None);
    shell.step(registrations(2..4));
    assert_eq!(shell.leader.frozen(), Some((2, 4)));
    shell.step(registrations(1..4));
    assert_eq!(shell.leader.frozen(), None);
    shell.step(registrations(2..4));
    shell.step(LeaderEvent::Deposed);
    assert_eq!(shell.leader.frozen(), None);
}

#[test]
fn nodes_that_are_too_few_are_said_and_one_alone_gets_everything() {
    let mut shell = Shell::new(Policy::new(2), Replication::Three);
    shell.step(registrations(0..2));
    assert!(matches!(shell.alarms()[..], [LeaderAlarm::Placement(_), ..]));
    let mut shell = Shell::new(Policy::new(1), Replication::Three);
    shell.step(registrations(0..1));
    assert_eq!(shell.last().quorum.places(), 1);
}
