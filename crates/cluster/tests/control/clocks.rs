//! A clock that is off most others'.

use crate::stage::{Part, Stage, eventually, parts};

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
