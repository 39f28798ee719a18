//! Whether a change that is open is a ramp or a shift. At the moment of an alarm they are hardly to
//! be told apart (the best shift explains eight ninths of what a ramp explains), so the question is
//! put to the samples that follow. Knows nothing of levels or seasons, and raises nothing.
//!
//! A sequential test with one boundary: the odds are believed once they are 95 to 5 for a ramp,
//! which those of a shift ever become in one case of twenty (Ville 1939; Robbins, "Statistical
//! methods related to the law of the iterated logarithm", Annals of Mathematical Statistics 41,
//! 1970). A ramp that began L samples before the alarm, and a shift that fits it since m samples
//! with a mean of μ: under the ramp the mean of the k samples after the alarm is `μ (L + (k + 1) /
//! 2) / (L - m / 2)`, under the shift it is μ again. The best shift goes back two thirds of a ramp;
//! since noise decides with it, several lengths are as likely.

use serde::{Deserialize, Serialize};

/// The natural logarithm of 95 to 5: one answer in twenty may be wrong, either way.
const DECIDED_LOG_ODDS: f64 = 2.944_438_979_166_44;

/// Lengths of the ramp before the alarm, in those of the best shift: two thirds are expected.
const LENGTHS: [f64; 4] = [1.0, 1.5, 2.0, 3.0];

/// The share of samples in which a signal on a ramp moves, if it stood still before.
const MOVING_SHARE: f64 = 0.5;

/// What is known of an open change's shape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Shape {
    /// Samples since the onset at the alarm, and their mean innovation in the change's direction,
    /// in standard deviations.
    samples: f64,
    mean: f64,
    /// Samples since the alarm, and the sum of their innovations in the change's direction.
    later: f64,
    later_sum: f64,
    /// For a signal that stands still: the chance of an ordinary move in this direction, and how
    /// many of the later samples moved so.
    moves: Option<Moves>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Moves {
    chance: f64,
    count: u32,
}

impl Shape {
    /// A change that was raised with so many samples since its onset, of this mean innovation in
    /// its direction. `move_chance` is how often a signal that stands still ordinarily moves in
    /// this direction; `None` for one that scatters.
    pub fn new(samples: f64, mean: f64, move_chance: Option<f64>) -> Shape {
        let moves = move_chance.map(|chance| Moves { chance, count: 0 });
        Shape { samples, mean, later: 0.0, later_sum: 0.0, moves }
    }

    /// Samples since the onset at the alarm.
    pub fn samples(&self) -> f64 {
        self.samples
    }

    /// Takes the innovation of a later sample, positive in the change's direction.
    pub fn observe(&mut self, innovation: f64) {
        self.later += 1.0;
        self.later_sum += innovation;
        if let Some(moves) = &mut self.moves {
            moves.count += u32::from(innovation > 0.0);
        }
    }

    /// The odds are 95 to 5 for a ramp. Of shifts one in twenty ever gets here, however long one
    /// waits (Ville's inequality); a ramp gets here sooner or later.
    pub fn is_ramp(&self) -> bool {
        self.log_odds() >= DECIDED_LOG_ODDS
    }

    /// The odds are 95 to 5 for a shift.
    pub fn is_shift(&self) -> bool {
        self.log_odds() <= -DECIDED_LOG_ODDS
    }

    /// How long before the alarm a line through the means before and after it begins, in samples:
    /// never less than the shift does.
    pub fn ramp_samples(&self) -> f64 {
        let rise = self.later_sum / self.later - self.mean;
        // The middles of the two means are so far apart.
        let apart = (self.samples + self.later) / 2.0;
        let length = self.samples / 2.0 + apart * self.mean / rise;
        if rise > 0.0 {
            length.clamp(self.samples, LENGTHS[LENGTHS.len() - 1] * self.samples)
        } else {
            self.samples
        }
    }

    /// The log-likelihood ratio of a ramp against a shift.
    fn log_odds(&self) -> f64 {
        match self.moves {
            _ if self.later == 0.0 || self.samples == 0.0 => 0.0,
            Some(moves) => moves.log_odds(self.later),
            None => self.growth_log_odds(),
        }
    }

    /// That ratio of the later samples' mean, for a mean before them that has an error itself.
    fn growth_log_odds(&self) -> f64 {
        let later_mean = self.later_sum / self.later;
        let likelihood = |factor: f64| {
            let variance = 1.0 / self.later + factor * factor / self.samples;
            let error = later_mean - factor * self.mean;
            (-error * error / variance / 2.0, variance.sqrt())
        };
        let middle = (self.later + 1.0) / (2.0 * self.samples);
        let (shift, deviation) = likelihood(1.0);
        let ramps = LENGTHS.map(|length| {
            let (ramp, wider) = likelihood((length + middle) / (length - 0.5));
            (ramp - shift).exp() * deviation / wider
        });
        (ramps.iter().sum::<f64>() / LENGTHS.len() as f64).ln()
    }
}

impl Moves {
    /// The log-likelihood ratio of moves in every other sample against those at the ordinary rate:
    /// what moves more often than not scatters, and does not stand still any more.
    fn log_odds(&self, samples: f64) -> f64 {
        let moved = f64::from(self.count);
        moved * (MOVING_SHARE / self.chance).ln()
            + (samples - moved) * ((1.0 - MOVING_SHARE) / (1.0 - self.chance)).ln()
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::detect::noise::normal;

    /// Samples that are taken after the alarm, as a multiple of those before it.
    const PATIENCE: usize = 40;

    /// The share of changes that are called ramps, of which the level before the alarm is that of
    /// `samples` samples whose last is at `level(0)`.
    fn called_ramps(samples: usize, level: impl Fn(f64) -> f64) -> f64 {
        let mut random = ChaCha8Rng::seed_from_u64(samples as u64);
        let runs = 1_000;
        let called = (0..runs).filter(|_| {
            let mut at = |sample: f64| level(sample) + normal(&mut random);
            let before = (0..samples).map(|age| at(-(age as f64))).sum::<f64>();
            let mut shape = Shape::new(samples as f64, before / samples as f64, None);
            (1..PATIENCE * samples).any(|sample| {
                shape.observe(at(sample as f64));
                shape.is_ramp()
            })
        });
        called.count() as f64 / f64::from(runs)
    }

    #[test]
    fn of_shifts_one_in_twenty_at_most_is_called_a_ramp() {
        for (samples, size) in [(1, 6.0), (4, 2.5), (16, 1.2), (64, 0.6)] {
            let share = called_ramps(samples, |_| size);
            // Of a thousand, 5 % have a standard error of 0.7 %.
            assert!(share < 0.065, "{samples} samples: {share}");
        }
    }

    #[test]
    fn ramps_are_told_whatever_their_slope() {
        for samples in [4, 16, 64] {
            // It began half as many samples again before the alarm, and is at 5 / √m there: what an
            // alarm needs.
            let length = 1.5 * samples as f64;
            let height = 5.0 / (samples as f64).sqrt();
            let share = called_ramps(samples, |sample| height * (1.0 + sample / length));
            assert!(share > 0.97, "{samples} samples: {share}");
        }
    }

    #[test]
    fn a_ramp_begins_where_its_line_does() {
        // A line without noise, of 1 a sample for 30 samples; the best shift is 20 long.
        let mean = (11..=30).map(f64::from).sum::<f64>() / 20.0;
        let mut shape = Shape::new(20.0, mean, None);
        (31..=45).for_each(|sample| shape.observe(f64::from(sample)));
        assert!((shape.ramp_samples() - 30.5).abs() < 1e-9, "{}", shape.ramp_samples());
    }

    #[test]
    fn what_stood_still_is_on_a_ramp_when_it_goes_on_moving() {
        let moves = |after: &[f64]| {
            let mut shape = Shape::new(1.0, 5.0, Some(0.01));
            after.iter().for_each(|innovation| shape.observe(*innovation));
            (shape.is_ramp(), shape.is_shift())
        };
        assert_eq!(moves(&[]), (false, false));
        assert_eq!(moves(&[4.0]), (true, false));
        // In batches, with pauses.
        assert_eq!(moves(&[0.0, 0.0, 4.0, 0.0, 0.0, 4.0]), (true, false));
        assert_eq!(moves(&[0.0; 6]), (false, true));
        assert_eq!(moves(&[-4.0; 6]), (false, true));
    }
}
