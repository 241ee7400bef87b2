//! Parts of PromQL that Prometheus has behind a flag.

use std::fmt;
use std::str::FromStr;

use rangekeeper_promql::ParserOptions;
use rangekeeper_promql::eval::EngineOptions;

/// A part of the language, or a way of evaluating it, that is off unless it is asked for. It has
/// the name that Prometheus' `--enable-feature` knows it by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// The functions and aggregations that are called experimental.
    ExperimentalFunctions,
    /// `anchored` and `smoothed`.
    ExtendedRangeSelectors,
    /// `fill`, `fill_left` and `fill_right`.
    BinopFillModifiers,
    /// Metric names go when the query ends.
    DelayedNameRemoval,
    /// Start timestamps tell of counter resets.
    UseStartTimestamps,
}

/// There is no such feature.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown feature {name:?}; there are {}", Feature::ALL.map(Feature::name).join(", "))]
pub struct UnknownFeature {
    name: String,
}

impl Feature {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::ExperimentalFunctions,
        Self::ExtendedRangeSelectors,
        Self::BinopFillModifiers,
        Self::DelayedNameRemoval,
        Self::UseStartTimestamps,
    ];

    /// Its name as a flag of Prometheus.
    pub fn name(self) -> &'static str {
        match self {
            Self::ExperimentalFunctions => "promql-experimental-functions",
            Self::ExtendedRangeSelectors => "promql-extended-range-selectors",
            Self::BinopFillModifiers => "promql-binop-fill-modifiers",
            Self::DelayedNameRemoval => "promql-delayed-name-removal",
            Self::UseStartTimestamps => "use-start-timestamps",
        }
    }

    pub(crate) fn enable(self, parser: &mut ParserOptions, engine: &mut EngineOptions) {
        match self {
            Self::ExperimentalFunctions => parser.experimental_functions = true,
            Self::ExtendedRangeSelectors => parser.extended_range_selectors = true,
            Self::BinopFillModifiers => parser.fill_modifiers = true,
            Self::DelayedNameRemoval => engine.delayed_name_removal = true,
            Self::UseStartTimestamps => engine.use_start_timestamps = true,
        }
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Feature {
    type Err = UnknownFeature;

    fn from_str(name: &str) -> Result<Self, UnknownFeature> {
        let found = Self::ALL.into_iter().find(|feature| feature.name() == name);
        found.ok_or_else(|| UnknownFeature { name: name.to_owned() })
    }
}
