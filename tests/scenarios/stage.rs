//! A simulated life before the pipeline, as two samplers would deliver it: the fleet's cohorts, and
//! a few seconds later what Prometheus says. Keeps what came of it. Judges nothing.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use chrono::TimeDelta;
use headwater::{
    incident::{Cause, Incident, Severity},
    observation::{Failure, FailureReason, Observation, Outcome, Reading},
    pipeline::{Pipeline, Settings as PipelineSettings, State},
    series::Time,
    simulate::{
        Settings,
        acts::Act,
        faults::Fault,
        fleet::Fleet,
        life::Life,
        run::{Run, Sample},
    },
    values::Values,
};

use super::rules::Rules;

/// Seconds between two samples.
pub(super) const INTERVAL_S: i64 = 15;

/// Prometheus is asked so many seconds after the database.
const METRICS_DELAY_S: i64 = 4;

/// A fleet's devices, applications and organisations.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Shape(pub(super) u64, pub(super) u64, pub(super) u64);

pub(super) const SMALL: Shape = Shape(1_000, 20, 8);
pub(super) const MODEST: Shape = Shape(5_000, 100, 30);
pub(super) const DEMO: Shape = Shape(20_000, 400, 60);
/// Few customers, of whom one is very large.
pub(super) const FEW: Shape = Shape(100_000, 1_500, 12);
/// Many applications with few devices: as many jobs as a fleet of hundreds of thousands has.
pub(super) const BUSY: Shape = Shape(20_000, 1_500, 200);
pub(super) const LARGE: Shape = Shape(100_000, 1_500, 200);
/// The fleet of the batched mass unpin.
pub(super) const NIGHTLY: Shape = Shape(150_000, 2_500, 400);
pub(super) const HUGE: Shape = Shape(300_000, 5_000, 800);

/// What a sampler does at a sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sampling {
    #[default]
    Samples,
    /// Nobody is there to sample: no observation at all.
    Nothing,
    /// It reports that it could not.
    Fails,
    /// A replica that stands still: the fleet of the latest sample once more.
    Repeats,
    /// Prometheus answers and the database does not.
    MetricsAlone,
    /// All is sampled but the delta queue.
    NoQueue,
    /// The database does not answer every third time.
    EveryThirdFails,
    /// The daemon is started anew from what it stored, and samples.
    Restarts,
}

/// Where and when a story is set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Setting {
    pub(super) shape: Shape,
    pub(super) seed: u64,
    pub(super) hour: i64,
    /// Samples before the first act; the act is seen by the next one.
    pub(super) warm_up: i64,
    /// Of a nature drawn from the seed: see `Settings::with_drawn_physics`.
    pub(super) drawn: bool,
}

impl Setting {
    pub(super) fn new(shape: Shape, seed: u64, hour: i64, warm_up: i64) -> Setting {
        Setting { shape, seed, hour, warm_up, drawn: false }
    }

    /// The same on a platform of another nature.
    pub(super) fn drawn(self) -> Setting {
        Setting { drawn: true, ..self }
    }

    pub(super) fn start(&self) -> Time {
        let midnight: Time = "2019-09-23T00:00:00Z".parse().expect("a time");
        midnight + TimeDelta::hours(self.hour)
    }

    /// The instant of the first act, and of the sample that sees it.
    pub(super) fn act_at(&self) -> Time {
        self.start() + TimeDelta::seconds(INTERVAL_S * self.warm_up)
    }

    fn life(&self) -> Life {
        let Shape(devices, applications, organizations) = self.shape;
        let settings = Settings::new(self.seed, devices, applications, organizations);
        let settings = if self.drawn { settings.with_drawn_physics() } else { settings };
        Life::new(settings, self.start())
    }

    /// A run that ends so many samples after the first act.
    pub(super) fn run(&self, samples_after: i64, script: Vec<(Time, Act)>) -> Run {
        let end = self.act_at() + TimeDelta::seconds(INTERVAL_S * samples_after);
        Run::new(self.life(), TimeDelta::seconds(INTERVAL_S), end, script)
    }

    pub(super) fn name(&self) -> String {
        let Shape(devices, applications, organizations) = self.shape;
        let drawn = if self.drawn { " drawn" } else { "" };
        format!(
            "{devices}/{applications}/{organizations} seed {} {:02} h after {}{drawn}",
            self.seed, self.hour, self.warm_up
        )
    }
}

/// A setting with its history lived and watched: what every story on it begins from.
pub(super) struct Warm {
    pub(super) setting: Setting,
    stage: Stage,
    run: Run,
}

impl Warm {
    pub(super) fn up(setting: Setting) -> Warm {
        let mut run = setting.run(-1, Vec::new());
        let mut stage = Stage::new();
        for sample in run.by_ref() {
            stage.take(sample, Sampling::Samples);
        }
        Warm { setting, stage, run }
    }

    pub(super) fn life(&self) -> &Life {
        self.run.life()
    }

    /// A stage that has seen the history, and what comes after it in so many samples.
    pub(super) fn branch(
        &self,
        samples_after: i64,
        script: Vec<(Time, Act)>,
        faults: Vec<(Time, Fault)>,
    ) -> (Stage, Run) {
        let end = self.setting.act_at() + TimeDelta::seconds(INTERVAL_S * samples_after);
        (self.stage.clone(), self.run.branch(end, script, faults))
    }
}

pub(super) fn settings() -> PipelineSettings {
    PipelineSettings {
        interval_s: INTERVAL_S as f64,
        false_pages_per_month: 1.0,
        false_warnings_per_month: 10.0,
        signals: BTreeMap::new(),
        graph: headwater::config::graph::open_balena(),
        plain_ids: true,
    }
}

/// The pipeline and what it said.
#[derive(Clone)]
pub(super) struct Stage {
    pub(super) pipeline: Pipeline,
    /// As they were left, by id.
    pub(super) incidents: BTreeMap<u64, Incident>,
    /// What was recorded of each observation.
    pub(super) rows: Vec<(Time, Values)>,
    pub(super) keeps_rows: bool,
    pub(super) in_pipeline: Duration,
    /// What people run today, fed the same.
    pub(super) rules: Rules,
    latest: Option<Sample>,
}

impl Stage {
    pub(super) fn new() -> Stage {
        Stage {
            pipeline: Pipeline::new(settings(), State::default()),
            incidents: BTreeMap::new(),
            rows: Vec::new(),
            keeps_rows: false,
            in_pipeline: Duration::ZERO,
            rules: Rules::default(),
            latest: None,
        }
    }

    /// Plays a whole run.
    pub(super) fn play(&mut self, run: Run) {
        for sample in run {
            self.take(sample, Sampling::Samples);
        }
    }

    /// Takes one sample of a run as the samplers delivered it.
    pub(super) fn take(&mut self, sample: Sample, sampling: Sampling) {
        let at = sample.at;
        match sampling {
            Sampling::Samples | Sampling::EveryThirdFails => {
                self.fleet(&sample, at);
                self.metrics(&sample);
                self.latest = Some(sample);
            }
            Sampling::Nothing => {}
            Sampling::NoQueue => {
                self.fleet(&sample, at);
                let mut sample = sample;
                sample.metrics.remove("delta_queue");
                self.metrics(&sample);
                self.latest = Some(sample);
            }
            Sampling::Restarts => {
                let stored = serde_json::to_string(self.pipeline.state()).expect("a state is JSON");
                let state = serde_json::from_str(&stored).expect("a stored state is a state");
                self.pipeline = Pipeline::new(settings(), state);
                self.take(sample, Sampling::Samples);
            }
            Sampling::Fails => {
                self.fail("fleet", at);
                self.fail("prometheus", at + TimeDelta::seconds(METRICS_DELAY_S));
            }
            Sampling::MetricsAlone => {
                self.fail("fleet", at);
                self.metrics(&sample);
            }
            Sampling::Repeats => {
                if let Some(latest) = self.latest.clone() {
                    self.fleet(&latest, at);
                }
                self.metrics(&sample);
            }
        }
    }

    fn fleet(&mut self, sample: &Sample, at: Time) {
        let rows = sample.device_rows_written as f64;
        let values = Values::from([("device_rows_written_total", rows)]);
        let mut snapshot = sample.snapshot.clone();
        snapshot.at = at;
        let reading = Reading { values, fleet: Some(snapshot), ..Reading::default() };
        self.observe("fleet", at, Outcome::Sampled(Box::new(reading)));
    }

    fn metrics(&mut self, sample: &Sample) {
        let reading = Reading { values: sample.metrics.clone().into(), ..Reading::default() };
        let at = sample.at + TimeDelta::seconds(METRICS_DELAY_S);
        self.observe("prometheus", at, Outcome::Sampled(Box::new(reading)));
    }

    fn fail(&mut self, source: &str, at: Time) {
        let message = "no answer within 10 s".to_owned();
        let failure = Failure { reason: FailureReason::Timeout, message };
        self.observe(source, at, Outcome::Failed(failure));
    }

    fn observe(&mut self, source: &str, at: Time, outcome: Outcome) {
        let observation = Observation { at, source: source.to_owned(), outcome };
        let started = Instant::now();
        let step = self.pipeline.step(&observation);
        self.in_pipeline += started.elapsed();
        for incident in step.incidents {
            let id = incident.id.parse().expect("plain ids are numbers");
            self.incidents.insert(id, incident);
        }
        self.rules.observe(at, &step.values);
        if self.keeps_rows && !step.values.is_empty() {
            self.rows.push((at, step.values));
        }
    }

    /// Incidents that told somebody.
    pub(super) fn told(&self) -> Vec<&Incident> {
        self.incidents.values().filter(|one| !one.notifications.is_empty()).collect()
    }

    pub(super) fn count(&self, severity: Severity) -> usize {
        let notifications = self.incidents.values().flat_map(|one| &one.notifications);
        notifications.filter(|notification| notification.severity == severity).count()
    }

    /// What was told, for a message.
    pub(super) fn tale(&self) -> String {
        let mut tale = String::new();
        for incident in self.told() {
            for record in &incident.causes {
                tale += &format!(
                    "\n    #{} {} {} onset {} detected {}: {}",
                    incident.id,
                    record.severity.label(),
                    record.cause,
                    record.onset.format("%d %H:%M:%S"),
                    record.detected_at.format("%d %H:%M:%S"),
                    record.summary
                );
            }
            for symptom in &incident.symptoms {
                let percent = symptom.explained * 100.0;
                tale += &format!("\n        symptom {} {percent:.0} %", symptom.signal);
            }
        }
        tale
    }
}

/// The causes that paged, in order, each with the sample at which it was recognised.
pub(super) fn pages(stage: &Stage) -> Vec<(Cause, Time)> {
    let records = stage.incidents.values().flat_map(|incident| &incident.causes);
    let mut pages: Vec<(Cause, Time)> = records
        .filter(|record| record.severity == Severity::Critical)
        .map(|record| (record.cause, record.detected_at))
        .collect();
    pages.sort_by_key(|(_, at)| *at);
    pages
}

/// The organisation with the most devices, its devices and its applications.
pub(super) fn largest_organization(fleet: &Fleet) -> (i64, usize, usize) {
    let mut sizes: BTreeMap<i64, (usize, usize)> = BTreeMap::new();
    for application in fleet.applications() {
        let size = sizes.entry(application.organization).or_default();
        size.0 += application.devices.len();
        size.1 += usize::from(!application.devices.is_empty());
    }
    let largest = sizes.into_iter().max_by_key(|(_, size)| *size);
    let (id, (devices, applications)) = largest.expect("there are organisations");
    (id, devices, applications)
}

/// The application with the most devices.
pub(super) fn largest_application(fleet: &Fleet) -> i64 {
    let largest = fleet.applications().iter().max_by_key(|it| it.devices.len());
    largest.expect("there are applications").id
}
