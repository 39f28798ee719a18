//! Sources without samples: the daemon's own blindness, told apart from anything the fleet does.

use chrono::TimeDelta;

use crate::{
    diagnose::causes::{LostFacts, sampling_lost},
    incident::{Cause, Severity},
    observation::Failure,
    pipeline::{Pipeline, Subject},
    series::{Time, seconds},
};

/// Samples missed in a row before anybody is told.
const WARNING_SAMPLES: u32 = 3;
/// Blindness that wakes somebody: the longer of this …
const CRITICAL_S: f64 = 300.0;
/// … and this many intervals.
const CRITICAL_INTERVALS: f64 = 10.0;

impl Pipeline {
    /// A source gave no sample.
    pub(super) fn miss(&mut self, name: &str, at: Time, failure: &Failure) {
        let open = self.lost_index(name);
        let limit = self.blind_max();
        let source = self.state.sources.entry(name.to_owned()).or_default();
        source.missed += 1;
        let first_missed = *source.first_missed.get_or_insert(at);
        let blind_since = source.last_good.unwrap_or(first_missed);
        let blind = at - blind_since;
        let severity = if blind >= limit { Severity::Critical } else { Severity::Warning };
        let told = open.map(|index| self.state.watches[index].incident.current().severity);
        if source.missed < WARNING_SAMPLES || told.is_some_and(|told| told >= severity) {
            return;
        }
        let record = sampling_lost(LostFacts {
            source: name,
            onset: first_missed,
            now: at,
            last_good: source.last_good,
            missed: source.missed,
            reason: &failure.message,
            is_fleet: source.is_fleet,
            severity,
        });
        match open {
            None => {
                let subject = Subject::Source(name.to_owned());
                self.open(record, vec![(Cause::SamplingLost, 1.0)], subject);
            }
            Some(index) => {
                let incident = &mut self.state.watches[index].incident;
                if let Some(earlier) = incident.causes.last_mut() {
                    earlier.superseded_at = Some(at);
                }
                incident.join(record);
                self.touch(index);
            }
        }
    }

    /// A source gave the same sample again. One that says that it is behind shows nothing of the
    /// present: people hear of it when that has lasted as long as blindness may. Nobody is woken:
    /// what comes late comes.
    pub(super) fn stand_still(&mut self, name: &str, at: Time, behind_s: Option<f64>) {
        let Some(behind_s) = behind_s.filter(|behind_s| *behind_s > self.settings.interval_s)
        else {
            self.found(name, at);
            return;
        };
        let limit = self.blind_max();
        let source = self.state.sources.entry(name.to_owned()).or_default();
        (source.missed, source.first_missed) = (0, None);
        source.stale += 1;
        let last_good = *source.last_good.get_or_insert(at);
        if at - last_good < limit || self.lost_index(name).is_some() {
            return;
        }
        let source = &self.state.sources[name];
        let reason = format!(
            "they repeat one another, and the replica is {behind_s:.0} s behind: look at its \
             replication"
        );
        let record = sampling_lost(LostFacts {
            source: name,
            onset: last_good + seconds(self.settings.interval_s),
            now: at,
            last_good: source.last_good,
            missed: source.stale,
            reason: &reason,
            is_fleet: source.is_fleet,
            severity: Severity::Warning,
        });
        let subject = Subject::Source(name.to_owned());
        self.open(record, vec![(Cause::SamplingLost, 1.0)], subject);
    }

    /// Blindness that lasts so long is told at once.
    fn blind_max(&self) -> TimeDelta {
        seconds(CRITICAL_S.max(CRITICAL_INTERVALS * self.settings.interval_s))
    }

    /// The open incident of a source's blindness.
    fn lost_index(&self, name: &str) -> Option<usize> {
        let watches = &self.state.watches;
        watches
            .iter()
            .position(|watch| matches!(&watch.subject, Subject::Source(lost) if lost == name))
    }

    /// A source gave a sample.
    pub(super) fn found(&mut self, name: &str, at: Time) {
        let source = self.state.sources.entry(name.to_owned()).or_default();
        source.missed = 0;
        source.stale = 0;
        source.first_missed = None;
        source.last_good = Some(at);
        let open = self.lost_index(name);
        if let Some(index) = open {
            self.resolve(index, at);
        }
    }
}
