//! A clock that is off most others'.

use rangekeeper_coordination::Intent;
use rangekeeper_model::Day;

use super::stage::{Part, Stage, eventually, node_id, parts};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_clock_is_off_most_others_is_not_ready() {
    let stage = Stage::new(3).await;
    let parts = parts();
    let off = Part { clock_ahead_ms: -3_600_000, ..parts[1].clone() };
    let a = stage.start(&parts[0]).await;
    let b = stage.start(&off).await;
    let c = stage.start(&parts[2]).await;
    for node in [&a, &b, &c] {
        node.epoch(1).await;
    }
    eventually("it says why", || {
        b.control.readiness().is_err_and(|why| why.contains("3600 s behind those of most nodes"))
    })
    .await;
    let series = "rangekeeper_control_clock_majority_offset_seconds";
    assert_eq!(b.metric(series), 3600.0);
    assert_eq!(b.metric("rangekeeper_control_node_ready"), 0.0);
    for node in [&a, &c] {
        eventually("it is ready", || node.control.readiness().is_ok()).await;
        assert_eq!(node.metric(series), 0.0);
        eventually("it knows of the other", || {
            let nodes = node.status().nodes;
            nodes.iter().any(|row| row.id == "b" && row.clock_ahead_seconds == Some(-3600.0))
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_clock_is_off_drops_no_data() {
    let stage = Stage::new(3).await;
    let parts = parts();
    let off = Part { clock_ahead_ms: 86_400_000, ..parts[1].clone() };
    let b = stage.start(&off).await;
    eventually("it is elected", || b.status().leader.is_some_and(|leader| leader.is_self)).await;
    let (a, c) = (stage.start(&parts[0]).await, stage.start(&parts[2]).await);
    let of_most = "rangekeeper_control_clock_majority_offset_seconds";
    eventually("it knows that it is off", || b.metric(of_most) == -86_400.0).await;
    b.control.expired(Day(50));
    // The next map would have it.
    let operator = stage.coordination("operator");
    let drain = Intent::Drain(node_id("c"));
    operator.declare(&drain, &bytes::Bytes::new()).await.expect("it can be written");
    for node in [&a, &b, &c] {
        eventually("it has the next map", || {
            node.status().nodes.iter().any(|row| row.status == "draining")
        })
        .await;
        assert_eq!(node.control.retention_floor(), Day(0));
    }
    operator.close().await;
}
