//! The moments of a signal's innovations beside their scatter: autocorrelation, skewness, and the
//! mean of what the test adds up. How they are learned, and how much of each is believed and
//! removed. Which samples are learned, and when the removal is renewed, is the baseline's.

use super::{Baseline, NOISE_MEMORY, SCALE_MIN, STILL_SHARE};

/// The strongest autocorrelation that is removed. Beyond it a signal is a random walk, of which
/// only what a sample adds says anything: one that keeps 2 % of its distance from a level each time
/// still wanders for hundreds of samples, and every one of its paths is a trend.
const PERSISTENCE_MAX: f64 = 0.998;

/// Innovations count up to so many standard deviations for the skewness, lest one decide it.
pub(super) const SKEWNESS_REACH: f64 = 4.0;

/// Skewness beyond this (an exponential distribution's) is not removed, and below it (a tenth of a
/// standard deviation at five) there is none.
const SKEWNESS_MAX: f64 = 2.0;
const SKEWNESS_MIN: f64 = 0.025;

/// Standardised innovations count up to here for their mean, lest one decide it.
const MEAN_REACH: f64 = 4.0;

impl Baseline {
    /// An innovation as it would be without skewness (Wilson and Hilferty, "The distribution of
    /// chi-square", PNAS 17, 1931, in the standardised form of Pearson's type III): counts and
    /// latencies reach further up than down.
    ///
    /// On its short side that distribution ends. What lies beyond, the fit says, cannot be; so it
    /// counts at least for what it would without the fit. (For the end of the support itself an
    /// outlier of any size would be an ordinary value.)
    pub(super) fn symmetric(&self, innovation: f64) -> f64 {
        if self.skewness == 0.0 {
            return innovation;
        }
        let inside = 1.0 + self.skewness / 2.0 * innovation / self.sigma;
        let root = inside.max(0.0).cbrt();
        let symmetric = self.sigma * (6.0 / self.skewness * (root - 1.0) + self.skewness / 6.0);
        if inside < 0.0 && symmetric.abs() < innovation.abs() { innovation } else { symmetric }
    }

    /// `share` is what one sample counts for.
    pub(super) fn learn_persistence(&mut self, before: f64, now: f64, reach: f64, share: f64) {
        let (before, now) = (before.clamp(-reach, reach), now.clamp(-reach, reach));
        self.product += (before * now - self.product) * share;
        self.square += (f64::midpoint(before * before, now * now) - self.square) * share;
    }

    pub(super) fn learn_skewness(&mut self, innovation: f64, share: f64) {
        let standard = innovation / self.sigma;
        let clipped = standard.clamp(-SKEWNESS_REACH, SKEWNESS_REACH);
        let cube = clipped.powi(3);
        self.narrow_excess += (clipped * clipped - 1.0 - self.narrow_excess) * share;
        self.cube += (cube - self.cube) * share;
        self.cube_square += (cube * cube - self.cube_square) * share;
    }

    pub(super) fn learn_mean(&mut self, standard: f64, share: f64) {
        let clipped = standard.clamp(-MEAN_REACH, MEAN_REACH);
        self.mean += (clipped - self.mean) * share;
        self.mean_square += (clipped * clipped - self.mean_square) * share;
    }

    /// The autocorrelation, corrected for its bias in short series (Kendall 1954), and one standard
    /// error up: too little removed makes false alarms, too much only delays. Negative ones stay,
    /// for the same reason.
    pub(super) fn estimate_persistence(&self) -> f64 {
        if self.square <= SCALE_MIN {
            return 0.0;
        }
        let count = self.noise_samples.min(f64::from(NOISE_MEMORY));
        let raw = (self.product / self.square).clamp(-1.0, 1.0);
        let unbiased = (raw + (1.0 + 3.0 * raw) / count).clamp(-1.0, 1.0);
        let error = ((1.0 - unbiased * unbiased) / count).sqrt();
        let chance = believed(unbiased / error, count);
        (chance * (unbiased + error)).clamp(0.0, PERSISTENCE_MAX)
    }

    /// What a deviation still counts for in the mean of so many samples after it: none of a signal
    /// that stands still.
    pub(in crate::detect) fn carried(&self, deviation: f64, samples: f64) -> f64 {
        if self.still > STILL_SHARE {
            return 0.0;
        }
        let left = self.persistence * (1.0 - self.persistence.powf(samples));
        deviation * left / ((1.0 - self.persistence) * samples)
    }

    /// The skewness: none unless it is believed.
    pub(super) fn estimate_lean(&self) -> f64 {
        let count = self.noise_samples.min(f64::from(NOISE_MEMORY));
        let error = (self.cube_square / count).sqrt().max(SCALE_MIN);
        believed(self.cube / error, count) * self.cube
    }

    /// How much of it is removed.
    pub(super) fn removed_skewness(&self) -> f64 {
        let skewness = self.lean.clamp(-SKEWNESS_MAX, SKEWNESS_MAX);
        if skewness.abs() < SKEWNESS_MIN { 0.0 } else { skewness }
    }

    /// The part of the mean that is removed. The level is where clipped deviations balance, and a
    /// standardised leap counts for its logarithm: of a signal that leaps up now and then and
    /// slides down in between, what is left does not average to nothing, and its sum, which is what
    /// the test looks at, would drift for ever.
    ///
    /// Pooled towards nothing by the non-negative garrote, below √(ln n) standard errors (half the
    /// square of the universal threshold that a season's harmonics have): noise alone seldom leaves
    /// anything, and a small shift that is not seen yet is not taken for what the signal is like.
    pub(super) fn estimate_center(&self) -> f64 {
        let count = self.noise_samples.min(f64::from(NOISE_MEMORY));
        let variance = (self.mean_square / count).max(SCALE_MIN);
        let square = (self.mean * self.mean).max(SCALE_MIN);
        self.mean * (1.0 - count.ln() * variance / square).max(0.0)
    }
}

/// How likely it is that an estimate of so many standard errors is of something, not of nothing,
/// when both are as likely beforehand (Schwarz, "Estimating the dimension of a model", Annals of
/// Statistics 6, 1978).
pub(super) fn believed(errors: f64, count: f64) -> f64 {
    1.0 / (1.0 + count.sqrt() * (-errors * errors / 2.0).exp())
}
