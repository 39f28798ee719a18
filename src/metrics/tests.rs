//! The exposition, as a scraper and as promtool read it.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use super::*;
use crate::{
    incident::Severity,
    report::story::{self, at},
};

fn metrics() -> Metrics {
    Metrics::new(["fleet", "prometheus"], Duration::from_secs(15), "0.1.0")
}

fn night_has_come() -> Metrics {
    let metrics = metrics();
    metrics.observe_step(&story::signals());
    metrics.incidents([&story::night()]);
    metrics.sampled("fleet", Duration::from_millis(120), at("22:16:15.500"));
    metrics.sample_failed("prometheus", FailureReason::Timeout);
    metrics.notifier("alertmanager", ["sent", "failed"]);
    metrics.notified("alertmanager", "sent");
    metrics.notifications_pending(2);
    metrics.store_failed();
    metrics.pipeline_lag(Duration::from_millis(30));
    metrics
}

#[track_caller]
fn check_has(metrics: &Metrics, lines: &[&str]) {
    let text = metrics.render().unwrap();
    for line in lines {
        assert!(text.lines().any(|present| present == *line), "{line} is missing in\n{text}");
    }
}

#[track_caller]
fn check_has_not(metrics: &Metrics, part: &str) {
    let text = metrics.render().unwrap();
    assert!(!text.contains(part), "{part} should not be in\n{text}");
}

#[test]
fn every_metric_of_the_contract_exists() {
    let text = night_has_come().render().unwrap();
    for name in [
        "headwater_signal_value",
        "headwater_signal_expected",
        "headwater_signal_expected_low",
        "headwater_signal_expected_high",
        "headwater_signal_score",
        "headwater_signal_unexplained",
        "headwater_incident_open",
        "headwater_incident_onset_timestamp_seconds",
        "headwater_incidents_total",
        "headwater_sample_duration_seconds",
        "headwater_sample_failures_total",
        "headwater_sample_irregularities_total",
        "headwater_sample_last_success_timestamp_seconds",
        "headwater_source_up",
        "headwater_source_failing",
        "headwater_notifications_total",
        "headwater_notifications_pending",
        "headwater_sample_interval_seconds",
        "headwater_store_failures_total",
        "headwater_pipeline_lag_seconds",
        "headwater_config_last_reload_successful",
        "headwater_leader",
        "headwater_build_info",
        "process_resident_memory_bytes",
        "process_cpu_seconds_total",
    ] {
        assert!(text.contains(&format!("\n# TYPE {name} ")), "{name} is missing in\n{text}");
    }
}

#[test]
fn at_the_start_every_cause_is_at_zero_and_every_source_is_down() {
    let metrics = metrics();
    for cause in Cause::ALL {
        for (severity, scope) in cause.label_sets() {
            let labels =
                format!(r#"{{cause="{cause}",scope="{}",severity="{severity}"}}"#, scope.label());
            check_has(&metrics, &[&format!("headwater_incident_open{labels} 0")]);
        }
        check_has(&metrics, &[&format!(r#"headwater_incidents_total{{cause="{cause}"}} 0"#)]);
    }
    check_has(
        &metrics,
        &[
            r#"headwater_build_info{version="0.1.0"} 1"#,
            r#"headwater_source_up{source="fleet"} 0"#,
            r#"headwater_sample_failures_total{reason="recovery_conflict",source="fleet"} 0"#,
            r#"headwater_sample_duration_seconds_count{source="prometheus"} 0"#,
            r#"headwater_sample_interval_seconds{source="fleet"} 15"#,
            "headwater_config_last_reload_successful 1",
            "headwater_leader 1",
            "headwater_store_failures_total 0",
        ],
    );
    check_has_not(&metrics, "headwater_incident_onset_timestamp_seconds{");
    check_has_not(&metrics, "headwater_sample_last_success_timestamp_seconds{");
}

#[test]
fn the_night_shows() {
    check_has(
        &night_has_come(),
        &[
            r#"headwater_signal_value{signal="devices_pinned"} 461234"#,
            r#"headwater_signal_expected_low{signal="devices_pinned"} 61100.25"#,
            r#"headwater_signal_score{signal="devices_pinned"} 37.36"#,
            r#"headwater_signal_unexplained{signal="devices_pinned"} 400000"#,
            r#"headwater_incident_open{cause="mass_pin",scope="platform",severity="critical"} 1"#,
            r#"headwater_incident_open{cause="mass_unpin",scope="platform",severity="critical"} 1"#,
            r#"headwater_incidents_total{cause="mass_unpin"} 1"#,
            r#"headwater_source_up{source="fleet"} 1"#,
            r#"headwater_source_up{source="prometheus"} 0"#,
            r#"headwater_source_failing{reason="timeout",source="prometheus"} 1"#,
            r#"headwater_source_failing{reason="connection",source="prometheus"} 0"#,
            r#"headwater_sample_failures_total{reason="timeout",source="prometheus"} 1"#,
            r#"headwater_sample_last_success_timestamp_seconds{source="fleet"} 1569276975.5"#,
            r#"headwater_sample_duration_seconds_bucket{source="fleet",le="0.25"} 1"#,
            r#"headwater_notifications_total{notifier="alertmanager",outcome="sent"} 1"#,
            r#"headwater_notifications_total{notifier="alertmanager",outcome="failed"} 0"#,
            "headwater_notifications_pending 2",
            "headwater_store_failures_total 1",
            "headwater_pipeline_lag_seconds 0.03",
        ],
    );
}

#[test]
fn what_is_gone_vanishes() {
    let metrics = night_has_come();
    check_has_not(&metrics, r#"headwater_signal_value{signal="delta_queue"}"#);
    metrics.observe_step(&story::signals()[..1]);
    check_has_not(&metrics, r#"signal="devices_pinned""#);

    let resolved = Incident { resolved_at: Some(at("23:30:00")), ..story::night() };
    metrics.incidents([&resolved]);
    check_has_not(&metrics, "headwater_incident_onset_timestamp_seconds{");
    check_has(
        &metrics,
        &[
            r#"headwater_incident_open{cause="mass_pin",scope="platform",severity="critical"} 0"#,
            r#"headwater_incidents_total{cause="mass_pin"} 1"#,
        ],
    );
    metrics.sampled("prometheus", Duration::ZERO, at("22:20:00"));
    check_has(&metrics, &[r#"headwater_source_failing{reason="timeout",source="prometheus"} 0"#]);
}

#[test]
fn restored_incidents_are_open_but_not_new() {
    let metrics = metrics();
    let mut incident = story::night();
    let sequel = incident.causes.pop().unwrap();
    metrics.incidents_restored([&incident]);
    let open =
        r#"headwater_incident_open{cause="mass_pin",scope="platform",severity="critical"} 1"#;
    let total = r#"headwater_incidents_total{cause="mass_pin"} 0"#;
    check_has(&metrics, &[open, total]);
    incident.join(sequel);
    for _ in 0..3 {
        metrics.incidents([&incident]);
    }
    check_has(&metrics, &[open, total, r#"headwater_incidents_total{cause="mass_unpin"} 1"#]);
}

#[test]
fn blindness_that_grew_critical_is_open_once() {
    let mut incident = story::night();
    incident.causes.truncate(1);
    incident.causes[0].cause = Cause::SamplingLost;
    incident.causes[0].severity = Severity::Warning;
    let mut worse = incident.causes[0].clone();
    worse.severity = Severity::Critical;
    incident.causes[0].superseded_at = Some(at("22:19:15"));
    incident.join(worse);
    let metrics = metrics();
    metrics.incidents([&incident]);
    let labels = r#"cause="sampling_lost",scope="platform""#;
    check_has(
        &metrics,
        &[
            &format!(r#"headwater_incident_open{{{labels},severity="warning"}} 0"#),
            &format!(r#"headwater_incident_open{{{labels},severity="critical"}} 1"#),
            r#"headwater_incidents_total{cause="sampling_lost"} 1"#,
        ],
    );
}

#[test]
fn hostile_labels_are_escaped() {
    let metrics = metrics();
    let mut signals = story::signals();
    signals[1].signal = "a\"b\\c\nd".to_owned();
    metrics.observe_step(&signals);
    check_has(&metrics, &[r#"headwater_signal_value{signal="a\"b\\c\nd"} 461234"#]);
    promtool(&metrics);
}

#[test]
fn promtool_accepts_the_exposition() {
    promtool(&metrics());
    promtool(&night_has_come());
}

/// Pipes the exposition through `promtool check metrics`, which lints names, units and help texts.
#[track_caller]
fn promtool(metrics: &Metrics) {
    let started = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match started {
        Ok(child) => child,
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "promtool is needed in CI: {error}");
            eprintln!("SKIPPED: promtool cannot be started ({error}): install prometheus");
            return;
        }
    };
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(metrics.render().unwrap().as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.is_empty(), "promtool: {} {said}", output.status);
}

#[test]
fn every_kind_of_irregularity_of_every_source_exists_at_zero() {
    let metrics = metrics();
    metrics.irregular("fleet", IrregularityKind::Stale);
    for source in ["fleet", "prometheus"] {
        for kind in IrregularityKind::ALL {
            let count = u8::from(source == "fleet" && kind == IrregularityKind::Stale);
            let label = kind.label();
            let name = "headwater_sample_irregularities_total";
            let line = format!("{name}{{kind=\"{label}\",source=\"{source}\"}} {count}");
            check_has(&metrics, &[&line]);
        }
    }
}
