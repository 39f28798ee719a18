//! What falls of counts are held against: of signals that are never negative, scatter around a
//! level and are skewed as zero makes them. The level, the scatter and the skewness are
//! `baseline`'s; the likelihood is `family`'s.
//!
//! A flow that is zero most of the time stands still as moves go: a lone leap of it is held against
//! its earlier leaps, which needs no model, and that stays so. But no move shows that counts have
//! ceased to come. Its fall is therefore tested beside its moves, with the level that is learned
//! all the while. There bursts count up to the reach of the level only, so that in effect it is
//! tested how often something happens, whatever the size; and flows that come in spells are known
//! by the scatter of their blocks' means. To expect such a flow at its level upwards, too, would be
//! unsafe: no fit to its many zeros foresees its bursts.

use super::{
    super::family::{Counts, Fall, Moments},
    Baseline, Expectation, NOISE_MEMORY, STILL_SHARE,
    moments::{SKEWNESS_REACH, believed},
};
use crate::series::Direction;

impl Baseline {
    /// The signal is never negative and scatters around a level, even if it repeats its last value
    /// most of the time: the level foresees the next value better than the last one does, which is
    /// so up to an autocorrelation of a half.
    fn is_flow(&self) -> bool {
        let unsigned = self.unsigned >= self.samples.min(u64::from(NOISE_MEMORY));
        unsigned && self.product < self.square / 2.0
    }

    /// It mostly stands still, and zero is among its ordinary values.
    pub(super) fn is_still_flow(&self) -> bool {
        self.still > STILL_SHARE && self.is_flow() && self.level.now() < self.reach()
    }

    /// What falls are held against at a time, with its season, by how much the scatter is wider
    /// than the fitted one, and what the last deviation still counts for then.
    pub(super) fn fall(&self, season: f64, widening: f64, persistence: f64) -> Option<Fall> {
        if self.lean <= 0.0 || !self.is_flow() || !self.level.is_settled() {
            return None;
        }
        let level = self.level.now() + season;
        let root = (1.0 + self.narrow_excess).max(0.0).sqrt();
        let (mut deviation, mut reach) = (self.sigma * root, SKEWNESS_REACH * self.sigma);
        let mut clustering = 1.0;
        if self.still > STILL_SHARE {
            // No scale fits bursts. What they count for the level they count here, so that falls
            // are zero in the mean as long as nothing changes.
            (deviation, reach) = ((self.square * self.unforeseen()).sqrt(), self.reach());
            clustering = self.clustering(deviation);
        }
        let deviation = deviation * widening;
        let moments = Moments {
            mean: level,
            deviation,
            skewness: self.lean / (root * root * root),
            unit: self.unit(),
            clustering,
        };
        let counts = Counts::of(&moments)?;
        let expected = level + persistence * self.last_deviation();
        Some(Fall { level, expected, deviation, reach: reach * widening / deviation, counts })
    }

    /// By how much more means of blocks scatter than the innovations between them explain, as far
    /// as that is believed (the mean of n squares has a relative error of √(2/n)).
    fn clustering(&self, deviation: f64) -> f64 {
        let share = 1.0 - self.persistence;
        let (variance, blocks) = self.level.block_variance();
        let excess = variance * share * share / (deviation * deviation) - 1.0;
        1.0 + believed(excess / (2.0 / blocks).sqrt(), blocks) * excess.max(0.0)
    }

    /// The innovation of a fall, positive below. The likelihood of counts is a function of their
    /// sum, so that it is in proportion to the count; but where sizes have heavier tails than
    /// counts, a size that is no rarer than others of its kind counts for no more.
    pub fn standardise_fall(&self, expected: &Expectation, fall: &Fall, value: f64) -> f64 {
        let innovation = fall.innovation(value);
        if expected.still || innovation <= 0.0 {
            return innovation;
        }
        innovation.min(self.fitted.standardise((fall.expected - value) / expected.widening))
    }

    /// The variance in that of a sample of the level that falls are held against.
    pub fn fall_error(&self) -> f64 {
        self.level.error()
    }

    /// A log-likelihood ratio of falls, for a scatter that is estimated.
    pub fn discount_fall(&self, ratio: f64) -> f64 {
        self.fitted.discount(ratio)
    }

    /// What a value counts for the level of a flow that mostly stands still: a lone burst is no
    /// level.
    pub fn countable_for_level(&self, value: f64) -> f64 {
        if !self.is_still_flow() {
            return value;
        }
        let (level, reach) = (self.level.now(), self.reach());
        value.clamp(level - reach, level + reach)
    }
}

impl Expectation {
    /// What changes in this direction are held against, if they are falls of counts.
    pub fn fall_in(&self, direction: Direction) -> Option<&Fall> {
        self.fall.as_ref().filter(|_| direction == Direction::Down)
    }

    /// The fall of a signal that mostly stands still, which is tested beside its moves.
    pub fn fall_beside_moves(&self) -> Option<&Fall> {
        self.fall.as_ref().filter(|_| self.still)
    }
}
