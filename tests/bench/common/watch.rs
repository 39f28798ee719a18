//! A detector with its clock and its noise: the quiet part before a measurement, and the wait for
//! an alarm after it.

use chrono::{DateTime, TimeDelta};
use headwater::{
    detect::{Detector, Settings, Verdict},
    series::Time,
};

use super::{
    change::Change,
    command_line::Options,
    noise::{Noise, Source},
    statistics::Figure,
};

/// Seconds between two samples.
pub(crate) const INTERVAL_S: i64 = 15;

/// A Monday at midnight, UTC: where every run begins.
const BEGIN_UNIX_S: i64 = 1_704_067_200;

/// No false alarm comes before a shift that is measured: one in as many samples.
pub(crate) const ARL_SILENT: f64 = 1e9;

/// A change that is not seen within so many samples counts as seen then, and is shown as missed.
pub(crate) const DELAY_MAX: u64 = 20_000;

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

/// How many histories, and how many futures of each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Runs {
    /// Detectors, each with a history of its own.
    pub(crate) histories: u64,
    /// Copies of each.
    pub(crate) futures: u64,
}

/// Detectors that have seen quiet samples only.
pub(crate) fn watches(options: &Options, noise: Noise, history: u64, runs: Runs) -> Vec<Watch> {
    options.each(runs.histories, |run| {
        let mut watch = Watch::new(Source::new(noise, options.seed + run), ARL_SILENT);
        watch.quiet(history);
        watch
    })
}

/// A copy of a detector that goes on with a future of its own, at a nominal run length.
pub(crate) fn future(
    options: &Options,
    watch: &Watch,
    run: u64,
    future: u64,
    nominal: f64,
) -> Watch {
    let mut watch = watch.clone();
    watch.source.reseed((options.seed + run) * 1_000_003 + future);
    watch.set_arl(nominal);
    watch
}

/// The mean delay, and the number of futures in which the change was missed.
pub(crate) fn delay(
    options: &Options,
    watches: &[Watch],
    futures: u64,
    nominal: f64,
    change: Change,
) -> (Figure, u64) {
    let means = options.each(watches.len() as u64, |run| {
        let (mut sum, mut missed) = (0, 0);
        for index in 0..futures {
            let mut watch = future(options, &watches[run as usize], run, index, nominal);
            let delay = watch.until_alarm(DELAY_MAX, |sample| change.at(sample));
            sum += delay.unwrap_or(DELAY_MAX);
            missed += u64::from(delay.is_none());
        }
        (sum as f64 / futures as f64, missed)
    });
    let missed = means.iter().map(|(_, missed)| missed).sum();
    (Figure::mean(&means.into_iter().map(|(mean, _)| mean).collect::<Vec<_>>()), missed)
}
