//! Changes that stay: what has stood where it is for a day is proposed as the new normal, once a
//! day, in the incident's timeline and wherever it is shown. Nobody is notified of it.
//!
//! That it stands is tested: of a signal by its detector (`detect::steady`), of a flow by the test
//! that found it, which has found neither more of it nor its way back, and of signals that are gone
//! by no more of them being gone. Delta jobs that fail, and a daemon that is blind, are faults for
//! as long as they last, and never proposed.

use chrono::TimeDelta;

use crate::{
    diagnose::texts::{count, level},
    pipeline::{Pipeline, Subject},
    series::Time,
};

/// Between two proposals, and before the first: the contract's.
const EVERY: TimeDelta = TimeDelta::hours(24);

impl Pipeline {
    /// Proposes to accept what has stood for a day, and takes it back of what moves again.
    pub(super) fn propose_acceptance(&mut self, at: Time) {
        for index in 0..self.state.watches.len() {
            let Some((since, what)) = self.stands(index, at) else { continue };
            let watch = &mut self.state.watches[index];
            let incident = &mut watch.incident;
            if at - since < EVERY {
                if incident.proposes_acceptance_since.take().is_some() {
                    watch.proposed_at = None;
                    incident
                        .note(at, "It moves again: it is not proposed to be accepted any more.");
                    self.touch(index);
                }
                continue;
            }
            if watch.proposed_at.is_some_and(|proposed| at - proposed < EVERY) {
                continue;
            }
            watch.proposed_at = Some(at);
            incident.proposes_acceptance_since.get_or_insert(at);
            let hours = count((at - since).num_hours());
            incident
                .note(at, format!("{what} for {hours} h: if this is the new normal, accept it."));
            self.touch(index);
        }
    }

    /// Since when what an incident is about stands where it is, and how that is said; `None` where
    /// this sample does not say, or where it can be no new normal.
    fn stands(&mut self, index: usize, at: Time) -> Option<(Time, String)> {
        let watch = &mut self.state.watches[index];
        let still_since = *watch.still_since.get_or_insert(at);
        match &watch.subject {
            Subject::Signal(signal) => {
                let watched = self.state.signals.get(signal.as_str())?;
                let now = watched.status.value.filter(|_| watched.status.at == Some(at))?;
                let since = watched.detector.steady_since()?;
                Some((since, format!("{signal} has stayed at about {}", level(now))))
            }
            Subject::Mass(_) => {
                self.state.fleet.as_ref().filter(|fleet| fleet.at == at)?;
                Some((still_since, "Neither more of it nor its way back has come".to_owned()))
            }
            Subject::Lost(lost) => {
                let source = self.state.sources.get(&lost.source)?;
                source.last_good.filter(|good| *good == at)?;
                Some((still_since, "Nothing of it has come back".to_owned()))
            }
            Subject::Owner(_) | Subject::Jobs(_) | Subject::Source(_) => None,
        }
    }
}
