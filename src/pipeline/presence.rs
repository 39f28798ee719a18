//! Signals that go while their source answers: a query that matches nothing any more, a column that
//! was dropped, a grant that was taken. A source that does not answer at all is `blindness`.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use crate::{
    diagnose::lost::{GoneFacts, signal_lost},
    incident::Cause,
    pipeline::{Pipeline, Subject, intake::Intake, state::LostSignals},
    series::{BUILT_IN, Time},
};

/// Samples of its source without it, until a signal is lost.
const LOST_SAMPLES: u32 = 10;
/// A signal that was there for less than this is not missed.
const PRESENT_MIN: TimeDelta = TimeDelta::days(1);
/// A signal that comes and goes is missed when it stays away for longer than it did before, by this
/// factor …
const ABSENCE_FACTOR: f64 = 1.25;
/// … and after a day in any case.
const ABSENCE_MAX_S: f64 = 86_400.0;

/// What every number about the fleet is about.
const DEVICES: &str = "devices";

/// Whether a signal is there when its source answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Presence {
    /// Its first value.
    since: Option<Time>,
    /// Samples of its source in a row without it.
    absent: u32,
    /// The first of them.
    gone_at: Option<Time>,
    /// The two longest absences that ended. What happened twice is ordinary; what happened once may
    /// have been the incident that this is about.
    longest: [u32; 2],
    /// Its absence was told.
    told: bool,
}

impl Presence {
    fn found(&mut self, at: Time) {
        self.since.get_or_insert(at);
        let [longest, second] = self.longest;
        self.longest = if self.absent > longest {
            [self.absent, longest]
        } else {
            [longest, second.max(self.absent)]
        };
        (self.absent, self.gone_at, self.told) = (0, None, false);
    }

    fn missed(&mut self, at: Time) {
        self.gone_at.get_or_insert(at);
        self.absent = self.absent.saturating_add(1);
    }

    /// What was told is forgotten: nobody heard it.
    pub(super) fn unsay(&mut self) {
        self.told = false;
    }

    /// Whether it has been away for longer than is ordinary, having been there until `latest`.
    fn is_lost(&self, latest: Time, interval_s: f64) -> bool {
        let ordinary =
            (f64::from(self.longest[1]) * ABSENCE_FACTOR).min(ABSENCE_MAX_S / interval_s);
        let present = self.since.is_some_and(|since| latest - since >= PRESENT_MIN);
        present && self.absent >= LOST_SAMPLES && f64::from(self.absent) > ordinary
    }
}

/// Signals that are missing because what they are about is not there: nobody misses those.
struct Nothing {
    /// By what is declared of them.
    signals: Vec<&'static str>,
    /// There is no device, and so nothing that a query could say of any.
    no_device: bool,
}

impl Nothing {
    fn holds(&self, signal: &str) -> bool {
        (self.no_device && signal != DEVICES) || self.signals.contains(&signal)
    }
}

impl Pipeline {
    /// Takes note of which of a source's signals its sample holds, and tells of those that have
    /// gone. Those that go together are one incident.
    pub(super) fn watch_presence(&mut self, intake: &Intake) {
        let nothing = self.about_nothing();
        let mut lost = Vec::new();
        // Both are in the order of names: one walk over both costs less than a search for each.
        let mut present = intake.recordable.keys().peekable();
        for (signal, watched) in &mut self.state.signals {
            while present.next_if(|other| *other < signal).is_some() {}
            if present.next_if(|other| *other == signal).is_some() {
                watched.presence.found(intake.at);
                continue;
            }
            if watched.source != intake.source || nothing.holds(signal) {
                continue;
            }
            watched.presence.missed(intake.at);
            let Some((latest, _)) = watched.raw else { continue };
            if watched.presence.absent >= LOST_SAMPLES {
                // An old number would look like a present one.
                (watched.status.value, watched.status.score) = (None, None);
            }
            if !watched.presence.told && watched.presence.is_lost(latest, self.settings.interval_s)
            {
                watched.presence.told = true;
                lost.push((signal.to_string(), watched.presence));
            }
        }
        if !lost.is_empty() {
            self.tell_lost(&intake.source, &lost, intake.at);
        }
        self.resolve_found_signals(intake);
    }

    /// What there can be no value of now. Whoever lost every device knows, and is not told of each
    /// number about devices too.
    fn about_nothing(&self) -> Nothing {
        let latest = |signal: &str| self.state.signals.get(signal)?.status.value;
        let idle = BUILT_IN.iter().filter(|signal| {
            let needs = signal.needs.and_then(|(needed, above)| Some((latest(needed)?, above)));
            needs.is_some_and(|(value, above)| value <= above)
        });
        let signals = idle.map(|signal| signal.name).collect();
        Nothing { signals, no_device: latest(DEVICES) == Some(0.0) }
    }

    fn tell_lost(&mut self, source: &str, lost: &[(String, Presence)], at: Time) {
        let names: BTreeSet<String> = lost.iter().map(|(signal, _)| signal.clone()).collect();
        for watch in 0..self.state.watches.len() {
            let Subject::Lost(known) = &mut self.state.watches[watch].subject else { continue };
            if known.source != source {
                continue;
            }
            known.signals.extend(names.iter().cloned());
            let list = names.into_iter().collect::<Vec<_>>().join(", ");
            self.state.watches[watch].incident.note(at, format!("Gone too: {list}."));
            self.state.watches[watch].still_since = Some(at);
            self.touch(watch);
            return;
        }
        let onset = lost.iter().filter_map(|(_, presence)| presence.gone_at).min();
        let signals: Vec<&str> = names.iter().map(String::as_str).collect();
        let record = signal_lost(GoneFacts {
            source,
            signals: &signals,
            onset: onset.unwrap_or(at),
            now: at,
            absent: lost.iter().map(|(_, presence)| presence.absent).max().unwrap_or_default(),
        });
        let subject = Subject::Lost(LostSignals { source: source.to_owned(), signals: names });
        self.open(record, vec![(Cause::SignalLost, 1.0)], subject);
    }

    /// Ends the incident of a source's signals when every one is back, or nobody's any more.
    fn resolve_found_signals(&mut self, intake: &Intake) {
        let ended = self.state.watches.iter().position(|watch| {
            let Subject::Lost(known) = &watch.subject else { return false };
            let is_back = |signal: &String| {
                let watched = self.state.signals.get(signal.as_str());
                watched.is_none_or(|watched| watched.presence.absent == 0)
            };
            known.source == intake.source && known.signals.iter().all(is_back)
        });
        if let Some(index) = ended {
            self.resolve(index, intake.at, "what was missing is there again, or watched no more");
        }
    }
}
