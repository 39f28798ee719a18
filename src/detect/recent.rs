//! A sample that is still remembered, as small as it can be: there are sixteen of them a signal.

use serde::{Deserialize, Serialize};

use crate::series::Time;

/// A sample that is still remembered.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "(Time, f64, f32)", from = "RecentOfAnyVersion")]
pub(super) struct Recent {
    pub(super) at: Time,
    pub(super) value: f64,
    /// Standardised; single precision is plenty for an onset's interval.
    pub(super) innovation: f32,
}

// Without field names the stored state is a fifth shorter.
impl From<Recent> for (Time, f64, f32) {
    fn from(sample: Recent) -> (Time, f64, f32) {
        (sample.at, sample.value, sample.innovation)
    }
}

/// States used to hold the season of each sample as well.
#[derive(Deserialize)]
#[serde(untagged)]
enum RecentOfAnyVersion {
    Now((Time, f64, f32)),
    WithSeason((Time, f64, f64, f32)),
}

impl From<RecentOfAnyVersion> for Recent {
    fn from(stored: RecentOfAnyVersion) -> Recent {
        let (at, value, innovation) = match stored {
            RecentOfAnyVersion::Now(sample) => sample,
            RecentOfAnyVersion::WithSeason((at, value, _, innovation)) => (at, value, innovation),
        };
        Recent { at, value, innovation }
    }
}
