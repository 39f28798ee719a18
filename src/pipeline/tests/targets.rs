//! Mass changes of host OS and supervisor targets: named as what they are, told from owners'
//! rollouts.

use super::*;

const OLD: i64 = 900;
const NEW: i64 = 901;
const SUPERVISOR: i64 = 800;

/// Forty applications of twelve organisations; in each, 30 of 100 devices have a host OS target and
/// 60 a supervisor target.
fn story() -> Story {
    let mut story = Story::new(40, 12);
    for application in story.fleet.values_mut() {
        application.host_os_targets.insert(OLD, 30);
        application.supervisor_targets.insert(SUPERVISOR, 60);
    }
    story.quiet(4);
    story
}

#[test]
fn a_host_os_target_for_everybody_is_a_mass_pin_that_says_so() {
    let mut story = story();
    let whole = story.fleet.clone();
    for application in story.fleet.values_mut() {
        application.host_os_targets = BTreeMap::from([(NEW, 100)]);
    }
    let step = story.sample();
    let record = only(&step).current();
    assert_eq!((record.cause, record.scope), (Cause::MassPin, Scope::Platform));
    assert_eq!(
        record.summary,
        "2,800 devices in 40 applications of 12 organisations got a host OS target between 22:00:45 \
         and 22:01:00 UTC."
    );
    assert!(record.title.starts_with("Mass pin of the host OS: 2,800 devices"), "{record:?}");
    let counted = record.blast_radius.counted.expect("host OS targets are counted");
    assert_eq!((counted.before, counted.after), (Some(1_200), Some(4_000)));
    let text = format!("{}{:?}", record.description, record.next_steps);
    assert!(text.contains("when 1,200 devices had a host OS target, row by row"), "{text}");
    assert!(!text.contains("clear all pins") && !text.contains("delta"), "{text}");
    for _ in 0..4 {
        assert!(story.sample().incidents.iter().all(Incident::is_open));
    }
    story.fleet = whole;
    let steps = (0..3).map(|_| story.sample()).collect::<Vec<Step>>();
    let last = steps.iter().flat_map(|step| &step.incidents).last().expect("it ends");
    assert!(last.resolved_at.is_some() && last.notifications.len() == 1, "{last:#?}");
    assert!(last.timeline.iter().any(|line| line.text.starts_with("Host OS targets are on their")));
}

#[test]
fn a_move_of_supervisor_targets_and_their_loss_are_one_incident_with_two_causes() {
    let mut story = story();
    for application in story.fleet.values_mut() {
        application.supervisor_targets = BTreeMap::from([(SUPERVISOR + 1, 60)]);
    }
    let step = story.sample();
    let record = only(&step).current();
    assert_eq!(record.cause, Cause::MassRepin);
    assert!(record.summary.contains("got another supervisor target"), "{}", record.summary);
    story.sample();
    for application in story.fleet.values_mut() {
        application.supervisor_targets.clear();
    }
    let step = story.sample();
    let incident = only(&step);
    let causes: Vec<Cause> = incident.causes.iter().map(|one| one.cause).collect();
    assert_eq!(causes, [Cause::MassRepin, Cause::MassUnpin]);
    assert!(incident.current().summary.contains("lost their supervisor target"));
}

#[test]
fn one_statement_over_all_three_targets_is_one_incident() {
    let mut story = story();
    story.unpin(1..=40);
    for application in story.fleet.values_mut() {
        application.host_os_targets.clear();
        application.supervisor_targets.clear();
    }
    let step = story.sample();
    let incident = only(&step);
    assert_eq!(incident.notifications.len(), 1);
    let record = incident.current();
    assert_eq!(record.cause, Cause::MassUnpin);
    // The largest of the three names it, and the others are told.
    assert!(record.summary.contains("2,400 devices in 40 applications"), "{}", record.summary);
    for along in ["1,200 devices lost their host OS target too", "800 devices lost their pin too"] {
        assert!(record.description.contains(along), "{along}: {}", record.description);
    }
    for _ in 0..4 {
        let step = story.sample();
        assert!(step.incidents.iter().all(|one| one.notifications.len() == 1), "{step:#?}");
    }
}

#[test]
fn one_owner_s_rollout_of_a_host_os_is_recorded_and_pages_nobody() {
    let mut story = story();
    story.quiet(20);
    for id in (1..=40).filter(|id| id % 12 == 3) {
        story.fleet.get_mut(&id).unwrap().host_os_targets = BTreeMap::from([(NEW, 100)]);
    }
    let step = story.sample();
    assert!(step.incidents.iter().all(|one| one.notifications.is_empty()), "{step:#?}");
    let causes: Vec<Cause> = step.incidents.iter().map(|one| one.current().cause).collect();
    assert!(causes.contains(&Cause::BulkPinByOwner), "{causes:?}");
    let summary = &step.incidents[0].current().summary;
    assert!(summary.contains("host OS target"), "{summary}");
}

#[test]
fn new_and_leaving_devices_and_a_column_that_comes_to_light_change_no_targets() {
    let mut story = story();
    for application in story.fleet.values_mut() {
        // Ten devices leave with their targets; ten new ones have some from the start.
        application.host_os_targets.insert(OLD, 30);
        application.host_os_appeared.insert(OLD, 10);
        for cohort in application.cohorts.values_mut() {
            cohort.appeared = 5;
        }
    }
    let step = story.sample();
    assert_eq!((step.values["os_targets_added"], step.values["os_targets_removed"]), (0.0, 0.0));
    // Without the columns there are no such signals, and with them again nothing has moved.
    const ABSENT: &[&str] = &[
        "devices_os_targeted",
        "os_targets_added",
        "os_targets_removed",
        "os_targets_moved",
        "applications_os_targets_added",
        "applications_os_targets_removed",
        "applications_os_targets_moved",
        "organizations_os_targets_added",
        "organizations_os_targets_removed",
        "organizations_os_targets_moved",
    ];
    let mut story = self::story();
    let whole = story.fleet.clone();
    story.fleet.values_mut().for_each(|application| application.host_os_targets.clear());
    for _ in 0..3 {
        story.sample_with(None, ABSENT);
    }
    story.fleet = whole;
    let step = story.sample();
    assert!(
        !step.values.contains_key("os_targets_added") && step.incidents.is_empty(),
        "{step:#?}"
    );
    assert!(story.sample().values.contains_key("os_targets_added"));
    assert!(story.pipeline.incidents().is_empty());
}
