//! The boundary in time: whether an observation is news. Repeats, rows out of order, gaps, clocks
//! that were set and rows that a lagging source repeats are recognised here and nowhere else; what
//! is wrong with single values is `intake`'s.

use std::{collections::BTreeMap, ops::RangeInclusive};

use chrono::{Datelike as _, TimeDelta};
use serde::{Deserialize, Serialize};

use crate::{
    diagnose::flows::FlowHistory,
    observation::{Observation, Outcome, Reading},
    pipeline::{Irregularity, IrregularityKind, Pipeline, Step},
    series::{Kind, Time, seconds},
};

/// Years that RFC 3339 can spell. A time of any other is no time of a sample, and near the ends of
/// what can be represented there is none before or after it.
const YEARS: RangeInclusive<i32> = 0..=9999;

/// A spacing beyond this many intervals is reported as a gap.
pub(super) const GAP_INTERVALS: f64 = 2.5;

/// So many samples in a row that are older than the latest one mean that the clock was set back.
const CLOCK_STEP_SAMPLES: u32 = 3;

/// A clock that was set back by no more than this is waited for by the detectors: what they learned
/// in weeks is worth more than what they miss meanwhile. The fleet's flows need no waiting.
const REST_MAX: TimeDelta = TimeDelta::minutes(10);

/// A time so far ahead of the latest one is believed once another sample follows it: the longer of
/// a day …
const LEAP_S: f64 = 86_400.0;
/// … of this many intervals …
const LEAP_INTERVALS: f64 = 100.0;
/// … and of this many times the longest spacing that turned out to be right …
const LEAP_SPACINGS: f64 = 2.0;
/// … which is no longer than a week: beyond it a clock was set, and may be set again.
const SPACING_MAX_S: f64 = 7.0 * 86_400.0;

/// Rows that must have been seen before a repeat can be called improbable.
const REPEAT_ROWS_MIN: u64 = 100;
/// Gauges above or below zero that a row must hold: where only counters and zeros stand still,
/// nothing may be happening, and that is news.
const REPEAT_GAUGES_MIN: usize = 3;
/// A run of repeats that is less probable than this by the source's own history is one of stale
/// rows: with 35,000 samples a week, less than one mistaken run in half a year.
const REPEAT_CHANCE_MAX: f64 = 1e-6;

/// How often a source's rows repeat the row before them in every value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Repeats {
    /// Rows that could be compared with one before them.
    rows: u64,
    /// Those that repeated it; runs that were held to be stale are left out.
    whole: u64,
    /// Repeats in a row up to now.
    run: i32,
}

impl Repeats {
    /// Takes a row in. Whether a run of repeats this long has become too improbable to be true.
    fn observe(&mut self, repeats: bool) -> bool {
        self.run = if repeats { self.run.saturating_add(1) } else { 0 };
        // Laplace's rule of succession: never seen in many rows is rare, not impossible.
        let chance = (self.whole as f64 + 1.0) / (self.rows as f64 + 2.0);
        let stale =
            self.rows >= REPEAT_ROWS_MIN && chance.powi(self.run) < REPEAT_CHANCE_MAX && repeats;
        if !stale {
            self.rows += 1;
            self.whole += u64::from(repeats);
        }
        stale
    }
}

impl Pipeline {
    /// Whether an observation is news: later than the latest of its source, and not by so much that
    /// its clock must be wrong.
    pub(super) fn admit(&mut self, observation: &Observation, step: &mut Step) -> bool {
        if !YEARS.contains(&observation.at.year()) {
            let message = format!(
                "{}: the sample of {} lies outside the years 0 to 9999; it is left out",
                observation.source, observation.at
            );
            step.irregularities.push(Irregularity { kind: IrregularityKind::ClockStep, message });
            return false;
        }
        self.notice_clock_step(observation, step);
        let source = self.state.sources.entry(observation.source.clone()).or_default();
        let at = observation.at;
        if let Some(latest) = source.latest_at {
            let (kind, word) = match at.cmp(&latest) {
                std::cmp::Ordering::Less => {
                    (IrregularityKind::OutOfOrder, "is older than the latest sample")
                }
                std::cmp::Ordering::Equal => {
                    (IrregularityKind::Duplicate, "has the time of the latest sample")
                }
                std::cmp::Ordering::Greater => {
                    if self.is_leap(observation, latest, step) {
                        return false;
                    }
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
    /// when it is followed by more, the time is taken as it is. Flows are watched on at once. What
    /// detectors have learned holds for a time that they have passed: they wait for it if it is
    /// near, and begin anew if it is not.
    fn notice_clock_step(&mut self, observation: &Observation, step: &mut Step) {
        let name = &observation.source;
        let source = self.state.sources.entry(name.clone()).or_default();
        let Some(latest) = source.latest_at.filter(|latest| observation.at < *latest) else {
            source.behind = 0;
            return;
        };
        source.behind += 1;
        if source.behind < CLOCK_STEP_SAMPLES {
            return;
        }
        (source.behind, source.latest_at, source.first_missed) = (0, None, None);
        source.repeats.run = 0;
        source.standing.interrupted();
        if source.is_fleet {
            (self.state.fleet, self.state.snapshot) = (None, None);
            self.state.flows.values_mut().for_each(FlowHistory::clear_recent);
        }
        let at = observation.at;
        let fate = if latest - at <= REST_MAX {
            for watched in self.state.signals.values_mut().filter(|one| one.source == *name) {
                watched.recent.retain(|(then, _)| *then < at);
            }
            format!("its signals are judged again from {latest} on")
        } else {
            self.state.signals.retain(|_, watched| watched.source != *name);
            "what its signals had shown is forgotten".to_owned()
        };
        let message = format!("{name}: the clock was set back from {latest} to {at}; {fate}");
        step.irregularities.push(Irregularity { kind: IrregularityKind::ClockStep, message });
    }

    /// Whether a sample's time lies so far ahead that a wrong clock is likelier than silence. Taken
    /// as it is, one such row would make every later one older than the latest, for as long as it
    /// was ahead.
    fn is_leap(&mut self, observation: &Observation, latest: Time, step: &mut Step) -> bool {
        let at = observation.at;
        let interval_s = self.settings.interval_s;
        let source = self.state.sources.entry(observation.source.clone()).or_default();
        let spacing_s = (at - latest).as_seconds_f64();
        let limit_s =
            LEAP_S.max(LEAP_INTERVALS * interval_s).max(LEAP_SPACINGS * source.spacing_max_s);
        if spacing_s <= limit_s {
            source.leapt_to = None;
            source.spacing_max_s = source.spacing_max_s.max(spacing_s).min(SPACING_MAX_S);
            return false;
        }
        if source.leapt_to.take_if(|leapt_to| *leapt_to < at).is_some() {
            source.spacing_max_s = spacing_s.min(SPACING_MAX_S);
            return false;
        }
        source.leapt_to = Some(at);
        let message = format!(
            "{}: the sample of {at} is {spacing_s:.0} s after the latest, {latest}; it is left \
             out, and its time is believed when another follows",
            observation.source
        );
        step.irregularities.push(Irregularity { kind: IrregularityKind::ClockStep, message });
        true
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
            step.irregularities.push(Irregularity { kind: IrregularityKind::Gap, message });
        }
    }

    /// Whether a row says nothing of its time: it repeats the row before it in every value, and
    /// either the source says that it is behind by more than an interval, or its rows have hardly
    /// ever done so. Such a row is missing. Values that merely stand still are no such evidence,
    /// nor are counters: a service that does nothing repeats them.
    pub(super) fn is_stale(
        &mut self,
        observation: &Observation,
        reading: &Reading,
        step: &mut Step,
    ) -> bool {
        let Some((repeats, gauges)) = self.compare(reading) else {
            return false;
        };
        let behind = reading.behind_s.filter(|behind_s| *behind_s > self.settings.interval_s);
        let source = self.state.sources.entry(observation.source.clone()).or_default();
        let improbable = source.repeats.observe(repeats && gauges >= REPEAT_GAUGES_MIN);
        let why = match behind {
            Some(behind_s) if repeats => format!("and the replica is {behind_s:.0} s behind"),
            _ if improbable => format!(
                "{} times in a row, which was never to be expected of it",
                source.repeats.run
            ),
            _ => return false,
        };
        let message = format!(
            "{}: the sample of {} repeats every value of the one before it, {why}; it is missing",
            observation.source, observation.at
        );
        step.irregularities.push(Irregularity { kind: IrregularityKind::Stale, message });
        true
    }

    /// Whether a row repeats the last one that was taken, and how many gauges other than zero say
    /// so. `None` if there is nothing to compare it with. Of a fleet only its rows count: what the
    /// reading holds beside them may come from another server.
    fn compare(&self, reading: &Reading) -> Option<(bool, usize)> {
        if let Some(now) = &reading.fleet {
            let before = self.state.snapshot.as_ref()?;
            let repeats = now.applications == before.applications;
            let counts = if repeats { now.counts() } else { BTreeMap::new() };
            return Some((repeats, counts.values().filter(|value| **value != 0.0).count()));
        }
        let mut gauges = 0;
        let mut compared = false;
        for (signal, value) in reading.values.iter().filter(|(_, value)| value.is_finite()) {
            let (_, before) = self.state.signals.get(signal)?.raw?;
            if before != *value {
                return Some((false, 0));
            }
            compared = true;
            gauges += usize::from(Kind::of(signal) == Kind::Gauge && *value != 0.0);
        }
        compared.then_some((true, gauges))
    }
}

/// Beyond this spacing, what lies between two samples was not watched.
pub(super) fn watched_between(since: Time, until: Time, interval_s: f64) -> f64 {
    let most = seconds(GAP_INTERVALS * interval_s);
    (until - since).clamp(TimeDelta::zero(), most).as_seconds_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the last of `run` repeats is stale after `rows` rows of which `whole` were repeats.
    fn verdict(rows: u64, whole: u64, run: usize) -> bool {
        let mut repeats = Repeats { rows, whole, run: 0 };
        (0..run).map(|_| repeats.observe(true)).last().unwrap_or(false)
    }

    #[test]
    fn a_repeat_is_stale_when_history_makes_it_too_improbable() {
        let cases = [
            // Too little history to say anything.
            (99, 0, 2, false),
            // Never seen: the second or third in a row.
            (500, 0, 2, false),
            (500, 0, 3, true),
            (5_000, 0, 2, true),
            // One repeat in ten rows is ordinary, and takes longer.
            (1_000, 100, 4, false),
            (1_000, 100, 7, true),
            // What always stands still never is.
            (1_000, 990, 500, false),
        ];
        for (rows, whole, run, stale) in cases {
            assert_eq!(verdict(rows, whole, run), stale, "{rows} {whole} {run}");
        }
    }

    #[test]
    fn only_what_lies_between_near_samples_was_watched() {
        let at = |second| Time::from_timestamp(second, 0).unwrap();
        assert_eq!(watched_between(at(0), at(15), 15.0), 15.0);
        assert_eq!(watched_between(at(0), at(86_400), 15.0), 37.5);
        assert_eq!(watched_between(at(15), at(0), 15.0), 0.0);
    }
}
