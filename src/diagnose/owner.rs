//! An owner's own acts: which of them are worth a record. Nobody is notified of them, so the
//! measure is a list that a person can read: about one record a day and kind of act.

use std::collections::VecDeque;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use crate::series::Time;

/// Records wanted a day for each kind of act.
const RECORDS_PER_DAY: f64 = 1.0;
const DAY_S: f64 = 86_400.0;

/// Sizes of one kind of act (devices in one sample), as far back as they matter.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ActHistory {
    /// Samples seen.
    samples: f64,
    /// Devices in them, summed.
    devices: f64,
    /// The last day's sizes, largest first, each later than the one before it: its head is the
    /// maximum of the day, and no more is kept than could still become it.
    largest: VecDeque<(Time, u64)>,
}

impl ActHistory {
    /// Whether an act of `devices` stands out, and remembers it. Two conditions, both free of
    /// scale:
    ///
    /// - it is larger than any of the last 24 h; of exchangeable samples one a day is;
    /// - a geometric law about the mean of the history so far (one pseudo-sample of one device
    ///   before any) gives its size less than one sample a day, so that two devices after one are
    ///   no record.
    pub fn stands_out(&mut self, at: Time, devices: u64, interval_s: f64) -> bool {
        let rare = self.is_rare(devices, interval_s);
        let day = TimeDelta::seconds(DAY_S as i64);
        while self.largest.front().is_some_and(|(then, _)| at - *then >= day) {
            self.largest.pop_front();
        }
        let record = self.largest.front().is_none_or(|(_, size)| devices > *size);
        while self.largest.back().is_some_and(|(_, size)| *size <= devices) {
            self.largest.pop_back();
        }
        if devices > 0 {
            self.largest.push_back((at, devices));
        }
        self.samples += 1.0;
        self.devices += devices as f64;
        rare && record
    }

    /// Whether so large an act is rarer than one a day.
    pub fn is_rare(&self, devices: u64, interval_s: f64) -> bool {
        let mean = (1.0 + self.devices) / (1.0 + self.samples);
        let tail = (mean / (1.0 + mean)).powf(devices as f64);
        tail <= RECORDS_PER_DAY * interval_s / DAY_S
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
        assert!(!history.stands_out(at(1_515), 140, 15.0), "the larger one of the day stands");
        assert!(!history.clone().stands_out(at(1_500 + 86_000), 149, 15.0));
        assert!(history.stands_out(at(1_500 + 86_500), 149, 15.0), "a day later it is news again");
    }

    #[test]
    fn what_is_kept_is_bounded_by_what_can_still_be_the_largest() {
        let mut history = ActHistory::default();
        for sample in 0..10_000 {
            history.stands_out(at(sample * 15), (sample % 7) as u64, 15.0);
        }
        assert!(history.largest.len() <= 7, "{}", history.largest.len());
    }
}
