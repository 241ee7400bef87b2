//! What a sender knows: every sample it ever tried to write, and which of them were acknowledged.
//! A store that was killed has to hold all of the latter and nothing beside the former.

use std::collections::HashMap;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::remote_write::{TimeSeries, WriteRequest};

/// Name of the metric that a workload writes.
pub const METRIC: &str = "rangekeeper_workload";

/// One sample by its place: the number of its series and its time in milliseconds. Its value
/// follows from both, so a wrong one is noticed.
pub type Place = (u32, i64);

/// The samples of one lane. A lane sends one request at a time.
#[derive(Debug)]
pub struct Ledger {
    lane: String,
    /// Whether the sample was acknowledged.
    samples: HashMap<Place, bool>,
    acknowledged: u64,
}

/// What a look into the store found.
#[derive(Debug, Default)]
pub struct Finding {
    /// Samples that were found.
    pub found: u64,
    /// Acknowledged samples at the time before the look.
    pub acknowledged: u64,
    /// Acknowledged and not there.
    pub missing: Vec<Place>,
    /// There, and never sent, or with another value.
    pub invented: Vec<Place>,
}

impl Finding {
    /// Adds another lane's.
    pub fn add(&mut self, other: Self) {
        self.found += other.found;
        self.acknowledged += other.acknowledged;
        self.missing.extend(other.missing);
        self.invented.extend(other.invented);
    }

    /// An error with examples if a sample is missing or invented.
    pub fn check(&self) -> Result<()> {
        let first = |places: &[Place]| format!("{:?}", &places[..places.len().min(5)]);
        ensure!(
            self.missing.is_empty() && self.invented.is_empty(),
            "{} of {} acknowledged samples are missing, such as {}; {} found ones were never \
             sent, such as {}",
            self.missing.len(),
            self.acknowledged,
            first(&self.missing),
            self.invented.len(),
            first(&self.invented),
        );
        Ok(())
    }
}

/// The value that the sample of a place has.
pub fn value_of((series, time_ms): Place) -> f64 {
    let mixed = (u64::from(series) << 40) ^ time_ms.cast_unsigned();
    let mixed = mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
    f64::from(u32::try_from(mixed).expect("31 bits are left")) / 8.0
}

impl Ledger {
    /// An empty ledger of a lane; the lane is a label of all its series.
    pub fn new(lane: &str) -> Self {
        Self { lane: lane.to_owned(), samples: HashMap::new(), acknowledged: 0 }
    }

    /// Writes down that these samples are about to be sent, and renders the request.
    pub fn attempt(&mut self, places: &[Place]) -> Vec<u8> {
        let timeseries = places.iter().map(|&place| {
            self.samples.entry(place).or_insert(false);
            let series = place.0.to_string();
            let labels = [("__name__", METRIC), ("lane", &self.lane), ("series", &series)];
            TimeSeries::with_sample(&labels, place.1, value_of(place))
        });
        WriteRequest { timeseries: timeseries.collect() }.to_body()
    }

    /// Writes down that the whole request was answered with 2xx.
    pub fn acknowledge(&mut self, places: &[Place]) {
        for place in places {
            let known = self.samples.get_mut(place).expect("a request is attempted first");
            if !std::mem::replace(known, true) {
                self.acknowledged += 1;
            }
        }
    }

    /// Acknowledged samples so far.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// The acknowledged places, to be asked for before the store is.
    pub fn promised(&self) -> Vec<Place> {
        self.samples.iter().filter(|(_, acknowledged)| **acknowledged).map(|(p, _)| *p).collect()
    }

    /// All places that were ever attempted.
    pub fn sent(&self) -> Vec<Place> {
        self.samples.keys().copied().collect()
    }

    /// How many samples from this time on were acknowledged, and how many were sent at all; beside
    /// each the sum of their values. No value is negative, so whatever a store holds lies between.
    pub fn totals(&self, from_ms: i64) -> [(u64, f64); 2] {
        let mut totals = [(0, 0.0); 2];
        for (place, acknowledged) in self.samples.iter().filter(|(place, _)| place.1 >= from_ms) {
            let first = usize::from(!acknowledged);
            for (count, sum) in &mut totals[first..] {
                *count += 1;
                *sum += value_of(*place);
            }
        }
        totals
    }

    /// Holds what was found against what was promised before, and against what was sent by now.
    pub fn compare(&self, promised: &[Place], found: &HashMap<Place, f64>) -> Finding {
        let sent_so = |(place, value): (&Place, &f64)| {
            self.samples.contains_key(place) && value_of(*place).to_bits() == value.to_bits()
        };
        Finding {
            found: found.len() as u64,
            acknowledged: promised.len() as u64,
            missing: promised.iter().filter(|p| !found.contains_key(p)).copied().collect(),
            invented: found
                .iter()
                .filter(|entry| !sent_so(*entry))
                .map(|(place, _)| *place)
                .collect(),
        }
    }
}

/// Reads the samples out of the `data` of an instant query for a range of one lane's series.
pub fn places_in(data: &Value) -> Result<HashMap<Place, f64>> {
    ensure!(data["resultType"] == "matrix", "expected a matrix, got {}", data["resultType"]);
    let mut places = HashMap::new();
    for series in data["result"].as_array().context("a matrix without a result")? {
        let number = series["metric"]["series"].as_str().context("a series without its number")?;
        let number: u32 = number.parse().context("a series' number")?;
        for sample in series["values"].as_array().context("a series without values")? {
            let seconds = sample[0].as_f64().context("a sample without a time")?;
            let value: f64 = sample[1].as_str().context("a sample without a value")?.parse()?;
            // A time in seconds has three decimals; as a double it is off by less than a
            // microsecond.
            #[expect(clippy::cast_possible_truncation, reason = "milliseconds since the epoch")]
            let time_ms = (seconds * 1e3).round() as i64;
            let twice = places.insert((number, time_ms), value);
            ensure!(twice.is_none(), "series {number} has two samples at {time_ms}");
        }
    }
    Ok(places)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn ledger_of_three() -> Ledger {
        let mut ledger = Ledger::new("a");
        ledger.attempt(&[(1, 1000), (2, 1000)]);
        ledger.acknowledge(&[(1, 1000), (2, 1000)]);
        ledger.attempt(&[(1, 2000)]);
        ledger
    }

    #[test]
    fn an_acknowledged_sample_has_to_be_there_and_an_attempted_one_may_be() {
        let ledger = ledger_of_three();
        let promised = ledger.promised();
        let found = |places: &[Place]| places.iter().map(|p| (*p, value_of(*p))).collect();
        let all = ledger.compare(&promised, &found(&[(1, 1000), (2, 1000), (1, 2000)]));
        all.check().expect("what was attempted may be found");
        let lost = ledger.compare(&promised, &found(&[(1, 1000), (1, 2000)]));
        assert_eq!(lost.missing, [(2, 1000)]);
        assert!(lost.check().is_err());
    }

    #[test]
    fn a_sample_that_was_never_sent_or_has_another_value_is_invented() {
        let ledger = ledger_of_three();
        let mut found: HashMap<Place, f64> = HashMap::new();
        found.insert((9, 1000), value_of((9, 1000)));
        found.insert((1, 1000), value_of((1, 1000)) + 1.0);
        let mut invented = ledger.compare(&[], &found).invented;
        invented.sort_unstable();
        assert_eq!(invented, [(1, 1000), (9, 1000)]);
    }

    #[test]
    fn the_places_of_an_answer_are_read_to_the_millisecond() {
        let data = json!({"resultType": "matrix", "result": [
            {"metric": {"series": "7"}, "values": [[1_700_000_000.137, "0.125"]]}
        ]});
        let places = places_in(&data).expect("a matrix of one sample");
        assert_eq!(places.get(&(7, 1_700_000_000_137)), Some(&0.125));
    }
}
