//! `rangekeeper cluster status`: asks the leader, else any node, else ZooKeeper.

use std::time::Duration;

use anyhow::{Context, bail};
use rangekeeper_coordination::{Address, Coordination, Intent};
use serde_json::Value;

use super::{connect, first, runtime, show, wishes};
use crate::cli::Target;
use crate::cli::cluster::Status;
use crate::command::client::Client;
use crate::command::say;
use crate::overview::{Known, Overview, of_ensemble};

/// How a status came about.
pub(super) struct Found {
    /// The status, as JSON.
    pub(super) status: Value,
    /// Who said it, for people.
    pub(super) from: String,
    /// Which nodes did not answer before, and why.
    pub(super) silent: Vec<String>,
}

pub(super) fn run(command: &Status) -> anyhow::Result<()> {
    let found = match (&command.url, &command.zookeeper) {
        (Some(url), _) => ask(command, url)?,
        (None, Some(address)) => look(command, address)?,
        (None, None) => bail!("say where the cluster is: --zookeeper or --url"),
    };
    if command.json {
        // What was said to be JSON is nothing else; the rest is for people.
        return say(&serde_json::to_string_pretty(&found.status)?);
    }
    let overview = Overview::read(&found.status).context("failed to read the status")?;
    say(&show::status(&overview, &found))
}

fn ask(command: &Status, url: &str) -> anyhow::Result<Found> {
    let target = Target { url: url.to_owned(), token_file: command.token_file.clone() };
    let status = Client::new(&target)?.cluster(command.timeout)?;
    Ok(Found { status, from: format!("the node at {url}"), silent: Vec::new() })
}

/// Reads what ZooKeeper knows, and has a node say more.
fn look(command: &Status, address: &Address) -> anyhow::Result<Found> {
    let credentials = command.zookeeper_credentials_file.as_deref();
    let known = runtime()?.block_on(async {
        let coordination = connect(address, credentials, command.timeout)?;
        let known = known(&coordination, address, command.timeout).await;
        coordination.close().await;
        known
    })?;
    let mut silent = Vec::new();
    for (node, url) in candidates(&known) {
        match ask(command, &url) {
            Ok(found) => {
                let from = format!("node {node} at {url}");
                return Ok(Found { from, silent, ..found });
            }
            Err(error) => silent.push(format!("node {node}: {error:#}")),
        }
    }
    let overview = of_ensemble(&known).context("failed to read the map")?;
    let status = serde_json::to_value(overview)?;
    Ok(Found { status, from: "ZooKeeper alone: no node answered".to_owned(), silent })
}

/// All that ZooKeeper knows.
pub(super) async fn known(
    coordination: &Coordination,
    address: &Address,
    timeout: Duration,
) -> anyhow::Result<Known> {
    let (cluster, _) = coordination.cluster().await?;
    let intents = first(coordination.intents(), "what the operator wants", timeout).await?;
    let confirmed = intents.get(&Intent::Confirm).map(|found| wishes::confirmed_nodes(found));
    Ok(Known {
        path: address.to_string(),
        cluster,
        members: first(coordination.members(), "who is registered", timeout).await?,
        leader: first(coordination.leader(), "who leads", timeout).await?,
        assignment: first(coordination.assignment(), "the assignment", timeout).await?,
        intents,
        confirmed: confirmed.transpose()?.unwrap_or_default(),
    })
}

/// The nodes that may answer, the leader first: it alone knows what is proposed.
fn candidates(known: &Known) -> Vec<(String, String)> {
    let leader = known.leader.as_ref().map(|leader| &leader.node);
    let mut members: Vec<_> = known.members.members.iter().collect();
    members.sort_by_key(|(id, _)| Some(*id) != leader);
    members
        .into_iter()
        .map(|(id, member)| (id.to_string(), format!("http://{}", member.registration.http_address)))
        .collect()
}
