//! What the commands do to an ensemble in memory, and what they say.

use std::time::Duration;

use bytes::Bytes;
use rangekeeper_coordination::memory::MemoryEnsemble;
use rangekeeper_coordination::{
    Address, Assignment, Candidate, Coordination, CoordinationMetrics, Intent, Membership,
    Registration, Settings,
};
use rangekeeper_model::{
    BootCount, ClusterId, Epoch, Incarnation, Lineage, NodeId, RunId, ShardCount, StoreId, Zone,
};
use rangekeeper_placement::{
    self as placement, NodeIndex, NodeRow, NodeStatus, Replication, Slot, SlotState,
};
use rangekeeper_telemetry::Registry;
use uuid::Uuid;

use super::status::{Found, known};
use super::{init, show, wishes};
use crate::overview::{Health, of_ensemble};

const LIMIT: Duration = Duration::from_secs(5);

struct Stage {
    ensemble: MemoryEnsemble,
    address: Address,
}

impl Stage {
    fn new() -> Self {
        let address = "zk1:2181/rangekeeper/test".parse().expect("an address");
        Self { ensemble: MemoryEnsemble::new(1), address }
    }

    fn connect(&self, name: &str) -> Coordination {
        let client = self.ensemble.client(name, &self.address, Duration::from_secs(4));
        let metrics = CoordinationMetrics::new(&Registry::new());
        Coordination::start(client, Settings::default(), metrics)
    }

    async fn made(&self) -> Coordination {
        let operator = self.connect("operator");
        init::make(&operator, &self.address, &wish(None).unwrap()).await.expect("it is made");
        operator
    }

    /// Registers a node and keeps it so.
    async fn joined(&self, name: &str) -> Coordination {
        let node = self.connect(name);
        let mut membership = node.register(registration(name), Lineage::begun(RunId::of(9)));
        let is_registered = |m: &Membership| matches!(m, Membership::Registered(_));
        membership.wait_for(is_registered).await.expect("it is registered");
        node
    }
}

fn wish(expect: Option<u32>) -> anyhow::Result<init::Wish> {
    let shards = ShardCount::new(16).expect("a power of two");
    let cluster = init::anew(shards, Replication::Three, expect)?;
    Ok(init::Wish { cluster, adopted: None, credentials_file: None })
}

fn node(name: &str) -> NodeId {
    name.parse().expect("a name")
}

fn store(name: &str) -> Uuid {
    Uuid::from_u128(u128::from(name.as_bytes()[0]))
}

fn registration(name: &str) -> Registration {
    Registration {
        node: node(name),
        store: store(name),
        boot: 1,
        run: Uuid::from_u128(9),
        after: Vec::new(),
        peer_address: format!("{name}:9921"),
        http_address: format!("{name}:9920"),
        zone: "z".to_owned(),
        weight: 100,
        software: "0.1.0".to_owned(),
        format_level: 1,
    }
}

/// A map of 16 shards over three nodes, of which one shard is on its way.
fn map() -> placement::Assignment {
    let shards = ShardCount::new(16).expect("a power of two");
    let cluster = ClusterId(Uuid::from_u128(5));
    let mut map = placement::Assignment::empty(cluster, Replication::Three, shards);
    map.epoch = Epoch(4);
    map.nodes = ["a", "b", "c", "d"]
        .iter()
        .map(|name| NodeRow {
            id: node(name),
            address: format!("{name}:9921").into(),
            zone: Zone::new("z").expect("a name"),
            weight: 100,
            incarnation: Incarnation(1),
            store: StoreId(store(name)),
            boot: BootCount(1),
            run: RunId::of(9),
            status: NodeStatus::Up,
        })
        .collect();
    for shard in &mut map.shards {
        for (slot, index) in shard.slots.iter_mut().zip(0..) {
            *slot = Slot { state: SlotState::Steady { node: NodeIndex(index) }, ..Slot::EMPTY };
        }
    }
    let moving = SlotState::Moving { from: NodeIndex(0), to: NodeIndex(3) };
    map.shards[2].slots[0].state = moving;
    map
}

async fn intents(operator: &Coordination) -> Vec<Intent> {
    let intents = super::first(operator.intents(), "intents", LIMIT).await.expect("they are there");
    intents.into_keys().collect()
}

#[tokio::test(start_paused = true)]
async fn init_makes_a_cluster_and_says_what_comes_next() {
    let stage = Stage::new();
    let operator = stage.connect("operator");
    let wish = wish(None).unwrap();
    let said = init::make(&operator, &stage.address, &wish).await.unwrap();
    for part in [
        "zk1:2181/rangekeeper/test",
        "16 shards, 3 copies of each",
        "once 3 nodes are there",
        "--listen 127.0.0.1:9940 --data data-c --node-id c --zookeeper zk1:2181/rangekeeper/test",
        "rangekeeper cluster status --zookeeper zk1:2181/rangekeeper/test",
        &wish.cluster.uuid.to_string(),
    ] {
        assert!(said.contains(part), "no {part:?} in\n{said}");
    }
    let (cluster, _) = operator.cluster().await.unwrap();
    assert_eq!((cluster.shards, cluster.replication, cluster.expect), (16, 3, 3));
    let unpublished = super::first(operator.assignment(), "the map", LIMIT).await.unwrap();
    assert!(matches!(unpublished, Assignment::Unpublished(_)));
}

#[tokio::test(start_paused = true)]
async fn init_leaves_alone_what_is_there() {
    let stage = Stage::new();
    let operator = stage.made().await;
    let error = init::make(&operator, &stage.address, &wish(None).unwrap()).await.unwrap_err();
    let there = operator.cluster().await.unwrap().0.uuid.to_string();
    assert!(error.to_string().contains(&there), "{error}");
}

#[test]
fn fewer_nodes_than_places_are_not_expected() {
    let error = wish(Some(2)).unwrap_err().to_string();
    assert!(error.contains("--expect 2") && error.contains("3 nodes"), "{error}");
    assert_eq!(wish(Some(5)).unwrap().cluster.expect, 5);
    let shards = ShardCount::new(1).unwrap();
    for (copies, expect) in [(1, 1), (2, 3), (5, 5)] {
        let replication = Replication::new(copies).unwrap();
        assert_eq!(init::anew(shards, replication, None).unwrap().expect, expect);
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_is_drained_until_that_is_taken_back() {
    let stage = Stage::new();
    let operator = stage.made().await;
    let _node = stage.joined("a").await;
    wishes::drain(&operator, &node("a"), LIMIT).await.unwrap();
    assert_eq!(intents(&operator).await, [Intent::Drain(node("a"))]);
    let error = wishes::drain(&operator, &node("b"), LIMIT).await.unwrap_err().to_string();
    assert_eq!(error, "the cluster has no node b; there are: a");
    wishes::keep(&operator, &node("a")).await.unwrap();
    assert_eq!(intents(&operator).await, []);
}

#[tokio::test(start_paused = true)]
async fn a_cluster_is_frozen_until_that_is_taken_back() {
    let stage = Stage::new();
    let operator = stage.made().await;
    wishes::freeze(&operator).await.unwrap();
    assert_eq!(intents(&operator).await, [Intent::Freeze]);
    wishes::thaw(&operator).await.unwrap();
    wishes::thaw(&operator).await.unwrap();
    assert_eq!(intents(&operator).await, []);
}

#[tokio::test(start_paused = true)]
async fn only_a_node_that_is_away_can_be_gone_for_good() {
    let stage = Stage::new();
    let operator = stage.made().await;
    let member = stage.joined("a").await;
    publish(&member).await;
    let error = wishes::confirm(&operator, &node("a"), LIMIT).await.unwrap_err().to_string();
    assert!(error.contains("node a is registered"), "{error}");
    for name in ["b", "c", "b"] {
        wishes::confirm(&operator, &node(name), LIMIT).await.unwrap();
    }
    assert_eq!(gone(&operator).await, ["b", "c"]);
    wishes::expect_back(&operator, &node("b"), LIMIT).await.unwrap();
    assert_eq!(gone(&operator).await, ["c"]);
    wishes::expect_back(&operator, &node("c"), LIMIT).await.unwrap();
    wishes::expect_back(&operator, &node("c"), LIMIT).await.unwrap();
    assert_eq!(intents(&operator).await, []);
}

async fn gone(operator: &Coordination) -> Vec<String> {
    let intents = super::first(operator.intents(), "intents", LIMIT).await.expect("they are there");
    let gone = Intent::confirmed(&intents[&Intent::Confirm]).expect("a list");
    gone.iter().map(ToString::to_string).collect()
}

/// Has `member` lead, and publish a map.
async fn publish(member: &Coordination) {
    let candidate = Candidate { node: node("a"), address: "a:9921".to_owned() };
    let term = member.try_lead(&candidate).await.unwrap().expect("nobody else does");
    let Assignment::Unpublished(version) =
        super::first(member.assignment(), "the map", LIMIT).await.unwrap()
    else {
        panic!("a map is there already");
    };
    let payload = Bytes::from(map().encode().expect("a small map"));
    member.publish(term, version, &payload).await.expect("it leads");
}

#[tokio::test(start_paused = true)]
async fn what_zookeeper_knows_is_shown_while_no_node_answers() {
    let stage = Stage::new();
    let operator = stage.made().await;
    let (a, _b) = (stage.joined("a").await, stage.joined("b").await);
    let _new = stage.joined("e").await;
    publish(&a).await;
    wishes::freeze(&operator).await.unwrap();
    let known = known(&operator, &stage.address, LIMIT).await.unwrap();
    let overview = of_ensemble(&known).unwrap();
    let rows: Vec<_> = overview
        .nodes
        .iter()
        .map(|row| (row.id.as_str(), row.status.as_str(), row.registered, row.slots))
        .collect();
    let expected = [
        ("a", "up", true, 16),
        ("b", "up", true, 16),
        ("c", "up", false, 16),
        ("d", "up", false, 1),
        ("e", "new", true, 0),
    ];
    assert_eq!(rows, expected);
    assert_eq!((overview.epoch, overview.summary.shards), (Some(4), 16));
    assert_eq!((overview.summary.steady, overview.summary.below_replication), (15, 16));
    assert_eq!(overview.summary.slots_by_state["moving"], 1);
    assert!(overview.shards.iter().all(|shard| shard.health() == Health::Short));
    assert!(overview.intents.frozen);

    let status = serde_json::to_value(&overview).unwrap();
    assert_eq!(crate::overview::Overview::read(&status).unwrap(), overview);
    let found = Found { status, from: "ZooKeeper alone".to_owned(), silent: vec!["x".to_owned()] };
    let shown = show::status(&overview, &found);
    for part in [
        "node a leads in term 1; map of generation 1, epoch 4, term 0; 16 shards of 3 copies",
        "as told by ZooKeeper alone",
        "no answer of x",
        "every shard stays where it is",
        "a *   z     up      yes         -        16",
        "below their copies  16",
        "2       a → d (silent) moving, b, c (silent)",
        "3 – 15  a, b, c (silent)",
    ] {
        assert!(shown.contains(part), "no {part:?} in\n{shown}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cluster_without_nodes_has_a_status_too() {
    let stage = Stage::new();
    let operator = stage.made().await;
    let known = known(&operator, &stage.address, LIMIT).await.unwrap();
    let overview = of_ensemble(&known).unwrap();
    let found = Found { status: serde_json::Value::Null, from: String::new(), silent: Vec::new() };
    let shown = show::status(&overview, &found);
    for part in ["nobody leads; no map yet; 16 shards of 3 copies", "none yet"] {
        assert!(shown.contains(part), "no {part:?} in\n{shown}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_cluster_every_command_says_to_make_one() {
    let stage = Stage::new();
    let operator = stage.connect("operator");
    let a = node("a");
    for error in [
        wishes::drain(&operator, &a, LIMIT).await.unwrap_err(),
        wishes::keep(&operator, &a).await.unwrap_err(),
        wishes::freeze(&operator).await.unwrap_err(),
        wishes::thaw(&operator).await.unwrap_err(),
        wishes::confirm(&operator, &a, LIMIT).await.unwrap_err(),
        wishes::expect_back(&operator, &a, LIMIT).await.unwrap_err(),
        known(&operator, &stage.address, LIMIT).await.unwrap_err(),
    ] {
        assert!(error.to_string().contains("`cluster init`"), "{error}");
    }
}
