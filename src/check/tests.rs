//! What `check --connect` prints of each kind of answer, as people see it.

use std::collections::{BTreeMap, BTreeSet};

use expect_test::expect;

use super::*;
use crate::{
    accounting,
    fleet::{Application, Cohort, CohortKey, Snapshot},
    observation::{Failure, FailureReason},
    recording::parse_time,
    values::Values,
};

fn sampled(kind: &'static str, outcome: Outcome, took_ms: u64) -> Sampled {
    let at = parse_time("2019-09-23T22:12:00Z").expect("a time");
    let observation = Observation { at, source: kind.to_owned(), outcome };
    Sampled {
        source: format!("the {kind}"),
        kind,
        answer: Some((observation, Duration::from_millis(took_ms))),
    }
}

fn fleet() -> Snapshot {
    let key = |pinned, running| CohortKey { pinned, running };
    let cohort = |devices, online| Cohort { devices, online, ..Cohort::default() };
    let cohorts = BTreeMap::from([
        (key(None, Some(1)), cohort(700, 600)),
        (key(Some(1), Some(1)), cohort(200, 150)),
    ]);
    let application =
        Application { organization: 1, target: Some(2), cohorts, ..Default::default() };
    Snapshot {
        at: parse_time("2019-09-23T22:12:00Z").expect("a time"),
        device_id_max: 900,
        appeared_above: None,
        applications: BTreeMap::from([(1, application)]),
    }
}

#[test]
fn answers_failures_and_pushed_sources_are_told_apart() {
    let fleet = Reading {
        values: Values::from([("device_rows_written_total", 1234.0)]),
        fleet: Some(fleet()),
        absent: BTreeSet::from(["updates_in_progress".to_owned()]),
        accounting: Some(accounting::Reading {
            device: Some(accounting::TableCounters::default()),
            ..Default::default()
        }),
        notes: vec!["pg_stat_statements is not readable: GRANT pg_read_all_stats TO x".to_owned()],
        ..Reading::default()
    };
    let prometheus = Failure {
        reason: FailureReason::Timeout,
        message: "http://127.0.0.1:9090 did not answer in 5s: check the URL".to_owned(),
    };
    let sql = Reading { values: Values::from([("invoices_pending", 0.5)]), ..Reading::default() };
    let samples = [
        sampled("open_balena", Outcome::Sampled(Box::new(fleet)), 123),
        sampled("prometheus", Outcome::Failed(prometheus), 5001),
        sampled("sql", Outcome::Sampled(Box::new(sql)), 2),
        Sampled { source: "push".to_owned(), kind: "push", answer: None },
    ];
    expect![[r#"
        source           type         outcome               took     signals
        the open_balena  open_balena  sampled               0.123 s  15
        the prometheus   prometheus   FAILED (timeout)      5.001 s  0
        the sql          sql          sampled               0.002 s  1
        push             push         pushed to, not asked

        the open_balena
          devices                         900
          applications                    1
          organizations                   1
          devices_online                  750
          devices_vpn_connected           0
          devices_heartbeat_online        0
          devices_vpn_heartbeat_mismatch  0
          devices_pinned                  200
          devices_pinned_to_running       200
          pending_updates                 700
          pending_pairs                   1
          applications_pending            1
          devices_os_targeted             0
          devices_supervisor_targeted     0
          device_rows_written_total       1234
          evidence that can be read: pg_stat_user_tables
          note: pg_stat_statements is not readable: GRANT pg_read_all_stats TO x

        the prometheus
          http://127.0.0.1:9090 did not answer in 5s: check the URL

        the sql
          invoices_pending  0.5
    "#]]
    .assert_eq(&render(&samples));
}
