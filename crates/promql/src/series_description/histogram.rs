//! Histograms as scripts write them: `{{schema:1 count:3 sum:5 buckets:[1 2] offset:-1}}`.

use std::collections::BTreeMap;

use rangekeeper_model::{Buckets, CounterResetHint, Histogram, Span};

use super::SeriesLineError;
use super::cursor::Cursor;

/// A histogram with absolute counts; each side is one run of buckets.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Description {
    schema: i32,
    sum: f64,
    count: f64,
    zero_count: f64,
    zero_threshold: f64,
    positive: Side,
    negative: Side,
    custom_values: Vec<f64>,
    /// `None` where the text says nothing.
    pub(super) hint: Option<CounterResetHint>,
}

/// One run of buckets from index `offset` on.
#[derive(Clone, Debug, Default, PartialEq)]
struct Side {
    offset: i32,
    buckets: Vec<f64>,
}

impl Description {
    /// Parses from the opening braces on.
    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Result<Self, SeriesLineError> {
        if !cursor.take("{{") {
            return Err(cursor.error("expected a histogram"));
        }
        let mut description = Self::default();
        let mut seen: Vec<String> = Vec::new();
        loop {
            cursor.skip_spaces();
            if cursor.take("}}") {
                return Ok(description);
            }
            let key =
                cursor.take_while(|c| c == '_' || c.is_ascii_alphanumeric()).to_ascii_lowercase();
            if key.is_empty() {
                return Err(cursor.error("histogram description incomplete"));
            }
            if !cursor.take(":") {
                return Err(cursor.error("missing `:` for histogram descriptor"));
            }
            if seen.contains(&key) {
                return Err(cursor.error(format!("duplicate key {key:?} in histogram")));
            }
            description.set(&key, cursor)?;
            seen.push(key);
        }
    }

    fn set(&mut self, key: &str, cursor: &mut Cursor<'_>) -> Result<(), SeriesLineError> {
        match key {
            "schema" => self.schema = integer(cursor)?,
            "sum" => self.sum = cursor.signed_number()?,
            "count" => self.count = cursor.signed_number()?,
            "z_bucket" => self.zero_count = cursor.signed_number()?,
            "z_bucket_w" => self.zero_threshold = cursor.signed_number()?,
            "buckets" => self.positive.buckets = list(cursor)?,
            "offset" => self.positive.offset = integer(cursor)?,
            "n_buckets" => self.negative.buckets = list(cursor)?,
            "n_offset" => self.negative.offset = integer(cursor)?,
            "custom_values" => self.custom_values = list(cursor)?,
            "counter_reset_hint" => {
                let hint = cursor.take_while(|c| c == '_' || c.is_ascii_alphabetic());
                self.hint = Some(match hint.to_ascii_lowercase().as_str() {
                    "unknown" => CounterResetHint::Unknown,
                    "reset" => CounterResetHint::Reset,
                    "not_reset" => CounterResetHint::NotReset,
                    "gauge" => CounterResetHint::Gauge,
                    _ => return Err(cursor.error("unknown counter reset hint")),
                });
            }
            _ => return Err(cursor.error(format!("bad histogram descriptor found: {key:?}"))),
        }
        Ok(())
    }

    /// This histogram with `sign` times the other added. The other may be finer, but not coarser.
    pub(super) fn plus(&self, other: &Self, sign: f64) -> Result<Self, String> {
        if self.schema > other.schema {
            return Err(format!(
                "error combining histograms: cannot merge from schema {} to {}",
                other.schema, self.schema
            ));
        }
        let is_custom = |schema| schema == Histogram::CUSTOM_SCHEMA;
        if is_custom(self.schema) != is_custom(other.schema)
            || self.custom_values != other.custom_values
        {
            return Err("error combining histograms: their custom bounds differ".to_owned());
        }
        if self.zero_threshold != other.zero_threshold {
            return Err("error combining histograms: their zero buckets differ".to_owned());
        }
        let coarser = u32::try_from(other.schema - self.schema).expect("compared above");
        let (hint, other_hint) = (self.hint.unwrap_or_default(), other.hint.unwrap_or_default());
        let hint = match (hint, other_hint) {
            _ if sign < 0.0 => CounterResetHint::Gauge,
            (a, b) if a == b => a,
            (CounterResetHint::Gauge, _) | (_, CounterResetHint::Gauge) => CounterResetHint::Gauge,
            _ => CounterResetHint::Unknown,
        };
        Ok(Self {
            schema: self.schema,
            sum: self.sum + sign * other.sum,
            count: self.count + sign * other.count,
            zero_count: self.zero_count + sign * other.zero_count,
            zero_threshold: self.zero_threshold,
            positive: self.positive.plus(&other.positive, sign, coarser),
            negative: self.negative.plus(&other.negative, sign, coarser),
            custom_values: self.custom_values.clone(),
            hint: Some(hint),
        })
    }

    pub(super) fn to_histogram(&self) -> Histogram {
        Histogram {
            reset_hint: self.hint.unwrap_or_default(),
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            sum: self.sum,
            buckets: Buckets::Float {
                count: self.count,
                zero_count: self.zero_count,
                positive: self.positive.buckets.clone(),
                negative: self.negative.buckets.clone(),
            },
            positive_spans: self.positive.spans(),
            negative_spans: self.negative.spans(),
            custom_values: self.custom_values.clone(),
        }
    }
}

impl Side {
    fn spans(&self) -> Vec<Span> {
        let length = u32::try_from(self.buckets.len()).expect("a line has fewer buckets");
        if length == 0 { Vec::new() } else { vec![Span { offset: self.offset, length }] }
    }

    /// Bucket by bucket; the other's buckets are first merged to those of a schema that is
    /// `coarser` by so many steps.
    fn plus(&self, other: &Self, sign: f64, coarser: u32) -> Self {
        let mut buckets: BTreeMap<i32, f64> = BTreeMap::new();
        for (index, count) in self.indexed() {
            *buckets.entry(index).or_default() += count;
        }
        for (index, count) in other.indexed() {
            // Bucket i ends at base^i: of a coarser schema the one that ends at or above.
            let index = ((index - 1) >> coarser) + 1;
            *buckets.entry(index).or_default() += sign * count;
        }
        let (Some((first, _)), Some((last, _))) =
            (buckets.first_key_value(), buckets.last_key_value())
        else {
            return Self { offset: self.offset, buckets: Vec::new() };
        };
        let (first, last) = (*first, *last);
        let counts = (first..=last).map(|index| buckets.get(&index).copied().unwrap_or(0.0));
        Self { offset: first, buckets: counts.collect() }
    }

    fn indexed(&self) -> impl Iterator<Item = (i32, f64)> {
        (self.offset..).zip(self.buckets.iter().copied())
    }
}

fn integer(cursor: &mut Cursor<'_>) -> Result<i32, SeriesLineError> {
    let sign = if cursor.take("-") { "-" } else { "" };
    let digits = cursor.take_while(|c| c.is_ascii_digit());
    // Far from the ends of 32 bits, so that indexes can be counted on from it.
    let value: i32 = format!("{sign}{digits}")
        .parse()
        .map_err(|error| cursor.error(format!("bad integer in histogram: {error}")))?;
    if value.unsigned_abs() > 1 << 24 {
        return Err(cursor.error("integer in histogram is out of range"));
    }
    Ok(value)
}

fn list(cursor: &mut Cursor<'_>) -> Result<Vec<f64>, SeriesLineError> {
    if !cursor.take("[") {
        return Err(cursor.error("expected \"[\""));
    }
    let mut values = Vec::new();
    loop {
        cursor.skip_spaces();
        if cursor.take("]") {
            return Ok(values);
        }
        values.push(cursor.signed_number()?);
    }
}
