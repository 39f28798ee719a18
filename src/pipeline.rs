//! The pure composition: an observation in, changed incidents and recordable values out. Owns all
//! detector and incident state; knows no clock, database or socket.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    incident::{Change, Incident},
    series::{Observation, Time},
};

/// What the pipeline needs to know of the configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Seconds between two samples of a source.
    pub interval_s: f64,
    /// Upper limit for pages without an event, per 30 days, over all signals.
    pub false_pages_per_month: f64,
    /// The same for warnings.
    pub false_warnings_per_month: f64,
    /// User signals and overrides of built-in ones, by name.
    pub signals: BTreeMap<String, SignalSettings>,
    /// The sources that should deliver, by name, and whether each is a fleet database.
    pub sources: BTreeMap<String, SourceSettings>,
    /// Incident ids count 1, 2, …; otherwise they carry the detection time, so that an id is never
    /// used twice even if the store is lost.
    pub plain_ids: bool,
}

/// What is configured of one signal.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SignalSettings {
    /// Signals that this one drives.
    pub drives: Vec<String>,
    /// Only this direction matters.
    pub direction: Option<crate::incident::Direction>,
    /// Smaller changes do not matter, in the signal's unit.
    pub min_change: Option<f64>,
}

/// What is configured of one source.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SourceSettings {
    /// The signals that it should deliver; empty: those of `open_balena`.
    pub signals: Vec<String>,
}

/// What one observation brought about.
#[derive(Clone, Debug, Default)]
pub struct Step {
    /// Values to record, by signal, flows included. Missing ones are absent.
    pub values: BTreeMap<String, f64>,
    /// Changes detected at this observation.
    pub changes: Vec<Change>,
    /// Incidents opened or altered, as they now are.
    pub incidents: Vec<Incident>,
    /// What was wrong with the input (a gap, a repeat, a row out of order), for the log and a counter.
    pub irregularities: Vec<Irregularity>,
}

/// Something wrong with the input that was handled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Irregularity {
    /// `gap`, `duplicate`, `out_of_order`, `counter_reset`, `not_finite`.
    pub kind: &'static str,
    /// In words.
    pub message: String,
}

/// One signal as `/signals` and `/metrics` show it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SignalStatus {
    /// The signal.
    pub signal: String,
    /// The source that delivers it.
    pub source: String,
    /// The latest present value (per second for a counter), and when.
    pub value: Option<f64>,
    /// When that was.
    pub at: Option<Time>,
    /// What was expected, with the band in which ordinary values lie.
    pub expected: Option<f64>,
    /// Lower end of the band.
    pub expected_low: Option<f64>,
    /// Upper end of the band.
    pub expected_high: Option<f64>,
    /// The test statistic over its threshold: 1 alarms.
    pub score: Option<f64>,
    /// The threshold of the statistic, in its own unit.
    pub threshold: Option<f64>,
    /// Where the threshold comes from: `prior`, `history`, `budget`, in words.
    pub threshold_origin: String,
    /// Samples that the signal's history holds.
    pub samples: u64,
    /// What cannot be seen yet, if anything.
    pub cold: Option<String>,
    /// The part of its change that nothing explains, in its own unit.
    pub unexplained: Option<f64>,
}

/// All state of detection and diagnosis, to be stored with every batch and restored on start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Bumped when the shape changes in a way that serde cannot read.
    pub version: u32,
}

/// The pipeline.
#[derive(Clone, Debug)]
pub struct Pipeline {
    settings: Settings,
    state: State,
}

impl Pipeline {
    /// A pipeline that continues from `state` (`State::default()` for a first start).
    pub fn new(settings: Settings, state: State) -> Pipeline {
        Pipeline { settings, state }
    }

    /// Takes one observation. Deterministic: the same observations give the same steps.
    pub fn step(&mut self, observation: &Observation) -> Step {
        let _ = observation;
        Step::default()
    }

    /// What to store. Resuming from it gives the same output to the bit.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Every signal as it stands.
    pub fn signals(&self) -> Vec<SignalStatus> {
        let _ = &self.settings;
        Vec::new()
    }

    /// Incidents that are open, and the resolved ones that this run still remembers.
    pub fn incidents(&self) -> Vec<&Incident> {
        Vec::new()
    }

    /// An operator accepts the present state as the new normal: resolves the incident. `None` if there
    /// is no such open incident.
    pub fn accept(&mut self, id: &str, at: Time) -> Option<Incident> {
        let _ = (id, at);
        None
    }

    /// An operator says that the diagnosis is wrong. `None` if there is no such open incident.
    pub fn reject(&mut self, id: &str, at: Time) -> Option<Incident> {
        let _ = (id, at);
        None
    }
}
