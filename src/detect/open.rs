//! A change that has been raised and has not returned: when it does. Raises nothing itself.

use serde::{Deserialize, Serialize};

use super::baseline::Ordinary;
use crate::incident::Change;

/// A change has returned when its absence explains the latest samples better by this
/// log-likelihood. A lasting change thus seems to return about once in e^10 = 22,000 samples (four
/// days at 15 s).
const RETURN_LOG_ODDS: f64 = 10.0;

/// Deviations beyond this many standard deviations count as this many: their squares stay finite.
const SIGMAS_MAX: f64 = 1e60;

/// An alarm that has not returned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Open {
    /// The change as it was raised.
    pub change: Change,
    /// Samples since the one that raised it.
    pub samples: u64,
    /// Log-likelihood ratio of the old level against the new one, never below zero.
    return_log_odds: f64,
    /// The latest sample's distance from the old level.
    last: f64,
}

impl Open {
    /// A change that was raised at this sample.
    pub fn new(change: Change) -> Open {
        let last = change.after - change.before;
        Open { change, samples: 0, return_log_odds: 0.0, last }
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
        let shift = self.change.after - self.change.before;
        // If the sample belongs to the new level, and if to the old one. The previous sample
        // belonged to the new level still, unless the evidence already says otherwise.
        let stayed = sigmas(distance - shift - scatter.persistence * (last - shift));
        let left = if self.return_log_odds > 0.0 { last } else { last - shift };
        let returned = sigmas(distance - scatter.persistence * left);
        let log_odds = self.return_log_odds + (stayed * stayed - returned * returned) / 2.0;
        // More than the threshold says nothing more.
        self.return_log_odds = log_odds.clamp(0.0, RETURN_LOG_ODDS);
        in_band && self.return_log_odds >= RETURN_LOG_ODDS
    }
}
