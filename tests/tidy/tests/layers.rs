//! The layers of the workspace: an arrow goes only to a lower layer, and one foreign system has
//! one crate. Only normal dependencies count; tests may look wherever they like.

use std::collections::BTreeMap;

use rangekeeper_tidy::{Package, files, manifest, packages};

/// Folder below `crates/` and its layer. A crate that is not in this list fails the test, so that
/// its place is a decision and not an accident.
const LAYERS: &[(&str, u8)] = &[
    ("model", 0),
    ("wire", 1),
    ("placement", 1),
    ("promql", 1),
    ("chunk", 1),
    ("telemetry", 1),
    ("storage", 2),
    ("coordination", 2),
    ("cluster", 3),
    ("ingest", 4),
    ("query", 4),
    ("node", 5),
];

/// Serves tests and benches; nothing that ships may need it.
const TESTKIT: &str = "testkit";

/// Foreign systems and the only crates that may name them.
const OWNERS: &[(&str, &[&str])] = &[
    ("rocksdb", &["storage"]),
    ("axum", &["node"]),
    ("clap", &["node"]),
    ("tower-http", &["node"]),
    ("zookeeper-client", &["coordination"]),
    ("prost", &["wire"]),
    ("pco", &["chunk"]),
    ("roaring", &["storage"]),
    ("tonic", &["cluster", "node"]),
];

/// Crates that decide and compute and never touch the outside.
const PURE: &[&str] = &["model", "placement", "promql", "chunk"];

/// Crates that do I/O, wait or start threads of a runtime.
const IMPURE_DEPENDENCIES: &[&str] = &["tokio", "rustix", "libc", "tempfile", "ureq", "hyper"];

/// What a pure crate's own source may not say.
const IMPURE_PATHS: &[&str] = &["std::fs", "std::net", "std::process", "SystemTime::now"];

/// Files of pure crates that serve tests and examples, and may read what those give them.
const IMPURE_FILES: &[(&str, &str)] =
    &[("crates/promql/src/script.rs", "runs the conformance scripts of a folder")];

fn product_crates() -> Vec<(String, Package)> {
    let packages = packages().expect("the workspace can be read");
    let crates: Vec<_> = packages
        .into_iter()
        .filter_map(|package| {
            let folder = package.folder.strip_prefix("crates/")?.to_owned();
            Some((folder, package))
        })
        .collect();
    assert!(crates.iter().any(|(folder, _)| folder == "model"), "the workspace has no model");
    crates
}

#[test]
fn a_crate_is_named_after_its_folder_and_has_a_layer() {
    for (folder, package) in product_crates() {
        assert_eq!(package.name, format!("rangekeeper-{folder}"), "in crates/{folder}");
        let placed = LAYERS.iter().any(|(name, _)| *name == folder) || folder == TESTKIT;
        assert!(placed, "crates/{folder} has no layer: give it one in this table");
    }
}

#[test]
fn an_arrow_goes_only_to_a_lower_layer() {
    let layer_of: BTreeMap<String, u8> =
        LAYERS.iter().map(|(name, layer)| (format!("rangekeeper-{name}"), *layer)).collect();
    let mut wrong = Vec::new();
    for (folder, package) in product_crates() {
        let Some(layer) = layer_of.get(&package.name) else { continue };
        for dependency in &package.normal_dependencies {
            let allowed = match layer_of.get(dependency) {
                Some(lower) => lower < layer,
                // Ours but without a layer: testkit, benches, the packages of tests/.
                None => !dependency.starts_with("rangekeeper-"),
            };
            if !allowed {
                wrong.push(format!("{folder} -> {dependency}"));
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that do not go to a lower layer: {wrong:#?}");
}

#[test]
fn a_foreign_system_has_one_crate() {
    let mut wrong = Vec::new();
    for (folder, package) in product_crates() {
        for (foreign, owners) in OWNERS {
            let named = package.normal_dependencies.iter().any(|name| name == foreign);
            if named && folder != TESTKIT && !owners.contains(&folder.as_str()) {
                wrong.push(format!("{folder} names {foreign}, which belongs to {owners:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn pure_crates_do_not_touch_the_outside() {
    let mut wrong = Vec::new();
    for (folder, package) in product_crates() {
        if !PURE.contains(&folder.as_str()) {
            continue;
        }
        for dependency in &package.normal_dependencies {
            if IMPURE_DEPENDENCIES.contains(&dependency.as_str()) {
                wrong.push(format!("{folder} needs {dependency}"));
            }
        }
        let source = format!("crates/{folder}/src/");
        for file in files().expect("the files can be read") {
            let serves_tests = file.path.ends_with("/tests.rs")
                || file.path.contains("/tests/")
                || IMPURE_FILES.iter().any(|(path, _)| *path == file.path);
            if !file.path.starts_with(&source) || serves_tests {
                continue;
            }
            // A unit test may read a file of cases; what ships may not.
            let shipped = file.text.split("#[cfg(test)]").next().unwrap_or_default();
            for path in IMPURE_PATHS.iter().filter(|path| shipped.contains(**path)) {
                wrong.push(format!("{} says {path}", file.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn versions_and_lints_stand_in_the_workspace_alone() {
    let mut wrong = Vec::new();
    for package in packages().expect("the workspace can be read") {
        let manifest = manifest(&package).expect("the manifest can be read");
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let table = manifest.get(section).and_then(toml::Value::as_table);
            for (name, value) in table.into_iter().flatten() {
                let inherited = value.get("workspace").and_then(toml::Value::as_bool);
                if inherited != Some(true) {
                    wrong.push(format!("{}: {section}.{name}", package.folder));
                }
            }
        }
        let lints = manifest.get("lints").and_then(|lints| lints.get("workspace"));
        if lints.and_then(toml::Value::as_bool) != Some(true) {
            wrong.push(format!("{}: lints", package.folder));
        }
    }
    assert!(wrong.is_empty(), "not inherited from the workspace: {wrong:#?}");
}
