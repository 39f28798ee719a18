//! The boundary at which an observation becomes clean values: duplicates, rows out of order, gaps,
//! counter resets and numbers that are none are handled here and nowhere else.

use chrono::TimeDelta;

use crate::{
    accounting,
    diagnose::flows::FlowHistory,
    fleet::{Flows, Snapshot},
    observation::{Observation, Outcome, Reading},
    pipeline::{
        CLOCK_STEP, Irregularity, Pipeline, Step,
        known::Known,
        state::{FleetSample, paired},
    },
    series::{Kind, Time},
    values::{Name, Values},
};

/// A spacing beyond this many intervals is reported as a gap.
const GAP_INTERVALS: f64 = 2.5;

/// So many samples in a row that are older than the latest one mean that the clock was set back.
const CLOCK_STEP_SAMPLES: u32 = 3;

/// A sample as the later stages see it.
#[derive(Clone, Debug)]
pub(super) struct Intake {
    pub(super) at: Time,
    pub(super) source: String,
    /// As recorded: counters cumulative.
    pub(super) recordable: Values,
    /// As watched: counters as rates per second.
    pub(super) levels: Values,
    /// The fleet's previous present sample, if this is a fleet sample and there was one.
    pub(super) fleet_before: Option<FleetSample>,
    /// Cohorts before, and flows by application since, live.
    pub(super) cohorts: Option<Cohorts>,
}

/// Two snapshots and what moved between them.
#[derive(Clone, Debug)]
pub(super) struct Cohorts {
    pub(super) before: Snapshot,
    pub(super) flows: Flows,
}

impl Pipeline {
    /// Whether an observation is news: later than the latest of its source.
    pub(super) fn admit(&mut self, observation: &Observation, step: &mut Step) -> bool {
        self.notice_clock_step(observation, step);
        let source = self.state.sources.entry(observation.source.clone()).or_default();
        let at = observation.at;
        if let Some(latest) = source.latest_at {
            let (kind, word) = match at.cmp(&latest) {
                std::cmp::Ordering::Less => ("out_of_order", "is older than the latest sample"),
                std::cmp::Ordering::Equal => ("duplicate", "has the time of the latest sample"),
                std::cmp::Ordering::Greater => {
                    self.note_gap(&observation.source, latest, at, step);
                    self.advance(&observation.source, observation);
                    return true;
                }
            };
            let message = format!(
                "{}: the sample of {at} {word}, {latest}; it is left out",
                observation.source
            );
            step.irregularities.push(Irregularity { kind, message });
            return false;
        }
        self.advance(&observation.source, observation);
        true
    }

    /// A clock that was set back makes every sample older than the latest one. A late row is alone;
    /// when it is followed by more, the time is taken as it is, and watching begins anew.
    fn notice_clock_step(&mut self, observation: &Observation, step: &mut Step) {
        let name = &observation.source;
        let source = self.state.sources.entry(name.clone()).or_default();
        let older = source.latest_at.is_some_and(|latest| observation.at < latest);
        source.behind = if older { source.behind + 1 } else { 0 };
        if source.behind < CLOCK_STEP_SAMPLES {
            return;
        }
        (source.behind, source.latest_at, source.first_missed) = (0, None, None);
        if source.is_fleet {
            (self.state.fleet, self.state.snapshot) = (None, None);
            self.state.flows.values_mut().for_each(FlowHistory::clear_recent);
        }
        self.state.signals.retain(|_, watched| watched.source != *name);
        let message = format!(
            "{name}: the clock was set back to {}; what its signals had shown is forgotten",
            observation.at
        );
        step.irregularities.push(Irregularity { kind: CLOCK_STEP, message });
    }

    fn advance(&mut self, name: &str, observation: &Observation) {
        let source = self.state.sources.entry(name.to_owned()).or_default();
        source.latest_at = Some(observation.at);
        if let Outcome::Sampled(reading) = &observation.outcome {
            source.is_fleet |=
                reading.fleet.is_some() || reading.values.contains_key("devices_pinned");
        }
    }

    fn note_gap(&self, source: &str, latest: Time, at: Time, step: &mut Step) {
        let elapsed_s = (at - latest).as_seconds_f64();
        if elapsed_s > GAP_INTERVALS * self.settings.interval_s {
            let message = format!("{source}: no sample for {elapsed_s} s before {at}");
            step.irregularities.push(Irregularity { kind: "gap", message });
        }
    }

    /// Takes a reading apart into values, flows and ledger.
    pub(super) fn take(
        &mut self,
        observation: &Observation,
        reading: &Reading,
        step: &mut Step,
    ) -> Intake {
        let at = observation.at;
        let mut values = reading.values.clone();
        values.retain(|signal, value| {
            if !value.is_finite() {
                let message =
                    format!("{}: {signal} is {value} at {at}; it is missing", observation.source);
                step.irregularities.push(Irregularity { kind: "not_finite", message });
            }
            value.is_finite()
        });
        let cohorts = reading.fleet.as_ref().and_then(|now| self.take_snapshot(now, &mut values));
        // What the database does not tell is missing, not zero.
        values.retain(|signal, _| !reading.absent.contains(&**signal));
        if let Some(accounting) = &reading.accounting {
            self.take_accounting(at, accounting);
        }
        let is_fleet = values.contains_key("devices_pinned") || values.contains_key("pins_removed");
        let fleet_before = if is_fleet {
            let now = FleetSample { at, values: values.clone() };
            self.state.fleet.replace(now)
        } else {
            None
        };
        let levels = self.levels(observation, &values, step);
        Intake {
            at,
            source: observation.source.clone(),
            recordable: values,
            levels,
            fleet_before,
            cohorts,
        }
    }

    fn take_snapshot(&mut self, now: &Snapshot, values: &mut Values) -> Option<Cohorts> {
        values.extend(now.counts());
        let before = self.state.snapshot.replace(now.clone())?;
        let flows = Flows::between(&before, now);
        let mut signals = flows.signals();
        if !now.tells_owners_apart() {
            signals.retain(|name, _| !name.starts_with("organizations_"));
        }
        values.extend(signals);
        Some(Cohorts { before, flows })
    }

    fn take_accounting(&mut self, at: Time, reading: &accounting::Reading) {
        self.state.ledger.read(at, reading);
    }

    /// Gauges as they are, counters as rates. A counter that fell was reset, and how far it had
    /// come is not known: its interval is missing, never an increment.
    fn levels(&mut self, observation: &Observation, values: &Values, step: &mut Step) -> Values {
        self.watch_new(&observation.source, values);
        let mut levels = Values::with_capacity(values.len());
        for (signal, watched, value) in paired(&mut self.state.signals, values) {
            if watched.known.is_flow {
                // Until this sample's breadth is judged.
                watched.status.score = None;
            }
            let before = watched.raw.replace((observation.at, value));
            match (Kind::of(signal), before) {
                (Kind::Gauge, _) => levels.push(signal.clone(), value),
                (Kind::Counter, Some((then, was))) if value >= was && observation.at > then => {
                    let elapsed_s = (observation.at - then).max(TimeDelta::milliseconds(1));
                    levels.push(signal.clone(), (value - was) / elapsed_s.as_seconds_f64());
                }
                (Kind::Counter, Some((_, was))) if value < was => {
                    let message =
                        format!("{signal} fell from {was} to {value}: its rate is missing");
                    step.irregularities.push(Irregularity { kind: "counter_reset", message });
                }
                (Kind::Counter, _) => {}
            }
        }
        levels
    }

    /// Begins to watch signals that were never seen before.
    fn watch_new(&mut self, source: &str, values: &Values) {
        // Both are in the order of their names: one walk tells whether any is new.
        let mut watched = self.state.signals.keys();
        if values.keys().all(|signal| watched.any(|other| other == signal)) {
            return;
        }
        let new = values.keys().filter(|signal| !self.state.signals.contains_key(*signal));
        for signal in new.cloned().collect::<Vec<Name>>() {
            let mut fresh = super::signal_watch::fresh(&signal, source);
            fresh.known = Known::of(&signal, &self.settings.signals);
            self.state.signals.insert(signal, fresh);
        }
    }
}
