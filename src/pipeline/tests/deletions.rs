//! Devices deleted over the platform, in pieces and at once, with their writer, and given back.

use super::*;
use crate::{
    accounting::{OpenWriter, Statement, Statements, TableCounters},
    values::Values,
};

impl Story {
    /// Deletes that share of each cohort, in whole devices.
    fn delete(&mut self, applications: impl IntoIterator<Item = i64>, share: f64) {
        for id in applications {
            let application = self.fleet.get_mut(&id).unwrap();
            for cohort in application.cohorts.values_mut() {
                cohort.devices -= (cohort.devices as f64 * share) as u64;
                cohort.online = cohort.devices;
            }
            application.cohorts.retain(|_, cohort| cohort.devices > 0);
            if application.cohorts.is_empty() {
                self.fleet.remove(&id);
            }
        }
    }
}

/// Applications `1..=40` of 12 organisations, a hundred devices each.
fn story() -> Story {
    let mut story = Story::new(40, 12);
    story.quiet(4);
    story
}

#[test]
fn a_deletion_everywhere_is_paged_and_ends_when_the_devices_are_back() {
    let mut story = story();
    let whole = story.fleet.clone();
    story.delete(1..=40, 0.5);
    let step = story.sample();
    let incident = only(&step);
    let record = incident.current();
    assert_eq!((record.cause, record.severity), (Cause::MassDeletion, Severity::Critical));
    assert_eq!((record.scope, record.onset), (Scope::Platform, at(4)));
    assert_eq!(
        record.summary,
        "2,000 devices in 40 applications of 12 organisations were deleted between 22:00:45 and \
         22:01:00 UTC."
    );
    assert_eq!(record.title, "Mass deletion: 2,000 devices in 40 applications of 12 organisations");
    assert!(record.description.contains("2,000 devices are left (4,000 before)"), "{record:?}");
    let [stop, do_not, restore] = &record.next_steps[..] else { panic!("{record:?}") };
    assert!(stop.starts_with("Make sure that the writer has stopped"), "{stop}");
    assert!(do_not.starts_with("Do NOT let the devices be registered anew"), "{do_not}");
    assert!(restore.starts_with("Restore from the state at 22:00:45 UTC"), "{restore}");
    assert!(restore.contains("when there were 4,000 devices, only the rows that are gone"));
    let radius = &record.blast_radius;
    let counted = radius.counted.expect("devices are counted");
    assert_eq!((counted.before, counted.after), (Some(4_000), Some(2_000)));
    assert_eq!((radius.pinned_before, radius.pending_if_unpinned), (None, None));
    let most = radius.most_affected[0].counted.expect("devices are counted");
    assert_eq!((most.before, most.after), (Some(100), Some(50)));
    let candidates: f64 = incident.candidates.iter().map(|(_, probability)| probability).sum();
    assert!((candidates - 1.0).abs() < 1e-12 && incident.candidates[0].0 == Cause::MassDeletion);
    for _ in 0..8 {
        let step = story.sample();
        assert!(step.incidents.iter().all(|one| one.is_open() && one.notifications.len() == 1));
    }
    story.fleet = whole;
    assert!(story.sample().incidents.iter().all(Incident::is_open), "not at the first sight");
    assert!(only(&story.sample()).resolved_at.is_some(), "the devices are back");
    story.quiet(4);
}

#[test]
fn whoever_lost_every_device_is_still_named() {
    let mut story = story();
    story.delete(1..=38, 1.0);
    let step = story.sample();
    let radius = &only(&step).current().blast_radius;
    assert_eq!((radius.applications, radius.organizations), (Some(38), Some(12)));
    assert_eq!(radius.most_affected.len(), 10);
    assert_eq!(radius.most_affected[0].name, "app-1");
    // One organisation is left with devices: the others are owners still.
    let mut story = Story::new(40, 12);
    story.quiet(4);
    story.delete((1..=40).filter(|id| id % 12 != 0), 1.0);
    let step = story.sample();
    let record = only(&step).current();
    assert_eq!(record.cause, Cause::MassDeletion);
    assert_eq!(record.blast_radius.organizations, Some(11));
    for _ in 0..4 {
        assert!(story.sample().incidents.iter().all(Incident::is_open));
    }
}

#[test]
fn a_deletion_in_batches_is_one_incident_that_counts_on() {
    let mut story = Story::new(40, 12);
    // Two owners a sample: it takes some quiet history to know that this is not how owners act.
    story.quiet(240);
    let whole = story.fleet.clone();
    let mut told = std::collections::BTreeSet::new();
    for batch in 0..20 {
        story.delete(2 * batch + 1..=2 * batch + 2, 1.0);
        let step = story.sample();
        told.extend(step.incidents.iter().map(|one| (one.id.clone(), one.notifications.len())));
    }
    assert_eq!(told.len(), 1, "one incident, one page: {told:?}");
    let open = story.pipeline.incidents();
    let [incident] = &open[..] else { panic!("{open:#?}") };
    let record = incident.current();
    assert_eq!((record.cause, record.onset), (Cause::MassDeletion, at(240)));
    let radius = &record.blast_radius;
    assert_eq!((radius.devices, radius.applications), (4_000, Some(40)));
    assert_eq!((radius.organizations, radius.counted.unwrap().before), (Some(12), Some(4_000)));
    // Of the batches before it was recognised only the owners are known.
    assert!(radius.most_affected.iter().all(|one| one.counted.unwrap().before == Some(100)));
    story.fleet = whole;
    story.sample();
    assert!(only(&story.sample()).resolved_at.is_some());
}

#[test]
fn an_owner_s_deletions_and_moves_between_applications_are_nobody_s_business() {
    let mut story = story();
    // All applications of one organisation, then one application of another.
    story.delete((1..=40).filter(|id| id % 12 == 3), 1.0);
    story.quiet(3);
    story.delete([1], 1.0);
    story.quiet(3);
    // The devices of every organisation move to the first application that it still has.
    let mut story = self::story();
    for organization in 0..12 {
        let owned: Vec<i64> = (1..=40).filter(|id| id % 12 == organization).collect();
        let moved: u64 = owned[1..].iter().map(|id| story.fleet[id].devices()).sum();
        for id in &owned[1..] {
            story.fleet.remove(id);
        }
        let first = story.fleet.get_mut(&owned[0]).unwrap();
        let unpinned = CohortKey { pinned: None, running: Some(3) };
        first.cohorts.get_mut(&unpinned).unwrap().devices += moved;
    }
    let step = story.sample();
    assert!(step.incidents.iter().all(|one| one.notifications.is_empty()), "{step:#?}");
    assert_eq!((step.values["devices_removed"], step.values["pins_removed"]), (0.0, 0.0));
}

#[test]
fn the_statement_that_deleted_is_named_and_a_writer_of_pins_is_not_blamed() {
    let mut story = story();
    let statement = |query_id, text: &str, rows| Statement {
        query_id,
        role: "ops".to_owned(),
        top_level: true,
        rows,
        calls: 1,
        rows_before: 0,
        calls_before: 0,
        text: Some(text.to_owned()),
    };
    let reading = |counts: Vec<Statement>, updated, deleted| accounting::Reading {
        statements: Some(Statements { counts, ..Statements::default() }),
        device: Some(TableCounters { inserted: 0, updated, deleted }),
        ..accounting::Reading::default()
    };
    assert_eq!(story.accounted(reading(Vec::new(), 0, 0)).incidents, []);
    story.delete(1..=40, 0.5);
    let pins = statement(1, r#"UPDATE "device" SET "is pinned on-release" = $1"#, 9_000);
    let gone = statement(2, r#"DELETE FROM "device" WHERE "id" % $1 = $2"#, 2_003);
    let writer = |pid, statement: &str| OpenWriter {
        pid,
        role: "ops".to_owned(),
        application_name: String::new(),
        client: None,
        statement: statement.to_owned(),
        transaction_age_s: 3.0,
    };
    let mut accounting = reading(vec![pins, gone], 9_000, 2_003);
    accounting.writers = vec![
        writer(7, r#"UPDATE "device" SET "is pinned on-release" = NULL"#),
        writer(8, r#"DELETE FROM "device" WHERE "id" % 2 = 0"#),
    ];
    let step = story.accounted(accounting);
    let record = only(&step).current();
    assert!(
        record
            .summary
            .ends_with(r#"role ops ran DELETE FROM "device" WHERE "id" % $1 = $2 (2,003 rows)."#),
        "{}",
        record.summary
    );
    let facts: Vec<&str> = record.evidence.iter().map(|fact| fact.text.as_str()).collect();
    let facts = facts.join("\n");
    for part in [
        "2,000 devices were deleted; one statement of role ops deleted 2,003 rows in 1 call",
        "3 more than were deleted",
        "2,003 rows of device were deleted in all",
        "that writes to device is open for 3 s: DELETE FROM",
    ] {
        assert!(facts.contains(part), "{part} is not in\n{facts}");
    }
    assert!(!facts.contains("UPDATE"), "{facts}");
    assert!(record.next_steps[0].contains("pg_cancel_backend(8)"), "{:?}", record.next_steps);
}

#[test]
fn a_recording_tells_deletions_by_its_columns() {
    let run = |rows: &[&[(&str, f64)]]| {
        let mut pipeline = Pipeline::new(settings(), State::default());
        let mut causes = Vec::new();
        for (sample, row) in rows.iter().enumerate() {
            let values = row.iter().map(|(name, value)| (*name, *value)).collect::<Values>();
            let outcome = Outcome::Sampled(Box::new(Reading { values, ..Reading::default() }));
            let at = at(sample as i64);
            let step = pipeline.step(&Observation { at, source: "fleet".to_owned(), outcome });
            causes.extend(step.incidents.iter().map(|one| (one.current().cause, one.is_open())));
        }
        causes.dedup();
        causes
    };
    let opened = (Cause::MassDeletion, true);
    let quiet: &[(&str, f64)] = &[
        ("devices", 20_000.0),
        ("devices_removed", 0.0),
        ("applications_devices_removed", 0.0),
        ("organizations_devices_removed", 0.0),
    ];
    let broad = [
        ("devices", 12_000.0),
        ("devices_removed", 8_000.0),
        ("applications_devices_removed", 380.0),
        ("organizations_devices_removed", 60.0),
    ];
    let narrow = [
        broad[0],
        broad[1],
        ("applications_devices_removed", 40.0),
        ("organizations_devices_removed", 1.0),
    ];
    assert_eq!(run(&[quiet, quiet, &broad]), [opened]);
    assert_eq!(run(&[quiet, quiet, &narrow]), []);
    // Without organisations, applications are the breadth.
    assert_eq!(run(&[&quiet[..3], &quiet[..3], &broad[..3]]), [opened]);
    // Without any breadth only what hits everybody can be no owner's.
    let alone = |devices: f64| [("devices", devices)];
    assert_eq!(run(&[&alone(20_000.0), &alone(20_000.0), &alone(0.0)]), [opened]);
    assert_eq!(run(&[&alone(20_000.0), &alone(20_000.0), &alone(12_000.0)]), []);
    // What is back is over.
    let back = [("devices", 20_000.0), ("devices_added", 8_000.0), quiet[1], quiet[2], quiet[3]];
    let over = run(&[quiet, quiet, &broad, &back, quiet]);
    assert_eq!(over, [opened, (Cause::MassDeletion, false)]);
}

#[test]
fn an_incident_of_deletions_survives_a_restart() {
    let mut story = story();
    story.delete(1..=30, 1.0);
    story.sample();
    let text = serde_json::to_string(story.pipeline.state()).unwrap();
    let restored = State::restore(STATE_VERSION, &text).unwrap();
    assert_eq!(&restored.state, story.pipeline.state());
}
