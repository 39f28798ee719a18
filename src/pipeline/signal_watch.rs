//! Signals one by one: detector, status, and what becomes of a change: a symptom of an open
//! incident, explained by ordinary causes, or, if it stays and nothing explains it, an incident of
//! its own.

use std::collections::VecDeque;

use chrono::TimeDelta;

use crate::{
    detect::{Detector, Settings as DetectorSettings},
    diagnose::{
        driven::OrdinaryMoves,
        graph::{Explanation, Moved},
        recurrence::Occurrences,
        signatures,
    },
    incident::{Change, ChangeKind, Symptom},
    pipeline::{
        Pipeline, Settings, SignalStatus, State, Step, Subject,
        budgets::Judged,
        intake::Intake,
        known::{Known, is_exact},
        presence::Presence,
        services::Stayed,
        state::{Suspect, WatchedSignal, paired},
    },
    series::{Direction, Kind, Time, seconds},
    values::{Name, Values},
};

/// How far back a driving signal's movement is remembered: the longest path of the declared graph.
const RECENT_S: i64 = 1_800;
/// At most so many points of it.
const RECENT_MAX: usize = 720;
/// How long a change may take to come back before its level is the new normal: a day.
const HOMEWARD_MAX_S: i64 = 86_400;

/// A signal that was never seen before.
pub(super) fn fresh(signal: &str, source: &str) -> WatchedSignal {
    let status = SignalStatus {
        signal: signal.to_owned(),
        source: source.to_owned(),
        value: None,
        at: None,
        expected: None,
        expected_low: None,
        expected_high: None,
        score: None,
        threshold: None,
        threshold_origin: String::new(),
        samples: 0,
        cold: None,
        unexplained: None,
        alarms: 0,
        judged_s: 0.0,
        budget_per_month: None,
    };
    WatchedSignal {
        source: source.to_owned(),
        detector: Detector::new(),
        raw: None,
        recent: VecDeque::new(),
        status,
        suspect: None,
        moves: OrdinaryMoves::default(),
        judged: Judged::default(),
        presence: Presence::default(),
        occurrences: Occurrences::default(),
        away_from: None,
        known: Known::default(),
    }
}

impl Pipeline {
    /// Takes the levels of one sample through their detectors and deals with what changed.
    pub(super) fn watch_signals(&mut self, intake: &Intake, step: &mut Step) {
        let shares = self.warning_shares(intake.at);
        let alphas = intake.levels.keys().map(|signal| {
            let alpha = self.warning_alpha(signal, shares);
            (alpha, self.alarms_a_month(signal, alpha))
        });
        let mut alphas = alphas.collect::<Vec<(f64, f64)>>().into_iter();
        let mut learning = Vec::new();
        step.anomalies = Values::with_capacity(intake.levels.len());
        let Pipeline { settings, state, .. } = self;
        let watched_values = paired(&mut state.signals, &intake.levels);
        for ((signal, watched, value), alpha) in watched_values.zip(&mut alphas) {
            watched.source.clone_from(&intake.source);
            watched.status.value = Some(value);
            watched.status.at = Some(intake.at);
            if watched.known.drives {
                remember(&mut watched.recent, intake.at, value);
            }
            if watched.known.is_flow {
                if let Some(score) = watched.status.score {
                    step.anomalies.push(signal.clone(), score / (1.0 + score));
                }
                continue;
            }
            watched.judge(signal, value, intake.at, alpha, settings, step);
            let learns = watched.known.has_learned_parents && watched.status.cold.is_none();
            if learns && let Some(left) = watched.moves.learning_left(intake.at) {
                learning.push((signal.clone(), left));
            }
        }
        self.show_learning(learning);
        if self.state.watches.is_empty() {
            // The present level of every signal, those of other sources included.
            let State { graph, signals, .. } = &mut self.state;
            let levels = signals.iter().map(|(signal, watched)| (signal, watched.status.value));
            graph.observe(&levels.collect::<Vec<_>>(), &self.settings.graph);
        }
        self.settle_changes(intake);
        self.settle_connections(intake);
        self.watch_jobs(intake);
        self.resolve_returned_signals(intake.at);
    }

    /// Of signals that others drive, says how long it takes to learn in which proportion.
    fn show_learning(&mut self, learning: Vec<(Name, TimeDelta)>) {
        for (signal, left) in learning {
            let driven = self.is_driven(&signal);
            if let Some(watched) = self.state.signals.get_mut(&signal).filter(|_| driven) {
                let hours = left.as_seconds_f64() / 3_600.0;
                watched.status.cold =
                    Some(format!("learns for {hours:.1} h more how others drive it"));
            }
        }
    }

    /// Every signal that is away from its level becomes a symptom, is explained away, or, once it
    /// has stayed, an incident of its own.
    fn settle_changes(&mut self, intake: &Intake) {
        let changed = self.state.signals.iter().filter_map(|(signal, watched)| {
            let change = watched.detector.in_change()?;
            let due = watched.is_due(signal, intake.at) && intake.levels.contains_key(signal);
            Some((signal.clone(), change.clone(), due))
        });
        let mut changed: Vec<_> = changed.collect();
        // What moved first is upstream of what moved later.
        changed.sort_by_key(|(_, change, _)| change.onset);
        self.attach_departures(intake);
        for (signal, change, due) in changed {
            let latest = self.state.signals.get(&signal).and_then(|watched| watched.status.value);
            let now = Moved {
                onset: change.onset,
                before: change.before,
                after: latest.unwrap_or(change.after),
            };
            if self.is_spoken_for(&signal, now, intake) {
                if due {
                    self.go_on(&signal, &change, now, intake.at);
                }
                continue;
            }
            let explanation = self.explain(&signal, now);
            self.show_unexplained(&signal, now, explanation.as_ref());
            if self.attach(&signal, &change, now, explanation.as_ref(), intake.at) {
                continue;
            }
            if due {
                let explanation = explanation.as_ref();
                let (signal, change, at) = (&*signal, &change, intake.at);
                self.confirm(Stayed { signal, change, now, explanation, at });
            }
            self.rebase_if_settled(&signal, &change, intake.at);
        }
    }

    /// While a platform-wide incident is open, whatever its causes drive is expected to move: a
    /// signal outside its band of ordinary values is a symptom then, without the evidence that a
    /// notification of its own would need.
    fn attach_departures(&mut self, intake: &Intake) {
        if !self.has_mass_watch() {
            return;
        }
        let departed = intake.levels.iter().filter_map(|(signal, value)| {
            let watched = self.state.signals.get(signal)?;
            let status = &watched.status;
            let (low, high) = (status.expected_low?, status.expected_high?);
            let outside = outside(*value, low, high);
            let quiet = outside && watched.detector.in_change().is_none() && !watched.known.is_flow;
            let expected = status.expected?;
            quiet.then(|| departure(signal, intake.at, expected, *value))
        });
        for change in departed.collect::<Vec<Change>>() {
            let now = Moved { onset: change.onset, before: change.before, after: change.after };
            if !self.is_spoken_for(&change.signal, now, intake) {
                let explanation = self.explain(&change.signal, now);
                self.attach(&change.signal, &change, now, explanation.as_ref(), intake.at);
            }
        }
    }

    /// Whether an open incident already has this signal; if so, its size is brought up to date.
    fn is_spoken_for(&mut self, signal: &str, now: Moved, intake: &Intake) -> bool {
        let fresh = intake.levels.contains_key(signal);
        let mut found = None;
        for (index, watch) in self.state.watches.iter().enumerate() {
            let own = matches!(&watch.subject, Subject::Signal(name) if name == signal);
            let symptom = watch.incident.symptoms.iter().position(|other| other.signal == signal);
            if own && !self.has_mass_watch() || symptom.is_some() {
                found = Some((index, symptom));
            }
        }
        let Some((index, symptom)) = found else { return false };
        let known = symptom.map(|symptom| &self.state.watches[index].incident.symptoms[symptom]);
        let later =
            known.is_some_and(|known| now.onset - known.onset > TimeDelta::seconds(RECENT_S));
        if later && self.explain(signal, now).is_none() {
            // It had come back, and moves again with nothing to drive it.
            return false;
        }
        if let (Some(symptom), true) = (symptom, fresh) {
            let known = &self.state.watches[index].incident.symptoms[symptom];
            if (now.after - known.before).abs() > (known.after - known.before).abs() {
                let explanation = self.explain_growth(signal, now, intake.at);
                let known = &mut self.state.watches[index].incident.symptoms[symptom];
                known.after = now.after;
                if let Some(explanation) = explanation {
                    known.explained = explanation.share;
                    known.explanation = explanation.text;
                }
                self.touch(index);
            }
        }
        true
    }

    pub(super) fn explain(&self, signal: &str, change: Moved) -> Option<Explanation> {
        let scale = counts_per_interval(signal, self.settings.interval_s);
        let change = Moved { before: change.before * scale, after: change.after * scale, ..change };
        let moved = |ancestor: &str| self.moved(ancestor, change.onset);
        let growth = |parent: &str, delay: TimeDelta| self.growth(parent, change.onset - delay);
        let (graph, interval_s) = (&self.settings.graph, self.settings.interval_s);
        self.state.graph.explain(signal, change, (moved, growth), interval_s, graph)
    }

    /// The mean of a driving signal since then over its ordinary level.
    fn growth(&self, signal: &str, since: Time) -> Option<f64> {
        let watched = self.state.signals.get(signal)?;
        let open = watched.detector.in_change();
        let ordinary = open.map(|change| change.before).or(watched.status.expected)?;
        let late = watched.recent.iter().filter(|(at, _)| *at >= since);
        let (count, sum) =
            late.fold((0.0, 0.0), |(count, sum), (_, value)| (count + 1.0, sum + value));
        (count > 0.0 && ordinary > 0.0).then(|| sum / count / ordinary)
    }

    /// Explains a change that has gone on since its onset: what drives it may have gone on too.
    fn explain_growth(&self, signal: &str, change: Moved, at: Time) -> Option<Explanation> {
        let early = self.explain(signal, change);
        let late = self.explain(signal, Moved { onset: at, ..change });
        match (early, late) {
            (Some(early), Some(late)) if late.share < early.share => Some(early),
            (early, late) => late.or(early),
        }
    }

    /// How a driving signal moved of late, up to an effect's onset.
    fn moved(&self, signal: &str, effect_onset: Time) -> Option<Moved> {
        let watched = self.state.signals.get(signal)?;
        let until = effect_onset + seconds(self.settings.interval_s);
        let scale = counts_per_interval(signal, self.settings.interval_s);
        let found = if watched.known.is_flow {
            flowed(&watched.recent, until)
        } else {
            largest_move(&watched.recent, until)
        };
        let Moved { onset, before, after } = found?;
        Some(Moved { onset, before: before * scale, after: after * scale })
    }

    fn show_unexplained(&mut self, signal: &str, now: Moved, explanation: Option<&Explanation>) {
        let share = explanation.map_or(0.0, |explanation| explanation.share);
        if let Some(watched) = self.state.signals.get_mut(signal) {
            watched.status.unexplained = Some((now.after - now.before) * (1.0 - share));
        }
    }

    pub(super) fn has_mass_watch(&self) -> bool {
        self.state.watches.iter().any(|watch| matches!(watch.subject, Subject::Mass(_)))
    }

    /// Attaches a change to the open incident that explains it: a platform-wide one before others.
    fn attach(
        &mut self,
        signal: &str,
        change: &Change,
        now: Moved,
        explanation: Option<&Explanation>,
        at: Time,
    ) -> bool {
        let Some(explanation) = explanation else { return false };
        let watched = self.state.signals.get(signal);
        let more = watched.is_some_and(|watched| !watched.leaves_nothing(now, explanation));
        if explanation.growth.is_some() && more {
            // What grows in proportion grew by more: that is no symptom of its parent.
            return false;
        }
        let interval = seconds(self.settings.interval_s);
        let fits = |index: &usize| {
            let watch = &self.state.watches[*index];
            let onset = watch.incident.first().onset;
            matches!(watch.subject, Subject::Mass(_) | Subject::Owner(_))
                && change.onset_high + interval >= onset
        };
        let mut order: Vec<usize> = (0..self.state.watches.len()).filter(fits).collect();
        order.sort_by_key(|index| !matches!(self.state.watches[*index].subject, Subject::Mass(_)));
        let Some(&index) = order.first() else { return false };
        let verb = if change.direction == Direction::Up { "rises" } else { "falls" };
        let incident = &mut self.state.watches[index].incident;
        incident.symptoms.push(symptom(change, now, Some(explanation)));
        incident.note(at, format!("{signal} {verb}, as a symptom: {}.", explanation.text));
        let id = incident.id.clone();
        self.touch(index);
        if let Some(watched) = self.state.signals.get_mut(signal) {
            watched.suspect = None;
        }
        self.close_as_explained(signal, &id, at);
        true
    }

    fn close_as_explained(&mut self, signal: &str, id: &str, at: Time) {
        let own =
            self.state.watches.iter().position(
                |watch| matches!(&watch.subject, Subject::Signal(name) if name == signal),
            );
        if let Some(index) = own {
            let incident = &mut self.state.watches[index].incident;
            incident.note(at, format!("Explained by incident {id} after all."));
            self.resolve(index, at, "it is a symptom of another incident");
        }
    }

    /// A change that belongs to no incident is the new normal: at once for what is read from rows,
    /// and for a measured signal once nothing can be about to explain it.
    fn rebase_if_settled(&mut self, signal: &str, change: &Change, at: Time) {
        let own = self.state.watches.iter().any(|watch| {
            matches!(&watch.subject, Subject::Signal(name) if name == signal)
                || watch.incident.symptoms.iter().any(|symptom| symptom.signal == signal)
        });
        let patience = TimeDelta::seconds(if is_exact(signal) { 0 } else { RECENT_S });
        let Some(watched) = self.state.signals.get_mut(signal) else { return };
        let settled = watched.suspect.is_none() && at - change.detected_at >= patience;
        if !own && settled && (is_exact(signal) || !is_homeward(watched, change, at)) {
            watched.rebase();
        }
    }

    /// Ends incidents whose own signal is back.
    fn resolve_returned_signals(&mut self, at: Time) {
        let returned = |pipeline: &Pipeline| {
            pipeline.state.watches.iter().position(|watch| {
                let Subject::Signal(signal) = &watch.subject else { return false };
                let watched = pipeline.state.signals.get(signal.as_str());
                watched.is_none_or(|watched| !watched.is_away())
            })
        };
        while let Some(index) = returned(self) {
            self.resolve(index, at, "its signal is back where it ordinarily is");
        }
    }
}

impl WatchedSignal {
    /// What its detector is told.
    pub(super) fn detector_settings(
        &self,
        signal: &str,
        alpha: f64,
        settings: &Settings,
    ) -> DetectorSettings {
        let configured = settings.signals.get(signal);
        DetectorSettings {
            false_alarms_per_sample: alpha,
            direction: configured.and_then(|settings| settings.direction),
            min_change: configured.and_then(|settings| settings.min_change),
            min_change_relative: configured.and_then(|settings| settings.min_change_relative),
            exact: self.known.is_exact,
            interval_s: settings.interval_s,
        }
    }

    /// Takes a level through the signal's detector.
    fn judge(
        &mut self,
        signal: &Name,
        value: f64,
        at: Time,
        (alpha, budget_per_month): (f64, f64),
        settings: &Settings,
        step: &mut Step,
    ) {
        if let Some(until) = self.judged.latest_at.filter(|latest| at <= *latest) {
            self.status.cold = Some(format!("waits until {until}: its clock was set back"));
            return;
        }
        if self.is_still_away(value) {
            self.status.cold = Some("learns when it is back from its change".to_owned());
            return;
        }
        let settings = self.detector_settings(signal, alpha, settings);
        let verdict = self.detector.step(&settings, signal, at, value);
        step.changes.extend(verdict.told().cloned());
        let threshold = verdict.threshold;
        let (could, alarmed) = (threshold.is_some(), verdict.change.is_some());
        self.judged.sampled(at, could, alarmed, settings.interval_s);
        let status = &mut self.status;
        (status.alarms, status.judged_s) = (self.judged.alarms, self.judged.seconds);
        status.budget_per_month = Some(budget_per_month);
        status.expected = verdict.expected;
        status.expected_low = verdict.expected_low;
        status.expected_high = verdict.expected_high;
        status.score = threshold.map(|threshold| verdict.score / threshold);
        status.threshold = threshold;
        if self.known.origin_told.replace(verdict.threshold_origin)
            != Some(verdict.threshold_origin)
        {
            status.threshold_origin = verdict.threshold_origin.to_string();
        }
        status.samples = verdict.samples;
        status.cold = verdict.cold;
        status.unexplained = Some(0.0);
        step.anomalies.push(signal.clone(), verdict.anomaly);
        self.moves.seen(at);
        if let Some(suspect) = &mut self.suspect {
            suspect.samples_since += 1;
        }
        if verdict.returned.is_some() || verdict.change.is_some() {
            let into = verdict.change.as_ref().map(|change| change.direction);
            self.occurrences.ended(at, into);
        }
        let is_connection = signatures::is_connection(signal);
        if let Some(change) = verdict.change.filter(|_| !settings.exact || is_connection) {
            let returned = false;
            self.suspect = Some(Suspect { change: *change, samples_since: 0, returned });
        }
        if verdict.returned.is_some() {
            self.suspect = self.suspect.take().filter(|_| is_connection);
            if let Some(suspect) = &mut self.suspect {
                suspect.returned = true;
            }
        }
    }
}

/// Whether a change is on its way back: nearer to where it was than it has been of late, by more
/// than ordinary values differ. Such a way may take hours, but not days.
fn is_homeward(watched: &WatchedSignal, change: &Change, at: Time) -> bool {
    let away = |value: f64| (value - change.before).abs();
    let status = &watched.status;
    let band = status.expected_high.zip(status.expected).map_or(0.0, |(high, mean)| high - mean);
    let farthest = watched.recent.iter().map(|(_, value)| away(*value)).fold(0.0, f64::max);
    let nearer = status.value.is_some_and(|value| farthest - away(value) > band);
    nearer && at - change.detected_at < TimeDelta::seconds(HOMEWARD_MAX_S)
}

/// A value outside its band, dated at its sample.
fn departure(signal: &str, at: Time, before: f64, after: f64) -> Change {
    Change {
        signal: signal.to_owned(),
        kind: ChangeKind::Shift,
        detected_at: at,
        onset: at,
        onset_low: at,
        onset_high: at,
        direction: if after > before { Direction::Up } else { Direction::Down },
        before,
        after,
        score: 0.0,
        threshold: 0.0,
    }
}

/// Whether a value is beyond its band of ordinary values.
pub(super) fn outside(value: f64, low: f64, high: f64) -> bool {
    value < low || high < value
}

/// A change as a symptom of an incident, with what explains it.
pub(super) fn symptom(change: &Change, now: Moved, explanation: Option<&Explanation>) -> Symptom {
    Symptom {
        signal: change.signal.clone(),
        onset: change.onset,
        direction: change.direction,
        before: now.before,
        after: now.after,
        explained: explanation.map_or(0.0, |explanation| explanation.share),
        explanation: explanation.map_or_else(
            || "it moved at about the same time; nothing is declared to drive it".to_owned(),
            |explanation| explanation.text.clone(),
        ),
    }
}

/// Rates are per second; a cause's units are counts. What came within one interval compares with
/// them.
fn counts_per_interval(signal: &str, interval_s: f64) -> f64 {
    if Kind::of(signal) == Kind::Counter { interval_s } else { 1.0 }
}

fn remember(recent: &mut VecDeque<(Time, f64)>, at: Time, value: f64) {
    recent.push_back((at, value));
    // A difference of two times is always one; a time before another may be none.
    let is_old = |(then, _): &(Time, f64)| at - *then > TimeDelta::seconds(RECENT_S);
    while recent.len() > RECENT_MAX || recent.front().is_some_and(is_old) {
        recent.pop_front();
    }
}

/// A flow's sum of late, dated at its largest sample.
fn flowed(recent: &VecDeque<(Time, f64)>, until: Time) -> Option<Moved> {
    let before = recent.iter().filter(|(at, value)| *at <= until && *value > 0.0);
    let (onset, _) = before.clone().fold(None, |largest: Option<(Time, f64)>, (at, value)| {
        largest.filter(|(_, most)| most >= value).or(Some((*at, *value)))
    })?;
    Some(Moved { onset, before: 0.0, after: before.map(|(_, value)| value).sum() })
}

/// The largest rise or fall of late: from an extreme to the opposite one after it.
fn largest_move(recent: &VecDeque<(Time, f64)>, until: Time) -> Option<Moved> {
    let mut largest: Option<Moved> = None;
    let first = recent.front().filter(|(at, _)| *at <= until)?;
    let (mut low, mut high) = (Extreme::at(first), Extreme::at(first));
    for point @ (at, value) in recent.iter().filter(|(at, _)| *at <= until) {
        for extreme in [&mut low, &mut high] {
            if extreme.onset == extreme.start {
                extreme.onset = *at;
            }
            let size = (value - extreme.level).abs();
            if size > largest.map_or(0.0, |found| (found.after - found.before).abs()) {
                let onset = extreme.onset;
                largest = Some(Moved { onset, before: extreme.level, after: *value });
            }
        }
        if *value < low.level {
            low = Extreme::at(point);
        }
        if *value > high.level {
            high = Extreme::at(point);
        }
    }
    largest.map(|found| Moved { onset: half_way(recent, found), ..found })
}

/// When a move had made half of its way: a level that stood for long before it left is not a move.
fn half_way(recent: &VecDeque<(Time, f64)>, found: Moved) -> Time {
    let half = (found.after - found.before).abs() / 2.0;
    let mut since = recent.iter().skip_while(|(at, _)| *at < found.onset);
    let crossing = since.find(|(_, value)| (value - found.before).abs() >= half);
    crossing.map_or(found.onset, |(at, _)| *at)
}

/// An extreme from which a move may have begun.
struct Extreme {
    start: Time,
    onset: Time,
    level: f64,
}

impl Extreme {
    fn at((at, level): &(Time, f64)) -> Extreme {
        Extreme { start: *at, onset: *at, level: *level }
    }
}
