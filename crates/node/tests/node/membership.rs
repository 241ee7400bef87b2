//! The section `[cluster]` of the configuration: what makes a node one of a cluster, and what is
//! refused.

use std::fs;
use std::time::Duration;

use rangekeeper_node::config::{
    Config, ConfigError, Settings, Sources, read_credentials, read_secret,
};

/// What every node of a cluster has.
const MEMBER: [&str; 2] = ["cluster.zookeeper=zk1:2182,zk2/rangekeeper/prod", "cluster.node_id=a"];

fn read(set: &[&str]) -> Result<Config, ConfigError> {
    let set = set.iter().map(|&text| text.to_owned()).collect();
    Settings::read(&Sources { set, ..Sources::default() })?.config()
}

fn member(set: &[&str]) -> Result<Config, ConfigError> {
    read(&[&MEMBER, set].concat())
}

#[track_caller]
fn refused(set: &[&str], parts: &[&str]) {
    let message = read(set).expect_err("it is refused").to_string();
    for part in parts {
        assert!(message.contains(part), "no {part:?} in {message:?}");
    }
}

#[track_caller]
fn member_refused(set: &[&str], parts: &[&str]) {
    refused(&[&MEMBER, set].concat(), parts);
}

#[test]
fn a_node_is_alone_unless_it_is_told_otherwise() {
    assert_eq!(read(&[]).unwrap().member(), None);
    // Of a section that does not count nothing is in the way.
    assert_eq!(read(&["server.listen=0.0.0.0:65535", "auth.no_auth=true"]).unwrap().member(), None);
}

#[test]
fn the_defaults_are_those_that_were_decided() {
    let cluster = member(&[]).unwrap().cluster;
    assert_eq!(cluster.session_timeout, Duration::from_secs(15));
    assert_eq!(cluster.grace, Duration::from_mins(10));
    assert_eq!(cluster.settle, Duration::from_secs(30));
    assert_eq!(cluster.quiet, Duration::from_secs(30));
    assert_eq!((cluster.weight, &cluster.zone), (100, &None));
    let policy = cluster.policy(3);
    assert_eq!(policy, rangekeeper_placement::Policy::new(3));
}

#[test]
fn a_leader_goes_by_what_is_configured() {
    let set = ["grace=20s", "settle=3s", "quiet=1s", "session_timeout=2s"];
    let set = set.map(|text| format!("cluster.{text}"));
    let policy = member(&set.each_ref().map(String::as_str)).unwrap().cluster.policy(1);
    assert_eq!((policy.repair_after_ms, policy.repair_after_second_loss_ms), (20_000, 20_000));
    // Sessions that one outage ended come back within two of their timeouts.
    assert_eq!((policy.settle_ms, policy.quiet_ms), (3_000, 4_000));
}

#[test]
fn peers_are_listened_for_beside_http() {
    let at = |set: &[&str]| member(set).unwrap().member().unwrap().peer_listen.to_string();
    assert_eq!(at(&[]), "127.0.0.1:9921");
    assert_eq!(at(&["server.listen=[::1]:80"]), "[::1]:81");
    assert_eq!(at(&["server.listen=127.0.0.1:0"]), "127.0.0.1:0");
    assert_eq!(at(&["cluster.peer_listen=127.0.0.2:5"]), "127.0.0.2:5");
    member_refused(&["server.listen=127.0.0.1:65535"], &["cluster.peer_listen", "--peer-listen"]);
    member_refused(
        &["cluster.peer_listen=127.0.0.1:9920"],
        &["cluster.peer_listen", "server.listen"],
    );
    member_refused(&["cluster.peer_listen=here"], &["cluster.peer_listen = \"here\""]);
}

#[test]
fn others_reach_a_node_where_it_listens_or_where_it_says() {
    let reached = |set: &[&str], bound: &str| {
        member(set).unwrap().member().unwrap().reached_at(bound.parse().unwrap())
    };
    assert_eq!(reached(&[], "127.0.0.1:9921"), "127.0.0.1:9921");
    let named = |host: &str| format!("cluster.advertise={host}");
    assert_eq!(reached(&[&named("db-1.example")], "10.0.0.1:7"), "db-1.example:7");
    assert_eq!(reached(&[&named("10.0.0.9")], "0.0.0.0:7"), "10.0.0.9:7");
    assert_eq!(reached(&[&named("fd00::1")], "[::]:7"), "[fd00::1]:7");
    assert_eq!(reached(&[&named("[fd00::1]")], "[::]:7"), "[fd00::1]:7");
    for wrong in ["db:80", "http://db", "0.0.0.0", "::", "a b", "-a", &"x".repeat(254)] {
        member_refused(&[&named(wrong)], &["cluster.advertise", "without a port"]);
    }
}

#[test]
fn a_wildcard_needs_a_host_to_advertise() {
    let open = "auth.no_auth=true";
    for (listen, key) in [
        ("server.listen=0.0.0.0:9920", "server.listen"),
        ("server.listen=[::]:9920", "server.listen"),
        ("cluster.peer_listen=0.0.0.0:9921", "cluster.peer_listen"),
    ] {
        member_refused(&[listen, open], &["cluster.advertise", "--advertise", key]);
        assert!(member(&[listen, open, "cluster.advertise=db"]).is_ok(), "{listen}");
    }
}

#[test]
fn peers_that_others_can_reach_need_a_secret_or_an_explicit_no() {
    let listen = ["server.listen=10.0.0.1:9920", "auth.token_file=/etc/tokens"];
    member_refused(
        &listen,
        &["cluster.peer_listen", "10.0.0.1:9921", "--cluster-secret-file", "--no-auth"],
    );
    let secret = "cluster.secret_file=/etc/secret";
    assert!(member(&[&listen[..], &[secret]].concat()).is_ok());
    assert!(member(&["server.listen=10.0.0.1:9920", "auth.no_auth=true"]).is_ok());
    // HTTP alone on this machine does not make the peers' port so.
    member_refused(&["cluster.peer_listen=10.0.0.1:9921"], &["cluster.peer_listen"]);
    assert!(member(&["cluster.peer_listen=10.0.0.1:9921", secret]).is_ok());
}

#[test]
fn a_node_of_a_cluster_has_a_name_and_a_named_node_a_cluster() {
    refused(&MEMBER[..1], &["cluster.node_id", "--node-id"]);
    refused(&MEMBER[1..], &["cluster.node_id", "--zookeeper"]);
}

#[test]
fn wrong_values_are_refused_by_their_keys() {
    for (assignment, parts) in [
        ("cluster.zookeeper=zk1:2181", &["cluster.zookeeper", "no path"][..]),
        ("cluster.node_id=a/b", &["cluster.node_id", "characters"]),
        ("cluster.zone=-", &["cluster.zone", "characters"]),
        ("cluster.weight=0", &["cluster.weight = 0", "1 to 10000"]),
        ("cluster.weight=10001", &["cluster.weight"]),
        ("cluster.weight=-1", &["cluster.weight"]),
        ("cluster.session_timeout=0s", &["cluster.session_timeout", "more than nothing"]),
        ("cluster.grace=0s", &["cluster.grace", "more than nothing"]),
        ("cluster.settle=soon", &["cluster.settle", "\"90s\""]),
        ("cluster.nodes=3", &["unknown key cluster.nodes", "cluster.node_id"]),
    ] {
        member_refused(&[assignment], parts);
    }
}

#[test]
fn secrets_are_read_from_one_line_and_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let write = |text: &str| fs::write(&path, text).unwrap();
    let shown = path.display().to_string();
    let missing = read_secret(&path).expect_err("there is no file").to_string();
    assert!(missing.contains(&shown) && missing.contains("secret"), "{missing}");
    write("# ours\n\nopen sesame\n");
    assert!(read_secret(&path).is_ok());
    write("node:open:sesame\n");
    let credentials = read_credentials(&path).unwrap();
    assert_eq!((&*credentials.user, &*credentials.password), ("node", "open:sesame"));
    assert!(!format!("{credentials:?}").contains("sesame"));
    for (text, reason) in [("", "no line"), ("sesame\nsimsim\n", "several lines")] {
        write(text);
        for message in [
            read_secret(&path).expect_err("no line").to_string(),
            read_credentials(&path).expect_err("no line").to_string(),
        ] {
            assert!(message.contains(reason) && message.contains(&shown), "{message}");
            assert!(!message.contains("sesame"), "{message}");
        }
    }
    for text in ["sesame", ":sesame", "sesame:"] {
        write(text);
        let message = read_credentials(&path).expect_err("no pair").to_string();
        assert!(message.contains("USER:PASSWORD") && !message.contains("sesame"), "{message}");
    }
}

#[test]
fn the_example_of_three_nodes_loads_for_each_of_them() {
    let path = std::path::Path::new("../../config/cluster.toml");
    let example = fs::read_to_string(path).unwrap();
    for node in ["a", "b", "c"] {
        let environment =
            [("NODE_ID", node), ("ZONE", &format!("rack-{node}")), ("ADVERTISE", node)];
        let sources = Sources {
            file: Some(path.to_owned()),
            environment: environment
                .map(|(key, value)| (format!("RANGEKEEPER_CLUSTER__{key}"), value.to_owned()))
                .to_vec(),
            ..Sources::default()
        };
        let config = Settings::read(&sources).and_then(|settings| settings.config());
        let member = config.unwrap_or_else(|error| panic!("{error}\n{example}")).member().unwrap();
        assert_eq!((member.node.as_str(), member.zookeeper.servers().len()), (node, 3));
        let bound = member.peer_listen;
        assert_eq!(member.reached_at(bound), format!("{node}:9921"));
    }
}
