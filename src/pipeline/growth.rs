//! Signals that move on while an incident speaks for them: what was told of them is true no more.
//! That they have moved on is the detector's word; incidents of a known cause, whose signals are
//! expected to move, have words of their own.

use chrono::TimeDelta;

use crate::{
    diagnose::{causes::unexplained, graph::Moved, texts::level},
    incident::{Cause, Change, EVENT},
    pipeline::{
        Pipeline, Subject,
        services::{ONE_EVENT_S, Stayed},
        state::Watch,
    },
    series::Time,
};

impl Pipeline {
    /// A change that was raised, and has stayed, after an incident had spoken for its signal: it
    /// has gone on to twice what was told, or turned into its opposite. Soon after the incident it
    /// is the same event, whose figures are brought up to date. Later it is another incident: an
    /// alert is told once, however its figures change, so nobody would hear of it.
    pub(super) fn go_on(&mut self, signal: &str, change: &Change, now: Moved, at: Time) {
        if self.has_mass_watch() {
            return;
        }
        let Some(index) = self.state.watches.iter().rposition(|watch| speaks_for(watch, signal))
        else {
            return;
        };
        if let Some(watched) = self.state.signals.get_mut(signal) {
            watched.suspect = None;
        }
        let Watch { incident, subject, .. } = &mut self.state.watches[index];
        let told_at = incident.first().detected_at;
        if change.detected_at <= told_at {
            return;
        }
        let (before, after) = (level(now.before), level(now.after));
        incident.note(at, format!("{signal} has moved on: from {before} to {after}."));
        let is_own = matches!(subject, Subject::Signal(own) if own == signal);
        if at - told_at <= TimeDelta::seconds(ONE_EVENT_S) {
            if is_own && let Some(record) = incident.causes.last_mut() {
                let told = Change { onset: record.onset, after: now.after, ..change.clone() };
                let fresh = unexplained(&told, at);
                record.title = fresh.title;
                record.summary = fresh.summary;
                record.description = fresh.description;
                record.evidence.retain(|fact| fact.kind == EVENT);
                record.evidence.splice(0..0, fresh.evidence);
            }
            self.touch(index);
            return;
        }
        self.touch(index);
        let speaking = |pipeline: &Pipeline| {
            let watches = pipeline.state.watches.iter();
            watches.filter(|watch| speaks_for(watch, signal)).count()
        };
        let before = speaking(self);
        let explanation = self.explain(signal, now);
        self.confirm(Stayed { signal, change, now, explanation: explanation.as_ref(), at });
        if is_own && speaking(self) > before {
            let incident = &mut self.state.watches[index].incident;
            incident.note(at, "Another incident tells of it from here on.");
            self.resolve(index, at, "another incident goes on from here");
        }
    }
}

/// Whether an incident of signals that nothing explains is, among others, about this one.
fn speaks_for(watch: &Watch, signal: &str) -> bool {
    let Subject::Signal(own) = &watch.subject else { return false };
    if watch.incident.current().cause != Cause::Unexplained {
        return false;
    }
    own == signal || watch.incident.symptoms.iter().any(|symptom| symptom.signal == signal)
}
