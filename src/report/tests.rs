//! The contract's lines, to the byte.

use expect_test::{Expect, expect};
use serde::{Serialize, de::DeserializeOwned};

use super::*;

fn check<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(
    object: &T,
    wanted: &Expect,
) {
    wanted.assert_eq(&serde_json::to_string_pretty(object).unwrap());
    let text = line(object);
    assert!(!text.contains('\n'), "one line: {text}");
    let read: T = serde_json::from_str(&text).expect("what we write we can read");
    assert_eq!(read, *object, "the client reads what the server wrote");
}

fn check_pretty<T: Serialize>(object: &T, wanted: &Expect) {
    wanted.assert_eq(&serde_json::to_string_pretty(object).unwrap());
}

#[test]
fn a_change_is_one_line() {
    check(
        &change_json(&story::change()),
        &expect![[r#"
        {
          "type": "change",
          "kind": "shift",
          "signal": "devices_pinned",
          "detected_at": "2019-09-23T22:14:15Z",
          "onset": "2019-09-23T22:14:00Z",
          "onset_low": "2019-09-23T22:13:45.500Z",
          "onset_high": "2019-09-23T22:14:00Z",
          "direction": "up",
          "before": 61234,
          "after": 461234,
          "score": 812.5,
          "threshold": 21.75
        }"#]],
    );
}

#[test]
fn an_incident_has_exactly_the_fields_of_the_contract() {
    check(
        &incident_json(&story::night()),
        &expect![[r#"
        {
          "type": "incident",
          "id": "20190923T221415-mass_pin",
          "cause": "mass_unpin",
          "causes": [
            {
              "cause": "mass_pin",
              "onset": "2019-09-23T22:14:00Z",
              "detected_at": "2019-09-23T22:14:15Z"
            },
            {
              "cause": "mass_unpin",
              "onset": "2019-09-23T22:16:00.250Z",
              "detected_at": "2019-09-23T22:16:15Z"
            }
          ],
          "probability": 0.97,
          "severity": "critical",
          "scope": "platform",
          "onset": "2019-09-23T22:14:00Z",
          "detected_at": "2019-09-23T22:14:15Z",
          "resolved_at": null,
          "title": "461,234 devices unpinned in 1,500 applications",
          "summary": "461,234 devices in 1,500 applications of 60 organisations lost their pin since 22:16:00",
          "candidates": [
            {
              "cause": "mass_unpin",
              "probability": 0.97
            },
            {
              "cause": "unexplained",
              "probability": 0.03
            }
          ],
          "symptoms": [
            {
              "signal": "delta_queue",
              "onset": "2019-09-23T22:17:30Z",
              "explained": 0.96
            }
          ],
          "notifications": [
            {
              "at": "2019-09-23T22:14:15Z",
              "severity": "critical",
              "cause": "mass_pin",
              "title": "400,000 devices pinned in 1,500 applications"
            },
            {
              "at": "2019-09-23T22:16:15Z",
              "severity": "critical",
              "cause": "mass_unpin",
              "title": "461,234 devices unpinned in 1,500 applications"
            }
          ]
        }"#]],
    );
}

#[test]
fn an_incident_that_only_informs_has_no_notifications() {
    check(
        &incident_json(&story::customer_rollout()),
        &expect![[r#"
        {
          "type": "incident",
          "id": "20190923T101500-bulk_pin_by_owner",
          "cause": "bulk_pin_by_owner",
          "causes": [
            {
              "cause": "bulk_pin_by_owner",
              "onset": "2019-09-23T10:14:45Z",
              "detected_at": "2019-09-23T10:15:00Z"
            }
          ],
          "probability": 0.98,
          "severity": "info",
          "scope": "application",
          "onset": "2019-09-23T10:14:45Z",
          "detected_at": "2019-09-23T10:15:00Z",
          "resolved_at": "2019-09-23T10:20:00Z",
          "title": "20,000 devices pinned by their owner",
          "summary": "20,000 devices in one application were pinned since 10:14:45",
          "candidates": [
            {
              "cause": "bulk_pin_by_owner",
              "probability": 1
            }
          ],
          "symptoms": [],
          "notifications": []
        }"#]],
    );
}

#[test]
fn a_detail_adds_what_is_known() {
    let detail = incident_detail_json(&story::night());
    let text = line(&detail);
    assert_eq!(serde_json::from_str::<IncidentDetailJson>(&text).unwrap(), detail);
    assert!(
        text.starts_with(line(&detail.incident).trim_end_matches('}')),
        "the fields of the list come first, unchanged: {text}"
    );
    check_pretty(
        &DetailOnly::of(&detail),
        &expect![[r#"
        {
          "evidence": [
            {
              "cause": "mass_pin",
              "kind": "migration",
              "text": "migration device/0042-pin was running: 400,000 rows"
            },
            {
              "cause": "mass_unpin",
              "kind": "statement",
              "text": "one UPDATE \"device\" SET \"is pinned on-release\" = $1 of role ops wrote 461,234 rows"
            }
          ],
          "blast_radius": {
            "devices": 461234,
            "applications": 1500,
            "organizations": 60,
            "pinned_before": 61234,
            "pinned_after": 0,
            "pending_before": 1001,
            "pending_after": 147773,
            "pending_if_unpinned": null,
            "most_affected": [
              {
                "application": 17,
                "name": "scooters",
                "devices": 30120,
                "pinned_before": 4005,
                "pinned_after": 0
              }
            ]
          },
          "timeline": [
            {
              "at": "2019-09-23T22:14:15Z",
              "text": "400,000 devices in 1,500 applications of 60 organisations were pinned since 22:14:00"
            },
            {
              "at": "2019-09-23T22:16:15Z",
              "text": "461,234 devices in 1,500 applications of 60 organisations lost their pin since 22:16:00"
            },
            {
              "at": "2019-09-23T22:17:45Z",
              "text": "delta_queue rose from 12 to 8,412: explained by pending_pairs"
            }
          ],
          "next_steps": [
            "stop updates before anything else",
            "restore the pins of 22:13:45, the last sample before the onset"
          ]
        }"#]],
    );
}

/// The detail without what the list has as well.
#[derive(Serialize)]
struct DetailOnly<'a> {
    evidence: &'a [EvidenceJson],
    blast_radius: &'a BlastRadiusJson,
    timeline: &'a [TimelineEntryJson],
    next_steps: &'a [String],
}

impl<'a> DetailOnly<'a> {
    fn of(detail: &'a IncidentDetailJson) -> DetailOnly<'a> {
        DetailOnly {
            evidence: &detail.evidence,
            blast_radius: &detail.blast_radius,
            timeline: &detail.timeline,
            next_steps: &detail.next_steps,
        }
    }
}

#[test]
fn the_cause_is_the_last_that_notified() {
    let mut incident = story::night();
    incident.join(story::customer_rollout().causes.remove(0));
    let json = incident_json(&incident);
    assert_eq!((json.cause, json.severity), (Cause::MassUnpin, Severity::Critical));
    assert_eq!(json.causes.len(), 3);
}

#[test]
fn pinned_before_is_before_the_first_onset() {
    let mut incident = story::night();
    incident.causes[1].blast_radius.pinned_before = Some(461_234);
    assert_eq!(incident_detail_json(&incident).blast_radius.pinned_before, Some(61_234));
}

#[test]
fn a_rate_without_time_is_null() {
    let unknown = Rate { rate: f64::NAN, low: 0.0, high: f64::INFINITY };
    assert_eq!(line(&rate_json(unknown)), r#"{"rate":null,"low":0,"high":null}"#);
}

#[test]
fn a_summary_is_the_last_line() {
    let summary = Summary {
        samples: 40_320,
        signals: 37,
        days: 7.0,
        incidents: 3,
        pages: 2,
        pages_per_month: Rate { rate: 8.5, low: 1.0, high: 31.0 },
        warnings: 0,
        warnings_per_month: Rate { rate: 0.0, low: 0.0, high: 15.8 },
    };
    check(
        &summary_json(summary),
        &expect![[r#"
        {
          "type": "summary",
          "samples": 40320,
          "signals": 37,
          "days": 7,
          "incidents": 3,
          "pages": 2,
          "warnings": 0,
          "pages_per_month": {
            "rate": 8.5,
            "low": 1,
            "high": 31
          },
          "warnings_per_month": {
            "rate": 0,
            "low": 0,
            "high": 15.8
          }
        }"#]],
    );
}

#[test]
fn a_signal_says_null_where_it_knows_nothing() {
    let statuses = story::signals();
    check(
        &signal_json(&statuses[0]),
        &expect![[r#"
            {
              "signal": "delta_queue",
              "source": "prometheus",
              "value": null,
              "at": null,
              "expected": null,
              "expected_low": null,
              "expected_high": null,
              "score": null,
              "threshold": null,
              "threshold_origin": "prior",
              "samples": 0,
              "cold": "no sample yet",
              "unexplained": null,
              "alarms": 0,
              "judged_days": 0,
              "alarms_per_month": null,
              "budget_per_month": null
            }"#]],
    );
    check(
        &signal_json(&statuses[1]),
        &expect![[r#"
            {
              "signal": "devices_pinned",
              "source": "fleet",
              "value": 461234,
              "at": "2019-09-23T22:14:15Z",
              "expected": 61234,
              "expected_low": 61100.25,
              "expected_high": 61400,
              "score": 37.36,
              "threshold": 21.75,
              "threshold_origin": "budget",
              "samples": 5760,
              "cold": null,
              "unexplained": 400000,
              "alarms": 3,
              "judged_days": 90,
              "alarms_per_month": {
                "rate": 1,
                "low": 0.20622404096520067,
                "high": 2.922424356580775
              },
              "budget_per_month": 0.25
            }"#]],
    );
}

#[test]
fn numbers_are_whole_where_they_are_whole() {
    let numbers = [1.0, -0.0, 0.1, 1e300, 9.1e15, f64::NAN, f64::INFINITY].map(Number);
    expect!["[1,0,0.1,1e+300,9100000000000000.0,null,null]"].assert_eq(&line(&numbers));
}
