//! A signal that mostly stands still: what its moves are held against.
//!
//! A move no larger than others before it is held against those by a bound that needs no model. So
//! is a larger one, of a measured signal: it may be an error of any size. Numbers read from rows
//! have no such errors, and what moves them comes and goes in groups whose sizes have a tail: there
//! the largest moves that were seen say what lies beyond them, by the model that fits them better.

use super::{super::spread::Stillness, Baseline, STILL_SHARE};

impl Baseline {
    /// How often a signal that stands still ordinarily moves in one direction: each is as likely.
    /// `None` for a signal that scatters.
    pub fn move_chance(&self) -> Option<f64> {
        let least = 1.0 / (self.samples as f64 + 1.0);
        (self.still > STILL_SHARE).then(|| ((1.0 - self.still) / 2.0).max(least))
    }

    /// What moves are held against.
    pub(super) fn stillness(&self, exact: bool) -> Stillness<'_> {
        Stillness { moves: &self.moves, unit: self.unit(), foresees: exact }
    }
}
