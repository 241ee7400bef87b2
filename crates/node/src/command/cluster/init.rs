//! `rangekeeper cluster init`: makes a cluster, of nothing or around a node that has data.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, bail};
use rangekeeper_coordination::{Address, Cluster, Coordination};
use rangekeeper_model::ShardCount;
use rangekeeper_placement::{Assignment, Replication};
use serde::Deserialize;
use uuid::Uuid;

use crate::cli::Target;
use crate::cli::cluster::Init;
use crate::command::client::Client;

/// How long the node that is to be the first one may take to say what it is.
const ADOPT_TIMEOUT: Duration = Duration::from_secs(10);

/// The hash that places series, by the name that the cluster keeps for it.
const HASH: &str = "xxh3-128";

/// What is to be made.
#[derive(Debug)]
pub(super) struct Wish {
    pub(super) cluster: Cluster,
    /// The node around which it is made.
    pub(super) adopted: Option<String>,
    pub(super) credentials_file: Option<String>,
}

/// What a node says of its store.
#[derive(Debug, Deserialize)]
struct Identity {
    store: Uuid,
    seed: u64,
    shards: u32,
    cluster: Option<Uuid>,
}

impl Wish {
    /// Reads the command line, and asks the node that is to be adopted.
    pub(super) fn read(command: &Init) -> anyhow::Result<Self> {
        let (cluster, adopted) = match &command.adopt {
            None => (anew(command.shards, command.replication, command.expect)?, None),
            Some(url) => {
                let target = Target { url: url.clone(), token_file: command.token_file.clone() };
                let identity = Client::new(&target)?.identity(ADOPT_TIMEOUT)?;
                let identity = serde_json::from_value(identity)
                    .with_context(|| format!("{url} says nothing of its store"))?;
                (around(&identity, command.replication, url)?, Some(url.clone()))
            }
        };
        let file = command.ensemble.zookeeper_credentials_file.as_ref();
        Ok(Self { cluster, adopted, credentials_file: file.map(|f| f.display().to_string()) })
    }
}

/// A cluster whose nodes will have nothing at first.
pub(super) fn anew(
    shards: ShardCount,
    replication: Replication,
    expect: Option<u32>,
) -> anyhow::Result<Cluster> {
    let places = u32::try_from(replication.quorum().places()).expect("at most five");
    let expect = expect.unwrap_or(places);
    if expect < places {
        let copies = copies(replication);
        bail!("--expect {expect}: with {copies} a shard is kept by {places} nodes");
    }
    let (uuid, seed) = (Uuid::new_v4(), Uuid::new_v4().as_u64_pair().0);
    Ok(record(uuid, seed, shards.count(), replication, expect))
}

/// A cluster that a node with data begins. Its series lie where its seed and its number of shards
/// put them, so the cluster has both from it, and its name from the node's store: asked for twice,
/// it is the same cluster.
fn around(identity: &Identity, replication: Replication, url: &str) -> anyhow::Result<Cluster> {
    if let Some(cluster) = identity.cluster {
        bail!("the node at {url} belongs to cluster {cluster} already");
    }
    // Alone: others that came first would be given shards of which they have no data.
    let cluster = record(identity.store, identity.seed, identity.shards, replication, 1);
    Ok(Cluster { adopted: true, ..cluster })
}

fn record(
    uuid: Uuid,
    hash_seed: u64,
    shards: u32,
    replication: Replication,
    expect: u32,
) -> Cluster {
    Cluster {
        uuid,
        generation: 1,
        shards,
        hash: HASH.to_owned(),
        hash_seed,
        replication: replication.copies(),
        expect,
        adopted: false,
        format_level: u32::from(Assignment::LEVEL.0),
    }
}

/// Makes it, and says what was made and what comes next.
pub(super) async fn make(
    coordination: &Coordination,
    address: &Address,
    wish: &Wish,
) -> anyhow::Result<String> {
    coordination.init(&wish.cluster).await?;
    Ok(told(address, wish))
}

fn told(address: &Address, wish: &Wish) -> String {
    let Wish { cluster, adopted, credentials_file } = wish;
    let replication = Replication::new(cluster.replication).expect("it was made of one");
    let mut out = format!("made cluster {} at {address}\n", cluster.uuid);
    let mut line = |text: &str| writeln!(out, "{text}").expect("a string takes all");
    line(&format!("  {} shards, {}", cluster.shards, copies(replication)));
    let credentials = |option: &str| {
        credentials_file.as_ref().map_or_else(String::new, |file| format!(" {option}{file}"))
    };
    let of_node = credentials("--set cluster.zookeeper_credentials_file=");
    let serve = |port: u32, node: &str, data: &str| {
        format!(
            "  rangekeeper serve --listen 127.0.0.1:{port} --data {data} --node-id {node} \
             --zookeeper {address}{of_node}"
        )
    };
    if let Some(url) = adopted {
        line(&format!("  its seed, its shards and its name are those of the node at {url}"));
        line("\nStop that node, and start it again on the same data as the first one:\n");
        line(&serve(9920, "a", "DIR"));
        line(
            "\nIt keeps every shard for now. Start others once the status shows that it has them:",
        );
    } else {
        let are = if cluster.expect == 1 { "node is" } else { "nodes are" };
        line(&format!("  they are given to nodes once {} {are} there", cluster.expect));
        line("\nStart the nodes, each with a name, a port and a folder of its own:\n");
        for (name, number) in ["a", "b", "c", "d", "e"].into_iter().zip(0..cluster.expect) {
            line(&serve(9920 + 10 * number, name, &format!("data-{name}")));
        }
        line("\nThen look at them:");
    }
    let of_command = credentials("--zookeeper-credentials-file ");
    line(&format!("\n  rangekeeper cluster status --zookeeper {address}{of_command}"));
    out.trim_end().to_owned()
}

fn copies(replication: Replication) -> String {
    match replication {
        Replication::One => "1 copy of each".to_owned(),
        Replication::Two => "2 copies of each, and a witness on a third node".to_owned(),
        Replication::Three | Replication::Five => {
            format!("{} copies of each", replication.copies())
        }
    }
}
