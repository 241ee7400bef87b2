//! What aggregations carry from series to series: a column of each group, so that a series is taken
//! in by one loop over plain arrays.

use super::column::{ABSENT, is_absent};
use super::float_sums::{Mean, Sum, Variance};

/// Takes columns in, and joins what another one took in.
pub(crate) trait Accumulator: Send {
    /// An accumulator of `steps` steps.
    fn new(steps: usize) -> Self;
    /// Takes the values of a series in.
    fn add(&mut self, values: &[f64]);
    /// Takes a sample without a value in, at one step.
    fn add_sample(&mut self, _step: usize) {}
    /// Takes in what `other`, of series that come later, took in.
    fn join(&mut self, other: Self);
    /// The results; [`ABSENT`] where nothing was taken in.
    fn values(self) -> Vec<f64>;
}

/// `count`
pub(crate) struct Count(Vec<f64>);

/// `group`
pub(crate) struct Group(Count);

/// `sum`
pub(crate) struct Total {
    sums: Vec<Sum>,
    /// How many series there were.
    counts: Vec<u64>,
}

/// `avg`
pub(crate) struct Average(Vec<Option<Mean>>);

/// `stdvar`
pub(crate) struct Spread(Vec<Option<Variance>>);

/// `stddev`
pub(crate) struct Deviation(Spread);

/// `min`
pub(crate) struct Least(Vec<f64>);

/// `max`
pub(crate) struct Greatest(Vec<f64>);

/// Calls `add` with each step's cell and value, where there is one.
#[inline]
fn each<C>(cells: &mut [C], values: &[f64], mut add: impl FnMut(&mut C, f64)) {
    for (cell, value) in cells.iter_mut().zip(values) {
        if !is_absent(*value) {
            add(cell, *value);
        }
    }
}

impl Accumulator for Count {
    fn new(steps: usize) -> Self {
        Self(vec![0.0; steps])
    }

    fn add(&mut self, values: &[f64]) {
        for (count, value) in self.0.iter_mut().zip(values) {
            *count += if is_absent(*value) { 0.0 } else { 1.0 };
        }
    }

    fn add_sample(&mut self, step: usize) {
        self.0[step] += 1.0;
    }

    fn join(&mut self, other: Self) {
        self.0.iter_mut().zip(other.0).for_each(|(count, other)| *count += other);
    }

    fn values(self) -> Vec<f64> {
        self.0.into_iter().map(|count| if count == 0.0 { ABSENT } else { count }).collect()
    }
}

impl Accumulator for Group {
    fn new(steps: usize) -> Self {
        Self(Count::new(steps))
    }

    fn add(&mut self, values: &[f64]) {
        self.0.add(values);
    }

    fn add_sample(&mut self, step: usize) {
        self.0.add_sample(step);
    }

    fn join(&mut self, other: Self) {
        self.0.join(other.0);
    }

    fn values(self) -> Vec<f64> {
        (self.0).0.into_iter().map(|count| if count == 0.0 { ABSENT } else { 1.0 }).collect()
    }
}

impl Accumulator for Total {
    fn new(steps: usize) -> Self {
        Self { sums: vec![Sum::default(); steps], counts: vec![0; steps] }
    }

    fn add(&mut self, values: &[f64]) {
        let cells = self.sums.iter_mut().zip(self.counts.iter_mut());
        for ((sum, count), value) in cells.zip(values) {
            // Without a branch: what is absent adds the number that changes no sum.
            let is_absent = is_absent(*value);
            sum.add(if is_absent { -0.0 } else { *value });
            *count += u64::from(!is_absent);
        }
    }

    fn join(&mut self, other: Self) {
        self.sums.iter_mut().zip(other.sums).for_each(|(sum, other)| sum.join(other));
        self.counts.iter_mut().zip(other.counts).for_each(|(count, other)| *count += other);
    }

    fn values(self) -> Vec<f64> {
        let cells = self.sums.into_iter().zip(self.counts);
        cells.map(|(sum, count)| if count == 0 { ABSENT } else { sum.total() }).collect()
    }
}

impl Accumulator for Average {
    fn new(steps: usize) -> Self {
        Self(vec![None; steps])
    }

    fn add(&mut self, values: &[f64]) {
        each(&mut self.0, values, |mean, value| mean.get_or_insert_default().add(value));
    }

    fn join(&mut self, other: Self) {
        for (mean, other) in self.0.iter_mut().zip(other.0) {
            if let Some(other) = other {
                mean.get_or_insert_default().join(other);
            }
        }
    }

    fn values(self) -> Vec<f64> {
        self.0.into_iter().map(|mean| mean.map_or(ABSENT, Mean::value)).collect()
    }
}

impl Accumulator for Spread {
    fn new(steps: usize) -> Self {
        Self(vec![None; steps])
    }

    fn add(&mut self, values: &[f64]) {
        each(&mut self.0, values, |variance, value| variance.get_or_insert_default().add(value));
    }

    fn join(&mut self, other: Self) {
        for (variance, other) in self.0.iter_mut().zip(other.0) {
            if let Some(other) = other {
                variance.get_or_insert_default().join(other);
            }
        }
    }

    fn values(self) -> Vec<f64> {
        self.0.into_iter().map(|variance| variance.map_or(ABSENT, Variance::value)).collect()
    }
}

impl Accumulator for Deviation {
    fn new(steps: usize) -> Self {
        Self(Spread::new(steps))
    }

    fn add(&mut self, values: &[f64]) {
        self.0.add(values);
    }

    fn join(&mut self, other: Self) {
        self.0.join(other.0);
    }

    fn values(self) -> Vec<f64> {
        let variances = (self.0).0.into_iter();
        variances.map(|variance| variance.map_or(ABSENT, |v| v.value().sqrt())).collect()
    }
}

impl Accumulator for Least {
    fn new(steps: usize) -> Self {
        Self(vec![ABSENT; steps])
    }

    fn add(&mut self, values: &[f64]) {
        each(&mut self.0, values, |least, value| {
            if value < *least || least.is_nan() {
                *least = value;
            }
        });
    }

    fn join(&mut self, other: Self) {
        self.add(&other.0);
    }

    fn values(self) -> Vec<f64> {
        self.0
    }
}

impl Accumulator for Greatest {
    fn new(steps: usize) -> Self {
        Self(vec![ABSENT; steps])
    }

    fn add(&mut self, values: &[f64]) {
        each(&mut self.0, values, |greatest, value| {
            if value > *greatest || greatest.is_nan() {
                *greatest = value;
            }
        });
    }

    fn join(&mut self, other: Self) {
        self.add(&other.0);
    }

    fn values(self) -> Vec<f64> {
        self.0
    }
}
