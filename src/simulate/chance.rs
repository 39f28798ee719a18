//! Chance from a seed, to the bit the same on every machine: the generator's stream is stable, and
//! the distributions below use only operations whose rounding IEEE 754 fixes (no logarithm, no
//! power).

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A seeded source of chance.
#[derive(Clone, Debug)]
pub struct Chance(ChaCha8Rng);

/// Poisson counts are summed from parts with at most this mean, so that `exp(-mean)` stays far from
/// the smallest float.
const POISSON_PART_MAX: f64 = 8.0;

/// 2^-53: the spacing of the floats that `unit` gives.
const UNIT_STEP: f64 = 1.0 / 9_007_199_254_740_992.0;

impl Chance {
    /// The source that belongs to a seed.
    pub fn new(seed: u64) -> Chance {
        Chance(ChaCha8Rng::seed_from_u64(seed))
    }

    /// A number in 0..1, one excluded.
    pub fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 * UNIT_STEP
    }

    /// A number in `low..high`.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// A whole number in `0..bound`; `bound` is above 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "nothing is below 0");
        ((u128::from(self.0.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// True with a probability.
    pub fn happens(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// One of `items`, `None` if there are none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        if items.is_empty() { None } else { items.get(self.below(items.len() as u64) as usize) }
    }

    /// A size with a heavy tail: at least `n` with probability 1/n, at most `max`.
    pub fn heavy_tail(&mut self, max: u64) -> u64 {
        let size = 1.0 / (1.0 - self.unit());
        if size >= max as f64 { max } else { size as u64 }
    }

    /// `count` of `items` in a random order; all of them if there are fewer.
    pub fn sample<T>(&mut self, mut items: Vec<T>, count: usize) -> Vec<T> {
        let count = count.min(items.len());
        for position in 0..count {
            let other = position + self.below((items.len() - position) as u64) as usize;
            items.swap(position, other);
        }
        items.truncate(count);
        items
    }

    /// How often something happens that happens `mean` times on average, each time independently.
    pub fn poisson(&mut self, mean: f64) -> u64 {
        assert!(mean >= 0.0 && mean.is_finite(), "a mean count is not negative: {mean}");
        let mut left = mean;
        let mut count = 0;
        while left > 0.0 {
            let part = left.min(POISSON_PART_MAX);
            count += self.poisson_part(part);
            left -= part;
        }
        count
    }

    /// Knuth's method: arrivals until the product of uniform numbers falls below exp(-mean).
    fn poisson_part(&mut self, mean: f64) -> u64 {
        let limit = exp_of_minus(mean);
        let mut product = self.unit();
        let mut count = 0;
        while product > limit {
            product *= self.unit();
            count += 1;
        }
        count
    }
}

/// exp(-x) for 0 <= x <= `POISSON_PART_MAX`: the Taylor series of exp(-x / 256), squared eight
/// times. The platform's own `exp` may differ in its last bit, and one bit can change a life.
fn exp_of_minus(x: f64) -> f64 {
    let step = -x / 256.0;
    let tail = 1.0 / 6.0 + step * (1.0 / 24.0 + step / 120.0);
    let mut power = 1.0 + step * (1.0 + step * (0.5 + step * tail));
    for _ in 0..8 {
        power *= power;
    }
    power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_of_a_seed_never_changes() {
        let mut chance = Chance::new(7);
        let drawn: Vec<u64> = (0..4).map(|_| chance.below(1_000_000)).collect();
        assert_eq!(
            drawn, FIRST_OF_SEED_7,
            "the same seed must give the same life in every version"
        );
    }

    const FIRST_OF_SEED_7: [u64; 4] = [157_796, 167_989, 704_276, 726_741];

    #[test]
    fn poisson_counts_have_their_mean_and_variance() {
        let mut chance = Chance::new(1);
        for mean in [0.0, 0.01, 0.7, 5.0, 40.0] {
            let counts: Vec<f64> = (0..20_000).map(|_| chance.poisson(mean) as f64).collect();
            let average = counts.iter().sum::<f64>() / counts.len() as f64;
            let squares = counts.iter().map(|count| (count - average) * (count - average));
            let variance = squares.sum::<f64>() / counts.len() as f64;
            // Six standard errors of the average, and of the variance of a Poisson count.
            let error = 6.0 * (mean / 20_000.0_f64).sqrt();
            assert!((average - mean).abs() <= error, "mean {mean}: {average}");
            let spread = 6.0 * ((mean + 2.0 * mean * mean) / 20_000.0_f64).sqrt();
            assert!((variance - mean).abs() <= spread, "mean {mean}: variance {variance}");
        }
    }

    #[test]
    fn the_exponential_is_as_good_as_the_platforms() {
        for step in 0..=800 {
            let x = f64::from(step) / 100.0;
            let relative = (exp_of_minus(x) - (-x).exp()).abs() / (-x).exp();
            assert!(relative < 1e-8, "exp(-{x}) is off by {relative}");
        }
    }

    #[test]
    fn heavy_tails_are_heavy_and_bounded() {
        let mut chance = Chance::new(2);
        let sizes: Vec<u64> = (0..100_000).map(|_| chance.heavy_tail(1_000)).collect();
        let at_least = |n: u64| sizes.iter().filter(|size| **size >= n).count() as f64 / 100_000.0;
        assert!((at_least(2) - 0.5).abs() < 0.01, "{}", at_least(2));
        assert!((at_least(100) - 0.01).abs() < 0.003, "{}", at_least(100));
        assert!(sizes.iter().all(|size| (1..=1_000).contains(size)));
        assert!(sizes.contains(&1_000));
    }

    #[test]
    fn a_sample_has_no_item_twice() {
        let mut chance = Chance::new(3);
        let mut drawn = chance.sample((0..50).collect(), 20);
        drawn.sort_unstable();
        drawn.dedup();
        assert_eq!(drawn.len(), 20);
        assert_eq!(chance.sample(vec![1, 2], 5).len(), 2);
    }
}
