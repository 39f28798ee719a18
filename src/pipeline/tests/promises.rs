//! What the budget is divided by, what is counted against it, and signals that go.

use super::*;
use crate::series::{Direction, SignalSettings};

const DAY_SAMPLES: i64 = 5_760;

fn reading(values: &[(&str, f64)]) -> Outcome {
    let values = values.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
    Outcome::Sampled(Box::new(Reading { values, ..Reading::default() }))
}

fn feed(pipeline: &mut Pipeline, sample: i64, values: &[(&str, f64)]) -> Step {
    let source = "source".to_owned();
    pipeline.step(&Observation { at: at(sample), source, outcome: reading(values) })
}

fn with(signals: &[(&str, SignalSettings)]) -> Settings {
    let signals = signals.iter().map(|(name, own)| ((*name).to_owned(), own.clone()));
    Settings { signals: signals.collect(), ..settings() }
}

/// Shares of a pipeline that has seen these signals once, `later` samples after that.
fn shares(settings: Settings, signals: &[&str], later: i64) -> f64 {
    let mut pipeline = Pipeline::new(settings, State::default());
    let values: Vec<(&str, f64)> = signals.iter().map(|name| (*name, 1.0)).collect();
    feed(&mut pipeline, 0, &values);
    pipeline.count_shares(at(later))
}

#[test]
fn shares_are_for_tests_that_can_warn() {
    let up = SignalSettings { direction: Some(Direction::Up), ..SignalSettings::default() };
    let own = SignalSettings { false_alarms_per_month: Some(2.0), ..SignalSettings::default() };
    let cases: &[(&str, Settings, &[&str], i64, f64)] = &[
        ("measured signals", settings(), &["a", "b", "c"], 0, 3.0),
        ("flows have no detector", settings(), &["a", "pins_removed", "devices_added"], 0, 1.0),
        ("counts read from rows do not warn", settings(), &["a", "b", "pending_pairs"], 0, 2.0),
        ("but for connections", settings(), &["a", "b", "devices_online"], 0, 3.0),
        ("what would page spends from pages", settings(), &["a", "b", "delta_queue"], 0, 2.0),
        ("one direction is half a test", with(&[("a", up)]), &["a", "b"], 0, 1.5),
        ("its own budget", with(&[("a", own)]), &["a", "b", "c"], 0, 2.0),
        ("a gap of hours", settings(), &["a", "b"], DAY_SAMPLES - 1, 2.0),
        ("gone for more than a day", settings(), &["a", "b"], DAY_SAMPLES + 1, 0.5),
    ];
    for (name, settings, signals, later, expected) in cases {
        assert_eq!(shares(settings.clone(), signals, *later), *expected, "{name}");
    }
}

#[test]
fn thresholds_stay_while_signals_come_and_go() {
    let mut pipeline = Pipeline::new(settings(), State::default());
    let mut budgets = std::collections::BTreeSet::new();
    for sample in 0..2 * DAY_SAMPLES {
        // One comes every other sample, one every hour.
        let mut values = vec![("a", (sample % 7) as f64)];
        if sample % 2 == 0 {
            values.push(("b", (sample % 5) as f64));
        }
        if sample % 240 == 0 {
            values.push(("c", (sample % 3) as f64));
        }
        feed(&mut pipeline, sample, &values);
        if sample > 0 {
            let status = pipeline.signals().swap_remove(0);
            budgets.insert(status.budget_per_month.unwrap().to_bits());
        }
    }
    let budgets: Vec<f64> = budgets.into_iter().map(f64::from_bits).collect();
    assert_eq!(budgets.len(), 1, "one threshold: {budgets:?}");
    assert!((budgets[0] - 10.0 / 3.0).abs() < 1e-9, "a third of ten warnings a month");
}

#[test]
fn a_signal_is_shown_no_more_budget_than_its_test_takes() {
    // One sample a day: ten warnings a month would be one in three of them.
    let mut pipeline =
        Pipeline::new(Settings { interval_s: 86_400.0, ..settings() }, State::default());
    for day in 0..3 {
        feed(&mut pipeline, day * DAY_SAMPLES, &[("a", 1.0)]);
    }
    let status = pipeline.signals().swap_remove(0);
    let granted = 30.0 * crate::detect::FALSE_ALARMS_PER_SAMPLE_MAX;
    assert!((status.budget_per_month.unwrap() - granted).abs() < 1e-12, "{status:?}");
}

#[test]
fn a_budget_of_its_own_takes_the_place_of_the_share() {
    let own = SignalSettings { false_alarms_per_month: Some(0.5), ..SignalSettings::default() };
    let up = SignalSettings { direction: Some(Direction::Up), ..own.clone() };
    let mut pipeline = Pipeline::new(with(&[("a", own), ("b", up)]), State::default());
    for sample in 0..3 {
        feed(&mut pipeline, sample, &[("a", 1.0), ("b", 1.0), ("c", 1.0)]);
    }
    let standing = pipeline.standing();
    let budgets = standing.signals.iter().map(|status| status.budget_per_month.unwrap());
    let budgets: Vec<f64> = budgets.map(|budget| (budget * 1e6).round() / 1e6).collect();
    assert_eq!(budgets, [0.5, 0.5, 10.0]);
    assert_eq!((standing.pages_per_month, standing.warnings_per_month), (1.0, 11.0));
    let alpha = |signal| pipeline.warning_alpha(signal, 1.0);
    assert!(
        (alpha("b") / alpha("a") - 2.0).abs() < 1e-9,
        "a test of both directions, of twice that"
    );
}

/// A value that wanders a little and never repeats its row.
fn level(sample: i64) -> f64 {
    100.0 + (sample * 7 % 11) as f64
}

#[test]
fn alarms_and_the_time_in_which_there_could_be_some_are_counted() {
    let mut pipeline = Pipeline::new(settings(), State::default());
    for sample in 0..1_000 {
        feed(&mut pipeline, sample, &[("queue", level(sample))]);
    }
    let before = pipeline.standing();
    assert_eq!((before.signals[0].alarms, before.tally.warnings), (0, 0));
    let hours = before.signals[0].judged_s / 3_600.0;
    assert!((3.5..=4.17).contains(&hours), "{hours} of four hours, the warm-up left out");
    assert!((before.tally.watched_s - 999.0 * 15.0).abs() < 1e-6);
    let mut opened = Vec::new();
    // After a gap of an hour, which was not watched.
    for sample in 1_240..1_260 {
        let step = feed(&mut pipeline, sample, &[("queue", 400.0 + level(sample))]);
        opened.extend(step.incidents.into_iter().map(|incident| incident.id));
    }
    let after = pipeline.standing();
    assert_eq!((after.signals[0].alarms, after.tally.warnings, after.tally.pages), (1, 1, 0));
    let watched = after.tally.watched_s - before.tally.watched_s;
    assert!((watched - 19.0 * 15.0 - 37.5).abs() < 1e-6, "{watched}");
    pipeline.reject(&opened[0], at(1_260)).expect("it is open");
    let rejected = pipeline.standing().tally;
    assert_eq!((rejected.warnings, rejected.warnings_rejected), (1, 1));
}

#[test]
fn what_is_learned_from_the_past_tells_nobody_and_counts_nothing() {
    let mut pipeline = Pipeline::new(settings(), State::default());
    for sample in 0..1_000 {
        let value = level(sample) + if sample < 900 { 0.0 } else { 300.0 };
        let source = "source".to_owned();
        let outcome = reading(&[("queue", value)]);
        pipeline.learn(&Observation { at: at(sample), source, outcome });
    }
    assert_eq!(pipeline.standing().tally, Tally::default());
    assert_eq!(pipeline.incidents().len(), 0);
    assert!(pipeline.signals()[0].samples >= 900, "up to the change that nobody heard of");
}

/// Two days of a queue and a delay, of which the delay is there as `is_there` says; what was told.
fn told_of(samples: i64, is_there: impl Fn(i64) -> bool) -> (Pipeline, Vec<(i64, Incident)>) {
    let mut pipeline = Pipeline::new(settings(), State::default());
    let mut told = Vec::new();
    for sample in 0..samples {
        let mut values = vec![("queue", level(sample)), ("workers", level(sample + 3))];
        if is_there(sample) {
            values.push(("delay", level(sample + 5)));
        }
        let step = feed(&mut pipeline, sample, &values);
        told.extend(step.incidents.into_iter().map(|incident| (sample, incident)));
    }
    (pipeline, told)
}

#[test]
fn a_signal_that_has_gone_while_its_source_answers_is_lost_until_it_is_back() {
    let gone = DAY_SAMPLES + 5..DAY_SAMPLES + 40;
    let (pipeline, told) = told_of(DAY_SAMPLES + 60, |sample| !gone.contains(&sample));
    let [(opened, incident), (resolved, ended)] = told.as_slice() else { panic!("{told:#?}") };
    let record = incident.current();
    assert_eq!((*opened, *resolved), (gone.start + 9, gone.end));
    assert_eq!((record.cause, record.severity), (Cause::SignalLost, Severity::Warning));
    assert_eq!((record.onset, record.detected_at), (at(gone.start), at(*opened)));
    assert_eq!(
        record.summary,
        "Source source answers, but delay has been missing from its last 10 samples, since \
         22:01:15 UTC, after more than a day of presence."
    );
    assert_eq!((incident.notifications.len(), ended.is_open()), (1, false));
    assert_eq!(pipeline.incidents().len(), 0);
}

#[test]
fn signals_that_are_no_loss() {
    let day = DAY_SAMPLES;
    let quiet = |name: &str, samples: i64, is_there: &dyn Fn(i64) -> bool| {
        let (_, told) = told_of(samples, is_there);
        assert!(told.is_empty(), "{name}: {told:#?}");
    };
    quiet("one that never came", 2 * day, &|_| false);
    quiet("one that was there for less than a day", 2 * day, &|sample| sample < day - 5);
    quiet("nine samples", day + 60, &|sample| !(day + 5..day + 14).contains(&sample));
    quiet("one that comes every hour", 3 * day, &|sample| sample % 240 == 0);
}

/// A day of deltas and how long they took, then half an hour in which so many are generated a
/// sample and the duration is missing.
fn without_durations(deltas_a_sample: i64) -> Vec<Incident> {
    let mut pipeline = Pipeline::new(settings(), State::default());
    let mut told = Vec::new();
    let mut generated = 0;
    for sample in 0..DAY_SAMPLES + 120 {
        let is_there = sample < DAY_SAMPLES + 5;
        generated += if is_there { 5 + sample % 3 } else { deltas_a_sample };
        let mut values = vec![("delta_successes_total", generated as f64)];
        if is_there {
            values.push(("delta_seconds_p95", level(sample)));
        }
        told.extend(feed(&mut pipeline, sample, &values).incidents);
    }
    told.retain(|incident| incident.current().cause == Cause::SignalLost);
    told
}

#[test]
fn a_quantile_of_nothing_is_no_loss() {
    assert_eq!(without_durations(0), []);
    let [lost] = &without_durations(5)[..] else { panic!("a quantile of something is lost") };
    assert!(lost.current().title.contains("delta_seconds_p95"), "{}", lost.current().title);
}

#[test]
fn an_absence_that_comes_again_and_again_becomes_ordinary() {
    // Two hours without a value each night.
    let (_, told) = told_of(8 * DAY_SAMPLES, |sample| sample % DAY_SAMPLES < DAY_SAMPLES - 480);
    let opened = told.iter().filter(|(_, incident)| incident.is_open()).count();
    assert!(opened <= 2, "{opened} times");
}

#[test]
fn signals_that_go_together_are_one_incident_and_an_accepted_loss_is_not_told_again() {
    let mut pipeline = Pipeline::new(settings(), State::default());
    let mut ids = std::collections::BTreeSet::new();
    let last = DAY_SAMPLES + 30;
    for sample in 0..last {
        let mut values = vec![("queue", level(sample))];
        if sample <= DAY_SAMPLES {
            values.extend([("a", level(sample + 1)), ("b", level(sample + 2))]);
        }
        if sample <= DAY_SAMPLES + 3 {
            values.push(("c", level(sample + 3)));
        }
        let step = feed(&mut pipeline, sample, &values);
        ids.extend(step.incidents.into_iter().map(|incident| incident.id));
    }
    let open = pipeline.incidents();
    assert_eq!((ids.len(), open.len(), open[0].notifications.len()), (1, 1, 1));
    assert_eq!(open[0].current().title, "Source source no longer gives a and b");
    assert!(open[0].timeline.iter().any(|entry| entry.text == "Gone too: c."));
    let id = open[0].id.clone();
    pipeline.accept(&id, at(last)).expect("it is open");
    for sample in last..last + 50 {
        assert_eq!(feed(&mut pipeline, sample, &[("queue", level(sample))]).incidents, []);
    }
    let kept = |_: &str, signal: &str| signal == "queue";
    pipeline.retain_signals(kept);
    assert_eq!(pipeline.signals().len(), 1, "nobody misses what is not configured any more");
}

/// A pipeline with one open incident of its own, of a queue that leapt, and a quiet signal.
fn troubled() -> (Pipeline, i64) {
    let mut pipeline = Pipeline::new(settings(), State::default());
    for sample in 0..620 {
        let leap = if sample < 600 { 0.0 } else { 400.0 };
        feed(
            &mut pipeline,
            sample,
            &[("busy", level(sample)), ("queue", leap + level(sample + 3))],
        );
    }
    assert_eq!(pipeline.incidents().len(), 1);
    (pipeline, 620)
}

#[test]
fn a_state_of_the_version_before_is_taken_on() {
    let (pipeline, next) = troubled();
    let mut stored = serde_json::to_value(pipeline.state()).unwrap();
    // As version 2 was: without what has come since.
    stored["version"] = 2.into();
    for newer in ["tally", "shares"] {
        stored.as_object_mut().unwrap().remove(newer).unwrap();
    }
    stored["watches"][0].as_object_mut().unwrap().remove("tallied").unwrap();
    for (_, signal) in stored["signals"].as_object_mut().unwrap() {
        for newer in ["judged", "presence", "away_from"] {
            signal.as_object_mut().unwrap().remove(newer).unwrap();
        }
        for newer in ["alarms", "judged_s", "budget_per_month"] {
            signal["status"].as_object_mut().unwrap().remove(newer).unwrap();
        }
    }
    for (_, source) in stored["sources"].as_object_mut().unwrap() {
        for newer in ["leapt_to", "spacing_max_s", "repeats", "stale"] {
            source.as_object_mut().unwrap().remove(newer).unwrap();
        }
    }
    let restored = State::restore(2, &stored.to_string()).unwrap();
    assert_eq!((restored.state.version, restored.unlearned.len()), (STATE_VERSION, 0));
    let mut resumed = Pipeline::new(settings(), restored.state);
    assert_eq!(resumed.incidents(), pipeline.incidents());
    assert_eq!(resumed.signals()[1].samples, pipeline.signals()[1].samples);
    let step = feed(&mut resumed, next, &[("busy", 104.0), ("queue", 104.0)]);
    assert!(only(&step).resolved_at.is_some(), "it goes on as if nothing had been");
    assert_eq!(resumed.standing().tally.warnings, 0, "its tally begins here");
    assert!(State::restore(2, "{\"version\":2}").is_err());
}

#[test]
fn a_detector_that_cannot_be_read_costs_its_learning_and_nothing_else() {
    let (pipeline, next) = troubled();
    for (version, detector) in [(2, "{\"kind\":1}"), (STATE_VERSION, "null"), (2, "[1,2]")] {
        let mut stored = serde_json::to_value(pipeline.state()).unwrap();
        stored["signals"]["queue"]["detector"] = serde_json::from_str(detector).unwrap();
        let restored = State::restore(version, &stored.to_string()).unwrap();
        assert_eq!(restored.unlearned, ["queue"], "{detector}");
        let mut resumed = Pipeline::new(settings(), restored.state);
        assert_eq!(resumed.incidents(), pipeline.incidents(), "the incident stays open");
        let [busy, queue] = resumed.signals().try_into().unwrap();
        assert_eq!((busy.samples, queue.samples), (620, 0));
        for sample in next..next + 100 {
            let values = [("busy", level(sample)), ("queue", 400.0 + level(sample + 3))];
            assert_eq!(feed(&mut resumed, sample, &values).incidents, [], "it is away still");
        }
        let values = [("busy", level(next + 100)), ("queue", level(next + 103))];
        let step = feed(&mut resumed, next + 100, &values);
        assert!(only(&step).resolved_at.is_some(), "back in the band that it had shown");
        assert_eq!(resumed.signals()[1].samples, 1, "it learns from here on");
    }
}
