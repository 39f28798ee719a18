//! The pipeline on small hand-made stories; the large ones are in `tests/scenarios/`.

mod boundary;
mod deletions;
mod emptied;
mod events;
mod growth;
mod promises;
mod proposals;
mod recurring;
mod rejected;
mod repeats;
mod standing;
mod targets;

use std::collections::BTreeMap;

use chrono::TimeDelta;

use super::*;
use crate::{
    accounting,
    fleet::{Application, Cohort, CohortKey, Snapshot},
    incident::{Cause, Scope, Severity},
    observation::{Failure, FailureReason, Reading},
};

fn settings() -> Settings {
    Settings {
        interval_s: 15.0,
        false_pages_per_month: 1.0,
        false_warnings_per_month: 10.0,
        signals: BTreeMap::new(),
        graph: crate::config::graph::open_balena(),
        plain_ids: true,
    }
}

fn at(sample: i64) -> Time {
    let start: Time = "2019-09-23T22:00:00Z".parse().unwrap();
    start + TimeDelta::seconds(15 * sample)
}

/// A fleet of `applications` applications of `organizations` organisations with 100 devices each,
/// 20 of them pinned to the release that they run (2) and the rest on their application's target
/// (3).
struct Story {
    pipeline: Pipeline,
    fleet: BTreeMap<i64, Application>,
    sample: i64,
}

impl Story {
    fn new(applications: i64, organizations: i64) -> Story {
        let mut fleet = BTreeMap::new();
        for id in 1..=applications {
            let mut application = Application {
                name: format!("app-{id}"),
                organization: id % organizations + 1,
                target: Some(3),
                ..Application::default()
            };
            put(&mut application, Some(2), Some(2), 20);
            put(&mut application, None, Some(3), 80);
            fleet.insert(id, application);
        }
        Story { pipeline: Pipeline::new(settings(), State::default()), fleet, sample: 0 }
    }

    fn sample(&mut self) -> Step {
        let reading = self.reading();
        self.observe(Outcome::Sampled(Box::new(reading)))
    }

    fn accounted(&mut self, accounting: accounting::Reading) -> Step {
        let reading = Reading { accounting: Some(accounting), ..self.reading() };
        self.observe(Outcome::Sampled(Box::new(reading)))
    }

    fn reading(&self) -> Reading {
        let snapshot = Snapshot {
            at: at(self.sample),
            device_id_max: 1,
            appeared_above: Some(1),
            applications: self.fleet.clone(),
        };
        Reading { fleet: Some(snapshot), ..Reading::default() }
    }

    fn observe(&mut self, outcome: Outcome) -> Step {
        let observation = Observation { at: at(self.sample), source: "fleet".to_owned(), outcome };
        self.sample += 1;
        self.pipeline.step(&observation)
    }

    fn quiet(&mut self, samples: usize) {
        for _ in 0..samples {
            let step = self.sample();
            assert_eq!(step.incidents, [], "an incident in a quiet fleet");
        }
    }

    fn pin(&mut self, applications: impl IntoIterator<Item = i64>) {
        for id in applications {
            let application = self.fleet.get_mut(&id).unwrap();
            application.cohorts.clear();
            put(application, Some(2), Some(2), 20);
            put(application, Some(3), Some(3), 80);
        }
    }

    fn unpin(&mut self, applications: impl IntoIterator<Item = i64>) {
        for id in applications {
            let application = self.fleet.get_mut(&id).unwrap();
            application.cohorts.clear();
            put(application, None, Some(2), 20);
            put(application, None, Some(3), 80);
        }
    }

    fn restore(&mut self, applications: impl IntoIterator<Item = i64>) {
        for id in applications {
            let application = self.fleet.get_mut(&id).unwrap();
            application.cohorts.clear();
            put(application, Some(2), Some(2), 20);
            put(application, None, Some(3), 80);
        }
    }
}

fn put(application: &mut Application, pinned: Option<i64>, running: Option<i64>, devices: u64) {
    let cohort = Cohort { devices, online: devices, ..Cohort::default() };
    application.cohorts.insert(CohortKey { pinned, running }, cohort);
}

fn only(step: &Step) -> &Incident {
    assert_eq!(step.incidents.len(), 1, "{:#?}", step.incidents);
    &step.incidents[0]
}

#[test]
fn the_night_is_one_incident_with_two_causes_and_two_pages() {
    let mut story = Story::new(40, 12);
    story.quiet(2);
    story.pin(1..=40);
    let step = story.sample();
    let incident = only(&step);
    assert_eq!(incident.current().cause, Cause::MassPin);
    assert_eq!(incident.current().onset, at(2));
    let radius = &incident.current().blast_radius;
    assert_eq!(
        (radius.devices, radius.applications, radius.organizations),
        (3_200, Some(40), Some(12))
    );
    assert_eq!((radius.pinned_before, radius.pinned_after), (Some(800), Some(4_000)));
    assert_eq!(radius.pending_if_unpinned.unwrap().devices, 800);
    assert!(incident.current().summary.contains("100 % of them to the release they run"));
    for _ in 0..6 {
        assert!(story.sample().incidents.iter().all(|one| one.notifications.len() == 1));
    }
    story.unpin(1..=40);
    let step = story.sample();
    let incident = only(&step);
    let causes: Vec<Cause> = incident.causes.iter().map(|record| record.cause).collect();
    assert_eq!(causes, [Cause::MassPin, Cause::MassUnpin]);
    assert_eq!(incident.notifications.len(), 2);
    assert_eq!(incident.current().blast_radius.pinned_before, Some(800), "before the first onset");
    assert_eq!(incident.current().blast_radius.pending_after, Some(800));
    story.restore(1..=40);
    let resolved = (0..3).find_map(|_| {
        let step = story.sample();
        step.incidents.into_iter().find(|incident| incident.resolved_at.is_some())
    });
    assert_eq!(resolved.expect("restored, hence resolved").notifications.len(), 2);
}

#[test]
fn a_sequel_goes_back_to_before_its_precursor() {
    let mut story = Story::new(40, 12);
    story.quiet(2);
    story.pin(1..=40);
    let step = story.sample();
    let last_step = |step: &Step| only(step).current().next_steps.last().unwrap().clone();
    assert!(
        last_step(&step).starts_with("Restore from the state at 22:00:15 UTC (the last sample")
    );
    story.sample();
    story.unpin(1..=40);
    let restore = last_step(&story.sample());
    assert_eq!(
        restore,
        "Restore from the state at 22:00:15 UTC (the last sample before mass_pin, which came first), \
         when 800 devices were pinned, row by row: keep what owners changed since. Not from 22:00:45 \
         UTC: that state is mass_pin's work."
    );
}

#[test]
fn a_symptom_that_grows_is_explained_by_what_goes_on_too() {
    let mut story = Story::new(40, 12);
    story.quiet(30);
    for batch in 0..4 {
        story.pin(batch * 10 + 1..=batch * 10 + 10);
        story.sample();
    }
    let open = story.pipeline.incidents();
    let pinned = open[0].symptoms.iter().find(|one| one.signal == "devices_pinned").unwrap();
    assert_eq!((pinned.before, pinned.after, pinned.explained), (800.0, 4_000.0, 1.0));
}

#[test]
fn an_owner_s_pin_after_the_night_is_no_way_back() {
    let mut story = Story::new(40, 12);
    story.quiet(2);
    story.pin(1..=20);
    story.sample();
    story.pin(21..=40);
    story.sample();
    story.unpin(1..=40);
    story.sample();
    let unpinned = story.fleet[&7].clone();
    let application = story.fleet.get_mut(&7).unwrap();
    application.cohorts.clear();
    put(application, Some(3), Some(3), 1);
    put(application, None, Some(2), 20);
    put(application, None, Some(3), 79);
    assert_ne!(story.fleet[&7], unpinned);
    story.sample();
    let open = story.pipeline.incidents();
    let told: Vec<&str> = open[0].timeline.iter().map(|line| line.text.as_str()).collect();
    assert!(!told.iter().any(|text| text.contains("way back")), "{told:#?}");
}

#[test]
fn evidence_is_brought_up_to_date_until_the_counters_have_arrived() {
    let mut story = Story::new(40, 12);
    let written = |rows: i64| accounting::Reading {
        device: Some(accounting::TableCounters { updated: rows, ..Default::default() }),
        ..accounting::Reading::default()
    };
    for _ in 0..2 {
        story.accounted(written(100));
    }
    story.unpin(1..=40);
    let table = |step: &Step| {
        let evidence = &only(step).current().evidence;
        evidence.iter().find(|fact| fact.kind == "table").unwrap().text.clone()
    };
    let late = table(&story.accounted(written(107)));
    assert!(late.contains("counts 7 rows of device"), "{late}");
    let arrived = table(&story.accounted(written(4_107)));
    assert!(arrived.starts_with("4,007 rows of device were written in all"), "{arrived}");
    let next = accounting::OpenWriter {
        pid: 12,
        role: "ops".to_owned(),
        application_name: String::new(),
        client: None,
        statement: "UPDATE \"device\" SET \"is pinned on-release\" = 5".to_owned(),
        transaction_age_s: 1.0,
    };
    story.accounted(accounting::Reading { writers: vec![next], ..written(4_107) });
    let kinds = story.pipeline.incidents()[0].current().evidence.iter().map(|fact| &fact.kind);
    assert!(!kinds.collect::<Vec<_>>().contains(&&"writer".to_owned()), "it has moved nothing yet");
    let unrelated = story.accounted(written(9_000));
    assert_eq!(unrelated.incidents, [], "what is written later is not its work");
}

#[test]
fn a_rollback_to_where_it_was_is_a_recovery_and_no_sequel() {
    let mut story = Story::new(40, 12);
    story.quiet(20);
    story.pin(1..=40);
    story.sample();
    story.restore(1..=20);
    let step = story.sample();
    assert_eq!(only(&step).causes.len(), 1, "half-way back");
    story.restore(21..=40);
    let ended = (0..4).flat_map(|_| story.sample().incidents).find(|one| !one.is_open());
    let incident = ended.expect("all is as it was, hence resolved");
    assert_eq!((incident.causes.len(), incident.current().cause), (1, Cause::MassPin));
    story.quiet(10);
}

#[test]
fn one_organisation_is_no_incident_however_many_applications() {
    let mut story = Story::new(400, 10);
    for id in 1..=380 {
        story.fleet.get_mut(&id).unwrap().organization = 1;
    }
    story.quiet(5);
    story.unpin(1..=380);
    let step = story.sample();
    let incident = only(&step);
    let record = incident.current();
    assert_eq!((record.cause, record.severity), (Cause::BulkUnpinByOwner, Severity::Info));
    assert_eq!((record.scope, record.blast_radius.devices), (Scope::Organization, 7_600));
    assert_eq!(incident.notifications, []);
}

#[test]
fn many_organisations_are_an_incident_at_any_size() {
    for (applications, organizations) in [(20, 8), (400, 60), (5_000, 1_000)] {
        let mut story = Story::new(applications, organizations);
        story.quiet(1);
        story.unpin(1..=applications);
        let step = story.sample();
        assert_eq!(only(&step).current().cause, Cause::MassUnpin, "{applications} applications");
    }
}

#[test]
fn a_migration_in_small_batches_is_found_while_it_runs() {
    let mut story = Story::new(400, 60);
    story.quiet(100);
    let mut found_after = None;
    for batch in 0..40 {
        story.pin(batch * 3 + 1..=batch * 3 + 3);
        let step = story.sample();
        let opened = step.incidents.iter().any(|one| one.current().cause == Cause::MassPin);
        if opened && found_after.is_none() {
            found_after = Some(batch + 1);
            assert_eq!(only(&step).current().blast_radius.pinned_before, Some(8_000));
        }
    }
    assert!(found_after.is_some_and(|batches| batches <= 8), "{found_after:?}");
    let open = story.pipeline.incidents();
    let mass: Vec<_> = open.iter().filter(|one| one.severity() == Severity::Critical).collect();
    assert_eq!((mass.len(), open.len()), (1, 1), "one event, one incident");
    assert!(mass[0].current().blast_radius.devices >= 80 * 3 * 30);
}

#[test]
fn a_retarget_of_everything_pages_and_one_rollout_does_not() {
    let mut story = Story::new(40, 12);
    story.quiet(5);
    story.fleet.get_mut(&7).unwrap().target = Some(4);
    let step = story.sample();
    let record = only(&step).current().clone();
    assert_eq!((record.cause, record.scope), (Cause::ReleaseRollout, Scope::Application));
    assert_eq!(record.blast_radius.devices, 80);
    story.sample();
    story.sample();
    for application in story.fleet.values_mut() {
        application.target = Some(5);
    }
    let step = story.sample();
    assert!(step.incidents.iter().any(|one| one.current().cause == Cause::MassRetarget));
}

#[test]
fn a_blind_daemon_says_so_and_nothing_of_the_fleet() {
    let mut story = Story::new(40, 12);
    story.quiet(5);
    let failure =
        Failure { reason: FailureReason::Timeout, message: "no answer in 10 s".to_owned() };
    let mut severities = Vec::new();
    for _ in 0..25 {
        let step = story.observe(Outcome::Failed(failure.clone()));
        severities.extend(step.incidents.iter().map(|one| one.current().severity));
    }
    assert_eq!(severities, [Severity::Warning, Severity::Critical]);
    let step = story.sample();
    assert!(only(&step).resolved_at.is_some());
    assert!(only(&step).causes[0].superseded_at.is_some());
}

#[test]
fn stopping_and_resuming_anywhere_gives_the_same_output() {
    let run = |stop_at: Option<i64>| {
        let mut story = Story::new(40, 12);
        let mut output = Vec::new();
        for sample in 0..30 {
            match sample {
                10 => story.pin(1..=40),
                16 => story.unpin(1..=40),
                24 => story.restore(1..=40),
                _ => {}
            }
            if Some(sample) == stop_at {
                let stored = serde_json::to_string(story.pipeline.state()).unwrap();
                let state: State = serde_json::from_str(&stored).unwrap();
                assert_eq!(&state, story.pipeline.state());
                story.pipeline = Pipeline::new(settings(), state);
            }
            let step = story.sample();
            output.push(format!("{:?} {:?} {:?}", step.values, step.changes, step.incidents));
        }
        output
    };
    let whole = run(None);
    for stop_at in [1, 10, 11, 17, 25, 29] {
        assert_eq!(run(Some(stop_at)), whole, "stopped before sample {stop_at}");
    }
}

#[test]
fn repeats_and_late_rows_are_left_out_and_said() {
    let mut story = Story::new(40, 12);
    story.quiet(3);
    story.sample = 2;
    story.unpin(1..=40);
    let step = story.sample();
    assert_eq!(
        (step.irregularities[0].kind, step.incidents.len()),
        (IrregularityKind::Duplicate, 0)
    );
    story.sample = 0;
    assert_eq!(story.sample().irregularities[0].kind, IrregularityKind::OutOfOrder);
}

impl Story {
    fn sample_with(&mut self, accounting: Option<accounting::Reading>, absent: &[&str]) -> Step {
        let (at, applications) = (at(self.sample), self.fleet.clone());
        let fleet = Some(Snapshot { at, device_id_max: 1, appeared_above: Some(1), applications });
        let absent = absent.iter().map(|&signal| signal.to_owned()).collect();
        let reading = Reading { fleet, accounting, absent, ..Reading::default() };
        self.observe(Outcome::Sampled(Box::new(reading)))
    }
}

fn migration(run_count: i64, migrated_rows: i64) -> accounting::Reading {
    let migration = accounting::Migration { run_count, migrated_rows, ..Default::default() };
    accounting::Reading {
        migrations: Some(BTreeMap::from([("0042-pin-devices".to_owned(), migration)])),
        statements_lack: Some("an SQLite database keeps no statistics of statements".to_owned()),
        ..Default::default()
    }
}

#[test]
fn without_statistics_a_page_names_the_migration_and_says_only_what_is_true() {
    let mut story = Story::new(400, 60);
    for _ in 0..5 {
        story.sample_with(Some(migration(1, 0)), &[]);
    }
    story.pin(1..=400);
    let step = story.sample_with(Some(migration(2, 32_000)), &[]);
    let record = only(&step).current();
    assert_eq!(record.cause, Cause::MassPin);
    let text_of = |kind: &str| {
        let found = record.evidence.iter().filter(|evidence| evidence.kind == kind);
        found.map(|evidence| evidence.text.as_str()).collect::<Vec<_>>().join("\n")
    };
    let running = text_of("migration");
    assert!(running.contains("0042-pin-devices is running: 32,000 rows"), "{running}");
    let missing = text_of("missing");
    assert!(missing.ends_with("an SQLite database keeps no statistics of statements"), "{missing}");
    let whole = format!("{record:?}");
    assert!(!whole.contains("pg_") && !whole.to_lowercase().contains("grant"), "{whole}");
}

#[test]
fn where_owners_are_unknown_breadth_is_of_applications_and_nothing_is_zero() {
    const ABSENT: &[&str] = &[
        "organizations",
        "organizations_devices_removed",
        "organizations_pins_added",
        "organizations_pins_removed",
        "organizations_pins_moved",
        "organizations_targets_changed",
    ];
    let mut story = Story::new(400, 1);
    for application in story.fleet.values_mut() {
        application.organization = 0;
    }
    for _ in 0..5 {
        assert_eq!(story.sample_with(None, ABSENT).incidents, []);
    }
    story.unpin(1..=400);
    let step = story.sample_with(None, ABSENT);
    assert_eq!(only(&step).current().cause, Cause::MassUnpin);
    assert_eq!(only(&step).current().scope, Scope::Platform);
    let recorded = &story.pipeline.state.fleet.as_ref().unwrap().values;
    assert_eq!(recorded["applications_pins_removed"], 400.0);
    for signal in ABSENT {
        assert!(!recorded.contains_key(signal), "{signal} is missing, not a number");
        assert!(!story.pipeline.state.signals.contains_key(*signal), "{signal} is not watched");
    }
    // One application is one owner's own affair, though every owner has the same id.
    let mut story = Story::new(400, 1);
    for _ in 0..5 {
        story.sample_with(None, ABSENT);
    }
    story.unpin([7]);
    let step = story.sample_with(None, ABSENT);
    assert_eq!(only(&step).current().scope, Scope::Application);
    assert_eq!(only(&step).current().severity, Severity::Info);
}

/// Pins an application's unpinned devices, and moves the pin of one that had another.
fn pin_and_move(application: &mut Application) {
    application.cohorts.clear();
    put(application, Some(2), Some(2), 19);
    put(application, Some(3), Some(3), 81);
}

#[test]
fn pins_that_a_batch_moves_are_no_cause_of_their_own() {
    let mut story = Story::new(400, 60);
    story.quiet(20);
    for batch in 0..20 {
        for id in batch * 20 + 1..=batch * 20 + 20 {
            pin_and_move(story.fleet.get_mut(&id).unwrap());
        }
        story.sample();
    }
    let open = story.pipeline.incidents();
    let causes: Vec<Cause> = open[0].causes.iter().map(|record| record.cause).collect();
    assert_eq!((open.len(), causes), (1, vec![Cause::MassPin]));
    story.restore(1..=400);
    let ended = (0..4).flat_map(|_| story.sample().incidents).find(|one| !one.is_open());
    assert_eq!(ended.expect("all is as it was").notifications.len(), 1);
}

#[test]
fn an_owner_who_acts_during_a_rollback_does_not_keep_the_incident_open() {
    let mut story = Story::new(40, 12);
    story.quiet(20);
    story.pin(1..=40);
    story.sample();
    story.restore(1..=40);
    story.sample();
    story.pin([7]);
    let ended = (0..6).flat_map(|_| story.sample().incidents).find(|one| !one.is_open());
    assert_eq!(ended.expect("one owner is ordinary").current().cause, Cause::MassPin);
    // Nor does what the rollback took off make a fault of the next owner's act.
    story.unpin([9]);
    let told = (0..4).flat_map(|_| story.sample().incidents);
    assert!(told.flat_map(|one| one.notifications).next().is_none());
}

#[test]
fn a_mass_repin_lasts_until_pins_point_to_where_they_did() {
    let mut story = Story::new(40, 12);
    story.quiet(20);
    for application in story.fleet.values_mut() {
        application.cohorts.clear();
        put(application, Some(5), Some(2), 20);
        put(application, None, Some(3), 80);
    }
    let step = story.sample();
    assert_eq!(only(&step).current().cause, Cause::MassRepin);
    for _ in 0..10 {
        assert!(story.sample().incidents.iter().all(Incident::is_open), "no count has changed");
    }
    assert_eq!(story.pipeline.incidents().len(), 1);
}

#[test]
fn a_recording_s_flows_are_judged_sample_by_sample() {
    let mut pipeline = Pipeline::new(settings(), State::default());
    for sample in 0..100 {
        let removed = f64::from(u8::from(sample % 9 == 0));
        let values = Values::from([
            ("devices_pinned".to_owned(), 500.0),
            ("organizations".to_owned(), 60.0),
            ("pins_removed".to_owned(), removed),
            ("organizations_pins_removed".to_owned(), removed),
        ]);
        let outcome = Outcome::Sampled(Box::new(Reading { values, ..Reading::default() }));
        let observation = Observation { at: at(sample), source: "fleet".to_owned(), outcome };
        assert_eq!(pipeline.step(&observation).incidents, []);
    }
}
