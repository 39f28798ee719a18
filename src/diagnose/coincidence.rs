//! Change events before an onset: which of them are so near that chance hardly brought them there.
//! Remembers how often each source tells of each kind of change, and the latest events. What an
//! announcement covers is `announced`'s, and where the sentences stand whoever asked.
//!
//! Events of one kind and source are a Poisson process whose rate has a Gamma prior. After n of
//! them in T seconds the chance that one falls by accident within the d seconds before an onset is
//! 1 - (1 + d / (b + T))^-(a + n), the posterior predictive (a negative binomial, of which this is
//! everything but zero: Gelman et al. 2013, Bayesian Data Analysis, 3rd ed., section 2.6). The
//! prior is declared: one event a day, with the weight of a single one (a = 1, b = a day).
//!
//! Several kinds and sources are several chances of an accident. With weights w that say what a
//! kind ordinarily brings (`relevance`), an event is named if its chance is at most α w / Σ w over
//! all of them (the weighted procedure of Bonferroni: Genovese, Roeder & Wasserman 2006, Biometrika
//! 93, 509): of a hundred causes that no change brought about, one names an event, at most.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::relevance::weight;
use crate::{
    change_event::{ChangeEvent, DATABASE, HEADWATER_START},
    diagnose::texts::{count, hms, quoted},
    incident::Cause,
    series::Time,
};

/// The declared prior of a rate: so many events …
const PRIOR_EVENTS: f64 = 1.0;
/// … in so many seconds.
const PRIOR_S: f64 = DAY_S;
const DAY_S: f64 = 86_400.0;

/// α: causes among which one may name an event that chance brought there.
const ACCIDENTS: f64 = 0.01;

/// Events that are kept. Of what comes often the older ones go first: only the latest can be near.
const EVENTS_MAX: usize = 256;
/// Sources whose rates are kept, and kinds of each: as many as people name on purpose.
const SOURCES_MAX: usize = 128;
const KINDS_MAX: usize = 32;

/// Announcements that have not ended yet, at most: each has to be looked at whenever a cause opens.
const ANNOUNCEMENTS_MAX: usize = 100;
/// So long after its end an announcement is kept in any case: what goes on after it is said to.
const ANNOUNCEMENT_KEPT_S: i64 = 86_400;

/// A title's and a source's length in a sentence, in characters.
const TITLE_MAX: usize = 120;
const SOURCE_MAX: usize = 60;

/// What is remembered of change events.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EventHistory {
    /// The latest of each kind and source, in the order of their times.
    recent: Vec<Kept>,
    /// By name.
    sources: BTreeMap<String, Source>,
}

/// An event that is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// The event.
    pub event: ChangeEvent,
    /// Of an announcement: devices that incidents within it have changed which are over.
    pub spent: u64,
}

/// Who tells of events, and how often.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Source {
    /// Its first event: from then on its silence says that nothing happened.
    first_at: Time,
    /// Its latest that is not to come.
    latest_at: Time,
    /// Events by kind.
    counts: BTreeMap<String, u64>,
}

/// For which cause an explanation is sought.
#[derive(Clone, Copy, Debug)]
pub struct Onset {
    /// The cause.
    pub cause: Cause,
    /// Its onset, the first sample in which it shows.
    pub at: Time,
    /// The last moment at which it may have begun: what came later is none of its reasons.
    pub latest: Time,
    /// Seconds between two samples: nothing is nearer than what can be told apart.
    pub interval_s: f64,
}

/// An event that is too near to be there by chance.
#[derive(Clone, Debug, PartialEq)]
pub struct Named {
    /// The event.
    pub event: ChangeEvent,
    /// In a clause: what, by whom, when, and how often such events come.
    pub text: String,
    /// The chance that an event of its kind and source is as near by accident, over its weight.
    rank: f64,
}

impl EventHistory {
    /// The event that this one tells again.
    pub fn same(&self, event: &ChangeEvent) -> Option<&ChangeEvent> {
        self.recent.iter().map(|kept| &kept.event).find(|known| known.is_same(event))
    }

    /// Takes an event in that is not known yet.
    pub fn take(&mut self, event: ChangeEvent, now: Time) {
        let source = self.sources.entry(event.source.clone()).or_insert_with(|| Source {
            first_at: event.at,
            latest_at: event.at,
            counts: BTreeMap::new(),
        });
        source.first_at = source.first_at.min(event.at);
        source.latest_at = source.latest_at.max(event.at.min(now));
        if source.counts.len() >= KINDS_MAX && !source.counts.contains_key(&event.kind) {
            remove_least(&mut source.counts, |count| *count);
        }
        *source.counts.entry(event.kind.clone()).or_insert(0) += 1;
        if self.sources.len() > SOURCES_MAX {
            remove_least(&mut self.sources, |source| source.latest_at);
        }
        let place = self.recent.partition_point(|kept| kept.event.at <= event.at);
        self.recent.insert(place, Kept { event, spent: 0 });
        if self.recent.len() > EVENTS_MAX {
            self.drop_one(now);
        }
    }

    /// Drops the oldest event of the kind and source that has most of them, but no announcement
    /// that is still needed.
    fn drop_one(&mut self, now: Time) {
        let free = |kept: &&Kept| !is_needed(&kept.event, now);
        let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        for Kept { event, .. } in self.recent.iter().filter(free) {
            *counts.entry((&event.source, &event.kind)).or_insert(0) += 1;
        }
        let most = counts.into_iter().max_by_key(|(_, count)| *count);
        let oldest = most.and_then(|((source, kind), _)| {
            let own = |kept: &Kept| kept.event.source == source && kept.event.kind == kind;
            self.recent.iter().position(|kept| own(kept) && free(&kept))
        });
        if let Some(oldest) = oldest {
            self.recent.remove(oldest);
        }
    }

    /// Whether another announcement can be remembered for as long as it will be needed.
    pub fn has_room(&self, now: Time) -> bool {
        let pending = |kept: &&Kept| {
            kept.event.announcement.as_ref().is_some_and(|announced| announced.until > now)
        };
        self.recent.iter().filter(pending).count() < ANNOUNCEMENTS_MAX
    }

    /// Everything that is announced, with its bounds or without.
    pub fn announcements(&self) -> impl Iterator<Item = &Kept> {
        self.recent.iter().filter(|kept| kept.event.announcement.is_some())
    }

    /// Ends what was announced by this title and source and would still last, or begin. Says
    /// whether there was any.
    pub fn end(&mut self, title: &str, source: &str, at: Time) -> bool {
        let mut ended = false;
        for Kept { event, .. } in &mut self.recent {
            let begins = event.at;
            if let Some(announced) = &mut event.announcement
                && (event.title == title && event.source == source)
                && at < announced.until
            {
                announced.until = at.max(begins);
                ended = true;
            }
        }
        ended
    }

    /// What an incident within announcements of its cause has changed counts against the next one.
    pub fn spend(&mut self, cause: Cause, onset: Time, devices: u64) {
        for kept in &mut self.recent {
            let event = &kept.event;
            let covers = |(expected, until): (&_, Time)| {
                let expected: &crate::change_event::Expected = expected;
                expected.cause == cause && event.at <= onset && onset <= until
            };
            if event.expects().is_some_and(covers) {
                kept.spent = kept.spent.saturating_add(devices);
            }
        }
    }

    /// The events that are too near before an onset to be there by chance, the least accidental
    /// first.
    pub fn named(&self, onset: Onset) -> Vec<Named> {
        let mut weights: BTreeMap<(&str, &str), f64> = BTreeMap::new();
        for Kept { event, .. } in &self.recent {
            weights.insert((&event.source, &event.kind), weight(&event.kind, onset.cause));
        }
        let all: f64 = weights.values().sum();
        let before = self.recent.iter().rev().filter(|kept| kept.event.at <= onset.latest);
        let mut named: Vec<Named> = before
            .filter_map(|Kept { event, .. }| {
                let weight = weight(&event.kind, onset.cause);
                let rank = self.chance(event, onset)? / weight;
                let text = self.sentence(event, onset);
                let is_near = weight > 0.0 && rank <= ACCIDENTS / all;
                is_near.then(|| Named { event: event.clone(), text, rank })
            })
            .collect();
        named.sort_by(|a, b| a.rank.total_cmp(&b.rank));
        named
    }

    /// The chance that an event of this kind and source comes as near before an onset by accident.
    fn chance(&self, event: &ChangeEvent, onset: Onset) -> Option<f64> {
        let (others, observed_s) = self.others(event, onset.at)?;
        let before_s = (onset.at - event.at).as_seconds_f64().max(onset.interval_s);
        // ln(1 + x) and exp(x) - 1, because chances of one in a million are what this is about.
        let none = -(PRIOR_EVENTS + others as f64) * (before_s / (PRIOR_S + observed_s)).ln_1p();
        Some(-none.exp_m1())
    }

    /// Other events of this kind and source, and the seconds in which they were counted.
    fn others(&self, event: &ChangeEvent, onset: Time) -> Option<(u64, f64)> {
        let source = self.sources.get(&event.source)?;
        let others = source.counts.get(&event.kind)?.saturating_sub(1);
        let observed = onset.max(source.latest_at) - source.first_at;
        Some((others, observed.as_seconds_f64().max(0.0)))
    }

    fn sentence(&self, event: &ChangeEvent, onset: Onset) -> String {
        let before_s = (onset.at - event.at).as_seconds_f64();
        let when = if before_s >= 1.0 {
            format!("{} before the onset", span(before_s))
        } else {
            "at the time of the onset".to_owned()
        };
        let often = self.others(event, onset.at).map_or(String::new(), |(others, observed_s)| {
            format!("; {}", frequency(others, observed_s))
        });
        format!("{} at {} UTC, {when}{often}", what(event), hms(event.at))
    }
}

/// An event in words, without its time: `deploy "api v38" by ci`.
pub fn what(event: &ChangeEvent) -> String {
    let title = quoted(&event.title, TITLE_MAX);
    if event.kind == HEADWATER_START {
        return title;
    }
    let kind = quoted(&event.kind, SOURCE_MAX);
    if event.source == DATABASE {
        return format!("{kind} \"{title}\" in the database");
    }
    format!("{kind} \"{title}\" by {}", quoted(&event.source, SOURCE_MAX))
}

fn is_needed(event: &ChangeEvent, now: Time) -> bool {
    event
        .announcement
        .as_ref()
        .is_some_and(|announced| (now - announced.until).num_seconds() < ANNOUNCEMENT_KEPT_S)
}

fn remove_least<T, K: Ord>(map: &mut BTreeMap<String, T>, key: impl Fn(&T) -> K) {
    let least = map.iter().min_by_key(|(_, value)| key(value)).map(|(name, _)| name.clone());
    if let Some(least) = least {
        map.remove(&least);
    }
}

/// `42 s`, `5 min`, `3 h`, `2 days`: what people say of a time that is past.
pub fn span(length_s: f64) -> String {
    let (unit_s, unit) = match length_s {
        short if short < 120.0 => (1.0, "s"),
        short if short < 7_200.0 => (60.0, "min"),
        long if long < 2.0 * DAY_S => (3_600.0, "h"),
        _ => (DAY_S, "days"),
    };
    format!("{} {unit}", count((length_s / unit_s).round() as i64))
}

/// How often such events come, in the unit in which they come about once or more.
fn frequency(others: u64, observed_s: f64) -> String {
    if others == 0 {
        return match observed_s {
            short if short < DAY_S => "it is the first such event".to_owned(),
            long => format!("it is the first such event in {}", span(long)),
        };
    }
    if observed_s < DAY_S {
        let times = times(others as f64 + 1.0);
        return format!("such events came {times} in {}", span(observed_s));
    }
    let a_day = others as f64 / (observed_s / DAY_S);
    let units = [(1.0, "a day"), (7.0, "a week"), (30.0, "a month"), (365.0, "a year")];
    let unit = units.into_iter().find(|(days, _)| (a_day * days).round() >= 1.0);
    match unit {
        Some((days, unit)) => format!("such events come {} {unit}", times(a_day * days)),
        None => "such events come less than once a year".to_owned(),
    }
}

fn times(number: f64) -> String {
    match number.round() as i64 {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        many => format!("{} times", count(many)),
    }
}

#[cfg(test)]
mod tests;
