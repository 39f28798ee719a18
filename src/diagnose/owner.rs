//! An owner's own acts: which of them are worth a record. Nobody is notified of them, so the
//! measure is a list that a person can read: about ten records a day and kind of act.

use std::collections::VecDeque;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use crate::series::Time;

/// Records wanted a day for each kind of act.
const RECORDS_PER_DAY: f64 = 10.0;
/// What happens less often than so many times a day is no ordinary act.
const RARE_PER_DAY: f64 = 1.0;
const DAY_S: f64 = 86_400.0;

/// Sizes of one kind of act (devices in one sample), as far back as they matter.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ActHistory {
    /// Samples seen.
    samples: f64,
    /// Devices in them, summed.
    devices: f64,
    /// The last day's sizes in the order of time, but for those that so many later ones exceed as
    /// records are wanted: no more is kept than could still be among the largest of a day.
    largest: VecDeque<(Time, u64)>,
}

impl ActHistory {
    /// Whether an act of `devices` stands out, and remembers it. Two conditions, both free of
    /// scale:
    ///
    /// - it is among the largest of the last 24 h, as many as records are wanted in them, or in
    ///   the part of them that has been seen: of exchangeable samples so many are;
    /// - a geometric law about the mean of the history so far (one pseudo-sample of one device
    ///   before any) gives its size in no more samples than that, so that two devices after one
    ///   are no record.
    pub fn stands_out(&mut self, at: Time, devices: u64, interval_s: f64) -> bool {
        let rare = self.tail(devices) <= RECORDS_PER_DAY * interval_s / DAY_S;
        let day = TimeDelta::seconds(DAY_S as i64);
        while self.largest.front().is_some_and(|(then, _)| at - *then >= day) {
            self.largest.pop_front();
        }
        let days = (self.samples * interval_s / DAY_S).min(1.0);
        let wanted = (RECORDS_PER_DAY * days).max(1.0) as usize;
        let exceeded_by = self.largest.iter().filter(|(_, size)| *size >= devices).count();
        self.samples += 1.0;
        self.devices += devices as f64;
        if devices > 0 {
            self.largest.push_back((at, devices));
            self.forget_exceeded();
        }
        rare && exceeded_by < wanted
    }

    fn forget_exceeded(&mut self) {
        let mut later: Vec<u64> = Vec::with_capacity(self.largest.len());
        let mut kept = VecDeque::with_capacity(self.largest.len());
        for (then, size) in self.largest.drain(..).rev() {
            let exceeding = later.iter().filter(|other| **other >= size).count();
            if exceeding < RECORDS_PER_DAY as usize {
                kept.push_front((then, size));
            }
            later.push(size);
        }
        self.largest = kept;
    }

    /// Whether so large an act is rarer than one a day.
    pub fn is_rare(&self, devices: u64, interval_s: f64) -> bool {
        self.tail(devices) <= RARE_PER_DAY * interval_s / DAY_S
    }

    /// The probability of an act at least as large in a sample.
    fn tail(&self, devices: u64) -> f64 {
        let mean = (1.0 + self.devices) / (1.0 + self.samples);
        (mean / (1.0 + mean)).powf(devices as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Time {
        Time::from_timestamp(1_569_188_000 + seconds, 0).unwrap()
    }

    #[test]
    fn a_script_over_an_application_stands_out_and_single_devices_do_not() {
        let mut history = ActHistory::default();
        for sample in 0..100 {
            assert!(!history.stands_out(at(sample * 15), u64::from(sample % 4 == 0), 15.0));
        }
        assert!(history.stands_out(at(1_500), 150, 15.0));
        assert!(!history.clone().stands_out(at(1_515), 140, 15.0), "of half an hour one is wanted");
        for sample in 101..5_760 {
            assert!(!history.stands_out(at(sample * 15), 0, 15.0));
        }
        for sample in 0..9 {
            assert!(history.stands_out(at(86_400 + sample * 15), 140, 15.0), "{sample}");
        }
        assert!(!history.stands_out(at(86_535), 140, 15.0), "ten of the day were as large");
        assert!(history.stands_out(at(86_550), 160, 15.0));
        assert!(
            history.stands_out(at(2 * 86_400 + 600), 140, 15.0),
            "a day later it is news again"
        );
    }

    #[test]
    fn what_is_kept_is_bounded_by_what_can_still_be_the_largest() {
        let mut history = ActHistory::default();
        for sample in 0..10_000 {
            history.stands_out(at(sample * 15), (sample % 7) as u64, 15.0);
        }
        assert!(history.largest.len() <= 7 * 10, "{}", history.largest.len());
    }
}
