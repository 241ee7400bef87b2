//! Questions to a node, and what their answers have to hold: everything that was acknowledged
//! before the question, nothing that was never sent.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::report::{Kind, REFUSAL_LIMIT};
use super::{HEAD_START_MS, LATE_BY_MS, RETRY_PAUSE, Shared, lock};
use crate::api::{Answer, Api};
use crate::ledger::{Finding, METRIC, places_in};
use crate::stopwatch::Stopwatch;

/// Pause between two questions to a node.
const QUESTION_PAUSE: Duration = Duration::from_millis(300);

/// How far a sum may be off: it is put together in another order.
const SUM_TOLERANCE: f64 = 1e-9;

/// What can be asked.
#[derive(Debug, Clone, Copy)]
enum Question {
    /// All samples of a lane's series.
    Samples { lane: usize },
    /// Count and sum of all samples of all lanes.
    Totals,
    /// The numbers of a lane's series.
    Numbers { lane: usize },
}

/// A client that knows how long each of its requests was left without success.
pub(super) struct Asker {
    api: Api,
    refused_since: Cell<Option<Stopwatch>>,
    longest: Cell<Duration>,
}

/// An answer that cannot be held against anything: the node refused.
struct Refused(Result<Answer>);

impl Shared {
    #[expect(clippy::unnecessary_wraps, reason = "the shape of what the threads run")]
    pub(super) fn ask_steadily(&self, node: usize) -> Result<()> {
        let mut number = node;
        let (mut asker, mut asker_turns) = (Asker::new(self.nodes[node].api()), 0);
        while !self.stopped() {
            let turns = self.nodes[node].turns();
            if !turns.is_multiple_of(2) {
                std::thread::sleep(RETRY_PAUSE);
                continue;
            }
            if turns != asker_turns {
                (asker, asker_turns) = (Asker::new(self.nodes[node].api()), turns);
            }
            let lane = number / 3 % self.ledgers.len();
            let question =
                [Question::Samples { lane }, Question::Totals, Question::Numbers { lane }]
                    [number % 3];
            let sent = Instant::now();
            match self.ask(&asker, question) {
                Ok(verdict) => {
                    let wrong = verdict.err().map(|error| {
                        let at = sent.duration_since(self.started).as_secs_f64();
                        format!("node {node} at {at:.1} s, {question:?}: {error:#}")
                    });
                    self.records.checked(wrong);
                    // An answer that came over a time away says nothing of how long one waits.
                    let there = self.nodes[node].turns() == turns;
                    let longest = asker.longest.take();
                    let after = if there { longest } else { Duration::ZERO };
                    self.records.succeeded(Kind::Query, node, self.started.elapsed(), after);
                    number += 1;
                    std::thread::sleep(QUESTION_PAUSE);
                }
                Err(Refused(got)) => {
                    let there = self.nodes[node].turns() == turns;
                    self.refused(Kind::Query, node, there, sent, &got);
                    std::thread::sleep(RETRY_PAUSE);
                }
            }
        }
        Ok(())
    }

    /// Reads everything back from a node, and nothing may be refused for long.
    pub(super) fn inspect(&self, api: Api) -> Result<Finding> {
        let asker = &Asker::new(api);
        let mut total = Finding::default();
        for lane in 0..self.ledgers.len() {
            total.add(at_last(|| self.samples(asker, lane))??);
            at_last(|| self.numbers(asker, lane))??;
        }
        at_last(|| self.totals(asker))??;
        Ok(total)
    }

    fn ask(&self, asker: &Asker, question: Question) -> Result<Result<()>, Refused> {
        match question {
            Question::Samples { lane } => {
                self.samples(asker, lane).map(|finding| finding.and_then(|finding| finding.check()))
            }
            Question::Totals => self.totals(asker),
            Question::Numbers { lane } => self.numbers(asker, lane),
        }
    }

    /// What a node finds of a lane, held against its ledger.
    fn samples(&self, asker: &Asker, lane: usize) -> Result<Result<Finding>, Refused> {
        let promised = lock(&self.ledgers[lane]).promised();
        let mut found = HashMap::new();
        let mut warnings = String::new();
        for end_ms in [self.end_ms(), self.end_ms() - LATE_BY_MS] {
            let query = format!("{METRIC}{{lane=\"{lane}\"}}[{}ms]", HEAD_START_MS + 1);
            let answer = instant(asker, &query, end_ms)?;
            warnings += &answer.get("warnings").map_or_else(String::new, Value::to_string);
            match places_in(&answer["data"]) {
                Ok(places) => found.extend(places),
                Err(error) => return Ok(Err(error)),
            }
        }
        let finding = lock(&self.ledgers[lane]).compare(&promised, &found);
        if !warnings.is_empty() && finding.check().is_err() {
            return Ok(finding.check().context(warnings).map(|()| finding));
        }
        Ok(Ok(finding))
    }

    /// Count and sum over everything lie between what was acknowledged before and what is sent now.
    fn totals(&self, asker: &Asker) -> Result<Result<()>, Refused> {
        let totals = |which: usize| {
            let of = |ledger| lock(ledger).totals(self.start_ms)[which];
            let each = self.ledgers.iter().map(of);
            each.fold((0, 0.0), |(count, sum), one| (count + one.0, sum + one.1))
        };
        let least = totals(0);
        let range = format!("{METRIC}[{}ms]", HEAD_START_MS + 1);
        let mut got = Vec::new();
        for query in
            [format!("sum(count_over_time({range}))"), format!("sum(sum_over_time({range}))")]
        {
            let answer = instant(asker, &query, self.end_ms())?;
            let value = answer["data"]["result"][0]["value"][1].as_str().map(str::parse::<f64>);
            got.push(value.and_then(Result::ok).unwrap_or_default());
        }
        let most = totals(1);
        let wrong = |least: f64, got: f64, most: f64| {
            got < least * (1.0 - SUM_TOLERANCE) || got > most * (1.0 + SUM_TOLERANCE)
        };
        #[expect(clippy::cast_precision_loss, reason = "fewer than 2^53 samples")]
        let (fewest, largest) = (least.0 as f64, most.0 as f64);
        let bad = wrong(fewest, got[0], largest) || wrong(least.1, got[1], most.1);
        Ok(if bad {
            Err(anyhow::anyhow!(
                "count {} and sum {} are not within {least:?} and {most:?}",
                got[0],
                got[1]
            ))
        } else {
            Ok(())
        })
    }

    /// Every series with an acknowledged sample is listed, and none that was never sent.
    fn numbers(&self, asker: &Asker, lane: usize) -> Result<Result<()>, Refused> {
        let first = self.start_ms;
        let numbers = |places: Vec<(u32, i64)>| -> HashSet<u32> {
            let places = places.into_iter().filter(|place| place.1 >= first);
            places.map(|place| place.0).collect()
        };
        let promised = numbers(lock(&self.ledgers[lane]).promised());
        let path = format!(
            "/api/v1/label/series/values?match%5B%5D={METRIC}%7Blane=%22{lane}%22%7D\
             &start={}&end={}",
            first / 1000,
            self.end_ms() / 1000 + 1,
        );
        let answer = asker.successful(|api| api.get(&path))?;
        let values = answer["data"].as_array().map(Vec::as_slice).unwrap_or_default();
        let values = values.iter().filter_map(Value::as_str).map(str::parse::<u32>);
        let Ok(listed) = values.collect::<Result<HashSet<u32>, _>>() else {
            return Ok(Err(anyhow::anyhow!("a series' number that is none")));
        };
        let sent = numbers(lock(&self.ledgers[lane]).sent());
        Ok(listing(&promised, &listed, &sent))
    }

    fn end_ms(&self) -> i64 {
        self.start_ms + HEAD_START_MS
    }
}

/// Asks until it is answered, for as long as a question may be refused.
fn at_last<T>(ask: impl Fn() -> Result<T, Refused>) -> Result<T> {
    let since = Stopwatch::start();
    loop {
        match ask() {
            Err(_) if since.elapsed() < REFUSAL_LIMIT => std::thread::sleep(RETRY_PAUSE),
            got => return got.map_err(Refused::into_error),
        }
    }
}

fn listing(promised: &HashSet<u32>, listed: &HashSet<u32>, sent: &HashSet<u32>) -> Result<()> {
    let missing: Vec<_> = promised.difference(listed).collect();
    let invented: Vec<_> = listed.difference(sent).collect();
    if missing.is_empty() && invented.is_empty() {
        return Ok(());
    }
    let first = |numbers: &[&u32]| format!("{:?}", &numbers[..numbers.len().min(5)]);
    bail!(
        "of {} series {} are not listed, such as {}; {} listed ones were never sent, such as {}",
        promised.len(),
        missing.len(),
        first(&missing),
        invented.len(),
        first(&invented)
    )
}

impl Asker {
    fn new(api: Api) -> Self {
        Self { api, refused_since: Cell::new(None), longest: Cell::new(Duration::ZERO) }
    }

    /// The JSON of a successful answer.
    fn successful(&self, ask: impl FnOnce(&Api) -> Result<Answer>) -> Result<Value, Refused> {
        let since = self.refused_since.take().unwrap_or_else(Stopwatch::start);
        match ask(&self.api) {
            Ok(answer) if answer.is_success() => {
                self.longest.set(self.longest.get().max(since.elapsed()));
                serde_json::from_str(&answer.body).map_err(|error| {
                    Refused(Err(anyhow::anyhow!("the answer is no JSON: {error}")))
                })
            }
            got => {
                self.refused_since.set(Some(since));
                Err(Refused(got))
            }
        }
    }
}

impl Refused {
    fn into_error(self) -> anyhow::Error {
        match self.0 {
            Ok(answer) => anyhow::anyhow!("refused: {} {}", answer.status, answer.body.trim()),
            Err(error) => error,
        }
    }
}

/// The whole answer to an instant query.
fn instant(asker: &Asker, query: &str, time_ms: i64) -> Result<Value, Refused> {
    let time = Duration::from_millis(time_ms.unsigned_abs()).as_secs_f64();
    let time = format!("{time:.3}");
    let form = [("query", query), ("time", &time)];
    asker.successful(|api| api.post_form("/api/v1/query", &form))
}
