//! What kind of metric a family is.

use std::fmt;

/// The type of a metric family, as remote write numbers and the HTTP API names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum MetricType {
    /// The sender does not say.
    #[default]
    Unknown = 0,
    /// Only rises, and falls to zero.
    Counter = 1,
    /// Rises and falls.
    Gauge = 2,
    /// Counters of buckets.
    Histogram = 3,
    /// Gauges of buckets.
    GaugeHistogram = 4,
    /// Quantiles.
    Summary = 5,
    /// Labels alone.
    Info = 6,
    /// A set of states.
    StateSet = 7,
}

impl MetricType {
    const ALL: [Self; 8] = [
        Self::Unknown,
        Self::Counter,
        Self::Gauge,
        Self::Histogram,
        Self::GaugeHistogram,
        Self::Summary,
        Self::Info,
        Self::StateSet,
    ];

    /// The type with remote write's number; a number that nobody has given yet is unknown.
    pub fn from_number(number: u8) -> Self {
        Self::ALL.get(usize::from(number)).copied().unwrap_or_default()
    }

    /// The type with the HTTP API's name.
    pub fn from_name(name: &str) -> Self {
        Self::ALL.into_iter().find(|t| t.name() == name).unwrap_or_default()
    }

    /// Remote write's number.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The HTTP API's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::GaugeHistogram => "gaugehistogram",
            Self::Summary => "summary",
            Self::Info => "info",
            Self::StateSet => "stateset",
        }
    }
}

impl fmt::Display for MetricType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_lead_back() {
        for metric_type in MetricType::ALL {
            assert_eq!(MetricType::from_number(metric_type.number()), metric_type);
            assert_eq!(MetricType::from_name(metric_type.name()), metric_type);
        }
        assert_eq!(MetricType::from_number(200), MetricType::Unknown);
    }
}
