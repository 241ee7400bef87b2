//! What is wrong with a configuration, and where it came from.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Where the value of a key came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// The configuration file.
    File(PathBuf),
    /// This environment variable.
    Environment(String),
    /// `--set`.
    Set,
    /// An option of the command line that is named after the key.
    Option(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("the default"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Set => f.write_str("--set"),
            Self::Option(name) => f.write_str(name),
        }
    }
}

/// A configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("failed to read the configuration from {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file is not TOML.
    #[error("failed to parse the configuration in {path}: {message}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and what.
        message: String,
    },
    /// A key is set that does not exist.
    #[error("unknown key {key} (from {origin}){hint}")]
    UnknownKey {
        /// The path of the key.
        key: String,
        /// Who set it.
        origin: Origin,
        /// A key that may have been meant.
        hint: String,
    },
    /// `--set` was not followed by an assignment.
    #[error("--set {text}: not of the form section.key=value")]
    Assignment {
        /// What followed.
        text: String,
    },
    /// A value is not what its key takes.
    #[error("{key} = {value} (from {origin}): {reason}")]
    Value {
        /// The path of the key.
        key: String,
        /// What it was set to.
        value: String,
        /// Who set it.
        origin: Origin,
        /// What is wrong with it.
        reason: String,
    },
}
