//! Changes of levels that have stayed and that nothing explains: which cause of delta generation or
//! of connections they speak for, and the incidents that follow. A move that belongs to no such
//! cause is `unexplained`.

use chrono::TimeDelta;

use crate::{
    diagnose::{
        causes::unexplained,
        graph::{self, Explanation, Moved},
        services::{Finding, ServiceFacts},
        signatures::{self, CONNECTIONS, Family, Mark},
    },
    incident::{Cause, CauseRecord, Change, Symptom},
    pipeline::{
        MONTH_S, Pipeline, Subject,
        intake::Intake,
        known::is_exact,
        signal_watch::{outside, symptom},
        state::WatchedSignal,
    },
    series::{DELTA_FAILURE_RATIO, DELTA_THROUGHPUT, Direction, Time, seconds},
};

/// A budget of no warnings at all means one in a hundred years.
const WARNING_EVERY_MAX_S: f64 = 100.0 * 12.0 * MONTH_S;
/// Unexplained changes whose onsets lie so near together are taken as one event.
pub(super) const ONE_EVENT_S: i64 = 1_800;
/// Connections that are back within this have been restarted, and are not lost: the contract's.
const RESTART_MAX_S: i64 = 300;
/// Samples for which a change of a measured signal must stay before it is an incident of its own.
const CONFIRMING_SAMPLES: u32 = 2;

/// A change that has stayed, as it stands now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stayed<'a> {
    pub(super) signal: &'a str,
    pub(super) change: &'a Change,
    pub(super) now: Moved,
    pub(super) explanation: Option<&'a Explanation>,
    pub(super) at: Time,
}

impl Stayed<'_> {
    /// How much of it its explanation leaves over.
    fn left(&self) -> f64 {
        let share = self.explanation.map_or(0.0, |explanation| explanation.share);
        (self.now.after - self.now.before).abs() * (1.0 - share)
    }
}

impl WatchedSignal {
    /// Whether a change has stayed for long enough to be told.
    pub(super) fn is_due(&self, signal: &str, at: Time) -> bool {
        let Some(suspect) = &self.suspect else { return false };
        if signatures::is_connection(signal) {
            return at - suspect.change.onset > TimeDelta::seconds(RESTART_MAX_S);
        }
        suspect.samples_since >= CONFIRMING_SAMPLES
    }

    /// How far ordinary values reach in the direction of a move.
    fn band(&self, now: Moved) -> f64 {
        let status = &self.status;
        match (status.expected, status.expected_low, status.expected_high) {
            (Some(expected), Some(low), _) if now.after < now.before => expected - low,
            (Some(expected), _, Some(high)) => high - expected,
            _ => 0.0,
        }
    }

    /// Whether what an explanation leaves over of a move would be ordinary. Counts scatter more
    /// where more is counted: with the square root of their growth.
    pub(super) fn leaves_nothing(&self, now: Moved, explanation: &Explanation) -> bool {
        let left = (now.after - now.before).abs() * (1.0 - explanation.share);
        let wider = explanation.growth.map_or(1.0, |growth| growth.max(1.0).sqrt());
        left <= self.band(now) * wider
    }
}

impl Pipeline {
    /// A change that has stayed: an incident, unless what is left of it after its explanation would
    /// lie within the band of ordinary values.
    pub(super) fn confirm(&mut self, stayed: Stayed<'_>) {
        let Stayed { signal, change, now, explanation, at } = stayed;
        let Some(watched) = self.state.signals.get_mut(signal) else { return };
        watched.suspect = None;
        if explanation.is_some_and(|explanation| watched.leaves_nothing(now, explanation)) {
            return;
        }
        let way = if now.after > now.before { Direction::Up } else { Direction::Down };
        if way != change.direction {
            // It has come back, and farther.
            return;
        }
        let family = signatures::family_of(signal);
        let family = family.filter(|family| family.is_marked_by(signal, change.direction));
        if family.is_none() && (is_exact(signal) || signatures::can_page(signal)) {
            // Connections that come, or a queue that falls, are no incident.
            return;
        }
        if self.is_driven(signal) && !self.is_news(signal, stayed.left(), at) {
            return;
        }
        let (record, candidates) = match family {
            None => (unexplained(change, at), vec![(Cause::Unexplained, 1.0)]),
            Some(family) => self.service_cause(family, stayed),
        };
        if is_exact(signal) && record.cause == Cause::Unexplained {
            return;
        }
        self.tell(stayed, record, candidates);
    }

    /// Opens an incident, or joins the one that began at about the same time: as a symptom, or as
    /// the cause that better fits what is seen by now.
    fn tell(&mut self, stayed: Stayed<'_>, record: CauseRecord, candidates: Vec<(Cause, f64)>) {
        let Stayed { signal, change, now, explanation, at } = stayed;
        let near = self.state.watches.iter().position(|watch| {
            let onsets_apart = (change.onset - watch.incident.first().onset).abs();
            let apart = onsets_apart.min((at - watch.incident.current().detected_at).abs());
            let known = watch.incident.causes.iter().any(|known| known.cause == record.cause);
            let of_one_kind = [record.cause, watch.incident.current().cause]
                .contains(&Cause::Unexplained)
                || candidates.iter().any(|(cause, _)| *cause == watch.incident.current().cause);
            matches!(watch.subject, Subject::Signal(_))
                && (known || of_one_kind)
                && apart <= TimeDelta::seconds(ONE_EVENT_S)
        });
        let Some(index) = near else {
            self.open(record, candidates, Subject::Signal(signal.to_owned()));
            return;
        };
        let revised = record.cause != Cause::Unexplained
            && self.state.watches[index].incident.causes.iter().all(|it| it.cause != record.cause);
        if revised {
            self.revise(index, signal, record, candidates);
        } else {
            let incident = &mut self.state.watches[index].incident;
            incident.symptoms.push(symptom(change, now, explanation));
            incident.note(at, format!("{signal} moved too."));
        }
        self.touch(index);
    }

    /// Another cause fits better than the one that was told.
    fn revise(
        &mut self,
        index: usize,
        signal: &str,
        record: CauseRecord,
        candidates: Vec<(Cause, f64)>,
    ) {
        let subject = Subject::Signal(signal.to_owned());
        let watch = &mut self.state.watches[index];
        let before = std::mem::replace(&mut watch.subject, subject);
        watch.incident.candidates = candidates;
        watch.incident.join(record);
        // What told of the incident first stays with it.
        let first = self.as_symptom(&before);
        self.state.watches[index].incident.symptoms.extend(first);
    }

    /// The open change of the signal that an incident was about, as a symptom of what it is about
    /// now.
    pub(super) fn as_symptom(&self, subject: &Subject) -> Option<Symptom> {
        let Subject::Signal(signal) = subject else { return None };
        let watched = self.state.signals.get(signal.as_str())?;
        let (change, value) = (watched.detector.in_change()?, watched.status.value?);
        let now = Moved { onset: change.onset, before: change.before, after: value };
        Some(symptom(change, now, None))
    }

    /// Which of a family's causes the present standing of its signals speaks for.
    fn service_cause(
        &self,
        family: &Family,
        stayed: Stayed<'_>,
    ) -> (CauseRecord, Vec<(Cause, f64)>) {
        let Stayed { signal, change, at, .. } = stayed;
        let findings = self.findings(family, (signal, change.onset_low), at);
        let moved = |mark: &Mark| {
            let finding = findings.iter().find(|finding| finding.signal == mark.signal)?;
            Some(finding.moved.is_some())
        };
        let sudden = change.detected_at - change.onset <= seconds(2.0 * self.settings.interval_s);
        let candidates = family.candidates(Some(sudden), moved);
        let (cause, probability) = candidates[0];
        if cause == Cause::Unexplained {
            return (CauseRecord { probability, ..unexplained(change, at) }, candidates);
        }
        let marks = family.marks.iter().filter(|mark| moved(mark) == Some(true));
        let onsets = marks.filter_map(|mark| {
            let finding = findings.iter().find(|finding| finding.signal == mark.signal)?;
            finding.moved.map(|(onset, _)| onset)
        });
        let statistic = format!(
            "the change of {signal} scores {:.1} against a threshold of {:.1}; its onset lies \
             between {} and {} UTC",
            change.score,
            change.threshold,
            change.onset_low.format("%H:%M:%S"),
            change.onset_high.format("%H:%M:%S"),
        );
        let facts = ServiceFacts {
            cause,
            onset: onsets.min().unwrap_or(change.onset),
            now: at,
            probability,
            findings: &findings,
            statistic,
            counted: None,
        };
        (facts.record(), candidates)
    }

    /// How every signal of a family stands, of those that are delivered and can be judged. `told`
    /// is the one whose change is being told, and its earliest onset: it has moved.
    pub(super) fn findings(&self, family: &Family, told: (&str, Time), at: Time) -> Vec<Finding> {
        let marks = family.marks.iter();
        marks.filter_map(|mark| self.finding(mark, told, at)).collect()
    }

    fn finding(&self, mark: &Mark, told: (&str, Time), at: Time) -> Option<Finding> {
        if [DELTA_FAILURE_RATIO, DELTA_THROUGHPUT].contains(&mark.signal) {
            let since = self.state.jobs.away_since(mark.signal == DELTA_FAILURE_RATIO)?;
            let status = &self.state.signals.get(mark.signal)?.status;
            let (before, now) = (status.expected?, status.value?);
            let moved = since.map(|onset| (onset, mark.direction));
            return Some(Finding { signal: mark.signal, moved, before, now });
        }
        let watched = self.state.signals.get(mark.signal)?;
        let (value, expected) = (watched.status.value?, watched.status.expected?);
        let (low, high) = (watched.status.expected_low?, watched.status.expected_high?);
        let is_told = mark.signal == told.0;
        let open = watched.detector.in_change();
        let is_of_another_event =
            open.is_some_and(|it| told.1 - it.onset_high > TimeDelta::seconds(ONE_EVENT_S));
        if is_of_another_event && !is_told {
            // It was away already: what the present event does to it cannot be said.
            return None;
        }
        let (onset, before) = open.map_or((at, expected), |it| (it.onset, it.before));
        let now = Moved { onset, before, after: value };
        let away = open.is_some() || outside(value, low, high);
        let explained = || {
            let explanation = self.explain(mark.signal, now).filter(|it| it.growth.is_some());
            explanation.is_some_and(|explanation| watched.leaves_nothing(now, &explanation))
        };
        let direction = match open {
            Some(change) => change.direction,
            None if value > expected => Direction::Up,
            None => Direction::Down,
        };
        let moved = direction == mark.direction && (is_told || away && !explained());
        let moved = moved.then_some((onset, direction));
        Some(Finding { signal: mark.signal, moved, before, now: value })
    }

    /// Connections that fell together and came back within minutes: a record of it, once all are
    /// back.
    pub(super) fn settle_connections(&mut self, intake: &Intake) {
        let signals = CONNECTIONS.marks.iter().map(|mark| mark.signal);
        let suspects: Vec<(&'static str, Change, bool)> = signals
            .filter_map(|signal| {
                let suspect = self.state.signals.get(signal)?.suspect.as_ref()?;
                Some((signal, suspect.change.clone(), suspect.returned))
            })
            .collect();
        let told = self.state.watches.iter().any(|watch| {
            [Cause::ConnectivityLoss, Cause::StatusDrift].contains(&watch.incident.current().cause)
        });
        if told {
            for (signal, ..) in suspects.iter().filter(|(.., returned)| *returned) {
                if let Some(watched) = self.state.signals.get_mut(*signal) {
                    watched.suspect = None;
                }
            }
            return;
        }
        if suspects.is_empty() || suspects.iter().any(|(.., returned)| !returned) {
            return;
        }
        let findings: Vec<Finding> = suspects
            .iter()
            .map(|(signal, change, _)| Finding {
                signal,
                moved: Some((change.onset, change.direction)),
                before: change.before,
                now: change.after,
            })
            .collect();
        for (signal, ..) in &suspects {
            if let Some(watched) = self.state.signals.get_mut(*signal) {
                watched.suspect = None;
            }
        }
        let fell = |(signal, change, _): &&(&str, Change, bool)| {
            change.direction == Direction::Down && CONNECTIONS.is_marked_by(signal, Direction::Down)
        };
        let Some((signal, change, _)) = suspects.iter().find(fell) else { return };
        let onset = suspects.iter().map(|(_, change, _)| change.onset).min();
        let facts = ServiceFacts {
            cause: Cause::VpnRestart,
            onset: onset.unwrap_or(change.onset),
            now: intake.at,
            probability: 1.0,
            findings: &findings,
            statistic: format!(
                "the change of {signal} scored {:.1} against a threshold of {:.1}",
                change.score, change.threshold
            ),
            counted: None,
        };
        let subject = Subject::Signal((*signal).to_owned());
        self.open(facts.record(), vec![(Cause::VpnRestart, 1.0)], subject);
    }

    /// Whether something that is watched drives this signal in a proportion that must be learned.
    pub(super) fn is_driven(&self, signal: &str) -> bool {
        let mut parents = graph::learned_parents(signal, &self.settings.graph);
        parents.any(|parent| self.state.signals.contains_key(parent))
    }

    /// Whether an unexplained move of this size, which has stayed, is rarer than the budget's share
    /// of one signal.
    fn is_news(&mut self, signal: &str, size: f64, at: Time) -> bool {
        let own = self.settings.signals.get(signal).and_then(|own| own.false_alarms_per_month);
        let share = if signatures::can_page(signal) {
            self.pages_a_month_each()
        } else {
            self.settings.false_warnings_per_month / self.warning_shares(at)
        };
        let a_month = own.unwrap_or(share).max(f64::MIN_POSITIVE);
        let every_s = (MONTH_S / a_month).min(WARNING_EVERY_MAX_S);
        let every = TimeDelta::seconds(every_s as i64);
        let watched = self.state.signals.get_mut(signal);
        watched.is_some_and(|watched| watched.moves.is_news(at, size, every))
    }
}
