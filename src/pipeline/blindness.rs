//! Sources without samples, or with the same one again and again: the daemon's own blindness, told
//! apart from anything the fleet does.

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use crate::{
    diagnose::lost::{LostFacts, StandingFacts, sampling_lost, standing_still},
    incident::{Cause, Severity},
    observation::Failure,
    pipeline::{Pipeline, Subject, arrival::Repeats},
    series::{Time, seconds},
};

/// Samples missed in a row before anybody is told.
const WARNING_SAMPLES: u32 = 3;
/// Blindness that wakes somebody: the longer of this …
const CRITICAL_S: f64 = 300.0;
/// … and this many intervals.
const CRITICAL_INTERVALS: f64 = 10.0;
/// A source that has stood still before is told of when it stands for longer, by this factor …
const STANDING_FACTOR: f64 = 1.25;
/// … and after a week in any case: what repeats itself at all repeats itself weekly.
const STANDING_MAX_S: f64 = 7.0 * 86_400.0;

/// How a source stands still that does not say that it is behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Standing {
    /// The row that it repeats.
    since: Option<Time>,
    /// Its repeats that were held to be stale.
    rows: u32,
    /// The two longest times that it stood and went on, in seconds. What happened twice is
    /// ordinary; what happened once may have been a fault.
    longest_s: [f64; 2],
}

impl Standing {
    /// The row of `latest` came again.
    fn repeated(&mut self, latest: Time) {
        self.since.get_or_insert(latest);
        self.rows = self.rows.saturating_add(1);
    }

    /// It goes on; `latest` was its last sample before.
    fn ended(&mut self, latest: Option<Time>) {
        if let Some((since, latest)) = self.since.zip(latest) {
            let stood_s = (latest - since).as_seconds_f64();
            let [longest, second] = self.longest_s;
            self.longest_s =
                if stood_s > longest { [stood_s, longest] } else { [longest, second.max(stood_s)] };
        }
        self.interrupted();
    }

    /// What comes next cannot be compared with what was.
    pub(super) fn interrupted(&mut self) {
        (self.since, self.rows) = (None, 0);
    }

    /// Since when it stands, if that is longer than blindness may last and than it ever stood twice
    /// before.
    fn is_blind(&self, at: Time, limit: TimeDelta) -> Option<Time> {
        let ordinary_s = (self.longest_s[1] * STANDING_FACTOR).min(STANDING_MAX_S);
        self.since.filter(|since| {
            let stood = at - *since;
            self.rows >= WARNING_SAMPLES && stood >= limit && stood.as_seconds_f64() > ordinary_s
        })
    }
}

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
                self.state.watches[index].incident.supersede(at, record);
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
            self.repeat_itself(name, at);
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

    /// A source that does not say that it is behind gave the same row again, which its history
    /// makes too improbable. Either it is stuck, or everything that it measures stands where it is:
    /// nothing tells these apart, and both are told as what they are once that has lasted, with
    /// what its last news would be. A change whose row is repeated is thus never confirmed, and
    /// never lost.
    fn repeat_itself(&mut self, name: &str, at: Time) {
        let limit = self.blind_max();
        let source = self.state.sources.entry(name.to_owned()).or_default();
        // It answers.
        (source.missed, source.stale, source.first_missed) = (0, 0, None);
        source.standing.repeated(source.last_good.unwrap_or(at));
        source.last_good = Some(at);
        if source.is_fleet {
            // A replica says by itself how far it is behind, and is told of by that.
            return;
        }
        let standing = source.standing;
        let open = self.lost_index(name);
        let Some(since) = standing.is_blind(at, limit) else {
            if let Some(index) = open {
                self.resolve(index, at, "the source no longer stands still");
            }
            return;
        };
        if open.is_some() {
            return;
        }
        let own = self.state.signals.values().filter(|watched| watched.source == name);
        let moved = own.filter_map(|watched| Some(&watched.suspect.as_ref()?.change));
        let record = standing_still(StandingFacts {
            source: name,
            onset: since + seconds(self.settings.interval_s),
            now: at,
            since,
            repeats: standing.rows,
            moved: &moved.collect::<Vec<_>>(),
        });
        let subject = Subject::Source(name.to_owned());
        self.open(record, vec![(Cause::SamplingLost, 1.0)], subject);
    }

    /// An operator has looked at a source that stands still, and it does: its rows are taken as
    /// they are from now on. Accepted, its levels are the new normal.
    pub(super) fn believe_standing(&mut self, name: &str, accepted: bool) {
        let Some(source) = self.state.sources.get_mut(name) else { return };
        if source.standing.since.is_none() {
            return;
        }
        source.standing.interrupted();
        source.repeats = Repeats::default();
        for watched in self.state.signals.values_mut() {
            if accepted && watched.source == name && watched.detector.in_change().is_some() {
                watched.suspect = None;
                watched.rebase();
            }
        }
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
        source.standing.ended(source.last_good);
        source.last_good = Some(at);
        let open = self.lost_index(name);
        if let Some(index) = open {
            self.resolve(index, at, "the source gives samples again");
        }
    }
}
