//! Signals that go because what they are about is gone: owners, or the whole fleet.

use super::*;

/// A day in samples, and a few more.
const A_DAY: i64 = 5_765;

/// A fleet of two organisations and a query about its devices, with a day of history.
fn day() -> Story {
    let mut story = Story::new(4, 2);
    for _ in 0..A_DAY {
        both(&mut story, true);
    }
    story
}

/// One sample of the fleet, and one of the query if it has an answer. What was told.
fn both(story: &mut Story, answers: bool) -> Vec<Incident> {
    let (now, mut told) = (story.sample, story.sample().incidents);
    let level = answers.then_some(("battery", 80.0 + (now % 7) as f64));
    let values = level.into_iter().chain([("up", 1.0)]).collect();
    let reading = Reading { values, ..Reading::default() };
    let source = "devices_query".to_owned();
    let outcome = Outcome::Sampled(Box::new(reading));
    let at = at(now) + TimeDelta::seconds(4);
    told.extend(story.pipeline.step(&Observation { at, source, outcome }).incidents);
    told
}

/// What becomes of half an hour.
fn half_an_hour(story: &mut Story, answers: bool) -> std::collections::BTreeSet<Cause> {
    let told = (0..120).flat_map(|_| both(story, answers));
    told.map(|incident| incident.current().cause).collect()
}

#[test]
fn where_one_owner_is_left_nobody_misses_how_many_there_were() {
    let mut story = day();
    let organization = story.fleet[&1].organization;
    story.fleet.retain(|_, application| application.organization == organization);
    let told = half_an_hour(&mut story, true);
    assert!(!told.contains(&Cause::SignalLost), "{told:?}");
    let signals = story.pipeline.signals();
    let breadth = signals.iter().find(|one| one.signal == "organizations_pins_removed").unwrap();
    assert_ne!(breadth.at, Some(at(story.sample - 1)), "it has no value any more");
}

#[test]
fn where_no_device_is_left_no_number_about_devices_is_missed_until_there_are_some() {
    let mut story = day();
    let whole = story.fleet.clone();
    story.fleet.clear();
    let told = half_an_hour(&mut story, false);
    assert!(!told.contains(&Cause::SignalLost), "{told:?}");
    story.fleet = whole;
    let told = half_an_hour(&mut story, false);
    assert!(told.contains(&Cause::SignalLost), "the query has no answer still: {told:?}");
}
