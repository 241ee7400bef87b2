//! Runs test scripts: the project's own, and those of the shared folder where there is one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rangekeeper_promql::script::{self, Outcome, Tally};

fn run(folder: &Path) -> Vec<Outcome> {
    let pool = rayon::ThreadPoolBuilder::new().build().expect("threads can be started");
    script::run_folder(folder, &script::engine(Arc::new(pool))).unwrap_or_else(|error| {
        panic!("the scripts of {} cannot be run: {error}", folder.display())
    })
}

fn assert_all_pass(outcomes: &[Outcome], counts: impl Fn(&Outcome) -> bool) {
    let failed = outcomes.iter().filter(|outcome| counts(outcome) && outcome.failure.is_some());
    let failed: Vec<String> = failed.map(ToString::to_string).collect();
    assert!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n"));
    assert!(Tally::of(outcomes, &counts).all > 0, "there was nothing to run");
}

#[test]
fn own_scripts_are_answered_as_they_expect() {
    let folder = Path::new("tests/scripts");
    assert_all_pass(&run(folder), |_| true);
}

#[test]
fn queries_over_floats_are_answered_as_prometheus_answers_them() {
    let Some(shared) = std::env::var_os("RANGEKEEPER_SHARED").map(PathBuf::from) else {
        println!("skipped: RANGEKEEPER_SHARED is not set");
        return;
    };
    let outcomes = run(&shared.join("promqltest"));
    println!("{} passed", Tally::of(&outcomes, |_| true));
    assert_all_pass(&outcomes, |outcome| !outcome.has_histograms);
}
