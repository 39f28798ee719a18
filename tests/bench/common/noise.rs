//! Noise of known distribution from seeded generators, sample by sample, with or without a shift.
//!
//! A slot is a sampling interval; a noise with gaps has slots without a sample. A shift is counted
//! in standard deviations of the innovations (σ below): what of a sample cannot be foreseen.
//!
//! | noise | sample in slot t, shift δ | σ |
//! |---|---|---|
//! | N(0,1) | z + δ, z independent and standard normal | 1 |
//! | t(3) | Student t with 3 degrees of freedom + δσ | √3 |
//! | Laplace | density e^-∣x∣ / 2, + δσ | √2 |
//! | AR(φ) | y + δ, y = φ y' + z: the observed level shifts, not the innovations | 1 |
//! | Poisson(λ) | Poisson with mean λ + δσ | √λ |
//! | NB + season | negative binomial of size 10 with mean 20 (1 + 0.5 sin(2π t/day)) + δσ | √60 |
//! | NB(m, r) | negative binomial of mean m and size r, + δσ in the mean | √(m + m²/r) |
//! | bursts q | zero; in a share q + δσ of slots 10 U^(-2/3), rounded down | √(q (1 − q)) |
//! | N + season A | z + A sin(2π t/day) + δ | 1 |
//! | N, 2 % gaps | z + δ in 98 % of slots, chosen independently | 1 |
//!
//! A day has 5,760 slots of 15 s, and each run begins at an hour of its own. Autoregressions begin
//! in their stationary distribution. The size r of a negative binomial makes the variance
//! m + m²/r; its σ is that at the season's middle, where m is 20.

use std::f64::consts::TAU;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Slots of 15 s in a day.
pub(crate) const DAY_SLOTS: u64 = 5_760;

/// The share of slots without a sample, in a noise with gaps.
const GAP_SHARE: f64 = 0.02;

/// The mean of the negative binomial counts over a day.
const COUNT_MEAN: f64 = 20.0;

/// The season's amplitude of those counts, as a share of the mean.
const COUNT_SEASON: f64 = 0.5;

/// The size (dispersion) of those counts.
pub(crate) const COUNT_SIZE: u32 = 10;

/// A kind of noise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Noise {
    /// Independent and normal.
    Normal,
    /// Student t with 3 degrees of freedom.
    Student,
    /// Two-sided exponential.
    Laplace,
    /// Autoregressive of first order, with normal innovations.
    Autoregressive(f64),
    /// Poisson counts.
    Poisson(f64),
    /// Negative binomial counts of a mean and a size.
    NegativeBinomial(f64, u32),
    /// Bursts of any size in this share of slots, else zero. Its mean is how often.
    Bursts(f64),
    /// Negative binomial counts with a daily season.
    SeasonalCounts,
    /// Normal around a daily season of this amplitude.
    Seasonal(f64),
    /// Normal, with slots that have no sample.
    Gappy,
}

impl Noise {
    /// Every noise of the measurements, in the order of their tables.
    pub(crate) const ALL: [Noise; 12] = [
        Noise::Normal,
        Noise::Student,
        Noise::Laplace,
        Noise::Autoregressive(0.3),
        Noise::Autoregressive(0.7),
        Noise::Autoregressive(0.9),
        Noise::Poisson(1.0),
        Noise::Poisson(20.0),
        Noise::SeasonalCounts,
        Noise::Seasonal(0.5),
        Noise::Seasonal(2.0),
        Noise::Gappy,
    ];

    /// Counts whose falls are measured.
    pub(crate) const COUNTS: [Noise; 8] = [
        Noise::Poisson(0.3),
        Noise::Poisson(1.0),
        Noise::Poisson(5.0),
        Noise::Poisson(20.0),
        Noise::NegativeBinomial(20.0, 10),
        Noise::NegativeBinomial(1.0, 1),
        Noise::Bursts(0.1),
        Noise::Bursts(0.01),
    ];

    /// Its name in tables.
    pub(crate) fn name(self) -> String {
        match self {
            Noise::Normal => "N(0,1)".to_owned(),
            Noise::Student => "t(3)".to_owned(),
            Noise::Laplace => "Laplace".to_owned(),
            Noise::Autoregressive(share) => format!("AR({share})"),
            Noise::Poisson(mean) => format!("Poisson({mean})"),
            Noise::NegativeBinomial(mean, size) => format!("NB({mean}, {size})"),
            Noise::Bursts(share) => format!("bursts {share}"),
            Noise::SeasonalCounts => "NB + season".to_owned(),
            Noise::Seasonal(amplitude) => format!("N + season {amplitude}σ"),
            Noise::Gappy => "N, 2 % gaps".to_owned(),
        }
    }

    /// The standard deviation of its innovations: a shift of 1.
    pub(crate) fn deviation(self) -> f64 {
        match self {
            Noise::Normal | Noise::Autoregressive(_) | Noise::Seasonal(_) | Noise::Gappy => 1.0,
            Noise::Student => 3.0_f64.sqrt(),
            Noise::Laplace => 2.0_f64.sqrt(),
            Noise::Poisson(mean) => mean.sqrt(),
            Noise::NegativeBinomial(mean, size) => (mean + mean * mean / f64::from(size)).sqrt(),
            Noise::Bursts(share) => (share * (1.0 - share)).sqrt(),
            Noise::SeasonalCounts => {
                (COUNT_MEAN + COUNT_MEAN * COUNT_MEAN / f64::from(COUNT_SIZE)).sqrt()
            }
        }
    }

    /// The mean of counts, over a day.
    pub(crate) fn mean(self) -> f64 {
        match self {
            Noise::Poisson(mean) | Noise::NegativeBinomial(mean, _) | Noise::Bursts(mean) => mean,
            Noise::SeasonalCounts => COUNT_MEAN,
            _ => 0.0,
        }
    }

    /// A stream of the generator of its own, whatever else is measured beside it.
    fn stream(self) -> u64 {
        let index = Noise::ALL.iter().position(|noise| *noise == self);
        index.map_or(0, |index| index as u64 + 1)
    }
}

/// A noise that goes on from slot to slot. A copy of it goes on by itself.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    noise: Noise,
    random: ChaCha8Rng,
    /// The second normal value of a pair.
    spare: Option<f64>,
    /// The last value of an autoregression.
    last: f64,
    /// The slot of the day at which the run began.
    begun_slot: u64,
    slot: u64,
}

impl Source {
    /// The noise of one run.
    pub(crate) fn new(noise: Noise, seed: u64) -> Source {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        random.set_stream(noise.stream());
        let begun_slot = random.random_range(0..DAY_SLOTS);
        let mut source = Source { noise, random, spare: None, last: 0.0, begun_slot, slot: 0 };
        if let Noise::Autoregressive(share) = noise {
            source.last = source.normal() / (1.0 - share * share).sqrt();
        }
        source
    }

    /// The slot that comes next, counted from the run's beginning.
    pub(crate) fn slot(&self) -> u64 {
        self.slot
    }

    /// The same past, and a future of its own.
    pub(crate) fn reseed(&mut self, seed: u64) {
        self.random = ChaCha8Rng::seed_from_u64(seed);
        // No stream of a beginning has this number.
        self.random.set_stream(self.noise.stream() + Noise::ALL.len() as u64);
        self.spare = None;
    }

    /// The mean of a seasonal noise in the next slot, without a shift.
    pub(crate) fn seasonal_mean(&self) -> f64 {
        let days = (self.begun_slot + self.slot) as f64 / DAY_SLOTS as f64;
        let season = (TAU * days).sin();
        match self.noise {
            Noise::SeasonalCounts => COUNT_MEAN * (1.0 + COUNT_SEASON * season),
            Noise::Seasonal(amplitude) => amplitude * season,
            _ => self.noise.mean(),
        }
    }

    /// The next slot's sample; `None` if it has none. `shift` is in standard deviations.
    pub(crate) fn sample(&mut self, shift: f64) -> Option<f64> {
        let offset = shift * self.noise.deviation();
        let mean = self.seasonal_mean() + offset;
        self.slot += 1;
        Some(match self.noise {
            Noise::Normal | Noise::Seasonal(_) => mean + self.normal(),
            Noise::Student => mean + self.student(3),
            Noise::Laplace => mean + self.laplace(),
            Noise::Autoregressive(share) => {
                self.last = share * self.last + self.normal();
                self.last + offset
            }
            Noise::Poisson(_) => self.poisson(mean),
            Noise::NegativeBinomial(_, size) => {
                let rate = mean * self.gamma(size) / f64::from(size);
                self.poisson(rate)
            }
            Noise::Bursts(_) => {
                let size = (10.0 * self.uniform().powf(-2.0 / 3.0)).floor();
                if self.uniform() < mean { size } else { 0.0 }
            }
            Noise::SeasonalCounts => {
                let rate = mean * self.gamma(COUNT_SIZE) / f64::from(COUNT_SIZE);
                self.poisson(rate)
            }
            Noise::Gappy => {
                let value = mean + self.normal();
                return (self.uniform() >= GAP_SHARE).then_some(value);
            }
        })
    }

    /// In (0, 1].
    fn uniform(&mut self) -> f64 {
        1.0 - self.random.random::<f64>()
    }

    /// Standard normal, in pairs (Box and Muller 1958).
    fn normal(&mut self) -> f64 {
        if let Some(value) = self.spare.take() {
            return value;
        }
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        let (sine, cosine) = (TAU * self.uniform()).sin_cos();
        self.spare = Some(radius * sine);
        radius * cosine
    }

    /// Student t with whole degrees of freedom.
    fn student(&mut self, freedom: u32) -> f64 {
        let square: f64 = (0..freedom).map(|_| self.normal().powi(2)).sum();
        self.normal() / (square / f64::from(freedom)).sqrt()
    }

    fn laplace(&mut self) -> f64 {
        let size = -self.uniform().ln();
        if self.uniform() > 0.5 { size } else { -size }
    }

    /// Gamma with a whole shape and scale 1: a sum of exponentials.
    fn gamma(&mut self, shape: u32) -> f64 {
        (0..shape).map(|_| -self.uniform().ln()).sum()
    }

    /// A Poisson count (Knuth's product of uniforms); of means below some hundred.
    fn poisson(&mut self, mean: f64) -> f64 {
        let end = (-mean).exp();
        let (mut product, mut count) = (self.uniform(), 0.0);
        while product > end {
            product *= self.uniform();
            count += 1.0;
        }
        count
    }
}
