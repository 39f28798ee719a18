//! A change that has been raised and has not returned: when it does, whether it is a ramp, and
//! whether it goes on. Raises nothing itself.

use serde::{Deserialize, Serialize};

use super::{
    POINT_SAMPLES, RECENT_SAMPLES,
    baseline::Ordinary,
    further::{Further, Onward},
    ramp::Shape,
    sign,
    steady::Steady,
};
use crate::{
    incident::{Change, ChangeKind},
    series::{Time, seconds},
};

/// A change has returned when its absence explains the latest samples better by this
/// log-likelihood. A lasting change thus seems to return about once in e^10 = 22,000 samples (four
/// days at 15 s). It is chosen, and follows from no budget: a larger one notices the end of a small
/// change later.
const RETURN_LOG_ODDS: f64 = 10.0;

/// Deviations beyond this many standard deviations count as this many: their squares stay finite.
const SIGMAS_MAX: f64 = 1e60;

/// An alarm that has not returned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Open {
    /// The change as it was raised; its kind as it was told since.
    pub change: Change,
    /// Samples since the one that raised it.
    pub samples: u64,
    /// Log-likelihood ratio of the old level against the new one, never below zero.
    return_log_odds: f64,
    /// The latest sample's distance from the old level.
    last: f64,
    /// The mean distance from the old level since the onset, over so many samples; without the held
    /// ones, which may belong to the old level again.
    #[serde(default)]
    shift: Mean,
    #[serde(default)]
    held: Mean,
    /// Whether it is a ramp.
    #[serde(default)]
    shape: Shape,
    #[serde(default)]
    further: Further,
    /// How long it has been where it is.
    #[serde(default)]
    steady: Steady,
}

/// A mean of so many samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Mean {
    samples: f64,
    mean: f64,
}

impl Mean {
    fn add(&mut self, other: Mean) {
        self.samples += other.samples;
        if self.samples > 0.0 {
            self.mean += (other.mean - self.mean) * other.samples / self.samples;
        }
    }
}

impl Open {
    /// A change that was raised at this sample, so far away from the old level.
    pub fn new(change: Change, away: f64, shape: Shape) -> Open {
        let last = away;
        let shift = Mean { samples: shape.samples(), mean: away };
        let further = Further::new(away.abs(), shape.samples());
        let (held, return_log_odds, steady) = (Mean::default(), 0.0, Steady::default());
        Open { change, samples: 0, return_log_odds, last, shift, held, shape, further, steady }
    }

    /// Takes the distance of one more sample, positive in the change's direction. Tells of a change
    /// that has gone on to a level so far beyond the one that was told that it is another one.
    pub fn goes_on(
        &mut self,
        ordinary: &Ordinary,
        (at, distance): (Time, f64),
        threshold: f64,
    ) -> Option<Onward> {
        let size = (self.change.after - self.change.before).abs();
        let onward = self.further.observe(ordinary, (at, distance), size, threshold);
        // Until then its own level is not known, and a ramp's growth is its own.
        onward.filter(|_| self.samples >= RECENT_SAMPLES as u64 && self.is_told())
    }

    /// The change that it has become: from the same level, to another one.
    pub fn gone_on(&self, onward: Onward, at: Time, threshold: f64) -> Open {
        let (onset_low, onset_high) = onward.between;
        let change = Change {
            kind: ChangeKind::Shift,
            detected_at: at,
            onset: onward.onset,
            onset_low,
            onset_high,
            after: self.change.before + onward.distance * sign(self.change.direction),
            score: onward.score,
            threshold,
            ..self.change.clone()
        };
        let shape = match onward.innovation {
            Some(innovation) => Shape::new(onward.samples, innovation, None),
            None => self.shape,
        };
        Open::new(change, onward.distance * sign(self.change.direction), shape)
    }

    /// Takes the next sample's distance from the old level, to see whether the new one stays.
    pub fn settle(&mut self, ordinary: &Ordinary, at: Time, distance: f64, threshold: f64) {
        self.steady.observe(ordinary, at, distance, threshold);
    }

    /// Since when it has been where it is.
    pub fn steady_since(&self) -> Option<Time> {
        self.steady.since()
    }

    /// The mean distance from the old level since the onset.
    pub fn distance(&self) -> f64 {
        self.shift.mean
    }

    /// Takes the innovation of one more sample, positive in the change's direction. `true` when it
    /// told that the change is a ramp, whose onset may be as early as the ramp's beginning.
    pub fn is_now_a_ramp(&mut self, innovation: f64, interval_s: f64) -> bool {
        self.shape.observe(innovation);
        // What may still be a point is told once.
        let may_be_point = self.samples <= POINT_SAMPLES;
        if self.change.kind == ChangeKind::Ramp || may_be_point || !self.shape.is_ramp() {
            return false;
        }
        let length = seconds(self.shape.ramp_samples() * interval_s);
        let change = &mut self.change;
        change.kind = ChangeKind::Ramp;
        let begun = change.detected_at.checked_sub_signed(length);
        change.onset_low = change.onset_low.min(begun.unwrap_or(change.onset_low));
        true
    }

    /// The mean distance of the new level from the old one, and of how many samples it is, as far
    /// as there is a new level: a ramp has none.
    pub fn settled(&self) -> Option<(f64, f64)> {
        let Mean { samples, mean } = self.shift;
        (self.change.kind == ChangeKind::Shift).then_some((mean, samples))
    }

    /// It has been told whether the change is a ramp or a shift.
    pub fn is_told(&self) -> bool {
        self.change.kind == ChangeKind::Ramp || self.shape.is_shift()
    }

    /// Takes one more sample. A signal that stands still has returned when it is in its band again.
    /// One that moves must also weigh against the change in a sequential test of the two levels
    /// (Page's), as a small shift never leaves the band.
    /// `distance` is the sample's from where the signal would be without the change.
    pub fn has_returned(&mut self, ordinary: &Ordinary, distance: f64) -> bool {
        self.samples += 1;
        let last = std::mem::replace(&mut self.last, distance);
        let in_band = distance.abs() <= ordinary.band;
        let Some(scatter) = ordinary.scatter else { return in_band };
        let sigmas = |size: f64| (size / scatter.sigma).clamp(-SIGMAS_MAX, SIGMAS_MAX);
        // The shift that raised the alarm is overstated, the more so the sooner it was seen: what
        // came since puts it right.
        let shift = self.shift.mean;
        // If the sample belongs to the new level, and if to the old one. The previous sample
        // belonged to the new level still, unless the evidence already says otherwise.
        let stayed = sigmas(distance - shift - scatter.persistence * (last - shift));
        let left = if self.return_log_odds > 0.0 { last } else { last - shift };
        let returned = sigmas(distance - scatter.persistence * left);
        let log_odds = self.return_log_odds + (stayed * stayed - returned * returned) / 2.0;
        // More than the threshold says nothing more.
        self.return_log_odds = log_odds.clamp(0.0, RETURN_LOG_ODDS);
        self.held.add(Mean { samples: 1.0, mean: distance });
        if self.return_log_odds == 0.0 {
            self.shift.add(std::mem::take(&mut self.held));
        }
        in_band && self.return_log_odds >= RETURN_LOG_ODDS
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::series::Direction;

    #[test]
    fn what_may_still_be_a_point_is_not_told_as_a_ramp() {
        let at = DateTime::UNIX_EPOCH;
        let change = Change {
            signal: "signal".to_owned(),
            kind: ChangeKind::Shift,
            detected_at: at,
            onset: at,
            onset_low: at,
            onset_high: at,
            direction: Direction::Up,
            before: 5.0,
            after: 6.0,
            score: 9.0,
            threshold: 8.0,
        };
        // What stood still moves again and again: a ramp at the first sample, by the odds.
        let mut open = Open::new(change, 1.0, Shape::new(1.0, 3.0, Some(1e-4)));
        let still = Ordinary { band: 0.1, scatter: None };
        let told = [(); 4].map(|()| {
            assert!(!open.has_returned(&still, 1.0));
            open.is_now_a_ramp(3.0, 15.0)
        });
        assert_eq!(told, [false, false, true, false]);
    }
}
