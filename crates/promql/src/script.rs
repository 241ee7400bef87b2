//! Test scripts: series are loaded, queries asked, answers compared.
//!
//! The form is that of Prometheus' own `promqltest` files, so theirs run here. Each query is asked
//! several times, as theirs are: at its time, as the middle of a range query, and with its
//! selectors pinned by `@` at other times.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "scripts are small"
)]

mod expected;
mod reader;
mod rerun;
mod runner;
mod storage;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rayon::ThreadPool;

use crate::eval::{Engine, EngineOptions};

pub use storage::MemoryStorage;

/// What became of one `eval` of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The script's name.
    pub script: String,
    /// The line of the `eval`, from 1.
    pub line: usize,
    /// What is asked.
    pub query: String,
    /// Whether the series that it is asked of hold native histograms.
    pub has_histograms: bool,
    /// What was wrong, if anything was.
    pub failure: Option<String>,
}

/// A script, or a folder of them, cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// A file or folder cannot be read.
    #[error("read {path}")]
    Read {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A line is not as the form has it.
    #[error("{script}:{line}: {text}")]
    Line {
        /// The script's name.
        script: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        text: String,
    },
}

/// How many passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Those that passed.
    pub passed: usize,
    /// All.
    pub all: usize,
}

/// The engine that scripts run on: every option of the language on, at most 10,000 samples a query.
pub fn engine(pool: Arc<ThreadPool>) -> Engine {
    Engine::new(EngineOptions {
        max_samples: 10_000,
        delayed_name_removal: true,
        use_start_timestamps: true,
        ..EngineOptions::new(pool)
    })
}

/// Runs a script.
pub fn run(script: &str, text: &str, engine: &Engine) -> Result<Vec<Outcome>, ScriptError> {
    let commands = reader::read(text).map_err(|(line, text)| ScriptError::Line {
        script: script.to_owned(),
        line,
        text,
    })?;
    Ok(runner::run(script, &commands, engine))
}

/// Runs the `.test` files of a folder, in the order of their names.
pub fn run_folder(folder: &Path, engine: &Engine) -> Result<Vec<Outcome>, ScriptError> {
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |source| ScriptError::Read { path, source }
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed(folder))? {
        let path = entry.map_err(failed(folder))?.path();
        if path.extension().is_some_and(|extension| extension == "test") {
            files.push(path);
        }
    }
    files.sort();
    let mut outcomes = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).map_err(failed(&file))?;
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        outcomes.extend(run(&name, &text, engine)?);
    }
    Ok(outcomes)
}

impl Tally {
    /// Counts those of the outcomes that `counts` wants.
    pub fn of(outcomes: &[Outcome], counts: impl Fn(&Outcome) -> bool) -> Self {
        let mut tally = Self::default();
        for outcome in outcomes.iter().filter(|outcome| counts(outcome)) {
            tally.all += 1;
            tally.passed += usize::from(outcome.failure.is_none());
        }
        tally
    }
}

/// `12 of 13`
impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.passed, self.all)
    }
}

/// `file:line: query: what was wrong`
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { script, line, query, failure, .. } = self;
        write!(f, "{script}:{line}: {query}: {}", failure.as_deref().unwrap_or("passed"))
    }
}
