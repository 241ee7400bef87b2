// tidy: table
//! The functions of PromQL: their names, the types of their arguments and of what they return.
//!
//! The set and the signatures are those of Prometheus 3.14.

use std::fmt;

use crate::ast::ValueType::{self, Matrix, Scalar, String, Vector};

/// What a call of a function must look like, and gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Its name.
    pub name: &'static str,
    /// The types of its arguments. The last one stands for all that `variadic` allows beyond them.
    pub arguments: &'static [ValueType],
    /// How many arguments may differ from the list.
    pub variadic: Variadic,
    /// What it returns.
    pub returns: ValueType,
    /// Whether it needs the option for experimental functions.
    pub experimental: bool,
}

/// How the number of a function's arguments may vary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variadic {
    /// As many as the list has.
    No,
    /// From one less than the list has up to that plus this number.
    UpTo(u8),
    /// From one less than the list has.
    Unlimited,
}

impl Signature {
    /// The fewest arguments that it takes.
    pub fn min_arguments(&self) -> usize {
        match self.variadic {
            Variadic::No => self.arguments.len(),
            Variadic::UpTo(_) | Variadic::Unlimited => self.arguments.len() - 1,
        }
    }

    /// The most arguments that it takes, if there is such a number.
    pub fn max_arguments(&self) -> Option<usize> {
        match self.variadic {
            Variadic::No => Some(self.arguments.len()),
            Variadic::UpTo(more) => Some(self.arguments.len() - 1 + usize::from(more)),
            Variadic::Unlimited => None,
        }
    }

    /// The type of argument `index`; beyond the list that of the last.
    pub fn argument(&self, index: usize) -> ValueType {
        self.arguments[index.min(self.arguments.len() - 1)]
    }
}

impl Function {
    /// The function of this name. Names are case-sensitive.
    pub fn from_name(name: &str) -> Option<Self> {
        let at = ALL.binary_search_by(|(_, signature)| signature.name.cmp(name)).ok()?;
        Some(ALL[at].0)
    }

    /// All functions, sorted by name.
    pub fn all() -> impl Iterator<Item = Self> {
        ALL.iter().map(|(function, _)| *function)
    }

    /// How it is called.
    pub fn signature(self) -> &'static Signature {
        &ALL[self as usize].1
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.signature().name
    }

    /// Whether its value depends on nothing but its arguments. The others depend on the time of
    /// evaluation or on the query's times, so that a call is not the same at every step
    /// although all selectors in it have an `@`.
    pub fn is_at_safe(self) -> bool {
        !matches!(
            self,
            Self::DayOfMonth
                | Self::DayOfWeek
                | Self::DayOfYear
                | Self::DaysInMonth
                | Self::End
                | Self::Hour
                | Self::Minute
                | Self::Month
                | Self::PredictLinear
                | Self::Range
                | Self::Start
                | Self::Step
                | Self::Time
                | Self::Timestamp
                | Self::Year
        )
    }
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Declares the enum and its table from one list, so that a function's number is its place in the
/// table.
macro_rules! functions {
    ($($variant:ident $name:literal ($($argument:ident),*) $variadic:expr, $returns:ident, $stability:ident;)*) => {
        /// A function of PromQL.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Function {
            $(#[doc = concat!("`", $name, "`")] $variant,)*
        }

        /// Sorted by name.
        static ALL: &[(Function, Signature)] = &[
            $((Function::$variant, Signature {
                name: $name,
                arguments: &[$($argument),*],
                variadic: $variadic,
                returns: $returns,
                experimental: $stability,
            }),)*
        ];
    };
}

use Variadic::{No, Unlimited, UpTo};

const STABLE: bool = false;
const EXPERIMENTAL: bool = true;

functions! {
    Abs "abs" (Vector) No, Vector, STABLE;
    Absent "absent" (Vector) No, Vector, STABLE;
    AbsentOverTime "absent_over_time" (Matrix) No, Vector, STABLE;
    Acos "acos" (Vector) No, Vector, STABLE;
    Acosh "acosh" (Vector) No, Vector, STABLE;
    Asin "asin" (Vector) No, Vector, STABLE;
    Asinh "asinh" (Vector) No, Vector, STABLE;
    Atan "atan" (Vector) No, Vector, STABLE;
    Atanh "atanh" (Vector) No, Vector, STABLE;
    AvgOverTime "avg_over_time" (Matrix) No, Vector, STABLE;
    Ceil "ceil" (Vector) No, Vector, STABLE;
    Changes "changes" (Matrix) No, Vector, STABLE;
    Clamp "clamp" (Vector, Scalar, Scalar) No, Vector, STABLE;
    ClampMax "clamp_max" (Vector, Scalar) No, Vector, STABLE;
    ClampMin "clamp_min" (Vector, Scalar) No, Vector, STABLE;
    Cos "cos" (Vector) No, Vector, STABLE;
    Cosh "cosh" (Vector) No, Vector, STABLE;
    CountOverTime "count_over_time" (Matrix) No, Vector, STABLE;
    DayOfMonth "day_of_month" (Vector) UpTo(1), Vector, STABLE;
    DayOfWeek "day_of_week" (Vector) UpTo(1), Vector, STABLE;
    DayOfYear "day_of_year" (Vector) UpTo(1), Vector, STABLE;
    DaysInMonth "days_in_month" (Vector) UpTo(1), Vector, STABLE;
    Deg "deg" (Vector) No, Vector, STABLE;
    Delta "delta" (Matrix) No, Vector, STABLE;
    Deriv "deriv" (Matrix) No, Vector, STABLE;
    DoubleExponentialSmoothing "double_exponential_smoothing" (Matrix, Scalar, Scalar) No, Vector, EXPERIMENTAL;
    End "end" () No, Scalar, EXPERIMENTAL;
    Exp "exp" (Vector) No, Vector, STABLE;
    FirstOverTime "first_over_time" (Matrix) No, Vector, STABLE;
    Floor "floor" (Vector) No, Vector, STABLE;
    HistogramAvg "histogram_avg" (Vector) No, Vector, STABLE;
    HistogramCount "histogram_count" (Vector) No, Vector, STABLE;
    HistogramFraction "histogram_fraction" (Scalar, Scalar, Vector) No, Vector, STABLE;
    HistogramQuantile "histogram_quantile" (Scalar, Vector) No, Vector, STABLE;
    HistogramQuantiles "histogram_quantiles" (Vector, String, Scalar, Scalar) UpTo(9), Vector, EXPERIMENTAL;
    HistogramStddev "histogram_stddev" (Vector) No, Vector, STABLE;
    HistogramStdvar "histogram_stdvar" (Vector) No, Vector, STABLE;
    HistogramSum "histogram_sum" (Vector) No, Vector, STABLE;
    Hour "hour" (Vector) UpTo(1), Vector, STABLE;
    Idelta "idelta" (Matrix) No, Vector, STABLE;
    Increase "increase" (Matrix) No, Vector, STABLE;
    Info "info" (Vector, Vector) UpTo(1), Vector, EXPERIMENTAL;
    Irate "irate" (Matrix) No, Vector, STABLE;
    LabelJoin "label_join" (Vector, String, String, String) Unlimited, Vector, STABLE;
    LabelReplace "label_replace" (Vector, String, String, String, String) No, Vector, STABLE;
    LastOverTime "last_over_time" (Matrix) No, Vector, STABLE;
    Ln "ln" (Vector) No, Vector, STABLE;
    Log10 "log10" (Vector) No, Vector, STABLE;
    Log2 "log2" (Vector) No, Vector, STABLE;
    MadOverTime "mad_over_time" (Matrix) No, Vector, EXPERIMENTAL;
    MaxOf "max_of" (Scalar, Scalar) No, Scalar, EXPERIMENTAL;
    MaxOverTime "max_over_time" (Matrix) No, Vector, STABLE;
    MinOf "min_of" (Scalar, Scalar) No, Scalar, EXPERIMENTAL;
    MinOverTime "min_over_time" (Matrix) No, Vector, STABLE;
    Minute "minute" (Vector) UpTo(1), Vector, STABLE;
    Month "month" (Vector) UpTo(1), Vector, STABLE;
    Pi "pi" () No, Scalar, STABLE;
    PredictLinear "predict_linear" (Matrix, Scalar) No, Vector, STABLE;
    PresentOverTime "present_over_time" (Matrix) No, Vector, STABLE;
    QuantileOverTime "quantile_over_time" (Scalar, Matrix) No, Vector, STABLE;
    Rad "rad" (Vector) No, Vector, STABLE;
    Range "range" () No, Scalar, EXPERIMENTAL;
    Rate "rate" (Matrix) No, Vector, STABLE;
    Resets "resets" (Matrix) No, Vector, STABLE;
    Round "round" (Vector, Scalar) UpTo(1), Vector, STABLE;
    Scalar "scalar" (Vector) No, Scalar, STABLE;
    Sgn "sgn" (Vector) No, Vector, STABLE;
    Sin "sin" (Vector) No, Vector, STABLE;
    Sinh "sinh" (Vector) No, Vector, STABLE;
    Sort "sort" (Vector) No, Vector, STABLE;
    SortByLabel "sort_by_label" (Vector, String) Unlimited, Vector, EXPERIMENTAL;
    SortByLabelDesc "sort_by_label_desc" (Vector, String) Unlimited, Vector, EXPERIMENTAL;
    SortDesc "sort_desc" (Vector) No, Vector, STABLE;
    Sqrt "sqrt" (Vector) No, Vector, STABLE;
    Start "start" () No, Scalar, EXPERIMENTAL;
    StartTimestamp "start_timestamp" (Vector) No, Vector, EXPERIMENTAL;
    StddevOverTime "stddev_over_time" (Matrix) No, Vector, STABLE;
    StdvarOverTime "stdvar_over_time" (Matrix) No, Vector, STABLE;
    Step "step" () No, Scalar, EXPERIMENTAL;
    SumOverTime "sum_over_time" (Matrix) No, Vector, STABLE;
    Tan "tan" (Vector) No, Vector, STABLE;
    Tanh "tanh" (Vector) No, Vector, STABLE;
    Time "time" () No, Scalar, STABLE;
    Timestamp "timestamp" (Vector) No, Vector, STABLE;
    TsOfFirstOverTime "ts_of_first_over_time" (Matrix) No, Vector, EXPERIMENTAL;
    TsOfLastOverTime "ts_of_last_over_time" (Matrix) No, Vector, EXPERIMENTAL;
    TsOfMaxOverTime "ts_of_max_over_time" (Matrix) No, Vector, EXPERIMENTAL;
    TsOfMinOverTime "ts_of_min_over_time" (Matrix) No, Vector, EXPERIMENTAL;
    Vector "vector" (Scalar) No, Vector, STABLE;
    Year "year" (Vector) UpTo(1), Vector, STABLE;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_is_found_by_its_name_and_knows_its_place() {
        assert!(ALL.windows(2).all(|pair| pair[0].1.name < pair[1].1.name));
        for function in Function::all() {
            assert_eq!(Function::from_name(function.name()), Some(function));
        }
        assert_eq!(Function::from_name("Rate"), None);
        assert_eq!(ALL.len(), 90);
        assert_eq!(ALL.iter().filter(|(_, signature)| signature.experimental).count(), 17);
    }
}
