//! The night of 2019-09-23 as finished data, for the tests of everything that stores, serves or
//! prints incidents. Nothing here is detected; the numbers are made up but agree with one another.

use crate::{
    fleet,
    incident::{
        Affected, BlastRadius, Cause, CauseRecord, Change, ChangeKind, Evidence, Incident, Scope,
        Severity, Symptom,
    },
    pipeline::{SignalStatus, Standing, Tally},
    series::{Direction, Time},
};

/// `hh:mm:ss` of that night.
pub(crate) fn at(clock: &str) -> Time {
    format!("2019-09-23T{clock}Z").parse().expect("the tests spell times correctly")
}

/// Both causes in one incident; open unless `resolved_at` says otherwise.
pub(crate) fn night() -> Incident {
    let mut incident = Incident {
        id: "20190923T221415-mass_pin".to_owned(),
        causes: Vec::new(),
        candidates: vec![(Cause::MassUnpin, 0.97), (Cause::Unexplained, 0.03)],
        symptoms: vec![Symptom {
            signal: "delta_queue".to_owned(),
            onset: at("22:17:30"),
            direction: Direction::Up,
            before: 12.0,
            after: 8_412.0,
            explained: 0.96,
            explanation: "8,731 new release pairs, each one delta".to_owned(),
        }],
        timeline: Vec::new(),
        notifications: Vec::new(),
        resolved_at: None,
        accepted_at: None,
        rejected_at: None,
        familiar: None,
        proposes_acceptance_since: None,
    };
    incident.join(mass_pin());
    incident.join(mass_unpin());
    incident.note(at("22:17:45"), "delta_queue rose from 12 to 8,412: explained by pending_pairs");
    incident
}

fn mass_pin() -> CauseRecord {
    CauseRecord {
        cause: Cause::MassPin,
        severity: Severity::Critical,
        scope: Scope::Platform,
        onset: at("22:14:00"),
        detected_at: at("22:14:15"),
        superseded_at: None,
        title: "400,000 devices pinned in 1,500 applications".to_owned(),
        summary:
            "400,000 devices in 1,500 applications of 60 organisations were pinned since 22:14:00"
                .to_owned(),
        description: String::new(),
        probability: 0.98,
        evidence: vec![Evidence {
            kind: "migration".to_owned(),
            text: "migration device/0042-pin was running: 400,000 rows".to_owned(),
        }],
        blast_radius: BlastRadius {
            devices: 400_000,
            applications: Some(1_500),
            organizations: Some(60),
            pinned_before: Some(61_234),
            pinned_after: Some(461_234),
            pending_before: Some(20_412),
            pending_after: Some(1_001),
            pending_if_unpinned: Some(fleet::Pending { devices: 147_773, pairs: 8_731 }),
            counted: None,
            most_affected: Vec::new(),
        },
        next_steps: vec!["do not clear all pins".to_owned()],
    }
}

fn mass_unpin() -> CauseRecord {
    CauseRecord {
        cause: Cause::MassUnpin,
        severity: Severity::Critical,
        scope: Scope::Platform,
        onset: at("22:16:00.250"),
        detected_at: at("22:16:15"),
        superseded_at: None,
        title: "461,234 devices unpinned in 1,500 applications".to_owned(),
        summary: "461,234 devices in 1,500 applications of 60 organisations lost their pin since \
                  22:16:00"
            .to_owned(),
        description: String::new(),
        probability: 0.97,
        evidence: vec![Evidence {
            kind: "statement".to_owned(),
            text:
                "one UPDATE \"device\" SET \"is pinned on-release\" = $1 of role ops wrote 461,234 \
                   rows"
                    .to_owned(),
        }],
        blast_radius: BlastRadius {
            devices: 461_234,
            applications: Some(1_500),
            organizations: Some(60),
            pinned_before: Some(61_234),
            pinned_after: Some(0),
            pending_before: Some(1_001),
            pending_after: Some(147_773),
            pending_if_unpinned: None,
            counted: None,
            most_affected: vec![Affected {
                application: 17,
                name: "scooters".to_owned(),
                devices: 30_120,
                pinned_before: 4_005,
                pinned_after: 0,
                counted: None,
            }],
        },
        next_steps: vec![
            "stop updates before anything else".to_owned(),
            "restore the pins of 22:13:45, the last sample before the onset".to_owned(),
        ],
    }
}

/// A customer's own act, earlier that day: recorded, resolved, never notified.
pub(crate) fn customer_rollout() -> Incident {
    let mut incident = night();
    incident.id = "20190923T101500-bulk_pin_by_owner".to_owned();
    incident.causes.clear();
    incident.timeline.clear();
    incident.notifications.clear();
    incident.symptoms.clear();
    incident.candidates = vec![(Cause::BulkPinByOwner, 1.0)];
    let record = CauseRecord {
        cause: Cause::BulkPinByOwner,
        severity: Severity::Info,
        scope: Scope::Application,
        onset: at("10:14:45"),
        detected_at: at("10:15:00"),
        title: "20,000 devices pinned by their owner".to_owned(),
        summary: "20,000 devices in one application were pinned since 10:14:45".to_owned(),
        ..mass_pin()
    };
    incident.join(record);
    incident.resolved_at = Some(at("10:20:00"));
    incident
}

/// A change as a detector would report it.
pub(crate) fn change() -> Change {
    Change {
        signal: "devices_pinned".to_owned(),
        kind: ChangeKind::Shift,
        detected_at: at("22:14:15"),
        onset: at("22:14:00"),
        onset_low: at("22:13:45.500"),
        onset_high: at("22:14:00"),
        direction: Direction::Up,
        before: 61_234.0,
        after: 461_234.0,
        score: 812.5,
        threshold: 21.75,
    }
}

/// Two signals: one that alarms, one that is not there yet.
pub(crate) fn signals() -> Vec<SignalStatus> {
    let pinned = SignalStatus {
        signal: "devices_pinned".to_owned(),
        source: "fleet".to_owned(),
        value: Some(461_234.0),
        at: Some(at("22:14:15")),
        expected: Some(61_234.0),
        expected_low: Some(61_100.25),
        expected_high: Some(61_400.0),
        score: Some(37.36),
        threshold: Some(21.75),
        threshold_origin: "budget".to_owned(),
        samples: 5_760,
        cold: None,
        unexplained: Some(400_000.0),
        alarms: 3,
        judged_s: 90.0 * 86_400.0,
        budget_per_month: Some(0.25),
    };
    let queue = SignalStatus {
        signal: "delta_queue".to_owned(),
        source: "prometheus".to_owned(),
        value: None,
        at: None,
        expected: None,
        expected_low: None,
        expected_high: None,
        score: None,
        threshold: None,
        threshold_origin: "prior".to_owned(),
        samples: 0,
        cold: Some("no sample yet".to_owned()),
        unexplained: None,
        alarms: 0,
        judged_s: 0.0,
        budget_per_month: None,
    };
    vec![queue, pinned]
}

/// The same with what was told in 60 days.
pub(crate) fn standing() -> Standing {
    let mut tally = Tally::default();
    tally.watched_s = 60.0 * 86_400.0;
    (tally.pages, tally.warnings, tally.warnings_rejected) = (2, 7, 1);
    Standing { signals: signals(), tally, pages_per_month: 1.0, warnings_per_month: 10.0 }
}
