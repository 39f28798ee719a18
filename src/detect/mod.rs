//! Temporary.
#![allow(missing_docs)]
use crate::{
    incident::{Change, Direction},
    series::Time,
};
use serde::{Deserialize, Serialize};
pub struct Settings {
    pub false_alarms_per_sample: f64,
    pub direction: Option<Direction>,
    pub min_change: Option<f64>,
    pub exact: bool,
    pub interval_s: f64,
}
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Detector {
    x: u32,
}
pub struct Verdict {
    pub expected: Option<f64>,
    pub expected_low: Option<f64>,
    pub expected_high: Option<f64>,
    pub score: f64,
    pub threshold: Option<f64>,
    pub threshold_origin: String,
    pub samples: u64,
    pub cold: Option<String>,
    pub change: Option<Change>,
    pub returned: Option<Change>,
}
impl Detector {
    pub fn new() -> Detector {
        Detector::default()
    }
    pub fn step(&mut self, _s: &Settings, _signal: &str, _at: Time, _value: f64) -> Verdict {
        Verdict {
            expected: None,
            expected_low: None,
            expected_high: None,
            score: 0.0,
            threshold: None,
            threshold_origin: String::new(),
            samples: 0,
            cold: None,
            change: None,
            returned: None,
        }
    }
    pub fn rebase(&mut self) {}
    pub fn in_change(&self) -> Option<&Change> {
        None
    }
}
