//! The boundary at which a reading becomes clean values: counter resets, numbers that are none and
//! values that cannot be true are handled here and nowhere else. Whether a reading is news at all
//! is for `arrival` to say.

use crate::{
    diagnose::{
        flows::{Family, FlowKind},
        jobs::Jobs,
    },
    fleet::{Flows, Snapshot},
    observation::{Observation, Reading},
    pipeline::{
        Irregularity, IrregularityKind, Pipeline, Settings, Step,
        known::Known,
        state::{FleetSample, WatchedSignal, paired},
    },
    series::{self, Kind, Time},
    values::{Name, Values},
};

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
    /// What delta generation did since the sample before.
    pub(super) jobs: Option<Jobs>,
}

/// Two snapshots and what moved between them.
#[derive(Clone, Debug)]
pub(super) struct Cohorts {
    pub(super) before: Snapshot,
    pub(super) flows: Flows,
}

impl Pipeline {
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
                let kind = IrregularityKind::NotFinite;
                step.irregularities.push(Irregularity { kind, message });
            }
            value.is_finite()
        });
        let cohorts = reading.fleet.as_ref().and_then(|now| self.take_snapshot(now, &mut values));
        // What the database does not tell is missing, not zero.
        values.retain(|signal, _| !reading.absent.contains(&**signal));
        values.retain(|signal, value| {
            Kind::of(signal) == Kind::Counter || is_valid(&self.settings, signal, value, at, step)
        });
        self.take_accounting(at, reading);
        let of_fleet = ["devices_pinned", "pins_removed", "devices", "devices_removed"];
        let is_fleet = of_fleet.iter().any(|signal| values.contains_key(signal));
        let fleet_before = if is_fleet {
            let now = FleetSample { at, values: values.clone() };
            self.state.fleet.replace(now)
        } else {
            None
        };
        let jobs = self.take_jobs(at, &mut values);
        let levels = self.levels(observation, &values, step);
        Intake {
            at,
            source: observation.source.clone(),
            recordable: values,
            levels,
            fleet_before,
            cohorts,
            jobs,
        }
    }

    fn take_snapshot(&mut self, now: &Snapshot, values: &mut Values) -> Option<Cohorts> {
        values.extend(now.counts());
        let before = self.state.snapshot.replace(now.clone())?;
        let flows = Flows::between(&before, now);
        let mut signals = flows.signals();
        // A column that can only now be read says nothing of what moved since.
        let were_read = self.state.fleet.as_ref().map(|latest| &latest.values);
        for kind in FlowKind::ALL {
            if matches!(kind.family(), Family::HostOs | Family::Supervisor)
                && !were_read.is_some_and(|read| read.contains_key(kind.quantity().signal()))
            {
                signals.retain(|signal, _| !kind.signals().contains(&signal.as_str()));
            }
        }
        // Who has lost every device is an owner still.
        if !now.tells_owners_apart() && !before.tells_owners_apart() {
            signals.retain(|name, _| !name.starts_with("organizations_"));
        }
        values.extend(signals);
        Some(Cohorts { before, flows })
    }

    /// What the database says of written rows comes from the server that writes them, and is of its
    /// time even where the fleet's rows are not.
    pub(super) fn take_accounting(&mut self, at: Time, reading: &Reading) {
        if let Some(accounting) = &reading.accounting {
            self.state.ledger.read(at, accounting);
        }
    }

    /// Gauges as they are, counters as rates.
    fn levels(&mut self, observation: &Observation, values: &Values, step: &mut Step) -> Values {
        self.watch_new(&observation.source, values);
        let mut levels = Values::with_capacity(values.len());
        let Pipeline { settings, state, .. } = self;
        for (signal, watched, value) in paired(&mut state.signals, values) {
            if watched.known.is_flow {
                // Until this sample's breadth is judged.
                watched.status.score = None;
            }
            if let Some(level) = watched.level(signal, observation.at, value, settings, step) {
                levels.push(signal.clone(), level);
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
            fresh.known = Known::of(&signal, &self.settings.graph);
            self.state.signals.insert(signal, fresh);
        }
    }

    /// The level of a watched signal, from its raw value and the one before.
    pub(super) fn level_of(
        &mut self,
        signal: &str,
        at: Time,
        value: f64,
        step: &mut Step,
    ) -> Option<f64> {
        let watched = self.state.signals.get_mut(signal)?;
        watched.level(signal, at, value, &self.settings, step)
    }
}

impl WatchedSignal {
    /// Its level, from its raw value and the one before. A counter that fell was reset, and how far
    /// it had come is not known: its interval is missing, never an increment.
    fn level(
        &mut self,
        signal: &str,
        at: Time,
        value: f64,
        settings: &Settings,
        step: &mut Step,
    ) -> Option<f64> {
        let before = self.raw.replace((at, value));
        if Kind::of(signal) == Kind::Gauge {
            return Some(value);
        }
        let (then, was) = before?;
        if value < was {
            let message = format!("{signal} fell from {was} to {value}: its rate is missing");
            step.irregularities
                .push(Irregularity { kind: IrregularityKind::CounterReset, message });
            return None;
        }
        let rate = series::rate((then, was), (at, value))?;
        is_valid(settings, signal, rate, at, step).then_some(rate)
    }
}

/// Whether a value lies within what is configured to be possible for its signal: of a counter, its
/// increase per second. What lies beyond it is a fault of the measurement, and missing.
fn is_valid(settings: &Settings, signal: &str, value: f64, at: Time, step: &mut Step) -> bool {
    let Some(settings) = settings.signals.get(signal) else { return true };
    let bound = match (settings.valid_min, settings.valid_max) {
        (Some(least), _) if value < least => format!("below its valid_min of {least}"),
        (_, Some(most)) if value > most => format!("above its valid_max of {most}"),
        _ => return true,
    };
    let message = format!("{signal} is {value} at {at}, {bound}; it is missing");
    step.irregularities.push(Irregularity { kind: IrregularityKind::OutOfRange, message });
    false
}
