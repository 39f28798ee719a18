//! The one place where causes meet change events: whatever opened or joined in a step is held
//! against what was changed before it and what was announced of it, before anybody is told. Which
//! events count is `diagnose::coincidence`'s to say; announced causes are followed in `announced`.

use crate::{
    change_event::{ChangeEvent, DATABASE, MAINTENANCE_END, MIGRATION},
    diagnose::{
        coincidence::{Named, Onset, what},
        relevance::is_asked,
    },
    incident::{CauseRecord, EVENT, Evidence, Incident, Severity, TimelineEntry},
    pipeline::{
        Pipeline, Step, Subject,
        intake::Intake,
        state::{Announced, Watch},
    },
    series::Time,
};

/// Events that a cause names when it opens.
const NAMED_MAX: usize = 3;
/// Events and announcements in a cause's evidence, those included that were told of later.
const FACTS_MAX: usize = 10;

/// The part of a description before which changes are told.
const NEXT: &str = "\nNext:\n";

/// What became of an event that somebody told of.
#[derive(Clone, Debug, PartialEq)]
pub enum Posted {
    /// It is new. Open incidents whose evidence it joined, as they now are.
    Taken(Vec<Incident>),
    /// It was told before.
    Known,
    /// It contradicts what is known; why, for people.
    Refused(String),
}

impl Pipeline {
    /// Somebody tells of a change. One that came before the onset of an open incident joins its
    /// evidence; what was told of the incident stays as it was.
    pub fn post(&mut self, event: &ChangeEvent, now: Time) -> Posted {
        let events = &mut self.state.events;
        if let Some(known) = events.same(event) {
            return if known == event {
                Posted::Known
            } else {
                let reason = "this is announced already, with other bounds: end it with an event of \
                              kind maintenance_end, or give the new one another title";
                Posted::Refused(reason.to_owned())
            };
        }
        if event.announcement.is_some() && !events.has_room(now) {
            let reason = "too many announcements have not ended yet: end some that are over";
            return Posted::Refused(reason.to_owned());
        }
        if event.kind == MAINTENANCE_END && !events.end(&event.title, &event.source, event.at) {
            let reason = "no maintenance of this title and source lasts or is to come";
            return Posted::Refused(reason.to_owned());
        }
        events.take(event.clone(), now);
        for index in 0..self.state.watches.len() {
            self.join_late(index, event);
        }
        Posted::Taken(std::mem::take(&mut self.touched).into_values().collect())
    }

    /// Changes that the database itself tells of are events as well.
    pub(super) fn notice_migrations(&mut self, at: Time, step: &mut Step) {
        for title in self.state.ledger.begun(at) {
            let event = ChangeEvent {
                at,
                kind: MIGRATION.to_owned(),
                title: title.to_owned(),
                source: DATABASE.to_owned(),
                announcement: None,
            };
            if self.state.events.same(&event).is_none() {
                step.events.push(event);
            }
        }
        for event in &step.events {
            self.state.events.take(event.clone(), at);
        }
    }

    /// Holds every cause that is new in this step against change events and announcements.
    pub(super) fn consider(&mut self, at: Time, intake: Option<&Intake>) {
        for index in 0..self.state.watches.len() {
            let watch = &mut self.state.watches[index];
            let causes = watch.incident.causes.len();
            for place in std::mem::replace(&mut watch.considered, causes)..causes {
                let record = &self.state.watches[index].incident.causes[place];
                if record.detected_at == at && is_asked(record.cause) {
                    self.put_in_context(index, place, intake);
                }
            }
        }
    }

    fn put_in_context(&mut self, index: usize, place: usize, intake: Option<&Intake>) {
        let watch = &self.state.watches[index];
        let record = &watch.incident.causes[place];
        let goes_on = place > 0 && watch.incident.causes[place - 1].cause == record.cause;
        let held = watch.announced.filter(|_| goes_on);
        let held = held.unwrap_or_else(|| Announced { besides: self.besides(watch, intake) });
        let verdict = self.held_against_announced(watch, record, held, record.detected_at);
        let mut named = self.named(watch, record);
        named.retain(|named| !verdict.facts.iter().any(|fact| fact.event.is_same(&named.event)));
        named.truncate(NAMED_MAX);
        let is_current = place + 1 == watch.incident.causes.len();
        let is_silent = verdict.is_within && is_current && record.severity > Severity::Info;

        let watch = &mut self.state.watches[index];
        watch.announced = is_silent.then_some(held);
        let incident = &mut watch.incident;
        let at = incident.causes[place].detected_at;
        for fact in &verdict.facts {
            incident.note(at, format!("{}.", capitalised(&fact.text)));
        }
        for named in &named {
            tell_before(incident, &named.event);
        }
        if is_silent {
            incident.silence();
        }
        let record = &mut incident.causes[place];
        let summary = record.summary.clone();
        if let Some(clause) = &verdict.clause {
            record.summary = format!("{}; {clause}.", summary.trim_end_matches('.'));
        }
        let announced = verdict.facts.into_iter().map(|fact| fact.text);
        let facts: Vec<String> =
            announced.chain(named.into_iter().map(|named| named.text)).collect();
        describe(record, &facts);
        record.evidence.extend(facts.into_iter().map(fact));
        let told = record.summary.clone();
        let line = incident.timeline.iter_mut().rfind(|line| line.text == summary);
        if let Some(line) = line {
            line.text = told;
        }
        self.touch(index);
    }

    /// An event that was told of after its incident had opened.
    fn join_late(&mut self, index: usize, event: &ChangeEvent) {
        let watch = &self.state.watches[index];
        let causes = watch.incident.causes.iter().enumerate();
        let found = causes.filter(|(_, record)| record.superseded_at.is_none());
        let found: Vec<(usize, String)> = found
            .filter_map(|(place, record)| {
                let named = self.named(watch, record);
                let text = named.into_iter().find(|named| named.event.is_same(event))?.text;
                let known = record.evidence.iter().filter(|fact| fact.kind == EVENT);
                let has_room = known.clone().count() < FACTS_MAX;
                (has_room && known.clone().all(|fact| fact.text != text)).then_some((place, text))
            })
            .collect();
        if found.is_empty() {
            return;
        }
        let incident = &mut self.state.watches[index].incident;
        for (place, text) in found {
            incident.causes[place].evidence.push(fact(text));
        }
        tell_before(incident, event);
        self.touch(index);
    }

    /// The events that are too near before a cause to be there by chance. A migration that its
    /// evidence accounts for is not told twice.
    fn named(&self, watch: &Watch, record: &CauseRecord) -> Vec<Named> {
        if !is_asked(record.cause) {
            return Vec::new();
        }
        let latest = match &watch.subject {
            Subject::Signal(signal) => self.state.signals.get(signal.as_str()),
            _ => None,
        };
        let latest = latest.and_then(|watched| watched.detector.in_change());
        let latest = latest.map_or(record.onset, |change| change.onset_high);
        let onset = Onset {
            cause: record.cause,
            at: record.onset,
            latest: latest.clamp(record.onset, record.detected_at.max(record.onset)),
            interval_s: self.settings.interval_s,
        };
        let mut named = self.state.events.named(onset);
        named.retain(|named| !is_accounted_for(&named.event, record));
        named
    }
}

/// Whether a migration is among the facts that prove a cause.
fn is_accounted_for(event: &ChangeEvent, record: &CauseRecord) -> bool {
    let is_seen = event.kind == MIGRATION && event.source == DATABASE;
    let mut facts = record.evidence.iter().filter(|fact| fact.kind == MIGRATION);
    is_seen && facts.any(|fact| fact.text.contains(&event.title))
}

/// A line of the timeline at the event's own time, before whatever it may have brought about.
fn tell_before(incident: &mut Incident, event: &ChangeEvent) {
    let place = incident.timeline.partition_point(|line| line.at < event.at);
    let line = TimelineEntry { at: event.at, text: format!("{}.", capitalised(&what(event))) };
    if !incident.timeline.contains(&line) {
        incident.timeline.insert(place, line);
    }
}

/// Adds what was changed or announced to a description that nobody has read yet.
fn describe(record: &mut CauseRecord, facts: &[String]) {
    if facts.is_empty() {
        return;
    }
    let text = &mut record.description;
    let place = text.rfind(NEXT).unwrap_or(text.len());
    let gap = if text[..place].ends_with('\n') { "" } else { "\n" };
    let mut section = format!("{gap}\nChanged or announced before it:\n");
    for fact in facts {
        section += &format!("- {fact}\n");
    }
    text.insert_str(place, &section);
}

fn fact(text: String) -> Evidence {
    Evidence { kind: EVENT.to_owned(), text }
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}
