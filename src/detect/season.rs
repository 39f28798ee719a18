//! A signal's day and week: what its level and its scatter ordinarily are at this time of them.
//! Composes three `profile`s; each learns from what the others leave.

use serde::{Deserialize, Serialize};

use super::profile::{Profile, Shape};

/// Quarters of an hour, for samples that are at most so far apart.
const DAY: Shape = Shape { parts: 96, part_s: 900, lag: 12, memory_periods: 21.0 };

/// Hours, for samples further apart than a quarter of one.
const DAY_IN_HOURS: Shape = Shape { parts: 24, part_s: 3_600, lag: 3, memory_periods: 21.0 };

/// Hours: where a weekend begins, and how much less a day swings at weekends, is known to one. Two
/// hours leave a twentieth of such a swing between their middles, which alarms.
const WEEK: Shape = Shape { parts: 168, part_s: 3_600, lag: 24, memory_periods: 8.0 };

/// The variance of the logarithm of a normal value's size: π²/8.
const LOG_SIZE_VARIANCE: f64 = 1.233_7;

/// The times of day and week, and what is ordinary at them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Season {
    day: Profile,
    week: Profile,
    /// The logarithm of the scatter.
    scatter: Profile,
}

/// What a time of day and of week adds to the level.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Times {
    day: f64,
    week: f64,
}

impl Times {
    /// What one of them adds.
    pub fn of(self, recurrence: Recurrence) -> f64 {
        match recurrence {
            Recurrence::Day => self.day,
            Recurrence::Week => self.week,
        }
    }

    /// Both together.
    pub fn sum(self) -> f64 {
        self.day + self.week
    }
}

/// What a profile is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recurrence {
    /// The time of day.
    Day,
    /// The time of week.
    Week,
}

/// What became of a sample that a season took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// A part of the day ended.
    pub part_ended: bool,
    /// The season was believed, or disbelieved: the level without it.
    pub level: Option<f64>,
}

/// The parts of a day for samples so far apart; `None` beyond an hour, where there is no day.
fn day_shape(interval_s: f64) -> Option<Shape> {
    if interval_s <= DAY.part_s as f64 {
        Some(DAY)
    } else if interval_s <= DAY_IN_HOURS.part_s as f64 {
        Some(DAY_IN_HOURS)
    } else {
        None
    }
}

impl Season {
    /// By how much the level is above its mean at this time.
    pub fn at(&self, at_s: f64) -> Times {
        if !self.is_believed() {
            return Times::default();
        }
        let shape = if self.day.is_of(DAY) { DAY } else { DAY_IN_HOURS };
        Times { day: self.day.at(shape, at_s), week: self.week.at(WEEK, at_s) }
    }

    /// By what factor the scatter is wider than its mean at this time.
    pub fn scatter_at(&self, at_s: f64) -> f64 {
        if !self.scatter.is_believed() {
            return 1.0;
        }
        self.scatter.at(DAY_IN_HOURS, at_s).exp()
    }

    /// Takes an ordinary sample: what is ordinary at its time, its value, the variance of its noise
    /// in a mean, and the logarithm of its innovation's size.
    pub fn observe(
        &mut self,
        at_s: f64,
        interval_s: f64,
        times: Times,
        value: f64,
        noise: f64,
        size_ln: f64,
    ) -> Progress {
        let Some(shape) = day_shape(interval_s) else {
            return Progress { part_ended: true, level: None };
        };
        let believed = (self.day.is_believed(), self.week.is_believed());
        let whole_s = at_s as i64;
        let part_ended = self.day.observe(shape, whole_s, value - times.week, noise);
        self.week.observe(WEEK, whole_s, value - times.day, noise);
        self.scatter.observe(DAY_IN_HOURS, whole_s, size_ln, LOG_SIZE_VARIANCE);
        let mut level = None;
        if self.day.is_believed() != believed.0 {
            level = Some(self.day.period_mean());
            if self.day.is_believed() {
                self.day_is_known();
            }
        }
        if self.week.is_believed() != believed.1 {
            level = Some(self.week.period_mean());
        }
        Progress { part_ended, level }
    }

    /// Takes a sample of a change, which teaches what is not believed yet: nothing tells a change
    /// from a time of day, or of week, until then. What is believed learns nothing of it. Gives
    /// back what is believed now.
    pub fn observe_change(
        &mut self,
        at_s: f64,
        interval_s: f64,
        times: Times,
        value: f64,
        (noise, reach): (f64, f64),
    ) -> Option<Recurrence> {
        let shape = day_shape(interval_s)?;
        let whole_s = at_s as i64;
        if !self.day.is_believed() {
            self.day.observe(shape, whole_s, value - times.week, noise);
            if self.day.is_believed() {
                self.day_is_known();
                return Some(Recurrence::Day);
            }
        }
        if !self.week.is_believed() {
            let value = self.week.teachable(WEEK, whole_s, value - times.day, reach);
            self.week.observe(WEEK, whole_s, value, noise);
            if self.week.is_believed() {
                return Some(Recurrence::Week);
            }
        }
        None
    }

    /// What was learned of a week without its days is a week of days, which are taken out from here
    /// on: unless it is believed as it is, it begins anew.
    fn day_is_known(&mut self) {
        if !self.week.is_believed() {
            self.week = Profile::default();
        }
    }

    /// Whether a day or a week is believed.
    pub fn is_believed(&self) -> bool {
        self.day.is_believed() || self.week.is_believed()
    }

    /// The level moved for good.
    pub fn level_moved(&mut self) {
        self.day.level_moved();
        self.week.level_moved();
    }
}
