//! Sources without samples: the daemon's own blindness, told apart from anything the fleet does.

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
        let source = self.state.sources.entry(name.to_owned()).or_default();
        source.missed += 1;
        let first_missed = *source.first_missed.get_or_insert(at);
        let blind_since = source.last_good.unwrap_or(first_missed);
        let blind = at - blind_since;
        let limit_s = CRITICAL_S.max(CRITICAL_INTERVALS * self.settings.interval_s);
        let critical = blind >= seconds(limit_s);
        let severity = if critical { Severity::Critical } else { Severity::Warning };
        let open = self
            .state
            .watches
            .iter()
            .position(|watch| matches!(&watch.subject, Subject::Source(lost) if lost == name));
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

    /// A source gave a sample.
    pub(super) fn found(&mut self, name: &str, at: Time) {
        let source = self.state.sources.entry(name.to_owned()).or_default();
        source.missed = 0;
        source.first_missed = None;
        source.last_good = Some(at);
        let open = self
            .state
            .watches
            .iter()
            .position(|watch| matches!(&watch.subject, Subject::Source(lost) if lost == name));
        if let Some(index) = open {
            self.resolve(index, at);
        }
    }
}
