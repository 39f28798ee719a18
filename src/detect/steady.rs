//! Whether the level that an open change has reached stays: its distances from the old one, held
//! against their own mean one step ahead (`further`'s recursive residuals), go through the same
//! sequential test upwards and downwards, at the signal's own threshold. Where it says that the
//! level has moved, another one is looked at from there. Raises nothing itself.

use serde::{Deserialize, Serialize};

use super::{Detector, baseline::Ordinary, family::Law, focus::Focus, further::Residuals};
use crate::series::Time;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Steady {
    /// The first sample of the present level.
    since: Option<Time>,
    residuals: Residuals,
    up: Focus,
    down: Focus,
}

impl Steady {
    /// Since when the level has stayed.
    pub fn since(&self) -> Option<Time> {
        self.since
    }

    /// Takes the next sample's distance from the old level.
    pub fn observe(&mut self, ordinary: &Ordinary, at: Time, distance: f64, threshold: f64) {
        if self.since.is_some() {
            let standard = self.residuals.standard(ordinary, distance, threshold);
            self.up.push(standard, at, distance);
            self.down.push(-standard, at, distance);
            let law = Law::normal(0.0);
            if self.up.score_from(&law).max(self.down.score_from(&law)) <= threshold {
                return;
            }
        }
        *self = Steady {
            since: Some(at),
            residuals: Residuals::new(distance, 1.0),
            ..Steady::default()
        };
    }
}

impl Detector {
    /// How far the signal has gone with the change that is open, in the mean since its onset.
    pub fn away(&self) -> Option<f64> {
        let open = self.open.as_ref()?;
        let told = (open.change.after - open.change.before).abs();
        Some(if open.distance() == 0.0 { told } else { open.distance().abs() })
    }

    /// Since when the level that the open change has reached has stayed.
    pub fn steady_since(&self) -> Option<Time> {
        self.open.as_ref().and_then(|open| open.steady_since())
    }
}
