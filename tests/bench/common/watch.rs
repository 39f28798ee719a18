//! A detector with its clock and its noise: the quiet part before a measurement, and the wait for
//! an alarm after it.

use chrono::{DateTime, TimeDelta};
use headwater::{
    detect::{Detector, Settings, Verdict},
    series::Time,
};

use super::noise::Source;

/// Seconds between two samples.
pub(crate) const INTERVAL_S: i64 = 15;

/// A Monday at midnight, UTC: where every run begins.
const BEGIN_UNIX_S: i64 = 1_704_067_200;

/// No false alarm comes before a shift that is measured: one in as many samples.
pub(crate) const ARL_SILENT: f64 = 1e9;

/// The name of the signal.
pub(crate) const SIGNAL: &str = "signal";

/// The defaults of a measured signal, at a nominal average run length.
pub(crate) fn settings(arl: f64) -> Settings {
    Settings::of_measured(1.0 / arl, INTERVAL_S as f64)
}

/// The time of a slot.
pub(crate) fn time(slot: u64) -> Time {
    let seconds = BEGIN_UNIX_S + INTERVAL_S * slot as i64;
    DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
}

/// What became of a change after its alarm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Called {
    /// A ramp, after so many more samples.
    Ramp(u64),
    /// It was taken to have returned.
    Returned,
    /// A shift.
    Shift,
}

/// A detector that watches a noise. A copy goes on by itself.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    /// The detector.
    pub(crate) detector: Detector,
    /// Where its samples come from.
    pub(crate) source: Source,
    settings: Settings,
}

impl Watch {
    /// A detector that has seen nothing, at a nominal average run length.
    pub(crate) fn new(source: Source, arl: f64) -> Watch {
        Watch { detector: Detector::new(), source, settings: settings(arl) }
    }

    /// From here on the budget is another.
    pub(crate) fn set_arl(&mut self, arl: f64) {
        self.settings = settings(arl);
    }

    /// Takes the next slot; `None` if it has no sample.
    fn judge(&mut self, shift: f64) -> Option<Verdict> {
        let at = time(self.source.slot());
        let value = self.source.sample(shift)?;
        Some(self.detector.step(&self.settings, SIGNAL, at, value))
    }

    /// The same; whether the sample raised an alarm.
    fn step(&mut self, shift: f64) -> Option<bool> {
        self.judge(shift).map(|verdict| verdict.change.is_some())
    }

    /// Goes on after an alarm for so many slots at most.
    pub(crate) fn until_called(&mut self, most: u64, shift: impl Fn(u64) -> f64) -> Called {
        for sample in 1..=most {
            let Some(verdict) = self.judge(shift(sample)) else { continue };
            if verdict.ramp.is_some() {
                return Called::Ramp(sample);
            }
            if verdict.returned.is_some() {
                return Called::Returned;
            }
        }
        Called::Shift
    }

    /// Watches so many quiet samples. False alarms among them are accepted as the new normal, as a
    /// person would.
    pub(crate) fn quiet(&mut self, samples: u64) {
        let mut seen = 0;
        while seen < samples {
            let alarm = self.step(0.0);
            seen += u64::from(alarm.is_some());
            if alarm == Some(true) {
                self.detector.rebase();
            }
        }
        if self.detector.in_change().is_some() {
            self.detector.rebase();
        }
    }

    /// Samples until the first alarm, the one that raised it included; `None` if `most` brought
    /// none. `shift` is asked with the number of the sample, from 1.
    pub(crate) fn until_alarm(&mut self, most: u64, shift: impl Fn(u64) -> f64) -> Option<u64> {
        let mut seen = 0;
        while seen < most {
            match self.step(shift(seen + 1)) {
                Some(true) => return Some(seen + 1),
                Some(false) => seen += 1,
                None => {}
            }
        }
        None
    }
}
