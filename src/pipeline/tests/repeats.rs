//! What comes again, comes back, or comes with a clock that was set back.

use super::*;

fn told(step: &Step) -> Vec<Cause> {
    let incidents = step.incidents.iter().filter(|incident| incident.is_open());
    incidents
        .filter(|one| one.severity() == Severity::Critical)
        .map(|one| one.current().cause)
        .collect()
}

#[test]
fn a_cause_that_comes_again_hours_later_is_another_incident() {
    let mut story = Story::new(40, 12);
    story.quiet(5);
    let retarget = |story: &mut Story, target: i64| {
        story.fleet.values_mut().for_each(|application| application.target = Some(target));
        story.sample()
    };
    let first = only(&retarget(&mut story, 4)).id.clone();
    story.sample += 400;
    story.sample();
    let step = retarget(&mut story, 5);
    assert_eq!(told(&step), [Cause::MassRetarget]);
    let again = step.incidents.iter().find(|incident| incident.is_open()).unwrap();
    assert_ne!(again.id, first, "a label set that was told is not told twice");
    assert_eq!(again.notifications.len(), 1);
}

#[test]
fn a_second_unpin_after_a_second_pin_is_told_again() {
    let mut story = Story::new(40, 12);
    story.quiet(5);
    let mut pages = BTreeMap::new();
    for round in 0..2 {
        story.pin(1..=40);
        for incident in story.sample().incidents {
            pages.insert(incident.id.clone(), incident.notifications.len());
        }
        story.unpin(1..=40);
        for incident in story.sample().incidents {
            pages.insert(incident.id.clone(), incident.notifications.len());
        }
        assert_eq!(pages.len(), round + 1, "{pages:?}");
    }
    assert_eq!(pages.values().sum::<usize>(), 4);
    for incident in story.pipeline.incidents() {
        let mut causes: Vec<Cause> = incident.causes.iter().map(|record| record.cause).collect();
        causes.dedup();
        assert_eq!(causes.len(), incident.causes.len(), "each cause once: each has one alert");
    }
}

#[test]
fn devices_that_come_back_with_their_pins_were_not_pinned() {
    let mut story = Story::new(40, 12);
    story.quiet(5);
    let whole = story.fleet.clone();
    story.fleet.values_mut().for_each(|application| application.cohorts.clear());
    story.fleet.get_mut(&1).unwrap().cohorts = whole[&1].cohorts.clone();
    assert_eq!(told(&story.sample()), [Cause::MassDeletion]);
    story.fleet = whole;
    story.sample();
    let causes = story.pipeline.incidents().into_iter().flat_map(|one| &one.causes);
    assert_eq!(causes.map(|record| record.cause).collect::<Vec<_>>(), [Cause::MassDeletion]);
}

#[test]
fn a_clock_that_was_set_back_does_not_blind_the_watch() {
    let mut story = Story::new(40, 12);
    story.sample = 1_000;
    story.quiet(5);
    story.sample = 100;
    let mut kinds = Vec::new();
    for _ in 0..5 {
        kinds.extend(story.sample().irregularities.iter().map(|one| one.kind));
    }
    use IrregularityKind::{ClockStep, OutOfOrder};
    assert_eq!(kinds, [OutOfOrder, OutOfOrder, ClockStep]);
    story.unpin(1..=40);
    assert_eq!(told(&story.sample()), [Cause::MassUnpin]);
}

#[test]
fn nobody_is_accused_of_a_retarget_whose_statements_are_not_read() {
    let mut story = Story::new(400, 60);
    let reading = |rows: i64| accounting::Reading {
        statements: Some(accounting::Statements {
            counts: vec![accounting::Statement {
                query_id: 1,
                role: "api".to_owned(),
                top_level: true,
                rows,
                rows_before: rows - 2_000,
                calls: 2,
                calls_before: 1,
                text: Some("UPDATE \"device\" SET \"api heartbeat state\" = $1".to_owned()),
            }],
            ..Default::default()
        }),
        ..Default::default()
    };
    for sample in 0..5 {
        story.sample_with(Some(reading(2_000 * (sample + 1))), &[]);
    }
    story.fleet.values_mut().for_each(|application| application.target = Some(9));
    let step = story.sample_with(Some(reading(12_000)), &[]);
    let record = only(&step).current();
    assert_eq!(record.cause, Cause::MassRetarget);
    assert!(!format!("{record:?}").contains("heartbeat"), "{}", record.description);
}
