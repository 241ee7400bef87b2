//! What a node of a cluster tells over HTTP, and what one that is alone says instead.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::harness::{Harness, OfCluster};

/// Three nodes, eight shards, as a node tells it; the third node is away.
fn status() -> Value {
    let node = |index: u16, id: &str, is_self: bool, reachable: Value, registered: bool| {
        json!({
            "index": index, "id": id, "zone": format!("z{index}"), "is_self": is_self,
            "address": format!("10.0.0.{index}:9921"), "http": format!("10.0.0.{index}:9920"),
            "store": format!("store-{index}"), "status": "up", "registered": registered,
            "reachable": reachable, "clock_ahead_seconds": 0.004, "applied_epoch": 7, "slots": 8,
            "software": "0.1.0",
            "unsettled": {"records": 3, "chunks": 0, "days": 0, "oldest_seconds": 2.4},
        })
    };
    let slot = |node: u16| json!({"state": "steady", "node": node, "epoch": 1});
    let shard = |number: u16| {
        let slots = [slot(number % 3), slot((number + 1) % 3), slot((number + 2) % 3)];
        json!({"shard": number, "since": 1, "rsince": 1, "below_replication": true, "slots": slots})
    };
    json!({
        "cluster": "5b0e", "path": "zk1:2181/rangekeeper/<prod>", "node": "a",
        "session": {"state": "connected", "error": null, "registration": "registered"},
        "generation": 1, "epoch": 7, "term": 2, "replication": 3, "places": 3,
        "leader": {"node": "b", "term": 2, "address": "10.0.0.1:9921", "is_self": false},
        "nodes": [
            node(0, "a", true, Value::Null, true), node(1, "b", false, json!(true), true),
            node(2, "c", false, json!(false), false),
        ],
        "shards": (0..8).map(shard).collect::<Vec<_>>(),
        "summary": {"shards": 8, "placed": 8, "steady": 8, "below_replication": 8,
            "slots_by_state": {"steady": 24}},
        "proposals": [{"kind": "repair", "shard": 5, "place": 0, "from": 2, "to": 1}],
        "intents": {"draining": ["b"], "frozen": true, "confirmed_gone": ["d"]},
        "alarms": [{"kind": "frozen", "text": "2 of 3 nodes are gone & <b>", "since_ms": 5}],
        "a newer node": "says more",
    })
}

fn clustered() -> (Harness, Arc<OfCluster>) {
    let cluster = Arc::new(OfCluster { status: status(), ..OfCluster::default() });
    (Harness::clustered(Arc::clone(&cluster)), cluster)
}

#[test]
fn a_node_of_a_cluster_tells_its_status_as_it_is() {
    let (node, _) = clustered();
    let answer = node.get("/api/cluster/v1");
    assert_eq!((answer.status, answer.json()), (200, status()));
    assert_eq!(answer.header("content-type"), Some("application/json"));
}

#[test]
fn a_node_that_is_alone_has_no_cluster_to_tell_of() {
    let node = Harness::serving(&[]);
    let answer = node.get("/api/cluster/v1");
    assert_eq!((answer.status, &answer.json()["errorType"]), (404, &"not_found".into()));
    assert!(answer.text().contains("this node is alone"), "{}", answer.text());
}

#[test]
fn a_node_is_ready_only_if_its_cluster_says_so() {
    let (node, cluster) = clustered();
    assert_eq!(node.get("/-/ready").status, 200);
    *cluster.refusal.lock() = Some("no shard was given to a node yet".to_owned());
    let answer = node.get("/-/ready");
    let expected = "not ready: no shard was given to a node yet\n";
    assert_eq!((answer.status, answer.text()), (503, expected));
    let page = node.get("/");
    assert!(page.text().contains("not ready: no shard was given"), "{}", page.text());
}

#[test]
fn a_node_whose_clock_is_off_judges_no_samples() {
    let (node, cluster) = clustered();
    assert_ne!(node.write(b"").status, 503);
    *cluster.clock.lock() = Some("the clock is 86400 s behind those of most nodes".to_owned());
    let answer = node.write(b"");
    assert_eq!(
        (answer.status, answer.text()),
        (503, "the clock is 86400 s behind those of most nodes\n")
    );
}

#[test]
fn a_node_says_what_its_store_is() {
    let node = Harness::serving(&["auth.token_file=TOKENS"]);
    assert_eq!(node.get("/api/v1/admin/identity").status, 401);
    let token = [("Authorization", "Bearer open-sesame")];
    let answer = node.get_with("/api/v1/admin/identity", &token);
    let store = "00000000-0000-0000-0000-000000000007";
    let expected = json!({"store": store, "seed": u64::MAX, "shards": 64, "cluster": null});
    assert_eq!(answer.json()["data"], expected);
    assert_eq!(node.get("/").status, 401);
}

#[test]
fn the_page_of_a_cluster_shows_it_and_escapes_names() {
    let (node, _) = clustered();
    let answer = node.get("/");
    assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
    let policy = answer.header("content-security-policy").expect("a policy");
    assert!(policy.contains("default-src 'none'"), "{policy}");
    let page = answer.text();
    for part in [
        "<h1>&lt;prod&gt;</h1>",
        "2 of 3 nodes are gone &amp; &lt;b&gt;",
        "b, in term 2",
        "generation 1, epoch 7",
        "href=\"http://10.0.0.2:9920/\"",
        "3 records, the oldest of 2 s",
        "To be emptied</dt><dd class=\"warn\">b<",
        "Gone for good</dt><dd class=\"warn\">d<",
        "every shard stays where it is",
        "<td>repair</td><td>c</td><td>b</td><td class=\"number\">1</td>",
        "c (silent), a, b",
    ] {
        assert!(page.contains(part), "no {part:?} in\n{page}");
    }
    for part in ["<prod>", "<script", "http://www", "https://"] {
        assert!(!page.contains(part), "{part:?} in\n{page}");
    }
}

#[test]
fn a_status_that_cannot_be_read_is_said_to_be_so() {
    let cluster = Arc::new(OfCluster { status: json!({"nodes": "three"}), ..OfCluster::default() });
    let node = Harness::clustered(cluster);
    let answer = node.get("/");
    assert_eq!(answer.status, 500);
    assert!(answer.text().contains("cluster's status"), "{}", answer.text());
    assert_eq!(node.get("/api/cluster/v1").status, 200);
}

#[test]
fn the_page_of_a_lone_node_says_what_to_paste() {
    let node = Harness::serving(&["storage.data_dir=/srv/<data>"]);
    let page = node.get_with("/", &[("Host", "metrics.example:80")]);
    for part in [
        "This node is alone",
        "url: http://metrics.example:80/api/v1/write",
        "/srv/&lt;data&gt;",
        "class=\"good\">ready",
        "30days",
    ] {
        assert!(page.text().contains(part), "no {part:?} in\n{}", page.text());
    }
    assert_eq!(node.get("/prometheus/").status, 200);
}

#[test]
fn a_node_that_starts_shows_how_far_it_is() {
    let node = Harness::starting(&[], rangekeeper_node::memory::Usage::default);
    node.node().readiness().starting("replaying the log", 1, 4);
    let page = node.get("/");
    assert!(page.text().contains("not ready: starting: replaying the log: 25%"));
    assert!(!page.text().contains("This node is alone"));
    assert_eq!(node.get("/api/cluster/v1").status, 503);
}
