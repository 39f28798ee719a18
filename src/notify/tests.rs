//! What an incident's alerts look like at each point of its life.

use std::collections::BTreeMap;

use chrono::{TimeDelta, TimeZone, Utc};
use expect_test::{Expect, expect};

use super::alerts::{
    ANNOTATION_BYTES_MAX, AlertSettings, Decision, RESEND_ENDED_FOR, alerts, decide,
};
use crate::{
    incident::{BlastRadius, Cause, CauseRecord, Incident, Scope, Severity},
    series::Time,
};

fn at(minute: u32, second: u32) -> Time {
    Utc.with_ymd_and_hms(2019, 9, 23, 22, minute, second).unwrap()
}

fn record(cause: Cause, severity: Severity, detected_at: Time) -> CauseRecord {
    CauseRecord {
        cause,
        severity,
        scope: Scope::Platform,
        onset: detected_at - TimeDelta::seconds(15),
        detected_at,
        superseded_at: None,
        title: format!("{cause}"),
        summary: format!("Something like {cause} happened."),
        description: "Evidence: rows.\nNext: look.".to_owned(),
        probability: 0.974,
        evidence: Vec::new(),
        blast_radius: BlastRadius::default(),
        next_steps: Vec::new(),
    }
}

fn incident(causes: Vec<CauseRecord>) -> Incident {
    Incident {
        id: "20190923T221415".to_owned(),
        causes,
        candidates: Vec::new(),
        symptoms: Vec::new(),
        timeline: Vec::new(),
        notifications: Vec::new(),
        resolved_at: None,
        accepted_at: None,
        rejected_at: None,
        familiar: None,
        proposes_acceptance_since: None,
    }
}

fn settings() -> AlertSettings {
    AlertSettings {
        fleet: "production".to_owned(),
        external_url: "https://headwater.example.org".to_owned(),
        runbook_url: "https://runbooks.example.org/causes".to_owned(),
        labels: BTreeMap::from([("cluster".to_owned(), "eu".to_owned())]),
    }
}

/// One line an alert: what it is, from when to when, and why.
fn check(incident: &Incident, now: Time, expected: &Expect) {
    let lines: String = alerts(incident, now, &settings())
        .iter()
        .map(|alert| {
            let (name, severity) = (&alert.labels["alertname"], &alert.labels["severity"]);
            let from = alert.starts_at.format("%H:%M:%S");
            let to = alert.ends_at.format("%H:%M:%S");
            format!("{name} {severity} {from} to {to}: {}\n", alert.decision)
        })
        .collect();
    expected.assert_eq(&lines);
}

fn the_night_of_2019() -> Incident {
    incident(vec![
        record(Cause::MassPin, Severity::Critical, at(14, 15)),
        record(Cause::MassUnpin, Severity::Critical, at(16, 0)),
    ])
}

#[test]
fn an_alert_is_what_the_contract_says() {
    let open = incident(vec![record(Cause::MassPin, Severity::Critical, at(14, 15))]);
    let sent = serde_json::to_string_pretty(&alerts(&open, at(20, 0), &settings())).unwrap();
    expect![[r#"
        [
          {
            "labels": {
              "alertname": "MassPin",
              "cause": "mass_pin",
              "cluster": "eu",
              "fleet": "production",
              "incident": "20190923T221415",
              "scope": "platform",
              "severity": "critical",
              "source": "headwater"
            },
            "annotations": {
              "description": "Evidence: rows.\nNext: look.",
              "incident_url": "https://headwater.example.org/incidents/20190923T221415",
              "onset": "2019-09-23T22:14:00Z",
              "probability": "0.97",
              "runbook_url": "https://runbooks.example.org/causes#mass_pin",
              "summary": "Something like mass_pin happened."
            },
            "startsAt": "2019-09-23T22:14:15Z",
            "endsAt": "2019-09-23T22:24:00Z",
            "generatorURL": "https://headwater.example.org/incidents/20190923T221415"
          }
        ]"#]]
    .assert_eq(&sent);
}

#[test]
fn the_labels_and_the_start_are_the_same_for_the_whole_life() {
    let mut incident = the_night_of_2019();
    let identities = |incident: &Incident, now| -> Vec<_> {
        let alerts = alerts(incident, now, &settings());
        alerts.into_iter().map(|alert| (alert.labels, alert.starts_at, alert.annotations)).collect()
    };
    let at_first = identities(&incident, at(16, 0));
    // What evolves: evidence, blast radius, candidates, the timeline.
    incident.causes[0].blast_radius.devices = 150_000;
    incident.candidates.push((Cause::MassPin, 0.5));
    incident.note(at(17, 0), "more");
    assert_eq!(identities(&incident, at(40, 0)), at_first);
    incident.resolved_at = Some(at(50, 0));
    assert_eq!(identities(&incident, at(51, 0)), at_first);
}

#[test]
fn every_cause_of_an_open_incident_fires_until_the_whole_incident_resolves() {
    let mut incident = the_night_of_2019();
    check(
        &incident,
        at(20, 0),
        &expect![[r#"
            MassPin critical 22:14:15 to 22:24:00: firing, for its incident is open
            MassUnpin critical 22:16:00 to 22:24:00: firing, for its incident is open
        "#]],
    );
    incident.resolved_at = Some(at(40, 0));
    check(
        &incident,
        at(40, 5),
        &expect![[r#"
            MassPin critical 22:14:15 to 22:40:00: ended, for its incident was resolved at 2019-09-23T22:40:00Z
            MassUnpin critical 22:16:00 to 22:40:00: ended, for its incident was resolved at 2019-09-23T22:40:00Z
        "#]],
    );
}

#[test]
fn an_ended_alert_is_sent_again_for_a_quarter_of_an_hour() {
    let mut incident = the_night_of_2019();
    incident.resolved_at = Some(at(30, 0));
    assert_eq!(alerts(&incident, at(30, 0) + RESEND_ENDED_FOR, &settings()).len(), 2);
    let later = at(30, 0) + RESEND_ENDED_FOR + TimeDelta::seconds(1);
    assert_eq!(alerts(&incident, later, &settings()), []);
    assert_eq!(decide(&incident, &incident.causes[0], later), Decision::SilentLongEnded);
}

#[test]
fn info_is_never_sent() {
    let mut incident = incident(vec![record(Cause::ReleaseRollout, Severity::Info, at(10, 0))]);
    assert_eq!(alerts(&incident, at(10, 0), &settings()), []);
    assert_eq!(decide(&incident, &incident.causes[0], at(10, 0)), Decision::SilentInfo);
    incident.causes.push(record(Cause::MassRetarget, Severity::Critical, at(11, 0)));
    check(
        &incident,
        at(11, 0),
        &expect![[r#"
            MassRetarget critical 22:11:00 to 22:15:00: firing, for its incident is open
        "#]],
    );
}

#[test]
fn a_severity_that_grows_ends_one_alert_and_starts_another_the_loud_one_first() {
    let mut warning = record(Cause::SamplingLost, Severity::Warning, at(0, 45));
    warning.superseded_at = Some(at(5, 0));
    let critical = record(Cause::SamplingLost, Severity::Critical, at(5, 0));
    let mut incident = incident(vec![warning, critical]);
    check(
        &incident,
        at(5, 0),
        &expect![[r#"
            SamplingLost critical 22:05:00 to 22:09:00: firing, for its incident is open
            SamplingLost warning 22:00:45 to 22:05:00: ended, for its severity changed at 2019-09-23T22:05:00Z
        "#]],
    );
    check(
        &incident,
        at(25, 0),
        &expect![[r#"
            SamplingLost critical 22:05:00 to 22:29:00: firing, for its incident is open
        "#]],
    );
    // The resolve is of the one that still fired; the other ended when it was superseded.
    incident.resolved_at = Some(at(10, 0));
    check(
        &incident,
        at(11, 0),
        &expect![[r#"
            SamplingLost critical 22:05:00 to 22:10:00: ended, for its incident was resolved at 2019-09-23T22:10:00Z
            SamplingLost warning 22:00:45 to 22:05:00: ended, for its severity changed at 2019-09-23T22:05:00Z
        "#]],
    );
}

#[test]
fn one_label_set_is_sent_once_and_fires_as_long_as_any_of_its_records() {
    let mut first = record(Cause::SamplingLost, Severity::Warning, at(1, 0));
    first.superseded_at = Some(at(5, 0));
    let louder = record(Cause::SamplingLost, Severity::Critical, at(5, 0));
    let mut again = record(Cause::SamplingLost, Severity::Warning, at(8, 0));
    again.summary = "Other words.".to_owned();
    let incident = incident(vec![first, louder, again]);
    check(
        &incident,
        at(9, 0),
        &expect![[r#"
            SamplingLost critical 22:05:00 to 22:13:00: firing, for its incident is open
            SamplingLost warning 22:01:00 to 22:13:00: firing, for its incident is open
        "#]],
    );
    let sent = alerts(&incident, at(9, 0), &settings());
    assert_eq!(sent[1].annotations["summary"], "Something like sampling_lost happened.");
}

#[test]
fn an_alert_never_ends_before_it_starts() {
    let mut incident = the_night_of_2019();
    // The clock was set back by an hour after the detection.
    let set_back = at(16, 0) - TimeDelta::hours(1);
    let all_in_order = |incident: &Incident| {
        let sent = alerts(incident, set_back, &settings());
        sent.len() == 2 && sent.iter().all(|alert| alert.starts_at <= alert.ends_at)
    };
    assert!(all_in_order(&incident));
    incident.resolved_at = Some(set_back);
    assert!(all_in_order(&incident));
}

#[test]
fn configured_labels_cannot_replace_the_contract_s() {
    let open = the_night_of_2019();
    let mut settings = settings();
    settings.labels.insert("cause".to_owned(), "something else".to_owned());
    settings.labels.insert("severity".to_owned(), "none".to_owned());
    for alert in alerts(&open, at(20, 0), &settings) {
        assert_eq!(alert.labels["severity"], "critical");
        assert!(alert.labels["cause"].starts_with("mass_"));
        assert_eq!(alert.labels["cluster"], "eu");
    }
}

#[test]
fn a_description_without_end_is_cut_between_characters() {
    let mut open = the_night_of_2019();
    open.causes[0].description = "ä".repeat(ANNOTATION_BYTES_MAX);
    let sent = alerts(&open, at(20, 0), &settings());
    let description = &sent[0].annotations["description"];
    assert!(description.len() <= ANNOTATION_BYTES_MAX);
    assert!(description.ends_with("ä … (cut; see the incident's page)"));
}
