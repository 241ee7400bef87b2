//! What aggregations carry from series to series, one of it a group and step.

use super::column::ABSENT;
use super::float_sums::{Mean, Sum, Variance};

/// Takes values in, and joins what another one took in.
pub(crate) trait Accumulator: Copy + Default + Send {
    /// Takes a value in.
    fn add(&mut self, value: f64);
    /// Takes in what `other`, of series that come later, took in.
    fn join(&mut self, other: Self);
    /// The result; [`ABSENT`] if nothing was taken in.
    fn value(self) -> f64;
}

/// `count`
#[derive(Clone, Copy, Default)]
pub(crate) struct Count(f64);

/// `group`
#[derive(Clone, Copy, Default)]
pub(crate) struct Group(bool);

/// `sum`
#[derive(Clone, Copy, Default)]
pub(crate) struct Total(Option<Sum>);

/// `avg`
#[derive(Clone, Copy, Default)]
pub(crate) struct Average(Option<Mean>);

/// `stdvar`
#[derive(Clone, Copy, Default)]
pub(crate) struct Spread(Option<Variance>);

/// `stddev`
#[derive(Clone, Copy, Default)]
pub(crate) struct Deviation(Spread);

/// `min`
#[derive(Clone, Copy)]
pub(crate) struct Least(f64);

/// `max`
#[derive(Clone, Copy)]
pub(crate) struct Greatest(f64);

impl Accumulator for Count {
    #[inline]
    fn add(&mut self, _: f64) {
        self.0 += 1.0;
    }

    fn join(&mut self, other: Self) {
        self.0 += other.0;
    }

    fn value(self) -> f64 {
        if self.0 == 0.0 { ABSENT } else { self.0 }
    }
}

impl Accumulator for Group {
    #[inline]
    fn add(&mut self, _: f64) {
        self.0 = true;
    }

    fn join(&mut self, other: Self) {
        self.0 |= other.0;
    }

    fn value(self) -> f64 {
        if self.0 { 1.0 } else { ABSENT }
    }
}

impl Accumulator for Total {
    #[inline]
    fn add(&mut self, value: f64) {
        match &mut self.0 {
            Some(sum) => sum.add(value),
            None => self.0 = Some(Sum::of(value)),
        }
    }

    fn join(&mut self, other: Self) {
        match (&mut self.0, other.0) {
            (Some(sum), Some(other)) => sum.join(other),
            (None, other) => self.0 = other,
            (Some(_), None) => {}
        }
    }

    fn value(self) -> f64 {
        self.0.map_or(ABSENT, Sum::total)
    }
}

impl Accumulator for Average {
    #[inline]
    fn add(&mut self, value: f64) {
        self.0.get_or_insert_default().add(value);
    }

    fn join(&mut self, other: Self) {
        if let Some(other) = other.0 {
            self.0.get_or_insert_default().join(other);
        }
    }

    fn value(self) -> f64 {
        self.0.map_or(ABSENT, Mean::value)
    }
}

impl Accumulator for Spread {
    #[inline]
    fn add(&mut self, value: f64) {
        self.0.get_or_insert_default().add(value);
    }

    fn join(&mut self, other: Self) {
        if let Some(other) = other.0 {
            self.0.get_or_insert_default().join(other);
        }
    }

    fn value(self) -> f64 {
        self.0.map_or(ABSENT, Variance::value)
    }
}

impl Accumulator for Deviation {
    #[inline]
    fn add(&mut self, value: f64) {
        self.0.add(value);
    }

    fn join(&mut self, other: Self) {
        self.0.join(other.0);
    }

    fn value(self) -> f64 {
        (self.0).0.map_or(ABSENT, |variance| variance.value().sqrt())
    }
}

impl Default for Least {
    fn default() -> Self {
        Self(ABSENT)
    }
}

impl Accumulator for Least {
    #[inline]
    fn add(&mut self, value: f64) {
        if value < self.0 || self.0.is_nan() {
            self.0 = value;
        }
    }

    fn join(&mut self, other: Self) {
        if !super::column::is_absent(other.0) {
            self.add(other.0);
        }
    }

    fn value(self) -> f64 {
        self.0
    }
}

impl Default for Greatest {
    fn default() -> Self {
        Self(ABSENT)
    }
}

impl Accumulator for Greatest {
    #[inline]
    fn add(&mut self, value: f64) {
        if value > self.0 || self.0.is_nan() {
            self.0 = value;
        }
    }

    fn join(&mut self, other: Self) {
        if !super::column::is_absent(other.0) {
            self.add(other.0);
        }
    }

    fn value(self) -> f64 {
        self.0
    }
}
