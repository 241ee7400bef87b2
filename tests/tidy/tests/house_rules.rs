//! The house rules that a machine can hold: lengths, names, the sentence on top of each file, and
//! what may never be committed. The lengths of functions are clippy's (`.clippy.toml`).

use rangekeeper_tidy::{SourceFile, files};

/// Lines of a Rust file.
const FILE_LIMIT: usize = 500;

/// Characters of a line of Rust.
const LINE_LIMIT: usize = 100;

/// Files over the limit, with their lengths. The list may only shrink: a file that got shorter has
/// to lower its figure here, and one below the limit has to go.
const LONG_FILES: &[(&str, usize)] = &[];

/// Names that say nothing about what a file holds.
const EMPTY_NAMES: &[&str] = &["utils", "util", "common", "types", "helpers", "helper", "misc"];

/// What stands for unfinished work; spelled in halves so that this file does not trip over itself.
const UNFINISHED: &[&str] =
    &[concat!("to", "do!("), concat!("unim", "plemented!("), concat!("db", "g!(")];

/// Hosts of package registries: scripts read them from the machine's own configuration.
const REGISTRY_HOSTS: &[&str] = &[
    concat!("index.", "crates.io"),
    concat!("static.", "crates.io"),
    concat!("deb.", "debian.org"),
    concat!("security.", "debian.org"),
    concat!("snapshot.", "debian.org"),
    concat!("archive.", "ubuntu.com"),
    concat!("proxy.", "golang.org"),
    concat!("registry.", "npmjs.org"),
];

/// Beginnings of paths that exist on one machine only.
const HOMES: &[&str] =
    &[concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/Us", "ers/"), concat!("/wo", "rk/")];

/// The top level of the repository.
const TOP_LEVEL: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "rust-toolchain.toml",
    "rustfmt.toml",
    "crates",
    "proto",
    "config",
    "tests",
    "benches",
    "deploy",
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "Makefile",
];

fn all() -> Vec<SourceFile> {
    files().expect("the files can be read")
}

fn rust() -> Vec<SourceFile> {
    let files: Vec<_> = all().into_iter().filter(SourceFile::is_rust).collect();
    assert!(!files.is_empty(), "no Rust file found");
    files
}

#[test]
fn a_file_is_no_longer_than_a_reader_can_hold() {
    let mut wrong = Vec::new();
    let files = rust();
    for file in files.iter().filter(|file| !file.is_table()) {
        let lines = file.text.lines().count();
        let listed = LONG_FILES.iter().find(|(path, _)| *path == file.path);
        match listed {
            None if lines > FILE_LIMIT => wrong.push(format!("{}: {lines} lines", file.path)),
            Some(_) if lines <= FILE_LIMIT => {
                wrong.push(format!("{} fits: take it off the list", file.path));
            }
            Some((_, known)) if lines != *known => {
                wrong.push(format!("{}: {lines} lines, {known} listed", file.path));
            }
            _ => {}
        }
    }
    for (path, _) in LONG_FILES {
        if !files.iter().any(|file| file.path == *path) {
            wrong.push(format!("{path} is gone: take it off the list"));
        }
    }
    assert!(wrong.is_empty(), "files over {FILE_LIMIT} lines: {wrong:#?}");
}

#[test]
fn a_line_is_no_longer_than_the_page() {
    let mut wrong = Vec::new();
    for file in rust().iter().filter(|file| !file.is_table()) {
        for (number, line) in file.text.lines().enumerate() {
            // A picture of bytes would be another picture if it were broken.
            let is_picture = line.contains(['│', '─']);
            if line.chars().count() > LINE_LIMIT && !is_picture {
                wrong.push(format!("{}:{}", file.path, number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "lines over {LINE_LIMIT} characters: {wrong:#?}");
}

#[test]
fn a_file_says_what_it_is_for() {
    let wrong: Vec<_> = rust()
        .into_iter()
        .filter(|file| {
            let first = file.text.lines().find(|line| {
                let line = line.trim();
                !line.is_empty() && line != "// tidy: table" && !line.starts_with("#!")
            });
            !first.is_some_and(|line| line.starts_with("//! "))
        })
        .map(|file| file.path)
        .collect();
    assert!(wrong.is_empty(), "files without //! on top: {wrong:#?}");
}

#[test]
fn a_file_is_named_after_what_it_holds() {
    let wrong: Vec<_> = rust()
        .into_iter()
        .map(|file| file.path)
        .filter(|path| {
            let mut parts = path.trim_end_matches(".rs").split('/');
            path.ends_with("/mod.rs") || parts.any(|part| EMPTY_NAMES.contains(&part))
        })
        .collect();
    assert!(wrong.is_empty(), "names that say nothing, or mod.rs: {wrong:#?}");
}

#[test]
fn nothing_unfinished_is_committed() {
    let mut wrong = Vec::new();
    for file in rust() {
        for (number, line) in file.text.lines().enumerate() {
            if UNFINISHED.iter().any(|mark| line.contains(mark)) {
                wrong.push(format!("{}:{}: {}", file.path, number + 1, line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_test_is_ignored() {
    let mark = concat!("#[ig", "nore");
    let wrong: Vec<_> =
        rust().into_iter().filter(|file| file.text.contains(mark)).map(|file| file.path).collect();
    assert!(wrong.is_empty(), "files with an ignored test: {wrong:#?}");
}

#[test]
fn no_file_names_a_registry_or_a_home() {
    let mut wrong = Vec::new();
    for file in all() {
        for (number, line) in file.text.lines().enumerate() {
            let host = REGISTRY_HOSTS.iter().any(|host| line.contains(host));
            let home = HOMES.iter().any(|home| begins_a_path(line, home));
            if host || home {
                wrong.push(format!("{}:{}: {}", file.path, number + 1, line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Whether `home` stands in the line as the beginning of an absolute path, not in the middle of a
/// longer one.
fn begins_a_path(line: &str, home: &str) -> bool {
    line.match_indices(home).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|c| c.is_whitespace() || "\"'`=(:,<".contains(c))
    })
}

#[test]
fn a_path_begins_where_no_other_path_goes_on() {
    let home = HOMES[1];
    assert!(begins_a_path(&format!("cat {home}x"), home));
    assert!(begins_a_path(&format!("\"{home}x\""), home));
    assert!(!begins_a_path(&format!("/proc/1{home}x"), home));
}

#[test]
fn the_top_level_holds_what_the_design_names() {
    let mut wrong: Vec<_> = all()
        .into_iter()
        .map(|file| file.path.split('/').next().unwrap_or_default().to_owned())
        .filter(|top| !top.starts_with('.') && !TOP_LEVEL.contains(&top.as_str()))
        .collect();
    wrong.dedup();
    assert!(wrong.is_empty(), "unexpected at the top level: {wrong:#?}");
}
