//! Plays a kind on a warmed-up fleet and judges what was told: of each cause that had to be told
//! whether it was, whether it was the first thing told, and after how many samples; and with which
//! probability each thing was told that was told.

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use chrono::TimeDelta;
use headwater::{
    incident::{Cause, CauseRecord, Incident, Severity},
    series::Time,
};

use super::{
    calibration::Stated,
    catalogue::{Kind, Scene, Told, kinds},
    stage::{INTERVAL_S, Setting, Stage, Warm},
};

/// A kind that was played.
pub(super) struct Played {
    pub(super) kind: &'static Kind,
    pub(super) setting: Setting,
    /// One for each cause that had to be told.
    pub(super) events: Vec<Event>,
    /// Incidents that told somebody.
    pub(super) incidents: usize,
    pub(super) pages: usize,
    pub(super) warnings: usize,
    /// Of a look-alike: it was recorded as what it is.
    pub(super) recorded: Option<bool>,
    pub(super) stated: Vec<Stated>,
    /// The first signal of which a z-score rule said that it was strange.
    pub(super) rule: Option<&'static str>,
    pub(super) mistakes: Vec<String>,
}

/// How it went with a cause that had to be told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Event {
    /// Somebody was told something from its beginning on.
    pub(super) notified: bool,
    /// Nothing wrong was told before it was named, and it was named.
    pub(super) right: bool,
    /// Samples from the first affected one to its notification, that one counted.
    pub(super) samples: Option<i64>,
}

/// Plays a kind, and says on standard output what was wrong.
pub(super) fn play(warm: &Warm, kind: &'static Kind) -> Played {
    let setting = warm.setting;
    let scene = Scene { at: setting.act_at(), life: warm.life() };
    let story = (kind.play)(&scene);
    let (script, faults) = (story.script.clone(), story.faults.clone());
    let (mut stage, run) = warm.branch(kind.watched, script, faults);
    for (index, sample) in run.enumerate() {
        stage.take(sample, story.sampling(index as i64));
    }
    let played = judge(kind, setting, &stage);
    if !played.mistakes.is_empty() {
        println!("{} on {}: {}", kind.name, setting.name(), played.mistakes.join("; "));
    }
    played
}

/// What was told after the first act, in order, with the incident that it belongs to.
fn told_after(stage: &Stage, at: Time) -> Vec<(&Incident, &CauseRecord)> {
    let records = stage
        .incidents
        .values()
        .flat_map(|incident| incident.causes.iter().map(move |record| (incident, record)));
    let mut told: Vec<(&Incident, &CauseRecord)> = records
        .filter(|(_, record)| record.severity > Severity::Info && record.detected_at >= at)
        .collect();
    told.sort_by_key(|(_, record)| record.detected_at);
    told
}

/// It is one of the causes that had to be told, or what may follow from one: devices that were lost
/// come back.
fn belongs(kind: &Kind, record: &CauseRecord) -> bool {
    let expected = kind.told.iter().any(|told| told.cause == record.cause);
    let lost = kind.told.iter().any(|told| told.cause == Cause::ConnectivityLoss);
    expected || (lost && record.cause.id() == "mass_reconnect")
}

fn judge(kind: &'static Kind, setting: Setting, stage: &Stage) -> Played {
    let at = setting.act_at();
    let told = told_after(stage, at);
    let events: Vec<Event> =
        kind.told.iter().map(|event| judge_one(kind, event, at, &told)).collect();
    let mut incidents: Vec<&str> = told.iter().map(|(incident, _)| incident.id.as_str()).collect();
    incidents.sort_unstable();
    incidents.dedup();
    let count = |severity| told.iter().filter(|(_, record)| record.severity == severity).count();
    let end = at + TimeDelta::seconds(INTERVAL_S * kind.watched);
    let recorded = kind.recorded.map(|cause| {
        let records = stage.incidents.values().flat_map(|incident| &incident.causes);
        records.filter(|record| record.detected_at >= at).any(|record| record.cause == cause)
    });
    let stated = told.iter().map(|(_, record)| Stated {
        probability: record.probability,
        right: belongs(kind, record),
        fleet: setting.seed,
    });
    let mut played = Played {
        kind,
        setting,
        stated: stated.collect(),
        events,
        incidents: incidents.len(),
        pages: count(Severity::Critical),
        warnings: count(Severity::Warning),
        recorded,
        rule: stage.rules.first_between(at, end).map(|alarm| alarm.signal),
        mistakes: Vec::new(),
    };
    played.mistakes = mistakes(&played, &told);
    played
}

fn judge_one(kind: &Kind, event: &Told, at: Time, told: &[(&Incident, &CauseRecord)]) -> Event {
    let begins = at + TimeDelta::seconds(event.begins_s);
    let since = || told.iter().filter(|(_, record)| record.detected_at >= begins);
    let is_it =
        |record: &CauseRecord| record.cause == event.cause && record.severity == event.severity;
    let named = since().find(|(_, record)| is_it(record)).map(|(_, record)| record.detected_at);
    let wrong_before = named
        .is_some_and(|named| since().any(|(_, it)| it.detected_at < named && !belongs(kind, it)));
    Event {
        notified: since().next().is_some(),
        right: named.is_some() && !wrong_before,
        samples: named.map(|named| (named - begins).num_seconds() / INTERVAL_S + 1),
    }
}

fn mistakes(played: &Played, told: &[(&Incident, &CauseRecord)]) -> Vec<String> {
    let kind = played.kind;
    let mut mistakes = Vec::new();
    for (event, expected) in played.events.iter().zip(kind.told) {
        match event.samples {
            None => mistakes.push(format!("{} is not told", expected.cause)),
            Some(samples) if samples > expected.samples => {
                mistakes.push(format!("{} is told at sample {samples}", expected.cause));
            }
            Some(_) => {}
        }
    }
    let others: Vec<&str> = told
        .iter()
        .filter(|(_, record)| !belongs(kind, record))
        .map(|(_, record)| record.cause.id())
        .collect();
    if !others.is_empty() {
        mistakes.push(format!("told: {}", others.join(", ")));
    }
    if !kind.is_look_alike() && played.incidents > 1 {
        mistakes.push(format!("{} incidents", played.incidents));
    }
    if kind.is_look_alike() && played.recorded == Some(false) {
        mistakes.push("not recorded as what it is".to_owned());
    }
    if !mistakes.is_empty() {
        let tale = told.iter().map(|(incident, record)| {
            format!(
                "\n    #{} {} {} {:.3} at {}: {}",
                incident.id,
                record.severity,
                record.cause,
                record.probability,
                record.detected_at.format("%d %H:%M:%S"),
                record.summary
            )
        });
        mistakes.push(tale.collect());
    }
    mistakes
}

/// Every kind that the setting suits, from one history.
pub(super) fn play_kinds(setting: Setting, suits: impl Fn(&Kind) -> bool) -> Vec<Played> {
    let warm = Warm::up(setting);
    let fitting = kinds().filter(|kind| kind.needs.are_met_by(&setting) && suits(kind));
    fitting.map(|kind| play(&warm, kind)).collect()
}

/// Does the same with each item, on all processors, and gives the results in the order of items.
pub(super) fn each<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(index) else { break };
                    let result = work(item);
                    results.lock().expect("nobody panics while holding it").push((index, result));
                }
            });
        }
    });
    let mut results = results.into_inner().expect("all threads have ended");
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}
