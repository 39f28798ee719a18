//! Which events are named before an onset, how often by accident, and what is kept of them.

use chrono::TimeDelta;

use super::*;
use crate::change_event::{Announcement, MIGRATION};

fn onset() -> Time {
    "2019-09-23T22:14:00Z".parse().unwrap()
}

fn event(kind: &str, title: &str, source: &str, before_s: i64) -> ChangeEvent {
    ChangeEvent {
        at: onset() - TimeDelta::seconds(before_s),
        kind: kind.to_owned(),
        title: title.to_owned(),
        source: source.to_owned(),
        announcement: None,
    }
}

fn asked(cause: Cause) -> Onset {
    Onset { cause, at: onset(), latest: onset(), interval_s: 15.0 }
}

/// A source that tells of something every `every_s`, for thirty days, the last time so long before
/// the onset.
fn habit(history: &mut EventHistory, source: &str, every_s: i64, last_s: i64) {
    let times = 30 * 86_400 / every_s;
    for place in (0..times).rev() {
        let title = format!("{source} {place}");
        history.take(event("deploy", &title, source, last_s + place * every_s), onset());
    }
}

fn titles(history: &EventHistory, cause: Cause) -> Vec<String> {
    history.named(asked(cause)).into_iter().map(|named| named.event.title).collect()
}

#[test]
fn a_rare_event_that_is_near_comes_before_a_frequent_one_that_is_nearer() {
    let mut history = EventHistory::default();
    habit(&mut history, "ci", 86_400 / 40, 20);
    habit(&mut history, "ops", 6 * 86_400, 42);
    assert_eq!(titles(&history, Cause::MassUnpin), ["ops 0"], "forty a day name nobody");
    let rank = |source: &str, before_s: i64| {
        let chance = history.chance(&event("deploy", "", source, before_s), asked(Cause::MassPin));
        chance.expect("the source is known")
    };
    assert!(rank("ops", 42) < 0.1 * rank("ci", 20));
    assert!(rank("ci", 20) < rank("ci", 300), "nearer is less accidental");
}

#[test]
fn the_chance_of_an_accident_is_what_happens_by_accident() {
    let mut history = EventHistory::default();
    habit(&mut history, "ci", 3_600, 1_800);
    // A month of one event an hour: half of all moments have one within ln 2 hours before them.
    let half_s = (3_600.0 * std::f64::consts::LN_2) as i64;
    let chance = history.chance(&event("deploy", "", "ci", half_s), asked(Cause::MassPin)).unwrap();
    // The prior has the weight of one day among thirty.
    assert!((chance - 0.5).abs() < 0.02, "{chance}");
    let first =
        EventHistory::default().chance(&event("deploy", "", "ci", 60), asked(Cause::MassPin));
    assert_eq!(first, None, "nobody ever told of it");
}

#[test]
fn the_rate_at_which_accidents_are_named_is_kept() {
    // Five sources of different habits and moments that have nothing to do with any of them.
    let mut state = 7_u64;
    let mut uniform = move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    };
    let kinds = ["deploy", "config", MIGRATION, "moon phase"];
    let (mut accidents, runs) = (0, 20_000);
    for _ in 0..runs {
        let mut history = EventHistory::default();
        for (kind, mean_s) in kinds.into_iter().zip([1_500.0, 20_000.0, 200_000.0, 86_400.0]) {
            let mut arrivals = Vec::new();
            let mut before_s = -mean_s * uniform().ln();
            while before_s < 20.0 * DAY_S {
                arrivals.push(before_s as i64);
                before_s -= mean_s * uniform().ln();
            }
            let (Some(nearest), Some(first)) = (arrivals.first(), arrivals.last()) else {
                continue;
            };
            history.take(event(kind, "x", kind, *nearest), onset());
            let source = history.sources.get_mut(kind).expect("it has just told of something");
            source.first_at = onset() - TimeDelta::seconds(*first);
            source.counts.insert(kind.to_owned(), arrivals.len() as u64);
        }
        accidents += i32::from(!history.named(asked(Cause::MassUnpin)).is_empty());
    }
    let share = f64::from(accidents) / f64::from(runs);
    // Times to the second, and nothing nearer than an interval, make it less than the bound.
    assert!(share <= ACCIDENTS + 3.0 * (ACCIDENTS / f64::from(runs)).sqrt(), "{share}");
    assert!(share > ACCIDENTS / 10.0, "or nothing would ever be named: {share}");
}

#[test]
fn an_effect_never_precedes_its_cause() {
    let mut history = EventHistory::default();
    history.take(event("deploy", "api v38", "ci", -1), onset());
    assert_eq!(titles(&history, Cause::DeltaFailure), [""; 0]);
    let uncertain =
        Onset { latest: onset() + TimeDelta::seconds(30), ..asked(Cause::DeltaFailure) };
    let named = history.named(uncertain);
    assert_eq!(named.len(), 1, "it may have begun as late as that");
    assert!(named[0].text.contains("at the time of the onset"), "{}", named[0].text);
}

#[test]
fn relevance_decides_between_equals_and_the_daemon_s_start_changes_no_fleet() {
    let mut history = EventHistory::default();
    let start = event(HEADWATER_START, "Headwater 0.1.0 started", "headwater", 20);
    for event in [event("deploy", "api v38", "ci", 40), event(MIGRATION, "0042", "ops", 40), start]
    {
        history.take(event, onset());
    }
    assert_eq!(titles(&history, Cause::MassUnpin), ["0042", "api v38"]);
    assert_eq!(titles(&history, Cause::DeltaFailure), ["api v38", "0042"]);
    assert_eq!(titles(&history, Cause::SamplingLost).len(), 3);
}

#[test]
fn the_sentence_says_what_by_whom_when_and_how_often() {
    let mut history = EventHistory::default();
    habit(&mut history, "ci", 86_400 / 3, 42);
    let named = history.named(asked(Cause::DeltaFailure));
    assert_eq!(
        named[0].text,
        "deploy \"ci 0\" by ci at 22:13:18 UTC, 42 s before the onset; such events come 3 times a day"
    );
    let frequencies: Vec<String> = [
        (0, 60.0),
        (0, 40.0 * DAY_S),
        (2, 600.0),
        (30, 30.0 * DAY_S),
        (4, 30.0 * DAY_S),
        (1, 90.0 * DAY_S),
    ]
    .map(|(others, observed_s)| frequency(others, observed_s))
    .into();
    assert_eq!(
        frequencies,
        [
            "it is the first such event",
            "it is the first such event in 40 days",
            "such events came 3 times in 10 min",
            "such events come once a day",
            "such events come once a week",
            "such events come 4 times a year",
        ]
    );
}

#[test]
fn what_is_kept_is_bounded_and_rare_events_and_announcements_outlive_frequent_ones() {
    let mut history = EventHistory::default();
    history.take(event(MIGRATION, "0041", "database", 20 * 86_400), onset());
    let until = onset() + TimeDelta::hours(1);
    let announcement = Some(Announcement { until, expects: None });
    for place in 0..40 {
        let title = format!("move {place}");
        let planned = event("maintenance", &title, "ops", 19 * 86_400 + place);
        history.take(ChangeEvent { announcement: announcement.clone(), ..planned }, onset());
    }
    habit(&mut history, "ci", 600, 30);
    assert_eq!(history.recent.len(), EVENTS_MAX);
    assert_eq!(history.recent[0].event.title.as_str(), "0041");
    assert_eq!(history.announcements().count(), 40);
    for place in 0..1_000 {
        let source = format!("source {place}");
        history.take(event(&format!("kind {place}"), "x", &source, 5), onset());
        history.take(event(&format!("kind {place}"), "x", "one", 5), onset());
    }
    assert!(history.sources.len() <= SOURCES_MAX && history.recent.len() == EVENTS_MAX);
    assert!(history.sources.values().all(|source| source.counts.len() <= KINDS_MAX));
    assert_eq!(history.announcements().count(), 40);
}
