//! The data plane over whole nodes: any node takes any write and answers any query, also while one
//! of them is away, and what that one missed is brought to it.

mod stage;

use rangekeeper_storage::Clock;
use stage::{Node, Part, Stage, until};

fn now() -> i64 {
    Clock::system().now_ms()
}

#[tokio::test(flavor = "multi_thread")]
async fn any_node_takes_any_write_and_answers_any_query() {
    let mut stage = Stage::new(3, 3).await;
    let [a, b, c] = stage.start(["a", "b", "c"]).await;
    let at_ms = now();
    for (step, node) in (0i64..).zip([&a, &b, &c]) {
        let routed = node.write("up", 0..100, at_ms + step).await;
        assert_eq!(routed.unavailable, None);
        assert_eq!(routed.stored.samples, 100);
    }
    for node in [&a, &b, &c] {
        assert_eq!(node.read("up").await.unwrap().len(), 300);
        assert_eq!(node.read("down").await.unwrap(), []);
    }
    for node in [&a, &b, &c] {
        until("everything is settled", || {
            let stats = node.unsettled();
            stats.records + stats.chunks + stats.days == 0
        })
        .await;
    }
    for node in [a, b, c] {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_one_node_away_everything_goes_on_and_it_gets_what_it_missed() {
    let mut stage = Stage::new(3, 3).await;
    let [a, b, c] = stage.start(["a", "b", "c"]).await;
    let at_ms = now();
    assert_eq!(a.write("up", 0..50, at_ms).await.unavailable, None);
    c.kill().await;
    for step in 1..5 {
        assert_eq!(a.write("up", 0..50, at_ms + step).await.unavailable, None);
        assert_eq!(b.write("new", 0..50, at_ms + step).await.unavailable, None);
        assert_eq!(b.read("up").await.unwrap().len(), 50 * usize::try_from(step + 1).unwrap());
        assert_eq!(a.read("new").await.unwrap().len(), 50 * usize::try_from(step).unwrap());
    }
    let [c] = stage.start(["c"]).await;
    assert_eq!(c.read("up").await.unwrap().len(), 250);
    // At once, not when it has caught up: one of the two that took everything goes away.
    b.kill().await;
    assert_eq!(c.read("up").await.unwrap().len(), 250);
    assert_eq!(a.read("new").await.unwrap().len(), 200);
    assert_eq!(c.write("up", 0..50, at_ms + 9).await.unavailable, None);
    // What it missed arrives, so that it is not alone in what it has.
    let tenant = rangekeeper_model::TenantId::new("anonymous").unwrap();
    until("what it missed arrives", || {
        let limits = rangekeeper_storage::ReadLimits::NONE;
        let matchers =
            [rangekeeper_model::Matcher::new(rangekeeper_model::MatchOp::Equal, "__name__", "new")
                .unwrap()];
        let range = rangekeeper_model::TimeRange::ALL;
        let found = c.store.select(&tenant, &matchers, range, limits).unwrap();
        let mut samples = rangekeeper_model::Samples::default();
        let count = |index| {
            let mut decoder = rangekeeper_chunk::Decoder::default();
            found.read(index, &mut decoder, &mut samples).unwrap();
            samples.floats.timestamps.len()
        };
        (0..found.len()).map(count).sum::<usize>() == 200
    })
    .await;
    let [b] = stage.start(["b"]).await;
    for node in [&a, &b, &c] {
        until("everything is settled", || {
            let stats = node.unsettled();
            stats.records + stats.chunks + stats.days == 0
        })
        .await;
        assert_eq!(node.read("up").await.unwrap().len(), 300);
    }
    for node in [a, b, c] {
        node.stop().await;
    }
}

/// A sender of 2.0 has samples, exemplars and metadata in one request, one of 1.0 metadata apart.
#[tokio::test(flavor = "multi_thread")]
async fn exemplars_and_metadata_that_a_node_missed_arrive_too() {
    let mut stage = Stage::new(3, 3).await;
    let [a, b, c] = stage.start(["a", "b", "c"]).await;
    let at_ms = now();
    assert_eq!(a.write("http", 0..50, at_ms).await.unavailable, None);
    c.kill().await;
    let all = [Part::Sample, Part::Exemplar, Part::Metadata("requests")];
    let routed = a.send("http", 0..50, &all, at_ms + 1).await;
    assert_eq!((routed.unavailable, routed.stored.exemplars), (None, 50));
    let routed = b.send("http", 0..50, &[Part::Exemplar], at_ms + 2).await;
    assert_eq!((routed.unavailable, routed.stored.exemplars), (None, 50));
    let families: Vec<String> = (0..40).map(|number| format!("family_{number}")).collect();
    assert_eq!(b.tell(&families, "of 1.0").await.unavailable, None);
    assert_eq!(a.tell(&families, "said again").await.unavailable, None);
    let mut told: std::collections::BTreeSet<_> = families
        .iter()
        .flat_map(|family| ["of 1.0", "said again"].map(|help| (family.clone(), help.to_owned())))
        .collect();
    told.insert(("http".to_owned(), "requests".to_owned()));
    // One of the two that know what was missed forgets what it has in memory.
    until("the database knows what is unsettled", || a.unsettled().records == 0).await;
    a.kill().await;

    let [a, c] = stage.start(["a", "c"]).await;
    let has_all = |node: &Node| node.own_exemplars("http") == 100 && node.own_metadata() == told;
    until("what it missed arrives", || has_all(&c)).await;
    for node in [&a, &b, &c] {
        assert!(has_all(node));
        until("everything is settled", || {
            let stats = node.unsettled();
            stats.records + stats.chunks + stats.days == 0
        })
        .await;
    }
    a.kill().await;
    b.kill().await;
    assert!(has_all(&c), "its own store alone");
    c.kill().await;
    let [a, b, c] = stage.start(["a", "b", "c"]).await;
    for node in [a, b, c] {
        assert!(has_all(&node), "after a crash");
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn much_that_is_unsettled_is_read_as_well() {
    let mut stage = Stage::new(3, 3).await;
    let [a, b, c] = stage.start(["a", "b", "c"]).await;
    c.kill().await;
    // More than is given at a glance.
    let (at_ms, count) = (now(), 10_000);
    assert_eq!(a.write("up", 0..count, at_ms).await.unavailable, None);
    let [c] = stage.start(["c"]).await;
    for node in [&c, &a, &b] {
        assert_eq!(node.read("up").await.unwrap().len(), usize::try_from(count).unwrap());
    }
    for node in [a, b, c] {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_quorum_a_write_is_refused_by_name_and_nothing_is_answered_wrongly() {
    let mut stage = Stage::new(3, 3).await;
    let [a, b, c] = stage.start(["a", "b", "c"]).await;
    let at_ms = now();
    assert_eq!(a.write("up", 0..50, at_ms).await.unavailable, None);
    b.kill().await;
    c.kill().await;
    let routed = a.write("up", 0..50, at_ms + 1).await;
    let why = routed.unavailable.expect("one of three is no quorum");
    assert!(why.contains("has no quorum"), "{why}");
    assert_eq!(routed.stored.samples, 0);
    let why = a.read("up").await.unwrap_err().to_string();
    assert!(why.contains("cannot be read now"), "{why}");
    let [b, c] = stage.start(["b", "c"]).await;
    assert_eq!(b.write("up", 0..50, at_ms + 2).await.unavailable, None);
    let rows = c.read("up").await.unwrap();
    let at = |step| rows.iter().filter(|(_, at, _)| *at == at_ms + step).count();
    assert_eq!((at(0), at(2)), (50, 50));
    for node in [a, b, c] {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_two_copies_the_witness_holds_what_a_slot_missed() {
    let mut stage = Stage::new(2, 3).await;
    let [a, b, c] = stage.start(["a", "b", "c"]).await;
    let at_ms = now();
    assert_eq!(a.write("up", 0..50, at_ms).await.unavailable, None);
    c.kill().await;
    let routed = a.write("up", 0..50, at_ms + 1).await;
    assert_eq!(routed.unavailable, None);
    assert_eq!(b.read("up").await.unwrap().len(), 100);
    let [c] = stage.start(["c"]).await;
    b.kill().await;
    assert_eq!(c.read("up").await.unwrap().len(), 100);
    assert_eq!(a.read("up").await.unwrap().len(), 100);
    for node in [a, c] {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_nodes_than_copies_route_to_each_other() {
    let mut stage = Stage::new(3, 5).await;
    let nodes = stage.start(["a", "b", "c", "d", "e"]).await;
    let at_ms = now();
    for (step, node) in (0i64..).zip(&nodes) {
        assert_eq!(node.write("up", 0..200, at_ms + step).await.unavailable, None);
    }
    for node in &nodes {
        let rows = node.read("up").await.unwrap();
        assert_eq!(rows.len(), 1000);
        assert!(rows.iter().all(|(number, _, value)| number.parse::<f64>() == Ok(*value)));
    }
    for node in nodes {
        node.stop().await;
    }
}
