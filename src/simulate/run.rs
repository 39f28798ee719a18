//! A simulated recording: a life sampled at an interval, with acts at given times. What tests of
//! the pipeline feed on; needs no database.

use std::collections::BTreeMap;

use chrono::TimeDelta;

use super::{acts::Act, life::Life};
use crate::{fleet::Snapshot, series::Time};

/// One sample of a simulated recording.
#[derive(Clone, Debug)]
pub struct Sample {
    /// When.
    pub at: Time,
    /// The fleet's cohorts.
    pub snapshot: Snapshot,
    /// What Prometheus would say: see `Life::metrics`.
    pub metrics: BTreeMap<String, f64>,
    /// Rows of `device` written so far.
    pub device_rows_written: u64,
}

/// A simulated recording: a life sampled at an interval, with acts at given times.
#[derive(Clone, Debug)]
pub struct Run {
    life: Life,
    interval: TimeDelta,
    end: Time,
    /// Latest first.
    script: Vec<(Time, Act)>,
    next: Time,
    device_id_max: Option<i64>,
}

impl Run {
    /// Samples `life` from its present to `end`, both included. An act at the instant of a sample
    /// is seen by that sample; acts before the life's present are left out.
    pub fn new(life: Life, interval: TimeDelta, end: Time, mut script: Vec<(Time, Act)>) -> Run {
        assert!(interval > TimeDelta::zero(), "samples have a positive interval: {interval}");
        script.retain(|(at, _)| *at >= life.now());
        script.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
        let next = life.now();
        Run { life, interval, end, script, next, device_id_max: None }
    }

    /// The life as of the latest sample.
    pub fn life(&self) -> &Life {
        &self.life
    }
}

impl Iterator for Run {
    type Item = Sample;

    fn next(&mut self) -> Option<Sample> {
        let at = self.next;
        if at > self.end {
            return None;
        }
        while let Some((act_at, act)) = self.script.pop_if(|(act_at, _)| *act_at <= at) {
            self.life.live_until(act_at);
            self.life.act(&act);
        }
        self.life.live_until(at);
        self.next = at + self.interval;
        let fleet = self.life.fleet();
        let snapshot = fleet.snapshot(at, self.device_id_max);
        self.device_id_max = Some(snapshot.device_id_max);
        let device_rows_written = fleet.device_rows_written();
        Some(Sample { at, snapshot, metrics: self.life.metrics(), device_rows_written })
    }
}
