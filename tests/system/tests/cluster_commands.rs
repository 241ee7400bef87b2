//! `rangekeeper cluster` as an operator runs it, against a real ZooKeeper.

use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rangekeeper_system_tests::trio::Trio;
use rangekeeper_system_tests::zookeeper::Ensemble;
use rangekeeper_system_tests::{poll, programs};
use serde_json::Value;

/// Time in which every node has heard of something.
const LIMIT: Duration = Duration::from_secs(30);

/// What the command said, its outcome first.
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

struct Operator {
    zookeeper: String,
}

impl Operator {
    /// Runs `cluster WHAT --zookeeper … REST`.
    fn run(&self, what: &str, rest: &[&str]) -> Result<Said> {
        let mut command = Command::new(programs::rangekeeper()?);
        command.args(["cluster", what, "--zookeeper", &self.zookeeper]).args(rest);
        said(command.output()?)
    }

    fn done(&self, what: &str, rest: &[&str]) -> Result<String> {
        let said = self.run(what, rest)?;
        ensure!(
            said.code == Some(0),
            "cluster {what} {rest:?} ended with {:?}: {}",
            said.code,
            said.err
        );
        Ok(said.out)
    }

    fn refused(&self, what: &str, rest: &[&str]) -> Result<String> {
        let said = self.run(what, rest)?;
        ensure!(
            said.code == Some(1),
            "cluster {what} {rest:?} ended with {:?}: {}",
            said.code,
            said.out
        );
        Ok(said.err)
    }

    fn status(&self) -> Result<Value> {
        let status = self.done("status", &["--json", "--timeout", "2s"])?;
        serde_json::from_str(&status).context("the status is JSON")
    }
}

fn said(output: Output) -> Result<Said> {
    let code = output.status.code();
    Ok(Said {
        code,
        out: String::from_utf8(output.stdout)?,
        err: String::from_utf8(output.stderr)?,
    })
}

/// What a node writes when it registers, at an address where nothing listens.
fn registration(node: &str) -> String {
    let store = format!("00000000-0000-0000-0000-00000000000{node}");
    let record = serde_json::json!({
        "format": 1, "node": node, "store": store, "boot": 1,
        "run": "00000000-0000-0000-0000-000000000001",
        "peer_address": "127.0.0.1:2", "http_address": "127.0.0.1:1",
        "zone": "z1", "weight": 100, "software": "0.1.0", "format_level": 1,
    });
    record.to_string()
}

#[test]
fn an_operator_makes_a_cluster_looks_at_it_and_says_what_is_wanted() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let Some(ensemble) = Ensemble::start(folder.path(), 1)? else { return Ok(()) };
    let operator = Operator { zookeeper: ensemble.cluster("test") };

    let nothing = operator.refused("status", &[])?;
    ensure!(nothing.contains("`cluster init`"), "{nothing}");
    let made = operator.done("init", &["--shards", "64", "--replication", "2"])?;
    ensure!(made.contains("64 shards, 2 copies of each, and a witness"), "{made}");
    ensure!(made.contains("once 3 nodes are there"), "{made}");
    let again = operator.refused("init", &[])?;
    ensure!(again.contains("cluster") && again.contains("is there"), "{again}");

    let status = operator.status()?;
    ensure!(made.contains(status["cluster"].as_str().context("a uuid")?), "{status}");
    ensure!(status["summary"]["shards"] == 64 && status["epoch"].is_null(), "{status}");

    // Two nodes, of which none answers.
    for node in ["a", "b"] {
        ensemble.create(&format!("/rangekeeper/test/nodes/{node}"), &registration(node))?;
    }
    let shown = operator.done("status", &["--timeout", "2s"])?;
    for part in
        ["as told by ZooKeeper alone", "no answer of node a", "no answer of node b", "nobody leads"]
    {
        ensure!(shown.contains(part), "no {part:?} in\n{shown}");
    }

    let unknown = operator.refused("drain", &["c"])?;
    ensure!(unknown.contains("no node c; there are: a, b"), "{unknown}");
    operator.done("drain", &["b"])?;
    operator.done("freeze", &[])?;
    let alive = operator.refused("confirm", &["a"])?;
    ensure!(alive.contains("node a is registered"), "{alive}");
    let intents = operator.status()?["intents"].take();
    ensure!(
        intents["draining"] == serde_json::json!(["b"]) && intents["frozen"] == true,
        "{intents}"
    );
    operator.done("drain", &["b", "--undo"])?;
    operator.done("freeze", &["--undo"])?;
    operator.done("confirm", &["b", "--undo"])?;
    let intents = operator.status()?["intents"].take();
    ensure!(
        intents["draining"] == serde_json::json!([]) && intents["frozen"] == false,
        "{intents}"
    );
    Ok(())
}

#[test]
fn nodes_that_answer_are_asked_and_those_that_do_not_are_shown() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let Some(mut trio) = Trio::start(folder.path(), None, 1, 3)? else { return Ok(()) };
    let operator = Operator { zookeeper: trio.zookeeper.clone() };
    let shown = operator.done("status", &[])?;
    ensure!(
        shown.contains("as told by node ") && shown.contains("steady              256"),
        "{shown}"
    );
    for at in 0..3 {
        let page = trio.node(at).api.get("/")?;
        ensure!(page.is_success(), "{}", page.body);
        for name in trio.names() {
            let row = format!("<span class=\"name\">{name}</span>");
            ensure!(page.body.contains(&row), "no node {name} in {}", page.body);
        }
        ensure!(
            page.body.contains(" – 255</td>") || page.body.contains(">255</td>"),
            "{}",
            page.body
        );
    }
    operator.done("drain", &["b"])?;
    poll::until("a node that is drained", LIMIT, || {
        let status = trio.status(0)?;
        ensure!(status["intents"]["draining"] == serde_json::json!(["b"]), "{}", status["intents"]);
        Ok(())
    })?;
    let alive = operator.refused("confirm", &["c"])?;
    ensure!(alive.contains("node c is registered"), "{alive}");
    trio.kill(2)?;
    poll::until("a node that is not registered any more", LIMIT, || {
        operator.done("confirm", &["c"]).map(drop)
    })?;
    let shown = operator.done("status", &[])?;
    for part in ["node b is to be emptied", "node c is gone for good", "NOT WHOLE", "(silent)"] {
        ensure!(shown.contains(part), "no {part:?} in\n{shown}");
    }
    let url = trio.node(0).api.base().to_owned();
    let mut command = Command::new(programs::rangekeeper()?);
    let said = said(command.args(["cluster", "status", "--url", &url]).output()?)?;
    ensure!(
        said.out.contains(&format!("as told by the node at {url}")),
        "{}{}",
        said.out,
        said.err
    );
    Ok(())
}

#[test]
fn credentials_keep_others_out() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let Some(ensemble) = Ensemble::start(folder.path(), 1)? else { return Ok(()) };
    let operator = Operator { zookeeper: ensemble.cluster("test") };
    let file = folder.path().join("credentials");
    std::fs::write(&file, "rangekeeper:sesame\n")?;
    let file = file.to_str().context("a path of ASCII")?;
    let made = operator.done("init", &["--zookeeper-credentials-file", file])?;
    ensure!(made.contains(&format!("--set cluster.zookeeper_credentials_file={file}")), "{made}");
    ensure!(!made.contains("sesame"), "{made}");
    operator.done("freeze", &["--zookeeper-credentials-file", file])?;
    let refused = operator.refused("freeze", &["--undo"])?;
    ensure!(refused.contains("not permitted"), "{refused}");
    Ok(())
}

#[test]
fn an_ensemble_that_is_not_there_is_said_to_be_so_in_time() -> Result<()> {
    let operator = Operator { zookeeper: "127.0.0.1:1/rangekeeper/test".to_owned() };
    let refused = operator.refused("status", &["--timeout", "1s"])?;
    ensure!(refused.contains("ZooKeeper cannot be reached"), "{refused}");
    let mut command = Command::new(programs::rangekeeper()?);
    let said = said(command.args(["cluster", "init", "--zookeeper", "zk1:2181"]).output()?)?;
    ensure!(said.code == Some(2) && said.err.contains("it has no path"), "{}", said.err);
    Ok(())
}

#[test]
fn a_lone_node_gives_a_cluster_its_seed_and_name() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let Some(ensemble) = Ensemble::start(folder.path(), 1)? else { return Ok(()) };
    let operator = Operator { zookeeper: ensemble.cluster("adopted") };
    let mut setup = rangekeeper_system_tests::node::Setup::new(&folder.path().join("data"))?;
    setup.settings.push("storage.shards=32".to_owned());
    let node = setup.start_ready()?;
    let identity = node.api.get("/api/v1/admin/identity")?;
    let identity: Value = serde_json::from_str(&identity.body)?;
    let identity = &identity["data"];
    let shards = operator.run("init", &["--adopt", node.api.base(), "--shards", "64"])?;
    ensure!(shards.code == Some(2), "shards are the node's to say");
    let made = operator.done("init", &["--adopt", node.api.base(), "--replication", "3"])?;
    ensure!(made.contains("32 shards, 3 copies"), "{made}");
    ensure!(made.contains(identity["store"].as_str().context("a store")?), "{made}");
    // Asked for twice, it is the same cluster.
    operator.done("init", &["--adopt", node.api.base()])?;
    let alone = node.api.get("/api/cluster/v1")?;
    ensure!(alone.status == 404, "{}", alone.body);
    Ok(())
}
