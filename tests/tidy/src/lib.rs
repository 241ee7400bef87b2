//! What the layer test and the house rules look at: the packages of the workspace as cargo
//! describes them, and the files of the repository as git lists them.
//!
//! The rules themselves are the tests of this package. Run them with
//! `cargo test --release -p rangekeeper-tidy`; nothing else has to be built for that.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// A package of the workspace with its own dependencies.
#[derive(Debug)]
pub struct Package {
    /// The package's name, `rangekeeper-storage`.
    pub name: String,
    /// Its folder relative to the workspace, `crates/storage`.
    pub folder: String,
    /// Names of what it needs outside of its tests and build scripts.
    pub normal_dependencies: Vec<String>,
}

/// A file of the repository that is text.
#[derive(Debug)]
pub struct SourceFile {
    /// Path relative to the root, with forward slashes.
    pub path: String,
    /// The whole content.
    pub text: String,
}

impl SourceFile {
    /// Whether the file declares that it is one table, which no limit of length may split.
    pub fn is_table(&self) -> bool {
        self.text.lines().take(3).any(|line| line.trim() == "// tidy: table")
    }

    /// Whether the file is Rust source.
    pub fn is_rust(&self) -> bool {
        Path::new(&self.path).extension().is_some_and(|extension| extension == "rs")
    }
}

/// The root of the workspace, two folders above this package. Cargo says where that is now; what it
/// was when this was built may be another checkout.
pub fn root() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs this");
    Path::new(&package)
        .ancestors()
        .nth(2)
        .expect("this package lies in tests/tidy of the workspace")
        .to_owned()
}

/// All packages of the workspace, from `cargo metadata`.
pub fn packages() -> Result<Vec<Package>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .context("failed to run cargo metadata")?;
    ensure!(
        output.status.success(),
        "failed to read the workspace: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let list = metadata["packages"].as_array().context("metadata without packages")?;
    list.iter().map(package).collect()
}

fn package(value: &serde_json::Value) -> Result<Package> {
    let text = |key: &str| value[key].as_str().with_context(|| format!("package without {key}"));
    let manifest = Path::new(text("manifest_path")?);
    let folder = manifest.parent().context("a manifest outside of any folder")?;
    let folder = folder.strip_prefix(root()).context("a package outside of the workspace")?;
    let dependencies = value["dependencies"].as_array().context("package without dependencies")?;
    Ok(Package {
        name: text("name")?.to_owned(),
        folder: folder.to_str().context("a folder that is not UTF-8")?.to_owned(),
        normal_dependencies: dependencies
            .iter()
            .filter(|dependency| dependency["kind"].is_null())
            .filter_map(|dependency| dependency["name"].as_str().map(str::to_owned))
            .collect(),
    })
}

/// All text files that git tracks or would track.
pub fn files() -> Result<Vec<SourceFile>> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .context("failed to run git ls-files")?;
    ensure!(
        output.status.success(),
        "failed to list the files: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let listed = String::from_utf8(output.stdout).context("a path that is not UTF-8")?;
    let mut files = Vec::new();
    for path in listed.split('\0').filter(|path| !path.is_empty()) {
        // Git still lists a file that was deleted but not yet committed as such; a file that is not
        // UTF-8 is a sample of binary data and has no lines.
        if let Ok(text) = fs::read_to_string(root().join(path)) {
            files.push(SourceFile { path: path.to_owned(), text });
        }
    }
    ensure!(!files.is_empty(), "git lists no file");
    Ok(files)
}

/// The manifest of a package, parsed.
pub fn manifest(package: &Package) -> Result<toml::Table> {
    let path = root().join(&package.folder).join("Cargo.toml");
    let text =
        fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
    text.parse().with_context(|| format!("failed to parse {}", path.display()))
}
