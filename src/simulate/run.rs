//! A simulated recording: a life sampled at an interval, with acts at given times. What tests of
//! the pipeline feed on; needs no database.

use std::collections::BTreeMap;

use chrono::TimeDelta;

use super::{acts::Act, faults::Fault, life::Life};
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
    /// Latest first.
    faults: Vec<(Time, Fault)>,
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
        Run { life, interval, end, script, faults: Vec::new(), next, device_id_max: None }
    }

    /// The same with what breaks and when. A fault at the instant of an act comes after it.
    pub fn with_faults(mut self, mut faults: Vec<(Time, Fault)>) -> Run {
        faults.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
        self.faults = faults;
        self
    }

    /// The same life as it is after the latest sample, sampled on to another end with what happens
    /// until then. Both go on without each other.
    pub fn branch(&self, end: Time, script: Vec<(Time, Act)>, faults: Vec<(Time, Fault)>) -> Run {
        let run = Run::new(self.life.clone(), self.interval, end, script);
        Run { next: self.next, device_id_max: self.device_id_max, ..run.with_faults(faults) }
    }

    /// What is due next until `at`: acts and faults in the order of their times.
    fn live_until(&mut self, at: Time) {
        loop {
            let act = self.script.last().map(|(act_at, _)| *act_at).filter(|due| *due <= at);
            let fault = self.faults.last().map(|(due, _)| *due).filter(|due| *due <= at);
            let fault_first = fault.is_some_and(|fault| act.is_none_or(|act| fault < act));
            if fault_first {
                let Some((fault_at, fault)) = self.faults.pop() else { break };
                self.life.live_until(fault_at);
                self.life.suffer(fault);
            } else {
                let Some((act_at, act)) = self.script.pop_if(|(due, _)| *due <= at) else { break };
                self.life.live_until(act_at);
                self.life.act(&act);
            }
        }
        self.life.live_until(at);
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
        self.live_until(at);
        self.next = at + self.interval;
        let fleet = self.life.fleet();
        let snapshot = fleet.snapshot(at, self.device_id_max);
        self.device_id_max = Some(snapshot.device_id_max);
        let device_rows_written = fleet.device_rows_written();
        Some(Sample { at, snapshot, metrics: self.life.metrics(), device_rows_written })
    }
}
