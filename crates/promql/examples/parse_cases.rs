//! Runs parser cases from a JSON file: `[{"expr": …, "fail": bool, "errs": [["start", "end",
//! "text"], …]}, …]`.
//!
//! Prints each failure and last how many passed; fails if not all did.

use std::process::ExitCode;

use rangekeeper_promql::{ParserOptions, parse};

#[derive(Debug)]
struct Case {
    expr: String,
    fail: bool,
    errors: Vec<[String; 3]>,
}

fn main() -> ExitCode {
    let Some(path) = std::env::args().nth(1) else {
        eprintln!("usage: parse_cases FILE");
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
    let passed = cases.iter().filter(|case| passes(case)).count();
    println!("{passed} of {total} passed");
    if passed == total { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn passes(case: &Case) -> bool {
    let got: Vec<[String; 3]> = match parse(&case.expr, &ParserOptions::ALL) {
        Ok(_) => Vec::new(),
        Err(errors) => {
            let fields = errors.errors().iter().map(|error| {
                [error.span.start.to_string(), error.span.end.to_string(), error.text.clone()]
            });
            fields.collect()
        }
    };
    let passes = got.is_empty() != case.fail && got == case.errors;
    if !passes {
        println!("FAILED {:?}\n  expected {:?}\n  got      {got:?}", case.expr, case.errors);
    }
    passes
}

fn read(path: &str) -> Result<Vec<Case>, Box<dyn std::error::Error>> {
    let json: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path)?)?;
    let cases = json.as_array().ok_or("the file holds no list")?.iter().map(|case| {
        let errors = case["errs"].as_array()?.iter().map(|error| {
            let field = |index: usize| error[index].as_str().map(str::to_owned);
            Some([field(0)?, field(1)?, field(2)?])
        });
        Some(Case {
            expr: case["expr"].as_str()?.to_owned(),
            fail: case["fail"].as_bool()?,
            errors: errors.collect::<Option<_>>()?,
        })
    });
    cases.collect::<Option<_>>().ok_or_else(|| "a case lacks a field".into())
}
