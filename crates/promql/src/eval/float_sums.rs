//! Sums and means that lose no digits.
//!
//! Neumaier's form of Kahan's compensated summation, because answers are compared with Prometheus,
//! which sums so.

/// A sum with the part that its 53 bits could not hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sum {
    sum: f64,
    rest: f64,
}

impl Default for Sum {
    /// The sum of nothing is negative zero: the one number that changes no sum, not even a sign.
    fn default() -> Self {
        Self { sum: -0.0, rest: 0.0 }
    }
}

impl Sum {
    /// A sum of one value.
    #[inline]
    pub fn of(value: f64) -> Self {
        Self { sum: value, rest: 0.0 }
    }

    /// Adds a value. What rounding takes from the sum goes to the rest, by Knuth's exact formula,
    /// which needs no branch. Once the sum leaves the range of floats the rest means nothing.
    #[inline]
    pub fn add(&mut self, value: f64) {
        let sum = self.sum + value;
        let added = sum - self.sum;
        self.rest += (self.sum - (sum - added)) + (value - added);
        self.sum = sum;
    }

    /// Adds another sum.
    pub fn join(&mut self, other: Self) {
        self.add(other.sum);
        self.rest += other.rest;
    }

    /// The sum.
    #[inline]
    pub fn total(self) -> f64 {
        if self.sum.is_finite() { self.sum + self.rest } else { self.sum }
    }

    fn scaled(self, factor: f64) -> Self {
        Self { sum: self.sum * factor, rest: self.rest * factor }
    }

    fn divided(self, divisor: f64) -> Self {
        Self { sum: self.sum / divisor, rest: self.rest / divisor }
    }
}

/// A mean: the sum over the count, until the sum leaves the range of floats; from there on the mean
/// itself is carried.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mean {
    /// The sum, or the mean once `overflowed`.
    sum: Sum,
    count: f64,
    overflowed: bool,
}

impl Mean {
    /// Takes a value in.
    #[inline]
    pub fn add(&mut self, value: f64) {
        self.count += 1.0;
        if self.count == 1.0 {
            self.sum = Sum::of(value);
            return;
        }
        if !self.overflowed {
            let mut sum = self.sum;
            sum.add(value);
            if !sum.sum.is_infinite() {
                self.sum = sum;
                return;
            }
            self.overflowed = true;
            self.sum = self.sum.divided(self.count - 1.0);
        }
        self.sum = self.sum.scaled((self.count - 1.0) / self.count);
        self.sum.add(value / self.count);
    }

    /// Takes another mean's values in.
    pub fn join(&mut self, other: Self) {
        if other.count == 0.0 || self.count == 0.0 {
            if self.count == 0.0 {
                *self = other;
            }
            return;
        }
        let count = self.count + other.count;
        if !self.overflowed && !other.overflowed {
            let mut sum = self.sum;
            sum.join(other.sum);
            if !sum.sum.is_infinite() {
                *self = Self { sum, count, overflowed: false };
                return;
            }
        }
        let mut sum = self.carried().scaled(self.count / count);
        sum.join(other.carried().scaled(other.count / count));
        *self = Self { sum, count, overflowed: true };
    }

    fn carried(self) -> Sum {
        if self.overflowed { self.sum } else { self.sum.divided(self.count) }
    }

    /// The mean.
    pub fn value(self) -> f64 {
        self.carried().total()
    }
}

/// Variance by Welford's method.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Variance {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Variance {
    /// Takes a value in.
    #[inline]
    pub fn add(&mut self, value: f64) {
        self.count += 1.0;
        if self.count == 1.0 {
            self.mean = value;
            self.squares = if value.is_finite() { 0.0 } else { f64::NAN };
            return;
        }
        let delta = value - self.mean;
        self.mean += delta / self.count;
        self.squares += delta * (value - self.mean);
    }

    /// Takes another variance's values in.
    pub fn join(&mut self, other: Self) {
        if other.count == 0.0 || self.count == 0.0 {
            if self.count == 0.0 {
                *self = other;
            }
            return;
        }
        let count = self.count + other.count;
        let delta = other.mean - self.mean;
        self.squares += other.squares + delta * delta * self.count * other.count / count;
        self.mean += delta * other.count / count;
        self.count = count;
    }

    /// The variance of the population.
    pub fn value(self) -> f64 {
        self.squares / self.count
    }
}

/// Variance of the samples in a range: Welford's method with compensated sums.
pub(crate) fn variance_of(values: &[f64]) -> f64 {
    let (mut count, mut mean, mut squares) = (0.0, Sum::default(), Sum::default());
    for value in values {
        count += 1.0;
        let delta = value - (mean.sum + mean.rest);
        mean.add(delta / count);
        squares.add(delta * (value - (mean.sum + mean.rest)));
    }
    (squares.sum + squares.rest) / count
}

/// The sum of `values`.
pub(crate) fn sum_of(values: &[f64]) -> f64 {
    let mut sum = Sum::default();
    for value in values {
        sum.add(*value);
    }
    sum.total()
}

/// The mean of `values`.
pub(crate) fn mean_of(values: &[f64]) -> f64 {
    let mut sum = Sum::default();
    for value in values {
        sum.add(*value);
    }
    if sum.sum.is_finite() {
        return sum.divided(values.len() as f64).total();
    }
    let mut mean = Mean::default();
    for value in values {
        mean.add(*value);
    }
    mean.value()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_plain_summation_loses() {
        let values = [5.0, 1e100, 1.0, -1e100, 7.0];
        assert_eq!(sum_of(&values), 13.0);
        let mut joined = Sum::default();
        for half in values.chunks(2) {
            let mut part = Sum::default();
            for value in half {
                part.add(*value);
            }
            joined.join(part);
        }
        assert_eq!(joined.total(), 13.0);
    }

    #[test]
    fn a_mean_survives_a_sum_beyond_the_range() {
        assert!((mean_of(&[f64::MAX; 3]) / f64::MAX - 1.0).abs() < 1e-12);
        let (mut left, mut right) = (Mean::default(), Mean::default());
        [f64::MAX; 3].iter().for_each(|v| left.add(*v));
        [f64::MAX; 2].iter().for_each(|v| right.add(*v));
        left.join(right);
        assert!((left.value() / f64::MAX - 1.0).abs() < 1e-12);
    }

    #[test]
    fn joined_variances_are_the_variance_of_all() {
        let all = [1.0, 4.0, 9.0, 16.0, 25.0];
        let (mut left, mut right) = (Variance::default(), Variance::default());
        all[..2].iter().for_each(|v| left.add(*v));
        all[2..].iter().for_each(|v| right.add(*v));
        left.join(right);
        assert!((left.value() - variance_of(&all)).abs() < 1e-12);
    }
}
