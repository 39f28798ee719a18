//! Within the bounds of an announcement, and by how much beyond them.

use chrono::TimeDelta;

use super::*;
use crate::change_event::Announcement;

fn at(minute: i64) -> Time {
    let start: Time = "2019-09-23T22:00:00Z".parse().unwrap();
    start + TimeDelta::minutes(minute)
}

fn maintenance(title: &str, expects: Option<Expected>) -> ChangeEvent {
    ChangeEvent {
        at: at(0),
        kind: "maintenance".to_owned(),
        title: title.to_owned(),
        source: "ops".to_owned(),
        announcement: Some(Announcement { until: at(60), expects }),
    }
}

fn repin(devices_max: u64, applications: Option<Vec<ApplicationName>>) -> Option<Expected> {
    Some(Expected { cause: Cause::MassRepin, devices_max, applications })
}

fn history(events: Vec<ChangeEvent>) -> EventHistory {
    let mut history = EventHistory::default();
    events.into_iter().for_each(|event| history.take(event, at(0)));
    history
}

fn extent() -> Extent<'static> {
    let touched = |(id, name, owner, devices)| Touched { id, name, owner, devices };
    let all = [(1, "scooters", 1, 3_000), (2, "kiosks", 2, 1_000), (3, "signs", 3, 1_000)];
    Extent {
        cause: Cause::MassRepin,
        onset: at(10),
        latest: at(20),
        devices: Some(5_000),
        applications: Some(all.map(touched).into()),
        besides: None,
        owners_max: 5,
        is_trickle: &|devices| devices < 10,
    }
}

/// What is said of how it goes beyond the one announcement of up to 5,000 devices in three
/// applications; `None` within it.
fn beyond(extent: &Extent<'_>) -> Option<String> {
    let names = [ApplicationName::Id(1), ApplicationName::Name("kiosks".to_owned())];
    let names = names.into_iter().chain([ApplicationName::Name("signs".to_owned())]);
    let announced = maintenance("release 38", repin(5_000, Some(names.collect())));
    let verdict = verdict(&history(vec![announced]), extent);
    assert_eq!(verdict.is_within, verdict.clause.is_none(), "{verdict:?}");
    assert_eq!(verdict.facts.len(), 1, "{verdict:?}");
    let clause = verdict.clause?;
    let start = "beyond the announced maintenance \"release 38\": ";
    Some(clause.strip_prefix(start).expect(&clause).to_owned())
}

#[test]
fn within_its_bounds_a_cause_was_announced_and_beyond_any_of_them_it_was_not() {
    assert_eq!(beyond(&extent()), None);
    let told = |extent: &Extent<'_>| beyond(extent).expect("it is beyond");
    let more = told(&Extent { devices: Some(147_773), ..extent() });
    assert_eq!(more, "147,773 devices, 142,773 more than announced");
    assert!(told(&Extent { devices: None, ..extent() }).contains("not known"));
    let late = told(&Extent { latest: at(61), ..extent() });
    assert_eq!(late, "it goes on after the announced end, 2019-09-23 23:00:00 UTC");
    let later = told(&Extent { onset: at(61), latest: at(61), ..extent() });
    assert!(later.starts_with("it began after the announced end"), "{later}");
    let besides = "80 devices got a host OS target too";
    assert!(told(&Extent { besides: Some(besides), ..extent() }).starts_with(besides));
    assert!(told(&Extent { applications: None, ..extent() }).contains("is not known"));
}

#[test]
fn another_application_is_beyond_unless_it_is_an_owner_s_trickle() {
    let with = |others: Vec<(i64, u64)>| {
        let mut extent = extent();
        let touched = others.into_iter().map(|(id, devices)| Touched {
            id,
            name: "other",
            owner: id,
            devices,
        });
        extent.applications.as_mut().unwrap().extend(touched);
        beyond(&extent)
    };
    assert_eq!(with(vec![(9, 3)]), None, "a few devices, as on any day");
    assert_eq!(
        with(vec![(9, 300)]).as_deref(),
        Some("300 devices outside the announced applications, in application other (id 9)")
    );
    let many = with((10..16).map(|id| (id, 1)).collect()).expect("six owners at a time");
    assert!(many.starts_with("6 devices outside the announced applications, most"), "{many}");
}

#[test]
fn other_announcements_are_said_and_silence_nothing() {
    let unpin = || Extent { cause: Cause::MassUnpin, ..extent() };
    let both = history(vec![
        maintenance("release 38", repin(500_000, None)),
        maintenance("new racks", None),
    ]);
    let said = verdict(&both, &unpin());
    assert!(!said.is_within);
    let facts: Vec<&str> = said.facts.iter().map(|fact| fact.text.as_str()).collect();
    assert_eq!(
        facts,
        [
            "maintenance \"release 38\" by ops, from 2019-09-23 22:00:00 UTC to 2019-09-23 23:00:00 \
             UTC, expects mass_repin of at most 500,000 devices, and not mass_unpin",
            "maintenance \"new racks\" by ops lasts from 2019-09-23 22:00:00 UTC to 2019-09-23 \
             23:00:00 UTC"
        ]
    );
    let clause = said.clause.expect("it is not what was announced");
    assert_eq!(clause, "the announced maintenance \"release 38\" expects mass_repin");
    let later = verdict(&both, &Extent { onset: at(70), latest: at(70), ..unpin() });
    assert_eq!(later, Verdict::default(), "they are over");
    let before = verdict(&both, &Extent { onset: at(-1), ..extent() });
    assert_eq!(before, Verdict::default(), "it began before they did");
}

#[test]
fn what_one_incident_has_spent_another_one_cannot_have() {
    let mut history = history(vec![maintenance("release 38", repin(8_000, None))]);
    assert!(verdict(&history, &extent()).is_within);
    history.spend(Cause::MassRepin, at(10), 4_000);
    let said = verdict(&history, &extent());
    let clause = said.clause.expect("together they are too many");
    assert!(clause.ends_with("9,000 devices with the 4,000 of before, 1,000 more than announced"));
    assert!(history.end("release 38", "ops", at(15)) && !history.end("release 38", "ci", at(15)));
    let clause = verdict(&history, &extent()).clause.expect("it was ended");
    assert!(clause.contains("after the announced end, 2019-09-23 22:15:00 UTC"), "{clause}");
}
