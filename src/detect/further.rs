//! A change that goes on while it is open: a second, larger one of the same signal in the same
//! direction, which its own level before hides from the test that raised it.
//!
//! The values since the onset are held against their own mean, one step ahead: recursive residuals
//! (Brown, Durbin and Evans, "Techniques for testing the constancy of regression relationships over
//! time", JRSS B 37, 1975) are independent and N(0,1) for as long as the new level stays, though it
//! is only estimated, and go through the same sequential test as innovations do, at the same
//! threshold. A new level may scatter more than the old one: they are divided by their own scatter
//! where that is larger. Raises nothing itself.

use serde::{Deserialize, Serialize};

use super::{POINT_SAMPLES, baseline::Ordinary, dating::ONSET_DROP, family::Law, focus::Focus};
use crate::series::Time;

/// A change is told again when it has become so many times as large as it was told: however long it
/// grows, that is a logarithmic number of times.
const SIZES_MIN: f64 = 2.0;

/// The ordinary scatter counts as much as so many residuals.
const PRIOR_SAMPLES: f64 = 16.0;

/// Residuals beyond this count as this: their squares stay finite.
const SIGMAS_MAX: f64 = 1e60;

/// See the module. Distances are from the old level, positive in the change's direction.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Further {
    #[serde(flatten)]
    residuals: Residuals,
    /// All distances added up, to have the mean of those since any onset.
    sum: f64,
    test: Focus,
}

/// Distances from an old level, each as far as those before it do not predict it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Residuals {
    /// The mean distance.
    mean: f64,
    /// Samples that it is of.
    samples: f64,
    last: f64,
    residuals: f64,
    squares: f64,
}

/// How a change has gone on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Onward {
    /// The first sample of the level that it has reached.
    pub onset: Time,
    /// The earliest and the latest one that are nearly as likely.
    pub between: (Time, Time),
    /// Samples since the onset.
    pub samples: f64,
    /// Their mean distance.
    pub distance: f64,
    /// The same as a mean innovation, of a signal that scatters.
    pub innovation: Option<f64>,
    /// The log-likelihood ratio.
    pub score: f64,
}

impl Further {
    /// Of a change that was raised with this size as the mean of so many samples.
    pub fn new(size: f64, samples: f64) -> Further {
        Further { residuals: Residuals::new(size, samples), ..Further::default() }
    }

    /// Takes the next sample's distance. Tells of a level beyond the one that was told with `size`.
    pub fn observe(
        &mut self,
        ordinary: &Ordinary,
        (at, distance): (Time, f64),
        size: f64,
        threshold: f64,
    ) -> Option<Onward> {
        self.test.push(self.residuals.standard(ordinary, distance, threshold), at, self.sum);
        self.sum += distance;
        let best = self.test.best();
        let onset = best.onset.filter(|_| best.score > threshold)?;
        let mean = (self.sum - onset.level) / best.samples;
        if mean.min(distance) < SIZES_MIN * size {
            return None;
        }
        let law = Law::normal(0.0);
        let plausible = self.test.plausible(&law, best.score, ONSET_DROP);
        let between = plausible.fold((onset.at, onset.at), |(low, high), candidate| {
            (low.min(candidate.at), high.max(candidate.at))
        });
        let (onset, samples, score) = (onset.at, best.samples, best.score);
        let innovation = ordinary.scatter;
        let innovation = innovation.map(|it| mean * (1.0 - it.persistence) / it.sigma);
        Some(Onward { onset, between, samples, distance: mean, innovation, score })
    }
}

impl Residuals {
    /// Of a level that was so far away in the mean of so many samples.
    pub(super) fn new(distance: f64, samples: f64) -> Residuals {
        let samples = samples.max(1.0);
        Residuals { mean: distance, samples, last: distance, ..Residuals::default() }
    }

    /// Takes the next distance: its residual, N(0,1) for as long as the level stays.
    pub(super) fn standard(&mut self, ordinary: &Ordinary, distance: f64, threshold: f64) -> f64 {
        let (sigma, persistence) = match ordinary.scatter {
            Some(scatter) => (scatter.sigma, scatter.persistence),
            None => (ordinary.band, 0.0),
        };
        let residual = self.residual(sigma, persistence, distance);
        // One sample counts for no more than makes `POINT_SAMPLES` and one more of them alarm: what
        // goes away sooner was a point.
        let most = (2.002 * threshold / (POINT_SAMPLES as f64 + 1.0)).sqrt();
        let standard = (residual / self.scatter()).clamp(-most, most);
        self.residuals += 1.0;
        self.squares += residual * residual;
        standard
    }

    /// How far a distance lies from what those before it predict, in standard deviations.
    fn residual(&mut self, sigma: f64, persistence: f64, distance: f64) -> f64 {
        let unforeseen = distance - self.mean - persistence * (self.last - self.mean);
        let uncertainty = (1.0 + 1.0 / self.samples.max(1.0)).sqrt();
        // Of a mean that innovations show diluted by the autocorrelation.
        self.samples += 1.0;
        let weight = 1.0 / ((1.0 - persistence) * self.samples);
        self.mean += unforeseen * if weight.is_finite() { weight.clamp(0.0, 1.0) } else { 1.0 };
        self.last = distance;
        let sigmas = unforeseen / sigma.max(f64::MIN_POSITIVE);
        sigmas.clamp(-SIGMAS_MAX, SIGMAS_MAX) / uncertainty
    }

    /// How far residuals scatter, where that is more than they should.
    fn scatter(&self) -> f64 {
        ((PRIOR_SAMPLES + self.squares) / (PRIOR_SAMPLES + self.residuals)).sqrt().max(1.0)
    }
}
