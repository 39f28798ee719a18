//! The smallest step that a signal can make, as far as its values tell, and what follows from it
//! for its scatter.

use super::{Baseline, SCALE_MIN};

/// Decimal places that count as a signal's resolution; with more it is taken for continuous.
const DECIMALS_MAX: u8 = 6;

/// The resolution of a continuous signal, relative to its level: finer than any noise, coarser than
/// the rounding of whoever computed it.
const CONTINUOUS_UNIT: f64 = 1e-9;

impl Baseline {
    /// The smallest move that the signal can make, as far as its values tell: one count, or one in
    /// the last decimal place; for a continuous signal a billionth of its level.
    pub(super) fn unit(&self) -> f64 {
        if self.decimals > DECIMALS_MAX {
            return (self.level.now().abs() * CONTINUOUS_UNIT).max(SCALE_MIN);
        }
        10f64.powi(-i32::from(self.decimals))
    }

    /// Rounding to a unit alone scatters by this much (a uniform distribution's standard
    /// deviation).
    pub(super) fn scale_min(&self) -> f64 {
        self.unit() / 12f64.sqrt()
    }

    /// An innovation's size for the histogram. Below a quarter of a unit it says nothing of the
    /// scatter.
    pub(super) fn countable(&self, innovation: f64) -> f64 {
        innovation.abs().max(self.unit() / 4.0)
    }

    /// Whether the signal has values below zero, and how finely it is given.
    pub(super) fn note_kind(&mut self, value: f64) {
        self.unsigned = if value < 0.0 { 0 } else { self.unsigned.saturating_add(1) };
        while self.decimals <= DECIMALS_MAX {
            let scaled = value * 10f64.powi(i32::from(self.decimals));
            // Decimal fractions are off by a few roundings of a double.
            if (scaled - scaled.round()).abs() <= 1e-9_f64.max(4.0 * f64::EPSILON * scaled.abs()) {
                break;
            }
            self.decimals += 1;
        }
    }
}
