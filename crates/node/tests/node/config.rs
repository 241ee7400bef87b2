//! Configuration: layers, origins, and what is refused.

use std::fs;
use std::time::Duration;

use rangekeeper_node::config::{
    Config, ConfigError, DEFAULTS, Durability, Late, Settings, Share, Sources,
};
use rangekeeper_query::Feature;

fn read(sources: &Sources) -> Result<Config, ConfigError> {
    Settings::read(sources)?.config()
}

fn set(assignments: &[&str]) -> Sources {
    let set = assignments.iter().map(|&text| text.to_owned()).collect();
    Sources { set, ..Sources::default() }
}

fn refusal(sources: &Sources) -> String {
    read(sources).expect_err("it is refused").to_string()
}

/// The whole of a file beside the defaults, and the sources that read it.
fn file(text: &str) -> (tempfile::TempDir, Sources) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rangekeeper.toml");
    fs::write(&path, text).unwrap();
    (folder, Sources { file: Some(path), ..Sources::default() })
}

#[test]
fn the_defaults_are_what_the_documents_say() {
    let config = read(&Sources::default()).unwrap();
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:9920");
    assert_eq!(config.server.drain, Duration::from_secs(30));
    assert_eq!(config.storage.retention, Duration::from_hours(30 * 24));
    assert_eq!(config.storage.durability, Durability::Sync);
    assert_eq!(config.storage.shards.count(), 256);
    assert_eq!(config.limits.body.as_u64(), 32 << 20);
    assert_eq!(config.limits.decoded.as_u64(), 128 << 20);
    assert_eq!(config.limits.labels.get(), 64);
    assert_eq!(config.limits.name.as_u64(), 1 << 10);
    assert_eq!(config.limits.value.as_u64(), 8 << 10);
    assert_eq!(config.limits.future, Duration::from_mins(10));
    assert_eq!(config.limits.late, Late::Retention);
    assert_eq!(config.limits.in_flight, Share::Percent(10));
    assert_eq!(config.limits.memory, Share::Percent(60));
    assert_eq!(config.head.flush_samples.get(), 60);
    assert_eq!(config.head.flush_age, Duration::from_mins(30));
    assert_eq!(config.query.samples.get(), 50_000_000);
    assert_eq!(config.query.timeout, Duration::from_mins(1));
    assert_eq!(config.query.concurrent.get(), 20);
    assert_eq!(config.query.text.as_u64(), 64 << 10);
    assert_eq!(config.query.depth.get(), 200);
    assert_eq!(config.query.lookback, Duration::from_mins(5));
    assert_eq!(config.query.features, []);
    assert_eq!(config.auth.token_file, None);
}

#[test]
fn the_disk_reserve_has_room_for_the_log_twice() {
    assert_eq!(read(&Sources::default()).unwrap().disk_reserve_bytes(), 1 << 30);
    assert_eq!(read(&set(&["log.bound=2GiB"])).unwrap().disk_reserve_bytes(), 4 << 30);
    let tiny = set(&["log.file=1MiB", "log.bound=8MiB", "storage.disk_reserve=1MiB"]);
    assert_eq!(read(&tiny).unwrap().disk_reserve_bytes(), 16 << 20);
}

#[test]
fn the_file_of_the_defaults_is_a_configuration_like_any_other() {
    let (_folder, sources) = file(DEFAULTS);
    assert!(read(&sources).is_ok());
}

#[test]
fn every_key_has_a_comment() {
    let mut commented = false;
    let mut keys = 0;
    for line in DEFAULTS.lines() {
        let is_key = line.contains(" = ") && !line.starts_with('#');
        assert!(!is_key || commented, "no comment over {line}");
        keys += usize::from(is_key);
        commented = line.starts_with('#');
    }
    assert!(keys > 30, "only {keys} keys");
}

#[test]
fn later_layers_win() {
    let (_folder, mut sources) = file("[query]\ndepth = 1\nconcurrent = 1\ntimeout = \"1s\"\n");
    assert_eq!(read(&sources).unwrap().query.depth.get(), 1);
    sources.environment = vec![
        ("RANGEKEEPER_QUERY__DEPTH".to_owned(), "2".to_owned()),
        ("RANGEKEEPER_QUERY__CONCURRENT".to_owned(), "2".to_owned()),
        ("RANGEKEEPER_REVISION".to_owned(), "not a key".to_owned()),
        ("OTHER_QUERY__DEPTH".to_owned(), "9".to_owned()),
    ];
    sources.set = vec!["query.depth=3".to_owned()];
    sources.options = vec![("storage.data_dir", "/srv".to_owned(), "--data")];
    let config = read(&sources).unwrap();
    assert_eq!(config.query.depth.get(), 3);
    assert_eq!(config.query.concurrent.get(), 2);
    assert_eq!(config.query.timeout, Duration::from_secs(1));
    assert_eq!(config.storage.data_dir.to_str(), Some("/srv"));
}

#[test]
fn what_is_printed_tells_the_origin_and_can_be_read_again() {
    let mut sources = set(&["limits.memory=2GiB", "auth.no_auth=true", "query.depth=7"]);
    sources.environment = vec![("RANGEKEEPER_LOG__FILE".to_owned(), "8MiB".to_owned())];
    let printed = Settings::read(&sources).unwrap().print();
    for line in [
        "[limits]",
        "memory = \"2GiB\"  # from --set",
        "no_auth = true  # from --set",
        "file = \"8MiB\"  # from environment variable RANGEKEEPER_LOG__FILE",
        "body = \"32MiB\"",
    ] {
        assert!(printed.lines().any(|l| l == line), "no line {line:?} in\n{printed}");
    }
    let (_folder, again) = file(&printed);
    let config = read(&again).unwrap();
    assert_eq!(config.limits.memory, Share::Bytes(2 << 30));
    assert_eq!(config.query.depth.get(), 7);
    assert_eq!(config.log.file.as_u64(), 8 << 20);
}

#[test]
fn wrong_values_are_refused_by_key_value_and_origin() {
    for (assignment, parts) in [
        ("server.listen=here", &["server.listen = \"here\"", "--set"][..]),
        ("server.idle_timeout=0s", &["more than nothing"]),
        ("storage.retention=30", &["storage.retention", "\"30d\""]),
        ("storage.retention=2h", &["at least 1d"]),
        ("storage.durability=maybe", &["maybe", "sync", "flush"]),
        ("storage.shards=100", &["power of two"]),
        ("storage.shards=131072", &["power of two"]),
        ("storage.data_dir=", &["storage.data_dir", "path"]),
        ("limits.body=0", &["limits.body"]),
        ("limits.body=64 sheep", &["limits.body", "64 sheep"]),
        ("limits.body=256MiB", &["limits.decoded", "limits.body"]),
        ("limits.labels=0", &["limits.labels = 0", "nonzero"]),
        ("limits.labels=many", &["limits.labels = \"many\""]),
        ("limits.memory=101%", &["limits.memory = \"101%\"", "100%"]),
        ("limits.memory=0%", &["limits.memory", "1%"]),
        ("limits.late=never", &["\"retention\""]),
        ("log.bound=65MiB", &["log.bound", "four times"]),
        ("log.file=5", &["log.file", "1MiB"]),
        ("auth.no_auth=perhaps", &["auth.no_auth = \"perhaps\""]),
        ("telemetry.format=xml", &["xml", "json"]),
        ("telemetry.level=loud,=", &["telemetry.level"]),
    ] {
        let message = refusal(&set(&[assignment]));
        for part in parts {
            assert!(message.contains(part), "no {part:?} in {message:?} for {assignment}");
        }
    }
    let mut sources = Sources::default();
    sources.environment.push(("RANGEKEEPER_QUERY__DEPTH".to_owned(), "deep".to_owned()));
    let message = refusal(&sources);
    assert!(message.contains("environment variable RANGEKEEPER_QUERY__DEPTH"), "{message}");
}

#[test]
fn features_are_a_list_of_names_that_prometheus_has() {
    let both = vec![Feature::ExperimentalFunctions, Feature::DelayedNameRemoval];
    let names = "promql-experimental-functions, promql-delayed-name-removal";
    let config = read(&set(&[&format!("query.features={names}")])).unwrap();
    assert_eq!(config.query.features, both);
    let list = format!("[query]\nfeatures = [\"{}\"]\n", names.replace(", ", "\", \""));
    let (_folder, sources) = file(&list);
    assert_eq!(read(&sources).unwrap().query.features, both);
    assert_eq!(read(&set(&["query.features="])).unwrap().query.features, []);
    let message = refusal(&set(&["query.features=promql-experimental-functions,warp-drive"]));
    assert!(message.contains("unknown feature \"warp-drive\""), "{message}");
    for feature in Feature::ALL {
        assert!(message.contains(feature.name()), "no {feature} in {message}");
        assert!(DEFAULTS.contains(feature.name()), "{feature} is not documented");
    }
}

#[test]
fn unknown_keys_are_refused_by_path() {
    let (folder, sources) = file("[storage]\nretentoin = \"5d\"\n");
    let message = refusal(&sources);
    assert!(message.contains("unknown key storage.retentoin"), "{message}");
    assert!(message.contains("storage.retention"), "{message}");
    assert!(message.contains(folder.path().to_str().unwrap()), "{message}");
    for (text, key) in [
        ("retention = \"5d\"", "unknown key retention"),
        ("server = 5", "unknown key server"),
        ("[retention]\ndays = 5", "unknown key retention.days"),
        ("[storage.retention]\ndays = 5", "storage.retention"),
    ] {
        let (_folder, sources) = file(text);
        let message = refusal(&sources);
        assert!(message.contains(key), "no {key:?} in {message:?}");
    }
    let message = refusal(&set(&["head.retention=5d"]));
    assert!(message.contains("did you mean storage.retention?"), "{message}");
    let mut sources = Sources::default();
    sources.environment.push(("RANGEKEEPER_LOGS__FILE".to_owned(), "5".to_owned()));
    let message = refusal(&sources);
    assert!(message.contains("unknown key logs.file"), "{message}");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let missing = Sources { file: Some("no/such/file.toml".into()), ..Sources::default() };
    assert!(refusal(&missing).contains("no/such/file.toml"));
    let (_folder, broken) = file("[server\n");
    assert!(refusal(&broken).contains("parse the configuration"));
    assert!(refusal(&set(&["server.listen"])).contains("section.key=value"));
}

#[test]
fn a_foreign_address_needs_a_token_or_an_explicit_no() {
    for address in ["0.0.0.0:9920", "[::]:9920", "192.168.1.1:80"] {
        let listen = format!("server.listen={address}");
        let message = refusal(&set(&[&listen]));
        assert!(message.contains("--token-file") && message.contains("--no-auth"), "{message}");
        assert!(read(&set(&[&listen, "auth.no_auth=true"])).is_ok());
        assert!(read(&set(&[&listen, "auth.token_file=/etc/tokens"])).is_ok());
    }
    for address in ["127.0.0.1:0", "127.1.2.3:80", "[::1]:9920"] {
        assert!(read(&set(&[&format!("server.listen={address}")])).is_ok());
    }
    let both = set(&["auth.no_auth=true", "auth.token_file=/etc/tokens"]);
    assert!(refusal(&both).contains("choose one"));
}

#[test]
fn a_variable_that_lacks_an_underscore_is_refused_with_the_name_that_was_meant() {
    let mut sources = Sources::default();
    sources.environment.push(("RANGEKEEPER_STORAGE_RETENTION".to_owned(), "5d".to_owned()));
    let message = Settings::read(&sources).expect_err("no key has this name").to_string();
    assert!(message.contains("RANGEKEEPER_STORAGE__RETENTION"), "{message}");
    let mut sources = Sources::default();
    sources.environment.push(("RANGEKEEPER_BIN".to_owned(), "x".to_owned()));
    assert!(Settings::read(&sources).is_ok(), "what begins as no section does is another's");
}
