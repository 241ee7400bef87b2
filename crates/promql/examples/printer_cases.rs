//! Runs printer cases from a JSON file: `[["expression", "printed form"], …]`.
//!
//! Prints each failure and last how many passed; fails if not all did.

use std::process::ExitCode;

use rangekeeper_promql::{ParserOptions, parse};

fn main() -> ExitCode {
    let Some(path) = std::env::args().nth(1) else {
        eprintln!("usage: printer_cases FILE");
        return ExitCode::from(2);
    };
    let cases = match read(&path) {
        Ok(cases) => cases,
        Err(error) => {
            eprintln!("failed to read cases from {path}: {error}");
            return ExitCode::from(2);
        }
    };
    let total = cases.len();
    let passed = cases.iter().filter(|(expr, printed)| passes(expr, printed)).count();
    println!("{passed} of {total} passed");
    if passed == total { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn passes(expr: &str, expected: &str) -> bool {
    let got = match parse(expr, &ParserOptions::ALL) {
        Ok(parsed) => parsed.to_string(),
        Err(errors) => errors.to_string(),
    };
    if got != expected {
        println!("FAILED {expr:?}\n  expected {expected}\n  got      {got}");
    }
    got == expected
}

fn read(path: &str) -> Result<Vec<(String, String)>, Box<dyn std::error::Error>> {
    let json: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path)?)?;
    let cases = json
        .as_array()
        .ok_or("the file holds no list")?
        .iter()
        .map(|case| Some((case[0].as_str()?.to_owned(), case[1].as_str()?.to_owned())));
    cases.collect::<Option<_>>().ok_or_else(|| "a case lacks a field".into())
}
