//! What an operator wants of a cluster: written to ZooKeeper, where the leader finds it.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use rangekeeper_coordination::{Assignment, Coordination, Intent, Members};
use rangekeeper_model::NodeId;
use rangekeeper_placement as placement;

use super::first;

/// Has a node emptied.
pub(super) async fn drain(
    coordination: &Coordination,
    node: &NodeId,
    timeout: Duration,
) -> anyhow::Result<String> {
    known(coordination, node, timeout).await?;
    coordination.declare(&Intent::Drain(node.clone()), &Bytes::new()).await?;
    Ok(format!(
        "node {node} is to be emptied; \"rangekeeper cluster status\" shows what that would move, \
         and \"drain --undo\" takes it back"
    ))
}

/// Takes back that a node is to be emptied.
pub(super) async fn keep(coordination: &Coordination, node: &NodeId) -> anyhow::Result<String> {
    coordination.cluster().await?;
    coordination.withdraw(&Intent::Drain(node.clone())).await?;
    Ok(format!("node {node} keeps what it has"))
}

/// Has every shard stay where it is.
pub(super) async fn freeze(coordination: &Coordination) -> anyhow::Result<String> {
    coordination.declare(&Intent::Freeze, &Bytes::new()).await?;
    Ok("every shard stays where it is until \"rangekeeper cluster freeze --undo\"".to_owned())
}

/// Takes that back.
pub(super) async fn thaw(coordination: &Coordination) -> anyhow::Result<String> {
    coordination.cluster().await?;
    coordination.withdraw(&Intent::Freeze).await?;
    Ok("shards may be given to other nodes again".to_owned())
}

/// Says that a node is gone for good.
pub(super) async fn confirm(
    coordination: &Coordination,
    node: &NodeId,
    timeout: Duration,
) -> anyhow::Result<String> {
    if known(coordination, node, timeout).await?.members.contains_key(node) {
        bail!(
            "node {node} is registered, so it is not gone: stop it first, or have it emptied with \
             \"rangekeeper cluster drain {node}\""
        );
    }
    let mut gone = confirmed(coordination, timeout).await?;
    gone.insert(node.clone());
    declare_gone(coordination, &gone).await?;
    Ok(format!(
        "node {node} is gone for good: it is not waited for, and \"confirm --undo\" takes it back"
    ))
}

/// Takes that back.
pub(super) async fn expect_back(
    coordination: &Coordination,
    node: &NodeId,
    timeout: Duration,
) -> anyhow::Result<String> {
    let mut gone = confirmed(coordination, timeout).await?;
    if gone.remove(node) {
        declare_gone(coordination, &gone).await?;
    }
    Ok(format!("node {node} is waited for when it is gone"))
}

/// Whoever is registered, if `node` is one of them or keeps shards: a name that was mistyped would
/// be a wish that nobody ever notices.
async fn known(
    coordination: &Coordination,
    node: &NodeId,
    timeout: Duration,
) -> anyhow::Result<Members> {
    coordination.cluster().await?;
    let members = first(coordination.members(), "who is registered", timeout).await?;
    let assignment = first(coordination.assignment(), "the assignment", timeout).await?;
    let mut names: BTreeSet<NodeId> = members.members.keys().cloned().collect();
    if let Assignment::Published { payload, .. } = assignment {
        let map = placement::Assignment::decode(&payload).context("failed to read the map")?;
        names.extend(map.nodes.into_iter().map(|row| row.id));
    }
    if !names.contains(node) {
        let names: Vec<_> = names.iter().map(NodeId::as_str).collect();
        let there = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        bail!("the cluster has no node {node}; there are: {there}");
    }
    Ok(members)
}

/// The nodes that are gone for good: a list of names in JSON.
pub(super) fn confirmed_nodes(payload: &[u8]) -> anyhow::Result<BTreeSet<NodeId>> {
    serde_json::from_slice(payload).context("failed to read which nodes are gone for good")
}

async fn confirmed(
    coordination: &Coordination,
    timeout: Duration,
) -> anyhow::Result<BTreeSet<NodeId>> {
    coordination.cluster().await?;
    let intents = first(coordination.intents(), "what the operator wants", timeout).await?;
    intents.get(&Intent::Confirm).map_or_else(|| Ok(BTreeSet::new()), |found| confirmed_nodes(found))
}

async fn declare_gone(
    coordination: &Coordination,
    gone: &BTreeSet<NodeId>,
) -> anyhow::Result<()> {
    if gone.is_empty() {
        return Ok(coordination.withdraw(&Intent::Confirm).await?);
    }
    let payload = serde_json::to_vec(gone).context("failed to write which nodes are gone")?;
    Ok(coordination.declare(&Intent::Confirm, &payload.into()).await?)
}
