//! Runs the test scripts of a folder and tells which queries were answered as they expect.
//!
//! ```text
//! cargo run --release -p rangekeeper-promql --example promqltest -- FOLDER
//! ```

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use rangekeeper_promql::script::{self, Tally};

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: promqltest FOLDER");
        return ExitCode::FAILURE;
    };
    let pool = rayon::ThreadPoolBuilder::new().build().expect("threads can be started");
    let outcomes = match script::run_folder(&folder, &script::engine(Arc::new(pool))) {
        Ok(outcomes) => outcomes,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    for outcome in outcomes.iter().filter(|outcome| outcome.failure.is_some()) {
        println!("{outcome}");
    }
    let floats = Tally::of(&outcomes, |outcome| !outcome.has_histograms);
    let all = Tally::of(&outcomes, |_| true);
    println!("floats: {floats} passed");
    println!("{all} passed");
    if all.passed == all.all { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
