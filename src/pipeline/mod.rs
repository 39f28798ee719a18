//! The pure composition: an observation in, changed incidents and recordable values out. Owns all
//! detector and incident state; knows no clock, database or socket.

mod announced;
mod arrival;
mod blast_radius;
mod blindness;
mod budgets;
mod context;
mod fleet_watch;
mod growth;
mod intake;
mod irregularity;
mod jobs;
mod known;
mod mass;
mod presence;
mod proposals;
mod recognition;
mod services;
mod signal_watch;
mod state;
#[cfg(test)]
mod tests;
mod upgrade;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    budget::MONTH_DAYS,
    change_event::ChangeEvent,
    diagnose::{declared::Declared, displacement::Displacement},
    incident::{CauseRecord, Change, Incident},
    observation::{Observation, Outcome},
    series::{SignalSettings, Time},
    values::Values,
};

pub use budgets::{Tally, Watching};
pub use context::Posted;
pub use irregularity::{Irregularity, IrregularityKind};
use known::Known;
pub use state::{STATE_VERSION, State};
use state::{Subject, Watch};
pub use upgrade::{Restored, STATE_VERSION_OLDEST};

/// A month of the budgets, in seconds.
const MONTH_S: f64 = MONTH_DAYS * 86_400.0;

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
    /// What drives what.
    pub graph: Declared,
    /// Incident ids count 1, 2, …; otherwise they carry the detection time, so that an id is never
    /// used twice even if the store is lost.
    pub plain_ids: bool,
}

/// What one observation brought about.
#[derive(Clone, Debug, Default)]
pub struct Step {
    /// Values to record, by signal, flows included. Missing ones are absent.
    pub values: Values,
    /// How new each value is to the detector of its signal, in 0..1, where 0.5 is the threshold and
    /// 0 says that nothing can alarm yet. Of flows, only their breadth is judged; what is not
    /// judged is absent.
    pub anomalies: Values,
    /// Changes detected at this observation.
    pub changes: Vec<Change>,
    /// Incidents opened or altered, as they now are.
    pub incidents: Vec<Incident>,
    /// Changes that were seen in the database.
    pub events: Vec<ChangeEvent>,
    /// What was wrong with the input (a gap, a repeat, a row out of order), for the log and a
    /// counter.
    pub irregularities: Vec<Irregularity>,
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
    /// Alarms that its detector has raised, those included that went away again.
    #[serde(default)]
    pub alarms: u64,
    /// Seconds in which it could have raised one.
    #[serde(default)]
    pub judged_s: f64,
    /// False alarms per 30 days that its threshold allows it; `None` where no detector judges.
    #[serde(default)]
    pub budget_per_month: Option<f64>,
}

/// Everything that is watched, as it stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Standing {
    /// Every signal.
    pub signals: Vec<SignalStatus>,
    /// What was told, and in how much time.
    pub tally: Tally,
    /// Pages without an event that the budget allows, per 30 days.
    pub pages_per_month: f64,
    /// The same for warnings, with what signals may bring by budgets of their own.
    pub warnings_per_month: f64,
}

/// The pipeline.
#[derive(Clone, Debug)]
pub struct Pipeline {
    settings: Settings,
    state: State,
    /// Incidents that this step opened or altered, by id, as they were left.
    touched: BTreeMap<String, Incident>,
    /// Within a step: where owners stood before an incident that another one follows.
    inherited: Option<Inherited>,
}

/// Where owners stood before an incident.
#[derive(Clone, Debug)]
struct Inherited {
    displacement: Displacement,
    /// By application: pinned devices, and what else the cause counts.
    pinned_before: BTreeMap<i64, u64>,
    counted_before: BTreeMap<i64, u64>,
}

impl Pipeline {
    /// A pipeline that continues from `state` (`State::default()` for a first start).
    pub fn new(settings: Settings, mut state: State) -> Pipeline {
        for (signal, watched) in &mut state.signals {
            watched.known = Known::of(signal, &settings.graph);
        }
        Pipeline { settings, state, touched: BTreeMap::new(), inherited: None }
    }

    /// Takes one observation. Deterministic: the same observations give the same steps.
    pub fn step(&mut self, observation: &Observation) -> Step {
        let mut step = Step::default();
        let at = observation.at;
        if !self.admit(observation, &mut step) {
            return step;
        }
        let mut sample = None;
        match &observation.outcome {
            Outcome::Failed(failure) => self.miss(&observation.source, at, failure),
            Outcome::Sampled(reading) if self.is_stale(observation, reading, &mut step) => {
                self.stand_still(&observation.source, at, reading.behind_s);
                self.take_accounting(at, reading);
            }
            Outcome::Sampled(reading) => {
                self.found(&observation.source, at);
                let intake = self.take(observation, reading, &mut step);
                self.watch_fleet(&intake);
                self.watch_signals(&intake, &mut step);
                self.watch_presence(&intake);
                self.follow_announced(&intake);
                self.state.tally.sampled(at, self.settings.interval_s);
                sample = Some(intake);
            }
        }
        self.notice_migrations(at, &mut step);
        self.consider(at, sample.as_ref());
        self.recognise(at);
        self.propose_acceptance(at);
        for index in 0..self.state.watches.len() {
            self.tally(index);
        }
        if let Some(intake) = sample {
            step.values = intake.recordable;
        }
        step.incidents = std::mem::take(&mut self.touched).into_values().collect();
        step
    }

    /// What to store. Resuming from it gives the same output to the bit.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The latest observation of a source.
    pub fn latest(&self, source: &str) -> Option<Time> {
        self.state.sources.get(source)?.latest_at
    }

    /// Seconds between two samples of a source.
    pub fn interval_s(&self) -> f64 {
        self.settings.interval_s
    }

    /// Every signal as it stands.
    pub fn signals(&self) -> Vec<SignalStatus> {
        self.state.signals.values().map(|watched| watched.status.clone()).collect()
    }

    /// Everything that is watched, as it stands.
    pub fn standing(&self) -> Standing {
        Standing {
            signals: self.signals(),
            tally: self.state.tally,
            pages_per_month: self.settings.false_pages_per_month,
            warnings_per_month: self.warnings_budget(),
        }
    }

    /// Forgets the signals that `is_given` denies, by source and name: a configuration may have
    /// lost some since the state was stored, and nobody misses those.
    pub fn retain_signals(&mut self, is_given: impl Fn(&str, &str) -> bool) {
        self.state.signals.retain(|signal, watched| is_given(&watched.source, signal));
    }

    /// Incidents that are open, oldest first.
    pub fn incidents(&self) -> Vec<&Incident> {
        self.state.watches.iter().map(|watch| &watch.incident).collect()
    }

    /// An operator accepts the present state as the new normal: resolves the incident. `None` if
    /// there is no such open incident.
    pub fn accept(&mut self, id: &str, at: Time) -> Option<Incident> {
        let index = self.state.watches.iter().position(|watch| watch.incident.id == id)?;
        let incident = &mut self.state.watches[index].incident;
        incident.accepted_at = Some(at);
        incident.note(at, "Accepted by an operator as the new normal.");
        self.close(index, at, "an operator accepted it")
    }

    /// An operator says that the diagnosis is wrong: resolves the incident. `None` if there is no
    /// such open incident.
    pub fn reject(&mut self, id: &str, at: Time) -> Option<Incident> {
        let index = self.state.watches.iter().position(|watch| watch.incident.id == id)?;
        let incident = &mut self.state.watches[index].incident;
        incident.rejected_at = Some(at);
        let incident = incident.clone();
        self.state.tally.rejected(&incident);
        self.remember_rejection(index, at);
        self.close(index, at, "an operator rejected it")
    }

    /// Takes an observation of the past in, to learn from it: whatever it would have told is left
    /// out.
    pub fn learn(&mut self, observation: &Observation) {
        let (watches, opened) = (self.state.watches.clone(), self.state.incidents_opened);
        let tally = self.state.tally;
        // What was announced is not spent by what is long past.
        let events = std::mem::take(&mut self.state.events);
        self.step(observation);
        self.state.events = events;
        let after = std::mem::replace(&mut self.state.watches, watches);
        self.state.incidents_opened = opened;
        self.state.tally = tally;
        self.unsay(&after);
    }

    /// Signals whose detectors have learned nothing, though they were seen, and can learn from the
    /// past: their counters begin anew with it.
    pub fn forgotten_signals(&mut self) -> BTreeSet<String> {
        let forgotten = self.state.signals.iter_mut().filter(|(signal, watched)| {
            let was_seen = watched.raw.is_some() && watched.away_from.is_none();
            was_seen && watched.status.samples == 0 && !known::is_flow(signal)
        });
        let names = forgotten.map(|(signal, watched)| {
            watched.raw = None;
            signal.to_string()
        });
        names.collect()
    }

    /// Takes one value of the past in, for the detector of one signal alone: everything else has
    /// seen it.
    pub fn relearn(&mut self, signal: &str, at: Time, value: f64) {
        let shares = self.warning_shares(at);
        let alpha = self.warning_alpha(signal, shares);
        let Some(level) = self.level_of(signal, at, value, &mut Step::default()) else { return };
        if let Some(watched) = self.state.signals.get_mut(signal) {
            let settings = watched.detector_settings(signal, alpha, &self.settings);
            let verdict = watched.detector.step(&settings, signal, at, level);
            (watched.status.samples, watched.status.cold) = (verdict.samples, verdict.cold);
            watched.judged.latest_at = Some(at);
        }
    }

    /// Signals whose loss was told in watches that are not kept are told again.
    fn unsay(&mut self, discarded: &[Watch]) {
        let lost = |watches: &[Watch]| -> BTreeSet<String> {
            let subjects = watches.iter().filter_map(|watch| match &watch.subject {
                Subject::Lost(known) => Some(&known.signals),
                _ => None,
            });
            subjects.flatten().cloned().collect()
        };
        let kept = lost(&self.state.watches);
        for signal in lost(discarded).difference(&kept) {
            if let Some(watched) = self.state.signals.get_mut(signal.as_str()) {
                watched.presence.unsay();
            }
        }
    }

    /// Ends an incident by an operator's word: its signals' levels are the new normal.
    fn close(&mut self, index: usize, at: Time, why: &str) -> Option<Incident> {
        let watch = &self.state.watches[index];
        let id = watch.incident.id.clone();
        let accepted = watch.incident.accepted_at.is_some();
        let (own, source) = match &watch.subject {
            Subject::Signal(signal) => (Some(signal.clone()), None),
            Subject::Source(source) => (None, Some(source.clone())),
            _ => (None, None),
        };
        let symptoms = watch.incident.symptoms.iter().map(|symptom| symptom.signal.clone());
        for signal in symptoms.chain(own).collect::<BTreeSet<String>>() {
            if let Some(watched) = self.state.signals.get_mut(signal.as_str()) {
                watched.rebase();
            }
        }
        if let Some(source) = source {
            self.believe_standing(&source, accepted);
        }
        self.resolve(index, at, why);
        self.touched.remove(&id)
    }

    /// Opens an incident and returns where it stands among the watches.
    fn open(
        &mut self,
        record: CauseRecord,
        candidates: Vec<(crate::incident::Cause, f64)>,
        subject: Subject,
    ) -> usize {
        self.state.incidents_opened += 1;
        let number = self.state.incidents_opened;
        let id = if self.settings.plain_ids {
            number.to_string()
        } else {
            format!("{}-{number}", record.detected_at.format("%Y%m%dT%H%M%SZ"))
        };
        let mut incident = Incident {
            id,
            causes: Vec::new(),
            candidates,
            symptoms: Vec::new(),
            timeline: Vec::new(),
            notifications: Vec::new(),
            resolved_at: None,
            accepted_at: None,
            rejected_at: None,
            familiar: None,
            proposes_acceptance_since: None,
        };
        let opened_at = record.detected_at;
        incident.join(record);
        self.state.watches.push(Watch::new(incident, subject, opened_at));
        self.touch(self.state.watches.len() - 1)
    }

    /// Marks an incident as altered in this step.
    fn touch(&mut self, index: usize) -> usize {
        let incident = &self.state.watches[index].incident;
        self.touched.insert(incident.id.clone(), incident.clone());
        index
    }

    /// Counts the notifications of an incident that were not counted yet.
    fn tally(&mut self, index: usize) {
        let watch = &mut self.state.watches[index];
        let notifications = &watch.incident.notifications;
        self.state.tally.told(notifications.get(watch.tallied..).unwrap_or_default());
        watch.tallied = notifications.len();
    }

    /// Ends an incident and says why. Indices behind it move up by one.
    fn resolve(&mut self, index: usize, at: Time, why: &str) {
        self.tally(index);
        self.spend_announced(index);
        let mut watch = self.state.watches.remove(index);
        watch.incident.resolved_at = Some(at);
        watch.incident.proposes_acceptance_since = None;
        watch.incident.note(at, format!("Resolved: {why}."));
        self.touched.insert(watch.incident.id.clone(), watch.incident);
    }
}
