//! Reads a script into its commands.

use std::sync::LazyLock;

use rangekeeper_model::Labels;
use regex::Regex;

use super::expected::{Answer, Expectation, Text};
use crate::ast::Expr;
use crate::parser::{duration_text_seconds, number_value};
use crate::series_description::{SeriesLine, SeriesValue, parse_series_line};
use crate::{ParserOptions, parse};

/// One command of a script.
#[derive(Debug)]
pub(super) enum Command {
    /// Forget all series.
    Clear,
    /// Load series.
    Load(Load),
    /// Ask a query.
    Eval(Box<Eval>),
}

/// Series to be loaded.
#[derive(Debug, Default)]
pub(super) struct Load {
    /// Distance of the samples.
    pub step_ms: i64,
    /// Whether native histograms of custom buckets are made of the classic ones.
    pub with_nhcb: bool,
    /// The series, of each its samples and their start timestamps as offsets to their times.
    pub series: Vec<LoadedSeries>,
}

/// One series to be loaded.
#[derive(Debug)]
pub(super) struct LoadedSeries {
    /// Its labels.
    pub labels: Labels,
    /// One value a step from time zero on.
    pub values: Vec<SeriesValue>,
    /// Of each value the offset of its start timestamp in milliseconds; `None` where it has none.
    pub starts: Vec<Option<i64>>,
}

/// A query and what is expected of it.
#[derive(Debug)]
pub(super) struct Eval {
    /// The line of the command, from 1.
    pub line: usize,
    /// The text of the query.
    pub text: String,
    /// The query.
    pub expr: Expr,
    /// When.
    pub times: Times,
    /// What is expected.
    pub expected: Expectation,
}

/// When a query is asked.
#[derive(Clone, Copy, Debug)]
pub(super) enum Times {
    /// At one time, in milliseconds.
    Instant(i64),
    /// Over steps, in milliseconds.
    Range {
        /// The first step.
        start_ms: i64,
        /// The last.
        end_ms: i64,
        /// Their distance.
        step_ms: i64,
    },
}

/// A line that is not as the form has it: its number from 1, and what is wrong.
type LineError = (usize, String);

static LOAD: LazyLock<Regex> = LazyLock::new(|| pattern(r"^load(?:_(with_nhcb))?\s+(.+?)$"));
static INSTANT: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"^eval(?:_(fail|warn|ordered|info))?\s+instant\s+(?:at\s+(.+?))?\s+(.+)$")
});
static RANGE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"^eval(?:_(fail|warn|info))?\s+range\s+from\s+(.+)\s+to\s+(.+)\s+step\s+(.+?)\s+(.+)$")
});
static EXPECT: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"^expect\s+(ordered|fail|warn|no_warn|info|no_info)(?:\s+(regex|msg):(.+))?$")
});
static EXPECT_RANGE: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^expect range vector\s+from\s+(.+)\s+to\s+(.+)\s+step\s+(.+)$"));

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("the pattern is a constant")
}

/// Reads all commands of a script.
pub(super) fn read(text: &str) -> Result<Vec<Command>, LineError> {
    let lines: Vec<&str> = text
        .split('\n')
        .map(str::trim)
        .map(|line| if line.starts_with('#') { "" } else { line })
        .collect();
    let mut commands = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        if lines[at].is_empty() {
            at += 1;
            continue;
        }
        let end =
            lines[at..].iter().position(|line| line.is_empty()).map_or(lines.len(), |n| at + n);
        let mut block = Block { lines: &lines[at..end], first: at + 1, taken: 1 };
        commands.push(block.command()?);
        at += block.taken;
    }
    Ok(commands)
}

/// The lines up to the next empty one.
struct Block<'a> {
    lines: &'a [&'a str],
    /// Number of the first line.
    first: usize,
    /// Lines that belong to the command.
    taken: usize,
}

impl Block<'_> {
    fn command(&mut self) -> Result<Command, LineError> {
        let word = self.lines[0].split_whitespace().next().unwrap_or_default().to_lowercase();
        let command = match word.as_str() {
            "clear" => Ok(Command::Clear),
            load if load.starts_with("load") => self.load().map(Command::Load),
            eval if eval.starts_with("eval") => {
                self.eval().map(|eval| Command::Eval(Box::new(eval)))
            }
            other => Err(format!("no command {other:?}")),
        };
        command.map_err(|text| (self.first + self.taken - 1, text))
    }

    /// The next line of the command.
    fn next(&mut self) -> Option<String> {
        let line = self.lines.get(self.taken)?;
        self.taken += 1;
        Some((*line).to_owned())
    }

    fn load(&mut self) -> Result<Load, String> {
        let captures = LOAD.captures(self.lines[0]).ok_or("expected load <step>")?;
        let step_ms = duration_ms(&captures[2])?;
        let with_nhcb = captures.get(1).is_some();
        let mut load = Load { step_ms, with_nhcb, series: Vec::new() };
        let mut starts: Option<(Labels, Vec<Option<i64>>)> = None;
        while let Some(line) = self.next() {
            match series_line(&line)? {
                SeriesLine::Starts { labels, offsets_ms } => starts = Some((labels, offsets_ms)),
                SeriesLine::Samples { labels, values } => {
                    let starts = match starts.take() {
                        Some((of, starts)) if of == labels && starts.len() == values.len() => {
                            starts
                        }
                        Some(_) => return Err("start timestamps of another series".into()),
                        None => Vec::new(),
                    };
                    load.series.push(LoadedSeries { labels, values, starts });
                }
            }
        }
        match starts {
            Some(_) => Err("start timestamps without a series".into()),
            None => Ok(load),
        }
    }

    fn eval(&mut self) -> Result<Eval, String> {
        let first = self.lines[0];
        let (modifier, times, text) = if let Some(captures) = INSTANT.captures(first) {
            let time = captures.get(2).map_or(Ok(0), |at| duration_ms(at.as_str()))?;
            let modifier = captures.get(1).map(|m| m.as_str().to_owned());
            (modifier, Times::Instant(time), captures[3].to_owned())
        } else if let Some(captures) = RANGE.captures(first) {
            let times = Times::Range {
                start_ms: duration_ms(&captures[2])?,
                end_ms: duration_ms(&captures[3])?,
                step_ms: duration_ms(&captures[4])?,
            };
            (captures.get(1).map(|m| m.as_str().to_owned()), times, captures[5].to_owned())
        } else {
            return Err("expected eval instant at <time> or eval range from … to … step …".into());
        };
        let expr = parse(&text, &ParserOptions::ALL).map_err(|errors| errors.to_string())?;
        let mut expected = Expectation::default();
        match modifier.as_deref() {
            Some("fail") => expected.fail = Some(Text::Any),
            Some("warn") => expected.warnings.push(Text::Any),
            Some("info") => expected.infos.push(Text::Any),
            Some("ordered") => expected.ordered = true,
            _ => {}
        }
        let line = self.first;
        self.expectations(&mut expected)?;
        Ok(Eval { line, text, expr, times, expected })
    }

    fn expectations(&mut self, expected: &mut Expectation) -> Result<(), String> {
        while let Some(line) = self.next() {
            if expected.fail.is_some() && failure_text(&line, expected)? {
                return Ok(());
            }
            if let Some(captures) = EXPECT_RANGE.captures(&line) {
                expected.answer = Some(Answer::RangeVector {
                    start_ms: duration_ms(&captures[1])?,
                    step_ms: duration_ms(&captures[3])?,
                    series: Vec::new(),
                });
            } else if let Some(text) = line.strip_prefix("expect string ") {
                expected.answer = Some(Answer::Text(literal(text)?));
            } else if line.split_whitespace().next() == Some("expect") {
                expect(&line, expected)?;
            } else if let Some(number) = number(&line) {
                expected.answer = Some(Answer::Scalar(number));
                return Ok(());
            } else {
                let SeriesLine::Samples { labels, values } = series_line(&line)? else {
                    return Err("start timestamps are not expected".into());
                };
                match expected.answer.get_or_insert_with(|| Answer::Series(Vec::new())) {
                    Answer::Series(series) | Answer::RangeVector { series, .. } => {
                        series.push((labels, values));
                    }
                    Answer::Scalar(_) | Answer::Text(_) => return Err("two answers".into()),
                }
            }
        }
        Ok(())
    }
}

/// The old form in which `eval_fail` says how.
fn failure_text(line: &str, expected: &mut Expectation) -> Result<bool, String> {
    if let Some(text) = line.strip_prefix("expected_fail_message ") {
        expected.fail = Some(Text::Exact(text.trim().to_owned()));
        return Ok(true);
    }
    if let Some(text) = line.strip_prefix("expected_fail_regexp ") {
        let regex = Regex::new(text.trim()).map_err(|error| error.to_string())?;
        expected.fail = Some(Text::Pattern(regex));
        return Ok(true);
    }
    Ok(false)
}

fn expect(line: &str, expected: &mut Expectation) -> Result<(), String> {
    let captures = EXPECT.captures(line).ok_or_else(|| format!("no expectation: {line}"))?;
    let text = match (captures.get(2).map(|m| m.as_str()), captures.get(3)) {
        (Some("msg"), Some(text)) => Text::Exact(text.as_str().trim().to_owned()),
        (Some(_), Some(text)) => {
            let regex = Regex::new(text.as_str().trim()).map_err(|error| error.to_string())?;
            Text::Pattern(regex)
        }
        _ => Text::Any,
    };
    match &captures[1] {
        "ordered" => expected.ordered = true,
        "fail" => expected.fail = Some(text),
        "warn" => expected.warnings.push(text),
        "info" => expected.infos.push(text),
        "no_warn" => expected.no_warnings = true,
        _ => expected.no_infos = true,
    }
    Ok(())
}

/// The bytes of a string literal of the query language.
fn literal(text: &str) -> Result<Vec<u8>, String> {
    match parse(text.trim(), &ParserOptions::ALL).map_err(|errors| errors.to_string())? {
        Expr::String(literal) => Ok(literal.bytes),
        _ => Err(format!("no string: {text}")),
    }
}

fn duration_ms(text: &str) -> Result<i64, String> {
    duration_text_seconds(text.trim()).map(|seconds| (seconds * 1000.0).round() as i64)
}

/// The number that a line is, if it is one.
fn number(line: &str) -> Option<f64> {
    let (sign, digits) = match line.as_bytes().first()? {
        b'-' => (-1.0, &line[1..]),
        b'+' => (1.0, &line[1..]),
        _ => (1.0, line),
    };
    number_value(digits).ok().map(|value| sign * value)
}

fn series_line(line: &str) -> Result<SeriesLine, String> {
    parse_series_line(line).map_err(|error| error.to_string())
}
