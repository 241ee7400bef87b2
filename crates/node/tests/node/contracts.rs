//! The lists of what the project promises to keep: metrics, keys of the configuration, paths,
//! options.
//!
//! They are made of the program and committed beside it. Whoever changes one on purpose runs these
//! tests with `RANGEKEEPER_WRITE_CONTRACTS=1`, which writes the lists anew, and commits the
//! difference.

mod clustered;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use clap::CommandFactory;
use rangekeeper_node::cli::Cli;
use rangekeeper_node::config::{Settings, Sources};
use rangekeeper_node::http;
use rangekeeper_node::services::Opening;

use crate::harness::Harness;

const WRITE: &str = "RANGEKEEPER_WRITE_CONTRACTS";

fn hold(name: &str, actual: &str) {
    let path = Path::new("contracts").join(name);
    if std::env::var_os(WRITE).is_some() {
        fs::create_dir_all(path.parent().expect("it lies in a folder")).expect("make the folder");
        fs::write(&path, actual).expect("write the list");
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == actual,
        "{} is not what the program has; if that is meant, set {WRITE}=1 and commit it. \
         The program has:\n{actual}",
        path.display()
    );
}

#[test]
fn metrics() {
    let node = Harness::serving(&[]);
    node.registry.process();
    // The store, its receiver and its queries register their own.
    let folder = tempfile::tempdir().expect("a folder for the store");
    let data_dir = format!("storage.data_dir={}", folder.path().display());
    let sources = Sources { set: vec![data_dir], ..Sources::default() };
    let config = Settings::read(&sources).and_then(|settings| settings.config());
    let opened = rangekeeper_node::open::open(Opening {
        config: Arc::new(config.expect("the defaults hold")),
        registry: node.registry.clone(),
        readiness: Arc::default(),
        http_address: node.node().address(),
        available_bytes: 1 << 30,
        accept_loss: false,
    });
    node.runtime.block_on(clustered::register(&node.registry));
    let mut list = String::new();
    for definition in node.registry.definitions() {
        let labels = definition.labels.join(", ");
        writeln!(list, "{} {} {{{labels}}}", definition.name, definition.kind).unwrap();
        writeln!(list, "    {}", definition.help).unwrap();
    }
    hold("metrics.txt", &list);
    (opened.expect("the store opens").close)().expect("the store closes");
}

#[test]
fn configuration_keys() {
    hold("configuration.txt", &Settings::contract());
}

#[test]
fn http_paths() {
    hold("paths.txt", &http::contract());
}

#[test]
fn command_line() {
    let mut list = String::new();
    options(&Cli::command(), "rangekeeper", &mut list);
    hold("options.txt", &list);
}

/// The options and arguments of a command, then those of the commands under it.
fn options(command: &clap::Command, path: &str, list: &mut String) {
    writeln!(list, "{path}").unwrap();
    for argument in command.get_arguments() {
        let name = argument.get_long().map(|long| format!("--{long}"));
        let value = argument.get_value_names().unwrap_or_default().join(" ");
        let takes_value = argument.get_action().takes_values();
        let text = match name {
            Some(name) if takes_value => format!("{name} <{value}>"),
            Some(name) => name,
            None => format!("<{value}>"),
        };
        let default = argument.get_default_values().first();
        let default = default.map_or(String::new(), |d| format!("  (default {})", d.display()));
        writeln!(list, "    {text}{default}").unwrap();
    }
    for below in command.get_subcommands() {
        options(below, &format!("{path} {}", below.get_name()), list);
    }
}
